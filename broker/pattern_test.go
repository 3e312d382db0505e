package broker_test

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
	"pipit/broker/browse"
	"pipit/broker/change"
	"pipit/broker/limit"
)

// definePattern makes topics, a producer and a consumer of a pattern.
func (r *rig) definePattern(c broker.Consumer, topics ...string) {
	r.t.Helper()
	d := broker.Definition{
		Clients:   []broker.Client{{Username: "crm", Name: "CRM", PasswordHash: hash}},
		Producers: []broker.Producer{{Client: "crm", Topic: "**"}},
		Consumers: []broker.Consumer{c},
	}
	for _, name := range topics {
		d.Topics = append(d.Topics, topicDef(name))
	}
	if _, err := r.Apply(ctx, d); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) makeTopic(name string) {
	r.t.Helper()
	r.change(broker.Change{Define: broker.Definition{Topics: []broker.Topic{topicDef(name)}}})
}

func TestPattern(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.definePattern(consumerDef("/a/*", "k"), "/a/x", "/a/y", "/b")
	send := func(topic, payload string, priority int) string {
		return r.publish(topic, broker.Publication{Payload: []byte(payload), Priority: priority})
	}
	send("/a/x", "0", 5)
	send("/a/y", "1", 5)
	send("/b", "other", 9)
	send("/a/y", "2", 9)
	send("/a/x", "3", 5)
	r.makeTopic("/a/z")
	send("/a/z", "4", 5)
	if q := r.queue("k"); q.Backlog != 5 || q.Published != 5 {
		t.Errorf("before: %+v", q)
	}
	m := r.receive("/a/*", "k", broker.ReceiveOptions{Max: 4})
	if payloads(m) != "2 0 1 3 " || m[0].Topic != "/a/y" || m[1].Topic != "/a/x" {
		t.Fatalf("got %q", payloads(m))
	}
	done, err := r.sub("/a/*", "k").Settle(broker.Settlement{Ack: []string{m[0].ID, m[1].ID, "nope"}, Reject: []string{m[2].ID}})
	if err != nil || done.Acked != 2 || done.Rejected != 1 || len(done.NotFound) != 1 {
		t.Fatalf("%+v, %v", done, err)
	}
	if got := payloads(r.receive("/a/z", "k", broker.ReceiveOptions{})); got != "4 " {
		t.Errorf("of one topic: %q", got)
	}
	for _, name := range []string{"/b", "/a/none", "/*/x", "/a/**"} {
		if _, err := r.Subscription(r.crm, name, "k"); broker.CodeOf(err) != broker.Denied {
			t.Errorf("door to %s: %v", name, err)
		}
	}
	r.restart()
	m = r.receive("/a/*", "k", broker.ReceiveOptions{Order: broker.LIFO})
	if payloads(m) != "4 3 1 " {
		t.Errorf("after a restart: %q", payloads(m))
	}
	r.deleteTopic("/a/x")
	done, err = r.sub("", "k").Settle(broker.Settlement{Ack: ids(m...)})
	if err != nil || done.Acked != 2 || len(done.NotFound) != 1 {
		t.Errorf("after deleting a topic: %+v, %v", done, err)
	}
	if q := r.queue("k"); q.Backlog != 0 || q.InFlight != 0 {
		t.Errorf("in the end: %+v", q)
	}
	r.restart()
	if q := r.queue("k"); q.Backlog != 0 {
		t.Errorf("in the end, after a restart: %+v", q)
	}
	r.deleteConsumer("k")
	r.restart()
	if n := r.topic("/a/y").Consumers; n != 0 {
		t.Errorf("%d consumers are left", n)
	}
}

// TestPatternStart: where the queues of a new consumer of a pattern begin, and that it is the first one of a topic
// counts for each topic.
func TestPatternStart(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.define(topicDef("/a/x"), consumerDef("/a/x", "x"))
	r.define(topicDef("/a/y"))
	for _, name := range []string{"/a/x", "/a/y"} {
		r.publish(name, text(name))
	}
	oldest := consumerDef("/a/**", "oldest")
	oldest.Start = broker.StartOldest
	r.change(broker.Change{Define: broker.Definition{Consumers: []broker.Consumer{consumerDef("/a/**", "new"), oldest}}})
	if got := payloads(r.receive("", "new", broker.ReceiveOptions{})); got != "/a/y " {
		t.Errorf("new: %q", got)
	}
	if got := payloads(r.receive("", "oldest", broker.ReceiveOptions{})); got != "/a/x /a/y " {
		t.Errorf("oldest: %q", got)
	}
	if def := r.Definition(); len(def.Consumers) != 3 {
		t.Errorf("%d consumers are defined", len(def.Consumers))
	}
}

