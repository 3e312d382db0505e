package admin

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
)

// watched is a rig with a client that publishes to a topic and one that consumes from it.
type watched struct {
	*authRig
	consumer broker.ConsumerInfo
}

const (
	watchedTopic = "/customer/created"
	watchedKey   = "K1"
	watchedHash  = "$2a$10$N7upEGPzocfGmT4H.lnSful.9ehej/hRkBRf3gg9EQXAjfZu7OF2e" // of "secret"
)

func newWatched(t *testing.T, bubble bool) *watched {
	t.Helper()
	w := &watched{authRig: newAuthRig(t, bubble)}
	w.account()
	w.define(broker.Definition{
		Clients:   []broker.Client{{Username: "crm", PasswordHash: watchedHash}, {Username: "erp", PasswordHash: watchedHash}},
		Topics:    []broker.Topic{w.topic(watchedTopic, 100)},
		Producers: []broker.Producer{{Client: "crm", Topic: watchedTopic}},
		Consumers: []broker.Consumer{{Client: "erp", Topic: watchedTopic, SubKey: watchedKey, MaxDepth: 1000, MaxInFlight: 100, AckTimeout: time.Minute}},
	})
	w.consumer = w.b.Consumers()[0]
	return w
}

func (w *watched) topic(name string, depth int64) broker.Topic {
	return broker.Topic{Name: name, MaxDepth: depth, Expiration: broker.Off, DedupWindow: broker.Off}
}

func (w *watched) define(d broker.Definition) {
	w.t.Helper()
	if _, err := w.b.Change(context.Background(), broker.Change{Define: d}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *watched) publish(topic string, n int, opts ...broker.PublishOption) {
	w.t.Helper()
	for range n {
		if _, err := w.b.Publish(context.Background(), topic, []byte("Hello"), opts...); err != nil {
			w.t.Fatal(err)
		}
	}
}

// receive takes up to n messages and acknowledges them.
func (w *watched) receive(n int) {
	w.t.Helper()
	client := &broker.Client{Username: "erp"}
	sub, err := w.b.Subscription(client, watchedTopic, watchedKey)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := sub.Receive(context.Background(), broker.ReceiveOptions{Max: n, Ack: true}); err != nil {
		w.t.Fatal(err)
	}
}

// expire publishes n messages and waits until they are expired and swept.
func (w *watched) expire(n int) {
	w.t.Helper()
	w.publish(watchedTopic, n, broker.WithExpiration(1))
	for hours := 0; w.b.Totals().Expired < uint64(n); hours++ {
		if hours > 25 {
			w.t.Fatal("not swept")
		}
		pass(time.Hour)
	}
}

// pass lets d go by, and what is due then be done.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestRing(t *testing.T) {
	start := time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC)
	r := newRing(10*time.Second, 4)
	if h := r.history(); len(h.Published) != 0 || h.Published == nil || h.Step != 10 {
		t.Error(h)
	}
	now := start
	push := func(rate float32, after time.Duration) {
		now = now.Add(after)
		r.push(point{published: rate, backlog: rate * 10}, now)
	}
	check := func(begin time.Time, want ...float64) {
		t.Helper()
		h := r.history()
		if !slices.Equal(h.Published, want) || !h.Start.Equal(begin) || h.Backlog[len(want)-1] != want[len(want)-1]*10 {
			t.Errorf("%v from %v, want %v from %v", h.Published, h.Start, want, begin)
		}
	}
	push(1, 10*time.Second)
	check(start, 1)
	push(2, 10*time.Second)
	push(3, 9900*time.Millisecond)
	push(4, 10100*time.Millisecond)
	check(start, 1, 2, 3, 4)
	push(5, 10*time.Second)
	check(start.Add(10*time.Second), 2, 3, 4, 5)
	push(6, 30*time.Second) // a suspended machine
	check(start.Add(40*time.Second), 5, 6, 6, 6)
	push(7, time.Hour)
	check(now.Add(-40*time.Second), 7, 7, 7, 7)
}

func TestHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, true)
		defer w.close()
		s := w.a.stats
		start := time.Now()

		w.publish(watchedTopic, 50)
		w.receive(20)
		pass(sampleStep)
		h := s.history(rangeHour, "")
		if h.Step != 10 || !slices.Equal(h.Published, []float64{5}) || !slices.Equal(h.Delivered, []float64{2}) ||
			!slices.Equal(h.Acked, []float64{2}) || !slices.Equal(h.Backlog, []float64{30}) || h.Start.Sub(start).Abs() > time.Second {
			t.Error(h)
		}
		if h := s.history(rangeHour, watchedTopic); h.Step != 60 || len(h.Published) != 0 {
			t.Error("a topic's step has not ended", h)
		}
		pass(time.Minute - sampleStep)
		h = s.history(rangeHour, watchedTopic)
		if len(h.Published) != 1 || h.Published[0] != tidy(50./60) || h.Backlog[0] != 30 || h.Start.Sub(start).Abs() > time.Second {
			t.Error(h)
		}
		if h := s.history(rangeDay, ""); h.Step != 300 || len(h.Published) != 0 {
			t.Error(h)
		}
		pass(9 * time.Minute)
		if h := s.history(rangeDay, ""); len(h.Published) != 2 || h.Published[0] != tidy(50./300) || h.Published[1] != 0 {
			t.Error(h)
		}
		if h := s.history(rangeDay, watchedTopic); h.Step != 600 || len(h.Published) != 1 || h.Published[0] != tidy(50./600) {
			t.Error(h)
		}
		for _, unknown := range []string{"/nothing", "/idle"} {
			if h := s.history(rangeHour, unknown); len(h.Published) != 0 || h.Published == nil {
				t.Error(unknown, h)
			}
		}

		pass(25 * time.Hour)
		for _, c := range []struct {
			rng, topic string
			steps, sec int
		}{{rangeHour, "", 360, 10}, {rangeDay, "", 288, 300}, {rangeHour, watchedTopic, 60, 60}, {rangeDay, watchedTopic, 144, 600}} {
			h := s.history(c.rng, c.topic)
			end := h.Start.Add(time.Duration(c.steps*c.sec) * time.Second)
			if len(h.Published) != c.steps || len(h.Delivered) != c.steps || len(h.Acked) != c.steps || len(h.Backlog) != c.steps || h.Step != c.sec || time.Since(end).Abs() > time.Duration(c.sec)*time.Second {
				t.Errorf("%+v: %d of %d s, from %s", c, len(h.Published), h.Step, h.Start)
			}
			if h.Published[0] != 0 || h.Backlog[0] != 30 {
				t.Errorf("%+v: %v %v", c, h.Published[0], h.Backlog[0])
			}
		}

		// The counters of a topic that is created again begin anew.
		w.publish(watchedTopic, 30)
		if _, err := w.b.Change(t.Context(), broker.Change{Delete: []broker.Ref{{Kind: broker.KindTopic, Name: watchedTopic}}}); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		if len(s.topics) != 0 || len(s.seen) != 0 {
			t.Errorf("%d topics are remembered", len(s.topics)+len(s.seen))
		}
	})
}

func TestSince(t *testing.T) {
	for _, c := range []struct {
		now, before uint64
		want        float64
	}{{7, 5, 2}, {5, 5, 0}, {3, 5, 3}} {
		if got := since(c.now, c.before); got != c.want {
			t.Errorf("since(%d, %d) = %v", c.now, c.before, got)
		}
	}
}

func TestTopicsAreBounded(t *testing.T) {
	now := time.Now()
	s := &stats{topics: map[string]*topicStats{}, seen: map[string]broker.Counters{}}
	for i := range maxTopicRings {
		if s.addTopic(strconv.Itoa(i), broker.Counters{}, now) == nil {
			t.Fatal(i)
		}
	}
	if s.addTopic("more", broker.Counters{}, now) != nil {
		t.Fatal("too many")
	}
	now = now.Add(25 * time.Hour)
	s.topics["7"].busy = now
	if s.addTopic("more", broker.Counters{}, now) == nil || len(s.topics) != 2 || s.topics["7"] == nil {
		t.Errorf("%d topics", len(s.topics))
	}
}

