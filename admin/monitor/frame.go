package monitor

import (
	"time"

	"pipit/admin/gate"
	"pipit/admin/text"
)

// tiles are the figures of the overview as texts, by the ends of their IDs in the page.
type tiles map[string]string

// rates sets the rates.
func (t tiles) rates(r rates) {
	t["published"], t["delivered"], t["acked"] = text.Rate(r.Published), text.Rate(r.Delivered), text.Rate(r.Acked)
}

// storeFigures is how large the store is; what is not known is negative.
type storeFigures struct {
	Size      int64 `json:"size"`
	Free      int64 `json:"free"`
	DiskTotal int64 `json:"disk_total"`
	DiskFree  int64 `json:"disk_free"`
}

// Frame is what the overview shows, with the rates of the last sample.
func (m *Monitor) Frame() Frame {
	f := m.frame(time.Now(), SituationFresh)
	f.Rates = f.lastRates()
	f.Tiles.rates(f.Rates)
	return f
}

// frame is what the overview shows now, but for the rates.
func (m *Monitor) frame(now time.Time, age time.Duration) Frame {
	found := m.Situation(age)
	st := m.b.StoreStats()
	f := Frame{
		Time:      gate.TimeOf(now),
		Totals:    m.b.Totals(),
		Store:     storeFigures{st.Size, st.Free, st.DiskTotal, st.DiskFree},
		Oldest:    gate.TimeOf(found.Oldest),
		Attention: found.Attention,
	}
	if f.Totals.Backlog == 0 {
		f.Oldest = gate.Time{}
	}
	f.Hour, f.Day = m.last()
	t := &f.Totals
	f.Tiles = tiles{
		"published-more": text.Number(t.Published) + " since the start",
		"delivered-more": text.Number(t.Delivered) + " since the start",
		"acked-more":     text.Number(t.Acked) + " since the start",
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
	if !f.Oldest.IsZero() {
		f.Tiles["oldest"] = text.Duration(now.Sub(f.Oldest.Time))
		f.Tiles["oldest-more"] = "of those that wait"
	}
	return f
}
