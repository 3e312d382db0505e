package broker_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
	"pipit/broker/browse"
	"pipit/broker/store"
)

// country publishes messages of these countries, each its own payload.
func (r *rig) countries(list string) {
	r.t.Helper()
	for _, c := range strings.Fields(list) {
		r.publish("/t", broker.Publication{Payload: []byte(c), Attributes: []broker.Attribute{{Name: "Country", Value: strings.TrimRight(c, "0123456789")}}})
	}
}

func filtered(subKey, filter string) broker.Consumer {
	c := consumerDef("/t", subKey)
	c.Filter = filter
	return c
}

func (r *rig) backlogs() string {
	r.t.Helper()
	var s []string
	for _, c := range r.Consumers() {
		s = append(s, fmt.Sprintf("%s:%d", c.SubKey, c.Backlog))
	}
	return strings.Join(s, " ")
}

// TestFilteredBacklog: what a filter does not let through is never in the backlog, also after a restart, and keeps nothing in the log.
func TestFilteredBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		r.define(topicDef("/t"), consumerDef("/t", "all"), filtered("lv", `country = "LV"`), filtered("none", `has(none)`))
		r.countries("LV1 LT1 LT2 LV2 EE1 LV3 LT3")
		r.publish("/t", broker.Publication{Payload: []byte("later"), Delay: 5})
		r.publish("/t", broker.Publication{Payload: []byte("later LV"), Delay: 5, Attributes: []broker.Attribute{{Name: "country", Value: "LV"}}})
		if got := r.backlogs(); got != "all:7 lv:3 none:0" {
			t.Error(got)
		}
		time.Sleep(6 * time.Second)
		if got := r.backlogs(); got != "all:9 lv:4 none:0" {
			t.Error(got)
		}
		m := r.receive("/t", "lv", broker.ReceiveOptions{Max: 2})
		if payloads(m) != "LV1 LV2 " {
			t.Error(payloads(m))
		}
		r.ack(t, "lv", m[1])
		r.restart()
		if got := r.backlogs(); got != "all:9 lv:3 none:0" {
			t.Errorf("after a restart: %s", got)
		}
		if got := payloads(r.receive("/t", "lv", broker.ReceiveOptions{Order: broker.LIFO})); got != "later LV LV3 LV1 " {
			t.Error(got)
		}
		if got := payloads(r.receive("/t", "none", broker.ReceiveOptions{})); got != "" {
			t.Error(got)
		}
		// An acknowledgement of what it was never given is refused.
		all := r.receive("/t", "all", broker.ReceiveOptions{})
		for _, x := range all {
			if string(x.Payload) == "LT1" {
				if s, err := r.sub("/t", "lv").Settle(broker.Settlement{Ack: []string{x.ID}}); err != nil || len(s.NotFound) != 1 {
					t.Errorf("%+v %v", s, err)
				}
			}
		}
		r.ack(t, "all", all...)
		time.Sleep(3 * time.Second)
		if d, _ := r.Topic("/t"); d.Depth != 3 {
			t.Errorf("the log keeps %d messages, want 3", d.Depth)
		}
		time.Sleep(2 * time.Minute) // all of them expire
		if got := r.backlogs(); got != "all:0 lv:0 none:0" {
			t.Errorf("after their time: %s", got)
		}
	})
}

// TestFilterChanged: what waits is looked at anew, and what a receive has left out is delivered where it matches then.
func TestFilterChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		r.define(topicDef("/t"), filtered("x", ""))
		r.countries("LV1 LT1 LV2 EE1 LV3")
		first := r.receive("/t", "x", broker.ReceiveOptions{Max: 1})
		r.define(topicDef("/t"), filtered("x", `country ^= "L"`))
		if got := payloads(r.receive("/t", "x", broker.ReceiveOptions{Max: 2})); got != "LT1 LV2 " { // at once, before the sweeper comes
			t.Error(got)
		}
		r.define(topicDef("/t"), filtered("x", `country != "LT"`))
		time.Sleep(3 * time.Second)
		if got := r.backlogs(); got != "x:4" {
			t.Error(got)
		}
		r.ack(t, "x", first...)
		r.restart()
		if got := payloads(r.receive("/t", "x", broker.ReceiveOptions{})); got != "LV2 EE1 LV3 " {
			t.Error(got)
		}
		r.define(topicDef("/t"), filtered("x", ""))
		r.countries("LT2")
		if got := payloads(r.receive("/t", "x", broker.ReceiveOptions{})); got != "LT2 " {
			t.Error(got)
		}
	})
}

