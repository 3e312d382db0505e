package alert

import (
	"maps"
	"slices"
	"time"
)

// State is what is firing, who is told, and what they were told last.
type State struct {
	Receivers []Receiver
	Alerts    []Alert // the worst first
	Beyond    int     // how many more there are
	Sent      []Sent  // the latest first
}

// Receiver is who is told.
type Receiver struct {
	Name     string
	Target   string    // scheme and host of the URL, or addresses
	Last     time.Time // when it was told last; zero: never
	Problem  string    // why the last message failed; empty: it has not
	Failures int       // in a row
	Next     time.Time // when it is tried again; zero where none failed
}

// Alert is a thing that needs attention.
type Alert struct {
	Labels  map[string]string // alertname and severity among them
	Summary string
	Link    string // path of the page
	Begun   time.Time
	Told    []string // names of the receivers that know of it
}

// State returns the state, with so many alerts at the most. Where nobody is told, none is known.
func (s *Service) State(most int) State {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := State{Receivers: []Receiver{}, Alerts: []Alert{}, Sent: slices.Clone(s.sent)}
	slices.Reverse(st.Sent)
	for _, r := range s.receivers {
		if r.to != nil {
			st.Receivers = append(st.Receivers, Receiver{r.name, r.to.target(), r.last, r.problem, r.failures, r.next})
		}
	}
	if len(st.Receivers) == 0 {
		return st
	}
	there := slices.DeleteFunc(slices.Collect(maps.Values(s.alerts)), func(a *alert) bool { return !a.gone.IsZero() })
	slices.SortFunc(there, byOrder)
	st.Beyond = s.beyond + max(0, len(there)-most)
	for _, a := range there[:min(len(there), most)] {
		one := Alert{a.labels, a.Summary, a.Link, a.Begun, []string{}}
		for _, r := range s.receivers {
			if a.Told&r.bit != 0 {
				one.Told = append(one.Told, r.name)
			}
		}
		st.Alerts = append(st.Alerts, one)
	}
	return st
}
