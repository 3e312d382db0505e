package broker

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"sort"
	"time"

	"pipit/broker/clip"
	"pipit/broker/store"
)

// State is where a message stands: with a topic as a whole, or with one consumer.
type State string

const (
	StateWaiting  State = "waiting"   // to be delivered
	StateInFlight State = "in_flight" // delivered, not acknowledged
	StateDeferred State = "deferred"  // rejected with a delay that is not over
	StateDelayed  State = "delayed"   // published with a delay that is not over
	StateDone     State = "done"      // acknowledged, or before the consumer began
)

// Bounds of browsing. A page never looks at more than MaxBrowseScan messages.
const (
	DefaultBrowse = 100
	MaxBrowse     = 1000
	MaxBrowseScan = 20_000
	MaxBrowseText = 256 // bytes

	maxBrowseBytes = 64 << 20 // of payload that a page looks at, unless one message passes it
)

// Bounds of one step of browsing, which is one View of the store.
const (
	stepRecords = 2000
	stepBytes   = 2 << 20 // of payload
	stepTime    = 2 * time.Millisecond
	stepSpans   = 256 // each is a search
	stepFound   = 64  // at least so many are looked for, since their states may rule them out
)

// BrowseOptions say what to look at. Nothing is consumed, nothing counts as delivered.
type BrowseOptions struct {
	Topic    string // name; required where Consumer is 0
	Consumer uint32 // only what this consumer is not done with, with its states; where it is of a pattern and no Topic is given, one topic after another
	State    State  // empty: waiting, in flight and deferred; StateDelayed: what waits for its delay
	Priority int    // 0: all
	Since    time.Time
	Until    time.Time // messages created within Since (included) and Until (not), those with a delay: due within; zero: no bound
	Text     string    // that the payload contains, byte by byte
	Limit    int       // at most so many, 1 to 1000; default 100
	Cursor   string    // Page.Next of the page before
	Payload  int       // bytes of each payload to return at most; negative: all of it
}

// Page is what a Browse has found. It ends early where the payloads reach MaxReply bytes.
type Page struct {
	Messages []Stored
	Next     string // where to go on; empty at the end
	Scanned  int    // messages looked at: with a Text, a page may be empty and yet have a Next
}

// Stored is a message as an administrator sees it.
type Stored struct {
	ID         string
	Topic      string
	Priority   int
	Created    time.Time
	Due        time.Time // when it can be delivered first: Created and the delay
	Expiration int64     // seconds, 0: does not expire
	ExpireAt   time.Time // zero where it does not expire
	Producer   string
	MIMEType   string
	Size       int    // bytes of the payload
	Payload    []byte // the first of them, as many as were asked for
	State      State  // with BrowseOptions.Consumer, else StateInFlight or StateDeferred where it is for anybody
	Extra      *Extra // not to be changed; nil: nothing
	Deliveries int    // with BrowseOptions.Consumer: how often it was delivered, as far as is known
}

// Standing is where a message stands with one consumer.
type Standing struct {
	Consumer   uint32
	Client     string
	State      State
	Deliveries int
	Until      time.Time // of StateInFlight and StateDeferred: when it is delivered again
}

// Browse returns a page of messages: by priority, the highest first, and within it in the order of
// publishing; delayed ones by when they are due. It looks in short steps, so that it holds up
// nobody. Messages that expired or that nobody needs any more, but are not swept yet, are left out.
// The errors are Invalid, NotFound and, when ctx ends, Unavailable.
func (b *Broker) Browse(ctx context.Context, o BrowseOptions) (Page, error) {
	x := &browsing{b: b, o: o, now: time.Now()}
	if err := x.prepare(); err != nil {
		return Page{}, err
	}
	if x.topic == nil {
		return Page{}, nil // a pattern that no topic matches
	}
	fill := x.lanes
	if o.State == StateDelayed {
		fill = x.delayed
	}
	for {
		if err := fill(ctx); err != nil {
			return Page{}, err
		}
		if x.page.Next != "" || len(x.rest) == 0 {
			return x.page, nil
		}
		x.enter(x.rest[0])
		x.rest, x.slots = x.rest[1:], nil
	}
}

// enter begins with what one queue has.
func (x *browsing) enter(q *queue) {
	x.q, x.topic = q, q.topic
	x.first()
}

// browsing is one Browse.
type browsing struct {
	b       *Broker
	o       BrowseOptions
	now     time.Time
	text    []byte
	topic   *topic
	q       *queue   // nil: the topic as a whole
	rest    []*queue // of the consumer, of topics that are looked at later
	several bool     // topics of the consumer are looked at, one after another
	from    browseCursor
	slots   []slot                  // what was delivered and is in the state that is asked for, in order
	next    [MaxPriority + 1]uint64 // with StateWaiting: what was not delivered begins there
	page    Page
	bytes   int // of the page's payloads
	read    int // bytes of payload looked at

	// Of a step.
	found   []found
	full    int // so many are found: enough
	records int
	size    int
	start   time.Time
}