// TestFilterOfPattern: each queue of a pattern is filtered by itself, and read again where the filter is changed.
func TestFilterOfPattern(t *testing.T) {
	r := newRig(t, broker.Options{})
	c := filtered("p", `country = "LV"`)
	c.Topic = "/*"
	r.define(topicDef("/t"), c)
	r.countries("LV1 LT1 LV2")
	if got := payloads(r.receive("", "p", broker.ReceiveOptions{})); got != "LV1 LV2 " || r.backlogs() != "p:2" {
		t.Error(got, r.backlogs())
	}
	c.Filter = ""
	r.define(topicDef("/t"), c)
	r.countries("EE1")
	if got := payloads(r.receive("", "p", broker.ReceiveOptions{})); got != "EE1 " {
		t.Error(got)
	}
}

// TestFilterAtOldest: a new consumer that begins at the oldest message is given those that match.
func TestFilterAtOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		r.define(topicDef("/t"), consumerDef("/t", "all"))
		pubs := make([]broker.Publication, 5000) // more than one step
		pubs[4999] = broker.Publication{Payload: []byte("LV"), Attributes: []broker.Attribute{{Name: "country", Value: "LV"}}}
		p, err := r.Publisher(r.crm, "/t")
		if err == nil {
			_, err = p.PublishBatch(pubs)
		}
		if err != nil {
			t.Fatal(err)
		}
		late := filtered("late", `country = "LV"`)
		late.Start = broker.StartOldest
		r.define(topicDef("/t"), late)
		time.Sleep(5 * time.Second)
		if got := r.backlogs(); got != "all:5000 late:1" {
			t.Error(got)
		}
		if got := payloads(r.receive("/t", "late", broker.ReceiveOptions{})); got != "LV " {
			t.Error(got)
		}
	})
}

func TestFilterRefused(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.define(topicDef("/t"))
	_, err := r.Apply(t.Context(), broker.Definition{Consumers: []broker.Consumer{filtered("x", `country = LV`)}})
	if broker.CodeOf(err) != broker.Invalid || !strings.Contains(err.Error(), `at 11: "LV" where a text in quotes is expected`) {
		t.Error(err)
	}
}

// TestFilterSeek: what a seek lets wait again is looked at by the filter, and is counted without what that leaves out.
func TestFilterSeek(t *testing.T) {
	r := newRig(t, broker.Options{})
	topic := topicDef("/t")
	topic.Retention = time.Hour
	r.define(topic, filtered("lv", `country = "LV"`))
	r.countries("LV1 LT1 LT2 LV2 EE1 LV3 LT3")
	r.ack(t, "lv", r.receive("/t", "lv", broker.ReceiveOptions{})...)
	for range 2 {
		n, err := r.sub("/t", "lv").Seek(ctx, broker.Seek{Oldest: true})
		if err != nil || n != 3 || r.backlogs() != "lv:3" {
			t.Errorf("%d wait, %v: %s", n, err, r.backlogs())
		}
		m := r.receive("/t", "lv", broker.ReceiveOptions{})
		if payloads(m) != "LV1 LV2 LV3 " {
			t.Error(payloads(m))
		}
		r.ack(t, "lv", m...)
	}
}

// TestFilterSeekDepth: max_depth of a consumer and of its topic allow a seek by what the filter lets through, and a preview tells
// that number.
func TestFilterSeekDepth(t *testing.T) {
	r := newRig(t, broker.Options{})
	topic := topicDef("/t")
	topic.Retention, topic.MaxDepth = time.Hour, 4
	c := filtered("lv", `country = "LV"`)
	c.MaxDepth = 3
	r.define(topic, c)
	for range 2 {
		r.countries("LV LT LT EE")
	}
	r.countries("LT LV") // then it is full
	r.ack(t, "lv", r.receive("/t", "lv", broker.ReceiveOptions{})...)
	r.wantSeek("/t", "lv", broker.Seek{Oldest: true}, 3)
	r.ack(t, "lv", r.receive("/t", "lv", broker.ReceiveOptions{})...)
	c.MaxDepth = 2
	r.define(topic, c)
	if _, err := r.sub("/t", "lv").Seek(ctx, broker.Seek{Oldest: true}); broker.CodeOf(err) != broker.Full || !strings.Contains(err.Error(), "3 messages would wait") {
		t.Error(err)
	}
	if _, err := r.SeekPreview(ctx, r.id("lv"), broker.Seek{Oldest: true}); broker.CodeOf(err) != broker.Full {
		t.Error(err)
	}
}

