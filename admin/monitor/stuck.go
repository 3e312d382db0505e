package monitor

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"pipit/admin/text"
	"pipit/broker"
	"pipit/broker/change"
)

// stuckAt is since when a consumer is at max_in_flight, with how many acknowledgements. Who works one message off after another is
// there all the time.
type stuckAt struct {
	since time.Time
	acked uint64
}

// inFlight finds consumers that are given nothing more until they acknowledge, and do not: for a while, or they ask for more and
// are refused. The caller holds situationMu.
func (m *Monitor) inFlight(n *notices, consumers []broker.ConsumerInfo, refusals []Refusal, now time.Time) {
	asked := map[uint32]bool{}
	for i := range refusals {
		if r := &refusals[i]; r.Status == http.StatusTooManyRequests && r.SignedIn && now.Sub(r.Time.Time) < n.InFlight {
			asked[r.Consumer] = true
		}
	}
	full := map[uint32]stuckAt{}
	for i := range consumers {
		c := &consumers[i]
		held := c.InFlight + c.Deferred + c.Failed
		if c.Inactive || c.DeliveryMode == broker.DeliveryCallback || held < int64(c.MaxInFlight) || c.Backlog <= held {
			continue
		}
		at, known := m.full[c.ID]
		if !known || at.acked != c.Acked {
			at = stuckAt{now, c.Acked}
		}
		full[c.ID] = at
		if asked[c.ID] || now.Sub(at.since) >= n.InFlight {
			n.consumer(codeInFlight, fmt.Sprintf("%s is given no more of %s: %s of at most %s messages are in flight and not acknowledged. %s for it",
				c.Client, c.Topic, text.Number(held), text.Number(c.MaxInFlight), wait(c.Backlog)), c)
		}
	}
	m.full = full
}

// redelivered finds consumers that were given a message again and again.
func (m *Monitor) redelivered(n *notices, consumers []broker.ConsumerInfo) {
	for i := range consumers {
		c := &consumers[i]
		if c.Redelivered == 0 || c.Backlog == 0 {
			continue
		}
		if count := m.b.Repeated(c.ID, uint32(n.Redelivered)); count > 0 { // #nosec G115 -- a number of deliveries
			n.consumer(codeRedelivered, fmt.Sprintf("%s in %s: %s", c.Client, c.Topic, often(count, n.Redelivered)), c)
		}
	}
}

// denied finds clients that were refused lately, for who they are or what they may do: not for what they sent, nor because something is full.
func (m *Monitor) denied(n *notices, consumers []broker.ConsumerInfo, refusals []Refusal, now time.Time) {
	var lately []Refusal
	for _, r := range refusals {
		bad := r.Status == http.StatusUnauthorized || r.Status == http.StatusForbidden || r.Status == http.StatusTooManyRequests && !r.SignedIn
		if bad && r.Known && r.Webhook == "" && now.Sub(r.Time.Time) < n.Refused {
			lately = append(lately, r)
		}
	}
	for _, g := range groupRefusals(lately) {
		kind, key, link := string(change.Client), g.Client, "/admin/clients/"+text.Segment(g.Client)+"#refusals"
		for i := range consumers {
			if c := &consumers[i]; g.Consumer == c.ID || g.seeks(c) {
				kind, key = string(change.Consumer), strconv.FormatUint(uint64(c.ID), 10)
				link = consumerLink(c.ID) + "#why"
				break
			}
		}
		x := Attention{codeRefused, text.Shown(fmt.Sprintf("Requests of %s are refused: %s", g.Client, &g)), link, kind, key}
		n.put(Finding{Attention: x, Client: g.Client}, int64(g.Count))
	}
}
