package alert

import (
	"context"
	"time"

	"pipit/broker"
)

// receiver is who is told: there is one for posts and one for mail. What is behind name is guarded by the Service's mu.
type receiver struct {
	name string
	bit  uint8         // of alert.Told
	poke chan struct{} // has a value after a look

	to       sender    // nil: nobody
	id       string    // of whom to is
	last     time.Time // when it was told last
	next     time.Time // before which nothing is tried, since the last try failed
	failures int       // in a row
	problem  string    // of the last one; empty: it went well
}

// sender is how somebody is told.
type sender interface {
	send(ctx context.Context, m *message) outcome
	target() string // whom, without a secret
	id() string     // the same for the same receiver, of which nothing can be read
}

// outcome is what came of a message.
type outcome struct {
	status int    // of an answer by HTTP; 0: there was none
	answer string // what the receiver said, bounded
	err    string // why it failed; empty: it did not
	took   time.Duration
}

// use takes over how the receiver is told. The caller holds the Service's mu.
func (r *receiver) use(s *Service, to sender, on bool) {
	if !on {
		r.to, r.id, r.problem, r.failures = nil, "", "", 0
		return
	}
	r.to, r.next = to, time.Time{} // what was wrong may be mended
	if r.id == to.id() {
		return
	}
	r.id, r.last, r.failures, r.problem = to.id(), time.Time{}, 0, ""
	for _, a := range s.alerts {
		a.Told &^= r.bit
	}
}

// told is what a message told.
type told struct{ firing, over []subject }

// serve tells a receiver what there is, after each look.
func (s *Service) serve(r *receiver) {
	for {
		select {
		case <-r.poke:
		case <-s.ctx.Done():
			return
		}
		s.mu.Lock()
		now := time.Now()
		n := s.newsFor(r, now)
		if !s.due(r, &n, now) {
			s.mu.Unlock()
			continue
		}
		to, id := r.to, r.id
		m, keys := newMessage(&n, s.pages, now)
		s.mu.Unlock()
		done := to.send(s.ctx, m)
		if done.err != "" && s.ctx.Err() != nil {
			return // it was broken off
		}
		s.mu.Lock()
		if r.id == id { // else it is another one by now
			s.note(r, to, m, done, &keys)
		}
		s.mu.Unlock()
		signal(s.store)
	}
}

// Pauses after failures in a row.
var pauses = []time.Duration{10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, maxPause}

// note takes over what came of a message. The caller holds mu.
func (s *Service) note(r *receiver, to sender, m *message, done outcome, keys *told) {
	now := time.Now()
	s.remember(r.name, to, m, done, r.failures)
	if done.err == "" {
		if r.failures > 0 {
			s.log.Info("alerts are sent again", "receiver", r.name, "to", to.target())
		}
		r.last, r.next, r.failures, r.problem = now, time.Time{}, 0, ""
		s.tell(r, keys)
		return
	}
	pause := pauses[min(r.failures, len(pauses)-1)]
	r.next, r.problem = now.Add(pause), done.err
	r.failures++
	s.log.Warn("an alert could not be sent, it is tried again", "receiver", r.name, "to", to.target(), "error", done.err, "after", pause.String(), "attempt", r.failures)
}

// TestTime is how long a test may take.
const TestTime = 3 * sendTime // two posts and a mail

// Tested is what came of a test.
type Tested struct {
	Receiver string
	Target   string
	Status   int    // of an answer by HTTP
	Answer   string // what the receiver said, its first KiB
	Error    string // why it failed; empty: it has not
	Took     time.Duration
}

// Test sends each receiver a message that is of nothing, and tells what came of it. The errors are Unavailable, while another test
// goes on, and Denied where there is nobody.
func (s *Service) Test(ctx context.Context) ([]Tested, error) {
	if !s.testing.TryLock() {
		return nil, &broker.Error{Code: broker.Unavailable, Message: "Another test goes on", RetryAfter: sendTime}
	}
	defer s.testing.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	type one struct {
		*receiver
		to sender // as it was at the beginning
	}
	var all []one
	s.mu.Lock()
	for _, r := range s.receivers {
		if r.to != nil {
			all = append(all, one{r, r.to})
		}
	}
	s.mu.Unlock()
	if len(all) == 0 {
		return nil, &broker.Error{Code: broker.Denied, Message: "There is nobody to alert: set url or smtp in [alerts] of the server's configuration"}
	}
	list := make([]Tested, len(all))
	for i, x := range all {
		begun, over := testMessages(s.pages, time.Now())
		m, done := begun, x.to.send(ctx, begun)
		if done.err == "" && x.name == Webhook { // who opens an incident is to close it
			m, done = over, x.to.send(ctx, over)
		}
		list[i] = Tested{x.name, x.to.target(), done.status, done.answer, done.err, done.took}
		s.mu.Lock()
		s.remember(x.name, x.to, m, done, 0)
		if done.err == "" {
			x.next = time.Time{} // it is back
		}
		s.mu.Unlock()
	}
	signal(s.store)
	return list, nil
}
