package broker_test

import (
	"slices"
	"sort"
	"strings"
	"time"

	"pipit/broker/browse"
)

// interveneOps are what the runs of TestModel must have seen of what administrators do.
var interveneOps = []string{"browsed a consumer", "browsed a topic", "browsed what is delayed", "looked at a message", "deleted", "deleted in flight",
	"deleted while delayed", "cleared", "cleared in flight", "released all", "released one", "released while delayed"}

// intervene does what an administrator may do.
func (m *model) intervene(mt *modelTopic) {
	var c *modelConsumer
	if len(mt.consumers) > 0 {
		c = mt.consumers[m.rnd.IntN(len(mt.consumers))]
	}
	switch n := m.rnd.IntN(100); {
	case n < 30:
		m.browse(mt, c)
	case n < 42:
		m.message(mt)
	case n < 65:
		m.deleteSome(mt)
	case n < 80:
		m.releaseOne(mt, c)
	case c == nil:
	case n < 83:
		m.clearBacklog(mt, c)
	case n < 91:
		m.clearInFlight(mt, c)
	default:
		m.releaseInFlight(mt, c)
	}
}

func (d *modelDelivery) seenAs() browse.State {
	switch d.state {
	case inFlight:
		return browse.InFlight
	case putBack:
		return browse.Deferred
	}
	return browse.Waiting
}

// seenAs returns where a message stands with the topic.
func (mt *modelTopic) seenAs(msg *modelMessage) browse.State {
	state := browse.Done
	if len(mt.consumers) == 0 {
		state = browse.Waiting
	}
	for _, c := range mt.consumers {
		if d := c.has[msg]; d != nil && state != browse.InFlight {
			if s := d.seenAs(); s != browse.Waiting || state == browse.Done {
				state = s
			}
		}
	}
	return state
}

// browse compares the pages of a consumer or a topic with the model.
func (m *model) browse(mt *modelTopic, c *modelConsumer) {
	o := browse.Options{Topic: mt.def.Name, Payload: -1, Limit: 1 + m.rnd.IntN(12), Priority: []int{0, 0, 0, 1, 5}[m.rnd.IntN(5)],
		State: []browse.State{"", "", browse.Waiting, browse.InFlight, browse.Deferred, browse.Delayed}[m.rnd.IntN(6)]}
	if m.rnd.IntN(4) == 0 {
		o.Text = []string{"1", "2", "99"}[m.rnd.IntN(3)]
	}
	o.Newest = m.rnd.IntN(3) == 0
	ofConsumer := c != nil && m.rnd.IntN(3) > 0
	if ofConsumer {
		o.Consumer = m.r.queue(c.def.SubKey).ID
	}
	now := time.Now()
	var want []*modelMessage
	switch {
	case o.State == browse.Delayed:
		want = slices.Clone(mt.delayed)
		sort.SliceStable(want, func(i, j int) bool { return want[i].due.Before(want[j].due) })
		m.did["browsed what is delayed"]++
	case ofConsumer:
		for msg, d := range c.has {
			if !msg.expired(now) && (o.State == "" || o.State == d.seenAs()) {
				want = append(want, msg)
			}
		}
		m.did["browsed a consumer"]++
	case c == nil:
		return // what the last consumer was done with may be there or not
	default:
		for _, msg := range mt.messages {
			if s := mt.seenAs(msg); !msg.expired(now) && s != browse.Done && (o.State == "" || o.State == s) {
				want = append(want, msg)
			}
		}
		m.did["browsed a topic"]++
	}
	want = slices.DeleteFunc(want, func(msg *modelMessage) bool {
		return o.Priority != 0 && msg.prio != o.Priority || !strings.Contains(msg.payload, o.Text)
	})
	if o.State != browse.Delayed {
		sort.Slice(want, func(i, j int) bool {
			return want[i].prio > want[j].prio || want[i].prio == want[j].prio && want[i].pos != want[j].pos && (want[i].pos < want[j].pos) == !o.Newest
		})
	}
	got := m.r.browse(o)
	m.logf("browse %+v: %s", o, summary(got))
	if len(got) != len(want) {
		m.fatalf("browse %+v: %q, want %q", o, summary(got), names(want))
	}
	for i, msg := range want {
		g := &got[i]
		state, count, loose := browse.Delayed, 0, false
		if o.State != browse.Delayed {
			state = mt.seenAs(msg)
			if ofConsumer {
				d := c.has[msg]
				state, count, loose = d.seenAs(), d.count, d.loose
			}
		}
		if g.ID != msg.id || string(g.Payload) != msg.payload || g.State != state || g.Deliveries != count && !loose || g.Priority != msg.prio ||
			!g.Created.Equal(msg.created) || !g.Due.Equal(msg.due) || !g.ExpireAt.Equal(msg.expireAt) || g.Size != len(msg.payload) || g.Topic != mt.def.Name {
			m.fatalf("browse %+v: message %d is %+v, want %+v, %s, %d deliveries", o, i, g, msg, state, count)
		}
	}
}

