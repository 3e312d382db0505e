// Package broker is publish/subscribe to hold in a program: clients publish messages to topics, and every consumer of a topic
// gets every message from a queue of its own, at least once.
//
//	b, err := broker.Open(store, broker.Options{})      // of a store such as db.Open returns; b.Close ends both
//	_, err = b.Apply(ctx, broker.Definition{...})       // declares clients, topics, producers, consumers; Change edits and deletes
//	id, err := b.Publish(ctx, "/order", payload)        // returns when the message is on the disk
//	q, err := b.Queue("stock", "/order", "")            // Subscription where a client has signed in
//	msgs, err := q.Receive(ctx, broker.ReceiveOptions{Wait: time.Minute})
//	_, err = q.Settle(broker.Settlement{Ack: ids})      // or Reject; else they are delivered again after the ack timeout
//
// A Broker and a Subscription may be used from any goroutine. A ctx that ends makes Receive return what it has, without an error,
// and what waits for a turn Unavailable; a publish that has begun is finished. A nil *Client is Unauthorized or Denied. The zero value
// of a property stands for its default, and Off for 0. Errors are *Error with a Code that prints. Where the store fails so that it is not
// known what it holds, Failed is closed, nothing is stored or delivered any more, and the process is to end.
//
// The package has more than 4,000 lines, since all of these work on one state under one order of locks and one commit, which
// a border would cut.
package broker

// How it works:
//
// One log a lane, a cursor a consumer
//
// Each priority of a topic is a lane: a log of messages at the positions 1, 2, 3 and so on. A
// message is stored once, however many consumers its topic has. What a consumer is done with, in
// a lane, is a store.Cursor: all positions below a floor and the ranges above it. Nothing is kept of a message
// that expired or was deleted: it is not there. Depths are exact by subtraction: of what was ever
// appended, what was removed, and what a consumer is done with (see store.CursorState). A publish touches no
// consumer.
//
// What is in flight is a lease in memory. A crash ends all leases, and those messages are
// delivered again: at least once.
//
// One committer
//
// All changes pass through one commit at a time, which takes everything that has gathered while the
// last commit was on its way to disk, checks each operation against the state that the ones
// before it will leave, commits the lot as one Batch, and only then changes memory and answers.
// Receiving does not pass it: that is a read of the store and a lease. Whoever has the turn is the committer: the
// caller of a change that finds nobody committing, or else a goroutine that is there for what gathered meanwhile. That
// is what "the committer's own" means at a field: only who has the turn touches it, and needs no lock to read it.
//
// Locks
//
// They are taken in this order: Broker.defining, Broker.mu, topic.mu, consumer.reading, consumer.mu. None but defining and
// reading, which the committer never takes, is held over I/O.
//
// Where things are
//
// The nouns: client, topic, producer and consumer have a file each, with what one is, its rules and what it is at work;
// queue.go is what a topic's messages are to a consumer, lane.go a priority of a topic, lease.go a message in flight.
// The verbs: publish, receive (take.go reads for it, stream.go goes on), settle and subscribe for clients, callback for who sends them
// their messages; browse, find, delete,
// release and clear for administrators; change and define for objects. What they come to: commit.go has the turn,
// draft.go one commit in the making, trim.go what nobody needs any more, sweep.go what is over. What a Store must do
// is in package store, and package db does it on bbolt; whose password is right is in package login.

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"pipit/broker/history"
	"pipit/broker/limit"
	"pipit/broker/login"
	"pipit/broker/property"
	"pipit/broker/stats"
	"pipit/broker/store"
)

// Off is 0, of a number or duration in a struct whose zero value stands for the default: a topic whose Expiration is Off
// keeps its messages.
const Off = property.Off

