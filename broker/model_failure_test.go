package broker_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
)

// TestModelFailures does random operations over messages that fail, in fake time over a real file. Of a consumer with a
// dead-letter topic, which is full at times, a model knows what it may get, and what each letter has to say; of that one, of one
// that drops what failed, and of one that gives up its oldest messages, every count is to be exact after every step.
func TestModelFailures(t *testing.T) {
	seeds, steps := uint64(4), 1000
	if testing.Short() {
		seeds, steps = 3, 400
	}
	first := uint64(1)
	if *seedFlag != 0 {
		first, seeds = *seedFlag, 1
	}
	for seed := first; seed < first+seeds; seed++ {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			t.Parallel()
			rnd := newRand(t, seed)
			synctest.Test(t, func(t *testing.T) {
				m := newFailureModel(t, rnd)
				for m.step = range steps {
					m.random()
				}
				m.drain()
				for _, what := range []string{"delivered", "acked", "max_deliveries", "rejected", "expired", "waited", "redriven", "released", "crash"} {
					if m.did[what] == 0 && *seedFlag == 0 && !testing.Short() {
						t.Errorf("the run never saw: %s", what)
					}
				}
			})
		})
	}
}

// failureModel knows what "a" is not done with, and which of its letters were not read.
type failureModel struct {
	t    *testing.T
	r    *rig
	rnd  *rand.Rand
	def  broker.Consumer // of "a"
	step int
	has  map[string]*mayFail // by payload

	published, redriven int
	sums                map[string]int // by consumer: messages that it was done with in the runs before
	did                 map[string]int
}

// mayFail is a message of "a".
type mayFail struct {
	id       string
	expireAt time.Time // zero: never
	state    modelState
	until    time.Time // of inFlight and putBack
	count    int
	loose    bool      // a crash may have lost some of count
	reason   string    // why it has failed; empty: it has not
	failedAt time.Time // by its ack timeout
}

func (f *mayFail) expired(now time.Time) bool { return !f.expireAt.IsZero() && !f.expireAt.After(now) }

func newFailureModel(t *testing.T, rnd *rand.Rand) *failureModel {
	m := &failureModel{t: t, rnd: rnd, has: map[string]*mayFail{}, sums: map[string]int{}, did: map[string]int{}}
	m.r = failing(t, func(c *broker.Consumer) {
		c.MaxDeliveries, c.AckTimeout, c.OnExpiry = 1+rnd.IntN(3), 5*time.Second, broker.ExpiryDeadLetter
		c.RetryBackoff = broker.DurationsOf(time.Second, 2*time.Second)
		m.def = *c
	})
	dead, topic := topicDef("/dead"), topicDef("/t")
	dead.MaxDepth, dead.Expiration, topic.Expiration = 8, broker.Off, broker.Off
	drops, yields := consumerDef("/t", "drops"), consumerDef("/t", "yields")
	drops.MaxDeliveries, drops.AckTimeout = 2, 3*time.Second
	yields.MaxDepth, yields.Overflow = 6, broker.OverflowDropOldest
	m.r.define(dead)
	m.r.define(topic, drops, yields)
	return m
}

func (m *failureModel) fatalf(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf(fmt.Sprintf("step %d: ", m.step)+format, args...)
}

func (m *failureModel) random() {
	switch n := m.rnd.IntN(100); {
	case n < 25:
		m.publish()
	case n < 45:
		m.receive(1 + m.rnd.IntN(4))
	case n < 65:
		m.settle()
	case n < 75:
		m.others()
	case n < 77:
		m.letters()
	case n < 80:
		m.redrive()
	case n < 98:
		m.pass(time.Duration(m.rnd.IntN(3_000)) * time.Millisecond)
	default:
		m.restart(n == 98)
	}
	m.pass(time.Millisecond)
	m.compare()
}

// pass lets time pass, and brings the model to the time it is.
func (m *failureModel) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
	now := time.Now()
	for _, f := range m.has {
		if f.state == inFlight && f.reason == "" && !f.until.After(now) {
			if f.count >= m.def.MaxDeliveries {
				f.reason, f.failedAt = broker.ReasonMaxDeliveries, f.until
			} else {
				f.state, f.until = putBack, f.until.Add(m.backoff(f))
			}
		}
		if f.state == putBack && !f.until.After(now) {
			f.state = again
		}
	}
}

func (m *failureModel) backoff(f *mayFail) time.Duration {
	return []time.Duration{time.Second, 2 * time.Second}[min(f.count, 2)-1]
}