func TestAttention(t *testing.T) {
	many := func(n int) string { return fmt.Sprintf("/topic/%02d", n) }
	topic := attention{Link: "/admin/topics/%2Fcustomer%2Fcreated", Kind: "topic", Key: watchedTopic}
	consumer := attention{Link: "/admin/consumers/ID", Kind: "consumer", Key: "ID"} // ID: its number
	is := func(n attention, code, text string) attention {
		n.Code, n.Text = code, text
		return n
	}
	tests := []struct {
		name string
		do   func(w *watched)
		want []attention // an empty field can be anything
	}{
		{"nothing", func(w *watched) {}, nil},
		{"a consumer that was never seen", func(w *watched) { w.publish(watchedTopic, 2) },
			[]attention{is(consumer, codeAway, "erp has never fetched from /customer/created, where 2 messages wait for it")}},
		{"a consumer that was seen a while ago", func(w *watched) {
			w.receive(1)
			pass(time.Second)
			w.publish(watchedTopic, 1)
			pass(awayTime - 3*time.Second)
		}, nil},
		{"a consumer that was seen long ago", func(w *watched) { w.receive(1); pass(time.Second); w.publish(watchedTopic, 1); pass(awayTime) },
			[]attention{is(consumer, codeAway, "erp has not fetched from /customer/created for 15 min 3 s, where 1 message waits for it")}},
		{"its backlog has not grown since", func(w *watched) { w.publish(watchedTopic, 2); pass(time.Second); w.receive(1); pass(time.Hour) }, nil},
		{"a topic nearly full", func(w *watched) { w.publish(watchedTopic, 81); w.receive(1) },
			[]attention{is(topic, codeTopic, "Topic /customer/created is 80 % full: 80 of at most 100 messages")}},
		{"a topic not nearly full", func(w *watched) { w.publish(watchedTopic, 80); w.receive(1) }, nil},
		{"a topic full of delayed messages", func(w *watched) { w.publish(watchedTopic, 80, broker.WithDelay(3600)) },
			[]attention{is(topic, codeTopic, "")}},
		{"a backlog nearly full", func(w *watched) {
			c := w.consumer.Consumer
			c.MaxDepth = 10
			w.define(broker.Definition{Consumers: []broker.Consumer{c}})
			w.publish(watchedTopic, 9)
			w.receive(1)
		}, []attention{is(consumer, codeBacklog, "The backlog of erp in /customer/created is 80 % full: 8 of at most 10 messages")}},
		{"messages that expire", func(w *watched) { w.expire(3) },
			[]attention{is(topic, codeExpired, "3 messages expired unread in /customer/created in the last hour")}},
		{"messages that expired long ago", func(w *watched) { w.expire(3); pass(61 * time.Minute) }, nil},
		{"an inactive topic and an inactive client", func(w *watched) {
			w.publish(watchedTopic, 2)
			off := w.topic(watchedTopic, 100)
			off.Inactive = true
			w.define(broker.Definition{Topics: []broker.Topic{off}, Clients: []broker.Client{{Username: "erp", Inactive: true}}})
		}, []attention{
			is(topic, codeInactive, "Topic /customer/created is inactive, and 2 messages wait in it"),
			is(consumer, codeInactive, "The client erp is inactive, and 2 messages wait for it in /customer/created"),
		}},
		{"an inactive consumer", func(w *watched) {
			w.publish(watchedTopic, 1)
			c := w.consumer.Consumer
			c.Inactive = true
			w.define(broker.Definition{Consumers: []broker.Consumer{c}})
		}, []attention{is(consumer, codeInactive, "The consumer erp of /customer/created is inactive, and 1 message waits for it")}},
		{"very many", func(w *watched) {
			var d broker.Definition
			for i := range maxAttention + 3 {
				d.Topics = append(d.Topics, w.topic(many(i), 1))
				d.Consumers = append(d.Consumers, broker.Consumer{Client: "erp", Topic: many(i), MaxDepth: 1000, MaxInFlight: 1, AckTimeout: time.Minute})
			}
			w.define(d)
			for i := range maxAttention + 3 {
				w.publish(many(i), 1)
			}
		}, slices.Concat(
			slices.Repeat([]attention{{Code: codeTopic, Kind: "topic"}}, maxAttention),
			slices.Repeat([]attention{{Code: codeAway, Kind: "consumer"}}, maxAttention),
			[]attention{
				{Code: codeTopic, Text: "3 more topics are nearly full", Link: "/admin/topics?sort=depth&desc=1"},
				{Code: codeAway, Text: "3 more consumers are away while messages wait for them", Link: "/admin/consumers?sort=backlog&desc=1"},
			},
		)},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWatched(t, true)
				defer w.close()
				c.do(w)
				pass(2 * time.Second)
				got := w.a.situation(situationFresh).attention
				if got == nil {
					t.Error("null in JSON")
				}
				got = slices.DeleteFunc(slices.Clone(got), func(n attention) bool { return n.Code == codeDisk }) // of this machine
				if len(got) != len(c.want) {
					t.Fatalf("%d, want %d: %v", len(got), len(c.want), got)
				}
				for i, want := range c.want {
					fields := [][2]string{{got[i].Code, want.Code}, {got[i].Text, want.Text}, {got[i].Link, want.Link}, {got[i].Kind, want.Kind}, {got[i].Key, want.Key}}
					for _, f := range fields {
						if want := strings.ReplaceAll(f[1], "ID", fmt.Sprint(w.consumer.ID)); want != "" && f[0] != want {
							t.Errorf("%q, want %q", f[0], want)
						}
					}
				}
			})
		})
	}
}

