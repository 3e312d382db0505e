//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"
)

const publishers = 4

// publish publishes to the topics that are always there, messages a second, until ctx ends.
func (s *soak) publish(ctx context.Context, rnd *rand.Rand, rate float64) {
	for s.enter(ctx) {
		n := 1
		if rnd.IntN(5) == 0 {
			n = 2 + rnd.IntN(19)
		}
		s.publishTo(ctx, rnd, topics[rnd.IntN(len(topics))], n)
		s.leave()
		pause(ctx, time.Duration(float64(n)/rate*rnd.ExpFloat64()*float64(time.Second)))
	}
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// newMessage draws one.
func newMessage(rnd *rand.Rand, topic string) *message {
	m := &message{topic: topic, priority: []int{1, 5, 5, 5, 9}[rnd.IntN(5)], own: rnd.IntN(2) == 0, size: 30 + rnd.IntN(1500), kind: []string{"", "odd"}[rnd.IntN(2)]}
	switch rnd.IntN(40) {
	case 0:
		m.size = 40_000 + rnd.IntN(300_000)
	case 1, 2:
		m.size = 4_000 + rnd.IntN(30_000)
	}
	switch rnd.IntN(12) {
	case 0:
		m.lasts = time.Duration(1+rnd.IntN(5)) * time.Second
	case 1:
		m.delay = time.Duration(1+rnd.IntN(8)) * time.Second
	}
	return m
}

// publishTo publishes n messages in one request. One whose answer was lost is repeated until it is known, where all have IDs of their own.
func (s *soak) publishTo(ctx context.Context, rnd *rand.Rand, topic string, n int) {
	var list []*message
	own := true
	for range n {
		m := newMessage(rnd, topic)
		own = own && m.own
		list = append(list, m)
	}
	s.ledger.ask(list)
	r := batch(topic, list)
	if n == 1 {
		r = single(list[0])
	}
	for again := false; ; again = true {
		a := s.call(ctx, r)
		became := stored
		switch {
		case a.isUnknown():
			became = unknown
		case a.status != http.StatusOK:
			became = refused
		}
		if became == refused && again && a.status != http.StatusBadRequest { // the disk is full, or it starts: the first time is not known yet
			became = unknown
		}
		s.ledger.answer(list, became, again, a.header.Get("X-Zato-Duplicate") != "", a.epoch, a.why())
		s.tellPublish(a, topic)
		if became != unknown || !own || ctx.Err() != nil {
			return
		}
		pause(ctx, 50*time.Millisecond)
	}
}

// tellPublish counts a status, and finds those that nothing here should lead to.
func (s *soak) tellPublish(a answer, topic string) {
	if a.err != nil {
		return
	}
	s.count(fmt.Sprint("publishes answered ", a.status))
	switch a.status {
	case http.StatusOK, http.StatusServiceUnavailable, http.StatusInsufficientStorage:
	default:
		s.ledger.wrong("a publish to %s was answered with %d: %s", topic, a.status, a.body)
	}
}

func single(m *message) request {
	q := url.Values{"priority": {fmt.Sprint(m.priority)}}
	if m.own {
		q.Set("msg_id", ownID(m.n))
	}
	if m.lasts > 0 {
		q.Set("expiration", fmt.Sprint(int(m.lasts.Seconds())))
	}
	if m.delay > 0 {
		q.Set("delay", fmt.Sprint(int(m.delay.Seconds())))
	}
	r := request{method: http.MethodPost, path: "/zato/pubsub/topic/" + m.topic + "/?" + q.Encode(), user: publisher, body: payload(m.n, m.size)}
	if m.kind != "" {
		r.header = map[string]string{"X-Zato-PubSub-Attr-Kind": m.kind}
	}
	return r
}

func batch(topic string, list []*message) request {
	var body bytes.Buffer
	for _, m := range list {
		line := map[string]any{"payload": string(payload(m.n, m.size)), "priority": m.priority}
		if m.own {
			line["msg_id"] = ownID(m.n)
		}
		if m.lasts > 0 {
			line["expiration"] = int(m.lasts.Seconds())
		}
		if m.delay > 0 {
			line["delay"] = int(m.delay.Seconds())
		}
		if m.kind != "" {
			line["attributes"] = map[string]string{"kind": m.kind}
		}
		text, _ := json.Marshal(line)
		body.Write(append(text, '\n'))
	}
	return request{method: http.MethodPost, path: "/zato/pubsub/topic/" + topic + "/?batch=true", user: publisher, body: body.Bytes(),
		header: map[string]string{"Content-Type": "application/x-ndjson"}}
}
