package broker_test

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
	"pipit/broker/browse"
	"pipit/broker/limit"
	"pipit/broker/property"
	"pipit/broker/store"
)

// TestModelSeek does random operations over one topic whose retention changes, in fake time over a real file: consumers
// with a filter and without go to other places of it, while messages expire, are deleted, swept and not retained any more. A
// model knows which messages are there, or which of them the sweeper may have got to, and what each consumer is not done
// with; what is delivered and in which order, every count, every preview, and that no other consumer notices, are compared.
func TestModelSeek(t *testing.T) {
	seeds, steps := uint64(4), 600
	if testing.Short() {
		seeds, steps = 3, 200
	}
	first := uint64(1)
	if *seedFlag != 0 {
		first, seeds = *seedFlag, 1
	}
	var mu sync.Mutex
	did := map[string]int{} // in all runs together
	t.Cleanup(func() {
		t.Logf("%v", did)
		for _, what := range append(busyOps(), "oldest", "newest", "time", "message", "done waits again", "made done", "full", "delivered", "delivered again", "acked",
			"acked when it was gone", "rejected", "expired", "deleted", "deleted in flight", "not retained", "in doubt", "retention", "cleared", "restart", "crash",
			"delayed", "released", "consumer added", "consumer deleted", "exact", "not acked behind the place", "poll woken") {
			if did[what] == 0 && *seedFlag == 0 && !testing.Short() && !t.Failed() {
				t.Errorf("no run ever saw: %s", what)
			}
		}
	})
	for seed := first; seed < first+seeds; seed++ {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			t.Parallel()
			rnd := newRand(t, seed)
			synctest.Test(t, func(t *testing.T) {
				m := newSeekModel(t, rnd, seed)
				for m.step = range steps {
					m.random()
				}
				m.drain()
				mu.Lock()
				defer mu.Unlock()
				for what, n := range m.did {
					did[what] += n
				}
			})
		})
	}
}

// seekModel knows what the topic may have, by the order in which it came there.
type seekModel struct {
	t         *testing.T
	r         *rig
	rnd       *rand.Rand
	step      int
	def       broker.Topic
	released  bool // delayed messages may be released: then the order of times is not that of places
	messages  []*sought
	delayed   []*sought
	tails     [limit.MaxPriority + 1]int
	consumers []*seekConsumer
	keys      int
	payload   int
	nextSweep time.Time
	spared    [limit.MaxPriority + 1]int // what is before was certainly not retained at the last sweep
	given     [limit.MaxPriority + 1]int // what is before may not have been retained at some time
	busy      *busyWorker
	trace     []string
	did       map[string]int
}

// sought is a message that was stored.
type sought struct {
	id, payload string
	prio, pos   int
	due         time.Time
	expireAt    time.Time // zero: never
	wanted      bool      // the filters let it through
	size        int64
	removed     bool      // for sure
	doubt       bool      // it may be removed: nobody needed it, and it was not retained
	idle        time.Time // since when that is so; zero: it is not
}

func (s *sought) expired(now time.Time) bool { return !s.expireAt.IsZero() && !s.expireAt.After(now) }

type seekConsumer struct {
	def      broker.Consumer
	has      map[*sought]*modelDelivery // what it is not done with, and what is removed and in flight
	unsifted bool                       // its filter may have to look at messages yet
}

func (c *seekConsumer) lets(s *sought) bool { return c.def.Filter == "" || s.wanted }

func newSeekModel(t *testing.T, rnd *rand.Rand, seed uint64) *seekModel {
	opts := broker.Options{}
	if seed%2 == 0 {
		opts = opts.Sifting(2, 6)
	}
	m := &seekModel{t: t, rnd: rnd, r: newRig(t, opts), did: map[string]int{}, released: seed%3 != 0}
	m.busy = newBusyWorker(m.r, rnd, m.did)
	m.def = topicDef("/t")
	m.def.Expiration, m.def.MaxDepth = property.Off, 60
	m.retention()
	m.r.define(m.def)
	m.nextSweep = time.Now().Add(broker.SweepEvery)
	m.add("plain", "", "")
	m.add("other", "", "")
	m.add("filtered", "has(wanted)", "")
	return m
}

func (m *seekModel) logf(format string, args ...any) {
	m.trace = append(m.trace, fmt.Sprintf("%6d %s  ", m.step, time.Now().Format("04:05.000000"))+fmt.Sprintf(format, args...))
	m.trace = m.trace[max(0, len(m.trace)-60):]
}

