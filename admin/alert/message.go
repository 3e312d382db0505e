package alert

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"pipit/admin/gate"
	"pipit/broker/clip"
)

// maxBody bounds what is posted, in bytes. What does not fit is counted.
const maxBody = 256 << 10

// message is what a receiver is told: what begins, what is over, and what goes on.
type message struct {
	pages
	at                 time.Time
	begun, over, still []alert
	beyond             int // more that go on
	test               bool
}

// pages are how the pages are reached.
type pages struct {
	origin string // scheme and host
	prefix string // in front of paths, where a proxy has it: that of an alert has it already
}

// newMessage makes a message of news, the worst first, and the keys of what it tells.
func newMessage(n *news, at pages, now time.Time) (m *message, keys told) {
	m = &message{pages: at, at: now, beyond: n.beyond}
	add := func(to *[]alert, keys *[]subject, list []*alert) {
		slices.SortFunc(list, byOrder)
		for _, a := range list {
			*to = append(*to, *a)
			*keys = append(*keys, a.Subject)
		}
	}
	add(&m.begun, &keys.firing, n.begun)
	add(&m.over, &keys.over, n.over)
	add(&m.still, &keys.firing, n.still)
	return m, keys
}

// testMessages are of an alert that is nothing, and of its end.
func testMessages(at pages, now time.Time) (begun, over *message) {
	labels := map[string]string{"alertname": "test", "severity": "info"}
	a := alert{labels: labels, Summary: "This is a test: nothing is wrong", Link: at.prefix + alertsPath, Begun: now, fingerprint: fingerprint(labels)}
	begun = &message{pages: at, at: now, begun: []alert{a}, test: true}
	a.gone = now
	return begun, &message{pages: at, at: now, over: []alert{a}, test: true}
}

// alertsPath is the path of the page of alerts.
const alertsPath = gate.RootPath + "alerts"

// firing is how many things go on.
func (m *message) firing() int { return len(m.begun) + len(m.still) + m.beyond }

// Statuses of messages and alerts.
const (
	Firing   = "firing"
	Resolved = "resolved"
)

func (m *message) status() string {
	if m.firing() > 0 {
		return Firing
	}
	return Resolved
}

// Post is the body that Alertmanager posts to its webhooks, of version 4.
type Post struct {
	Version         string `json:"version"`
	GroupKey        string `json:"groupKey"`        // the same for all: there is one group
	TruncatedAlerts uint64 `json:"truncatedAlerts"` // how many more there are than Alerts
	Status          string `json:"status"`          // firing, while anything is
	Receiver        string `json:"receiver"`

	GroupLabels       map[string]string `json:"groupLabels"`
	CommonLabels      map[string]string `json:"commonLabels"`
	CommonAnnotations map[string]string `json:"commonAnnotations"`

	ExternalURL string      `json:"externalURL"`
	Alerts      []PostAlert `json:"alerts"`
}

// PostAlert is an alert of a Post.
type PostAlert struct {
	Status       string            `json:"status"`
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt"` // year 1 while it is firing
	GeneratorURL string            `json:"generatorURL"`
	Fingerprint  string            `json:"fingerprint"`
}

// maxSummary bounds a sentence, in bytes.
const maxSummary = 1 << 10

// post is the body of a message: first what begins, then what is over, then what goes on, as far as it fits.
func (m *message) post() []byte {
	p := Post{
		Version: "4", GroupKey: "{}:{}", Status: m.status(), Receiver: "pipit", GroupLabels: map[string]string{},
		CommonLabels: map[string]string{}, CommonAnnotations: map[string]string{},
		ExternalURL: m.origin + m.prefix + gate.RootPath, Alerts: []PostAlert{},
	}
	p.TruncatedAlerts = uint64(m.beyond) // #nosec G115 -- a count
	size := 0
	for _, part := range []struct {
		status string
		list   []alert
	}{{Firing, m.begun}, {Resolved, m.over}, {Firing, m.still}} {
		for i := range part.list {
			a := part.list[i].post(m.origin, part.status)
			encoded, _ := json.Marshal(a) // of texts and times: never an error
			if size += len(encoded) + 1; size > maxBody {
				p.TruncatedAlerts++
				continue
			}
			p.Alerts = append(p.Alerts, a)
		}
	}
	for i, a := range p.Alerts {
		if i == 0 {
			p.CommonLabels, p.CommonAnnotations = maps.Clone(a.Labels), maps.Clone(a.Annotations)
			continue
		}
		common(p.CommonLabels, a.Labels)
		common(p.CommonAnnotations, a.Annotations)
	}
	body, _ := json.Marshal(p)
	return body
}

// common leaves in m what other has as well.
func common(m, other map[string]string) {
	maps.DeleteFunc(m, func(name, value string) bool {
		v, ok := other[name]
		return !ok || v != value
	})
}

func (a *alert) post(origin, status string) PostAlert {
	link := origin + a.Link
	p := PostAlert{
		Status: status, Labels: a.labels, Annotations: map[string]string{"summary": clip.To(a.Summary, maxSummary), "link": link},
		StartsAt: a.Begun.UTC(), GeneratorURL: link, Fingerprint: a.fingerprint,
	}
	if status == Resolved {
		p.EndsAt = a.gone.UTC()
	}
	return p
}
