package broker_test

import (
	"fmt"
	"strings"
	"testing"

	"pipit/broker"
	"pipit/broker/limit"
)

// redriving makes /t with three consumers, of which "a" and "b" have sent some of the messages 0 to 5 to /dead, and "c"
// has acknowledged none.
func redriving(t *testing.T) (r *rig, ids []string) {
	r = failing(t, func(*broker.Consumer) {})
	b := consumerDef("/t", "b")
	b.DeadLetterTopic = "/dead"
	r.define(topicDef("/t"), b, consumerDef("/t", "c"))
	for i := range 6 {
		pub := broker.Publication{Payload: fmt.Append(nil, i), Priority: 4 + i%2, ReplyTo: "/r"}
		if i == 5 {
			pub.ID = "own"
		}
		ids = append(ids, r.publish("/t", pub))
	}
	for _, failed := range []struct {
		key  string
		dead []int
	}{{"a", []int{0, 1, 2, 5}}, {"b", []int{2, 3}}} {
		got := r.receive("/t", failed.key, broker.ReceiveOptions{})
		var st broker.Settlement
		for _, i := range failed.dead {
			st.DeadLetter = append(st.DeadLetter, ids[i])
		}
		if len(got) != 6 || r.settle(failed.key, st).DeadLettered != len(failed.dead) {
			t.Fatalf("%s: %d messages", failed.key, len(got))
		}
	}
	return r, ids
}

func (r *rig) redrive(o broker.Redrive) broker.Redriven {
	r.t.Helper()
	done, err := o.Run(ctx, r.Broker, "/dead")
	if err != nil {
		r.t.Fatal(err)
	}
	return done
}

// Only the consumer for which it failed gets a message again, and once.
func TestRedriveIsForOneConsumer(t *testing.T) {
	r, ids := redriving(t)
	r.receive("/dead", "d", broker.ReceiveOptions{Max: 1}) // in flight there is no obstacle
	before := r.queue("c")
	got := r.redrive(broker.Redrive{IDs: []string{ids[2], "nope", ids[5], ids[2]}})
	if got.Moved != 3 || len(got.NotFound) != 1 || got.NotFound[0] != "nope" { // both of "a" and "b" of message 2
		t.Fatalf("%+v", got)
	}
	for range 2 {
		if q := r.queue("a"); q.Backlog != 2+2 {
			t.Errorf("a: %+v", q)
		}
		if q := r.queue("b"); q.Backlog != 4+1 {
			t.Errorf("b: %+v", q)
		}
		if q := r.queue("c"); q.Backlog != before.Backlog {
			t.Errorf("c: %+v", q)
		}
		if q := r.queue("d"); q.Backlog != 3 {
			t.Errorf("d: %+v", q)
		}
		r.restart()
	}
	a := r.receive("/t", "a", broker.ReceiveOptions{})
	if payloads(a) != "3 5 4 2 " || a[1].ID != "own" || a[3].ID != ids[2] || a[3].ReplyTo != "/r" || a[3].DeadLetter != nil || a[3].DeliveryCount != 1 {
		t.Errorf("a got %q: %+v", payloads(a), a)
	}
	if got := payloads(r.receive("/t", "b", broker.ReceiveOptions{})); got != "1 5 0 4 2 " {
		t.Errorf("b got %q", got)
	}
	if got := payloads(r.receive("/t", "c", broker.ReceiveOptions{})); got != "1 3 5 0 2 4 " {
		t.Errorf("c got %q", got)
	}
	r.wantDead("1 rejected 1; 3 rejected 1; 0 rejected 1; ")
	if got := r.settle("a", broker.Settlement{Ack: []string{ids[2], "own"}}); got.Acked != 2 {
		t.Errorf("%+v", got)
	}
	if got := r.redrive(broker.Redrive{IDs: []string{ids[2]}}); got.Moved != 0 || len(got.NotFound) != 1 {
		t.Errorf("again: %+v", got)
	}
	if _, err := r.DeleteMessages(ctx, "/t", ids[:1]); err != nil { // counts stay exact
		t.Error(err)
	}
	r.wantBacklog(map[string]int64{"a": 2, "b": 4, "c": 5})
}

