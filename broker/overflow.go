package broker

import (
	"bytes"
	"slices"
	"time"

	"pipit/broker/store"
)

// A consumer whose Overflow is not OverflowReject refuses no publish: past its max_depth it is done with its oldest
// messages, in the commit of the publish, those of all its topics and priorities in the order of their publishing. What
// is in flight stays as long as something else waits, and what waits for a dead-letter topic stays for good. While the
// commit is under way the messages have leases that are settling, so that nobody is given them.
//
// One publish makes two messages go at the most for each that it stores, where max_depth was lowered. Those that go to a
// dead-letter topic are read in the turn, and so are those of a consumer that has several priorities, to know which is
// the oldest: no more of them than yieldBytes in one commit.

const (
	yieldAhead = 256      // messages that are read ahead of a lane
	yieldBytes = 16 << 20 // of payload, of one commit
)

var errYield = &Error{Code: Full, RetryAfter: time.Second,
	Message: "The backlog of a consumer is full, and more than 16 MiB of its oldest messages would have to go at once (overflow)"}

// yielder finds the oldest messages of a consumer for one commit.
type yielder struct {
	c       *consumer
	letters bool // they are to be read whole
	blind   bool // one lane is all: which is the oldest follows from the positions
	flying  bool // nothing else is left
	sources []*yieldLane
	seen    int // of draft.batch.Append
}

// yieldLane is a lane of one of a yielder's queues.
type yieldLane struct {
	laneRef
	q    *queue
	next uint64         // stored positions from here on were not looked at
	list []store.Record // stored; without a payload, unless it is to be moved
	more []store.Record // of this commit
}

// seized is a message that a consumer gives up in the running commit.
type seized struct {
	l     *lease
	was   leaseState
	fresh bool // it had no lease
	moved bool // to the dead-letter topic
}

// makeRoom lets the consumers of a topic that do so give up their oldest messages, so that as many more as coming says
// for the filter of each are within their max_depth. On an error nothing has changed. deep is false where that must not
// make anything go: then the error is Full instead.
func (d *draft) makeRoom(t *topic, coming func(*filter) int64, deep bool) error {
	if len(t.yielding) == 0 {
		return nil
	}
	begin := len(d.seized)
	for _, q := range t.yielding {
		def, n := q.of.def.Load(), coming(q.of.filter.Load())
		if n == 0 {
			continue
		}
		if n > def.MaxDepth {
			d.restore(begin)
			return Invalidf("batch of %d messages: allowed by max_depth are %d", n, def.MaxDepth).of("max_depth")
		}
		if q.of.spare >= n {
			continue
		}
		if q.of.spare = def.MaxDepth - q.of.backlog(); q.of.spare >= n {
			continue
		}
		err := error(errFull)
		if deep {
			err = d.seize(q, min(n-q.of.spare, 2*n), def.Overflow == OverflowDeadLetter)
		}
		if err != nil {
			d.restore(begin)
			return err
		}
	}
	d.yield(begin)
	return nil
}

// seize takes the n oldest messages of a queue's consumer, and where they are to be moved, room for them.
func (d *draft) seize(q *queue, n int64, letters bool) error {
	y := d.yielders[q.of]
	if y == nil {
		y = newYielder(q.of, letters)
		if d.yielders == nil {
			d.yielders = map[*consumer]*yielder{}
		}
		d.yielders[q.of] = y
	}
	for n > 0 {
		src, err := y.oldest(d)
		if err != nil {
			return err
		}
		if src == nil {
			return errFull
		}
		rec := src.pop()
		s, ok := src.take(&rec, y.flying)
		if !ok {
			continue // it was leased or settled meanwhile
		}
		s.moved = letters
		d.seized, d.letters = append(d.seized, s), append(d.letters, rec)
		if letters {
			if _, err := d.graveOf(src.q, false); err != nil {
				return errFull
			}
		}
		n--
	}
	return nil
}