// certain returns a message of which there is no doubt that it is stored, and that no other one has
// its ID; nil where it has found none.
func (m *model) certain(mt *modelTopic) *modelMessage {
	all := slices.Concat(mt.messages, mt.delayed)
	if len(all) == 0 {
		return nil
	}
	msg := all[m.rnd.IntN(len(all))]
	if len(mt.delayed) > 0 && m.rnd.IntN(4) == 0 {
		msg = mt.delayed[m.rnd.IntN(len(mt.delayed))]
	}
	if held := slices.DeleteFunc(slices.Clone(mt.messages), func(msg *modelMessage) bool { return mt.seenAs(msg) != browse.InFlight }); len(held) > 0 && m.rnd.IntN(2) == 0 {
		msg = held[m.rnd.IntN(len(held))]
	}
	if !msg.doneAt.IsZero() || msg.expired(time.Now()) {
		return nil
	}
	for _, other := range all {
		if other != msg && other.id == msg.id {
			return nil
		}
	}
	return msg
}

// message compares what is known of one message with the model.
func (m *model) message(mt *modelTopic) {
	msg := m.certain(mt)
	if msg == nil {
		return
	}
	got, standings, err := m.r.Message(mt.def.Name, msg.id)
	if err != nil || got.ID != msg.id || string(got.Payload) != msg.payload || len(standings) != len(mt.consumers) {
		m.fatalf("message %+v: %+v %+v %v", msg, got, standings, err)
	}
	for _, c := range mt.consumers {
		want := browse.Standing{Consumer: m.r.queue(c.def.SubKey).ID, Client: "crm", State: browse.Done}
		d := c.has[msg]
		if msg.pos == 0 {
			want.State = browse.Delayed
		} else if d != nil {
			want.State, want.Deliveries = d.seenAs(), d.count
			if d.state == inFlight || d.state == putBack {
				want.Until = d.until.Truncate(time.Microsecond)
			}
		}
		i := slices.IndexFunc(standings, func(s browse.Standing) bool { return s.Consumer == want.Consumer })
		if d != nil && d.loose && i >= 0 {
			want.Deliveries = standings[i].Deliveries
		}
		if i < 0 || !standings[i].Until.Equal(want.Until) {
			m.fatalf("message %+v: %+v, want %+v", msg, standings, want)
		}
		standings[i].Until, want.Until = time.Time{}, time.Time{}
		if standings[i] != want {
			m.fatalf("message %+v: %+v, want %+v", msg, standings[i], want)
		}
	}
	m.did["looked at a message"]++
}

// deleteSome deletes some messages, for good.
func (m *model) deleteSome(mt *modelTopic) {
	list := map[*modelMessage]bool{}
	for range 1 + m.rnd.IntN(3) {
		if msg := m.certain(mt); msg != nil {
			list[msg] = true
		}
	}
	ids := []string{"nobody"}
	for msg := range list {
		ids = append(ids, msg.id)
	}
	sort.Strings(ids)
	n, err := m.r.DeleteMessages(ctx, mt.def.Name, ids)
	m.logf("delete %q: %d %v", ids, n, err)
	if err != nil || n != len(list) {
		m.fatalf("delete %q: %d %v, want %d", ids, n, err, len(list))
	}
	for _, c := range mt.consumers {
		for msg := range list {
			if d := c.has[msg]; d != nil && d.state == inFlight {
				m.did["deleted in flight"]++
			}
			delete(c.has, msg)
		}
	}
	for msg := range list {
		if msg.pos == 0 {
			m.did["deleted while delayed"]++
		}
		m.did["deleted"]++
	}
	drop := func(msg *modelMessage) bool { return list[msg] }
	mt.messages = slices.DeleteFunc(mt.messages, drop)
	mt.delayed = slices.DeleteFunc(mt.delayed, drop)
}

