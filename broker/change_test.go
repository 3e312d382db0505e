package broker_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
	"pipit/broker/change"
	"pipit/broker/limit"
	"pipit/broker/store"
)

func (r *rig) change(c broker.Change) broker.Changed {
	r.t.Helper()
	done, err := r.Change(ctx, c)
	if err != nil {
		r.t.Fatal(err)
	}
	return done
}

func (r *rig) deleteTopic(name string) {
	r.t.Helper()
	r.change(broker.Change{Delete: []change.Ref{topicRef(name)}})
}

func (r *rig) deleteConsumer(key string) {
	r.t.Helper()
	r.change(broker.Change{Delete: []change.Ref{r.consumerRef(key)}})
}

func topicRef(name string) change.Ref  { return change.Ref{Kind: change.Topic, Name: name} }
func clientRef(name string) change.Ref { return change.Ref{Kind: change.Client, Name: name} }
func producerRef(client, topic string) change.Ref {
	return change.Ref{Kind: change.Producer, Name: client, Topic: topic}
}
func (r *rig) consumerRef(key string) change.Ref {
	r.t.Helper()
	return change.Ref{Kind: change.Consumer, ID: r.queue(key).ID}
}

// image returns what the file keeps, and how many expiries, remembered IDs and delayed messages
// there are. The broker is closed and opened again.
func (r *rig) image() (_ *store.Image, expiries, ids, delayed int) {
	r.t.Helper()
	if err := r.Close(); err != nil {
		r.t.Fatal(err)
	}
	file := r.openStore()
	img, err := file.Load()
	if err != nil {
		r.t.Fatal(err)
	}
	far := time.Now().AddDate(200, 0, 0)
	err = file.View(func(rd store.Reader) error {
		e, err1 := rd.Expired(far, 1_000_000)
		i, err2 := rd.StaleIDs(far, 1_000_000)
		d, _, err3 := rd.Due(far, 1_000_000, math.MaxInt)
		expiries, ids, delayed = len(e), len(i), len(d)
		return errors.Join(err1, err2, err3)
	})
	if err := errors.Join(err, file.Check(), file.Close()); err != nil {
		r.t.Fatal(err)
	}
	r.open()
	return img, expiries, ids, delayed
}

// objectsOf returns the objects of a kind.
func objectsOf(img *store.Image, kind store.ObjectKind) []store.Object {
	return slices.DeleteFunc(slices.Clone(img.Objects), func(o store.Object) bool { return o.Kind != kind })
}

// wantNothing makes sure that the file has no message and nothing of one, but for remembered IDs.
func (r *rig) wantNothing() {
	r.t.Helper()
	if img, expiries, _, delayed := r.image(); len(img.Lanes)+len(img.Delayed)+expiries+delayed > 0 {
		r.t.Errorf("left: lanes %+v, delayed %v, %d expiries, %d delayed", img.Lanes, img.Delayed, expiries, delayed)
	}
}

func TestExpect(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.define(topicDef("/t"), consumerDef("/t", "a"))
	client, _ := r.Client("crm")
	topic, producer, consumer := r.topic("/t"), r.Producers()[0], r.queue("a")
	id := func(k change.Kind, id uint32) change.Ref { return change.Ref{Kind: k, ID: id} }
	for _, c := range []struct {
		ref      change.Ref
		revision string
		want     broker.Code // -1: none
	}{
		{clientRef("crm"), client.Revision, -1}, {clientRef("crm"), "*", -1}, {clientRef("new"), "", -1},
		{clientRef("crm"), "", broker.Conflict}, {clientRef("crm"), "old", broker.Conflict}, {clientRef("new"), "*", broker.NotFound}, {clientRef("new"), "old", broker.NotFound},
		{topicRef("/t"), topic.Revision, -1}, {topicRef("/t"), "*", -1}, {topicRef("/new"), "", -1},
		{topicRef("/t"), "", broker.Conflict}, {topicRef("/t"), client.Revision, broker.Conflict}, {topicRef("/new"), "*", broker.NotFound},
		{producerRef("crm", "/t"), producer.Revision, -1}, {id(change.Producer, producer.ID), producer.Revision, -1}, {producerRef("crm", "/new"), "", -1}, {producerRef("new", "/t"), "", -1},
		{producerRef("crm", "/t"), "", broker.Conflict}, {id(change.Producer, producer.ID), "old", broker.Conflict}, {producerRef("new", "/t"), "*", broker.NotFound}, {id(change.Producer, consumer.ID), "*", broker.NotFound},
		{id(change.Consumer, consumer.ID), consumer.Revision, -1}, {id(change.Consumer, consumer.ID), "*", -1},
		{id(change.Consumer, consumer.ID), "old", broker.Conflict}, {id(change.Consumer, 999), "*", broker.NotFound},
		{change.Ref{Kind: "thing", Name: "x"}, "*", broker.Invalid}, {change.Ref{}, "", broker.Invalid},
	} {
		value := fmt.Sprint(c.ref, c.revision)
		_, err := r.Change(ctx, broker.Change{Expect: []change.Expect{{Ref: c.ref, Revision: c.revision}}, Documents: []broker.Document{doc("k", value, "v")}})
		if c.want >= 0 {
			wantCode(t, err, c.want)
			r.wantDocument("k", value, "")
		} else if err != nil {
			t.Errorf("%v %q: %v", c.ref, c.revision, err)
		} else {
			r.wantDocument("k", value, "v")
		}
	}
	// One that does not hold is enough.
	_, err := r.Change(ctx, broker.Change{
		Expect: []change.Expect{{Ref: topicRef("/t"), Revision: "*"}, {Ref: topicRef("/t"), Revision: "old"}},
		Delete: []change.Ref{topicRef("/t")},
	})
	wantCode(t, err, broker.Conflict)
	r.topic("/t")
}

