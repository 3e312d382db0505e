//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"
)

// habits are what a receiver does at times, of 100 messages or requests.
type habits struct {
	hold, reject, bury, extend int // of messages: keeps it until its lease ends, …, rejects it for good
	hangUp                     int // of requests: leaves before the reply is read
	late                       int // of replies: acknowledges after the leases have ended
	receivers                  int
}

var habitsOf = map[string]habits{
	"plain":   {hold: 3, reject: 10, extend: 5, hangUp: 10, receivers: 3},
	"ordered": {receivers: 1},
	"slow":    {hold: 10, reject: 5, late: 15, receivers: 2},
	"limited": {hold: 10, reject: 20, bury: 5, hangUp: 5, receivers: 2},
	"letters": {hold: 3, reject: 3, hangUp: 3, receivers: 1},
	"pattern": {reject: 3, hangUp: 5, receivers: 2},
	"wide":    {reject: 3, receivers: 1},
	"filter":  {reject: 5, hold: 2, receivers: 1},
	"once":    {hangUp: 3, receivers: 2},
}

// consume receives from a queue until ctx ends. While the books are settled it does as it should.
func (s *soak) consume(ctx context.Context, rnd *rand.Rand, q *queue, h habits) {
	for ctx.Err() == nil {
		if s.settling.Load() {
			h := h
			h.hold, h.reject, h.bury, h.extend, h.hangUp, h.late = 0, 0, 0, 0, 0, 0
			s.receive(ctx, rnd, q, h)
			continue
		}
		s.receive(ctx, rnd, q, h)
		pause(ctx, time.Duration(rnd.IntN(150))*time.Millisecond)
	}
}

func (s *soak) receive(ctx context.Context, rnd *rand.Rand, q *queue, h habits) {
	v := url.Values{"max": {fmt.Sprint(1 + rnd.IntN(60))}, "wait": {fmt.Sprint(rnd.IntN(3))}}
	if q.once {
		v.Set("ack", "true")
	}
	r := request{method: http.MethodPost, path: "/zato/pubsub/msg/" + q.topic + "/?" + v.Encode(), user: q.name, key: q.key}
	if q.name == "" || q.id != 0 {
		r.user = churner
	}
	if rnd.IntN(100) < h.hangUp {
		s.hangUp(ctx, rnd, r)
		return
	}
	a := s.call(ctx, r)
	switch {
	case a.err != nil || a.status == http.StatusServiceUnavailable:
		pause(ctx, 50*time.Millisecond)
		return
	case a.status == http.StatusForbidden && q.id != 0: // it is deleted meanwhile
		return
	case a.status == http.StatusInsufficientStorage && q.once: // nothing can be acknowledged
		pause(ctx, 50*time.Millisecond)
		return
	case a.status != http.StatusOK:
		s.ledger.wrong("%s: a receive was answered with %d: %s", q.name, a.status, a.body)
		return
	}
	list, err := messages(a.body)
	if err != nil {
		s.ledger.wrong("%s: a reply: %v", q.name, err)
		return
	}
	s.ledger.deliver(q, list, a.sent, a.epoch)
	if !q.once && len(list) > 0 {
		s.answerTo(ctx, rnd, q, r.user, list, h)
	}
}

// hangUp leaves in the midst of a reply, or before it.
func (s *soak) hangUp(ctx context.Context, rnd *rand.Rand, r request) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(rnd.IntN(30_000))*time.Microsecond)
	defer cancel()
	resp, err := s.send(ctx, s.server, r)
	if err != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, resp.Body, int64(rnd.IntN(2000)))
	_ = resp.Body.Close() // it leaves
}

// answerTo does with messages what the receiver is in the habit of.
func (s *soak) answerTo(ctx context.Context, rnd *rand.Rand, q *queue, user string, list []got, h habits) {
	var ack, reject, bury, extend []got
	for _, g := range list {
		switch x := rnd.IntN(100); {
		case x < h.hold:
		case x < h.hold+h.reject:
			reject = append(reject, g)
		case x < h.hold+h.reject+h.bury:
			bury = append(bury, g)
		case x < h.hold+h.reject+h.bury+h.extend:
			extend = append(extend, g)
		default:
			ack = append(ack, g)
		}
	}
	if rnd.IntN(100) < h.late {
		pause(ctx, q.timeout+time.Duration(rnd.IntN(1000))*time.Millisecond)
	}
	if len(list) == 1 && len(ack) == 1 && rnd.IntN(2) == 0 {
		s.ackOne(ctx, q, user, ack[0])
		return
	}
	if len(ack)+len(reject)+len(bury)+len(extend) > 0 {
		s.settleMany(ctx, rnd, q, user, ack, reject, bury, extend)
	}
}

