package monitor

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
	"pipit/broker/change"
	"pipit/broker/property"
	"pipit/broker/stats"
	"pipit/broker/store"
	"pipit/db"
)

// watched is a broker with a client that publishes to a topic and one that consumes from it, in a bubble.
type watched struct {
	t        *testing.T
	b        *broker.Broker
	m        *Monitor
	consumer broker.ConsumerInfo
	file     string // the database
}

const (
	watchedTopic = "/customer/created"
	watchedKey   = "K1"
	watchedHash  = "$2a$10$N7upEGPzocfGmT4H.lnSful.9ehej/hRkBRf3gg9EQXAjfZu7OF2e" // of "secret"
)

func newWatched(t *testing.T) *watched {
	t.Helper()
	w := &watched{t: t, file: filepath.Join(t.TempDir(), "pipit.db")}
	w.open()
	w.define(broker.Definition{
		Clients:   []broker.Client{{Username: "crm", PasswordHash: watchedHash}, {Username: "erp", PasswordHash: watchedHash}},
		Topics:    []broker.Topic{w.topic(watchedTopic, 100)},
		Producers: []broker.Producer{{Client: "crm", Topic: watchedTopic}},
		Consumers: []broker.Consumer{{Client: "erp", Topic: watchedTopic, SubKey: watchedKey, MaxDepth: 1000, MaxInFlight: 100, AckTimeout: time.Minute}},
	})
	w.consumer = w.b.Consumers()[0]
	return w
}

// anyDisk are the default thresholds, however full the disk of this machine is.
var anyDisk = func() Thresholds {
	limits := DefaultThresholds
	limits.DiskPercent, limits.DiskFree = 0, 0
	return limits
}()

// open starts a broker with the file, and a monitor.
func (w *watched) open() {
	w.t.Helper()
	logger := slog.New(slog.DiscardHandler)
	store, err := db.Open(w.file, db.Options{Logger: logger})
	if err != nil {
		w.t.Fatal(err)
	}
	if w.b, err = broker.Open(store, broker.Options{Logger: logger}); err != nil {
		store.Close()
		w.t.Fatal(err)
	}
	w.m = New(w.b, "", time.Now())
	w.m.Adjust(anyDisk)
	w.m.Start()
}

func (w *watched) close() {
	w.t.Helper()
	w.m.Close()
	if err := w.b.Close(); err != nil {
		w.t.Error(err)
	}
}

func (w *watched) topic(name string, depth int64) broker.Topic {
	return broker.Topic{Name: name, MaxDepth: depth, Expiration: property.Off, DedupWindow: property.Off}
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
	r := &ring{step: time.Minute, size: 4}
	check := func(after time.Duration, since float32, begin time.Duration, want ...float64) {
		t.Helper()
		h := r.history(start.Add(after), point{published: since, backlog: 9})
		if !slices.Equal(h.Published, want) || !h.Start.Equal(start.Add(begin)) || h.Backlog[len(want)-1] != 9 || len(h.Acked) != len(want) || h.Step != 60 {
			t.Errorf("%v from %v, want %v from %v", h.Published, h.Start, want, start.Add(begin))
		}
	}
	add := func(minute int, count float32) {
		r.add(number(start, time.Minute)+int64(minute), point{published: count, backlog: 7})
	}
	check(20*time.Second, 40, 0, 2) // of its time so far
	check(time.Second, 40, 0, 4)    // at least of ten seconds
	add(0, 60)
	add(0, 60)
	check(59*time.Second, 0, 0, tidy(120./59))
	check(61*time.Second, 0, 0, 2, 0)
	add(1, 180)
	add(3, 60)
	check(3*time.Minute+30*time.Second, 0, 0, 2, 3, 0, 2)
	if h := r.history(start.Add(3*time.Minute), point{}); h.Backlog[2] != 7 {
		t.Error("what waits goes on waiting", h.Backlog)
	}
	check(5*time.Minute+30*time.Second, 15, 2*time.Minute, 0, 1, 0, .5)
	add(1, 60) // a clock that was set back
	check(5*time.Minute+30*time.Second, 15, 2*time.Minute, 0, 2, 0, .5)
	add(4000, 60)
	check(4000*time.Minute+30*time.Second, 0, 3997*time.Minute, 0, 0, 0, 2)
	if s := r.under(start.Add(4000*time.Minute+30*time.Second), point{published: 30, backlog: 3}); s.Published != 3 || s.Backlog != 3 || s.End != start.Add(4001*time.Minute).Unix() {
		t.Errorf("%+v", s)
	}
}

func TestHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t)
		defer w.close()
		m := w.m
		start := time.Now()
		ofTopic, ofConsumer := Of{Topic: watchedTopic}, Of{Consumer: w.consumer.ID}

		w.publish(watchedTopic, 50)
		w.receive(20)
		pass(sampleStep)
		for _, of := range []Of{{}, ofTopic, ofConsumer} {
			h := m.History(RangeHour, of)
			if h.Step != 60 || !slices.Equal(h.Published, []float64{5}) || !slices.Equal(h.Delivered, []float64{2}) ||
				!slices.Equal(h.Acked, []float64{2}) || !slices.Equal(h.Backlog, []float64{30}) || !h.Start.Equal(start) || len(h.Starts) != 1 || !h.Starts[0].Equal(start) {
				t.Errorf("%+v: %+v", of, h)
			}
		}
		pass(5 * time.Second)
		if h := m.History(RangeHour, ofTopic); h.Published[0] != tidy(50./15) {
			t.Error("the step that is under way goes on", h)
		}
		pass(time.Minute - 15*time.Second)
		for _, rng := range []string{RangeHour, RangeDay} {
			for _, of := range []Of{{}, ofTopic} {
				if h := m.History(rng, of); h.Published[0] != tidy(50./60) || h.Backlog[0] != 30 {
					t.Errorf("%s of %+v: %+v", rng, of, h)
				}
			}
		}
		pass(9 * time.Minute)
		if h := m.History(RangeDay, Of{}); h.Step != 600 || len(h.Published) != 2 || h.Published[0] != tidy(50./600) || h.Published[1] != 0 {
			t.Error(h)
		}
		for _, unknown := range []Of{{Topic: "/nothing"}, {Consumer: 99}} {
			if h := m.History(RangeHour, unknown); !slices.Equal(h.Published, []float64{0}) {
				t.Error(unknown, h)
			}
		}

		pass(25 * time.Hour)
		for _, c := range []struct {
			rng        string
			steps, sec int
		}{{RangeHour, 61, 60}, {RangeDay, 145, 600}} {
			for _, of := range []Of{{}, ofTopic, ofConsumer} {
				h := m.History(c.rng, of)
				if len(h.Published) != c.steps || len(h.Delivered) != c.steps || len(h.Acked) != c.steps || len(h.Backlog) != c.steps || h.Step != c.sec || len(h.Starts) != 0 {
					t.Errorf("%+v: %d of %d s, from %s", c, len(h.Published), h.Step, h.Start)
				}
				if h.Published[0] != 0 || h.Backlog[0] != 30 {
					t.Errorf("%+v: %v %v", c, h.Published[0], h.Backlog[0])
				}
			}
		}

		// The counters of a topic that is created again begin anew.
		w.publish(watchedTopic, 30)
		if _, err := w.b.Change(t.Context(), broker.Change{Delete: []change.Ref{{Kind: change.Topic, Name: watchedTopic}}}); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		if n := len(m.topics.of) + len(m.topics.idle) + len(m.consumers.of) + len(m.consumers.idle); n != 0 {
			t.Errorf("%d things are remembered", n)
		}
	})
}

func TestSince(t *testing.T) {
	for _, c := range []struct {
		now, before uint64
		want        float32
	}{{7, 5, 2}, {5, 5, 0}, {3, 5, 3}} {
		if got := since(c.now, c.before); got != c.want {
			t.Errorf("since(%d, %d) = %v", c.now, c.before, got)
		}
	}
}

func TestSeriesAreBounded(t *testing.T) {
	now := time.Now()
	b := newBook[string]()
	for i := range maxSeries {
		if b.add(strconv.Itoa(i), stats.Counters{}, now) == nil {
			t.Fatal(i)
		}
	}
	if b.add("more", stats.Counters{}, now) != nil {
		t.Fatal("too many")
	}
	now = now.Add(25 * time.Hour)
	b.of["7"].busy = now
	if b.add("more", stats.Counters{}, now) == nil || len(b.of) != 2 || b.of["7"] == nil {
		t.Errorf("%d series", len(b.of))
	}
}

