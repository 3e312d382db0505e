package monitor

import (
	"fmt"
	"slices"
	"strings"

	"pipit/admin/gate"
	"pipit/broker"
	"pipit/httpapi/refused"
)

// Refusal is a request of the wire protocol that was refused.
type Refusal struct {
	Number   uint64    `json:"number"` // 1 for the first since the start of the process
	Time     gate.Time `json:"time"`
	Client   string    `json:"client,omitempty"`   // username that was given, of a client or not
	Known    bool      `json:"known"`              // there is a client of that name
	SignedIn bool      `json:"signed_in"`          // with the right password
	Addr     string    `json:"addr"`               // IP address that it came from
	Method   string    `json:"method"`             // of the request
	Route    string    `json:"route,omitempty"`    // path without the name of a topic, a message or a webhook; absent where there is no such route
	Topic    string    `json:"topic,omitempty"`    // name in the path, existing or not, or that of the consumer's topic
	Consumer uint32    `json:"consumer,omitempty"` // id of the consumer that the sub_key opens
	Webhook  string    `json:"webhook,omitempty"`  // name of the webhook that was called
	Status   int       `json:"status"`             // of the reply
	Reason   string    `json:"reason"`             // why, as the log has it; it is more than the client is told
}

// RefusalFilter says which refusals are wanted. The zero value of a field stands for all.
type RefusalFilter struct {
	Client   string
	Topic    string
	Consumer uint32 // those by its sub_key, and those of its client that were about receiving from its topic with no key that is known
	Status   int
}

// Refusals returns the last requests that were refused, the newest first.
func (m *Monitor) Refusals(f RefusalFilter) []Refusal {
	of, _ := m.b.Consumer(f.Consumer)
	list := []Refusal{}
	for _, x := range m.Refused.List() {
		r := refusalOf(&x)
		if f.Client != "" && f.Client != r.Client || f.Topic != "" && f.Topic != r.Topic || f.Status != 0 && f.Status != r.Status ||
			f.Consumer != 0 && r.Consumer != f.Consumer && !r.seeks(&of) {
			continue
		}
		list = append(list, r)
	}
	return list
}

func refusalOf(x *refused.Refusal) Refusal {
	return Refusal{x.Number, gate.TimeOf(x.At), x.Client, x.Known, x.SignedIn, x.Addr, x.Method, x.Route, x.Topic, x.Consumer, x.Webhook, x.Status, x.Reason}
}

// seeks tells whether a request whose sub_key is of no consumer may have been meant for this one.
func (r *Refusal) seeks(c *broker.ConsumerInfo) bool {
	if r.Consumer != 0 || r.Client == "" || r.Client != c.Client || !r.receives() {
		return false
	}
	prefix, _, pattern := strings.Cut(c.Topic, "*")
	return r.Topic == "" || r.Topic == c.Topic || pattern && strings.HasPrefix(r.Topic, prefix)
}

// receives tells whether a request was one of a receiver.
func (r *Refusal) receives() bool {
	switch r.Route {
	case "/zato/pubsub/msg", "/zato/pubsub/ack", "/zato/pubsub/seek":
		return true
	}
	return false
}

// RefusalGroup are refusals of one client for one reason.
type RefusalGroup struct {
	Refusal     // the last one
	Count   int // of them
	Last    gate.Time
	Addrs   []string // IP addresses, that of the last one first
}

// String is such as: 403 unknown sub_key ×14, from 10.0.0.7.
func (g *RefusalGroup) String() string {
	s := fmt.Sprintf("%d %s", g.Status, g.Short())
	if g.Count > 1 {
		s += fmt.Sprintf(" ×%d", g.Count)
	}
	return s + ", from " + g.From()
}

// Short is the reason without what the client was told beside.
func (g *RefusalGroup) Short() string {
	for _, told := range []string{"Permission denied: ", "Invalid credentials: "} {
		if short, ok := strings.CutPrefix(g.Reason, told); ok {
			return short
		}
	}
	return g.Reason
}

// From names the addresses.
func (g *RefusalGroup) From() string {
	switch n := len(g.Addrs); n {
	case 1:
		return g.Addrs[0]
	case 2:
		return g.Addrs[0] + " and " + g.Addrs[1]
	default:
		return fmt.Sprintf("%s and %d more addresses", g.Addrs[0], n-1)
	}
}

// RefusedLately returns the last refusals by client, status and reason, the newest first.
func (m *Monitor) RefusedLately(f RefusalFilter) []RefusalGroup { return groupRefusals(m.Refusals(f)) }

func groupRefusals(list []Refusal) (groups []RefusalGroup) {
	type key struct {
		client, reason string
		status         int
	}
	at := map[key]int{}
	for i := range list {
		r := &list[i]
		k := key{r.Client, r.Reason, r.Status}
		j, seen := at[k]
		if !seen {
			j = len(groups)
			at[k] = j
			groups = append(groups, RefusalGroup{Refusal: *r, Last: r.Time})
		}
		g := &groups[j]
		g.Count++
		if !slices.Contains(g.Addrs, r.Addr) {
			g.Addrs = append(g.Addrs, r.Addr)
		}
	}
	return groups
}
