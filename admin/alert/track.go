package alert

import (
	"cmp"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"time"

	"pipit/admin/monitor"
	"pipit/broker/change"
)

// maxAlerts is how many things are told one by one; of more there is a number.
const maxAlerts = 10_000

// subject is what an alert is about: what makes it the same as one before.
type subject struct {
	Code, Kind, Key, Topic, Client, Consumer string
}

func subjectOf(f *monitor.Finding) subject {
	return subject{f.Code, f.Kind, f.Key, f.Topic, f.Client, f.Consumer}
}

// alert is a thing that needs attention, or did until lately.
type alert struct {
	Subject subject
	Summary string
	Link    string    // path of the page
	Begun   time.Time // when it was seen first
	Told    uint8     // bits of the receivers that know of it

	labels      map[string]string // which do not change
	fingerprint string            // of these
	gone        time.Time         // since when it is not there; zero: it is
	restored    bool              // it was firing before the start, and was not seen since
	order       int               // in the last look, the worst first
}

// newAlert returns an alert that begins at a time. Its labels are in the words of the metrics; a sub_key is none.
func newAlert(f subject, begun time.Time) *alert {
	labels := map[string]string{"alertname": f.Code, "severity": monitor.Attention{Code: f.Code}.Severity()}
	for name, value := range map[string]string{"topic": f.Topic, "client": f.Client, "consumer": f.Consumer} {
		if value != "" {
			labels[name] = value
		}
	}
	switch change.Kind(f.Kind) {
	case change.Consumer: // of which several can have the same client, topic and name
		labels["consumer_id"] = f.Key
	case change.Webhook:
		labels["webhook"] = f.Key
	case monitor.KindNode: // of which several can be away
		labels["node"] = f.Key
	}
	return &alert{Subject: f, Begun: begun, labels: labels, fingerprint: fingerprint(labels), order: -1}
}

// fingerprint is that of labels as Prometheus makes it: the FNV-1a of their names and values, in order.
func fingerprint(labels map[string]string) string {
	h := fnv.New64a()
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		_, _ = h.Write([]byte(name + "\xff" + labels[name] + "\xff"))
	}
	sum := strconv.FormatUint(h.Sum64(), 16)
	return "0000000000000000"[len(sum):] + sum
}

// track takes over what a look found. The caller holds mu.
func (s *Service) track(found []monitor.Finding, now time.Time) {
	for _, a := range s.alerts {
		a.order = -1
	}
	s.beyond = 0
	for i := range found {
		f := &found[i]
		if slices.Contains(s.options.Mute, f.Code) {
			continue
		}
		key := subjectOf(f)
		a := s.alerts[key]
		if a == nil {
			if len(s.alerts) >= maxAlerts {
				s.beyond++
				continue
			}
			a = newAlert(key, now)
			s.alerts[key] = a
		}
		a.Summary, a.Link, a.gone, a.order, a.restored = f.Text, f.Link, time.Time{}, i, false
	}
	settled := now.Sub(s.started) >= s.options.Settle
	known := s.active()
	for key, a := range s.alerts {
		if a.order >= 0 {
			continue
		}
		a.Told &= known
		switch {
		case a.Told == 0:
			delete(s.alerts, key)
		case a.gone.IsZero() && (settled || !a.restored):
			a.gone = now
		}
	}
}

// active are the bits of the receivers that there are. The caller holds mu.
func (s *Service) active() (bits uint8) {
	for _, r := range s.receivers {
		if r.to != nil {
			bits |= r.bit
		}
	}
	return bits
}

// over tells whether an alert is gone for long enough.
func (a *alert) over(wait time.Duration, now time.Time) bool {
	return !a.gone.IsZero() && now.Sub(a.gone) >= wait
}

// news is what a receiver can be told at a moment.
type news struct {
	begun, over, still []*alert
	beyond             int // more that go on
}

// newsFor returns what a receiver can be told. The caller holds mu.
func (s *Service) newsFor(r *receiver, now time.Time) news {
	n := news{beyond: s.beyond}
	for _, a := range s.alerts {
		told := a.Told&r.bit != 0
		switch {
		case told && a.over(s.options.Wait, now):
			n.over = append(n.over, a)
		case told:
			n.still = append(n.still, a)
		case a.gone.IsZero() && now.Sub(a.Begun) >= s.options.Wait:
			n.begun = append(n.begun, a)
		}
	}
	return n
}

// byOrder compares by severity, then by the order of the look.
func byOrder(x, y *alert) int {
	return cmp.Or(cmp.Compare(x.labels["severity"], y.labels["severity"]), cmp.Compare(uint(x.order), uint(y.order)), // #nosec G115 -- what is gone comes last
		cmp.Compare(x.fingerprint, y.fingerprint))
}

// due tells whether a receiver is to be sent news now. The caller holds mu.
func (s *Service) due(r *receiver, n *news, now time.Time) bool {
	switch since := now.Sub(r.last); {
	case r.to == nil || now.Before(r.next):
		return false
	case len(n.begun)+len(n.over) > 0:
		return r.last.IsZero() || since >= s.options.Interval
	default:
		return len(n.still) > 0 && s.options.Repeat > 0 && since >= s.options.Repeat
	}
}

// tell notes that a receiver knows. The caller holds mu.
func (s *Service) tell(r *receiver, n *told) {
	for _, key := range n.firing {
		if a := s.alerts[key]; a != nil {
			a.Told |= r.bit
		}
	}
	for _, key := range n.over {
		if a := s.alerts[key]; a != nil && a.Told != 0 {
			if a.Told &^= r.bit; a.Told == 0 && !a.gone.IsZero() {
				delete(s.alerts, key)
			}
		}
	}
}
