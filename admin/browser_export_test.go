package admin

import (
	"strings"
	"time"

	"pipit/admin/gate"
	"pipit/broker"
)

// PagePaths returns the paths of all pages, as the router takes them.
func (a *Admin) PagePaths() []string {
	var paths []string
	for _, r := range a.pageRoutes() {
		switch {
		case r.Method != "GET" || strings.HasPrefix(r.Path, gate.AssetsPath):
		case r.Path == "/admin/live" || r.Path == "/admin/history": // what the script reads
		default:
			paths = append(paths, r.Path)
		}
	}
	return paths
}

// Sampling makes a test the clock of the rates and charts, which begin anew at start. Each call of
// what it returns takes a sample.
func (a *Admin) Sampling(start time.Time) (sample func(time.Time)) {
	a.stats.close()
	c := a.b.Totals().Counters
	s := &stats{
		b:        a.b,
		start:    start,
		closing:  make(chan struct{}),
		hour:     newRing(sampleStep, hourSlots),
		day:      newRing(daySteps*sampleStep, daySlots),
		meter:    meter{c, start},
		dayMeter: meter{c, start},
		topics:   map[string]*topicStats{},
		seen:     map[string]broker.Counters{},
	}
	for _, t := range a.b.Topics() {
		s.seen[t.Name] = t.Counters
	}
	a.stats = s
	return s.sample
}