// TestPatternWait: a long poll of a pattern, and one of a topic of it, wake for what is theirs.
func TestPatternWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		r.definePattern(consumerDef("/a/*", "k"), "/a/x", "/a/y")
		wait := func(topic string) chan string {
			got := make(chan string, 1)
			go func() {
				start := time.Now()
				m, err := r.sub(topic, "k").Receive(ctx, broker.ReceiveOptions{Wait: time.Minute})
				got <- fmt.Sprint(payloads(m), time.Since(start).Round(time.Second), err)
			}()
			synctest.Wait()
			return got
		}
		x, all := wait("/a/x"), wait("/a/*")
		time.Sleep(time.Second)
		r.publish("/a/y", text("1"))
		if got := <-all; got != "1 1s <nil>" {
			t.Errorf("of the pattern: %s", got)
		}
		time.Sleep(time.Second)
		r.publish("/a/x", text("2"))
		if got := <-x; got != "2 2s <nil>" {
			t.Errorf("of the topic: %s", got)
		}
		all = wait("/a/*")
		r.makeTopic("/a/z")
		r.publish("/a/z", text("3"))
		if got := <-all; got != "3 0s <nil>" {
			t.Errorf("of a new topic: %s", got)
		}
		x = wait("/a/x")
		r.deleteTopic("/a/x")
		if got := <-x; !strings.Contains(got, "enied") {
			t.Errorf("of a deleted topic: %s", got)
		}
	})
}

// TestPatternDepth: max_depth of a consumer of a pattern is that of all its topics together.
func TestPatternDepth(t *testing.T) {
	r := newRig(t, broker.Options{})
	c := consumerDef("/a/*", "k")
	c.MaxDepth = 3
	r.definePattern(c, "/a/x", "/a/y", "/b")
	send := func(topic string) error {
		p, err := r.Publisher(r.crm, topic)
		if err == nil {
			_, err = p.Publish(text("m"))
		}
		return err
	}
	full := func(topic string) {
		t.Helper()
		if err := send(topic); broker.CodeOf(err) != broker.Full {
			t.Fatalf("to %s: %v", topic, err)
		}
	}
	if err := errors.Join(send("/a/x"), send("/a/y"), send("/a/x")); err != nil {
		t.Fatal(err)
	}
	full("/a/x")
	full("/a/y")
	if err := send("/b"); err != nil {
		t.Fatal(err)
	}
	m := r.receive("/a/y", "k", broker.ReceiveOptions{})
	if _, err := r.sub("", "k").Settle(broker.Settlement{Ack: ids(m...)}); err != nil {
		t.Fatal(err)
	}
	if err := send("/a/x"); err != nil {
		t.Fatal(err)
	}
	full("/a/y")
	r.restart()
	full("/a/y")
	if n, err := r.ClearBacklog(ctx, r.queue("k").ID); n != 3 || err != nil {
		t.Fatal(n, err)
	}
	if err := send("/a/y"); err != nil {
		t.Fatal(err)
	}
}

