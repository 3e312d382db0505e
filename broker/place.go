package broker

import (
	"context"
	"math"
	"time"

	"pipit/broker/clip"
	"pipit/broker/limit"
	"pipit/broker/property"
	"pipit/broker/store"
)

// Seek is where a consumer goes on: exactly one of these.
type Seek struct {
	Oldest    bool      // at the oldest message that is stored
	Newest    bool      // behind the newest
	Time      time.Time // at the first message that could be delivered then or later
	MessageID string    // at this one, and of other priorities and topics at the first that could be delivered as early; of several of one ID in a topic, at the newest
}

// String says where that is.
func (s Seek) String() string {
	switch {
	case s.Oldest:
		return StartOldest
	case s.Newest:
		return "newest"
	case s.MessageID != "":
		return "message " + clip.Input(s.MessageID)
	}
	return s.Time.UTC().Format("2006-01-02T15:04:05.999999Z")
}

// ParseSeek reads "oldest", "newest" or a UTC time such as 2026-11-23T09:00:00, with or without a Z and fractions. The
// error is Invalid.
func ParseSeek(s string) (Seek, error) {
	switch s {
	case StartOldest:
		return Seek{Oldest: true}, nil
	case "newest":
		return Seek{Newest: true}, nil
	}
	if t, ok := property.ParseUTC(s); ok {
		return Seek{Time: t}, nil
	}
	return Seek{}, Invalidf("to %q: allowed are oldest, newest and a UTC time such as 2026-11-23T09:00:00", clip.Input(s)).of("to")
}

// place is where a queue is to go on, found before the commit that brings it there: it follows what happens until then.
type place struct {
	t       *topic
	from    [limit.MaxPriority + 1]uint64 // the position in each lane; 0: all that is stored, math.MaxUint64: nothing
	counted [limit.MaxPriority + 1]*counting
	refused int64 // messages from there on that the filter does not let through, of those that were looked at
}

// waiting returns how many messages of a lane wait from the place on. For the committer, in a commit of its own.
func (p *place) waiting(prio int) uint64 {
	switch {
	case p.counted[prio] != nil:
		return p.counted[prio].now()
	case p.from[prio] == 0:
		return p.t.lanes[prio].stored()
	}
	return 0
}

// backlog is waiting of all lanes, without what is refused.
func (p *place) backlog() (n int64) {
	for prio := range p.from {
		n += int64(p.waiting(prio)) // #nosec G115 -- a count of messages is far below 2^63
	}
	return max(n-p.refused, 0) // what is refused may have been removed since
}

