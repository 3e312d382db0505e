package broker_test

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
	"pipit/broker/limit"
	"pipit/broker/property"
)

var seedFlag = flag.Uint64("seed", 0, "seed of the random tests, as a failed one has printed it; 0: their own")

// newRand returns the source of a random test. A failure tells the seed.
func newRand(t testing.TB, seed uint64) *rand.Rand {
	if *seedFlag != 0 {
		seed = *seedFlag
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("repeat with: go test ./broker -run '^%s$' -seed %d", t.Name(), seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 0))
}

// TestModel does random operations one after the other, in fake time over a real file, and
// compares every answer with that of a model that is as simple as the promises are: a map of
// messages, and for each consumer a map of those that it is not done with.
func TestModel(t *testing.T) {
	seeds, steps := uint64(6), 3000
	if testing.Short() {
		seeds, steps = 3, 600
	}
	first := uint64(1)
	if *seedFlag != 0 {
		first, seeds = *seedFlag, 1
	}
	var mu sync.Mutex
	did := map[string]int{} // in all runs together
	t.Cleanup(func() {
		t.Logf("%v", did)
		for _, op := range slices.Concat(modelOps, interveneOps, busyOps()) {
			if did[op] == 0 && *seedFlag == 0 && !testing.Short() {
				t.Errorf("no run ever saw: %s", op)
			}
		}
	})
	for seed := first; seed < first+seeds; seed++ {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			t.Parallel()
			rnd := newRand(t, seed)
			synctest.Test(t, func(t *testing.T) {
				m := newModel(t, rnd)
				for m.step = range steps {
					m.random()
				}
				m.drain()
				mu.Lock()
				defer mu.Unlock()
				for op, n := range m.did {
					did[op] += n
				}
			})
		})
	}
}

// modelOps are what the runs must have seen, else they prove little.
var modelOps = []string{"stored", "duplicate", "same ID after the window", "full", "not full for sure", "invalid", "delivered", "delivered again",
	"in-flight limit", "nothing", "fifo", "lifo", "ack at receive", "long poll woken", "long poll timeout", "acked", "rejected", "rejected with delay",
	"not found", "late ack", "extended", "held", "same ID in flight", "ack after restart", "released", "restart", "crash", "consumer added at the tail", "consumer added at the oldest",
	"expired", "delayed", "batch refused as a whole", "rotated", "consumer deleted", "last consumer deleted", "topic deleted"}

// modelMessage is a message that was answered 200.
type modelMessage struct {
	id       string
	own      bool // the publisher chose the ID
	payload  string
	prio     int
	created  time.Time
	due      time.Time
	expireAt time.Time // zero: never
	sweepAt  time.Time // a sweep from then on removes it
	pos      int       // within its lane; 0 while it waits for its delay
	boot     int       // in which run of the broker it got its position
	doneAt   time.Time // when the last consumer was done with it; zero: not yet
}

func (m *modelMessage) expired(now time.Time) bool {
	return !m.expireAt.IsZero() && !m.expireAt.After(now)
}

// swept tells whether a sweep has certainly removed the message.
func (m *modelMessage) swept(lastSweep time.Time) bool {
	return !m.expireAt.IsZero() && !m.sweepAt.After(lastSweep)
}

type modelState int

const (
	unread modelState = iota
	inFlight
	putBack // with a delay
	again   // to be delivered again
	twin    // to be delivered when no other message of its ID is in flight
)

// modelDelivery is where a message stands with a consumer that is not done with it.
type modelDelivery struct {
	state modelState
	until time.Time // of inFlight and putBack
	count int
	last  int  // numbers the deliveries of the consumer
	loose bool // a crash may have lost some of count
}

type modelConsumer struct {
	def  broker.Consumer
	last int                              // deliveries
	has  map[*modelMessage]*modelDelivery // what it is not done with
}

type modelTopic struct {
	def       broker.Topic
	messages  []*modelMessage // stored, by the order of their places; finished ones are cleared away
	delayed   []*modelMessage
	tails     [limit.MaxPriority + 1]int
	accepted  map[string][]time.Time // when an own ID was accepted
	made      []*modelMessage        // with IDs of the broker, not delayed
	consumers []*modelConsumer
	ids       []string // all that were ever answered
}

type model struct {
	t         *testing.T
	r         *rig
	rnd       *rand.Rand
	topics    []*modelTopic
	step      int
	payload   int
	boot      int
	keys      int // of consumers that were made
	opened    time.Time
	lastSweep time.Time
	busy      *busyWorker
	trace     []string
	did       map[string]int
}

