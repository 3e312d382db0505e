package broker

import (
	"context"
	"hash/maphash"
	"slices"
	"time"

	"pipit/broker/limit"
	"pipit/broker/store"
)

// keepStreams is how many streams of a consumer that have ended are remembered, while something
// that they were sent is in flight.
const keepStreams = 4

// Stream is what one connection of a consumer is sent, message after message: at most as many at a
// time as it may have in flight. It is for one goroutine.
type Stream struct {
	s      Subscription
	o      ReceiveOptions
	ctx    context.Context // ends when the stream is replaced
	cancel context.CancelFunc
	wake   chan struct{} // holds something when a message is in flight no more

	// Guarded by the consumer's mu.
	inFlight int        // deliveries that are neither settled nor given back nor expired
	sent     []delivery // the last ones, the oldest first
	first    []leaseRef // taken over from a stream before, to be sent before anything else
	replaced bool       // by a stream that took over from this one
	ended    bool
}

// delivery is a message that a stream was sent.
type delivery struct {
	leaseRef
	id uint64 // the hash of its ID
}

var idSeed = maphash.MakeSeed()

// Stream begins a stream, which the caller closes. Max of o bounds what it has in flight at a time, Hold is
// implied, and Wait and Room are those of each Receive. after is the ID of the last message that the client got of a stream
// before, if any: what that one was sent behind it and is in flight yet is taken over, and that stream ends
// if it has not. An ID that no stream remembers takes nothing over.
func (s Subscription) Stream(o ReceiveOptions, after string) (*Stream, error) {
	if o.Max == 0 {
		o.Max = limit.DefaultReceive
	}
	if err := checkMax(o.Max); err != nil {
		return nil, err
	}
	o.Hold = !o.Ack
	st := &Stream{s: s, o: o, wake: make(chan struct{}, 1)}
	st.ctx, st.cancel = context.WithCancel(context.Background())
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expire(s.b.since(time.Now()))
	if after != "" {
		st.takeOver(maphash.String(idSeed, after))
	}
	c.streams = append(c.streams, st)
	c.forgetStreams()
	return st, nil
}

// takeOver finds the last stream that was sent a message with an ID, and takes over what it was
// sent behind it. The caller holds the consumer's mu.
func (st *Stream) takeOver(id uint64) {
	c := st.s.c
	for _, old := range slices.Backward(c.streams) {
		i := len(old.sent) - 1
		for i >= 0 && old.sent[i].id != id {
			i--
		}
		if i < 0 {
			continue
		}
		var refs []leaseRef
		for _, d := range old.sent[i+1:] {
			refs = append(refs, d.leaseRef)
		}
		refs = append(refs, old.first...)
		old.first, old.sent, old.replaced = nil, nil, true
		old.cancel()
		for _, r := range refs {
			if l := r.lease(); l != nil {
				c.unlist(l)
				l = r.q.lease(r.slot, l.Span, l.id, forever) // another delivery, which nothing about the old one touches
				st.first = append(st.first, leaseRef{r.q, r.slot, l.seq})
			}
		}
		return
	}
}

// forgetStreams keeps those that run, and of the others the last ones that have something in
// flight. The caller holds mu.
func (c *consumer) forgetStreams() {
	keep := keepStreams
	for i := len(c.streams) - 1; i >= 0; i-- {
		st := c.streams[i]
		if !st.ended && !st.replaced {
			continue
		}
		if keep == 0 || st.replaced || st.inFlight == 0 {
			st.sent = nil // its leases know it for longer
			c.streams = slices.Delete(c.streams, i, i+1)
		} else {
			keep--
		}
	}
}

// add notes a delivery to the stream. The caller holds the consumer's mu.
func (st *Stream) add(l *lease, id string) {
	l.stream = st
	st.inFlight++
	if len(st.sent) >= 4*st.o.Max {
		st.sent = append(st.sent[:0], st.sent[len(st.sent)-2*st.o.Max:]...)
	}
	st.sent = append(st.sent, delivery{leaseRef{l.q, l.slot, l.seq}, maphash.String(idSeed, id)})
}

