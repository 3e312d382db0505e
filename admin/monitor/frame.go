package monitor

import (
	"slices"
	"strconv"
	"time"

	"pipit/admin/gate"
	"pipit/admin/text"
	"pipit/broker/stats"
)

// Frame is an event of the live stream: what the overview shows that changes.
type Frame struct {
	Time   gate.Time    `json:"time"`
	Totals stats.Totals `json:"totals"`
	Rates  Rates        `json:"rates"`
	Store  StoreFigures `json:"store"`
	Oldest gate.Time    `json:"oldest,omitzero"` // message that a consumer is not done with
	Rows   []Row        `json:"rows"`            // what needs attention, the weightiest first
	Number int          `json:"number"`          // of all rows
	Low    bool         `json:"low"`             // the disk is nearly full, or nothing can be stored
	Tiles  Tiles        `json:"tiles"`
	Hour   *Step        `json:"hour,omitempty"` // the step of the hour's History that is under way
	Day    *Step        `json:"day,omitempty"`
}

// Rates are per second: since the frame before, or where there is none, of the last sample.
type Rates struct {
	Published float64 `json:"published"`
	Delivered float64 `json:"delivered"`
	Acked     float64 `json:"acked"`
}

// Step is a step of a History.
type Step struct {
	End int64 `json:"end"` // in seconds of Unix
	Rates
	Backlog float64 `json:"backlog"`
}

// lastRates are those of the last sample.
func (m *Monitor) lastRates() Rates {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rates
}

// Tiles are the figures of the overview as texts, by the ends of their IDs in the page.
type Tiles map[string]string

// rates sets the rates.
func (t Tiles) rates(r Rates) {
	t["published"], t["delivered"], t["acked"] = text.Rate(r.Published), text.Rate(r.Delivered), text.Rate(r.Acked)
}

// StoreFigures is how large the store is; what is not known is negative.
type StoreFigures struct {
	Size      int64 `json:"size"`
	Free      int64 `json:"free"`
	DiskTotal int64 `json:"disk_total"`
	DiskFree  int64 `json:"disk_free"`
}

// Frame is what the overview shows, with the rates of the last sample.
func (m *Monitor) Frame() Frame {
	f := m.frame(time.Now(), SituationFresh)
	f.Rates = m.lastRates()
	f.Tiles.rates(f.Rates)
	return f
}

// frame is what the overview shows now, but for the rates.
func (m *Monitor) frame(now time.Time, age time.Duration) Frame {
	found := m.Situation(age)
	st := m.b.StoreStats()
	f := Frame{
		Time:   gate.TimeOf(now),
		Totals: m.b.Totals(),
		Store:  StoreFigures{st.Size, st.Free, st.DiskTotal, st.DiskFree},
		Oldest: gate.TimeOf(found.Oldest),
		Rows:   found.Rows,
		Number: found.Number,
		Low:    found.low(),
	}
	if f.Totals.Backlog == 0 {
		f.Oldest = gate.Time{}
	}
	f.Hour, f.Day = m.steps(&f.Totals, now)
	t := &f.Totals
	counted, since := m.counted(t.Counters), " since the start"
	if m.before != (stats.Counters{}) {
		since = m.since.UTC().Format(" since 2006-01-02")
	}
	f.Tiles = Tiles{
		"published-more": text.Number(counted.Published) + since,
		"delivered-more": text.Number(counted.Delivered) + since,
		"acked-more":     text.Number(counted.Acked) + since,
		"backlog":        text.Number(t.Backlog),
		"backlog-more":   "for " + text.Count(int64(t.Consumers), "consumer", "consumers"),
		"in-flight":      text.Number(t.InFlight),
		"delayed":        text.Number(t.Delayed),
		"oldest":         "–",
		"oldest-more":    "nothing waits",
		"size":           text.Size(st.Size),
		"size-more":      text.Size(st.Free) + " of it free",
		"disk":           text.Size(st.DiskFree),
		"disk-more":      "free of " + text.Size(st.DiskTotal),
	}
	if st.DiskTotal > 0 && st.DiskFree >= 0 {
		f.Tiles["disk-used"] = strconv.Itoa(text.Percent(st.DiskTotal-st.DiskFree, st.DiskTotal))
	}
	if !f.Oldest.IsZero() {
		f.Tiles["oldest"] = text.Roughly(now.Sub(f.Oldest.Time))
		f.Tiles["oldest-more"] = "of those that wait"
	}
	return f
}

// low tells whether there is no room, or nearly none.
func (s *Situation) low() bool {
	return slices.ContainsFunc(s.Attention, func(n Attention) bool { return n.Code == codeDisk || n.Code == codeWrite })
}

// Folded are the rows of the overview that stand open, and those that are folded away.
func (f *Frame) Folded() [2][]Row {
	n := min(openRows, len(f.Rows))
	return [2][]Row{f.Rows[:n], f.Rows[n:]}
}

// openRows is how many rows of what needs attention are not folded away.
const openRows = 5
