// Package alert tells somebody when something begins to need attention, and when that is over: by a POST in the format of
// Alertmanager's webhooks, and by mail. What needs attention is the monitor's to say; here is who is told of it, and when.
//
// A thing is told of when it is there for a while (wait), and is over when it is gone for as long; what begins in between goes into
// one message, and there are no two messages within an interval. So what flaps sends nothing, or one message. While anything goes on, it is
// told again after each repeat.
//
// # Who waits for whom
//
// One goroutine looks, as often as the monitor samples; one for each receiver sends; one stores. What they share is in
// memory, under a lock that nobody holds over I/O: a receiver that hangs keeps no other from its messages, and a disk that does keeps
// nobody from being told of it. There is no queue: a message is made of what is so when it is sent, also after a receiver was down.
//
// # What is kept
//
// Of what is firing, who was told of it, and the last messages, as documents of the broker: so a start neither tells everything again
// nor forgets to tell that something is over.
package alert

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"pipit/admin/monitor"
	"pipit/broker"
)

// Options configure a Service. The zero value of a field stands for its default.
type Options struct {
	URL      string   // where alerts are posted to; empty: nowhere. It may hold a secret
	SMTP     string   // the mail server, as ParseServer reads it; empty: no mail is sent
	Password string   // of the user in SMTP
	From     string   // address of the sender
	To       []string // addresses of the receivers

	Wait     time.Duration // how long a thing is so before it is told, and gone before it is over; negative: not at all; default DefaultWait
	Interval time.Duration // between two messages to a receiver, at the least; default DefaultInterval
	Repeat   time.Duration // from a message to the next while anything goes on; negative: never; default DefaultRepeat
	Settle   time.Duration // which after a start what was firing may need to be seen again, as what is counted over time begins anew; default DefaultSettle
	Mute     []string      // codes of what nobody is told of

	Proxy bool   // posts go through the proxies that the environment names
	CA    string // a PEM file of the authorities that certificates of receivers are checked with; default: those of the system

	UserAgent string // default "Pipit"

	Dial func(ctx context.Context, network, addr string) (net.Conn, error) // what connects, in place of the network, where it is not nil
}

// What holds where Options do not say.
const (
	DefaultWait     = 30 * time.Second
	DefaultInterval = 5 * time.Minute
	DefaultRepeat   = 4 * time.Hour
	DefaultSettle   = 2 * time.Minute
)

// Names of the receivers.
const (
	Webhook = "webhook"
	Mail    = "mail"
)

// Of the work of a Service.
const (
	lookStep = 10 * time.Second // as often as the monitor samples
	sendTime = 15 * time.Second // that a receiver may take
	maxPause = 10 * time.Minute // after which a message that failed is tried again, at the latest
)

// Watched is what a Service looks at.
type Watched interface {
	Situation(age time.Duration) monitor.Situation
}

// Service tells who is to know of what needs attention. Its methods may be called from any goroutine.
type Service struct {
	b       *broker.Broker
	watched Watched
	pages   pages
	log     *slog.Logger

	ctx     context.Context
	cancel  context.CancelFunc
	loops   sync.WaitGroup
	wake    chan struct{} // has a value where a look is due
	store   chan struct{} // likewise where there is something to store
	testing sync.Mutex    // held while a test goes on

	mu        sync.Mutex
	options   Options
	started   time.Time
	alerts    map[subject]*alert
	beyond    int // of the last look: how many had no room
	receivers []*receiver
	sent      []Sent          // the last ones, the latest last
	unsaved   map[uint64]bool // numbers of those that are not stored
	stored    map[string]uint64
}

// New returns a service for what is watched of a broker, whose pages have a scheme and host, origin, and prefix in front of
// their paths. It tells nobody before Adjust. The caller closes it before the broker.
func New(b *broker.Broker, w Watched, origin, prefix string, log *slog.Logger) (*Service, error) {
	s := &Service{b: b, watched: w, pages: pages{origin, prefix}, log: log, wake: make(chan struct{}, 1), store: make(chan struct{}, 1), started: time.Now(),
		alerts: map[subject]*alert{}, unsaved: map[uint64]bool{}, stored: map[string]uint64{}}
	for bit, name := range []string{Webhook, Mail} {
		s.receivers = append(s.receivers, &receiver{name: name, bit: 1 << bit, poke: make(chan struct{}, 1)})
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if err := s.load(); err != nil {
		return nil, err
	}
	s.loops.Go(s.run)
	s.loops.Go(s.keep)
	for _, r := range s.receivers {
		s.loops.Go(func() { s.serve(r) })
	}
	return s, nil
}

// Adjust takes over options, which count from now on. A receiver that is another one than before is told of
// everything that goes on. On an error everything stays as it was.
func (s *Service) Adjust(o Options) error {
	o.Wait, o.Interval, o.Repeat = cmp.Or(o.Wait, DefaultWait), cmp.Or(o.Interval, DefaultInterval), cmp.Or(o.Repeat, DefaultRepeat)
	o.Settle, o.UserAgent = cmp.Or(o.Settle, DefaultSettle), cmp.Or(o.UserAgent, "Pipit")
	post, err := newPoster(&o)
	if err != nil {
		return err
	}
	mail, err := newMailer(&o, s.pages.origin)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.options = o
	s.receivers[0].use(s, post, o.URL != "")
	s.receivers[1].use(s, mail, o.SMTP != "")
	signal(s.wake)
	return nil
}

// Close ends the service; what is being sent is broken off, and sent again after the next start.
func (s *Service) Close() {
	s.cancel()
	s.loops.Wait()
	s.put(context.Background())
}

// run looks now and then, while there is somebody to tell.
func (s *Service) run() {
	tick := time.NewTicker(lookStep)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.look()
		case <-s.wake:
			s.look()
		case <-s.ctx.Done():
			return
		}
	}
}

func (s *Service) look() {
	if !s.On() {
		return
	}
	found := s.watched.Situation(lookStep / 2).Findings
	s.mu.Lock()
	s.track(found, time.Now())
	s.mu.Unlock()
	for _, r := range s.receivers {
		signal(r.poke)
	}
}

// On tells whether there is somebody to tell.
func (s *Service) On() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.receivers, func(r *receiver) bool { return r.to != nil })
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
