package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// goal is what a ratio or a figure has to reach. The zero value is none.
type goal struct {
	floor, aim float64 // aim may be 0: there is none beyond the floor
	atMost     bool    // less is better
}

func atLeast(floor, aim float64) goal { return goal{floor: floor, aim: aim} }
func atMost(limit float64) goal       { return goal{floor: limit, atMost: true} }

// aiming returns a goal with an aim beyond its floor.
func (g goal) aiming(aim float64) goal {
	g.aim = aim
	return g
}

// verdict tells how far v came.
func (g goal) verdict(v float64) string {
	reaches := func(limit float64) bool {
		if g.atMost {
			return v <= limit
		}
		return v >= limit
	}
	switch {
	case g == goal{}:
		return ""
	case !reaches(g.floor) && g.atMost:
		return "ABOVE LIMIT"
	case !reaches(g.floor):
		return "BELOW FLOOR"
	case g.aim != 0 && !reaches(g.aim):
		return "floor holds"
	case g.aim != 0:
		return "aim reached"
	}
	return "holds"
}

// row is a line of the table, as text.
type row struct {
	scenario, figure, baseline, ratio, floor, aim, verdict string
	disk, flushes, cpu                                     string // a message
}

// report collects rows and what else there is to say about them.
type report struct {
	rows  []row
	notes []string
}

func (r *report) add(rw row) { r.rows = append(r.rows, rw) }

func (r *report) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

// versus adds a figure with its baseline and the goal of their ratio, shown by asText.
func (r *report) versus(scenario, figure, baseline string, ratio float64, g goal, asText func(float64) string) {
	rw := row{scenario: scenario, figure: figure, baseline: baseline, ratio: asText(ratio), verdict: g.verdict(ratio)}
	sign := "≥ "
	if g.atMost {
		sign = "≤ "
	}
	if g.floor != 0 {
		rw.floor = sign + asText(g.floor)
	}
	if g.aim != 0 {
		rw.aim = sign + asText(g.aim)
	}
	r.add(rw)
}

// costs fills in what a message of the last row came to, as far as it is known.
func (r *report) costs(s sample) {
	rw := &r.rows[len(r.rows)-1]
	if s.wrote.bytes >= 0 {
		rw.disk = kilobytes(s.wrote.bytes)
	}
	if s.wrote.flushes >= 0 {
		rw.flushes = fmt.Sprintf("%.3f", s.wrote.flushes)
	}
	if s.serverCPU >= 0 {
		rw.cpu = microseconds(float64(s.serverCPU))
	}
}

// absolute adds a figure with a limit of its own.
func (r *report) absolute(scenario string, v float64, g goal, asText func(float64) string) {
	r.versus(scenario, asText(v), "", v, g, asText)
	r.rows[len(r.rows)-1].ratio = ""
}

func (r *report) print(w io.Writer) {
	if len(r.rows)+len(r.notes) == 0 {
		return
	}
	fmt.Fprintln(w, machine())
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "scenario\tfigure\tbaseline\tratio\tfloor\taim\t\tto disk/msg\tflushes/msg\tserver CPU/msg")
	for _, x := range r.rows {
		fmt.Fprintln(tw, strings.Join([]string{x.scenario, x.figure, x.baseline, x.ratio, x.floor, x.aim, x.verdict, x.disk, x.flushes, x.cpu}, "\t"))
	}
	_ = tw.Flush()
	if len(r.notes) > 0 {
		fmt.Fprintln(w)
	}
	for _, n := range r.notes {
		fmt.Fprintln(w, n)
	}
}

func percent(v float64) string { return fmt.Sprintf("%.0f %%", 100*v) }
func times(v float64) string   { return fmt.Sprintf("%.2f ×", v) }
func mib(v float64) string     { return fmt.Sprintf("%.1f MiB", v/(1<<20)) }
func seconds(v float64) string { return fmt.Sprintf("%.3f s", v) }

func kilobytes(v float64) string    { return fmt.Sprintf("%.2f KB", v/1000) }
func microseconds(v float64) string { return fmt.Sprintf("%.1f µs", v/float64(time.Microsecond)) }

// perSecond writes a rate with its thousands apart.
func perSecond(rate float64, unit string) string {
	return thousands(int64(rate+0.5)) + " " + unit + "/s"
}

func thousands(n int64) string {
	if n < 0 {
		return "-" + thousands(-n)
	}
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}

// short rounds a duration to what can be read.
func short(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d >= 10*time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	case d >= 100*time.Microsecond:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(100 * time.Nanosecond).String()
}

// quantiles are those of one round's latencies.
type quantiles struct{ p50, p99, p999, max time.Duration }

// quantilesOf sorts d.
func quantilesOf(d []time.Duration) quantiles {
	if len(d) == 0 {
		return quantiles{}
	}
	slices.Sort(d)
	at := func(q float64) time.Duration { return d[min(len(d)-1, int(q*float64(len(d))))] }
	return quantiles{at(0.5), at(0.99), at(0.999), d[len(d)-1]}
}

func (q quantiles) String() string {
	return fmt.Sprintf("p50 %s, p99 %s, p99.9 %s, at most %s", short(q.p50), short(q.p99), short(q.p999), short(q.max))
}

// sample is what one round measured. CPU times and what was written are for one message, or
// negative where the system does not tell.
type sample struct {
	rate      float64 // messages a second
	latency   quantiles
	serverCPU time.Duration
	clientCPU time.Duration
	wrote     writes
}

func (s sample) String() string {
	text := s.latency.String()
	var cpu []string
	for _, c := range []struct {
		who  string
		time time.Duration
	}{{"server", s.serverCPU}, {"bench", s.clientCPU}} {
		if c.time >= 0 {
			cpu = append(cpu, c.who+" "+microseconds(float64(c.time)))
		}
	}
	if len(cpu) > 0 {
		text += "; CPU a message: " + strings.Join(cpu, ", ")
	}
	if wrote := s.wrote.String(); wrote != "" {
		text += "; to the disk a message: " + wrote
	}
	return text
}

// medianSample takes the median of each field by itself, but of what was written the least: what others write meanwhile
// only adds to it.
func medianSample(all []sample) sample {
	return sample{
		rate: medianOf(all, func(s sample) float64 { return s.rate }),
		latency: quantiles{
			p50:  medianOf(all, func(s sample) time.Duration { return s.latency.p50 }),
			p99:  medianOf(all, func(s sample) time.Duration { return s.latency.p99 }),
			p999: medianOf(all, func(s sample) time.Duration { return s.latency.p999 }),
			max:  medianOf(all, func(s sample) time.Duration { return s.latency.max }),
		},
		serverCPU: medianOf(all, func(s sample) time.Duration { return s.serverCPU }),
		clientCPU: medianOf(all, func(s sample) time.Duration { return s.clientCPU }),
		wrote: writes{
			bytes:   slices.MinFunc(all, func(s, t sample) int { return cmp.Compare(s.wrote.bytes, t.wrote.bytes) }).wrote.bytes,
			flushes: slices.MinFunc(all, func(s, t sample) int { return cmp.Compare(s.wrote.flushes, t.wrote.flushes) }).wrote.flushes,
		},
	}
}

func medianOf[S any, T float64 | time.Duration](all []S, field func(S) T) T {
	v := make([]T, len(all))
	for i, s := range all {
		v[i] = field(s)
	}
	slices.Sort(v)
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}