// TestEdit edits an object, as two do who both saw the same one.
func TestEdit(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.define(topicDef("/t"), consumerDef("/t", "a"))
	saw := r.topic("/t")
	edit := func(depth int64) error {
		topic := saw.Topic
		topic.MaxDepth = depth
		_, err := r.Change(ctx, broker.Change{
			Expect: []change.Expect{{Ref: topicRef("/t"), Revision: saw.Revision}},
			Define: broker.Definition{Topics: []broker.Topic{topic}},
		})
		return err
	}
	if err := edit(1); err != nil {
		t.Fatal(err)
	}
	wantCode(t, edit(2), broker.Conflict)
	now := r.topic("/t")
	if now.MaxDepth != 1 || now.Revision == saw.Revision {
		t.Errorf("%+v", now)
	}
	r.publish("/t", text("one"))
	wantCode(t, r.mayPublish(text("two")), broker.Full)
	r.restart()
	if after := r.topic("/t"); after.MaxDepth != 1 || after.Revision != now.Revision {
		t.Errorf("%+v", after)
	}
	saw = now
	if err := edit(saw.MaxDepth); err != nil || r.topic("/t").Revision != now.Revision {
		t.Errorf("no change: %v", err)
	}
	if err := edit(5); err != nil {
		t.Fatal(err)
	}
	r.publish("/t", text("two"))

	// Only one of many who create the same.
	var wg sync.WaitGroup
	var made atomic.Int32
	for range 8 {
		wg.Go(func() {
			_, err := r.Change(ctx, broker.Change{Expect: []change.Expect{{Ref: topicRef("/new")}}, Define: broker.Definition{Topics: []broker.Topic{topicDef("/new")}}})
			if err == nil {
				made.Add(1)
			} else if broker.CodeOf(err) != broker.Conflict {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made.Load() != 1 {
		t.Errorf("made %d times", made.Load())
	}
}

// TestChangeAtomic refuses changes of which a part is wrong, or that find the disk full.
func TestChangeAtomic(t *testing.T) {
	r, s := newFaultyRig(t)
	r.define(topicDef("/t"), consumerDef("/t", "a"))
	other := topicDef("/t")
	other.MaxDepth = 7
	bad := topicDef("/bad/")
	id := r.queue("a").ID
	ref := r.consumerRef("a")
	whole := broker.Change{
		Define:    broker.Definition{Topics: []broker.Topic{other, topicDef("/new")}, Clients: []broker.Client{{Username: "new", PasswordHash: hash, Inactive: true}}},
		Rotate:    []uint32{id},
		Documents: []broker.Document{doc("k", "a", "1")},
	}
	before := r.Definition()
	for name, c := range map[string]struct {
		change func(*broker.Change)
		want   broker.Code
	}{
		"bad topic":           {func(c *broker.Change) { c.Define.Topics = append(c.Define.Topics, bad) }, broker.Invalid},
		"bad document":        {func(c *broker.Change) { c.Documents = append(c.Documents, doc("", "", "")) }, broker.Invalid},
		"no such consumer":    {func(c *broker.Change) { c.Rotate = append(c.Rotate, 999) }, broker.NotFound},
		"no such topic":       {func(c *broker.Change) { c.Delete = []change.Ref{topicRef("/none")} }, broker.NotFound},
		"no such client":      {func(c *broker.Change) { c.Delete = []change.Ref{clientRef("none")} }, broker.NotFound},
		"no such producer":    {func(c *broker.Change) { c.Delete = []change.Ref{producerRef("crm", "/none")} }, broker.NotFound},
		"no such kind":        {func(c *broker.Change) { c.Delete = []change.Ref{{Kind: "thing"}} }, broker.Invalid},
		"defined and deleted": {func(c *broker.Change) { c.Delete = []change.Ref{topicRef("/t")}; c.Rotate = nil }, broker.Invalid},
		"client and deleted": {func(c *broker.Change) {
			c.Define.Clients[0].Username = "crm"
			c.Delete = []change.Ref{clientRef("crm")}
			c.Rotate = nil
		}, broker.Invalid},
		"rotated and deleted": {func(c *broker.Change) { c.Delete = []change.Ref{ref} }, broker.Invalid},
		"producer of a deleted": {func(c *broker.Change) {
			c.Define = broker.Definition{Producers: []broker.Producer{{Client: "crm", Topic: "/t", Inactive: true}}}
			c.Delete = []change.Ref{topicRef("/t")}
			c.Rotate = nil
		}, broker.Invalid},
		"producer and deleted": {func(c *broker.Change) {
			c.Define.Producers = []broker.Producer{{Client: "crm", Topic: "/t", Inactive: true}}
			c.Delete = []change.Ref{producerRef("crm", "/t")}
		}, broker.Invalid},
		"consumer and deleted": {func(c *broker.Change) {
			c.Define.Consumers = []broker.Consumer{consumerDef("/t", "a")}
			c.Delete = []change.Ref{ref}
			c.Rotate = nil
		}, broker.Invalid},
	} {
		change := whole
		change.Define.Clients = slices.Clone(change.Define.Clients)
		c.change(&change)
		_, err := r.Change(ctx, change)
		var e *broker.Error
		if !errors.As(err, &e) || e.Code != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.fail(func(b *store.Batch) error {
		if b.Define != nil || b.Delete != nil {
			return store.ErrNoSpace
		}
		return nil
	})
	_, err := r.Change(ctx, whole)
	wantCode(t, err, broker.DiskFull)
	_, err = r.Change(ctx, broker.Change{Delete: []change.Ref{topicRef("/t")}, Documents: whole.Documents})
	wantCode(t, err, broker.DiskFull)
	s.fail(nil)
	r.wantDocument("k", "a", "")
	if got := r.Definition(); fmt.Sprint(got) != fmt.Sprint(before) {
		t.Errorf("%+v, before %+v", got, before)
	}
	r.publish("/t", text("still there"))
	if got := payloads(r.receive("/t", "a", broker.ReceiveOptions{Ack: true})); got != "still there " {
		t.Errorf("got %q", got)
	}
	done := r.change(whole)
	r.wantDocument("k", "a", "1")
	if len(done.Made) != 1 || r.topic("/t").MaxDepth != 7 || r.topic("/new").Name == "" {
		t.Errorf("%+v", done)
	}
	r.restart()
	r.wantDocument("k", "a", "1")
	if r.queue(done.Made[0].SubKey).ID != id || r.topic("/t").MaxDepth != 7 {
		t.Errorf("%+v", r.Definition())
	}
}

// A consumer that is given and rotated by one change is updated, to the sub_key that is made, whatever was given. A dry
// run tells that it is, and no sub_key that nobody will have.
func TestGivenAndRotated(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.define(topicDef("/t"), consumerDef("/t", "old"))
	for name, alter := range map[string]func(*broker.Consumer){
		"as it is":        func(*broker.Consumer) {},
		"otherwise":       func(q *broker.Consumer) { q.MaxInFlight++ },
		"with a sub_key":  func(q *broker.Consumer) { q.SubKey = "declared" },
		"without sub_key": func(q *broker.Consumer) { q.SubKey = "" },
	} {
		before := r.Consumers()[0]
		given := before.Consumer
		alter(&given)
		c := broker.Change{Define: broker.Definition{Consumers: []broker.Consumer{given}}, Rotate: []uint32{before.ID}, DryRun: true}
		want := change.Outcome[broker.Consumer]{Action: change.Update, ID: before.ID, Before: before.Consumer, After: given}
		want.After.SubKey = ""
		if would := r.change(c); len(would.Made) != 0 || !slices.Equal(would.Consumers, []change.Outcome[broker.Consumer]{want}) {
			t.Errorf("%s: would be %+v, want %+v", name, would, want)
		}
		c.DryRun = false
		done := r.change(c)
		after := r.Consumers()[0]
		if want.After.SubKey = after.SubKey; after.SubKey == before.SubKey || after.SubKey == given.SubKey || after.ID != before.ID {
			t.Errorf("%s: %+v became %+v", name, before, after)
		}
		if len(done.Made) != 1 || done.Made[0] != want.After || !slices.Equal(done.Consumers, []change.Outcome[broker.Consumer]{want}) {
			t.Errorf("%s: told %+v, want %+v", name, done, want)
		}
	}
}

// TestRotate gives a consumer another sub_key: all that it has stays, and who has the old one is out.
func TestRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		r.define(topicDef("/t"), consumerDef("/t", "old"), consumerDef("/t", "b"))
		for i := range 5 {
			r.publish("/t", text(fmt.Sprint(i)))
		}
		sub := r.sub("/t", "old")
		flying := r.receive("/t", "old", broker.ReceiveOptions{Max: 3})
		if _, err := sub.Settle(broker.Settlement{Ack: []string{flying[0].ID}}); err != nil {
			t.Fatal(err)
		}
		before := r.queue("old")
		done := r.change(broker.Change{Expect: []change.Expect{{Ref: r.consumerRef("old"), Revision: before.Revision}}, Rotate: []uint32{before.ID, before.ID}})
		if len(done.Made) != 1 || done.Made[0].SubKey == "old" || done.Made[0].SubKey == "" {
			t.Fatalf("%+v", done)
		}
		key := done.Made[0].SubKey
		_, err := r.Subscription(r.crm, "/t", "old")
		wantCode(t, err, broker.Denied)
		_, err = sub.Receive(ctx, broker.ReceiveOptions{})
		wantCode(t, err, broker.Denied)
		after := r.queue(key)
		if after.ID != before.ID || after.Backlog != 4 || after.InFlight != 2 || after.Revision == before.Revision {
			t.Errorf("%+v, before %+v", after, before)
		}
		if s, err := r.sub("/t", key).Settle(broker.Settlement{Ack: []string{flying[1].ID}}); err != nil || s.Acked != 1 {
			t.Errorf("%+v %v", s, err)
		}
		if got := payloads(r.receive("/t", key, broker.ReceiveOptions{})); got != "3 4 " {
			t.Errorf("got %q", got)
		}
		r.restart()
		if _, err := r.Subscription(r.crm, "/t", "old"); err == nil {
			t.Error("the old key is back")
		}
		if got := payloads(r.receive("/t", key, broker.ReceiveOptions{})); got != "2 3 4 " {
			t.Errorf("got %q", got)
		}
		// The old key is free for another consumer, which is not the one that had it.
		other := consumerDef("/t", "old")
		other.Name = "another"
		r.change(broker.Change{Define: broker.Definition{Consumers: []broker.Consumer{other}}})
		if c := r.queue("old"); c.ID == before.ID || c.Backlog != 0 {
			t.Errorf("%+v", c)
		}
		r.restart()
		if r.queue("old").ID == r.queue(key).ID {
			t.Error("two keys of one consumer")
		}
	})
}

// TestNewConsumer makes a second queue for the same client and topic.
func TestNewConsumer(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.define(topicDef("/t"), consumerDef("/t", "a"))
	r.publish("/t", text("before"))
	def := consumerDef("/t", "")
	def.New = true
	oldest := def
	oldest.Start = broker.StartOldest
	done := r.change(broker.Change{Define: broker.Definition{Consumers: []broker.Consumer{def, oldest}}})
	if len(done.Made) != 2 || len(r.Consumers()) != 3 {
		t.Fatalf("%+v", done)
	}
	for i, o := range done.Consumers {
		if q, ok := r.Consumer(o.ID); !ok || q.SubKey != done.Made[i].SubKey {
			t.Errorf("consumer %d is not that of its ID: %+v", i, o)
		}
	}
	r.publish("/t", text("after"))
	for range 2 {
		for i, want := range []string{"after ", "before after "} {
			if got := payloads(r.receive("/t", done.Made[i].SubKey, broker.ReceiveOptions{})); got != want {
				t.Errorf("consumer %d got %q", i, got)
			}
		}
		r.restart()
	}
	// Without New it is the one that there is.
	def.New = false
	if done := r.change(broker.Change{Define: broker.Definition{Consumers: []broker.Consumer{def}}}); len(done.Made) != 0 || len(r.Consumers()) != 3 {
		t.Errorf("%+v", done)
	}
}

// TestDeleteConsumer frees what only the deleted one still needed.
func TestDeleteConsumer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		topic := topicDef("/t")
		topic.MaxDepth = 10
		r.define(topic, consumerDef("/t", "quick"), consumerDef("/t", "slow"))
		for i := range 10 {
			r.publish("/t", broker.Publication{Payload: fmt.Append(nil, i), Expiration: 1000})
		}
		slow := r.sub("/t", "slow")
		var flying []broker.Message
		for range 3 { // delivery counts that are stored
			flying = r.receive("/t", "slow", broker.ReceiveOptions{Max: 5})
			time.Sleep(31 * time.Second)
		}
		r.receive("/t", "quick", broker.ReceiveOptions{Max: 8, Ack: true})
		wantCode(t, r.mayPublish(text("x")), broker.Full)
		r.deleteConsumer("slow")

		_, err := slow.Receive(ctx, broker.ReceiveOptions{})
		wantCode(t, err, broker.Denied)
		_, err = slow.Receive(ctx, broker.ReceiveOptions{Ack: true})
		wantCode(t, err, broker.Denied)
		_, err = slow.Settle(broker.Settlement{Ack: []string{flying[0].ID}})
		wantCode(t, err, broker.Denied)
		_, err = slow.Settle(broker.Settlement{Reject: []string{flying[0].ID}})
		wantCode(t, err, broker.Denied)
		slow.Release(flying)
		_, err = r.Subscription(r.crm, "/t", "slow")
		wantCode(t, err, broker.Denied)

		time.Sleep(2 * time.Second)
		if info := r.topic("/t"); info.Depth != 2 || info.Consumers != 1 {
			t.Errorf("%+v", info)
		}
		r.publish("/t", broker.Publication{Payload: []byte("10"), Expiration: 1000})
		img, _, _, _ := r.image()
		if consumers := objectsOf(img, store.Consumer); len(consumers) != 1 || len(img.Attempts) != 0 || len(img.Cursors) > 1 {
			t.Errorf("%+v %+v %+v", consumers, img.Attempts, img.Cursors)
		}
		// Created anew it begins behind the newest, as any other.
		r.change(broker.Change{Define: broker.Definition{Consumers: []broker.Consumer{consumerDef("/t", "slow")}}})
		if got := payloads(r.receive("/t", "slow", broker.ReceiveOptions{})); got != "" {
			t.Errorf("got %q", got)
		}
		// Without consumers, what waits stays for the next one.
		r.receive("/t", "quick", broker.ReceiveOptions{Max: 1, Ack: true})
		m := r.receive("/t", "quick", broker.ReceiveOptions{})
		if _, err := r.sub("/t", "quick").Settle(broker.Settlement{Ack: []string{m[1].ID}}); err != nil {
			t.Fatal(err)
		}
		r.change(broker.Change{Delete: []change.Ref{r.consumerRef("quick"), r.consumerRef("slow")}})
		r.publish("/t", broker.Publication{Payload: []byte("11"), Expiration: 1000})
		time.Sleep(5 * time.Second)
		if info := r.topic("/t"); info.Depth != 2 {
			t.Errorf("%+v", info)
		}
		r.restart()
		time.Sleep(5 * time.Second)
		r.change(broker.Change{Define: broker.Definition{Consumers: []broker.Consumer{consumerDef("/t", "slow"), consumerDef("/t", "late")}}})
		if got := payloads(r.receive("/t", "slow", broker.ReceiveOptions{})); got != "9 11 " {
			t.Errorf("got %q", got)
		}
		if got := payloads(r.receive("/t", "late", broker.ReceiveOptions{})); got != "" {
			t.Errorf("got %q", got)
		}
	})
}