func TestDiskAttention(t *testing.T) {
	const gib = 1 << 30
	for _, c := range []struct {
		total, free int64
		want        bool
	}{
		{100 * gib, 11 * gib, false}, {100 * gib, 9 * gib, true}, // 10 %
		{5 * gib, gib + 1, false}, {5 * gib, gib - 1, true}, // 1 GiB
		{-1, -1, false}, {100 * gib, -1, false}, {0, 0, false}, {gib, 0, true},
	} {
		n := notices{counts: map[string]int{}}
		n.disk(broker.StoreStats{DiskTotal: c.total, DiskFree: c.free})
		if got := len(n.list) == 1; got != c.want {
			t.Errorf("%+v: %v", c, n.list)
		}
		if len(n.list) == 1 && (!n.list[0].Bad() || n.list[0].Code != codeDisk || n.list[0].Link != "/admin/system") {
			t.Error(n.list)
		}
	}
}

// TestOldest checks that the store is read at most once in agesTime, and for the largest backlogs alone.
func TestOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, true)
		defer w.close()
		first := time.Now()
		w.publish(watchedTopic, 1)
		pass(time.Minute)
		w.publish(watchedTopic, 1)
		if got := w.a.situation(0).oldest; !got.Equal(first) {
			t.Errorf("oldest %s, want %s", got, first)
		}
		s := w.a.stats
		at := s.agesAt
		pass(agesTime - time.Second)
		w.a.situation(0)
		if s.agesAt != at {
			t.Error("read again too early")
		}
		w.receive(2)
		if got := w.a.situation(0).oldest; !got.IsZero() {
			t.Errorf("nothing waits, and the oldest is of %s", got)
		}
		pass(time.Second)
		w.a.situation(0)
		if s.agesAt == at {
			t.Error("not read again")
		}

		consumers := make([]broker.ConsumerInfo, maxAges+50)
		for i := range consumers {
			consumers[i] = broker.ConsumerInfo{ID: uint32(1000 + i), Backlog: int64(i)}
		}
		ids := largest(consumers)
		if len(ids) != maxAges || ids[0] != 1000+maxAges+49 || slices.Contains(ids, 1000) {
			t.Errorf("%d: %v", len(ids), ids)
		}
	})
}

// TestSituationAge checks that a situation serves those who can do with an old one.
func TestSituationAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, true)
		defer w.close()
		was := w.a.situation(situationLive).at
		pass(2 * time.Second)
		if w.a.situation(situationLive).at != was {
			t.Error("looked again")
		}
		if w.a.situation(situationFresh).at == was {
			t.Error("not looked again")
		}
	})
}