func newModel(t *testing.T, rnd *rand.Rand) *model {
	m := &model{t: t, rnd: rnd, r: newRig(t, broker.Options{}), opened: time.Now(), did: map[string]int{}}
	m.busy = newBusyWorker(m.r, rnd, m.did)
	for i := range 2 {
		mt := &modelTopic{accepted: map[string][]time.Time{}, def: topicDef(fmt.Sprint("/t", i))}
		mt.def.MaxDepth = int64(25 + rnd.IntN(30))
		mt.def.Expiration = []int64{property.Off, 40}[i]
		mt.def.DedupWindow = 20 * time.Second
		m.topics = append(m.topics, mt)
		m.r.define(mt.def)
	}
	return m
}

func (m *model) logf(format string, args ...any) {
	m.trace = append(m.trace, fmt.Sprintf("%6d %s  ", m.step, time.Now().Format("04:05.000000"))+fmt.Sprintf(format, args...))
	if len(m.trace) > 60 {
		m.trace = m.trace[1:]
	}
}

func (m *model) fatalf(format string, args ...any) {
	m.t.Helper()
	for _, s := range m.trace {
		m.t.Log(s)
	}
	m.t.Fatalf(fmt.Sprintf("step %d: ", m.step)+format, args...)
}

// pass lets time pass.
func (m *model) pass(d time.Duration) {
	time.Sleep(d)
	m.settle()
}

// settle waits until the broker rests, and brings the model to the time it is.
func (m *model) settle() {
	synctest.Wait()
	now := time.Now()
	if k := now.Sub(m.opened) / time.Second; k > 0 {
		m.lastSweep = m.opened.Add(k * time.Second)
	}
	for _, mt := range m.topics {
		// Delayed messages get their places when they are due.
		sort.SliceStable(mt.delayed, func(i, j int) bool { return mt.delayed[i].due.Before(mt.delayed[j].due) })
		for len(mt.delayed) > 0 && !mt.delayed[0].due.After(now) {
			mt.place(mt.delayed[0], m.boot)
			mt.delayed = mt.delayed[1:]
			m.did["delayed"]++
		}
		for _, c := range mt.consumers {
			for msg, d := range c.has {
				if (d.state == inFlight || d.state == putBack) && !d.until.After(now) {
					d.state = again
				}
				if msg.swept(m.lastSweep) && d.state != inFlight {
					delete(c.has, msg)
					m.did["expired"]++
				}
			}
		}
		mt.messages = slices.DeleteFunc(mt.messages, func(msg *modelMessage) bool {
			return msg.swept(m.lastSweep) && !mt.held(msg)
		})
	}
}

func (mt *modelTopic) held(msg *modelMessage) bool {
	return slices.ContainsFunc(mt.consumers, func(c *modelConsumer) bool { return c.has[msg] != nil })
}

// place puts a message at the tail of its lane, for every consumer there is.
func (mt *modelTopic) place(msg *modelMessage, boot int) {
	mt.tails[msg.prio]++
	msg.pos, msg.boot = mt.tails[msg.prio], boot
	mt.messages = append(mt.messages, msg)
	for _, c := range mt.consumers {
		c.has[msg] = &modelDelivery{}
	}
}

// done makes a consumer done with a message.
func (mt *modelTopic) done(c *modelConsumer, msg *modelMessage, now time.Time) {
	delete(c.has, msg)
	if !mt.held(msg) {
		msg.doneAt = now
	}
}

// depths returns between which numbers the messages of the topic are, and those of each consumer:
// what has expired may have been swept, and what all are done with may have been removed.
func (m *model) depths(mt *modelTopic, now time.Time) (least, most []int64) {
	least, most = []int64{0}, []int64{0}
	for _, msg := range mt.messages {
		finished := !msg.doneAt.IsZero()
		if !finished && !msg.expired(now) {
			least[0]++
		}
		if !msg.swept(m.lastSweep) && !(finished && !msg.doneAt.After(m.lastSweep)) {
			most[0]++
		}
	}
	for _, c := range mt.consumers {
		var lo, hi int64
		for msg := range c.has {
			if !msg.expired(now) {
				lo++
			}
			if !msg.swept(m.lastSweep) {
				hi++
			}
		}
		least, most = append(least, lo), append(most, hi)
	}
	for i := range least {
		least[i] += int64(len(mt.delayed))
		most[i] += int64(len(mt.delayed))
	}
	return least, most
}

// limits returns the limits of the numbers of depths.
func (mt *modelTopic) limits() []int64 {
	limits := []int64{mt.def.MaxDepth}
	for _, c := range mt.consumers {
		limits = append(limits, c.def.MaxDepth)
	}
	return limits
}