// TestDeleteLastConsumer deletes a consumer that is done with more than one commit removes: the next
// one gets nothing of that.
func TestDeleteLastConsumer(t *testing.T) {
	r := newRig(t, broker.Options{}.Sweeping(time.Hour))
	r.define(topicDef("/t"), consumerDef("/t", "a"))
	const n = 25_000
	r.fill("/t", n)
	if cleared, err := r.ClearBacklog(ctx, r.id("a")); err != nil || cleared != n {
		t.Fatal(cleared, err)
	}
	r.publish("/t", text("waits"))
	r.deleteConsumer("a")
	if info := r.topic("/t"); info.Depth != 1 {
		t.Errorf("%+v", info)
	}
	r.change(broker.Change{Define: broker.Definition{Consumers: []broker.Consumer{consumerDef("/t", "b")}}})
	if got := payloads(r.receive("/t", "b", broker.ReceiveOptions{})); got != "waits " {
		t.Errorf("got %q", got)
	}
}

// TestDeleteTopic deletes a topic with messages of all sorts, and makes it anew: it is another one.
func TestDeleteTopic(t *testing.T) {
	ways := []string{"over crashes", "at once", "over restarts"}
	if testing.Short() {
		ways = ways[:1]
	}
	for _, how := range ways {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, broker.Options{})
				topic := topicDef("/t")
				topic.DedupWindow = 10 * time.Second
				r.define(topicDef("/other"), consumerDef("/other", "o"))
				r.define(topic, consumerDef("/t", "a"), consumerDef("/t", "b"))
				r.publish("/other", broker.Publication{Payload: []byte("kept"), Expiration: 10_000})
				r.publish("/other", broker.Publication{Payload: []byte("kept too"), Expiration: 10_000, Delay: 100})
				door, err := r.Publisher(r.crm, "/t")
				if err != nil {
					t.Fatal(err)
				}
				const n = 40_000
				pubs := make([]broker.Publication, n/4)
				for prio := range 4 {
					for i := range pubs {
						pubs[i] = broker.Publication{Payload: []byte("x"), Priority: 5 + prio, Expiration: int64(1000 + i/100)}
						if i%10 == 0 {
							pubs[i].ID = fmt.Sprint("id-", prio, "-", i)
						}
						if i%10 == 1 {
							pubs[i].Delay = int64(1000 + i)
						}
					}
					if _, err := door.PublishBatch(pubs); err != nil {
						t.Fatal(err)
					}
				}
				sub := r.sub("/t", "a")
				flying := r.receive("/t", "a", broker.ReceiveOptions{Max: 500})
				r.receive("/t", "b", broker.ReceiveOptions{Max: 1000, Ack: true})
				if info := r.topic("/t"); info.Depth != n*9/10 || info.Delayed != n/10 {
					t.Fatalf("%+v", info)
				}
				old := r.topic("/t").Revision
				r.deleteTopic("/t")

				if _, ok := r.Topic("/t"); ok || len(r.Topics()) != 1 || len(r.Consumers()) != 1 || len(r.Producers()) != 1 {
					t.Errorf("left: %+v", r.Definition())
				}
				_, err = door.Publish(text("late"))
				wantCode(t, err, broker.Denied)
				_, err = door.PublishBatch([]broker.Publication{text("late")})
				wantCode(t, err, broker.Denied)
				_, err = r.Publish(ctx, "/t", nil)
				wantCode(t, err, broker.NotFound)
				_, err = sub.Receive(ctx, broker.ReceiveOptions{})
				wantCode(t, err, broker.Denied)
				_, err = sub.Settle(broker.Settlement{Ack: []string{flying[0].ID}})
				wantCode(t, err, broker.Denied)
				if sum := r.Totals(); sum.Depth != 1 || sum.Delayed != 1 || sum.Backlog != 1 || sum.Published != n+2 {
					t.Errorf("%+v", sum)
				}

				// Made anew at once, it has nothing of the old one.
				r.define(topic, consumerDef("/t", "a"))
				if info := r.topic("/t"); info.Depth != 0 || info.Delayed != 0 || info.Revision == old || !info.LastPublish.IsZero() || info.Published != 0 {
					t.Errorf("%+v", info)
				}
				r.publish("/t", broker.Publication{Payload: []byte("new"), ID: "id-0-0"})
				got := r.receive("/t", "a", broker.ReceiveOptions{})
				if payloads(got) != "new " {
					t.Errorf("got %q", payloads(got))
				}
				if s, err := r.sub("/t", "a").Settle(broker.Settlement{Ack: []string{flying[0].ID, flying[1].ID, "id-0-0"}}); err != nil || s.Acked != 1 || len(s.NotFound) != 2 {
					t.Errorf("%+v %v", s, err)
				}
				r.deleteTopic("/t")
				if how != "at once" {
					// Each run of the broker gets to a few commits.
					var left []int
					for range 4 {
						s := r.faulty()
						commits := 0
						s.fail(func(*store.Batch) error {
							if commits++; commits > 1 {
								return store.ErrNoSpace
							}
							return nil
						})
						time.Sleep(1500 * time.Millisecond)
						synctest.Wait()
						s.fail(nil)
						if how == "over restarts" {
							r.restart()
						} else {
							r.crash()()
						}
						img, _, _, _ := r.image()
						left = append(left, len(img.Lanes))
						for _, l := range img.Lanes {
							left[len(left)-1] += int(l.Tail - l.Removed)
						}
					}
					if left[0] < 1000 || left[0] <= left[1] {
						t.Errorf("left after each run: %d", left)
					}
				}
				time.Sleep(5 * time.Second)
				img, expiries, _, delayed := r.image()
				if len(img.Lanes) != 1 || len(img.Delayed) != 1 || expiries != 1 || delayed != 1 {
					t.Errorf("left: lanes %+v, delayed %v, %d expiries, %d delayed", img.Lanes, img.Delayed, expiries, delayed)
				}
				time.Sleep(20 * time.Second)
				if _, _, ids, _ := r.image(); ids != 0 {
					t.Errorf("left: %d IDs", ids)
				}
				time.Sleep(100 * time.Second)
				if got := payloads(r.receive("/other", "o", broker.ReceiveOptions{})); got != "kept kept too " {
					t.Errorf("got %q", got)
				}
			})
		})
	}
}