func (m *failureModel) publish() {
	for range 1 + m.rnd.IntN(3) {
		m.published++
		pub := broker.Publication{Payload: fmt.Append(nil, m.published), Priority: 4 + m.rnd.IntN(2)}
		f := &mayFail{}
		if m.rnd.IntN(4) == 0 {
			pub.Expiration = int64(1 + m.rnd.IntN(8))
			f.expireAt = time.Now().Truncate(time.Microsecond).Add(time.Duration(pub.Expiration) * time.Second)
		}
		f.id = m.r.publish("/t", pub)
		m.has[string(pub.Payload)] = f
	}
}

// receive lets "a" receive.
func (m *failureModel) receive(most int) (n int) {
	now := time.Now()
	got := m.r.receive("/t", "a", broker.ReceiveOptions{Max: most})
	for i := range got {
		g := &got[i]
		f := m.has[string(g.Payload)]
		switch {
		case f == nil:
			m.fatalf("%s was delivered, but is done", g.Payload)
		case f.reason != "", f.expired(now), f.state == inFlight && !f.loose, f.state == putBack && !f.loose, g.DeliveryCount > m.def.MaxDeliveries:
			m.fatalf("%s was delivered for the %d. time: %+v", g.Payload, g.DeliveryCount, f)
		case g.DeliveryCount != f.count+1 && !f.loose:
			m.fatalf("%s: delivery %d of %+v", g.Payload, g.DeliveryCount, f)
		}
		f.count, f.loose, f.state, f.until = g.DeliveryCount, false, inFlight, now.Add(m.def.AckTimeout)
		m.did["delivered"]++
	}
	if len(got) > 0 && m.rnd.IntN(8) == 0 { // the reply is broken
		m.r.sub("/t", "a").Release(got)
		for i := range got {
			f := m.has[string(got[i].Payload)]
			f.count, f.state = f.count-1, again
			m.did["released"]++
		}
	}
	return len(got)
}

// settle lets "a" acknowledge and reject what was delivered, in time or late.
func (m *failureModel) settle() {
	now := time.Now()
	var known []string
	for payload, f := range m.has {
		if f.reason == "" && f.count > 0 && f.state != unread && !f.loose && !f.expired(now) {
			known = append(known, payload)
		}
	}
	slices.Sort(known)
	m.rnd.Shuffle(len(known), func(i, j int) { known[i], known[j] = known[j], known[i] })
	var st broker.Settlement
	for _, payload := range known[:min(len(known), 3)] {
		f := m.has[payload]
		switch n := m.rnd.IntN(10); {
		case n < 4:
			st.Ack = append(st.Ack, f.id)
			delete(m.has, payload)
			m.did["acked"]++
		case n < 8:
			st.Reject = append(st.Reject, f.id)
			if f.count >= m.def.MaxDeliveries {
				f.reason = broker.ReasonMaxDeliveries
			} else {
				f.state, f.until = putBack, now.Add(m.backoff(f))
			}
		default:
			st.DeadLetter = append(st.DeadLetter, f.id)
			f.reason = broker.ReasonRejected
		}
	}
	if len(st.Ack)+len(st.Reject)+len(st.DeadLetter) == 0 {
		return
	}
	if got := m.r.settle("a", st); got.Acked != len(st.Ack) || got.Rejected != len(st.Reject) || got.DeadLettered != len(st.DeadLetter) || len(got.NotFound) > 0 {
		m.fatalf("%+v: %+v", st, got)
	}
}

// others lets the other consumers receive, acknowledge and reject.
func (m *failureModel) others() {
	for _, key := range []string{"drops", "yields"} {
		var st broker.Settlement
		for _, g := range m.r.receive("/t", key, broker.ReceiveOptions{Max: 1 + m.rnd.IntN(4)}) {
			switch m.rnd.IntN(4) {
			case 0:
				st.Reject = append(st.Reject, g.ID)
			case 1:
				st.Ack = append(st.Ack, g.ID)
			}
		}
		if len(st.Ack)+len(st.Reject) > 0 {
			m.r.settle(key, st)
		}
	}
}

