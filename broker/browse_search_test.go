package broker_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
	"pipit/broker/browse"
	"pipit/broker/property"
)

// TestBrowseAll: without a topic, all are looked at, in pages of any size, as many as there are messages in.
func TestBrowseAll(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.wantBrowse(browse.Options{}, "")
	for _, name := range []string{"/a", "/b", "/empty", "/c"} {
		r.define(topicDef(name), consumerDef(name, name[1:]))
	}
	for i := range 3 {
		for _, topic := range []string{"/c", "/a", "/b"} {
			r.publish(topic, broker.Publication{Payload: fmt.Append(nil, topic[1:], i), Priority: 4 + i%2})
		}
	}
	r.publish("/b", broker.Publication{Payload: []byte("late b"), Delay: 20})
	r.publish("/a", broker.Publication{Payload: []byte("later a"), Delay: 30})
	r.publish("/c", broker.Publication{Payload: []byte("soon c"), Delay: 10})
	for limit := 1; limit < 12; limit++ {
		for _, c := range []struct {
			o    browse.Options
			want string
		}{
			{browse.Options{}, "a1 a0 a2 b1 b0 b2 c1 c0 c2 "},
			{browse.Options{Newest: true}, "a1 a2 a0 b1 b2 b0 c1 c2 c0 "},
			{browse.Options{Text: "2"}, "a2 b2 c2 "},
			{browse.Options{Text: "B"}, "b1 b0 b2 "},
			{browse.Options{Text: "B", Case: true}, ""},
			{browse.Options{State: browse.InFlight}, ""},
			{browse.Options{State: browse.Delayed}, "soon c:delayed late b:delayed later a:delayed "},
			{browse.Options{State: browse.Delayed, Text: "LATE"}, "late b:delayed later a:delayed "},
		} {
			c.o.Limit = limit
			r.wantBrowse(c.o, c.want)
		}
	}
	page, err := r.Browse(ctx, browse.Options{Limit: 5})
	if err != nil || page.Total != 9 || page.Messages[4].Topic != "/b" {
		t.Errorf("%+v %v", page, err)
	}
	r.deleteTopic("/b") // where the next page begins
	page, err = r.Browse(ctx, browse.Options{Cursor: page.Next, Payload: -1})
	if err != nil || page.Total != 6 || summary(page.Messages) != "c1 c0 c2 " {
		t.Errorf("%+v %v", page, err)
	}
}

// TestBrowseTime: a page ends when its time is over, says how much it has looked at, and the next one goes on there. A
// request that ends, ends the page.
func TestBrowseTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{}.Sweeping(time.Hour))
		s := r.faulty()
		topic := topicDef("/t")
		topic.Expiration = property.Off
		r.define(topic, consumerDef("/t", "a"))
		const n = 13_000
		r.fill("/t", n)
		gone, leave := context.WithCancel(ctx)
		defer leave()
		views, leaveAt := 0, 0
		s.mu.Lock()
		s.viewed = func() { // a step is of 2,000 messages
			time.Sleep(browse.Time / 3)
			if views++; views == leaveAt {
				leave()
			}
		}
		s.mu.Unlock()
		for _, newest := range []bool{false, true} {
			o := browse.Options{Text: "nowhere", Newest: newest}
			var looked []int
			for {
				begin := time.Now()
				page, err := r.Browse(ctx, o)
				if err != nil || len(page.Messages) > 0 || page.Total != n || time.Since(begin) > browse.Time {
					t.Fatalf("%+v %v after %s", page, err, time.Since(begin))
				}
				looked = append(looked, page.Scanned)
				if o.Cursor = page.Next; o.Cursor == "" {
					break
				}
			}
			if fmt.Sprint(looked) != "[6000 6000 1000]" {
				t.Errorf("looked at %v", looked)
			}
		}
		views, leaveAt = 0, 2
		_, err := r.Browse(gone, browse.Options{Topic: "/t", Text: "nowhere"})
		wantCode(t, err, broker.Unavailable)
		if views != 2 {
			t.Errorf("%d steps", views)
		}
	})
}

// TestBrowseHeldInParts: what is in flight is listed in parts where it is much, and none is left out.
func TestBrowseHeldInParts(t *testing.T) {
	r := newRig(t, broker.Options{})
	topic := topicDef("/t")
	topic.Expiration = property.Off
	c := consumerDef("/t", "a")
	c.MaxInFlight, c.AckTimeout = 100_000, time.Hour
	r.define(topic, c)
	const n = 41_000
	r.fill("/t", n, 3, 7)
	for range n / 1000 {
		r.receive("/t", "a", broker.ReceiveOptions{Max: 1000})
	}
	r.fill("/t", 10)
	for _, o := range []browse.Options{{State: browse.InFlight}, {State: browse.InFlight, Consumer: r.id("a"), Newest: true}} {
		o.Limit = 1000
		seen := map[string]bool{}
		for _, m := range r.browse(o) {
			seen[m.ID] = true
		}
		if len(seen) != n {
			t.Errorf("%+v: %d messages", o, len(seen))
		}
	}
	r.wantBrowse(browse.Options{Consumer: r.id("a"), State: browse.Waiting, Newest: true}, "9 8 7 6 5 4 3 2 1 0 ")
}