// TestFilterChangedWhileRead: what a receive leaves out while the filter is changed is not lost where it matches then.
func TestFilterChangedWhileRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the sweeper does not come
		for _, topic := range []string{"/t", "/*"} {
			r := newRig(t, broker.Options{})
			c := filtered("x", "")
			c.Topic = topic
			r.define(topicDef("/t"), c)
			r.countries("LT1 LV1 LV2")
			c.Filter = `country = "LV"`
			r.define(topicDef("/t"), c)
			changed := false
			got := payloads(r.receive("", "x", broker.ReceiveOptions{Room: func(int) bool {
				if !changed {
					changed = true
					c.Filter = ""
					r.define(topicDef("/t"), c)
				}
				return true
			}}))
			if got += payloads(r.receive("", "x", broker.ReceiveOptions{})); got != "LV1 LV2 LT1 " {
				t.Errorf("%s: got %q", topic, got)
			}
			r.close()
		}
	})
}

// TestFilterBrowse: what a filter does not let through is not shown as waiting either, also where it is in no cursor.
func TestFilterBrowse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the sweeper does not come
		r := newRig(t, broker.Options{}.Sifting(1, 3))
		r.define(topicDef("/t"), filtered("lv", `country = "LV"`), consumerDef("/t", "all"))
		r.countries("LV1 LT1 LV2 LT2 LV3 LT3 LT4")
		got := ""
		for _, m := range r.browse(browse.Options{Topic: "/t", Consumer: r.id("lv"), Payload: 10}) {
			got += string(m.Payload) + " "
		}
		if got != "LV1 LV2 LV3 " {
			t.Error(got)
		}
	})
}

// TestFilterManyWait: where many messages wait with others between them, a publish does not store all the places of these, and
// they are in no backlog all the same.
func TestFilterManyWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newFaultyRig(t)
		r.define(topicDef("/t"), filtered("lv", `country = "LV"`))
		most, stored := 0, 0
		s.fail(func(b *store.Batch) error {
			if len(b.Append) > 0 {
				for _, c := range b.Cursors {
					most, stored = max(most, len(c.Cursor.Spans)), stored+1
				}
			}
			return nil
		})
		p, err := r.Publisher(r.crm, "/t")
		if err != nil {
			t.Fatal(err)
		}
		pubs := make([]broker.Publication, 2400)
		for i := range pubs {
			pubs[i] = broker.Publication{Payload: []byte("x"), Attributes: []broker.Attribute{{Name: "country", Value: []string{"LV", "LT"}[i%2]}}}
		}
		if _, err := p.PublishBatch(pubs); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		if got := r.backlogs(); got != "lv:1200" {
			t.Error(got)
		}
		if most > 1000 {
			t.Errorf("a publish stored %d spans", most)
		}
		stored = 0
		r.countries("LV LT LV LT")
		if stored > 0 {
			t.Errorf("publishes stored %d cursors", stored)
		}
		time.Sleep(3 * time.Second)
		if got := r.backlogs(); got != "lv:1202" {
			t.Error(got)
		}
		if n := len(r.receive("/t", "lv", broker.ReceiveOptions{Max: 1000})); n != 1000 {
			t.Errorf("%d are delivered", n)
		}
	})
}

// What a filter has made the consumer done with does not come back, though it was put back before.
func TestFilteredOutWhilePutBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		r.define(topicDef("/t"), filtered("k", ""), consumerDef("/t", "all"))
		r.countries("LT1 LT2 LT3 LV1")
		m := r.receive("/t", "k", broker.ReceiveOptions{})
		r.settle("k", broker.Settlement{Reject: ids(m[0])})
		r.settle("k", broker.Settlement{Reject: ids(m[1]), Delay: 2})
		r.define(topicDef("/t"), filtered("k", `country = "LV"`))
		time.Sleep(1100 * time.Millisecond)
		r.define(topicDef("/t"), filtered("k", ""))
		time.Sleep(40 * time.Second)
		if got := payloads(r.receive("/t", "k", broker.ReceiveOptions{})); got != "LV1 " {
			t.Errorf("got %q", got)
		}
		if q := r.queue("k"); q.Backlog != 1 || q.InFlight != 1 || q.Deferred != 0 {
			t.Errorf("%+v", q)
		}
	})
}

// What a filter does not let through is done for its consumer before the sweeper has looked at it, and for the topic.
func TestFilteredStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		r.define(retaining("/t", time.Hour, 0))
		id := r.publish("/t", broker.Publication{Payload: []byte("x")})
		c := filtered("lv", "has(country)")
		c.Start = broker.StartOldest
		r.define(retaining("/t", time.Hour, 0), c)
		got, standings, err := r.Message("/t", id)
		if err != nil || got.State != browse.Done || len(standings) != 1 || standings[0].State != browse.Done {
			t.Errorf("%+v %+v %v", got, standings, err)
		}
	})
}