func (m *model) random() {
	m.pass(time.Duration(1+m.rnd.IntN(3_000)) * time.Microsecond)
	mt := m.topics[m.rnd.IntN(len(m.topics))]
	switch n := m.rnd.IntN(1000); {
	case n < 380:
		m.publish(mt)
	case n < 390:
		m.invalid(mt)
	case n < 450:
		m.intervene(mt)
	case n < 650:
		m.receive(mt)
	case n < 900:
		m.settleSome(mt)
	case n < 910:
		m.wait(mt)
	case n < 980:
		m.pass(time.Duration(m.rnd.IntN(5_000_000)) * time.Microsecond)
	case n < 986:
		m.addConsumer(mt)
	case n < 988:
		m.rotate(mt)
	case n < 992:
		m.deleteConsumer(mt)
		for m.rnd.IntN(2) == 0 {
			m.deleteConsumer(mt)
		}
	case n < 994:
		m.deleteTopic(mt)
	default:
		m.restart(m.rnd.IntN(2) == 0)
	}
	m.settle()
	m.compare(mt)
	if restart, crash := m.busy.step(); restart {
		m.restart(crash)
	}
}

// compare compares what an administrator sees with the model.
func (m *model) compare(mt *modelTopic) {
	least, most := m.depths(mt, time.Now())
	late := int64(len(mt.delayed))
	topic := m.r.topic(mt.def.Name)
	if topic.Depth < least[0]-late || topic.Depth > most[0]-late || topic.Delayed != late || topic.Consumers != len(mt.consumers) {
		m.fatalf("%+v, want %d to %d messages and %d delayed", topic, least[0]-late, most[0]-late, late)
	}
	for i, c := range mt.consumers {
		var flying int64
		for msg, d := range c.has {
			if d.state == inFlight && !msg.expired(time.Now()) {
				flying++
			}
		}
		if q := m.r.queue(c.def.SubKey); q.Backlog < least[i+1]-late || q.Backlog > most[i+1]-late || q.InFlight < flying || q.Deferred < 0 {
			m.fatalf("%+v, want %d to %d messages, %d in flight", q, least[i+1]-late, most[i+1]-late, flying)
		}
	}
}

// rotate gives a consumer another sub_key.
func (m *model) rotate(mt *modelTopic) {
	if len(mt.consumers) == 0 {
		return
	}
	c := mt.consumers[m.rnd.IntN(len(mt.consumers))]
	old := c.def.SubKey
	done, err := m.r.Change(ctx, broker.Change{Rotate: []uint32{m.r.queue(old).ID}})
	if err != nil || len(done.Made) != 1 {
		m.fatalf("rotate: %+v %v", done, err)
	}
	c.def.SubKey = done.Made[0].SubKey
	m.logf("rotate %s to %s", old, c.def.SubKey)
	_, err = m.r.Subscription(m.r.crm, "", old)
	wantCode(m.t, err, broker.Denied)
	m.did["rotated"]++
}

// deleteConsumer deletes a consumer. What only it still needed is done, unless it was the last one:
// then it waits for the next.
func (m *model) deleteConsumer(mt *modelTopic) {
	if len(mt.consumers) == 0 {
		return
	}
	i := m.rnd.IntN(len(mt.consumers))
	c := mt.consumers[i]
	m.logf("delete consumer %s", c.def.SubKey)
	m.r.deleteConsumer(c.def.SubKey)
	mt.consumers = slices.Delete(mt.consumers, i, i+1)
	m.did["consumer deleted"]++
	if len(mt.consumers) == 0 {
		m.did["last consumer deleted"]++
		return
	}
	for _, msg := range mt.messages {
		if !mt.held(msg) && (c.has[msg] != nil || !msg.doneAt.IsZero()) {
			msg.doneAt = time.Now()
		}
	}
}

// deleteTopic deletes a topic and makes it anew: empty, and it knows no ID.
func (m *model) deleteTopic(mt *modelTopic) {
	m.logf("delete topic %s", mt.def.Name)
	m.r.deleteTopic(mt.def.Name)
	_, err := m.r.Publisher(m.r.crm, mt.def.Name)
	wantCode(m.t, err, broker.Denied)
	if m.rnd.IntN(2) == 0 {
		m.pass(time.Duration(m.rnd.IntN(2_000_000)) * time.Microsecond)
	}
	if m.rnd.IntN(4) == 0 {
		*mt = modelTopic{def: mt.def, accepted: map[string][]time.Time{}, ids: mt.ids}
		m.restart(m.rnd.IntN(2) == 0)
	}
	*mt = modelTopic{def: mt.def, accepted: map[string][]time.Time{}, ids: mt.ids}
	m.r.define(mt.def)
	m.did["topic deleted"]++
}

