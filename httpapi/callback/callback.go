// Package callback sends messages to the consumers of delivery mode callback-url, as POST requests to their URLs.
//
// Each of these consumers has an agent: a goroutine that waits until its queue has something, takes it as a receive
// would, sends it, and acknowledges or rejects by what is answered. While there is nothing to send, or the receiver is
// down and the next try is not due, it rests and costs its stack alone.
//
// # Order
//
// With a callback_concurrency of 1 one call is in the air at a time, and one that failed is repeated with the same messages
// before any other, so that the order of the queue is that of arrival; its webhook-id is the same. With more, messages
// that failed wait, and others go on, until so many have failed in a row that the receiver counts as down: then one call
// at a time tries whether it is back.
//
// # Who waits for whom
//
// All calls share slots, which consumers get in turn; those whose last call failed have half of them at the most, one
// consumer a quarter. So neither an endpoint that is slow nor many that hang until their time limit delay the others.
//
// # What is kept
//
// The last attempts of a consumer, and how it fares, are documents of the broker, written every ten seconds and at the
// end: what is lost by a crash is what happened last, and no message.
package callback

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"pipit/broker"
	"pipit/tracing"
)

// Options configure a Service. The zero value of a field stands for its default.
type Options struct {
	Deny           []string     // networks that are not called, beside those that never are
	MaxConcurrency int          // calls in the air, of all consumers; default DefaultMaxConcurrency
	Proxy          bool         // calls go through the proxies that the environment names
	CA             string       // a PEM file of the authorities that certificates of receivers are checked with; default: those of the system
	UserAgent      string       // default "Pipit"
	Logger         *slog.Logger // default slog.Default()

	Tracer *tracing.Tracer // nil: no spans

	Through http.RoundTripper // what calls go through in place of the network, where it is not nil; Deny, Proxy and CA have no effect on it

	resolver *net.Resolver // nil: that of the system
}

// DefaultMaxConcurrency is Options.MaxConcurrency where that is 0.
const DefaultMaxConcurrency = 256

// Times of a Service.
const (
	flushEvery = 10 * time.Second // attempts are stored
	endTime    = 8 * time.Second  // calls may take when the program ends
)

// kindState is the kind of documents that hold a state.
const kindState = "callback.state"

func stateKey(id uint32) string { return fmt.Sprintf("%08x", id) }

// Service sends messages. Its methods may be called from any goroutine.
type Service struct {
	b       *broker.Broker
	door    broker.Callbacks
	log     *slog.Logger
	options atomic.Pointer[Options]
	client  atomic.Pointer[http.Client]
	slots   slots
	probes  atomic.Int32 // calls by hand in the air
	onPause atomic.Pointer[func(c *broker.Consumer, why string) broker.Document]

	ctx    context.Context // of all calls
	cancel context.CancelFunc
	idle   context.Context // ends when nothing is to be begun any more
	stop   context.CancelFunc

	loops  sync.WaitGroup // agents, and the service's own
	calls  sync.WaitGroup
	states map[uint32]state // as they were stored, until an agent has them

	mu     sync.Mutex
	agents map[uint32]*agent
	dirty  map[*agent]bool // with something to store

	flushing sync.Mutex // held while attempts are written or read
}

