package main

import (
	"context"
	"fmt"
	"strings"
)

// round measures one thing once.
type round func() (sample, error)

// takeTurns lets two take turns and returns what each measured, round by round. The baseline may be
// nil: there is none.
func (b *bench) takeTurns(figure, baseline round) (figures, baselines []sample, err error) {
	for i := range b.rounds {
		f, err := figure()
		if err != nil {
			return nil, nil, err
		}
		figures = append(figures, f)
		if baseline == nil {
			fmt.Fprintf(b.progress, "  %d: %s, %s\n", i+1, thousands(int64(f.rate)), f.latency)
			continue
		}
		g, err := baseline()
		if err != nil {
			return nil, nil, fmt.Errorf("baseline: %w", err)
		}
		fmt.Fprintf(b.progress, "  %d: %s against %s, %s\n", i+1, thousands(int64(f.rate)), thousands(int64(g.rate)), f.latency)
		baselines = append(baselines, g)
	}
	return figures, baselines, nil
}

// compare lets two take turns and reports the ratio of their median rates. what names the
// baseline, unit what it counts.
func (b *bench) compare(ctx context.Context, figure, baseline round, what, unit string, g goal) error {
	_, err := b.compared(ctx, figure, baseline, what, unit, g)
	return err
}

// compared is compare, and returns the figure's medians.
func (b *bench) compared(ctx context.Context, figure, baseline round, what, unit string, g goal) (sample, error) {
	figures, baselines, err := b.takeTurns(figure, baseline)
	if err != nil {
		return sample{}, err
	}
	f, base := medianSample(figures), medianSample(baselines)
	b.report.versus(b.scenario, perSecond(f.rate, "msg"), perSecond(base.rate, unit)+" "+what, f.rate/base.rate, g, percent)
	b.report.costs(f)
	var ratios []string
	for i := range figures {
		ratios = append(ratios, percent(figures[i].rate/baselines[i].rate))
	}
	b.report.note("%s: rounds %s; %s", b.scenario, strings.Join(ratios, ", "), f)
	b.report.note("%s: baseline %s", b.scenario, base)
	b.noteProfile(ctx)
	return f, nil
}

// diskRow reports what reached the disk for a message.
func (b *bench) diskRow(f sample, g goal) {
	if f.wrote.bytes >= 0 {
		b.report.absolute(b.scenario+": to disk a message", f.wrote.bytes, g, kilobytes)
	}
}

// loading returns a round of load on a server. It notes allocations in *allocations, where those
// are counted, for one message.
func (b *bench) loading(ctx context.Context, s *server, clients, units int, req []byte, allocations *float64) round {
	return func() (out sample, err error) {
		all, err := b.measure(ctx, s, func() (err error) {
			out, err = load(ctx, s.target, clients, units, b.seconds, req)
			return err
		})
		*allocations = all / (out.rate * b.seconds.Seconds())
		return out, err
	}
}