// releaseOne makes one message deliverable, for one consumer or all.
func (m *model) releaseOne(mt *modelTopic, c *modelConsumer) {
	msg := m.certain(mt)
	if msg == nil {
		return
	}
	consumers, id := mt.consumers, uint32(0)
	if c != nil && m.rnd.IntN(2) == 0 {
		consumers, id = []*modelConsumer{c}, m.r.queue(c.def.SubKey).ID
	}
	want := msg.pos == 0
	now := time.Now()
	for _, c := range consumers {
		if d := c.has[msg]; d != nil && (d.state == inFlight || d.state == putBack) {
			d.state, want = again, true
			m.did["released one"]++
		}
	}
	if msg.pos == 0 {
		mt.delayed = slices.DeleteFunc(mt.delayed, func(other *modelMessage) bool { return other == msg })
		waited := (now.Sub(msg.created) + time.Second - 1) / time.Second * time.Second
		if due := msg.created.Add(waited); due.Before(msg.due) {
			early := msg.due.Sub(due)
			msg.due = due
			if !msg.expireAt.IsZero() {
				msg.expireAt, msg.sweepAt = msg.expireAt.Add(-early), msg.sweepAt.Add(-early)
			}
		}
		mt.place(msg, m.boot)
		m.did["released while delayed"]++
	}
	got, err := m.r.ReleaseMessage(ctx, mt.def.Name, msg.id, id)
	m.logf("release %s for %d: %t %v", msg.id, id, got, err)
	if err != nil || got != want {
		m.fatalf("release %+v for %d: %t %v, want %t", msg, id, got, err, want)
	}
}

// clearBacklog makes a consumer done with everything.
func (m *model) clearBacklog(mt *modelTopic, c *modelConsumer) {
	now := time.Now()
	least, most := m.depths(mt, now)
	i := slices.Index(mt.consumers, c) + 1
	late := int64(len(mt.delayed))
	n, err := m.r.ClearBacklog(ctx, m.r.queue(c.def.SubKey).ID)
	m.logf("clear %s: %d %v", c.def.SubKey, n, err)
	if err != nil || n < least[i]-late || n > most[i]-late {
		m.fatalf("clear %s: %d %v, want %d to %d", c.def.SubKey, n, err, least[i]-late, most[i]-late)
	}
	for msg := range c.has {
		mt.done(c, msg, now)
	}
	m.did["cleared"]++
}

// flying calls fn with what a consumer holds for a time, and returns how many of these messages
// are stored: at least and at most.
func (m *model) flying(c *modelConsumer, deferred bool, fn func(*modelMessage, *modelDelivery)) (least, most int) {
	for msg, d := range c.has {
		if d.state != inFlight && (d.state != putBack || !deferred) {
			continue
		}
		if !msg.expired(time.Now()) {
			least++
		}
		if !msg.swept(m.lastSweep) {
			most++
		}
		fn(msg, d)
	}
	return least, most
}

func (m *model) clearInFlight(mt *modelTopic, c *modelConsumer) {
	now := time.Now()
	least, most := m.flying(c, false, func(msg *modelMessage, _ *modelDelivery) { mt.done(c, msg, now) })
	n, err := m.r.ClearInFlight(ctx, m.r.queue(c.def.SubKey).ID)
	m.logf("clear in flight %s: %d %v", c.def.SubKey, n, err)
	if err != nil || n < least || n > most {
		m.fatalf("clear in flight %s: %d %v, want %d to %d", c.def.SubKey, n, err, least, most)
	}
	m.did["cleared in flight"] += n
}

func (m *model) releaseInFlight(mt *modelTopic, c *modelConsumer) {
	least, most := m.flying(c, true, func(msg *modelMessage, d *modelDelivery) {
		if d.state = again; msg.swept(m.lastSweep) {
			delete(c.has, msg)
		}
	})
	n, err := m.r.ReleaseInFlight(ctx, m.r.queue(c.def.SubKey).ID)
	m.logf("release in flight %s: %d %v", c.def.SubKey, n, err)
	if err != nil || n < least || n > most {
		m.fatalf("release in flight %s: %d %v, want %d to %d", c.def.SubKey, n, err, least, most)
	}
	m.did["released all"] += n
}