func (m *model) publication(mt *modelTopic) broker.Publication {
	m.payload++
	p := broker.Publication{Payload: []byte(strconv.Itoa(m.payload)), Priority: []int{0, 1, 4, 5, 9}[m.rnd.IntN(5)]}
	if m.rnd.IntN(3) == 0 {
		p.Expiration = int64(1 + m.rnd.IntN(30))
	}
	if m.rnd.IntN(8) == 0 {
		p.Delay = int64(1 + m.rnd.IntN(12))
	}
	switch m.rnd.IntN(10) {
	case 0, 1, 2:
		p.ID = fmt.Sprint("urn:żółć/{own} ", m.rnd.IntN(60))
	case 3:
		// An ID that the broker has made, and said so: its publisher repeats it.
		if n := len(mt.made); n > 0 && time.Since(mt.made[n-1].created) < mt.def.DedupWindow-2*time.Second {
			p.ID = mt.made[n-1].id
		}
	}
	return p
}

// publish publishes one or several messages.
func (m *model) publish(mt *modelTopic) {
	now := time.Now()
	n := 1
	if m.rnd.IntN(3) == 0 {
		n = 1 + m.rnd.IntN(9)
	}
	var pubs []broker.Publication
	var same []bool
	added := int64(0)
	within := map[string]bool{}
	for range n {
		p := m.publication(mt)
		dup := false
		if p.ID != "" {
			dup = within[p.ID]
			for _, at := range mt.accepted[p.ID] {
				dup = dup || now.Before(at.Add(mt.def.DedupWindow))
			}
			dup = dup || slices.ContainsFunc(mt.made, func(x *modelMessage) bool { return x.id == p.ID })
			within[p.ID] = true
			if !dup && len(mt.accepted[p.ID]) > 0 {
				m.did["same ID after the window"]++
			}
		}
		if !dup {
			added++
		}
		pubs, same = append(pubs, p), append(same, dup)
	}
	least, most := m.depths(mt, now)
	must, may := false, false
	for i, limit := range mt.limits() {
		must = must || added > 0 && least[i]+added > limit
		may = may || added > 0 && most[i]+added > limit
	}
	door, err := m.r.Publisher(m.r.crm, mt.def.Name)
	if err != nil {
		m.fatalf("%v", err)
	}
	var receipts []broker.Receipt
	if n == 1 {
		var rc broker.Receipt
		rc, err = door.Publish(pubs[0])
		receipts = []broker.Receipt{rc}
	} else {
		receipts, err = door.PublishBatch(pubs)
	}
	m.logf("publish %d, %d of them new, to %s: %+v %v", n, added, mt.def.Name, receipts, err)
	if broker.CodeOf(err) == broker.Invalid && err != nil && added > slices.Min(mt.limits()) {
		m.did["batch larger than the queue"]++
		return
	}
	if broker.CodeOf(err) == broker.Full && err != nil {
		if !may {
			m.fatalf("refused %d as full, but there are only %v of %v", added, most, mt.limits())
		}
		m.did["full"]++
		if n > 1 {
			m.did["batch refused as a whole"]++
		}
		return
	}
	if err != nil {
		m.fatalf("publish: %v", err)
	}
	if must {
		m.fatalf("accepted %d, but there are already %v of %v", added, least, mt.limits())
	}
	if added > 0 {
		m.did["not full for sure"]++
	}
	for i, rc := range receipts {
		p := pubs[i]
		if rc.Duplicate != same[i] || p.ID != "" && rc.ID != p.ID || rc.ID == "" {
			m.fatalf("receipt %+v of %+v, want duplicate %t", rc, p, same[i])
		}
		if same[i] {
			m.did["duplicate"]++
			continue
		}
		m.did["stored"]++
		if p.Expiration == 0 {
			p.Expiration = max(0, mt.def.Expiration)
		}
		msg := &modelMessage{id: rc.ID, own: p.ID != "", payload: string(p.Payload), prio: p.Priority, created: now.Truncate(time.Microsecond)}
		if p.Priority == 0 {
			msg.prio = limit.DefaultPriority
		}
		msg.due = msg.created.Add(time.Duration(p.Delay) * time.Second)
		if p.Expiration > 0 {
			msg.expireAt = msg.due.Add(time.Duration(p.Expiration) * time.Second)
			msg.sweepAt = msg.expireAt.Add(time.Second)
		}
		mt.ids = append(mt.ids, msg.id)
		if msg.own {
			mt.accepted[msg.id] = append(mt.accepted[msg.id], msg.created)
		}
		if p.Delay > 0 {
			mt.delayed = append(mt.delayed, msg)
			continue
		}
		if !msg.own {
			mt.made = append(mt.made[max(0, len(mt.made)-20):], msg)
		}
		mt.place(msg, m.boot)
	}
}

