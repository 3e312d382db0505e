package broker

import (
	"context"
	"slices"
	"time"

	"pipit/broker/browse"
	"pipit/broker/clip"
	"pipit/broker/limit"
	"pipit/broker/store"
)

// How much a page looks at in any case, and at a time.
const (
	leastScan     = 1000           // messages, or
	leastRead     = limit.MaxReply // bytes of payload, at which a page looks whatever the time
	maxHeldListed = 20_000         // of what was delivered, listed at a time
)

// Bounds of one step of browsing, which is one View of the store.
const (
	stepRecords = 2000
	stepBytes   = 2 << 20 // of payload
	stepTime    = 2 * time.Millisecond
	stepSpans   = 256 // each is a search
	stepFound   = 64  // at least so many are looked for, since their states may rule them out
)

// Browse returns a page of messages: by priority, the highest first, and within it in the order of
// publishing or the opposite; delayed ones by when they are due. It looks in short steps, so that it holds up
// nobody. Messages that expired or that nobody needs any more, but are not swept yet, are left out.
// The errors are Invalid, NotFound and, when ctx ends, Unavailable.
func (b *Broker) Browse(ctx context.Context, o browse.Options) (browse.Page, error) {
	x := &browsing{b: b, o: o, now: time.Now()}
	if err := x.prepare(); err != nil {
		return browse.Page{}, err
	}
	if x.topic == nil {
		return x.page, nil // a pattern that no topic matches, or no topic has messages
	}
	fill := x.lanes
	if o.State == browse.Delayed {
		fill = x.delayed
	}
	for {
		if err := fill(ctx); err != nil {
			return browse.Page{}, err
		}
		if x.page.Next != "" || len(x.rest) == 0 {
			return x.page, nil
		}
		x.enter(x.rest[0])
		x.rest, x.slots, x.cut = x.rest[1:], nil, false
	}
}

// enter begins with one topic, or what one queue has of it.
func (x *browsing) enter(p browsePart) {
	x.q, x.topic = p.queue, p.topic
	x.first()
}

// browsing is one Browse.
type browsing struct {
	b       *Broker
	o       browse.Options
	now     time.Time
	text    textMatcher
	topic   *topic
	q       *queue            // nil: the topic as a whole
	rest    []browsePart      // that are looked at later
	several bool              // parts are looked at, one after another
	any     map[uint32]*topic // whose delayed messages are looked at together; nil: those of topic
	from    browseCursor
	slots   []slot                        // what was delivered and is in the state that is asked for, in order
	cut     bool                          // there may be more behind the last of the slots
	next    [limit.MaxPriority + 1]uint64 // with StateWaiting: what was not delivered begins there
	page    browse.Page
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
	browse.Stored
	slot
	key    string // of a delayed one: of the one before it
	before int    // messages that were looked at before it
}

func (x *browsing) prepare() error {
	o := &x.o
	if o.Limit == 0 {
		o.Limit = browse.Default
	}
	if o.Limit < 1 || o.Limit > browse.Max {
		return Invalidf("limit %d: allowed are 1 to %d", o.Limit, browse.Max).of("limit")
	}
	if o.Priority != 0 {
		if err := limit.CheckPriority(int64(o.Priority)); err != nil {
			return ours(err)
		}
	}
	switch o.State {
	case "", browse.Waiting, browse.InFlight, browse.Deferred, browse.Delayed:
	default:
		return Invalidf("state %q: allowed are %s, %s, %s and %s", clip.Input(string(o.State)),
			browse.Waiting, browse.InFlight, browse.Deferred, browse.Delayed).of("state")
	}
	if len(o.Text) > browse.MaxText {
		return Invalidf("text of %d bytes: allowed are at most %d", len(o.Text), browse.MaxText).of("text")
	}
	if !o.Since.IsZero() && !o.Until.IsZero() && !o.Since.Before(o.Until) {
		return Invalidf("until %s: must be after since", o.Until.UTC().Format(time.RFC3339Nano)).of("until")
	}
	x.text = newTextMatcher(o.Text, o.Case)
	if err := x.choose(); err != nil {
		return err
	}
	return x.resume()
}