// yield finishes what was seized from begin on.
func (d *draft) yield(begin int) {
	byOwner := map[*queue][]*lease{}
	for i := begin; i < len(d.seized); i++ {
		s := &d.seized[i]
		byOwner[s.l.q] = append(byOwner[s.l.q], s.l)
		if s.moved {
			t := d.b.topics[s.l.q.of.def.Load().DeadLetterTopic]
			d.putLetter(t, s.l.q, &d.letters[i], s.l.count, byOverflow)
		}
	}
	for q, leases := range byOwner {
		slices.SortFunc(leases, byQueue)
		d.settle(q, leases)
		q.of.spare = q.of.def.Load().MaxDepth - q.of.backlog()
	}
}

// restore gives back what was seized from begin on.
func (d *draft) restore(begin int) {
	for _, s := range d.seized[begin:] {
		c := s.l.q.of
		c.mu.Lock()
		switch {
		case s.l.pos > s.l.q.topic.lanes[s.l.priority].tail.Load(): // it is not stored
			c.drop(s.l)
		case s.was == leased || s.was == deferred:
			c.hold(s.l, s.was, s.l.until)
		default:
			c.giveBack(s.l)
		}
		c.wakeOne()
		c.mu.Unlock()
	}
	clear(d.letters[begin:])
	d.seized, d.letters = d.seized[:begin], d.letters[:begin]
	if begin == 0 {
		clear(d.yielders)
	} else {
		for _, y := range d.yielders {
			y.flying = false
			y.rewind()
		}
	}
}

// yielded forgets the leases of what has gone, and counts it. The commit is done.
func (d *draft) yielded() {
	d.recordSeized()
	for _, s := range d.seized {
		c := s.l.q.of
		c.mu.Lock()
		c.drop(s.l)
		c.mu.Unlock()
		counts := [2]*failureCounters{&c.counters.dropped, &s.l.q.topic.counters.dropped}
		if s.moved {
			counts = [2]*failureCounters{&c.counters.deadLettered, &s.l.q.topic.counters.deadLettered}
		}
		for _, f := range counts {
			f[byOverflow].Add(1)
		}
	}
}

func newYielder(c *consumer, letters bool) *yielder {
	y := &yielder{c: c, letters: letters}
	for _, q := range c.list() {
		for p := range q.topic.lanes {
			if q.topic.lanes[p].next > 0 {
				y.sources = append(y.sources, &yieldLane{laneRef: laneRef{q.topic, p}, q: q, next: 1})
			}
		}
	}
	y.blind = !letters && len(y.sources) == 1
	return y
}

// rewind begins anew.
func (y *yielder) rewind() {
	y.seen = 0
	for _, src := range y.sources {
		src.next, src.list, src.more = 1, nil, nil
	}
}

// oldest returns the lane with the oldest message, nil where there is none.
func (y *yielder) oldest(d *draft) (found *yieldLane, err error) {
	for {
		y.gather(d)
		for _, src := range y.sources {
			if err := y.fill(d, src); err != nil {
				return nil, err
			}
			if r := src.head(); r != nil && (found == nil || r.Created.Before(found.head().Created)) {
				found = src
			}
		}
		if found != nil || y.flying {
			return found, nil
		}
		y.flying = true
		y.rewind()
	}
}

// gather takes in what this commit appends.
func (y *yielder) gather(d *draft) {
	for ; y.seen < len(d.batch.Append); y.seen++ {
		r := d.batch.Append[y.seen]
		q := y.c.queueOf(r.Topic)
		if q == nil || q.isDone(int(r.Priority), r.Pos) {
			continue
		}
		i := slices.IndexFunc(y.sources, func(src *yieldLane) bool { return src.q == q && src.p == int(r.Priority) })
		if i < 0 {
			i = len(y.sources)
			y.sources = append(y.sources, &yieldLane{laneRef: laneRef{q.topic, int(r.Priority)}, q: q, next: 1})
		}
		y.sources[i].more = append(y.sources[i].more, *r)
	}
}