func (m *seekModel) fatalf(format string, args ...any) {
	m.t.Helper()
	for _, s := range m.trace {
		m.t.Log(s)
	}
	m.t.Fatalf(fmt.Sprintf("step %d: ", m.step)+format, args...)
}

func (m *seekModel) random() {
	c := m.consumers[m.rnd.IntN(len(m.consumers))]
	m.pass(time.Duration(1+m.rnd.IntN(3_000)) * time.Microsecond)
	switch n := m.rnd.IntN(1000); {
	case n < 280:
		m.publish()
	case n < 420:
		m.seek(c)
	case n < 590:
		m.receive(c, broker.ReceiveOptions{Max: 1 + m.rnd.IntN(12), Order: broker.Order(m.rnd.IntN(2)), Ack: m.rnd.IntN(3) == 0})
	case n < 720:
		m.settle(c)
	case n < 735:
		m.outlive(c)
	case n < 880:
		m.pass(time.Duration(m.rnd.IntN(4_000_000)) * time.Microsecond)
	case n < 910:
		m.delete()
	case n < 925:
		m.release()
	case n < 940:
		m.poll(c)
	case n < 950:
		m.clear(c)
	case n < 965:
		m.retention()
		m.r.define(m.def)
	case n < 985:
		m.restart(n < 975)
	default:
		m.exchange()
	}
	m.pass(0)
	m.compare()
	if restart, crash := m.busy.step(); restart {
		m.restart(crash)
	}
}

// pass lets time pass, and brings the model to the time it is.
func (m *seekModel) pass(d time.Duration) {
	for end := time.Now().Add(d); ; {
		next := end
		if m.nextSweep.Before(next) {
			next = m.nextSweep
		}
		time.Sleep(time.Until(next))
		synctest.Wait()
		now := time.Now()
		m.mature(now)
		m.suspect(now)
		if !m.nextSweep.After(now) {
			m.sweep(now)
			m.nextSweep = m.nextSweep.Add(broker.SweepEvery)
		}
		if next.Equal(end) {
			return
		}
	}
}

// mature gives delayed messages their places, and ends leases.
func (m *seekModel) mature(now time.Time) {
	slices.SortStableFunc(m.delayed, func(a, b *sought) int { return a.due.Compare(b.due) })
	for len(m.delayed) > 0 && !m.delayed[0].due.After(now) {
		m.place(m.delayed[0])
		m.delayed = m.delayed[1:]
		m.did["delayed"]++
	}
	for _, c := range m.consumers {
		for _, d := range c.has {
			if (d.state == inFlight || d.state == putBack) && !d.until.After(now) {
				d.state = again
			}
		}
	}
}

// place puts a message at the tail of its lane, for all whose filter lets it through.
func (m *seekModel) place(s *sought) {
	m.tails[s.prio]++
	s.pos = m.tails[s.prio]
	m.messages = append(m.messages, s)
	for _, c := range m.consumers {
		if c.lets(s) {
			c.has[s] = &modelDelivery{}
		}
	}
}

func (m *seekModel) needed(s *sought) bool {
	return slices.ContainsFunc(m.consumers, func(c *seekConsumer) bool { return c.has[s] != nil })
}

// suspect finds out what may be removed from now on.
func (m *seekModel) suspect(now time.Time) {
	for p, pos := range m.keep(now, func(s *sought) bool { return true }) {
		m.given[p] = max(m.given[p], pos)
	}
	for _, s := range m.messages {
		switch {
		case m.needed(s):
			s.idle = time.Time{}
		case m.def.Retention <= 0 && m.def.RetentionBytes <= 0 || s.pos < m.given[s.prio]:
			s.doubt = true
			if s.idle.IsZero() {
				s.idle = now
			}
		}
	}
}