func TestPatternDefinitions(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.definePattern(consumerDef("/a/*", "k"), "/a/x")
	bad := func(what string, d broker.Definition) {
		t.Helper()
		if _, err := r.Change(ctx, broker.Change{Define: d}); broker.CodeOf(err) != broker.Invalid {
			t.Errorf("%s: %v", what, err)
		}
	}
	bad("a topic with a *", broker.Definition{Topics: []broker.Topic{{Name: "/c/*"}}})
	bad("a part of a segment", broker.Definition{Consumers: []broker.Consumer{{Client: "crm", Topic: "/a*"}}})
	bad("no such topic", broker.Definition{Producers: []broker.Producer{{Client: "crm", Topic: "/none"}}})
	letters := consumerDef("/a/**", "l")
	letters.DeadLetterTopic = "/a/x"
	bad("its own dead-letter topic", broker.Definition{Consumers: []broker.Consumer{letters}})

	// A producer of a pattern may be switched off, and deleted.
	off := broker.Producer{Client: "crm", Topic: "**", Inactive: true}
	r.change(broker.Change{Define: broker.Definition{Producers: []broker.Producer{off}}})
	if _, err := r.Publisher(r.crm, "/a/x"); broker.CodeOf(err) != broker.Denied {
		t.Errorf("by an inactive producer: %v", err)
	}
	r.change(broker.Change{Define: broker.Definition{Producers: []broker.Producer{{Client: "crm", Topic: "/a/*"}}}})
	r.publish("/a/x", text("1"))
	r.change(broker.Change{Delete: []change.Ref{{Kind: change.Producer, Name: "crm", Topic: "/a/*"}}})
	if _, err := r.Publisher(r.crm, "/a/x"); broker.CodeOf(err) != broker.Denied {
		t.Errorf("by a producer that was deleted: %v", err)
	}

	// An inactive topic is left out, and its messages are there when it is active again.
	x := topicDef("/a/x")
	x.Inactive = true
	r.change(broker.Change{Define: broker.Definition{Topics: []broker.Topic{x}}})
	if got := payloads(r.receive("/a/*", "k", broker.ReceiveOptions{})); got != "" {
		t.Errorf("of an inactive topic: %q", got)
	}
	x.Inactive = false
	r.change(broker.Change{Define: broker.Definition{Topics: []broker.Topic{x}}})
	if got := payloads(r.receive("/a/*", "k", broker.ReceiveOptions{})); got != "1 " {
		t.Errorf("of the topic, active again: %q", got)
	}
	p, err := r.Browse(ctx, browse.Options{Consumer: r.queue("k").ID})
	if err != nil || len(p.Messages) != 1 || p.Messages[0].State != browse.InFlight {
		t.Errorf("browsing: %+v, %v", p, err)
	}
}

// patternModel is what a consumer of a pattern is to have.
type patternModel struct {
	*rig
	rnd     *rand.Rand
	topics  []string
	made    int
	n       int // messages published
	pending []*patternMessage
}

type patternMessage struct {
	id, topic string
	n         int
	priority  int
	count     int // deliveries since the start, as far as that matters
	flying    bool
}

// TestModelPattern compares a consumer of a pattern with a list, through publishes, receives of all kinds, settlements,
// restarts and changes of topics.
func TestModelPattern(t *testing.T) {
	seeds := uint64(8)
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &patternModel{rig: newRig(t, broker.Options{}), rnd: rand.New(rand.NewPCG(seed, 1))}
				c := consumerDef("/a/**", "k")
				c.AckTimeout = limit.MaxAckTimeout
				if seed%2 == 1 {
					c.MaxInFlight = 6
				}
				m.definePattern(c, "/b")
				for range 250 {
					m.step(c.MaxInFlight)
				}
				if q := m.queue("k"); q.Backlog != int64(len(m.pending)) {
					t.Errorf("backlog is %d, want %d", q.Backlog, len(m.pending))
				}
			})
		})
	}
}

func (m *patternModel) step(most int) {
	m.t.Helper()
	switch k := m.rnd.IntN(100); {
	case k < 6:
		name := fmt.Sprintf("/a/%d", m.made)
		m.made++
		m.makeTopic(name)
		m.topics = append(m.topics, name)
	case k < 8 && len(m.topics) > 0:
		i := m.rnd.IntN(len(m.topics))
		name := m.topics[i]
		m.topics = slices.Delete(m.topics, i, i+1)
		m.deleteTopic(name)
		m.pending = slices.DeleteFunc(m.pending, func(p *patternMessage) bool { return p.topic == name })
	case k < 10:
		m.restart()
		for _, p := range m.pending {
			p.flying, p.count = false, 0
		}
	case k < 55 && len(m.topics) > 0:
		p := &patternMessage{topic: m.topics[m.rnd.IntN(len(m.topics))], n: m.n, priority: 4 + m.rnd.IntN(2)}
		m.n++
		pub := broker.Publication{Payload: fmt.Append(nil, p.n), Priority: p.priority, Expiration: limit.MaxExpiration}
		if m.rnd.IntN(3) == 0 {
			pub.ID = fmt.Sprint("own-", p.n)
		}
		time.Sleep(time.Millisecond) // no two are of the same time
		p.id = m.publish(p.topic, pub)
		m.pending = append(m.pending, p)
	case k < 80:
		m.take(most)
	default:
		m.settle()
	}
}