// New starts to send. The caller stops it before it closes the broker.
func New(b *broker.Broker, o Options) (*Service, error) {
	s := &Service{b: b, door: b.Callbacks(), log: o.Logger, agents: map[uint32]*agent{}, dirty: map[*agent]bool{}}
	if s.log == nil {
		s.log = slog.Default()
	}
	if err := s.Adjust(o); err != nil {
		return nil, err
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.idle, s.stop = context.WithCancel(s.ctx)
	if err := s.load(); err != nil {
		s.cancel()
		return nil, err
	}
	s.follow()
	s.states = nil
	s.loops.Go(s.run)
	return s, nil
}

// load reads the states that are stored, each of which is there as long as its consumer has attempts, and forgets those of
// consumers that are no more. The next try is not waited for: who starts the program again may have repaired something.
func (s *Service) load() error {
	s.states = map[uint32]state{}
	list := s.door.List()
	for after := ""; ; {
		docs, err := s.b.Documents(kindState, after, false, 1000)
		if err != nil || len(docs) == 0 {
			return err
		}
		for _, d := range docs {
			after = d.Key
			var st state
			id, err := strconv.ParseUint(d.Key, 16, 32)
			switch {
			case err != nil || json.Unmarshal(d.Value, &st) != nil:
			case list[uint32(id)] == nil:
				s.forget(uint32(id))
			default:
				st.Next = time.Time{}
				s.states[uint32(id)] = st
			}
		}
	}
}

// Adjust takes over options while calls are made; all but Logger count for those that begin from now on. On an error
// everything stays as it was.
func (s *Service) Adjust(o Options) error {
	client, err := o.Client()
	if err != nil {
		return err
	}
	o.UserAgent = cmp.Or(o.UserAgent, "Pipit")
	old := s.client.Swap(client)
	if old != nil {
		old.CloseIdleConnections()
	}
	s.options.Store(&o)
	s.slots.adjust(cmp.Or(o.MaxConcurrency, DefaultMaxConcurrency))
	return nil
}

// Client is what calls go through by these options. It follows no redirect.
func (o *Options) Client() (*http.Client, error) {
	through := o.Through
	if through == nil {
		t, err := o.transport()
		if err != nil {
			return nil, err
		}
		through = t
	}
	return &http.Client{Transport: through, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, nil
}

// OnPause has note make a document that tells that a consumer is made inactive and why, which is stored with that.
func (s *Service) OnPause(note func(c *broker.Consumer, why string) broker.Document) {
	s.onPause.Store(&note)
}

// run follows the definitions and stores what there is to store, until the broker drains or Stop is called.
func (s *Service) run() {
	flush := time.NewTicker(flushEvery)
	defer flush.Stop()
	defer func() {
		s.stop()
		time.AfterFunc(endTime, s.cancel)
	}()
	for {
		select {
		case <-s.door.Changed():
			s.follow()
		case <-flush.C:
			s.flush(s.ctx)
		case <-s.b.Done():
			return
		case <-s.idle.Done():
			return
		}
	}
}

// follow lets there be an agent for each consumer that is to be sent its messages, and for no other.
func (s *Service) follow() {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.door.List() // here, so that nobody comes later with what was so before
	for id, a := range s.agents {
		if list[id] == nil {
			a.cancel()
			delete(s.agents, id)
			delete(s.dirty, a)
			s.loops.Go(func() { s.forget(id) })
		}
	}
	for id := range list {
		if a := s.agents[id]; a != nil {
			signal(a.poke)
			continue
		}
		a := &agent{s: s, id: id, poke: make(chan struct{}, 1), ended: make(chan struct{}, 1), state: s.states[id]}
		var end, stop context.CancelFunc
		a.ctx, end = context.WithCancel(s.ctx)
		a.idle, stop = context.WithCancel(s.idle)
		a.cancel = func() { end(); stop() }
		a.report()
		s.agents[id] = a
		s.loops.Go(a.run)
	}
}

// forget deletes what is kept of a consumer.
func (s *Service) forget(id uint32) {
	s.flushing.Lock()
	defer s.flushing.Unlock()
	docs, err := s.b.Documents(kindAttempts, fmt.Sprintf("%08x/", id), false, 2*maxBlocks)
	gone := []broker.Document{{Kind: kindState, Key: stateKey(id)}}
	for i := range docs {
		if _, _, ok := block(&docs[i], id); ok {
			gone = append(gone, broker.Document{Kind: kindAttempts, Key: docs[i].Key})
		}
	}
	if err == nil {
		err = s.b.PutDocuments(s.ctx, gone...)
	}
	if err != nil && s.ctx.Err() == nil {
		s.log.Warn("attempts of callbacks cannot be deleted", "consumer", id, "err", err) // the next start does
	}
}

// agent returns that of a consumer, nil where there is none.
func (s *Service) agent(id uint32) *agent {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.agents[id]
}

// touch notes that an agent has something to store.
func (s *Service) touch(a *agent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.agents[a.id] == a {
		s.dirty[a] = true
	}
}

// Stop ends the service: nothing new is sent, and calls in the air get endTime since the broker began to drain, or
// now. What is not answered by then is sent again after the next start.
func (s *Service) Stop() error {
	s.stop()
	s.loops.Wait()
	s.calls.Wait()
	s.flush(context.Background())
	s.cancel()
	s.client.Load().CloseIdleConnections()
	return nil
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