// keep returns from which positions on the messages of each lane are retained, of those that counts tells.
func (m *seekModel) keep(now time.Time, counts func(*sought) bool) (keep [limit.MaxPriority + 1]int) {
	var lanes [limit.MaxPriority + 1][]*sought
	total := int64(0)
	for _, s := range m.messages {
		if counts(s) {
			lanes[s.prio] = append(lanes[s.prio], s)
			total += s.size
		}
	}
	for {
		var first *sought
		for _, list := range lanes {
			if len(list) > 0 && (first == nil || list[0].due.Before(first.due)) {
				first = list[0]
			}
		}
		tooMuch := m.def.RetentionBytes > 0 && total > int64(m.def.RetentionBytes)
		if first == nil || !tooMuch && (m.def.Retention <= 0 || first.due.Add(m.def.Retention).After(now)) {
			return keep
		}
		keep[first.prio], total = first.pos+1, total-first.size
		lanes[first.prio] = lanes[first.prio][1:]
	}
}

// sweep is what a pass of the sweeper does for sure: what has expired goes, and what nobody needed at the sweep before
// and was not retained then.
func (m *seekModel) sweep(now time.Time) {
	for _, c := range m.consumers {
		c.unsifted = false
		maps.DeleteFunc(c.has, func(s *sought, d *modelDelivery) bool { return s.removed && d.state != inFlight })
	}
	for _, s := range m.messages {
		switch {
		case !s.expireAt.IsZero() && !s.expireAt.Add(time.Second).After(now):
			m.remove(s)
			m.did["expired"]++
		case s.idle.IsZero() || s.idle.After(now.Add(-broker.SweepEvery)):
		case m.def.Retention <= 0 && m.def.RetentionBytes <= 0 || s.pos < m.spared[s.prio]:
			if m.there(s) {
				m.fatalf("%+v is there, which nobody needs and is not retained", s)
			}
			m.did["not retained"]++
		}
	}
	m.messages = slices.DeleteFunc(m.messages, func(s *sought) bool { return s.removed })
	m.spared = m.keep(now, func(s *sought) bool { return !s.doubt && !s.expired(now) })
}

// remove takes in that a message is removed for all. Who has it in flight may settle it.
func (m *seekModel) remove(s *sought) {
	s.removed = true
	for _, c := range m.consumers {
		if d := c.has[s]; d != nil && !m.flies(d) {
			delete(c.has, s)
		}
	}
}

// flies tells whether a message may count as in flight or deferred: an end is noticed by the sweeper at the latest.
func (m *seekModel) flies(d *modelDelivery) bool {
	return d.state == inFlight || d.state == putBack || d.state == again && d.until.After(m.nextSweep.Add(-broker.SweepEvery))
}

// there looks whether a message that has not expired is there, where that is in doubt.
func (m *seekModel) there(s *sought) bool {
	if s.removed || !s.doubt {
		return !s.removed
	}
	if _, _, err := m.r.Message("/t", s.id); err != nil {
		wantCode(m.t, err, broker.NotFound)
		s.removed = true
	}
	m.did["in doubt"]++
	return !s.removed
}

// settleDoubts finds out which messages are there that have not expired.
func (m *seekModel) settleDoubts() {
	now := time.Now()
	m.messages = slices.DeleteFunc(m.messages, func(s *sought) bool { return !s.expired(now) && !m.there(s) })
}

// backlogs returns how many messages of each priority wait for a consumer: at least and at most. What has expired may be
// swept.
func (m *seekModel) backlogs(c *seekConsumer) (least, most [limit.MaxPriority + 1]int64) {
	now := time.Now()
	for s := range c.has {
		if s.removed {
			continue
		}
		if most[s.prio]++; !s.expired(now) {
			least[s.prio]++
		}
	}
	if c.unsifted {
		for _, s := range m.messages {
			if !c.lets(s) {
				most[s.prio]++
			}
		}
	}
	return least, most
}

func sum(of [limit.MaxPriority + 1]int64) (n int64) {
	for _, x := range of {
		n += x
	}
	return n
}

func (m *seekModel) publish() {
	for range 1 + m.rnd.IntN(4) {
		expiration := int64(0)
		if m.rnd.IntN(4) == 0 {
			expiration = int64(1 + m.rnd.IntN(12))
		}
		if !m.send(expiration) {
			return
		}
	}
}