// Options configure a Broker. The zero value of a field stands for its default.
type Options struct {
	MaxPayload  int64        // bytes of one message; default 1 MiB
	MaxPending  int64        // bytes of payload that are being published at once; default 256 MiB
	ServiceName string       // producer of what the embedding program publishes; default "service"
	Logger      *slog.Logger // default slog.Default()

	History         time.Duration // how long what happened to a message is kept for Trace; default 7 days, negative: it is not
	HistoryMessages int           // of how many messages, the newest; default 100,000, at most 1,000,000

	// Committed is told of each commit that is stored, by who makes it: how many messages it wrote, one whose delay is over
	// once more, and what the store took.
	// Everybody waits for it.
	Committed func(messages int, took time.Duration)

	sweepInterval time.Duration // how often what is over is cleared away; sweepEvery, but in tests
	siftedAtOnce  int           // see sift.go; siftedAtOnce and maxSifted, but in tests
	maxSifted     int
}

// Broker is a running broker. Its methods may be called from any goroutine.
type Broker struct {
	seeker
	lister
	keeper
	subscribing
	tracer

	opts  Options
	log   *slog.Logger
	store store.Store
	ids   idCodec
	key   storeKey
	auth  *login.Authenticator
	epoch time.Time // lease times count from here
	clock *clock

	defining  sync.Mutex   // held by Apply and Change from reading what exists to their commit
	lastID    uint32       // guarded by defining
	declared  string       // guarded by defining
	mu        sync.RWMutex // guards the maps, and the maps within topics
	clients   map[string]*client
	topics    map[string]*topic
	topicIDs  map[uint32]*topic
	producers map[uint32]*producer
	consumers map[uint32]*consumer
	patterns  map[string]*pattern // that producers or consumers have
	grants    map[string]*grants  // of the clients that are producers of patterns, by username
	bySubKey  map[string]*consumer
	oldKeys   oldKeys
	callbacks map[uint32]*consumer // of consumers, those that are sent their messages
	webhooks
	templates
	past stats.Counters // of deleted topics; guarded by mu

	// orphans are deleted topics of which something is stored yet. The committer changes them
	// holding mu, and reads them without.
	orphans map[uint32]*topic

	redefined chan struct{} // holds something when what Callbacks tells may have changed

	publishOps sync.Pool // of *publishOp

	maxPayload atomic.Int64 // of Options; Adjust changes them
	maxPending atomic.Int64

	pending atomic.Int64 // bytes reserved
	commits commits
	health  health
	sweeper sweeper
	putOffs putOffs
	tally   tally

	drainOnce sync.Once
	done      chan struct{} // closed by Drain
	closing   chan struct{} // closed by Close: the sweeper ends
	closeOnce sync.Once
	closeErr  error
	workers   sync.WaitGroup
	sweeping  sync.WaitGroup
}