// invalid tries what is refused whatever the state; what it leaves behind would show later.
func (m *model) invalid(mt *modelTopic) {
	good := broker.Publication{Payload: []byte("never")}
	bad := []broker.Publication{{Priority: 10}, {Priority: -1}, {Expiration: -1}, {Expiration: limit.MaxExpiration + 1}, {Delay: -1},
		{Delay: limit.MaxDelay + 1}, {ID: "a\x00b"}, {ID: "a\xffb"}, {ID: strings.Repeat("ż", 201)}, {MIMEType: "a\nb"}}
	b := bad[m.rnd.IntN(len(bad))]
	door, err := m.r.Publisher(m.r.crm, mt.def.Name)
	if err != nil {
		m.fatalf("%v", err)
	}
	_, err = door.Publish(b)
	wantCode(m.t, err, broker.Invalid)
	_, err = door.PublishBatch([]broker.Publication{good, b, good})
	wantCode(m.t, err, broker.Invalid)
	_, err = door.PublishBatch([]broker.Publication{good, {Payload: make([]byte, limit.DefaultMaxPayload+1)}})
	wantCode(m.t, err, broker.TooLarge)
	_, err = door.PublishBatch(nil)
	wantCode(m.t, err, broker.Invalid)
	if len(mt.consumers) > 0 {
		s := m.r.sub(mt.def.Name, mt.consumers[0].def.SubKey)
		for _, o := range []broker.ReceiveOptions{{Max: -1}, {Max: limit.MaxReceive + 1}, {Wait: -1}, {Wait: limit.MaxWait + 1}} {
			_, err = s.Receive(ctx, o)
			wantCode(m.t, err, broker.Invalid)
		}
		for _, st := range []broker.Settlement{{}, {Reject: []string{"x"}, Delay: -1}, {Ack: []string{"x"}, Delay: limit.MaxDelay + 1}} {
			_, err = s.Settle(st)
			wantCode(m.t, err, broker.Invalid)
		}
	}
	m.did["invalid"]++
}

// deliverable returns what a receive should return with so many leases held, what it has to leave since
// another message of its ID is in flight, and whether the in-flight limit holds something back.
func (mt *modelTopic) deliverable(c *modelConsumer, o broker.ReceiveOptions, now time.Time, held int) (list, twins []*modelMessage, limited bool) {
	var all []*modelMessage
	flying := map[string]bool{}
	for msg, d := range c.has {
		if d.state == inFlight && msg.own {
			flying[msg.id] = true
		}
		if (d.state == unread || d.state == again || d.state == twin) && !msg.expired(now) {
			all = append(all, msg)
		}
	}
	slices.SortFunc(all, func(a, b *modelMessage) int {
		switch {
		case a.prio != b.prio:
			return b.prio - a.prio
		case o.Order == broker.LIFO:
			return b.pos - a.pos
		}
		return a.pos - b.pos
	})
	for _, msg := range all {
		if len(list) == o.Max {
			break
		}
		if c.has[msg].state == unread {
			if held >= c.def.MaxInFlight {
				limited = true
				continue
			}
			held++
		}
		if msg.own && flying[msg.id] {
			twins = append(twins, msg)
			continue
		}
		flying[msg.id] = true
		list = append(list, msg)
	}
	return list, twins, limited
}

func (m *model) receive(mt *modelTopic) {
	if len(mt.consumers) == 0 {
		return
	}
	c := mt.consumers[m.rnd.IntN(len(mt.consumers))]
	o := broker.ReceiveOptions{Max: 1 + m.rnd.IntN(8), Ack: m.rnd.IntN(5) == 0, Hold: m.rnd.IntN(4) == 0}
	m.did["fifo"]++
	if m.rnd.IntN(4) == 0 {
		o.Order = broker.LIFO
		m.did["lifo"]++
	}
	if m.rnd.IntN(3) == 0 {
		o.Wait = time.Duration(1+m.rnd.IntN(8_000_000)) * time.Microsecond
	}
	m.receiveOnce(mt, c, o)
}

// wait empties a consumer's queue and waits for more.
func (m *model) wait(mt *modelTopic) {
	if len(mt.consumers) == 0 {
		return
	}
	c := mt.consumers[m.rnd.IntN(len(mt.consumers))]
	for m.receiveOnce(mt, c, broker.ReceiveOptions{Max: 100, Ack: true}) > 0 {
	}
	m.receiveOnce(mt, c, broker.ReceiveOptions{Max: 5, Wait: time.Duration(1+m.rnd.IntN(8_000_000)) * time.Microsecond})
}