// send publishes a message, and tells whether there was room for it.
func (m *seekModel) send(expiration int64) bool {
	m.payload++
	p := broker.Publication{Payload: fmt.Append(nil, m.payload), Priority: 4 + m.rnd.IntN(3), Expiration: expiration}
	s := &sought{payload: string(p.Payload), prio: p.Priority, wanted: m.rnd.IntN(3) == 0}
	rec := store.Record{Payload: p.Payload}
	if s.wanted {
		p.Attributes = []broker.Attribute{{Name: "wanted", Value: "yes"}}
		rec.Extra = &store.Extra{Attributes: p.Attributes}
	}
	if m.rnd.IntN(10) == 0 {
		p.Delay = int64(1 + m.rnd.IntN(5))
	}
	if m.rnd.IntN(5) == 0 {
		p.ID = fmt.Sprint("own/", m.payload)
		rec.ID = p.ID
	}
	s.size = rec.Size()
	s.due = time.Now().Truncate(time.Microsecond).Add(time.Duration(p.Delay) * time.Second)
	if p.Expiration > 0 {
		s.expireAt = s.due.Add(time.Duration(p.Expiration) * time.Second)
	}
	door, err := m.r.Publisher(m.r.crm, "/t")
	if err != nil {
		m.fatalf("%v", err)
	}
	rc, err := door.Publish(p)
	m.logf("publish %s to %d, wanted %t, delay %d, expires %d: %v", p.Payload, p.Priority, s.wanted, p.Delay, p.Expiration, err)
	if err != nil {
		if broker.CodeOf(err) != broker.Full {
			m.fatalf("publish: %v", err)
		}
		m.did["refused"]++
		return false
	}
	if s.id = rc.ID; p.Delay > 0 {
		if p.ID == "" {
			s.size += int64(len(rc.ID)) // it does not tell the place
		}
		m.delayed = append(m.delayed, s)
	} else {
		m.place(s)
	}
	return true
}

// somewhere returns a place, and the position in each lane from which on messages wait there.
func (m *seekModel) somewhere() (to broker.Seek, from [limit.MaxPriority + 1]int, what string) {
	now := time.Now()
	after := func(at time.Time) {
		for p := range from {
			from[p] = math.MaxInt
		}
		for _, s := range m.messages {
			if !s.due.Before(at) && s.pos < from[s.prio] {
				from[s.prio] = s.pos
			}
		}
	}
	var marks []*sought
	for _, s := range m.messages {
		if !s.expired(now) {
			marks = append(marks, s)
		}
	}
	switch n := m.rnd.IntN(10); {
	case n < 3:
		return broker.Seek{Oldest: true}, from, "oldest"
	case n < 5 || len(marks) == 0:
		for p := range from {
			from[p] = math.MaxInt
		}
		return broker.Seek{Newest: true}, from, "newest"
	case n < 8:
		at := now.Add(-time.Duration(m.rnd.IntN(30_000_000)) * time.Microsecond)
		if m.rnd.IntN(2) == 0 {
			at = marks[m.rnd.IntN(len(marks))].due
		}
		after(at)
		return broker.Seek{Time: at}, from, "time"
	}
	s := marks[m.rnd.IntN(len(marks))]
	after(s.due)
	from[s.prio] = s.pos
	return broker.Seek{MessageID: s.id}, from, "message"
}

// at returns what a consumer would have at a place.
func (m *seekModel) at(c *seekConsumer, from [limit.MaxPriority + 1]int) *seekConsumer {
	to := &seekConsumer{def: c.def, has: map[*sought]*modelDelivery{}}
	for _, s := range m.messages {
		if s.pos >= from[s.prio] && c.lets(s) {
			if to.has[s] = c.has[s]; to.has[s] == nil {
				to.has[s] = &modelDelivery{}
			}
		}
	}
	for s, d := range c.has {
		if s.removed && s.pos >= from[s.prio] {
			to.has[s] = d
		}
	}
	return to
}

// infos returns what an administrator sees of all consumers but one.
func (m *seekModel) infos(but *seekConsumer) (list []broker.ConsumerInfo) {
	for _, i := range m.r.Consumers() {
		if i.SubKey != but.def.SubKey {
			list = append(list, i)
		}
	}
	return list
}