// lanes makes the page of messages that can be delivered or were.
func (x *browsing) lanes(ctx context.Context) error {
	if x.ofHeld() {
		x.listHeld()
	}
	least := limit.MinPriority
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

// ofHeld tells whether what was delivered has to be known before messages are read.
func (x *browsing) ofHeld() bool {
	return x.o.State == browse.InFlight || x.o.State == browse.Deferred || x.o.State == browse.Waiting && x.q != nil
}

// lane looks at one priority from a position on (0: at all of it), and tells whether the page has ended.
func (x *browsing) lane(ctx context.Context, p int, at uint64) (ended bool, err error) {
	low, high, err := x.bounds(p, at)
	if err != nil {
		return false, err
	}
	for low <= high {
		if ctx.Err() != nil {
			return false, callerLeft(ctx)
		}
		spans, next := x.spans(p, low, high)
		if len(spans) > 0 {
			x.page.Next = x.cursor(uint8(p), x.begin(spans[0])) // #nosec G115 -- a priority is 1 to 9
			if x.spent() {
				return true, nil
			}
			if next, err = x.step(laneRef{x.topic, p}.key(), spans, next); err != nil {
				return false, err
			}
			x.stand()
			for i := range x.found {
				if f := &x.found[i]; !x.add(f) {
					x.page.Next, x.page.Scanned = x.cursor(f.priority, f.pos), f.before
					return true, nil
				}
			}
			x.page.Next = ""
		}
		if x.o.Newest {
			high = next
		} else {
			low = next
		}
	}
	return false, nil
}

// begin returns the position of a span that is looked at first.
func (x *browsing) begin(s store.Span) uint64 {
	if x.o.Newest {
		return s.To
	}
	return s.From
}

func (x *browsing) cursor(priority uint8, pos uint64) string {
	return browseCursor{newest: x.o.Newest, topic: x.topic.id, priority: priority, pos: pos}.String()
}

// spent tells whether the page has looked for as long as it may.
func (x *browsing) spent() bool {
	return time.Since(x.now) >= browse.Time && (x.page.Scanned >= leastScan || x.read >= leastRead)
}

// add puts a message on the page, unless there is no room for it.
func (x *browsing) add(f *found) bool {
	if f.State == browse.Done || x.o.State != "" && f.State != x.o.State {
		return true
	}
	n := len(x.page.Messages)
	if n == x.o.Limit || n > 0 && x.bytes+len(f.Payload) > limit.MaxReply {
		return false
	}
	x.page.Messages = append(x.page.Messages, f.Stored)
	x.bytes += len(f.Payload)
	return true
}

// bounds returns the part of a lane from where to where, both included, that can be of interest, beginning at a position
// (0: with all of it).
func (x *browsing) bounds(p int, at uint64) (from, end uint64, err error) {
	t := x.topic
	from, end = 1, t.lanes[p].tail.Load()
	switch {
	case at == 0:
	case x.o.Newest:
		end = min(end, at)
	default:
		from = at
	}
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

// spans returns the next ranges of a priority between low and high that may hold what is looked for, in the order in which
// they are looked at, and the position at which to go on behind them. There may be none, and yet some behind that.
func (x *browsing) spans(p int, low, high uint64) (list []store.Span, next uint64) {
	if x.ofHeld() {
		low, high = x.listed(p, low, high)
	}
	switch {
	case x.o.State == browse.InFlight || x.o.State == browse.Deferred:
		list = x.held(p, low, high, stepSpans)
	case x.q == nil:
		list = []store.Span{{From: low, To: high}}
	case x.o.Newest:
		return x.downwards(p, low, high)
	default:
		return x.upwards(p, low, high)
	}
	return list, x.behind(list, low, high)
}

// behind returns the position at which to go on behind spans, or behind all between low and high where there are none.
func (x *browsing) behind(list []store.Span, low, high uint64) uint64 {
	n := len(list)
	switch {
	case n > 0 && x.o.Newest:
		return list[n-1].From - 1
	case n > 0:
		return list[n-1].To + 1
	case x.o.Newest:
		return low - 1
	}
	return high + 1
}

// upwards are spans of what a consumer is not done with.
func (x *browsing) upwards(p int, low, high uint64) (list []store.Span, next uint64) {
	from := low
	if x.o.State == browse.Waiting { // what came back, and what was not read yet
		list = x.held(p, low, min(high, x.next[p]-1), stepSpans)
		from = max(low, x.next[p])
	}
	if len(list) < stepSpans {
		list = append(list, x.q.needed(p, from, high, stepSpans-len(list))...)
	}
	return list, x.behind(list, low, high)
}

// downwards is likewise from high to low, a window at a time: what a consumer is not done with is known upwards alone.
func (x *browsing) downwards(p int, low, high uint64) (list []store.Span, next uint64) {
	if x.o.State == browse.Waiting {
		if high < x.next[p] {
			list = x.held(p, low, high, stepSpans)
			return list, x.behind(list, low, high)
		}
		low = max(low, x.next[p])
	}
	low = max(low, high-min(high, stepRecords-1))
	list = x.q.needed(p, low, high, stepRecords)
	slices.Reverse(list)
	return list, low - 1
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
			err := r.Scan(l, x.begin(s), x.o.Newest, func(rec *store.Record) bool {
				if rec.Pos < s.From || rec.Pos > s.To {
					return false
				}
				x.match(x.topic, rec, "")
				if stop = x.enough(); stop {
					next = rec.Pos + 1
					if x.o.Newest {
						next = rec.Pos - 1
					}
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
	return len(x.found) >= x.full || x.records >= stepRecords || x.size >= stepBytes || time.Since(x.start) >= stepTime
}

// match takes a message in that may belong to the page. before is the key of the delayed one before it.
func (x *browsing) match(t *topic, rec *store.Record, before string) {
	x.records++
	x.page.Scanned++
	x.size += len(rec.Payload)
	x.read += len(rec.Payload)
	due, expireAt := rec.Due(), rec.ExpireAt()
	switch {
	case !expireAt.IsZero() && !expireAt.After(x.b.expiryNow(x.now)):
	case !x.o.Since.IsZero() && due.Before(x.o.Since):
	case !x.o.Until.IsZero() && !due.Before(x.o.Until):
	case !x.text.in(rec.Payload):
	default:
		x.found = append(x.found, found{x.b.stored(t, rec, x.o.Payload), slot{rec.Priority, rec.Pos}, before, x.page.Scanned - 1})
	}
}

// delayed makes the page of messages that wait for their delay.
func (x *browsing) delayed(ctx context.Context) error {
	if x.any == nil && x.topic.delayed.Load() == 0 {
		return nil
	}
	of := func(rec *store.Record) *topic {
		if x.any != nil {
			return x.any[rec.Topic]
		}
		if rec.Topic == x.topic.id {
			return x.topic
		}
		return nil
	}
	cursor := func(key string) string {
		return browseCursor{delayed: true, topic: x.from.topic, key: key}.String()
	}
	after := x.from.key
	for end := false; !end; {
		if ctx.Err() != nil {
			return callerLeft(ctx)
		}
		x.page.Next = cursor(after)
		if x.spent() {
			return nil
		}
		end = true
		err := x.view(func(r store.Reader) error {
			return r.ScanDelayed(after, func(d store.Delayed) bool {
				if !x.o.Until.IsZero() && !d.Record.Due().Before(x.o.Until) {
					return false
				}
				if rec := d.Record; of(rec) != nil && (x.o.Priority == 0 || int(rec.Priority) == x.o.Priority) {
					x.match(of(rec), rec, after)
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
			if f.State = browse.Delayed; !x.add(f) {
				x.page.Next, x.page.Scanned = cursor(f.key), f.before
				return nil
			}
		}
	}
	x.page.Next = ""
	return nil
}