func TestAttention(t *testing.T) {
	many := func(n int) string { return fmt.Sprintf("/topic/%02d", n) }
	topic := Attention{Link: "/admin/topics/%2Fcustomer%2Fcreated", Kind: "topic", Key: watchedTopic}
	consumer := Attention{Link: "/admin/consumers/ID", Kind: "consumer", Key: "ID"} // ID: its number
	is := func(n Attention, code, text string) Attention {
		n.Code, n.Text = code, text
		return n
	}
	tests := []struct {
		name string
		do   func(w *watched)
		want []Attention // an empty field can be anything
	}{
		{"nothing", func(w *watched) {}, nil},
		{"a consumer that was never seen", func(w *watched) { w.publish(watchedTopic, 2) },
			[]Attention{is(consumer, CodeAway, "erp has never fetched from /customer/created, where 2 messages wait for it")}},
		{"a consumer that was seen a while ago", func(w *watched) {
			w.receive(1)
			pass(time.Second)
			w.publish(watchedTopic, 1)
			pass(DefaultThresholds.Away - 3*time.Second)
		}, nil},
		{"a consumer that was seen long ago", func(w *watched) {
			w.receive(1)
			pass(time.Second)
			w.publish(watchedTopic, 1)
			pass(DefaultThresholds.Away)
		},
			[]Attention{is(consumer, CodeAway, "erp has not fetched from /customer/created for 15m3s, where 1 message waits for it")}},
		{"its backlog has not grown since", func(w *watched) { w.publish(watchedTopic, 2); pass(time.Second); w.receive(1); pass(time.Hour) }, nil},
		{"a topic nearly full", func(w *watched) { w.publish(watchedTopic, 81); w.receive(1) },
			[]Attention{is(topic, codeTopic, "Topic /customer/created is 80 % full: 80 of at most 100 messages")}},
		{"a topic not nearly full", func(w *watched) { w.publish(watchedTopic, 80); w.receive(1) }, nil},
		{"a topic full of delayed messages", func(w *watched) { w.publish(watchedTopic, 80, broker.WithDelay(3600)) },
			[]Attention{is(topic, codeTopic, "")}},
		{"a backlog nearly full", func(w *watched) {
			c := w.consumer.Consumer
			c.MaxDepth = 10
			w.define(broker.Definition{Consumers: []broker.Consumer{c}})
			w.publish(watchedTopic, 9)
			w.receive(1)
		}, []Attention{is(consumer, codeBacklog, "The backlog of erp in /customer/created is 80 % full: 8 of at most 10 messages")}},
		{"messages that expire", func(w *watched) { w.expire(3) },
			[]Attention{is(topic, codeExpired, "3 messages expired unread in /customer/created in the last hour")}},
		{"messages that expired long ago", func(w *watched) { w.expire(3); pass(61 * time.Minute) }, nil},
		{"an inactive topic and an inactive client", func(w *watched) {
			w.publish(watchedTopic, 2)
			off := w.topic(watchedTopic, 100)
			off.Inactive = true
			w.define(broker.Definition{Topics: []broker.Topic{off}, Clients: []broker.Client{{Username: "erp", Inactive: true}}})
		}, []Attention{
			is(topic, codeInactive, "Topic /customer/created is inactive, and 2 messages wait in it"),
			is(consumer, codeInactive, "The client erp is inactive, and 2 messages wait for it in /customer/created"),
		}},
		{"an inactive consumer", func(w *watched) {
			w.publish(watchedTopic, 1)
			c := w.consumer.Consumer
			c.Inactive = true
			w.define(broker.Definition{Consumers: []broker.Consumer{c}})
		}, []Attention{is(consumer, codeInactive, "The consumer erp of /customer/created is inactive, and 1 message waits for it")}},
		{"dead letters for which there is no room", func(w *watched) {
			c := w.consumer.Consumer
			c.MaxDeliveries, c.DeadLetterTopic = 1, "/dead"
			w.define(broker.Definition{Topics: []broker.Topic{w.topic("/dead", 1)}, Consumers: []broker.Consumer{c}})
			w.publish(watchedTopic, 3)
			w.reject(3)
		}, []Attention{
			{Code: codeTopic, Key: "/dead"},
			is(consumer, codeStuck, "2 messages of erp failed for good in /customer/created and cannot be moved to the dead-letter topic /dead, which has no room"),
		}},
		{"dead letters whose topic is gone", func(w *watched) {
			c := w.consumer.Consumer
			c.MaxDeliveries, c.DeadLetterTopic = 1, "/dead"
			w.define(broker.Definition{Topics: []broker.Topic{w.topic("/dead", 1)}, Consumers: []broker.Consumer{c}})
			if _, err := w.b.Change(context.Background(), broker.Change{Delete: []change.Ref{{Kind: change.Topic, Name: "/dead"}}}); err != nil {
				w.t.Fatal(err)
			}
			w.publish(watchedTopic, 1)
			w.reject(1)
		}, []Attention{is(consumer, codeStuck, "1 message of erp failed for good in /customer/created and cannot be moved to the dead-letter topic /dead, which does not exist")}},
		{"a webhook that is called with another secret", func(w *watched) { w.refuse(3); pass(58 * time.Minute) },
			[]Attention{{codeWebhook, "3 calls of webhook shop in the last hour could not be verified: another secret, or another sender", "/admin/webhooks/shop", "webhook", "shop"}}},
		{"one that was", func(w *watched) { w.refuse(3); pass(62 * time.Minute) }, nil},
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
			slices.Repeat([]Attention{{Code: codeTopic, Kind: "topic"}}, maxAttention),
			slices.Repeat([]Attention{{Code: CodeAway, Kind: "consumer"}}, maxAttention),
			[]Attention{
				{Code: codeTopic, Text: "3 more topics are nearly full", Link: "/admin/topics?part=full&sort=depth&desc=1"},
				{Code: CodeAway, Text: "3 more consumers are away while messages wait for them", Link: "/admin/consumers?part=away&sort=backlog&desc=1"},
			},
		)},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWatched(t)
				defer w.close()
				c.do(w)
				pass(2 * time.Second)
				got := w.m.Situation(SituationFresh).Attention
				if got == nil {
					t.Error("null in JSON")
				}
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