// take receives from the pattern or from one topic.
func (m *patternModel) take(most int) {
	m.t.Helper()
	o := broker.ReceiveOptions{Max: 1 + m.rnd.IntN(5)}
	topic := "/a/**"
	if m.rnd.IntN(3) == 0 && len(m.topics) > 0 {
		topic = m.topics[m.rnd.IntN(len(m.topics))]
	}
	if m.rnd.IntN(3) == 0 {
		o.Order = broker.LIFO
	}
	var want []*patternMessage
	held, limited := 0, false
	for _, p := range m.pending {
		if m.holds(p) {
			held++
		}
		if !p.flying && (topic == "/a/**" || topic == p.topic) {
			want = append(want, p)
		}
	}
	slices.SortFunc(want, func(a, b *patternMessage) int {
		n := cmp.Compare(a.n, b.n)
		if o.Order == broker.LIFO {
			n = -n
		}
		return cmp.Or(cmp.Compare(b.priority, a.priority), n)
	})
	var expect []*patternMessage
	for _, p := range want {
		if len(expect) == o.Max {
			break
		}
		if !m.holds(p) {
			if held >= most {
				limited = true
				continue
			}
			held++
		}
		expect = append(expect, p)
	}
	msgs, err := m.sub(topic, "k").Receive(ctx, o)
	if err != nil && !(broker.CodeOf(err) == broker.Full && limited && len(expect) == 0) {
		m.t.Fatal(err)
	}
	if len(msgs) != len(expect) {
		m.t.Fatalf("received %q of %s, want %d messages", payloads(msgs), topic, len(expect))
	}
	for i, p := range expect {
		if msgs[i].ID != p.id || msgs[i].Topic != p.topic || string(msgs[i].Payload) != fmt.Sprint(p.n) {
			m.t.Fatalf("received %q of %s (%+v), want %d as number %d", payloads(msgs), topic, o, p.n, i)
		}
		p.flying, p.count = true, 1
	}
}

// holds tells whether a message takes a place of max_in_flight: it was delivered since the start.
func (m *patternModel) holds(p *patternMessage) bool { return p.count > 0 }

func (m *patternModel) settle() {
	m.t.Helper()
	var st broker.Settlement
	for _, p := range slices.Clone(m.pending) {
		if !p.flying || m.rnd.IntN(2) == 0 {
			continue
		}
		if p.flying = false; m.rnd.IntN(2) == 0 {
			st.Reject = append(st.Reject, p.id)
			continue
		}
		st.Ack = append(st.Ack, p.id)
		m.pending = slices.DeleteFunc(m.pending, func(o *patternMessage) bool { return o == p })
	}
	if len(st.Ack)+len(st.Reject) == 0 {
		return
	}
	done, err := m.sub("", "k").Settle(st)
	if err != nil || done.Acked != len(st.Ack) || done.Rejected != len(st.Reject) {
		m.t.Fatalf("settled %+v of %+v: %v", done, st, err)
	}
}

// An ID that is nowhere is looked for where the message may be: in topics that have something in flight, or had before the start.
func TestPatternUnknownIDs(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.definePattern(consumerDef("/a/*", "k"), "/a/1", "/a/2", "/a/3", "/a/4")
	for _, name := range []string{"/a/1", "/a/2"} {
		r.publish(name, broker.Publication{ID: "own" + name[2:], Payload: []byte(name)})
	}
	r.receive("", "k", broker.ReceiveOptions{})
	s := r.faulty()
	var looks int64
	settle := func(want int, ids ...string) {
		t.Helper()
		before := s.finds.Load()
		done, err := r.sub("", "k").Settle(broker.Settlement{Ack: ids})
		if err != nil || done.Acked != want || len(done.NotFound) != len(ids)-want {
			t.Errorf("%+v %v", done, err)
		}
		looks = s.finds.Load() - before
	}
	settle(1, "own/1", "none")
	if looks > 6 { // two topics had something before the start; none is looked for twice
		t.Errorf("%d looks after a start", looks)
	}
	r.publish("/a/3", broker.Publication{ID: "own/3", Payload: []byte("/a/3")})
	r.receive("", "k", broker.ReceiveOptions{})
	settle(2, "own/2", "own/3", "none")
	if looks > 4 {
		t.Errorf("%d looks while two topics have something in flight", looks)
	}
	settle(0, "none", "own/1")
	if looks > 0 {
		t.Errorf("%d looks where nothing is in flight", looks)
	}
}