// Open starts a broker on a store, which it owns from then on: Close closes it.
// On an error the store is left open.
func Open(store store.Store, opts Options) (*Broker, error) {
	if opts.sweepInterval <= 0 {
		opts.sweepInterval = sweepEvery
	}
	if opts.maxSifted <= 0 {
		opts.siftedAtOnce, opts.maxSifted = siftedAtOnce, maxSifted
	}
	if opts.ServiceName == "" {
		opts.ServiceName = "service"
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	b := newBroker(store, opts)
	image, err := store.Load()
	if err != nil {
		return nil, err
	}
	if err := b.load(image); err != nil {
		return nil, err
	}
	if err := b.tracer.load(); err != nil {
		return nil, err
	}
	if err := b.tally.load(b); err != nil {
		return nil, err
	}
	b.commits.draft = draft{b: b, ids: map[idKey]struct{}{}}
	b.commits.draft.resume()
	b.health.checkFile() // before anything is published
	b.workers.Go(b.commits.loop)
	b.sweeping.Go(b.sweeper.loop)
	b.sweeping.Go(b.health.watchLoop)
	return b, nil
}

func newBroker(store store.Store, opts Options) *Broker {
	b := &Broker{
		opts:      opts,
		log:       opts.Logger,
		store:     store,
		auth:      login.NewAuthenticator(),
		epoch:     time.Now(),
		clients:   map[string]*client{},
		topics:    map[string]*topic{},
		topicIDs:  map[uint32]*topic{},
		producers: map[uint32]*producer{},
		consumers: map[uint32]*consumer{},
		patterns:  map[string]*pattern{},
		grants:    map[string]*grants{},
		bySubKey:  map[string]*consumer{},
		oldKeys:   oldKeys{map[string]*consumer{}, map[string]*consumer{}},
		callbacks: map[uint32]*consumer{},
		orphans:   map[uint32]*topic{},
		redefined: make(chan struct{}, 1),
		done:      make(chan struct{}),
		closing:   make(chan struct{}),
	}
	b.webhooks = webhooks{b, map[string]*webhook{}}
	b.templates.of, b.templates.byName, b.templates.made = b, map[string]*template{}, map[string]int{}
	b.clock = newClock(b.log, b.wall(b.epoch), 0)
	b.tracer = tracer{b, history.New(historyLimits(&opts))}
	b.Adjust(opts)
	b.commits = commits{b: b, gathering: gathering{wake: make(chan struct{}, 1)}}
	b.seeker.b = b
	b.lister.b = b
	b.keeper.b = b
	b.subscribing.b = b
	b.health.b, b.health.fatal = b, make(chan struct{})
	b.sweeper.b, b.sweeper.sooner, b.sweeper.size = b, make(chan struct{}, 1), sweepLeast
	return b
}

// Adjust takes over the options that can change while the broker runs: MaxPayload, MaxPending, History and HistoryMessages.
// They count for what begins from now on; what is less history than before is forgotten.
func (b *Broker) Adjust(opts Options) {
	if opts.MaxPayload <= 0 {
		opts.MaxPayload = limit.DefaultMaxPayload
	}
	if opts.MaxPending <= 0 {
		opts.MaxPending = limit.DefaultMaxPending
	}
	b.maxPayload.Store(opts.MaxPayload)
	b.maxPending.Store(opts.MaxPending)
	b.tracer.log.Adjust(historyLimits(&opts))
}

// Drain is the first step of a shutdown: long polls return what they have, and later ones do
// not wait.
func (b *Broker) Drain() { b.drainOnce.Do(func() { close(b.done) }) }

// Done is closed by Drain.
func (b *Broker) Done() <-chan struct{} { return b.done }

// Close ends the broker: what was begun is committed, what comes later is refused, the store
// is closed. After Failed it writes nothing, and its error says that something was not stored.
func (b *Broker) Close() error {
	b.closeOnce.Do(func() {
		b.Drain()
		close(b.closing)
		b.sweeping.Wait()
		flushed := b.sweeper.flush() // after Failed it only returns the error
		b.sweeper.storeHistory(true)
		b.tally.store(time.Now(), true)
		b.commits.gathering.close()
		b.workers.Wait()
		b.closeErr = errors.Join(flushed, b.store.Close())
	})
	return b.closeErr
}

// Reserve sets n bytes aside for what is about to be read of a payload, of the MaxPending that all
// payloads on their way share. Past it the error is Unavailable.
func (b *Broker) Reserve(n int64) (release func(), err error) {
	if b.pending.Add(n) > b.maxPending.Load() {
		b.pending.Add(-n)
		return nil, errOverload
	}
	return func() { b.pending.Add(-n) }, nil
}

// since returns now as a lease time.
func (b *Broker) since(now time.Time) time.Duration { return now.Sub(b.epoch) }

// wall returns what the wall clock shows at now, without what now knows of monotonic time.
func (b *Broker) wall(now time.Time) time.Time { return now.Round(0) }

// load makes the state of memory from what the store keeps.
func (b *Broker) load(image *store.Image) error {
	var err error
	if b.ids, err = newIDCodec(image.Key); err != nil {
		return err
	}
	b.key, b.lastID, b.declared = image.Key, image.LastID, image.Declared
	objects, err := decode(image)
	if err != nil {
		return err
	}
	b.install(objects)
	for _, l := range image.Lanes {
		if l.Priority <= limit.MaxPriority {
			ln := &b.topicOrOrphan(l.Topic).lanes[l.Priority]
			ln.tail.Store(l.Tail)
			ln.next, ln.bootTail, ln.head = l.Tail, l.Tail, l.Head
			ln.removed, ln.skipped, ln.nextSkipped = l.Removed, l.Skipped, l.Skipped
		}
	}
	for id, n := range image.Delayed {
		t := b.topicOrOrphan(id)
		t.nextDelayed = int64(n) // #nosec G115 -- a count of messages is far below 2^63
		t.delayed.Store(t.nextDelayed)
	}
	b.putOffs.known.Store(len(image.Delayed) == 0)
	b.loadQueues(image)
	for _, s := range image.Seen {
		switch s.Kind {
		case store.SeenProducer:
			if p := b.producers[s.ID]; p != nil {
				p.seen.load(s.At)
				if p.topic != nil {
					p.topic.lastPublish.Store(max(p.topic.lastPublish.Load(), s.At.UnixMicro()))
				}
			}
		case store.SeenConsumer:
			if c := b.consumers[s.ID]; c != nil {
				c.seen.load(s.At)
			}
		default:
			return fmt.Errorf("last-seen time of unknown kind %q", s.Kind)
		}
	}
	b.sweeper.setNextDue(image.NextDue)
	b.warnCosts()
	warnStars(b)
	return nil
}

// loadQueues brings the queues to where they were.
func (b *Broker) loadQueues(image *store.Image) {
	queues := map[uint32]*queue{}
	for _, c := range b.consumers {
		for _, q := range c.list() {
			queues[q.id] = q
		}
	}
	for _, s := range image.Cursors {
		if q := queues[s.Consumer]; q != nil && s.Priority <= limit.MaxPriority {
			q.done[s.Priority] = progress{s.Cursor.Clone(), s.Finished}
		}
	}
	for _, q := range queues {
		for p := range q.done {
			q.begin(p)
		}
	}
	for _, a := range image.Attempts {
		if q := queues[a.Consumer]; q != nil && a.Priority <= limit.MaxPriority {
			if q.done[a.Priority].Has(a.Pos) {
				q.forgetAttempt(slot{a.Priority, a.Pos})
			} else {
				q.recall(slot{a.Priority, a.Pos}, a.Count, b.since(time.Now()))
			}
		}
	}
}

// warnCosts tells of password hashes that nobody may give any more: one that is slower than others makes
// every failed login as slow.
func (b *Broker) warnCosts() {
	var names []string
	for name, c := range b.clients {
		if !login.CostAllowed(c.PasswordHash) {
			names = append(names, name)
		}
	}
	if len(names) > 0 {
		b.log.Warn("clients have password hashes of a cost that is not allowed any more: set their passwords again",
			"clients", len(names), "first", slices.Min(names), "allowed", fmt.Sprintf("%d to %d", login.MinCost, login.MaxCost))
	}
}

// warnStars tells of topics whose names would be patterns, were they new.
func warnStars(b *Broker) {
	var names []string
	for name := range b.topics {
		if isPattern(name) {
			names = append(names, name)
		}
	}
	if slices.Sort(names); len(names) > 0 {
		b.log.Warn("topics have a * in their names, which is taken as it is: for them there are no patterns of the same name",
			"topics", len(names), "names", names[:min(len(names), 10)])
	}
}

// topicOrOrphan returns the topic with a number. Of a deleted one, whose messages a run before this
// one did not get to remove, it makes an orphan.
func (b *Broker) topicOrOrphan(id uint32) *topic {
	if t := b.topicIDs[id]; t != nil {
		return t
	}
	t := b.orphans[id]
	if t == nil {
		t = &topic{id: id}
		t.deleted.Store(true)
		b.orphans[id] = t
	}
	return t
}

// lastSeen is a time that is written often and stored now and then.
type lastSeen struct {
	at     atomic.Int64 // unix microseconds; 0: never
	stored atomic.Int64
	over   atomic.Bool // whose time it is was deleted: it is not stored any more
}

func (s *lastSeen) load(t time.Time) {
	if !t.IsZero() {
		s.at.Store(t.UnixMicro())
		s.stored.Store(t.UnixMicro())
	}
}

func (s *lastSeen) set(t time.Time) { s.at.Store(t.UnixMicro()) }

func (s *lastSeen) time() time.Time {
	if v := s.at.Load(); v != 0 {
		return time.UnixMicro(v).UTC()
	}
	return time.Time{}
}

// unstored returns the time if it is newer than what is stored.
func (s *lastSeen) unstored() (time.Time, bool) {
	v := s.at.Load()
	return time.UnixMicro(v).UTC(), v != s.stored.Load() && !s.over.Load()
}