// letters reads all dead letters that there are.
func (m *failureModel) letters() (n int) {
	now := time.Now()
	for {
		got := m.r.receive("/dead", "d", broker.ReceiveOptions{Ack: true})
		for i := range got {
			g := &got[i]
			f, d := m.has[string(g.Payload)], g.DeadLetter
			if f == nil || d == nil || g.ID != f.id || d.Topic != "/t" || d.Consumer != "crm/a" {
				m.fatalf("letter %+v of %+v", g, f)
			}
			ok := d.Reason == f.reason
			switch d.Reason {
			case broker.ReasonExpired:
				ok = f.expired(now) && (f.reason == "" || !f.failedAt.IsZero())
			case broker.ReasonMaxDeliveries:
				ok = ok || f.loose
			}
			if !ok || int(d.Count) != f.count && (!f.loose || int(d.Count) > m.def.MaxDeliveries) {
				m.fatalf("letter %s: %+v of %+v", g.Payload, d, f)
			}
			delete(m.has, string(g.Payload))
			m.did[d.Reason]++
		}
		if n += len(got); len(got) == 0 {
			return n
		}
	}
}

// redrive sends back what was rejected.
func (m *failureModel) redrive() {
	if m.r.queue("a").Failed > 0 {
		return // some of that is in no topic yet
	}
	want := 0
	for _, f := range m.has {
		if f.reason == broker.ReasonRejected {
			*f = mayFail{id: f.id}
			want++
		}
	}
	if got := m.r.redrive(broker.Redrive{Reason: broker.ReasonRejected}); got.Moved != want {
		m.fatalf("%d redriven, want %d", got.Moved, want)
	}
	m.redriven += want
	m.did["redriven"] += want
}

// finishedOf is how many messages a consumer was done with since the start.
func finishedOf(q broker.ConsumerInfo) int {
	return int(q.Acked + q.Expired + q.Dropped.Sum() + q.DeadLettered.Sum() - q.DeadLettered.Expired) // what expired may have been moved
}

func (m *failureModel) restart(crash bool) {
	if m.r.queue("a").Failed > 0 {
		m.pass(2 * time.Second) // that they failed is stored by then
	}
	for _, key := range []string{"a", "drops", "yields"} {
		m.sums[key] += finishedOf(m.r.queue(key))
	}
	if crash {
		m.r.crash()()
		m.did["crash"]++
	} else {
		m.r.restart()
	}
	now := time.Now()
	for _, f := range m.has {
		if crash && f.reason != "" && now.Sub(f.failedAt) < 2*time.Second {
			f.reason = "" // that may not be known
		}
		switch {
		case f.reason != "":
		case crash:
			f.loose, f.state = true, unread // a delivery that was given back may count, too
		case f.state == inFlight && f.count >= m.def.MaxDeliveries:
			f.until = now.Add(m.def.AckTimeout)
		default:
			if f.state, f.loose = unread, f.loose || f.expired(now); f.count == 1 { // its letter may have been there
				f.count = 0 // not worth keeping
			}
		}
	}
}

// compare compares all counts.
func (m *failureModel) compare() {
	m.t.Helper()
	for key, want := range map[string]int{"a": m.published + m.redriven, "drops": m.published, "yields": m.published} {
		q := m.r.queue(key)
		if got := m.sums[key] + finishedOf(q) + int(q.Backlog); got != want || q.InFlight < 0 || q.Deferred < 0 || q.Failed < 0 || q.Waiting < 0 {
			m.fatalf("%s: %d of %d messages are accounted for: %+v", key, got, want, q)
		}
	}
	a, d := m.r.queue("a"), m.r.queue("d")
	if a.Failed > 0 {
		m.did["waited"]++
	}
	if got := int(a.Backlog + d.Backlog); got != len(m.has) {
		m.fatalf("%d messages wait and %d letters, want %d in all", a.Backlog, d.Backlog, len(m.has))
	}
	if q := m.r.queue("yields"); q.Backlog > 6 {
		m.fatalf("past max_depth: %+v", q)
	}
	if d.Backlog > 8 {
		m.fatalf("past max_depth: %+v", d)
	}
}

// drain lets everything come to its end: whatever "a" is not done with fails.
func (m *failureModel) drain() {
	for range 200 {
		m.pass(12 * time.Second) // what has expired and found no room waits as long
		if m.receive(100)+m.letters() == 0 && len(m.has) == 0 {
			break
		}
		m.compare()
	}
	for payload, f := range m.has {
		m.t.Errorf("%s is neither done nor a letter: %+v", payload, f)
	}
	for _, key := range []string{"drops", "yields"} {
		for len(m.r.receive("/t", key, broker.ReceiveOptions{Max: 100, Ack: true})) > 0 {
		}
	}
	m.pass(30 * time.Second)
	m.compare()
	if tp := m.r.topic("/t"); tp.Depth != 0 || m.r.topic("/dead").Depth != 0 {
		m.t.Errorf("%+v is left", tp)
	}
}