// TestDeleteEmptyTopic leaves nothing behind.
func TestDeleteEmptyTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		r.define(topicDef("/t"), consumerDef("/t", "a"))
		r.deleteTopic("/t")
		r.define(topicDef("/t"), consumerDef("/t", "a"))
		r.publish("/t", text("x"))
		r.receive("/t", "a", broker.ReceiveOptions{Ack: true})
		r.deleteTopic("/t")
		time.Sleep(3 * time.Second)
		img, expiries, _, _ := r.image()
		if len(img.Lanes)+len(img.Cursors)+len(img.Seen) > 0 || len(img.Objects) != len(objectsOf(img, store.Client)) || expiries > 0 {
			t.Errorf("left: %+v", img)
		}
	})
}

// TestDeleteClient deletes what is the client's, and nobody is let in with its password.
func TestDeleteClient(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.define(topicDef("/t"), consumerDef("/t", "a"))
	other := consumerDef("/t", "b")
	other.Client = "erp"
	r.change(broker.Change{Define: broker.Definition{
		Clients:   []broker.Client{{Username: "erp", Password: "secret"}},
		Producers: []broker.Producer{{Client: "erp", Topic: "/t"}},
		Consumers: []broker.Consumer{other},
	}})
	login := func(password string) error {
		_, err := r.Authenticate(ctx, "erp", password, "::1")
		return err
	}
	if err := login("secret"); err != nil {
		t.Fatal(err)
	}
	r.publish("/t", text("x"))
	erp := &broker.Client{Username: "erp"}
	door, err := r.Publisher(erp, "/t")
	if err != nil {
		t.Fatal(err)
	}
	sub, err := r.Subscription(erp, "/t", "b")
	if err != nil {
		t.Fatal(err)
	}

	// Another password, then none: at once.
	info, _ := r.Client("erp")
	r.change(broker.Change{Define: broker.Definition{Clients: []broker.Client{{Username: "erp", Password: "other"}}}})
	wantCode(t, login("secret"), broker.Unauthorized)
	if err := login("other"); err != nil {
		t.Error(err)
	}
	if now, _ := r.Client("erp"); now.Revision == info.Revision {
		t.Error("the password is no part of the revision")
	}
	r.change(broker.Change{Define: broker.Definition{Clients: []broker.Client{{Username: "erp", Inactive: true}}}})
	wantCode(t, login("other"), broker.Unauthorized)
	_, err = sub.Receive(ctx, broker.ReceiveOptions{})
	wantCode(t, err, broker.Denied)
	r.change(broker.Change{Define: broker.Definition{Clients: []broker.Client{{Username: "erp"}}}})
	if err := login("other"); err != nil {
		t.Error(err)
	}
	if got, err := sub.Receive(ctx, broker.ReceiveOptions{}); err != nil || len(got) != 1 {
		t.Errorf("active again: %+v %v", got, err)
	}

	r.change(broker.Change{Delete: []change.Ref{clientRef("erp")}})
	wantCode(t, login("other"), broker.Unauthorized)
	_, err = door.Publish(text("late"))
	wantCode(t, err, broker.Denied)
	_, err = sub.Receive(ctx, broker.ReceiveOptions{})
	wantCode(t, err, broker.Denied)
	for range 2 {
		if d := r.Definition(); len(d.Clients) != 1 || len(d.Producers) != 1 || len(d.Consumers) != 1 || len(d.Topics) != 1 {
			t.Errorf("left: %+v", d)
		}
		if got := payloads(r.receive("/t", "a", broker.ReceiveOptions{})); got != "x " {
			t.Errorf("got %q", got)
		}
		r.restart()
	}
	wantCode(t, login("other"), broker.Unauthorized)
}

