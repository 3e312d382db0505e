//go:build linux

package main

import (
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// receiver is the system that is sent callbacks. It fails at times, is slow or hangs up, but while the books are settled.
type receiver struct {
	s      *soak
	queues map[string]*queue
	server *http.Server
	url    string

	mu  sync.Mutex
	rnd *rand.Rand
}

func newReceiver(s *soak) (*receiver, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &receiver{s: s, queues: map[string]*queue{}, url: "http://" + l.Addr().String(), rnd: s.random(3000)}
	for _, q := range s.queues {
		if q.callback {
			r.queues["/"+q.name] = q
		}
	}
	r.server = &http.Server{Handler: r, ReadHeaderTimeout: time.Minute}
	go func() { _ = r.server.Serve(l) }()
	return r, nil
}

func (r *receiver) draw(n int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rnd.IntN(n)
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	sent, epoch := time.Now(), r.s.ledger.now()
	body, err := io.ReadAll(req.Body)
	q := r.queues[req.URL.Path]
	if err != nil || q == nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	var list []got
	if q.ordered {
		list, err = messages(body)
	} else {
		n, size, whole := readPayload(body)
		priority, _ := strconv.Atoi(req.Header.Get("X-Zato-Priority"))
		list = []got{{n: n, id: req.Header.Get("X-Zato-Msg-Id"), whole: whole, size: size, priority: priority}}
	}
	if err != nil {
		r.s.ledger.wrong("%s: a callback: %v", q.name, err)
		return
	}
	// The call began before it was here: by how much, half a second allows for.
	r.s.ledger.deliver(q, list, sent.Add(-500*time.Millisecond), epoch)
	ns, _ := numbers(list)
	x := 1000
	if !r.s.settling.Load() {
		x = r.draw(100)
	}
	switch {
	case x < 10:
		r.s.ledger.failed(q, ns)
		w.WriteHeader(http.StatusServiceUnavailable)
	case x < 13: // it hangs up
		r.s.ledger.failed(q, ns)
		if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_ = c.Close() // that is what it is to see
		}
	case x < 15: // too late
		pause(req.Context(), callTimeout+500*time.Millisecond)
		r.s.ledger.late(q, ns)
		w.WriteHeader(http.StatusOK)
	default:
		if x < 40 {
			pause(req.Context(), time.Duration(x)*time.Millisecond)
		}
		r.s.ledger.letGo(q, ns, true)
		r.s.ledger.taken(q, ns)
		w.WriteHeader(http.StatusOK)
	}
}