// receiveOnce receives, and compares the messages and their order with the model.
func (m *model) receiveOnce(mt *modelTopic, c *modelConsumer, o broker.ReceiveOptions) int {
	start := time.Now()
	first := m.firstChance(mt, c, start)
	got, err := m.r.sub(mt.def.Name, c.def.SubKey).Receive(ctx, o)
	m.settle()
	now := time.Now()
	m.logf("receive %s %+v: %s%v", c.def.SubKey, o, payloads(got), err)

	// Leases of expired messages may have been dropped or not.
	least, most := 0, 0
	for msg, d := range c.has {
		if d.state != unread {
			most++
			if d.state == inFlight || !msg.expired(now) {
				least++
			}
		}
	}
	var want, twins []*modelMessage
	ok := false
	for held := least; held <= most && !ok; held++ {
		var limited bool
		want, twins, limited = mt.deliverable(c, o, now, held)
		if ok = payloads(got) == names(want); ok {
			if full := limited && len(want) == 0; full != (err != nil && broker.CodeOf(err) == broker.Full) || !full && err != nil {
				ok = false
			} else if full {
				m.did["in-flight limit"]++
			}
		}
	}
	if !ok {
		for _, msg := range want {
			m.logf("want %+v %+v", msg, c.has[msg])
		}
		m.fatalf("receive: got %q %v, want %q (%d to %d in flight of %d)", payloads(got), err, names(want), least, most, c.def.MaxInFlight)
	}
	if o.Wait > 0 && now.After(start) {
		if len(got) == 0 && err == nil {
			m.did["long poll timeout"]++
			if now.Sub(start) != o.Wait {
				m.fatalf("a long poll of %s ended after %s with nothing", o.Wait, now.Sub(start))
			}
		} else {
			m.did["long poll woken"]++
			if late := now.Sub(first); late > 2*time.Millisecond {
				m.fatalf("a long poll was woken %s late", late)
			}
		}
	}
	if len(got) == 0 && err == nil {
		m.did["nothing"]++
	}
	for _, msg := range twins {
		if m.did["same ID in flight"]++; c.has[msg].state == unread {
			c.has[msg].state = twin
		}
	}
	for i, msg := range want {
		d := c.has[msg]
		g := &got[i]
		d.count++
		c.last++
		d.last = c.last
		// A crash may also have kept a delivery that was released.
		if d.loose && g.DeliveryCount >= 1 && g.DeliveryCount <= d.count+2 {
			d.count = g.DeliveryCount
		}
		d.loose = false
		if g.ID != msg.id || g.DeliveryCount != d.count || g.Priority != msg.prio || g.Topic != mt.def.Name || g.Producer != "CRM" ||
			!g.Created.Equal(msg.created) || !g.ExpireAt.Equal(msg.expireAt) || g.MIMEType != limit.DefaultMIMEType {
			m.fatalf("got %+v, want %+v, count %d", g, msg, d.count)
		}
		m.did["delivered"]++
		if d.count > 1 {
			m.did["delivered again"]++
		}
		d.state, d.until = inFlight, now.Add(c.def.AckTimeout)
		if o.Hold {
			d.until = now.Add(time.Hour)
		}
		if o.Ack {
			mt.done(c, msg, now)
			m.did["ack at receive"]++
		}
	}
	if o.Hold && !o.Ack {
		m.pass(time.Duration(m.rnd.IntN(9_000)) * time.Millisecond) // the reply is being written
		m.r.sub(mt.def.Name, c.def.SubKey).Written(got)
		for _, msg := range want {
			m.did["held"]++
			c.has[msg].until = time.Now().Add(c.def.AckTimeout)
		}
	}
	if len(got) > 0 && !o.Ack && m.rnd.IntN(12) == 0 {
		back := got[m.rnd.IntN(len(got)):]
		back = slices.DeleteFunc(slices.Clone(back), func(g broker.Message) bool { return len(mt.withID(c, g.ID)) > 1 })
		m.r.sub(mt.def.Name, c.def.SubKey).Release(back)
		for _, g := range back {
			if msgs := mt.withID(c, g.ID); len(msgs) == 1 {
				c.has[msgs[0]].state = again
				c.has[msgs[0]].count--
				m.did["released"]++
			}
		}
		m.logf("release %s", payloads(back))
	}
	return len(got)
}

// firstChance returns from when on there is something to deliver.
func (m *model) firstChance(mt *modelTopic, c *modelConsumer, now time.Time) time.Time {
	first := now.Add(time.Hour)
	chance := func(at time.Time, msg *modelMessage) {
		if at.Before(first) && !msg.expired(at) {
			first = at
		}
	}
	flying := map[string]time.Time{} // until when no other message of an ID is delivered
	for msg, d := range c.has {
		if msg.own && d.state == inFlight {
			flying[msg.id] = d.until
		}
	}
	for msg, d := range c.has {
		at := now
		if d.state == inFlight || d.state == putBack {
			at = d.until
		}
		if until := flying[msg.id]; until.After(at) {
			at = until
		}
		chance(at, msg)
	}
	for _, msg := range mt.delayed {
		chance(msg.due, msg)
	}
	return first
}

