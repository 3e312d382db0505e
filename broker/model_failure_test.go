package broker_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
	"pipit/broker/browse"
	"pipit/broker/property"
	"pipit/broker/stats"
)

// TestModelFailures does random operations over messages that fail, in fake time over a real file. Of a consumer with a
// dead-letter topic, which is full at times, and a filter, which changes, a model knows what it may get, what each letter has to
// say, and what late acknowledgements and extensions are answered while messages move; of that one, whose backlog overflows with
// every other seed, of one that drops what failed, and of one that gives up its oldest messages, every count is to be exact after
// every step.
func TestModelFailures(t *testing.T) {
	seeds, steps := uint64(4), 1000
	if testing.Short() {
		seeds, steps = 3, 400
	}
	first := uint64(1)
	if *seedFlag != 0 {
		first, seeds = *seedFlag, 1
	}
	var mu sync.Mutex
	did := map[string]int{} // in all runs together
	t.Cleanup(func() {
		t.Logf("%v", did)
		for _, what := range append(busyOps(), "delivered", "acked", "max_deliveries", "rejected", "expired", "overflow", "waited", "redriven", "released", "crash",
			"extended", "acked though it failed", "not acked as it is a letter", "extended though it failed", "filtered", "filtered later") {
			if did[what] == 0 && *seedFlag == 0 && !testing.Short() {
				t.Errorf("no run ever saw: %s", what)
			}
		}
	})
	for seed := first; seed < first+seeds; seed++ {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			t.Parallel()
			rnd := newRand(t, seed)
			synctest.Test(t, func(t *testing.T) {
				m := newFailureModel(t, rnd, seed%2 == 0)
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

// failureModel knows what "a" is not done with, and which of its letters were not read.
type failureModel struct {
	t    *testing.T
	r    *rig
	rnd  *rand.Rand
	def  broker.Consumer // of "a"
	step int
	all  [2]broker.Topic
	has  map[string]*mayFail // by payload

	published, redriven int
	filtered            int            // that the filter of "a" did not let through, or does not any more
	sums                map[string]int // by consumer: messages that it was done with in the runs before
	before              stats.Counters
	busy                *busyWorker
	trace               []string
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
	revived  time.Time // it was extended though it had failed, which may be forgotten
	wanted   bool      // its attribute
}

func (f *mayFail) expired(now time.Time) bool { return !f.expireAt.IsZero() && !f.expireAt.After(now) }

func newFailureModel(t *testing.T, rnd *rand.Rand, overflows bool) *failureModel {
	m := &failureModel{t: t, rnd: rnd, has: map[string]*mayFail{}, sums: map[string]int{}, did: map[string]int{}}
	m.r = failing(t, func(c *broker.Consumer) {
		c.MaxDeliveries, c.AckTimeout, c.OnExpiry = 1+rnd.IntN(3), 5*time.Second, broker.ExpiryDeadLetter
		c.RetryBackoff = property.DurationsOf(time.Second, 2*time.Second)
		if overflows {
			c.MaxDepth, c.Overflow = 12, broker.OverflowDeadLetter
		}
		m.def = *c
	})
	dead, topic := topicDef("/dead"), topicDef("/t")
	dead.MaxDepth, dead.Expiration, topic.Expiration = 8, property.Off, property.Off
	drops, yields := consumerDef("/t", "drops"), consumerDef("/t", "yields")
	drops.MaxDeliveries, drops.AckTimeout = 2, 3*time.Second
	yields.MaxDepth, yields.Overflow = 6, broker.OverflowDropOldest
	m.all = [2]broker.Topic{dead, topic}
	m.r.define(dead)
	m.r.define(topic, drops, yields)
	m.busy = newBusyWorker(m.r, rnd, m.did)
	return m
}

func (m *failureModel) fatalf(format string, args ...any) {
	m.t.Helper()
	for _, s := range m.trace {
		m.t.Log(s)
	}
	m.t.Fatalf(fmt.Sprintf("step %d: ", m.step)+format, args...)
}

func (m *failureModel) logf(format string, args ...any) {
	m.trace = append(m.trace, fmt.Sprintf("%6d %s  ", m.step, time.Now().Format("04:05.000"))+fmt.Sprintf(format, args...))
	m.trace = m.trace[max(0, len(m.trace)-40):]
}

func (m *failureModel) random() {
	switch n := m.rnd.IntN(100); {
	case n < 25:
		m.publish()
	case n < 45:
		m.receive(1 + m.rnd.IntN(4))
	case n < 60:
		m.settle()
	case n < 65:
		m.settleFailed()
	case n < 67:
		m.refilter()
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
	if restart, crash := m.busy.step(); restart {
		m.restart(crash)
	}
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
		f := &mayFail{wanted: m.rnd.IntN(3) > 0}
		if f.wanted {
			pub.Attributes = []broker.Attribute{{Name: "wanted", Value: "yes"}}
		}
		if m.rnd.IntN(4) == 0 {
			pub.Expiration = int64(1 + m.rnd.IntN(8))
			f.expireAt = time.Now().Truncate(time.Microsecond).Add(time.Duration(pub.Expiration) * time.Second)
		}
		p, err := m.r.Publisher(m.r.crm, "/t")
		if err != nil {
			m.fatalf("%v", err)
		}
		rc, err := p.Publish(pub)
		m.logf("publish %s wanted %t expires %d: %v", pub.Payload, f.wanted, pub.Expiration, err)
		if err != nil {
			if broker.CodeOf(err) != broker.Full || m.def.Overflow != broker.OverflowDeadLetter || m.r.queue("d").Backlog < m.all[0].MaxDepth && m.r.queue("a").Failed == 0 {
				m.fatalf("publish: %v", err)
			}
			m.published--
			m.did["full"]++
			continue
		}
		if f.id = rc.ID; !m.lets(f) {
			m.filtered++
			m.did["filtered"]++
		} else {
			m.has[string(pub.Payload)] = f
		}
		if m.lets(f) {
			m.overflow(string(pub.Payload))
		}
	}
}

// lets tells whether the filter of "a" lets a message through.
func (m *failureModel) lets(f *mayFail) bool { return m.def.Filter == "" || f.wanted }

// dead returns the reasons of the letters that there are.
func (m *failureModel) dead() map[string]string {
	list := map[string]string{}
	for _, s := range m.r.browse(browse.Options{Topic: "/dead"}) {
		list[string(s.Payload)] = s.Extra.DeadLetter.Reason
	}
	return list
}

// overflow takes in what a publish made go. Nothing goes that is in flight while something else waited before.
func (m *failureModel) overflow(published string) {
	if m.def.Overflow != broker.OverflowDeadLetter {
		return
	}
	dead := m.dead()
	waits := 0
	for payload, f := range m.has {
		if dead[payload] == "" && payload != published && f.reason == "" && (f.state == unread || f.state == again) && !f.loose && !f.expired(time.Now()) {
			waits++
		}
	}
	for payload, why := range dead {
		f := m.has[payload]
		if why != broker.ReasonOverflow || f.reason == broker.ReasonOverflow {
			continue
		}
		if f.state == inFlight && f.reason == "" && !f.loose && waits > 0 {
			m.fatalf("%s went as the backlog was full, which is in flight, and %d messages wait: %+v", payload, waits, f)
		}
		f.reason = why
		m.did["overflow"]++
	}
}

// settleFailed acknowledges or extends a message that has failed or expired: it may be a letter by now, and is not found then.
func (m *failureModel) settleFailed() {
	now := time.Now()
	var known []string
	for payload, f := range m.has {
		if (f.reason != "" || f.expired(now)) && f.count > 0 && f.state != unread && !f.loose {
			known = append(known, payload)
		}
	}
	if len(known) == 0 {
		return
	}
	slices.Sort(known)
	payload := known[m.rnd.IntN(len(known))]
	f, st := m.has[payload], broker.Settlement{}
	extend := m.rnd.IntN(3) == 0
	if extend {
		st.Extend = []broker.Extension{{ID: f.id, Seconds: 1 + m.rnd.Int64N(8)}}
	} else {
		st.Ack = []string{f.id}
	}
	was := m.dead()[payload]
	got := m.r.settle("a", st)
	m.logf("settle the failed %s, extend %t: %+v", payload, extend, got)
	switch done := got.Acked + got.Extended; {
	case done+len(got.NotFound) != 1, done == 1 && m.dead()[payload] != "":
		m.fatalf("%s: %+v, a letter before (%s) and after (%s)", payload, got, was, m.dead()[payload])
	case done == 0:
		if was == "" && !f.expired(now) {
			m.fatalf("%s is no letter and not found: %+v", payload, f)
		}
		m.did["not acked as it is a letter"]++
	case extend:
		m.did["extended though it failed"]++
		if f.reason == broker.ReasonRejected {
			f.revived = now
		}
		f.state, f.until, f.reason, f.failedAt = inFlight, now.Add(time.Duration(st.Extend[0].Seconds)*time.Second), "", time.Time{}
	default:
		m.did["acked though it failed"]++
		m.did["acked"]++
		delete(m.has, payload)
	}
}

// refilter changes the filter of "a". What it does not let through any more is gone with the next pass of the sweeper.
func (m *failureModel) refilter() {
	if m.r.queue("a").Failed > 0 {
		m.letters()
		m.pass(1100 * time.Millisecond)
	}
	if m.r.queue("a").Failed > 0 {
		return // what waits to be moved is done then, too
	}
	if m.def.Filter = ""; m.rnd.IntN(2) == 0 {
		m.def.Filter = "has(wanted)"
	}
	m.r.define(m.all[1], m.def)
	m.logf("filter %q", m.def.Filter)
	dead := m.dead()
	for payload, f := range m.has {
		if dead[payload] == "" && !m.lets(f) {
			delete(m.has, payload)
			m.filtered++
			m.did["filtered later"]++
		}
	}
	m.pass(1100 * time.Millisecond)
}

// receive lets "a" receive.
func (m *failureModel) receive(most int) (n int) {
	now := time.Now()
	got := m.r.receive("/t", "a", broker.ReceiveOptions{Max: most})
	m.logf("receive %s", payloads(got))
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
		if f.count > 1 {
			m.did["redelivered"]++
		}
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
		switch n := m.rnd.IntN(11); {
		case n == 10:
			st.Extend = append(st.Extend, broker.Extension{ID: f.id, Seconds: 1 + m.rnd.Int64N(8)})
			f.state, f.until = inFlight, now.Add(time.Duration(st.Extend[len(st.Extend)-1].Seconds)*time.Second)
			m.did["extended"]++
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
	if len(st.Ack)+len(st.Reject)+len(st.DeadLetter)+len(st.Extend) == 0 {
		return
	}
	m.logf("settle %q: %+v", known[:min(len(known), 3)], st)
	if got := m.r.settle("a", st); got.Extended != len(st.Extend) || got.Acked != len(st.Ack) || got.Rejected != len(st.Reject) || got.DeadLettered != len(st.DeadLetter) || len(got.NotFound) > 0 {
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
		m.logf("letters %s", payloads(got))
		for i := range got {
			g := &got[i]
			f, d := m.has[string(g.Payload)], g.DeadLetter
			if f == nil || d == nil || g.ID != f.id || d.Topic != "/t" || d.Consumer != "crm/a" {
				m.fatalf("letter %+v of %+v", g, f)
			}
			ok := d.Reason == f.reason || f.reason == "" && !f.revived.IsZero() && f.loose
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
			m.did["letters"]++
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
	before := m.dead()
	got, err := broker.Redrive{Reason: broker.ReasonRejected}.Run(ctx, m.r.Broker, "/dead")
	after := m.dead()
	m.logf("redrive: %+v %v", got, err)
	want, stay, full := 0, 0, 0
	for payload, why := range before {
		f := m.has[payload]
		switch {
		case why != broker.ReasonRejected:
		case !m.lets(f):
			stay++
		case after[payload] != "":
			full++
		default:
			*f = mayFail{id: f.id, wanted: f.wanted}
			want++
		}
	}
	code := broker.CodeOf(err)
	if ok := got.Moved == want && got.Left == stay && (err != nil) == (full > 0 || want == 0 && stay > 0); !ok || full > 0 && (code != broker.Full || m.def.Overflow != broker.OverflowDeadLetter) {
		m.fatalf("redriven %+v %v, want %d, and %d that stay, and %d without room", got, err, want, stay, full)
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
	keys := []string{"a", "drops", "yields"}
	for _, key := range keys {
		m.sums[key] += finishedOf(m.r.queue(key))
	}
	m.logf("restart, crash %t", crash)
	a := m.r.queue("a")
	m.before.Acked, m.before.Redelivered, m.before.DeadLettered.Rejected = m.before.Acked+a.Acked, m.before.Redelivered+a.Redelivered, m.before.DeadLettered.Rejected+a.DeadLettered.Sum()
	if crash {
		m.r.crash()()
		m.did["crash"]++
	} else {
		m.r.restart()
	}
	for _, key := range keys { // what the broker knows of before: all, but for the last minute of a crash
		m.sums[key] -= finishedOf(m.r.queue(key))
	}
	a = m.r.queue("a")
	m.before.Acked, m.before.Redelivered, m.before.DeadLettered.Rejected = m.before.Acked-a.Acked, m.before.Redelivered-a.Redelivered, m.before.DeadLettered.Rejected-a.DeadLettered.Sum()
	now := time.Now()
	for _, f := range m.has {
		if crash && f.reason != "" && now.Sub(f.failedAt) < 2*time.Second {
			f.reason = "" // that may not be known
		}
		switch {
		case f.reason != "":
		case crash:
			f.loose, f.state = true, unread // a delivery that was given back may count, too
			if now.Sub(f.revived) >= 2*time.Second {
				f.revived = time.Time{}
			}
		case f.state == inFlight && f.count >= m.def.MaxDeliveries:
			f.until = now.Add(m.def.AckTimeout)
		default:
			if f.state, f.loose = unread, f.loose || f.expired(now); f.count == 1 { // its letter may have been there
				f.count = 0 // not worth keeping
			}
		}
	}
	if m.def.Filter != "" {
		m.pass(1100 * time.Millisecond) // that all which waits matches is found out anew
	}
}

// compare compares all counts.
func (m *failureModel) compare() {
	m.t.Helper()
	for key, want := range map[string]int{"a": m.published + m.redriven - m.filtered, "drops": m.published, "yields": m.published} {
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
	for what, got := range map[string]uint64{"acked": m.before.Acked + a.Acked, "redelivered": m.before.Redelivered + a.Redelivered} {
		if int(got) != m.did[what] {
			m.fatalf("%s: %d are counted, want %d", what, got, m.did[what])
		}
	}
	if got := int(m.before.DeadLettered.Rejected + a.DeadLettered.Sum()); got != m.did["letters"]+m.redriven+int(d.Backlog) {
		m.fatalf("%d dead letters are counted, %d were read, %d redriven, %d are there", got, m.did["letters"], m.redriven, d.Backlog)
	}
	if most := m.def.MaxDepth; m.def.Overflow == broker.OverflowDeadLetter && a.Backlog > most {
		m.fatalf("past max_depth: %+v", a)
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
	m.pass(31 * time.Second) // what these have in flight comes back
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