// TestDeleteProducer refuses what it publishes from then on.
func TestDeleteProducer(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.define(topicDef("/t"), consumerDef("/t", "a"))
	r.publish("/t", text("x"))
	door, _ := r.Publisher(r.crm, "/t")
	r.change(broker.Change{Delete: []change.Ref{producerRef("crm", "/t")}})
	_, err := door.Publish(text("late"))
	wantCode(t, err, broker.Denied)
	wantCode(t, r.mayPublish(text("late")), broker.Denied)
	img, _, _, _ := r.image()
	if producers := objectsOf(img, store.Producer); len(producers) != 0 || len(img.Seen) > 1 {
		t.Errorf("left: %+v %+v", producers, img.Seen)
	}
	r.define(topicDef("/t"))
	r.publish("/t", text("y"))
	id := r.Producers()[0].ID
	r.change(broker.Change{Define: broker.Definition{Producers: []broker.Producer{{Client: "crm", Topic: "/t", Inactive: true}}}})
	wantCode(t, r.mayPublish(text("late")), broker.Denied)
	if p, ok := r.Producer(id); !ok || p.Published != 1 || p.LastSeen.IsZero() || !p.Inactive {
		t.Errorf("%+v %t", p, ok)
	}
	r.change(broker.Change{Delete: []change.Ref{{Kind: change.Producer, ID: id}}})
	if len(r.Producers()) != 0 {
		t.Error("left")
	}
	if got := payloads(r.receive("/t", "a", broker.ReceiveOptions{})); got != "x y " {
		t.Errorf("got %q", got)
	}
}