// left notes that a delivery is in flight no more. The caller holds the consumer's mu.
func (st *Stream) left() {
	st.inFlight--
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

// Receive returns what comes next; each message is held until Written or Release. It waits at most for wait: as
// long as the stream has as much in flight as it may, there is nothing to deliver, or room finds
// none. It returns none after that, when ctx ends or the broker drains. The errors are
// those of Subscription.Receive, and Conflict where another stream has taken over.
func (st *Stream) Receive(ctx context.Context, wait time.Duration, room func(payload int) bool) ([]Message, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(st.ctx, cancel)()
	end := time.Now().Add(wait)
	for {
		if st.s.c.changes.Load() != st.s.changes {
			if err := st.s.renew(); err != nil {
				return nil, err
			}
		}
		now := time.Now()
		n, next, err := st.free(now)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			if msgs, err := st.resume(now, n, room); err != nil || len(msgs) > 0 {
				return msgs, err
			}
			o := st.o
			o.Max, o.Wait, o.Room = n, max(0, min(end.Sub(now), limit.MaxWait)), room
			if !o.Ack {
				o.stream = st
			}
			msgs, err := st.s.Receive(ctx, o)
			if _, _, replaced := st.free(now); replaced != nil && len(msgs) == 0 {
				err = replaced
			}
			return msgs, err
		}
		left := end.Sub(now)
		if left <= 0 {
			return nil, nil
		}
		timer := time.NewTimer(min(left, next))
		select {
		case <-st.wake:
		case <-timer.C:
		case <-ctx.Done():
			end = now
		case <-st.s.b.done:
			end = now
		}
		timer.Stop()
	}
}

// free returns how many messages the stream may be sent now; with none, when to look again at the
// latest. The errors are Denied and Conflict.
func (st *Stream) free(now time.Time) (n int, next time.Duration, err error) {
	c := st.s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if st.replaced {
		return 0, 0, &Error{Code: Conflict, Message: "Another stream has taken over"}
	}
	if st.o.Ack {
		return st.o.Max, 0, nil
	}
	since := st.s.b.since(now)
	c.expire(since)
	next = limit.MaxWait
	if len(c.timed) > 0 {
		next = max(min(next, c.timed[0].until-since), time.Millisecond)
	}
	return max(0, st.o.Max-st.inFlight), next, nil
}

// resume returns what was taken over, as far as it is there yet, in the order in which it was sent
// before. The error is Unavailable where room finds none.
func (st *Stream) resume(now time.Time, most int, room func(payload int) bool) (msgs []Message, err error) {
	c := st.s.c
	c.mu.Lock()
	refs := slices.Clone(st.first)
	c.mu.Unlock()
	if len(refs) == 0 {
		return nil, nil
	}
	done, bytes, full := 0, 0, false // done: refs that are among msgs or not there any more
	err = st.s.b.store.View(func(r store.Reader) error {
		for ; done < len(refs) && len(msgs) < most && !full; done++ {
			ref := refs[done]
			err := r.Scan(store.Lane{Topic: ref.q.topic.id, Priority: ref.priority}, ref.pos, false, func(rec *store.Record) bool {
				n := len(rec.Payload)
				switch e := rec.ExpireAt(); {
				case rec.Pos != ref.pos || !e.IsZero() && !e.After(st.s.b.expiryNow(now)):
				case bytes > 0 && bytes+n > limit.MaxReply || room != nil && !room(n):
					full = true
				default:
					bytes += n
					m := st.s.message(ref.q, rec, slices.Clone(rec.Payload))
					m.lease = ref
					msgs = append(msgs, m)
				}
				return false
			})
			if err != nil || full {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	left := msgs[:0]
	for _, m := range msgs {
		if l := m.lease.lease(); l != nil { // else it was settled or taken over meanwhile
			m.DeliveryCount = int(l.count)
			st.add(l, m.ID)
			left = append(left, m)
		}
	}
	for _, ref := range refs[:done] {
		if l := ref.lease(); l != nil && l.stream != st { // its message is no more
			c.unlist(l)
			c.drop(l)
		}
	}
	if len(st.first) > 0 {
		st.first = st.first[done:]
	}
	st.s.delivered(left)
	if len(left) == 0 && full {
		return nil, errNoRoom
	}
	return left, nil
}

// Written begins the ack timeout of messages: now they are handed over.
func (st *Stream) Written(msgs []Message) { st.s.Written(msgs) }

// Release gives back messages that could not be handed over.
func (st *Stream) Release(msgs []Message) { st.s.Release(msgs) }

// Close ends the stream. What it was sent stays in flight.
func (st *Stream) Close() {
	st.cancel()
	c := st.s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range st.first {
		if l := r.lease(); l != nil {
			c.unlist(l)
			c.giveBack(l)
		}
	}
	if len(st.first) > 0 {
		c.wakeOne()
	}
	st.first, st.ended = nil, true
	c.forgetStreams()
}
