//go:build linux

package main

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// kept is what a backup has to have of the queues that can be read in what is restored of it, and what not.
type kept struct {
	must, not map[*queue]map[uint64]*message
	first     uint64 // older ones were settled: there must be none
}

// readable reports whether a restored server hands out all that a queue is owed, at once.
func (q *queue) readable() bool {
	return !q.callback && !q.limited && !q.once && q.lettersOf == nil && q.id == 0 && q.topic != "/x/*"
}

// keep is called before a backup begins.
func (l *ledger) keep() *kept {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := &kept{must: map[*queue]map[uint64]*message{}, not: map[*queue]map[uint64]*message{}, first: l.last + 1}
	for _, q := range l.queues {
		if q.readable() {
			k.must[q], k.not[q] = map[uint64]*message{}, map[uint64]*message{}
		}
	}
	for n, m := range l.live {
		k.first = min(k.first, n)
		for q, c := range m.copies {
			switch {
			case !q.readable():
			case !c.acked.IsZero():
				k.not[q][n] = m
			case l.isOwed(q, m) && m.delay == 0 && c.asking == 0:
				k.must[q][n] = m
			}
		}
	}
	return k
}

// kept is called when a backup is whole: what was acknowledged meanwhile need not be in it.
func (l *ledger) kept(k *kept) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for q, must := range k.must {
		for n, m := range must {
			if c := m.copies[q]; c == nil || c.done() || c.asking > 0 {
				delete(must, n)
			}
		}
	}
}

// backUp has a backup made, while all goes on and faults come, restores it to another file and looks at what is in that.
func (s *soak) backUp(ctx context.Context, _ *rand.Rand) {
	if !s.backingUp.TryLock() {
		return
	}
	s.aside.Go(func() {
		defer s.backingUp.Unlock()
		k := s.ledger.keep()
		a := s.admin(ctx, http.MethodPost, "/backups", nil)
		s.ledger.kept(k)
		var made struct{ Name string }
		switch {
		case a.err == nil && a.status == http.StatusCreated && json.Unmarshal(a.body, &made) == nil:
			s.count("backups")
			s.restore(ctx, filepath.Join(s.dir, "backups", made.Name), k)
		case a.err != nil, a.status == http.StatusServiceUnavailable, a.status == http.StatusInsufficientStorage:
			s.count("backups cut short")
		default:
			s.ledger.wrong("a backup was answered with %d: %s", a.status, a.body)
		}
	})
}

// restore starts a server of its own on what is restored.
func (s *soak) restore(ctx context.Context, file string, k *kept) {
	dir, err := os.MkdirTemp(s.base, "restored-")
	if err != nil {
		s.logf("%v", err)
		return
	}
	before := s.ledger.broken()
	defer func() {
		if s.ledger.broken() == before {
			_ = os.RemoveAll(dir)
		}
	}()
	config := filepath.Join(dir, "pipit.toml")
	if err := os.WriteFile(config, []byte(configuration(s.queues, "", usualLimits)), 0o600); err != nil {
		s.logf("%v", err)
		return
	}
	for _, args := range [][]string{{"restore", file, "--database", filepath.Join(dir, "pipit.db")}, {"check", filepath.Join(dir, "pipit.db")}} {
		if _, err := s.server.command(ctx, "", args...); err != nil {
			if ctx.Err() == nil {
				s.ledger.wrong("%v", err)
			}
			return
		}
	}
	restored, err := newServer(s.server.binary, dir, config, s.server.env...)
	if err != nil {
		s.logf("%v", err)
		return
	}
	defer restored.log.Close()
	if err := restored.start(ctx); err != nil {
		if ctx.Err() == nil {
			s.ledger.wrong("of a backup: %v", err)
		}
		return
	}
	for q, must := range k.must {
		s.compare(ctx, restored, q, must, k)
	}
	if err := restored.end(syscall.SIGTERM); err != nil {
		s.ledger.wrong("of a backup: %v", err)
	}
	s.count("backups restored and read")
}

// compare takes all that a queue of a restored server has.
func (s *soak) compare(ctx context.Context, restored *server, q *queue, must map[uint64]*message, k *kept) {
	r := request{method: http.MethodPost, path: "/zato/pubsub/msg/" + q.topic + "/?max=1000&ack=true", user: q.name, key: q.key}
	for end := time.Now().Add(30 * time.Second); ctx.Err() == nil; {
		body, err := s.read(ctx, restored, r)
		if err != nil {
			if ctx.Err() == nil {
				s.ledger.wrong("of a backup: %s: %v", q.name, err)
			}
			return
		}
		list, err := messages(body)
		if err != nil {
			s.ledger.wrong("of a backup: %s: %v", q.name, err)
			return
		}
		for _, g := range list {
			if k.not[q][g.n] != nil || g.n < k.first || !g.whole {
				s.ledger.wrong("a backup has message %d for %s, which had acknowledged it before; whole: %t", g.n, q.name, g.whole)
			}
			delete(must, g.n)
		}
		if len(list) == 0 {
			if len(must) == 0 {
				return
			}
			if time.Now().After(end) {
				break
			}
			pause(ctx, 200*time.Millisecond) // a reject may have said a delay
		}
	}
	for n := range must {
		if ctx.Err() == nil {
			s.ledger.wrong("a backup lacks message %d for %s, which was answered before it began and not acknowledged when it was whole", n, q.name)
		}
	}
}