// TestDeactivate keeps everything.
func TestDeactivate(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.define(topicDef("/t"), consumerDef("/t", "a"))
	r.publish("/t", text("1"))
	door, _ := r.Publisher(r.crm, "/t")
	off, topicOff := consumerDef("/t", "a"), topicDef("/t")
	off.Inactive, topicOff.Inactive = true, true
	r.change(broker.Change{Define: broker.Definition{Consumers: []broker.Consumer{off}}})
	r.publish("/t", text("2"))
	r.change(broker.Change{Define: broker.Definition{Topics: []broker.Topic{topicOff}}})
	_, err := door.Publish(text("late"))
	wantCode(t, err, broker.Denied)
	r.restart()
	if c := r.queue("a"); c.Backlog != 2 || !c.Inactive {
		t.Errorf("%+v", c)
	}
	r.define(topicDef("/t"), consumerDef("/t", "a"))
	if got := payloads(r.receive("/t", "a", broker.ReceiveOptions{})); got != "1 2 " {
		t.Errorf("got %q", got)
	}
}

// TestWaitersEnd lets long polls wait, while what they wait for goes away, or does not.
func TestWaitersEnd(t *testing.T) {
	inactive := func(r *rig) (c broker.Change) {
		off := consumerDef("/t", "a")
		off.Inactive = true
		c.Define.Consumers = []broker.Consumer{off}
		return c
	}
	for name, c := range map[string]struct {
		change func(r *rig) broker.Change
		ends   bool
	}{
		"consumer deleted":  {func(r *rig) broker.Change { return broker.Change{Delete: []change.Ref{r.consumerRef("a")}} }, true},
		"topic deleted":     {func(r *rig) broker.Change { return broker.Change{Delete: []change.Ref{topicRef("/t")}} }, true},
		"client deleted":    {func(r *rig) broker.Change { return broker.Change{Delete: []change.Ref{clientRef("crm")}} }, true},
		"rotated":           {func(r *rig) broker.Change { return broker.Change{Rotate: []uint32{r.queue("a").ID}} }, true},
		"consumer inactive": {inactive, true},
		"topic inactive": {func(r *rig) (c broker.Change) {
			off := topicDef("/t")
			off.Inactive = true
			c.Define.Topics = []broker.Topic{off}
			return c
		}, true},
		"client inactive": {func(r *rig) (c broker.Change) {
			c.Define.Clients = []broker.Client{{Username: "crm", Name: "CRM", Inactive: true}}
			return c
		}, true},
		"other consumer deleted": {func(r *rig) broker.Change { return broker.Change{Delete: []change.Ref{r.consumerRef("b")}} }, false},
		"limits": {func(r *rig) (c broker.Change) {
			topic, consumer := topicDef("/t"), consumerDef("/t", "a")
			topic.MaxDepth, consumer.MaxDepth = 7, 8
			c.Define.Topics, c.Define.Consumers = []broker.Topic{topic}, []broker.Consumer{consumer}
			c.Define.Clients = []broker.Client{{Username: "crm", Name: "Other"}}
			return c
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, broker.Options{})
				r.define(topicDef("/t"), consumerDef("/t", "a"), consumerDef("/t", "b"))
				var wg sync.WaitGroup
				start := time.Now()
				for range 3 {
					wg.Go(func() {
						msgs, err := r.sub("/t", "a").Receive(ctx, broker.ReceiveOptions{Wait: 30 * time.Second})
						took := time.Since(start).Round(time.Second)
						if c.ends && (broker.CodeOf(err) != broker.Denied || err == nil || took != 3*time.Second) || !c.ends && (err != nil || took != 30*time.Second) {
							t.Errorf("%v %v after %s", msgs, err, took)
						}
					})
				}
				time.Sleep(3 * time.Second)
				r.change(c.change(r))
				wg.Wait()
			})
		})
	}
}