func (s *soak) ackOne(ctx context.Context, q *queue, user string, g got) {
	n := []uint64{g.n}
	s.ledger.letGo(q, n, true)
	a := s.call(ctx, request{method: http.MethodDelete, path: "/zato/pubsub/msg/" + url.PathEscape(g.id) + "/?ack=true", user: user, key: q.key})
	switch {
	case a.err == nil && a.status == http.StatusOK:
		s.ledger.acked(q, n, a.sent, a.epoch)
	case a.err == nil && a.status == http.StatusNotFound:
		s.ledger.notFound(q, n)
	default:
		s.ledger.notAcked(q, n, a.isUnknown(), a.epoch, a.why())
		s.tellSettle(q, a)
	}
}

// tellSettle finds statuses that nothing here should lead to.
func (s *soak) tellSettle(q *queue, a answer) {
	if a.err != nil {
		return
	}
	s.count(fmt.Sprint("acknowledgements answered ", a.status))
	switch a.status {
	case http.StatusServiceUnavailable, http.StatusInsufficientStorage:
	case http.StatusForbidden:
		if q.id == 0 {
			s.ledger.wrong("%s: an acknowledgement was answered with 403: %s", q.name, a.body)
		}
	default:
		s.ledger.wrong("%s: an acknowledgement was answered with %d: %s", q.name, a.status, a.body)
	}
}

func numbers(list []got) (ns []uint64, ids []string) {
	ids = []string{}
	for _, g := range list {
		ns, ids = append(ns, g.n), append(ids, g.id)
	}
	return ns, ids
}

const extension = 6 * time.Second

// settleMany acknowledges, rejects and extends in one request.
func (s *soak) settleMany(ctx context.Context, rnd *rand.Rand, q *queue, user string, ack, reject, bury, extend []got) {
	acks, ackIDs := numbers(ack)
	rejects, rejectIDs := numbers(reject)
	buried, buryIDs := numbers(bury)
	body := map[string]any{"ack": ackIDs, "reject": rejectIDs, "dead_letter": buryIDs}
	if len(buryIDs) == 0 {
		delete(body, "dead_letter")
	}
	if len(rejectIDs) > 0 && len(ackIDs)+len(extend)+len(buryIDs) == 0 {
		body["delay"] = rnd.IntN(3)
	}
	if len(extend) > 0 {
		m := map[string]int{}
		for _, g := range extend {
			m[g.id] = int(extension.Seconds())
		}
		body["extend"] = m
	}
	text, _ := json.Marshal(body)
	s.ledger.letGo(q, acks, true)
	back := append(rejects, buried...)
	s.ledger.letGo(q, back, false)
	defer s.ledger.letWent(q, back)
	a := s.call(ctx, request{method: http.MethodPost, path: "/zato/pubsub/ack/", user: user, key: q.key, body: text})
	var done struct {
		Acked, Rejected, Extended int
		DeadLettered              int      `json:"dead_lettered"`
		NotFound                  []string `json:"not_found"`
	}
	if a.err != nil || a.status != http.StatusOK {
		s.ledger.notAcked(q, acks, a.isUnknown(), a.epoch, a.why())
		s.tellSettle(q, a)
		return
	}
	if err := json.Unmarshal(a.body, &done); err != nil {
		s.ledger.wrong("%s: the answer to an acknowledgement: %v", q.name, err)
	}
	missing := map[string]bool{}
	for _, id := range done.NotFound {
		missing[id] = true
	}
	here := func(list []got) (found, not []uint64) {
		for _, g := range list {
			if missing[g.id] {
				not = append(not, g.n)
			} else {
				found = append(found, g.n)
			}
		}
		return found, not
	}
	found, not := here(ack)
	s.ledger.acked(q, found, a.sent, a.epoch)
	s.ledger.notFound(q, not)
	turned, _ := here(reject)
	s.ledger.rejected(q, turned, "rejected")
	dead, _ := here(bury)
	s.ledger.rejected(q, dead, "rejected for good")
	longer, _ := here(extend)
	for _, n := range longer {
		s.ledger.extended(q, n, a.sent.Add(extension), a.epoch)
	}
	if done.Acked != len(found) || done.Rejected != len(turned) || done.Extended != len(longer) || done.DeadLettered != len(dead) {
		s.ledger.wrong("%s: an acknowledgement of %d, %d, %d and %d was answered with %s", q.name, len(ack), len(reject), len(extend), len(bury), a.body)
	}
}