// TestThresholds: what needs attention goes by the thresholds that are in force.
func TestThresholds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t)
		defer w.close()
		codes := func() (all []string) {
			for _, n := range w.m.Situation(0).Attention {
				all = append(all, n.Code)
			}
			return all
		}
		w.receive(1)
		pass(time.Second)
		w.publish(watchedTopic, 50)
		pass(2 * time.Minute)
		if got := codes(); len(got) != 0 {
			t.Error("by default:", got)
		}
		limits := anyDisk
		limits.Full, limits.Away = 50, time.Minute
		w.m.Adjust(limits)
		if got := codes(); !slices.Equal(got, []string{codeTopic, CodeAway}) {
			t.Error("with others:", got)
		}
		if why, _ := w.m.Why(w.consumer.ID); !slices.ContainsFunc(why, func(c Check) bool { return c.Code == CheckFetch && !c.OK }) {
			t.Errorf("%+v", why)
		}
	})
}

// TestCertificateAttention: a certificate needs attention from two weeks before its end on.
func TestCertificateAttention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t)
		defer w.close()
		for in, want := range map[time.Duration]string{
			14 * 24 * time.Hour: "",
			14*24*time.Hour - 1: "The certificate of tls_cert ends in 13d23h, on 2000-01-14 23:59 UTC",
			0:                   "The certificate of tls_cert has ended, on 2000-01-01 00:00 UTC: clients refuse it",
		} {
			ends := time.Now().Add(in)
			w.m.CertificateEnds = func() time.Time { return ends }
			if got := w.found(codeTLS); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		}
	})
}

func TestDiskAttention(t *testing.T) {
	const gib = 1 << 30
	for _, c := range []struct {
		total, free int64
		want        bool
		within      int64 // free within the database
	}{
		{100 * gib, 11 * gib, false, 0}, {100 * gib, 9 * gib, true, 0}, {100 * gib, 9 * gib, false, 2 * gib}, // 10 %
		{5 * gib, gib + 1, false, -1}, {5 * gib, gib - 1, true, -1}, // 1 GiB
		{6 << 20, 0, true, 2 << 20}, {6 << 20, 0, false, 4 << 20}, // half of a small disk
		{-1, -1, false, 0}, {100 * gib, -1, false, 0}, {0, 0, false, 0}, {gib, 0, true, 0},
	} {
		n := notices{Thresholds: DefaultThresholds, counts: map[string]int{}}
		n.disk(store.Stats{DiskTotal: c.total, DiskFree: c.free, Free: c.within})
		if got := len(n.list) == 1; got != c.want {
			t.Errorf("%+v: %v", c, n.list)
		}
		if len(n.list) == 1 && (!n.list[0].Bad() || n.list[0].Code != codeDisk || n.list[0].Link != "/admin/system") {
			t.Error(n.list)
		}
	}
}