// seek brings a consumer to another place. The preview has to say the same, and no other consumer may notice.
func (m *seekModel) seek(c *seekConsumer) {
	m.settleDoubts()
	to, from, what := m.somewhere()
	then := m.at(c, from)
	before := m.infos(c)
	id := m.r.queue(c.def.SubKey).ID
	preview, previewErr := m.r.SeekPreview(ctx, id, to)
	n, err := m.r.Seek(ctx, id, to)
	m.logf("seek %s to %s: %d %v", c.def.SubKey, to, n, err)
	if n != preview || (err == nil) != (previewErr == nil) || err != nil && broker.CodeOf(err) != broker.CodeOf(previewErr) {
		m.fatalf("seek %s to %s: %d %v, and the preview was %d %v", c.def.SubKey, to, n, err, preview, previewErr)
	}
	if after := m.infos(c); !reflect.DeepEqual(before, after) {
		m.fatalf("seek %s to %s: other consumers were %+v, and are %+v", c.def.SubKey, to, before, after)
	}
	least, most := m.backlogs(then)
	wasLeast, wasMost := m.backlogs(c)
	limit := c.def.MaxDepth
	if m.def.Retention > 0 || m.def.RetentionBytes > 0 {
		limit = min(limit, m.def.MaxDepth)
	}
	if broker.CodeOf(err) == broker.Full && err != nil {
		if sum(most) <= limit || sum(most) <= sum(wasLeast) {
			m.fatalf("seek %s to %s: %v, but at most %d would wait", c.def.SubKey, to, err, sum(most))
		}
		m.did["full"]++
		return
	}
	if err != nil || n < sum(least) || n > sum(most) || sum(least) > limit && sum(least) > sum(wasMost) {
		m.fatalf("seek %s to %s: %d %v, want %d to %d of at most %d", c.def.SubKey, to, n, err, sum(least), sum(most), limit)
	}
	m.did[what]++
	var left broker.Settlement
	for s, d := range c.has {
		if then.has[s] == nil {
			m.did["made done"]++
			if d.state == inFlight {
				left.Ack = append(left.Ack, s.id)
			}
		}
	}
	m.did["done waits again"] += max(0, len(then.has)-len(c.has))
	c.has, c.unsifted = then.has, false
	m.undoubt()
	if len(left.Ack) > 0 {
		if got := m.r.settle(c.def.SubKey, left); len(got.NotFound) != len(left.Ack) {
			m.fatalf("ack of what is before the place, %q: %+v", left.Ack, got)
		}
		m.did["not acked behind the place"]++
	}
}

// undoubt takes in that what was found to be there is needed again.
func (m *seekModel) undoubt() {
	now := time.Now()
	for _, s := range m.messages {
		if s.doubt && !s.expired(now) && m.needed(s) {
			s.doubt, s.idle = false, time.Time{}
		}
	}
}

// deliverable returns what a receive has to return, in order.
func (m *seekModel) deliverable(c *seekConsumer, o broker.ReceiveOptions) (list []*sought) {
	now := time.Now()
	for s, d := range c.has {
		if (d.state == unread || d.state == again) && !s.removed && !s.expired(now) {
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b *sought) int {
		n := cmp.Compare(a.pos, b.pos)
		if o.Order == broker.LIFO {
			n = -n
		}
		return cmp.Or(cmp.Compare(b.prio, a.prio), n)
	})
	return list[:min(len(list), o.Max)]
}

func (m *seekModel) receive(c *seekConsumer, o broker.ReceiveOptions) int {
	got := m.r.receive("/t", c.def.SubKey, o)
	m.logf("receive %s %+v: %s", c.def.SubKey, o, payloads(got))
	m.received(c, o, got)
	return len(got)
}

// received compares what was received with the model.
func (m *seekModel) received(c *seekConsumer, o broker.ReceiveOptions, got []broker.Message) {
	want, s := m.deliverable(c, o), ""
	for _, w := range want {
		s += w.payload + " "
	}
	if payloads(got) != s {
		m.fatalf("%s received %q, want %q", c.def.SubKey, payloads(got), s)
	}
	for i, w := range want {
		d := c.has[w]
		if d.count++; d.loose && got[i].DeliveryCount > 0 && got[i].DeliveryCount <= d.count+2 {
			d.count = got[i].DeliveryCount
		}
		if d.loose = false; got[i].ID != w.id || got[i].DeliveryCount != d.count {
			m.fatalf("%s received %+v, want %+v, delivery %d", c.def.SubKey, got[i], w, d.count)
		}
		d.state, d.until = inFlight, time.Now().Add(c.def.AckTimeout)
		if m.did["delivered"]++; d.count > 1 {
			m.did["delivered again"]++
		}
		if o.Ack {
			delete(c.has, w)
		}
	}
}