func names(list []*modelMessage) (s string) {
	for _, msg := range list {
		s += msg.payload + " "
	}
	return s
}

// withID returns the messages with an ID that the consumer is not done with, in the order in
// which an acknowledgement looks at them.
func (mt *modelTopic) withID(c *modelConsumer, id string) (list []*modelMessage) {
	for _, msg := range mt.messages {
		if msg.id == id && c.has[msg] != nil {
			list = append(list, msg)
		}
	}
	sort.SliceStable(list, func(i, j int) bool { return list[i].pos < list[j].pos })
	return list
}

// anyExpired tells whether one of the messages with an ID has expired.
func (m *model) anyExpired(mt *modelTopic, c *modelConsumer, id string, now time.Time) bool {
	return slices.ContainsFunc(mt.withID(c, id), func(msg *modelMessage) bool { return msg.expired(now) })
}

// settleSome acknowledges and rejects messages, also ones that are not in flight.
func (m *model) settleSome(mt *modelTopic) {
	if len(mt.consumers) == 0 || len(mt.ids) == 0 {
		return
	}
	c := mt.consumers[m.rnd.IntN(len(mt.consumers))]
	now := time.Now()
	var flying []string
	for _, msg := range mt.messages {
		if d := c.has[msg]; d != nil && d.state == inFlight {
			flying = append(flying, msg.id)
		}
	}
	m.rnd.Shuffle(len(flying), func(i, j int) { flying[i], flying[j] = flying[j], flying[i] })
	if m.rnd.IntN(3) == 0 {
		sort.Strings(flying)
	}
	var st broker.Settlement
	var acked, rejected, extended []*modelMessage
	var missing []string
	taken := map[*modelMessage]bool{}
	// find returns the message that an ID stands for. What is expired may be known or not: such
	// IDs are left out, as are those of which one of several messages is expired.
	find := func(id string) (found *modelMessage, clear bool) {
		for _, msg := range mt.withID(c, id) {
			if msg.expired(now) {
				return nil, false
			}
			d := c.has[msg]
			switch {
			case taken[msg]:
			case d.state == inFlight:
				return msg, !m.anyExpired(mt, c, id, now)
			case d.state == unread && msg.boot < m.boot:
				if found == nil {
					found = msg
				}
			case d.state != unread && d.count > 0:
				if found == nil || c.has[found].state == unread || d.last > c.has[found].last {
					found = msg
				}
			}
		}
		return found, true
	}
	pick := func() (id string) {
		switch n := m.rnd.IntN(20); {
		case n == 0:
			return []string{"nobody", "K06Y63NEJQYGMQKTP9D4KGQQ0GB2", "", "a b"}[m.rnd.IntN(4)]
		case n < 4 || len(flying) == 0:
			return mt.ids[max(0, len(mt.ids)-1-m.rnd.IntN(40))]
		}
		id = flying[0]
		if m.rnd.IntN(10) > 0 {
			flying = flying[1:]
		}
		return id
	}
	n := 1 + m.rnd.IntN(8)
	m.rnd.Shuffle(n, func(int, int) {})
	add := func(ids *[]string, list *[]*modelMessage) {
		id := pick()
		msg, clear := find(id)
		if !clear {
			return
		}
		*ids = append(*ids, id)
		if msg == nil {
			missing = append(missing, id)
			return
		}
		taken[msg] = list == &acked // what is rejected can be rejected again
		*list = append(*list, msg)
	}
	rejects := m.rnd.IntN(n + 1)
	if m.rnd.IntN(2) == 0 {
		rejects = 0
	}
	for range n - rejects {
		add(&st.Ack, &acked)
	}
	for range rejects {
		add(&st.Reject, &rejected)
	}
	if m.rnd.IntN(4) == 0 {
		var ids []string
		add(&ids, &extended)
		for _, id := range ids {
			st.Extend = append(st.Extend, broker.Extension{ID: id, Seconds: 1 + m.rnd.Int64N(12)})
		}
	}
	if m.rnd.IntN(3) == 0 {
		st.Delay = int64(1 + m.rnd.IntN(10))
	}
	if len(st.Ack)+len(st.Reject)+len(st.Extend) == 0 {
		return
	}
	got, err := m.r.sub("", c.def.SubKey).Settle(st)
	m.logf("settle %s %+v: %+v %v", c.def.SubKey, st, got, err)
	if err != nil || got.Acked != len(acked) || got.Rejected != len(rejected) || got.Extended != len(extended) || !slices.Equal(got.NotFound, missing) {
		m.fatalf("settle %+v: %+v %v, want %d acked, %d rejected, not found %q", st, got, err, len(acked), len(rejected), missing)
	}
	m.did["not found"] += len(missing)
	m.did["acked"] += len(acked)
	for _, msg := range acked {
		switch c.has[msg].state {
		case unread:
			m.did["ack after restart"]++
		case again, putBack:
			m.did["late ack"]++
		}
		mt.done(c, msg, now)
	}
	for _, msg := range rejected {
		m.did["rejected"]++
		d := c.has[msg]
		if d.state == unread && d.count == 0 {
			d.count = 1 // it must have been delivered before the restart
		}
		d.state = again
		if st.Delay > 0 {
			m.did["rejected with delay"]++
			d.state, d.until = putBack, now.Add(time.Duration(st.Delay)*time.Second)
		}
	}
	for _, msg := range extended {
		m.did["extended"]++
		d := c.has[msg]
		if d.state == unread && d.count == 0 {
			d.count = 1
		}
		d.state, d.until = inFlight, now.Add(time.Duration(st.Extend[0].Seconds)*time.Second)
	}
}