// found is a message that may belong to the page.
type found struct {
	Stored
	slot
	key string // of a delayed one: of the one before it
}

func (x *browsing) prepare() error {
	o := &x.o
	if o.Limit == 0 {
		o.Limit = DefaultBrowse
	}
	if o.Limit < 1 || o.Limit > MaxBrowse {
		return Invalidf("limit %d: allowed are 1 to %d", o.Limit, MaxBrowse).of("limit")
	}
	if o.Priority != 0 {
		if err := CheckPriority(int64(o.Priority)); err != nil {
			return err
		}
	}
	switch o.State {
	case "", StateWaiting, StateInFlight, StateDeferred, StateDelayed:
	default:
		return Invalidf("state %q: allowed are %s, %s, %s and %s", clip.Input(string(o.State)),
			StateWaiting, StateInFlight, StateDeferred, StateDelayed).of("state")
	}
	if len(o.Text) > MaxBrowseText {
		return Invalidf("text of %d bytes: allowed are at most %d", len(o.Text), MaxBrowseText).of("text")
	}
	if !o.Since.IsZero() && !o.Until.IsZero() && !o.Since.Before(o.Until) {
		return Invalidf("until %s: must be after since", o.Until.UTC().Format(time.RFC3339Nano)).of("until")
	}
	x.text = []byte(o.Text)
	if o.Consumer != 0 {
		c := x.b.consumer(o.Consumer)
		if c == nil {
			return noConsumer(o.Consumer)
		}
		if !x.queues(c) {
			return noConsumer(o.Consumer)
		}
	} else if x.topic = x.b.topic(o.Topic); x.topic == nil {
		return noTopic(o.Topic)
	}
	return x.resume()
}

// queues chooses those of a consumer's queues that are looked at. It tells whether there are any.
func (x *browsing) queues(c *consumer) bool {
	list := c.list()
	switch {
	case c.merge == nil:
		if x.o.Topic != "" && x.o.Topic != list[0].topic.def.Load().Name {
			return false
		}
	case x.o.Topic != "":
		t := x.b.topic(x.o.Topic)
		if t == nil {
			return false
		}
		q := c.queueOf(t.id)
		if q == nil {
			return false
		}
		list = []*queue{q}
	default:
		x.several = true
		list = slices.SortedFunc(slices.Values(list), func(a, b *queue) int { return cmp.Compare(a.topic.id, b.topic.id) })
		if from, ok := parseBrowseCursor(x.o.Cursor); ok { // of what is gone meanwhile, the next one
			list = list[sort.Search(len(list), func(i int) bool { return list[i].topic.id >= from.topic }):]
		}
	}
	if len(list) == 0 {
		return true
	}
	x.q, x.topic, x.rest = list[0], list[0].topic, list[1:]
	return true
}

// first begins with the first message.
func (x *browsing) first() {
	x.from = browseCursor{delayed: x.o.State == StateDelayed, topic: x.topic.id, priority: MaxPriority}
	if x.o.Priority != 0 {
		x.from.priority = uint8(x.o.Priority) // #nosec G115 -- a priority is 1 to 9
	}
}

// resume begins where the page before has ended.
func (x *browsing) resume() error {
	o := &x.o
	if x.topic == nil {
		return nil
	}
	x.first()
	if o.Cursor == "" {
		return nil
	}
	c, ok := parseBrowseCursor(o.Cursor)
	if ok && x.several && c.topic < x.topic.id {
		return nil // the topic is gone
	}
	if !ok || c.delayed != x.from.delayed || c.topic != x.topic.id ||
		!c.delayed && o.Priority != 0 && int(c.priority) != o.Priority {
		return Invalidf("cursor %q: not one of these pages", clip.Input(o.Cursor)).of("cursor")
	}
	x.from = c
	return nil
}

// lanes makes the page of messages that can be delivered or were.
func (x *browsing) lanes(ctx context.Context) error {
	if x.o.State == StateInFlight || x.o.State == StateDeferred || x.o.State == StateWaiting && x.q != nil {
		x.listHeld()
	}
	least := MinPriority
	if x.o.Priority != 0 {
		least = x.o.Priority
	}
	for p := int(x.from.priority); p >= least; p-- {
		if more, err := x.lane(ctx, p, x.from.pos); err != nil || more {
			return err
		}
		x.from.pos = 0
	}
	return nil
}