// poll lets a consumer that has nothing wait for what a seek brings back.
func (m *seekModel) poll(c *seekConsumer) {
	o := broker.ReceiveOptions{Max: 3, Wait: 500 * time.Millisecond}
	for range 10 {
		if len(m.deliverable(c, o)) == 0 {
			break
		}
		m.receive(c, broker.ReceiveOptions{Max: 12, Ack: true})
		m.pass(0)
	}
	if len(m.deliverable(c, o)) > 0 || len(m.delayed) > 0 {
		return
	}
	var got []broker.Message
	done := make(chan struct{})
	go func() {
		defer close(done)
		got = m.r.receive("/t", c.def.SubKey, o)
	}()
	synctest.Wait()
	m.seek(c)
	synctest.Wait()
	select {
	case <-done:
		m.did["poll woken"]++
	default:
		if list := m.deliverable(c, o); len(list) > 0 {
			m.fatalf("a long poll of %s does not notice that %d messages wait", c.def.SubKey, len(list))
		}
		m.pass(o.Wait)
		<-done
	}
	m.logf("poll %s: %s", c.def.SubKey, payloads(got))
	m.received(c, o, got)
}

// settle acknowledges and rejects what is in flight, or was.
func (m *seekModel) settle(c *seekConsumer) {
	var st broker.Settlement
	var known []*sought
	now := time.Now()
	for s, d := range c.has {
		if d.state == inFlight || d.state != unread && d.count > 0 && !s.removed && !s.expired(now) {
			known = append(known, s)
		}
	}
	slices.SortFunc(known, func(a, b *sought) int { return cmp.Or(cmp.Compare(a.prio, b.prio), cmp.Compare(a.pos, b.pos)) })
	m.rnd.Shuffle(len(known), func(i, j int) { known[i], known[j] = known[j], known[i] })
	slices.SortStableFunc(known, func(a, b *sought) int { // what is gone is rare, and first
		switch {
		case a.removed == b.removed:
			return 0
		case a.removed:
			return -1
		}
		return 1
	})
	delay := []int64{0, 0, 3}[m.rnd.IntN(3)]
	for _, s := range known[:min(len(known), 1+m.rnd.IntN(6))] {
		d := c.has[s]
		if m.rnd.IntN(4) > 0 {
			if st.Ack = append(st.Ack, s.id); s.removed {
				m.did["acked when it was gone"]++
			}
			delete(c.has, s)
			m.did["acked"]++
			continue
		}
		st.Reject = append(st.Reject, s.id)
		m.did["rejected"]++
		d.state, d.until = again, time.Time{}
		if s.removed {
			delete(c.has, s)
		} else if st.Delay = delay; delay > 0 {
			d.state, d.until = putBack, now.Add(time.Duration(delay)*time.Second)
		}
	}
	if len(st.Ack)+len(st.Reject) == 0 {
		return
	}
	got := m.r.settle(c.def.SubKey, st)
	m.logf("settle %s %+v: %+v", c.def.SubKey, st, got)
	if got.Acked != len(st.Ack) || got.Rejected != len(st.Reject) {
		m.fatalf("settle %+v: %+v", st, got)
	}
}

// outlive lets a consumer settle what has expired and was removed while it was in flight.
func (m *seekModel) outlive(c *seekConsumer) {
	m.send(2)
	m.receive(c, broker.ReceiveOptions{Max: 50})
	m.pass(4 * time.Second) // a sweep has been there, and the leases last
	m.settle(c)
}

func (m *seekModel) delete() {
	m.settleDoubts()
	var ids []string
	for _, s := range slices.Clone(m.messages) {
		if m.rnd.IntN(12) > 0 || s.expired(time.Now()) {
			continue
		}
		ids = append(ids, s.id)
		m.did["deleted"]++
		s.removed = true
		for _, c := range m.consumers {
			if d := c.has[s]; d != nil && d.state == inFlight {
				m.did["deleted in flight"]++
			}
			delete(c.has, s)
		}
	}
	m.messages = slices.DeleteFunc(m.messages, func(s *sought) bool { return s.removed })
	if len(ids) == 0 {
		return
	}
	n, err := m.r.DeleteMessages(ctx, "/t", ids)
	m.logf("delete %q: %d %v", ids, n, err)
	if err != nil || n != len(ids) {
		m.fatalf("delete %q: %d %v", ids, n, err)
	}
}