func (m *model) addConsumer(mt *modelTopic) {
	if len(mt.consumers) == 3 {
		return
	}
	m.pass(2 * time.Second) // what all consumers are done with is removed
	now := time.Now()
	def := consumerDef(mt.def.Name, fmt.Sprintf("key-%s-%d", mt.def.Name[1:], m.keys))
	m.keys++
	def.MaxDepth = int64(15 + m.rnd.IntN(30))
	def.MaxInFlight = 3 + m.rnd.IntN(10)
	def.AckTimeout = time.Duration(4000+m.rnd.IntN(6000))*time.Millisecond + 1
	if m.rnd.IntN(3) == 0 {
		def.Start = broker.StartOldest
	}
	c := &modelConsumer{def: def, has: map[*modelMessage]*modelDelivery{}}
	if len(mt.consumers) == 0 || def.Start == broker.StartOldest {
		for _, msg := range mt.messages {
			if msg.doneAt.IsZero() {
				c.has[msg] = &modelDelivery{}
			}
		}
		m.did["consumer added at the oldest"]++
	} else {
		m.did["consumer added at the tail"]++
	}
	if _, err := m.r.Apply(ctx, broker.Definition{Consumers: []broker.Consumer{def}}); err != nil {
		m.fatalf("%v", err)
	}
	m.logf("consumer %+v", def)
	for _, msg := range mt.messages {
		if c.has[msg] != nil && msg.expired(now) && msg.swept(m.lastSweep) {
			delete(c.has, msg)
		}
	}
	mt.consumers = append(mt.consumers, c)
}

// restart closes the broker and opens the file again, or a copy of the file as it was: what a
// crash at this moment would have left.
func (m *model) restart(crash bool) {
	m.logf("restart, crash %t", crash)
	reopen := m.r.open
	if crash {
		reopen = m.r.crash()
		m.did["crash"]++
	} else {
		m.r.shut()
		m.did["restart"]++
	}
	if m.rnd.IntN(3) == 0 {
		time.Sleep(time.Duration(m.rnd.IntN(5_000_000)) * time.Microsecond)
	}
	reopen()
	m.boot++
	m.opened = time.Now()
	for _, mt := range m.topics {
		for _, c := range mt.consumers {
			for _, d := range c.has {
				d.state = unread
				if crash {
					d.loose = true
				} else if d.count == 1 {
					d.count = 0 // one delivery is not worth keeping
				}
			}
		}
	}
	m.settle()
}

// drain lets every consumer take and acknowledge what is left. Nothing that was answered may be
// missing, and then everything fits again.
func (m *model) drain() {
	m.pass(15 * time.Second) // all leases end, all delayed messages are due
	for _, mt := range m.topics {
		for _, c := range mt.consumers {
			for m.receiveOnce(mt, c, broker.ReceiveOptions{Max: 1 + m.rnd.IntN(5), Ack: true}) > 0 {
			}
			for msg := range c.has {
				if !msg.expired(time.Now()) {
					m.fatalf("%s never got %+v", c.def.SubKey, msg)
				}
			}
		}
		m.pass(40 * time.Second)
		limit := slices.Min(mt.limits())
		door, err := m.r.Publisher(m.r.crm, mt.def.Name)
		if err != nil {
			m.fatalf("%v", err)
		}
		if len(mt.consumers) == 0 {
			continue
		}
		if _, err := door.PublishBatch(make([]broker.Publication, limit)); err != nil {
			m.fatalf("nothing is left, but %d messages are refused: %v", limit, err)
		}
		var e *broker.Error
		if _, err := door.Publish(broker.Publication{}); !errors.As(err, &e) || e.Code != broker.Full {
			m.fatalf("message %d: %v", limit+1, err)
		}
	}
}