// lane looks at one priority, and tells whether the page has ended.
func (x *browsing) lane(ctx context.Context, p int, pos uint64) (ended bool, err error) {
	pos, end, err := x.bounds(p, pos)
	if err != nil {
		return false, err
	}
	for {
		if ctx.Err() != nil {
			return false, callerLeft(ctx)
		}
		spans, next := x.spans(p, pos, end)
		if len(spans) == 0 {
			return false, nil
		}
		x.page.Next = browseCursor{topic: x.topic.id, priority: uint8(p), pos: spans[0].From}.String() // #nosec G115 -- a priority is 1 to 9
		if x.spent() {
			return true, nil
		}
		if pos, err = x.step(laneRef{x.topic, p}.key(), spans, next); err != nil {
			return false, err
		}
		x.stand()
		for i := range x.found {
			if f := &x.found[i]; !x.add(f) {
				x.page.Next = browseCursor{topic: x.topic.id, priority: f.priority, pos: f.pos}.String()
				return true, nil
			}
		}
		x.page.Next = ""
	}
}

// spent tells whether the page has looked at as much as it may.
func (x *browsing) spent() bool {
	return x.page.Scanned >= MaxBrowseScan || x.read >= maxBrowseBytes
}

// add puts a message on the page, unless there is no room for it.
func (x *browsing) add(f *found) bool {
	if f.State == StateDone || x.o.State != "" && f.State != x.o.State {
		return true
	}
	n := len(x.page.Messages)
	if n == x.o.Limit || n > 0 && x.bytes+len(f.Payload) > MaxReply {
		return false
	}
	x.page.Messages = append(x.page.Messages, f.Stored)
	x.bytes += len(f.Payload)
	return true
}

// bounds returns the part of a lane from pos to end, both included, that can be of interest.
func (x *browsing) bounds(p int, pos uint64) (from, end uint64, err error) {
	t := x.topic
	end = t.lanes[p].tail.Load()
	from = max(pos, 1)
	if x.q == nil {
		needed := end + 1 // from here on somebody needs them
		list := t.list()
		for _, q := range list {
			q.of.mu.Lock()
			needed = min(needed, q.done[p].Lowest())
			q.of.mu.Unlock()
			if needed <= from {
				break
			}
		}
		if len(list) > 0 {
			from = max(from, needed)
		}
	}
	if from > end || x.o.Since.IsZero() && x.o.Until.IsZero() {
		return from, end, nil
	}
	// Publishes that are committed together are not quite in the order of their times.
	const slack = 50 * time.Millisecond
	err = x.b.store.View(func(r store.Reader) error {
		lane := laneRef{t, p}.key()
		low, high := from, end
		if !x.o.Since.IsZero() {
			if from, err = dueFrom(r, lane, low, high, x.o.Since.Add(-slack)); err != nil {
				return err
			}
		}
		if !x.o.Until.IsZero() {
			if end, err = dueFrom(r, lane, low, high, x.o.Until.Add(slack)); err != nil {
				return err
			}
			end-- // positions begin at 1
		}
		return nil
	})
	return from, end, err
}

// dueFrom returns the first position within from and to, both included, whose message was due at
// a time or later, to+1 where there is none: a search, since the times rise along a lane.
func dueFrom(r store.Reader, l store.Lane, from, to uint64, at time.Time) (uint64, error) {
	low, high := from, to+1
	for low < high {
		mid := low + (high-low)/2
		later := true // where nothing is left
		next := mid
		err := r.Scan(l, mid, false, func(rec *store.Record) bool {
			if rec.Pos < high {
				later, next = !rec.Due().Before(at), rec.Pos
			}
			return false
		})
		if err != nil {
			return 0, err
		}
		if later {
			high = mid
		} else {
			low = next + 1
		}
	}
	return low, nil
}

// spans returns the next ranges of a priority that may hold what is looked for, at least one where
// there is any up to end, and the position behind which they leave off.
func (x *browsing) spans(p int, pos, end uint64) (list []store.Span, next uint64) {
	switch {
	case pos > end:
		return nil, pos
	case x.o.State == StateInFlight || x.o.State == StateDeferred:
		list = x.held(p, pos, end)
	case x.q == nil:
		list = []store.Span{{From: pos, To: end}}
	case x.o.State == StateWaiting: // what came back, and what was not read yet
		if list = x.held(p, pos, min(end, x.next[p]-1)); len(list) < stepSpans {
			list = append(list, x.q.needed(p, max(pos, x.next[p]), end, stepSpans-len(list))...)
		}
	default:
		list = x.q.needed(p, pos, end, stepSpans)
	}
	if len(list) == 0 {
		return nil, pos
	}
	return list, list[len(list)-1].To + 1
}