func (r *rig) wantBacklog(want map[string]int64) {
	r.t.Helper()
	for key, n := range want {
		if q := r.queue(key); q.Backlog != n {
			r.t.Errorf("%s has %d messages, want %d", key, q.Backlog, n)
		}
	}
}

func TestRedriveByFilter(t *testing.T) {
	for _, c := range []struct {
		o    broker.Redrive
		want int
	}{
		{broker.Redrive{}, 6}, {broker.Redrive{Reason: broker.ReasonRejected}, 6}, {broker.Redrive{Reason: broker.ReasonOverflow}, 0},
		{broker.Redrive{Topic: "/t"}, 6}, {broker.Redrive{Topic: "/other"}, 0}, {broker.Redrive{Consumer: "crm/a"}, 4},
		{broker.Redrive{Consumer: "crm"}, 0}, {broker.Redrive{Reason: broker.ReasonRejected, Topic: "/t", Consumer: "crm/b"}, 2},
	} {
		r, _ := redriving(t)
		r.publish("/dead", broker.Publication{Payload: []byte("no dead letter")})
		got := r.redrive(c.o)
		if got.Moved != c.want || r.queue("d").Backlog != int64(7-c.want) || r.queue("a").Backlog+r.queue("b").Backlog != int64(6+c.want) {
			t.Errorf("%+v: %+v", c.o, got)
		}
	}
}

// What everybody in the dead-letter topic is done with does not come back with the others.
func TestRedriveOfAllLeavesWhatIsDone(t *testing.T) {
	r, _ := redriving(t)
	d := r.receive("/dead", "d", broker.ReceiveOptions{})
	r.settle("d", broker.Settlement{Ack: []string{d[2].ID}})
	if got := r.redrive(broker.Redrive{}); got.Moved != 5 {
		t.Errorf("%+v", got)
	}
	if got := r.settle("d", broker.Settlement{Ack: []string{d[0].ID}}); got.Acked != 0 {
		t.Errorf("acknowledged after it: %+v", got)
	}
}

func TestRedriveIsRefused(t *testing.T) {
	r, ids := redriving(t)
	run := func(topic string, o broker.Redrive, code broker.Code) {
		t.Helper()
		done, err := o.Run(ctx, r.Broker, topic)
		wantCode(t, err, code)
		if done.Moved != 0 {
			t.Errorf("%+v", done)
		}
	}
	run("/nowhere", broker.Redrive{}, broker.NotFound)
	run("/dead", broker.Redrive{Reason: "x"}, broker.Invalid)
	run("/dead", broker.Redrive{IDs: ids, Topic: "/t"}, broker.Invalid)
	run("/dead", broker.Redrive{IDs: make([]string, limit.MaxSettle+1)}, broker.Invalid)
	r.deleteConsumer("a")
	run("/dead", broker.Redrive{Consumer: "crm/a"}, broker.NotFound)
	a := consumerDef("/t", "a")
	a.Start = broker.StartOldest
	r.define(topicDef("/t"), a)
	if got := r.redrive(broker.Redrive{Consumer: "crm/a"}); got.Moved != 4 { // one of the same name is as good
		t.Errorf("%+v", got)
	}
	r.deleteTopic("/t")
	run("/dead", broker.Redrive{}, broker.NotFound)
	if q := r.queue("d"); q.Backlog != 2 {
		t.Errorf("%+v", q)
	}
}

// A consumer that has no room for all gets as many as fit.
func TestRedriveIntoAFullBacklog(t *testing.T) {
	r, _ := redriving(t)
	a := consumerDef("/t", "a")
	a.MaxDepth = 4
	r.define(topicDef("/t"), a)
	got, err := broker.Redrive{Consumer: "crm/a"}.Run(ctx, r.Broker, "/dead")
	wantCode(t, err, broker.Full)
	if got.Moved != 2 {
		t.Errorf("%+v", got)
	}
	r.wantBacklog(map[string]int64{"a": 4, "b": 4, "c": 6, "d": 4})
	c := consumerDef("/t", "c")
	c.MaxDepth = 1 // another one's limit is none
	r.define(topicDef("/t"), c)
	if got := r.redrive(broker.Redrive{Consumer: "crm/b"}); got.Moved != 2 {
		t.Errorf("%+v", got)
	}
}