// release makes a delayed message deliverable, before others that could be earlier.
func (m *seekModel) release() {
	if len(m.delayed) == 0 || !m.released {
		return
	}
	s := m.delayed[0]
	m.logf("release %s", s.payload)
	if ok, err := m.r.ReleaseMessage(ctx, "/t", s.id, 0); err != nil || !ok {
		m.fatalf("release %+v: %t %v", s, ok, err)
	}
	got, _, err := m.r.Message("/t", s.id)
	if err != nil || got.Due.After(s.due) {
		m.fatalf("released %+v, due %s: %v", s, got.Due, err)
	}
	s.due, s.expireAt = got.Due, got.ExpireAt
	m.delayed = m.delayed[1:]
	m.place(s)
	m.did["released"]++
}

func (m *seekModel) clear(c *seekConsumer) {
	least, most := m.backlogs(c)
	n, err := m.r.ClearBacklog(ctx, m.r.queue(c.def.SubKey).ID)
	m.logf("clear %s: %d %v", c.def.SubKey, n, err)
	if err != nil || n < sum(least) || n > sum(most) {
		m.fatalf("clear %s: %d %v, want %d to %d", c.def.SubKey, n, err, sum(least), sum(most))
	}
	clear(c.has)
	m.did["cleared"]++
}

// retention gives the topic another retention.
func (m *seekModel) retention() {
	m.def.Retention, m.def.RetentionBytes = property.Off, property.Off
	if m.rnd.IntN(3) > 0 {
		m.def.Retention = time.Duration(3+m.rnd.IntN(40)) * time.Second
	}
	if !m.released && m.rnd.IntN(3) > 0 {
		m.def.RetentionBytes = property.Size(500 + m.rnd.IntN(4000))
	}
	m.spared, m.given = [limit.MaxPriority + 1]int{}, [limit.MaxPriority + 1]int{}
	m.logf("retention %s, %d bytes", m.def.Retention, m.def.RetentionBytes)
	m.did["retention"]++
}

// restart opens the file again, or what a crash would have left of it.
func (m *seekModel) restart(crash bool) {
	m.logf("restart, crash %t", crash)
	if crash {
		reopen := m.r.crash()
		reopen()
		m.did["crash"]++
	} else {
		m.r.restart()
		m.did["restart"]++
	}
	m.nextSweep = time.Now().Add(broker.SweepEvery)
	m.spared, m.given = [limit.MaxPriority + 1]int{}, [limit.MaxPriority + 1]int{}
	for _, c := range m.consumers {
		c.unsifted = c.def.Filter != ""
		for s, d := range c.has {
			switch {
			case s.removed:
				delete(c.has, s)
			case crash:
				d.loose = true
			case d.count == 1:
				d.count = 0 // not worth keeping
			}
			d.state = unread
		}
	}
}

// exchange deletes a consumer that came later, or makes one.
func (m *seekModel) exchange() {
	if len(m.consumers) > 4 {
		i := 3 + m.rnd.IntN(len(m.consumers)-3)
		key := m.consumers[i].def.SubKey
		m.logf("delete consumer %s", key)
		m.r.deleteConsumer(key)
		m.consumers = slices.Delete(m.consumers, i, i+1)
		m.did["consumer deleted"]++
		return
	}
	m.keys++
	m.settleDoubts()
	to, from, what := m.somewhere()
	for what == "message" {
		to, from, what = m.somewhere()
	}
	start := to.String()
	if what == "newest" {
		start = broker.StartNew
	}
	if what == "time" {
		to.Time = to.Time.Truncate(time.Microsecond)
	}
	c := m.add(fmt.Sprint("key", m.keys), []string{"", "has(wanted)"}[m.rnd.IntN(2)], start)
	c.has, c.unsifted = m.at(c, from).has, c.def.Filter != ""
	m.undoubt()
	m.did["consumer added"]++
}

func (m *seekModel) add(key, filter, start string) *seekConsumer {
	def := filtered(key, filter)
	def.MaxDepth, def.AckTimeout, def.Start = int64(25+m.rnd.IntN(40)), 5*time.Second, start
	c := &seekConsumer{def: def, has: map[*sought]*modelDelivery{}}
	m.consumers = append(m.consumers, c)
	m.logf("consumer %s, filter %q, max_depth %d, start %q", key, filter, def.MaxDepth, start)
	if _, err := m.r.Apply(ctx, broker.Definition{Consumers: []broker.Consumer{def}}); err != nil {
		m.fatalf("%v", err)
	}
	return c
}