// held returns the next ranges of what listHeld has listed.
func (x *browsing) held(p int, pos, end uint64) (list []store.Span) {
	i := sort.Search(len(x.slots), func(i int) bool {
		s := x.slots[i]
		return int(s.priority) < p || int(s.priority) == p && s.pos >= pos
	})
	for ; i < len(x.slots) && int(x.slots[i].priority) == p && x.slots[i].pos <= end && len(list) < stepSpans; i++ {
		list = addSpan(list, store.Span{From: x.slots[i].pos, To: x.slots[i].pos})
	}
	return list
}

// addSpan appends a span behind the others.
func addSpan(list []store.Span, s store.Span) []store.Span {
	if n := len(list); n > 0 && list[n-1].To+1 == s.From {
		list[n-1].To = s.To
		return list
	}
	return append(list, s)
}

// needed returns at most so many ranges, the first from pos to end that the consumer is not done with.
func (q *queue) needed(p int, pos, end uint64, most int) (list []store.Span) {
	q.of.mu.Lock()
	defer q.of.mu.Unlock()
	for len(list) < most {
		if pos = q.done[p].Next(pos); pos > end {
			break
		}
		s := store.Span{From: pos, To: min(q.done[p].GapEnd(pos), end)}
		list = append(list, s)
		if s.To == end {
			break
		}
		pos = s.To + 1
	}
	return list
}

// step looks at messages of a lane within spans, and returns the position at which to go on,
// next where it has looked at all.
func (x *browsing) step(l store.Lane, spans []store.Span, next uint64) (uint64, error) {
	err := x.view(func(r store.Reader) error {
		for _, s := range spans {
			stop := false
			err := r.Scan(l, s.From, false, func(rec *store.Record) bool {
				if rec.Pos > s.To {
					return false
				}
				x.match(rec, "")
				if stop = x.enough(); stop {
					next = rec.Pos + 1
				}
				return !stop
			})
			if err != nil || stop {
				return err
			}
		}
		return nil
	})
	return next, err
}

// view is one step over the store.
func (x *browsing) view(fn func(store.Reader) error) error {
	x.found = x.found[:0]
	x.full = max(x.o.Limit+1-len(x.page.Messages), stepFound)
	x.records, x.size, x.start = 0, 0, time.Now()
	return x.b.store.View(fn)
}

// enough tells whether the step has looked at as much as it may.
func (x *browsing) enough() bool {
	return len(x.found) >= x.full || x.records >= stepRecords || x.size >= stepBytes || x.spent() || time.Since(x.start) >= stepTime
}

// match takes a message in that may belong to the page. before is the key of the delayed one before it.
func (x *browsing) match(rec *store.Record, before string) {
	x.records++
	x.page.Scanned++
	x.size += len(rec.Payload)
	x.read += len(rec.Payload)
	due, expireAt := rec.Due(), rec.ExpireAt()
	switch {
	case !expireAt.IsZero() && !expireAt.After(x.b.expiryNow(x.now)):
	case !x.o.Since.IsZero() && due.Before(x.o.Since):
	case !x.o.Until.IsZero() && !due.Before(x.o.Until):
	case len(x.text) > 0 && !bytes.Contains(rec.Payload, x.text):
	default:
		x.found = append(x.found, found{x.b.stored(x.topic, rec, x.o.Payload), slot{rec.Priority, rec.Pos}, before})
	}
}

// delayed makes the page of messages that wait for their delay.
func (x *browsing) delayed(ctx context.Context) error {
	if x.topic.delayed.Load() == 0 {
		return nil
	}
	after := x.from.key
	for end := false; !end; {
		if ctx.Err() != nil {
			return callerLeft(ctx)
		}
		x.page.Next = browseCursor{delayed: true, topic: x.topic.id, key: after}.String()
		if x.spent() {
			return nil
		}
		end = true
		err := x.view(func(r store.Reader) error {
			return r.ScanDelayed(after, func(d store.Delayed) bool {
				if !x.o.Until.IsZero() && !d.Record.Due().Before(x.o.Until) {
					return false
				}
				if rec := d.Record; rec.Topic == x.topic.id && (x.o.Priority == 0 || int(rec.Priority) == x.o.Priority) {
					x.match(rec, after)
				} else {
					x.records++
					x.page.Scanned++
				}
				after = d.Key
				end = !x.enough()
				return end
			})
		})
		if err != nil {
			return err
		}
		for i := range x.found {
			f := &x.found[i]
			if f.State = StateDelayed; !x.add(f) {
				x.page.Next = browseCursor{delayed: true, topic: x.topic.id, key: f.key}.String()
				return nil
			}
		}
	}
	x.page.Next = ""
	return nil
}