// More than go into one commit.
func TestRedriveOfMany(t *testing.T) {
	r := failing(t, func(*broker.Consumer) {})
	r.define(topicDef("/t"), consumerDef("/t", "c"))
	door, err := r.Publisher(r.crm, "/t")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := door.PublishBatch(make([]broker.Publication, 1500)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		var st broker.Settlement
		for _, m := range r.receive("/t", "a", broker.ReceiveOptions{Max: 750}) {
			st.DeadLetter = append(st.DeadLetter, m.ID)
		}
		r.settle("a", st)
	}
	r.wantBacklog(map[string]int64{"a": 0, "c": 1500, "d": 1500})
	if got := r.redrive(broker.Redrive{}); got.Moved != 1500 {
		t.Errorf("%+v", got)
	}
	r.wantBacklog(map[string]int64{"a": 1500, "c": 1500, "d": 0})
}

// What is redriven counts against the max_depth of a consumer of a pattern, whatever it had room for before.
func TestRedriveToAPatternTakesRoom(t *testing.T) {
	r := newRig(t, broker.Options{})
	c := consumerDef("/a/*", "k")
	c.MaxDepth, c.DeadLetterTopic = 6, "/dead"
	r.definePattern(c, "/a/x", "/a/y", "/dead")
	publish := func(topic string, n int) {
		p, err := r.Publisher(r.crm, topic)
		if err == nil {
			_, err = p.PublishBatch(make([]broker.Publication, n))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	publish("/a/x", 3)
	r.settle("k", broker.Settlement{DeadLetter: ids(r.receive("/a/x", "k", broker.ReceiveOptions{})...)})
	publish("/a/y", 4)
	if _, err := (broker.Redrive{}).Run(ctx, r.Broker, "/dead"); broker.CodeOf(err) != broker.Full { // 2 of the 3 fit
		t.Fatal(err)
	}
	p, err := r.Publisher(r.crm, "/a/x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Publish(text("m")); broker.CodeOf(err) != broker.Full {
		t.Errorf("published past max_depth: %v, %+v", err, r.queue("k"))
	}
}

// What the consumer's filter does not let through any more stays a dead letter.
func TestRedriveAgainstAFilter(t *testing.T) {
	r, ids := redriving(t)
	b := consumerDef("/t", "b")
	b.DeadLetterTopic, b.Filter = "/dead", "has(wanted)"
	r.define(topicDef("/t"), b)
	before := r.queue("b")
	_, err := broker.Redrive{IDs: []string{ids[3]}}.Run(ctx, r.Broker, "/dead")
	if broker.CodeOf(err) != broker.Invalid || !strings.Contains(err.Error(), "filter") {
		t.Errorf("%v", err)
	}
	if dead, _ := r.Topic("/dead"); dead.Depth != 6 || r.queue("b").Backlog > before.Backlog {
		t.Errorf("%d dead letters, %+v", dead.Depth, r.queue("b"))
	}
}

// What can go nowhere keeps nothing else from going back, and is told.
func TestRedriveLeavesWhatHasNowhereToGo(t *testing.T) {
	r, ids := redriving(t)
	r.deleteConsumer("a")
	got := r.redrive(broker.Redrive{})
	if got.Moved != 2 || got.Left != 4 || broker.CodeOf(got.LeftWhy) != broker.NotFound || !strings.Contains(got.LeftWhy.Error(), "crm/a") {
		t.Errorf("%+v", got)
	}
	r.wantBacklog(map[string]int64{"b": 4 + 2, "d": 4})
	if got, err := (broker.Redrive{IDs: ids[:1]}).Run(ctx, r.Broker, "/dead"); broker.CodeOf(err) != broker.NotFound || got.Left != 1 {
		t.Errorf("alone: %+v %v", got, err)
	}
}
