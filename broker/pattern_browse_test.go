package broker_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
	"pipit/broker/browse"
)

// TestPatternBrowse: what a consumer of a pattern has is looked at topic after topic, or in one, with its states.
func TestPatternBrowse(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.definePattern(consumerDef("/a/*", "k"), "/a/x", "/a/y", "/a/z", "/b")
	r.change(broker.Change{Define: broker.Definition{Consumers: []broker.Consumer{consumerDef("/a/x", "own")}}})
	send := func(topic, payload string, priority int) string {
		return r.publish(topic, broker.Publication{Payload: []byte(payload), Priority: priority})
	}
	send("/a/z", "z0", 5)
	send("/a/x", "x0", 5)
	send("/a/x", "x1", 9)
	send("/a/y", "y0", 5)
	y1 := send("/a/y", "y1", 9)
	send("/a/z", "z1", 5)
	send("/b", "other", 9)
	r.publish("/a/x", broker.Publication{Payload: []byte("late x"), Delay: 50})
	r.publish("/a/z", broker.Publication{Payload: []byte("late z"), Delay: 40})
	got := r.receive("/a/*", "k", broker.ReceiveOptions{Max: 3}) // x1 y1 z0
	r.settle("k", broker.Settlement{Ack: ids(got[0])})
	r.settle("k", broker.Settlement{Reject: ids(got[2]), Delay: 60})

	k := r.id("k")
	for limit := range 4 { // 0: the default
		o := browse.Options{Consumer: k, Limit: limit}
		r.wantBrowse(o, "x0 y1:in_flight*1 y0 z0:deferred*1 z1 ")
		for topic, want := range map[string]string{"/a/x": "x0 ", "/a/y": "y1:in_flight*1 y0 ", "/a/z": "z0:deferred*1 z1 "} {
			o := o
			o.Topic = topic
			r.wantBrowse(o, want)
		}
		for state, want := range map[browse.State]string{
			browse.Waiting: "x0 y0 z1 ", browse.InFlight: "y1:in_flight*1 ", browse.Deferred: "z0:deferred*1 ",
			browse.Delayed: "late x:delayed late z:delayed ",
		} {
			o := o
			o.State = state
			r.wantBrowse(o, want)
		}
		o.Priority = 9
		r.wantBrowse(o, "y1:in_flight*1 ")
		o.Priority, o.Text = 0, "1"
		r.wantBrowse(o, "y1:in_flight*1 z1 ")
	}
	refused := func(o browse.Options, code broker.Code) {
		t.Helper()
		_, err := r.Browse(ctx, o)
		wantCode(t, err, code)
	}
	for _, topic := range []string{"/b", "/none"} { // of no such topic it has messages
		refused(browse.Options{Consumer: k, Topic: topic}, broker.NotFound)
	}
	refused(browse.Options{Consumer: r.id("own"), Topic: "/a/y"}, broker.NotFound)
	r.wantBrowse(browse.Options{Consumer: r.id("own"), Topic: "/a/x"}, "x1 x0 ")
	refused(browse.Options{Consumer: k, Cursor: "x"}, broker.Invalid)
	gone, leave := context.WithCancel(ctx)
	leave()
	_, err := r.Browse(gone, browse.Options{Consumer: k})
	wantCode(t, err, broker.Unavailable)

	m, standings, err := r.Message("/a/y", y1)
	if err != nil || m.State != browse.InFlight || len(standings) != 1 || standings[0].Consumer != k || standings[0].State != browse.InFlight || standings[0].Deliveries != 1 {
		t.Errorf("%+v %+v %v", m, standings, err)
	}
}

// TestPatternBrowseGone: the next page is of what is left where a topic is deleted meanwhile, and one that no topic matches is empty.
func TestPatternBrowseGone(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.definePattern(consumerDef("/a/*", "k"), "/a/x", "/a/y", "/b")
	for _, topic := range []string{"/a/x", "/a/y"} {
		for _, n := range []string{"0", "1"} {
			r.publish(topic, text(topic[3:]+n))
		}
	}
	o := browse.Options{Consumer: r.id("k"), Limit: 1, Payload: -1}
	page, err := r.Browse(ctx, o)
	if err != nil || summary(page.Messages) != "x0 " || page.Next == "" {
		t.Fatalf("%+v %v", page, err)
	}
	r.deleteTopic("/a/x")
	o.Cursor = page.Next
	r.wantBrowse(o, "y0 y1 ")
	r.deleteTopic("/a/y")
	page, err = r.Browse(ctx, o)
	if err != nil || len(page.Messages) != 0 || page.Next != "" {
		t.Errorf("of no topic: %+v %v", page, err)
	}
	r.makeTopic("/a/z")
	r.publish("/a/z", text("z0"))
	r.wantBrowse(o, "z0 ")
}

// TestPatternOldest: the oldest of all that a consumer of a pattern has, in whatever topic.
func TestPatternOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		r.definePattern(consumerDef("/a/*", "k"), "/a/x", "/a/y")
		k := r.id("k")
		var at []time.Time
		for _, topic := range []string{"/a/y", "/a/x", "/a/y"} {
			at = append(at, time.Now().Truncate(time.Microsecond))
			r.publish(topic, text(topic))
			time.Sleep(time.Second)
		}
		m := r.receive("/a/*", "k", broker.ReceiveOptions{})
		for i := range m {
			if got, err := r.Oldest(k); err != nil || !got[k].Equal(at[i]) {
				t.Errorf("%d: %v %v, want %v", i, got, err, at[i])
			}
			r.settle("k", broker.Settlement{Ack: ids(m[i])})
		}
		if got, err := r.Oldest(k); err != nil || len(got) != 0 {
			t.Errorf("of nothing: %v %v", got, err)
		}
	})
}

func TestParseSeek(t *testing.T) {
	at := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	for text, want := range map[string]broker.Seek{
		"oldest":                      {Oldest: true},
		"newest":                      {Newest: true},
		"2026-11-23T09:00:00":         {Time: at},
		"2026-11-23T09:00:00Z":        {Time: at},
		"2026-11-23T09:00:00.000001":  {Time: at.Add(time.Microsecond)},
		"2026-11-23T09:00:00.123456Z": {Time: at.Add(123456 * time.Microsecond)},
	} {
		to, err := broker.ParseSeek(text)
		if err != nil || to != want {
			t.Errorf("%s: %+v %v", text, to, err)
		}
		if again, err := broker.ParseSeek(to.String()); err != nil || again != want {
			t.Errorf("%s, told as %s: %+v %v", text, to, again, err)
		}
	}
	for _, text := range []string{"", "now", "Oldest", "2026-11-23", "2026-11-23T09:00:00+02:00", "1969-12-31T23:59:59", "2026-13-01T00:00:00", "K06Y63NEJQYG"} {
		to, err := broker.ParseSeek(text)
		if broker.CodeOf(err) != broker.Invalid || to != (broker.Seek{}) ||
			err.Error() != `to "`+text+`": allowed are oldest, newest and a UTC time such as 2026-11-23T09:00:00` {
			t.Errorf("%q: %+v %v", text, to, err)
		}
	}
	if s := (broker.Seek{MessageID: strings.Repeat("m", 10)}).String(); s != "message mmmmmmmmmm" {
		t.Error(s)
	}
}