// TestPasswordReplaced gives a client another password: a door that the old one has opened is closed.
func TestPasswordReplaced(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.define(topicDef("/t"), consumerDef("/t", "a"))
	r.crm.PasswordHash = hash
	sub := r.sub("/t", "a")
	receive := func(client broker.Client) error {
		r.change(broker.Change{Define: broker.Definition{Clients: []broker.Client{client}}})
		_, err := sub.Receive(ctx, broker.ReceiveOptions{})
		return err
	}
	if err := receive(broker.Client{Username: "crm", Name: "Other"}); err != nil {
		t.Error(err)
	}
	wantCode(t, receive(broker.Client{Username: "crm", PasswordHash: hash[:len(hash)-1] + "."}), broker.Unauthorized)
}

// TestDeleteInFlight deletes while the disk holds on to a commit of publishes and acknowledgements:
// what comes first is done first, what comes later is refused.
func TestDeleteInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newFaultyRig(t)
		r.define(topicDef("/t"), consumerDef("/t", "a"), consumerDef("/t", "b"))
		for range 3 {
			r.publish("/t", text("x"))
		}
		a := r.sub("/t", "a")
		got := r.receive("/t", "a", broker.ReceiveOptions{})
		door, _ := r.Publisher(r.crm, "/t")
		id := r.consumerRef("a")
		proceed := make(chan struct{})
		s.fail(func(*store.Batch) error { <-proceed; return nil })
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := door.Publish(text("first")); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		wg.Go(func() { r.change(broker.Change{Delete: []change.Ref{id, topicRef("/t")}}) })
		synctest.Wait()
		wg.Go(func() {
			_, err := a.Settle(broker.Settlement{Ack: []string{got[0].ID}})
			wantCode(t, err, broker.Denied)
		})
		synctest.Wait()
		wg.Go(func() {
			_, err := door.Publish(text("late"))
			wantCode(t, err, broker.Denied)
		})
		synctest.Wait()
		s.fail(nil)
		close(proceed)
		wg.Wait()
		time.Sleep(3 * time.Second)
		r.wantNothing()
	})
}

// TestPurgeDiskFull lets the sweeper fail in the middle of removing a topic.
func TestPurgeDiskFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newFaultyRig(t)
		r.define(topicDef("/t"))
		door, _ := r.Publisher(r.crm, "/t")
		pubs := make([]broker.Publication, limit.MaxBatch)
		for i := range pubs {
			pubs[i].Delay = int64(i%2) * 3600
		}
		for range 2 {
			if _, err := door.PublishBatch(pubs); err != nil {
				t.Fatal(err)
			}
		}
		r.deleteTopic("/t")
		var commits atomic.Int32
		s.fail(func(b *store.Batch) error {
			if commits.Add(1)%3 == 0 {
				return fmt.Errorf("write: %w", store.ErrNoSpace)
			}
			return nil
		})
		time.Sleep(20 * time.Second)
		if commits.Load() < 4 {
			t.Errorf("%d commits", commits.Load())
		}
		s.fail(nil)
		time.Sleep(2 * time.Second)
		r.wantNothing()
	})
}

