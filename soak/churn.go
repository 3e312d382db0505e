//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"
)

// churn makes topics and consumers through the admin API, uses and deletes them, until ctx ends. The topics' names begin as it says.
func (s *soak) churn(ctx context.Context, rnd *rand.Rand, prefix string) {
	for i := 0; s.enter(ctx); i++ {
		s.comeAndGo(ctx, rnd, fmt.Sprint(prefix, i))
		s.leave()
		pause(ctx, time.Duration(rnd.IntN(2000))*time.Millisecond)
	}
}

// comeAndGo is the life of a topic, and of a queue of it.
func (s *soak) comeAndGo(ctx context.Context, rnd *rand.Rand, topic string) {
	if !s.insist(ctx, http.MethodPost, "/topics", map[string]any{"name": topic, "expiration": 0, "dedup_window": "30d"}, http.StatusCreated, http.StatusConflict) {
		return
	}
	s.count("topics made")
	s.publishTo(ctx, rnd, topic, 1+rnd.IntN(10)) // only wide, which is of the pattern, has to get them
	q := &queue{name: "of " + topic, topic: topic, key: "key-of-the-queue-" + topic[3:], timeout: 10 * time.Second}
	a := s.admin(ctx, http.MethodPost, "/consumers", map[string]any{"client": churner, "topic": topic, "sub_key": q.key, "ack_timeout": "10s"})
	var made struct{ ID uint64 }
	if a.err == nil && a.status == http.StatusCreated && json.Unmarshal(a.body, &made) == nil {
		q.id = made.ID
		s.ledger.add(q)
		s.count("consumers made")
		for range 1 + rnd.IntN(4) {
			s.publishTo(ctx, rnd, topic, 1+rnd.IntN(10))
			s.receive(ctx, rnd, q, habits{reject: 10, hangUp: 5})
			pause(ctx, time.Duration(rnd.IntN(500))*time.Millisecond)
		}
		if rnd.IntN(2) == 0 {
			s.ledger.remove(q)
			if !s.insist(ctx, http.MethodDelete, fmt.Sprint("/consumers/", q.id), nil, http.StatusOK, http.StatusNotFound) {
				return
			}
			s.ledger.removed(q)
			s.publishTo(ctx, rnd, topic, 1)
			s.receive(ctx, rnd, q, habits{})
		}
	}
	s.ledger.remove(q)
	s.ledger.removeTopic(topic, false)
	if s.insist(ctx, http.MethodDelete, "/topics/"+url.PathEscape(topic), nil, http.StatusOK, http.StatusNotFound) {
		s.ledger.removed(q)
		s.ledger.removeTopic(topic, true)
		s.count("topics deleted")
	}
}

// insist repeats a call of the admin API while it fails, until it is answered with one of these.
func (s *soak) insist(ctx context.Context, method, path string, body any, good ...int) bool {
	for ctx.Err() == nil {
		a := s.admin(ctx, method, path, body)
		for _, status := range good {
			if a.err == nil && a.status == status {
				return true
			}
		}
		if a.err == nil && a.status != http.StatusServiceUnavailable && a.status != http.StatusInsufficientStorage {
			s.ledger.wrong("%s %s was answered with %d: %s", method, path, a.status, a.body)
			return false
		}
		pause(ctx, 100*time.Millisecond)
	}
	return false
}