// fill looks at what is stored of a lane, where nothing is left of it.
func (y *yielder) fill(d *draft, src *yieldLane) error {
	tail := src.lane().tail.Load()
	if len(src.list) > 0 || src.next > tail {
		return nil
	}
	return d.b.store.View(func(r store.Reader) error {
		for src.next <= tail && len(src.list) < yieldAhead {
			if src.next = src.skip(src.next, tail, y.flying); src.next > tail {
				return nil
			}
			before, bytes := src.next, d.yieldBytes
			err := y.scan(d, r, src, tail)
			switch {
			case err != nil:
				return err
			case src.next == before:
				src.next = tail + 1
			case d.yieldBytes > yieldBytes:
				return errYield
			case d.yieldBytes > bytes+yieldBytes/16:
				return nil
			}
		}
		return nil
	})
}

// scan reads what follows of a lane, up to what its queue is done with or has in flight.
func (y *yielder) scan(d *draft, r store.Reader, src *yieldLane, tail uint64) error {
	expected, begin := src.next, d.yieldBytes
	if y.blind {
		return r.Stored(src.key(), store.Span{From: src.next, To: tail}, func(pos uint64) bool {
			src.next = pos
			if pos != expected && src.skip(pos, tail, y.flying) != pos {
				return false
			}
			src.list = append(src.list, store.Record{Place: store.Place{Lane: src.key(), Pos: pos}})
			src.next, expected = pos+1, pos+1
			return len(src.list) < yieldAhead
		})
	}
	return r.Scan(src.key(), src.next, false, func(rec *store.Record) bool {
		if rec.Pos > tail {
			return false
		}
		src.next = rec.Pos
		if src.skip(rec.Pos, tail, y.flying) != rec.Pos {
			return false
		}
		own := *rec
		own.Payload = nil
		if d.yieldBytes += len(rec.Payload); y.letters {
			own.Payload = bytes.Clone(rec.Payload)
		}
		src.list = append(src.list, own)
		src.next = rec.Pos + 1
		return len(src.list) < yieldAhead && d.yieldBytes-begin < yieldBytes/16
	})
}

// skip returns the first position from pos on that may be taken, behind tail where there is none.
func (src *yieldLane) skip(pos, tail uint64, flying bool) uint64 {
	src.q.of.mu.Lock()
	defer src.q.of.mu.Unlock()
	for ; pos <= tail; pos++ {
		pos = src.q.doneNow(src.p).Next(pos)
		if s, ok := src.q.leftOut[src.p].at(pos); ok {
			pos = s.To
		} else if src.yields(pos, flying) {
			return pos
		}
	}
	return pos
}

// yields tells whether a message may be taken as far as its lease goes. The caller holds the consumer's mu.
func (src *yieldLane) yields(pos uint64, flying bool) bool {
	l := src.q.leases[slot{uint8(src.p), pos}] // #nosec G115 -- a priority is 1 to 9
	if l == nil {
		return true
	}
	switch l.state {
	case ready, deferred, blocked:
		return true
	case leased:
		return flying
	}
	return false
}

// head returns the oldest message that was looked at, nil where there is none.
func (src *yieldLane) head() *store.Record {
	if len(src.list) > 0 {
		return &src.list[0]
	}
	if len(src.more) > 0 {
		return &src.more[0]
	}
	return nil
}

func (src *yieldLane) pop() (r store.Record) {
	from := &src.list
	if len(*from) == 0 {
		from = &src.more
	}
	r, *from = (*from)[0], (*from)[1:]
	return r
}

// take gives a message to the running commit. It is false where somebody has it by now.
func (src *yieldLane) take(rec *store.Record, flying bool) (s seized, ok bool) {
	c := src.q.of
	c.mu.Lock()
	defer c.mu.Unlock()
	at := slot{rec.Priority, rec.Pos}
	l := src.q.leases[at]
	_, discarded := slices.BinarySearch(src.lane().discarded, rec.Pos)
	if discarded || src.q.isDone(src.p, rec.Pos) || !src.yields(rec.Pos, flying) {
		return s, false
	}
	if l == nil {
		s.fresh, l = true, src.q.leaseOf(at, store.Span{From: rec.Pos, To: rec.Pos}, rec.ID)
	} else {
		s.was = l.state
		c.unlist(l)
	}
	if s.fresh {
		s.was = ready
	}
	s.l, l.state, l.why = l, settling, byOverflow
	return s, true
}