// compare compares all counts, and where one message stands with everybody.
func (m *seekModel) compare() {
	m.t.Helper()
	now := time.Now()
	var needed, neededMost [limit.MaxPriority + 1]int64
	var all int64
	for _, c := range m.consumers {
		least, most := m.backlogs(c)
		flying, flyingMost, deferred, deferredMost := int64(0), int64(0), int64(0), int64(0)
		for s, d := range c.has {
			if gone := s.removed || s.expired(now); !gone && d.state == inFlight {
				flying++
			} else if !gone && d.state == putBack {
				deferred++
			}
			if m.flies(d) && d.state != putBack {
				flyingMost++
			}
			if m.flies(d) && d.state != inFlight {
				deferredMost++
			}
		}
		for p := range least {
			needed[p], neededMost[p] = max(needed[p], least[p]), max(neededMost[p], most[p])
		}
		all += sum(most)
		if q := m.r.queue(c.def.SubKey); q.Backlog < sum(least) || q.Backlog > sum(most) || q.InFlight < flying || q.InFlight > flyingMost || q.Deferred < deferred || q.Deferred > deferredMost {
			m.fatalf("%+v, want %d to %d messages, %d to %d in flight, %d to %d deferred", q, sum(least), sum(most), flying, flyingMost, deferred, deferredMost)
		}
		if least == most {
			m.did["exact"]++
		}
	}
	var stored, storedMost, bytes, bytesMost int64
	for _, s := range m.messages {
		storedMost++
		if bytesMost += s.size; !s.doubt && !s.expired(now) {
			stored++
			bytes += s.size
		}
	}
	for _, s := range m.delayed {
		bytes, bytesMost = bytes+s.size, bytesMost+s.size
	}
	i := m.r.topic("/t")
	ok := i.Depth >= sum(needed) && i.Depth <= sum(neededMost)
	if m.def.Retention <= 0 && m.def.RetentionBytes <= 0 {
		ok = i.Depth <= storedMost && (i.Depth >= stored || i.Depth >= sum(needed) && i.Depth <= all) && i.Retained == 0
		stored = 0
	}
	if n := i.Depth + i.Retained; !ok || n < stored || n > storedMost || i.Delayed != int64(len(m.delayed)) {
		m.fatalf("%+v, want %d to %d needed, %d to %d in all", i, sum(needed), sum(neededMost), stored, storedMost)
	}
	if i.Bytes >= 0 && (i.Bytes < bytes || i.Bytes > bytesMost) || i.Bytes < 0 && m.def.RetentionBytes > 0 && len(m.messages) > 0 && m.spared != [limit.MaxPriority + 1]int{} {
		m.fatalf("%d bytes, want %d to %d", i.Bytes, bytes, bytesMost)
	}
	if len(m.messages) > 0 {
		m.look(m.messages[m.rnd.IntN(len(m.messages))])
	}
}

// look compares where a message stands.
func (m *seekModel) look(s *sought) {
	if s.expired(time.Now()) || s.doubt {
		return
	}
	_, standings, err := m.r.Message("/t", s.id)
	if err != nil || len(standings) != len(m.consumers) {
		m.fatalf("message %+v: %+v %v", s, standings, err)
	}
	for _, c := range m.consumers {
		want, d := browse.Done, c.has[s]
		if d != nil {
			want = (&modelDelivery{state: d.state}).seenAs()
		}
		id := m.r.queue(c.def.SubKey).ID
		i := slices.IndexFunc(standings, func(x browse.Standing) bool { return x.Consumer == id })
		if i < 0 || standings[i].State != want || d != nil && !d.loose && standings[i].Deliveries != d.count {
			m.fatalf("message %+v stands with %s as %+v, want %s %+v", s, c.def.SubKey, standings, want, d)
		}
	}
}

// drain lets every consumer take all that is left.
func (m *seekModel) drain() {
	m.pass(10 * time.Second)
	for _, c := range m.consumers {
		for m.receive(c, broker.ReceiveOptions{Max: 50, Ack: true}) > 0 {
			m.pass(0)
			m.compare()
		}
	}
	m.pass(20 * time.Second)
	m.compare()
	for _, c := range m.consumers {
		if q := m.r.queue(c.def.SubKey); q.Backlog != 0 || q.InFlight != 0 {
			m.fatalf("%+v", q)
		}
	}
}