// match finds out how many messages a filter does not let through, and looks at no more than seekLooks of them.
func (p *place) match(ctx context.Context, s store.Store, f *filter, looked *int) error {
	for prio := range p.from {
		l, next, tail := laneRef{p.t, prio}, max(p.from[prio], 1), p.t.lanes[prio].tail.Load()
		for f != nil && next <= tail && *looked < seekLooks {
			if ctx.Err() != nil {
				return callerLeft(ctx)
			}
			start, n, from := time.Now(), 0, next
			next = math.MaxUint64
			err := s.View(func(r store.Reader) error {
				return r.Scan(l.key(), from, false, func(rec *store.Record) bool {
					if rec.Pos > tail || *looked >= seekLooks {
						return false
					}
					if n++; n%64 == 0 && time.Since(start) > countTime {
						next = rec.Pos
						return false
					}
					if *looked++; !f.match(rec) {
						p.refused++
					}
					return true
				})
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// torn tells whether the place is to be found again. For the committer.
func (p *place) torn() bool {
	for _, c := range p.counted {
		if c != nil && c.torn {
			return true
		}
	}
	return false
}

// progress returns what a queue is done with there. For the committer, in a commit of its own.
func (p *place) progress(prio int) progress {
	l := &p.t.lanes[prio]
	floor := max(p.from[prio], 1)
	if floor > l.next {
		floor = l.next + 1
	}
	return progress{store.Cursor{Floor: floor}, l.next - l.nextSkipped - p.waiting(prio)}
}

func (p *place) countings() (list []*counting) {
	for _, c := range p.counted {
		if c != nil {
			list = append(list, c)
		}
	}
	return list
}

// place finds a place in a topic, and counts what waits from there on. The caller owes it leave. The errors are NotFound
// (the message), Unavailable, and those of the store.
func (x *commits) place(ctx context.Context, t *topic, to Seek) (*place, error) {
	p := &place{t: t}
	if to.Newest {
		for prio := range p.from {
			p.from[prio] = math.MaxUint64
		}
		return p, nil
	}
	var at slot
	if to.MessageID != "" {
		found, due, err := x.seekID(t, to.MessageID)
		switch {
		case err == nil:
			at, to.Time = found, due
		case CodeOf(err) != NotFound || to.Time.IsZero(): // else another topic of the consumer has it
			return nil, err
		}
	}
	if to.Oldest {
		return p, nil
	}
	for prio := range t.lanes {
		l := &t.lanes[prio]
		t.mu.Lock()
		first, tail := l.first(), l.tail.Load()
		t.mu.Unlock()
		from, err := at.pos, error(nil)
		if from == 0 || int(at.priority) != prio {
			err = x.b.store.View(func(r store.Reader) (err error) {
				from, err = findTime(r, laneRef{t, prio}.key(), first, tail, to.Time)
				return err
			})
		}
		switch p.from[prio] = from; {
		case err != nil:
			return nil, err
		case from > tail:
			p.from[prio] = math.MaxUint64
		case from <= first:
			p.from[prio] = 0
		default:
			p.counted[prio] = &counting{laneRef: laneRef{t, prio}, from: from}
		}
	}
	if err := x.count(ctx, p.countings()); err != nil {
		x.leave(p)
		return nil, err
	}
	return p, nil
}

// leave lets go of a place.
func (x *commits) leave(p *place) { x.uncount(p.countings()) }

// seekID returns where a message stands and when it could be delivered.
func (x *commits) seekID(t *topic, id string) (at slot, due time.Time, err error) {
	err = x.b.store.View(func(r store.Reader) error {
		return x.b.find(r, t.id, id, func(key string, rec *store.Record) {
			if key == "" && !rec.Due().Before(due) {
				at, due = slot{rec.Priority, rec.Pos}, rec.Due()
			}
		})
	})
	if err == nil && at.pos == 0 {
		err = messageNotFound(id)
	}
	return at, due, err
}

// messageNotFound is said in the words of the protocol.
func messageNotFound(id string) error {
	return &Error{Code: NotFound, Message: "Message not found `" + clip.Input(id) + "`"}
}

// disorder is by how many messages the times of a lane may be out of order, as of publishers that wait for one commit, and
// a place is found all the same.
const disorder = 5000

// findTime returns the position of the first message of a lane, between the positions first and tail, that could be
// delivered at a time or later; what is above tail where there is none.
func findTime(r store.Reader, l store.Lane, first, tail uint64, at time.Time) (uint64, error) {
	low, high := first, tail+1
	for low < high {
		mid := low + (high-low)/2
		next := mid // the first message from there on that is before the time; else it is mid
		err := r.Scan(l, mid, false, func(rec *store.Record) bool {
			if rec.Pos < high && rec.Due().Before(at) {
				next = rec.Pos + 1
			}
			return false
		})
		if err != nil {
			return 0, err
		}
		if next > mid {
			low = next
		} else {
			high = mid
		}
	}
	if low == first {
		return low, nil
	}
	found, looked := low, 0
	err := r.Scan(l, low-1, true, func(rec *store.Record) bool {
		if !rec.Due().Before(at) {
			found = rec.Pos
		}
		looked++
		return rec.Pos > first && looked < disorder
	})
	return found, err
}