// TestDeleteConcurrently publishes, receives and acknowledges while topics and consumers come and go.
// Meant to run with -race. What stays must get everything.
func TestDeleteConcurrently(t *testing.T) {
	r := newRig(t, broker.Options{}.Sweeping(5*time.Millisecond))
	r.define(topicDef("/stays"), consumerDef("/stays", "stays"))
	for i := range 3 {
		r.define(topicDef(fmt.Sprint("/t", i)), consumerDef(fmt.Sprint("/t", i), fmt.Sprint("key", i)))
	}
	r.define(topicDef("/stays"), consumerDef("/stays", "goes"))
	length := 1500 * time.Millisecond
	if testing.Short() {
		length = 400 * time.Millisecond
	}
	end := time.Now().Add(length)
	loop := func(wg *sync.WaitGroup, fn func(rnd *rand.Rand) error) {
		rnd := rand.New(rand.NewPCG(rand.Uint64(), 1))
		wg.Go(func() {
			for time.Now().Before(end) && !t.Failed() {
				if err := fn(rnd); err != nil {
					switch broker.CodeOf(err) {
					case broker.Denied, broker.NotFound, broker.Conflict:
					default:
						t.Error(err)
					}
				}
			}
		})
	}
	var wg sync.WaitGroup
	var published atomic.Int64
	for range 2 {
		loop(&wg, func(rnd *rand.Rand) error {
			p, err := r.Publisher(r.crm, "/stays")
			if err != nil {
				return err
			}
			if _, err = p.Publish(broker.Publication{Expiration: 1000}); err == nil {
				published.Add(1)
			}
			return err
		})
		loop(&wg, func(rnd *rand.Rand) error {
			p, err := r.Publisher(r.crm, fmt.Sprint("/t", rnd.IntN(3)))
			if err != nil {
				return err
			}
			_, err = p.PublishBatch([]broker.Publication{text("x"), {Delay: 1}, {ID: fmt.Sprint(rnd.IntN(1000))}, {Priority: 9, Delay: 1000, ID: fmt.Sprint("d", rnd.IntN(1000))}})
			return err
		})
		loop(&wg, func(rnd *rand.Rand) error {
			key := []string{"goes", "key0", "key1", "key2"}[rnd.IntN(4)]
			s, err := r.Subscription(r.crm, "", key)
			if err != nil {
				return err
			}
			m, err := s.Receive(ctx, broker.ReceiveOptions{Max: 20, Wait: 20 * time.Millisecond, Ack: rnd.IntN(3) == 0})
			if err != nil || len(m) < 2 {
				return err
			}
			_, err = s.Settle(broker.Settlement{Ack: []string{m[0].ID}, Reject: []string{m[1].ID}})
			return err
		})
	}
	var received atomic.Int64
	loop(&wg, func(rnd *rand.Rand) error {
		m, err := r.sub("/stays", "stays").Receive(ctx, broker.ReceiveOptions{Ack: true, Wait: 10 * time.Millisecond})
		received.Add(int64(len(m)))
		return err
	})
	loop(&wg, func(rnd *rand.Rand) error {
		name := fmt.Sprint("/t", rnd.IntN(3))
		if _, err := r.Change(ctx, broker.Change{Delete: []change.Ref{topicRef(name)}, Documents: []broker.Document{doc("audit", name, "deleted")}}); err != nil {
			return err
		}
		pause(rnd)
		_, err := r.Change(ctx, broker.Change{
			Expect: []change.Expect{{Ref: topicRef(name)}},
			Define: broker.Definition{
				Topics:    []broker.Topic{topicDef(name)},
				Producers: []broker.Producer{{Client: "crm", Topic: name}},
				Consumers: []broker.Consumer{consumerDef(name, "key"+name[2:])},
			},
		})
		return err
	})
	loop(&wg, func(rnd *rand.Rand) error {
		for _, c := range r.Consumers() {
			if c.SubKey != "stays" && c.Topic == "/stays" {
				if _, err := r.Change(ctx, broker.Change{Delete: []change.Ref{{Kind: change.Consumer, ID: c.ID}}}); err != nil {
					return err
				}
			}
		}
		pause(rnd)
		def := consumerDef("/stays", "goes")
		if rnd.IntN(2) == 0 {
			def.Start = broker.StartOldest
		}
		_, err := r.Change(ctx, broker.Change{Define: broker.Definition{Consumers: []broker.Consumer{def}}})
		return err
	})
	loop(&wg, func(rnd *rand.Rand) error {
		for _, c := range r.Consumers() {
			if c.Backlog < 0 || c.InFlight < 0 || c.Deferred < 0 {
				t.Errorf("%+v", c)
			}
		}
		for _, c := range r.Topics() {
			if c.Depth < 0 || c.Delayed < 0 {
				t.Errorf("%+v", c)
			}
		}
		r.Totals()
		r.Clients()
		runtime.Gosched()
		return nil
	})
	wg.Wait()
	for {
		m := r.receive("/stays", "stays", broker.ReceiveOptions{Ack: true})
		if len(m) == 0 {
			break
		}
		received.Add(int64(len(m)))
	}
	if published.Load() == 0 || received.Load() != published.Load() {
		t.Errorf("published %d, received %d", published.Load(), received.Load())
	}
	r.close()
	synctest.Test(t, func(*testing.T) {
		r.open()
		for _, c := range r.Topics() {
			r.deleteTopic(c.Name)
		}
		time.Sleep(10 * time.Second)
		r.close()
	})
	r.open()
	// What is left of expiries goes at its time.
	if img, _, _, delayed := r.image(); len(img.Lanes)+len(img.Delayed)+delayed > 0 {
		t.Errorf("left: lanes %+v, delayed %v, %d of them", img.Lanes, img.Delayed, delayed)
	}
}

// pause lets others go on for a while.
func pause(rnd *rand.Rand) {
	for range rnd.IntN(500) {
		runtime.Gosched()
	}
}

// eventually waits for what others bring about.
func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatal("it does not come about")
		}
	}
}