func TestUnsyncedAttention(t *testing.T) {
	n := notices{counts: map[string]int{}}
	n.unsynced(store.Stats{})
	if len(n.list) != 0 {
		t.Errorf("%v", n.list)
	}
	n.unsynced(store.Stats{Unsynced: 100 * time.Millisecond})
	if len(n.list) != 1 || n.list[0].Bad() || n.list[0].Code != CodeUnsynced || !strings.Contains(n.list[0].Text, "up to 100ms") {
		t.Errorf("%v", n.list)
	}
}

// TestOldest checks that the store is read at most once in agesTime, and for the largest backlogs alone.
func TestOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t)
		defer w.close()
		first := time.Now()
		w.publish(watchedTopic, 1)
		pass(time.Minute)
		w.publish(watchedTopic, 1)
		if got := w.m.Situation(0).Oldest; !got.Equal(first) {
			t.Errorf("oldest %s, want %s", got, first)
		}
		m := w.m
		at := m.agesAt
		pass(agesTime - time.Second)
		w.m.Situation(0)
		if m.agesAt != at {
			t.Error("read again too early")
		}
		w.receive(2)
		if got := w.m.Situation(0).Oldest; !got.IsZero() {
			t.Errorf("nothing waits, and the oldest is of %s", got)
		}
		pass(time.Second)
		w.m.Situation(0)
		if m.agesAt == at {
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
		w := newWatched(t)
		defer w.close()
		was := w.m.Situation(situationLive).at
		pass(2 * time.Second)
		if w.m.Situation(situationLive).at != was {
			t.Error("looked again")
		}
		if w.m.Situation(SituationFresh).at == was {
			t.Error("not looked again")
		}
	})
}

// TestAttentionJSON holds the names that the script and the API rely on.
func TestAttentionJSON(t *testing.T) {
	b, err := json.Marshal(Attention{"a", "b", "c", "d", "e"})
	if err != nil || string(b) != `{"code":"a","text":"b","link":"c","kind":"d","key":"e"}` {
		t.Error(string(b), err)
	}
}

// reject takes n messages and rejects them.
func (w *watched) reject(n int) {
	w.t.Helper()
	sub, err := w.b.Subscription(&broker.Client{Username: "erp"}, watchedTopic, watchedKey)
	if err != nil {
		w.t.Fatal(err)
	}
	got, err := sub.Receive(context.Background(), broker.ReceiveOptions{Max: n})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, m := range got {
		if _, err := sub.Settle(broker.Settlement{Reject: []string{m.ID}}); err != nil {
			w.t.Fatal(err)
		}
	}
}

// refuse makes a webhook, of which n calls are refused for their signature.
func (w *watched) refuse(n int) {
	w.t.Helper()
	w.define(broker.Definition{Webhooks: []broker.Webhook{{Name: "shop", Topic: watchedTopic, Client: "crm", Verify: broker.VerifyGitHub, Secret: property.TextsOf("a long secret of it")}}})
	hook, ok := w.b.Hook("shop")
	if !ok {
		w.t.Fatal("no webhook")
	}
	for range n {
		hook.Refused(&broker.Error{Code: broker.Unauthorized})
	}
}

// TestHistoryLooksOnceASecond: a look at all topics and consumers for a history of all is for all who want it within a second.
func TestHistoryLooksOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t)
		defer w.close()
		waits := func() float64 {
			h := w.m.History(RangeHour, Of{})
			return h.Backlog[len(h.Backlog)-1]
		}
		pass(totalsTime)
		for n := range 3 {
			before := waits()
			w.publish(watchedTopic, 1)
			if got := waits(); got != before {
				t.Errorf("%v wait, looked at again within the second", got)
			}
			if got := w.m.Frame().Totals.Backlog; got != int64(n+1) {
				t.Errorf("a frame has %d", got)
			}
			if pass(totalsTime); waits() != float64(n+1) {
				t.Errorf("%v wait a second later, not %d", waits(), n+1)
			}
		}
	})
}
