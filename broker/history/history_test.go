package history

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker/store"
)

type topicName string

func (t topicName) HistoryTopic() string { return string(t) }

type queueOf struct {
	consumer uint32
	label    string
	topic    uint32
}

func (q queueOf) HistoryQueue() (consumer uint32, label string, topic uint32, t Topic) {
	return q.consumer, q.label, q.topic, topicName(fmt.Sprintf("/topic/%d", q.topic))
}

// documents are a store that has nothing else.
type documents struct {
	store.Reader
	m map[string][]byte
}

func (d *documents) view(fn func(store.Reader) error) error { return fn(d) }

func (d *documents) Documents(kind, after string, down bool, fn func(store.Document) bool) error {
	if kind != Kind {
		return errors.New("of another kind")
	}
	keys := slices.Sorted(maps.Keys(d.m))
	if down {
		slices.Reverse(keys)
	}
	for _, k := range keys {
		if after != "" && (!down && k <= after || down && k >= after) {
			continue
		}
		if !fn(store.Document{Kind: kind, Key: k, Value: slices.Clone(d.m[k])}) {
			return nil
		}
	}
	return nil
}

// write stores all that a log has gathered.
func (d *documents) write(t *testing.T, l *Log) {
	t.Helper()
	for {
		w := l.Unwritten()
		for _, doc := range w.Documents {
			if doc.Value == nil {
				delete(d.m, doc.Key)
			} else if d.m[doc.Key] = doc.Value; len(doc.Value) > 64<<10 {
				t.Fatalf("a document of %d bytes", len(doc.Value))
			}
		}
		if l.Written(&w); !w.More {
			return
		}
	}
}

// place is that of the n-th message of a topic.
func place(topic uint32, n int) store.Place {
	return store.Place{Lane: store.Lane{Topic: topic, Priority: uint8(1 + n%9)}, Pos: uint64(n)}
}

func publish(l *Log, topic uint32, n int, id string) {
	r, _ := l.Begin(time.Now())
	r.Published(topicName(fmt.Sprintf("/topic/%d", topic)), &store.Record{Place: place(topic, n), ID: id, Created: time.Now(), Producer: "crm", Payload: make([]byte, n%100)})
	r.End()
}

func acknowledge(l *Log, q uint32, topic uint32, n int) {
	r, _ := l.Begin(time.Now())
	p := place(topic, n)
	r.Finished(q, queueOf{q, fmt.Sprintf("client-%d", q), topic}, Acknowledged, p.Priority, p.Pos, 1, time.Now().Add(-time.Second))
	r.End()
}

func (d *documents) find(t *testing.T, l *Log, q Query) []Life {
	t.Helper()
	lives, err := l.Find(d.view, q)
	if err != nil {
		t.Fatal(err)
	}
	return lives
}

// TestLimits publishes and acknowledges more than is kept, and looks for each: exactly the newest are found, as many as
// the limit less the parts of two blocks, in a log that was never written, one that was, and one that a start has loaded.
func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit, published = 400, 1500
		d := &documents{m: map[string][]byte{}}
		limits := Limits{Keep: time.Hour, Messages: limit}
		l := New(limits)
		check := func(l *Log, when string) {
			t.Helper()
			first, found := 0, 0
			for n := 1; n <= published; n++ {
				lives := d.find(t, l, Query{ID: fmt.Sprint("id-", n)})
				switch {
				case len(lives) == 0 && first > 0:
					t.Fatalf("%s: message %d is not found, %d is", when, n, first)
				case len(lives) == 1:
					if found++; first == 0 {
						first = n
					}
					if x := lives[0]; !x.Published || x.Topic != "/topic/3" || x.Size != int64(n%100) || x.Producer != "crm" || len(x.Events) != 2 || x.Events[0].Label != "client-7" || x.Events[1].Label != "client-8" ||
						x.Events[0].At.Sub(x.Events[0].Delivered) != time.Second {
						t.Fatalf("%s: %+v", when, x)
					}
				}
			}
			if found > limit || found < limit-2*limit/perBlock {
				t.Fatalf("%s: %d of %d messages are found, of a limit of %d", when, found, published, limit)
			}
		}
		for n := 1; n <= published; n++ {
			publish(l, 3, n, fmt.Sprint("id-", n))
			acknowledge(l, 7, 3, n)
			acknowledge(l, 8, 3, n)
		}
		check(l, "in memory")
		d.write(t, l)
		check(l, "written")
		if n := len(d.m); n > perBlock+1 {
			t.Errorf("%d documents", n)
		}
		again := New(limits)
		if err := again.Load(d, time.Now()); err != nil {
			t.Fatal(err)
		}
		check(again, "loaded")

		time.Sleep(limits.Keep + time.Second)
		if lives := d.find(t, again, Query{ID: fmt.Sprint("id-", published)}); len(lives) != 0 {
			t.Errorf("past keep: %+v", lives)
		}
		again.Due(time.Now())
		if d.write(t, again); len(d.m) != 0 {
			t.Errorf("past keep, %d documents are left", len(d.m))
		}
	})
}

// TestWrittenIsBounded publishes much more than is kept between two writes: no more than that is ever written.
func TestWrittenIsBounded(t *testing.T) {
	l := New(Limits{Keep: time.Hour, Messages: 10_000})
	for n := range 100_000 {
		publish(l, 3, n+1, "")
	}
	written := 0
	for {
		w := l.Unwritten()
		for _, doc := range w.Documents {
			written += len(doc.Value)
		}
		if l.Written(&w); !w.More {
			break
		}
	}
	if most := 10_000 * ofMessage; written == 0 || written > most {
		t.Errorf("%d bytes were written: at most %d are kept", written, most)
	}
	if l.Due(time.Now()); !l.Due(time.Now()) {
		t.Error("not due, with nothing gathered")
	}
	for n := range 100_000 {
		publish(l, 3, n+1, "")
	}
	if l.Due(time.Now()) || !l.Due(time.Now().Add(2*hastyEvery)) {
		t.Error("much is written as often as little")
	}
}

// TestManyConsumers bounds what is kept in bytes where each message has many consumers.
func TestManyConsumers(t *testing.T) {
	d := &documents{m: map[string][]byte{}}
	l := New(Limits{Keep: time.Hour, Messages: 1000})
	for n := 1; n <= 1000; n++ {
		publish(l, 3, n, "")
		for q := range uint32(100) {
			acknowledge(l, q+1, 3, n)
		}
	}
	d.write(t, l)
	size := 0
	for _, v := range d.m {
		size += len(v)
	}
	if most := 1000*ofMessage + 2*blockSize; size > most {
		t.Errorf("%d bytes, at most %d", size, most)
	}
	if lives := d.find(t, l, Query{ID: "Kx", Place: place(3, 1000), Created: uint32(time.Now().Unix())}); len(lives) != 1 || len(lives[0].Events) != 100 {
		t.Errorf("%d lives", len(lives))
	}
}

// TestOff turns the history off, which forgets it, and on again.
func TestOff(t *testing.T) {
	d := &documents{m: map[string][]byte{}}
	l := New(Limits{Keep: time.Hour, Messages: 1000})
	publish(l, 1, 1, "a")
	d.write(t, l)
	l.Adjust(Limits{})
	if _, on := l.Begin(time.Now()); on {
		t.Error("it records")
	}
	if d.write(t, l); len(d.m) != 0 || len(d.find(t, l, Query{ID: "a"})) != 0 {
		t.Errorf("left: %d documents", len(d.m))
	}
	l.Adjust(Limits{Keep: time.Hour, Messages: 1000})
	publish(l, 1, 2, "b")
	if len(d.find(t, l, Query{ID: "a"})) != 0 || len(d.find(t, l, Query{ID: "b"})) != 1 {
		t.Error("on again")
	}
}

// TestOfAnotherVersion loads blocks that another program, or nobody, has written: they go, and nothing else does.
func TestOfAnotherVersion(t *testing.T) {
	d := &documents{m: map[string][]byte{}}
	l := New(Limits{Keep: time.Hour, Messages: 1000})
	publish(l, 1, 1, "a")
	d.write(t, l)
	d.m[keyOf(77)] = append([]byte{version + 1}, make([]byte, 100)...)
	d.m[keyOf(78)] = []byte{}
	l = New(Limits{Keep: time.Hour, Messages: 1000})
	if err := l.Load(d, time.Now()); err != nil {
		t.Fatal(err)
	}
	publish(l, 1, 2, "b")
	d.write(t, l)
	if len(d.m) != 2 || d.m[keyOf(79)] == nil || len(d.find(t, l, Query{ID: "a"})) != 1 || len(d.find(t, l, Query{ID: "b"})) != 1 {
		t.Errorf("%v", slices.Sorted(maps.Keys(d.m)))
	}
}

// TestEntries writes entries of all kinds, at times that also go back, and reads them again.
func TestEntries(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		want, w := someEntries(rnd, 1+rnd.IntN(60))
		var got []event
		if err := read(w.value(), func(e *event) { got = append(got, *e) }); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d:\ngot  %+v\nwant %+v", seed, got, want)
		}
	}
}

// someEntries writes n entries, and returns what is to be read of them.
func someEntries(rnd *rand.Rand, n int) (want []event, w *writer) {
	text := func(n int) string { return strings.Repeat("é", rnd.IntN(n)) }
	now := int64(1_700_000_000_000_000)
	w = newWriter(1, now)
	for range n {
		now += rnd.Int64N(2_000_000) - 100_000
		w.at(now)
		topic := 1 + rnd.Uint32N(3)
		name := topicName(fmt.Sprintf("/topic/%d", topic))
		q := queueOf{10 * topic, fmt.Sprint("client/", topic), topic}
		e := event{at: now, topic: string(name), place: store.Place{Lane: store.Lane{Topic: topic, Priority: 1 + uint8(rnd.IntN(9))}, Pos: rnd.Uint64N(1 << 50)}}
		switch e.entry = entryPublished + byte(rnd.IntN(5)); e.entry {
		case entryPublished:
			if rnd.IntN(3) == 0 {
				e.place.Pos, e.delay = 0, rnd.Uint32()
			} else {
				e.place.Pos++
			}
			e.id, e.correlation, e.producer, e.created, e.size = text(200), text(256), fmt.Sprint("p", rnd.IntN(4)), now-rnd.Int64N(1000), int64(rnd.IntN(1000))
			r := store.Record{Place: e.place, ID: e.id, Delay: e.delay, Producer: e.producer, Created: time.UnixMicro(e.created), Payload: make([]byte, e.size)}
			if e.correlation != "" {
				r.Extra = &store.Extra{CorrelationID: e.correlation}
			}
			w.publish(name, &r)
		case entryFinished:
			e.outcome, e.consumer, e.label, e.deliveries = Outcome(rnd.IntN(64)), q.consumer, q.label, rnd.Uint32()
			if rnd.IntN(2) == 0 {
				e.delivered = now - rnd.Int64N(1_000_000)
			}
			w.finish(100*topic, q, e.outcome, e.place.Priority, e.place.Pos, e.deliveries, e.delivered)
		case entryGone:
			e.outcome = Outcome(rnd.IntN(64))
			if rnd.IntN(3) == 0 {
				e.place.Pos, e.id = 0, text(200)
			} else {
				e.place.Pos++
			}
			w.gone(name, e.outcome, e.place, e.id)
		case entryPassed:
			e.outcome, e.consumer, e.label, e.to = Outcome(rnd.IntN(64)), q.consumer, q.label, rnd.Uint64()
			w.pass(100*topic, q, e.outcome, e.place.Priority, store.Span{From: e.place.Pos, To: e.to})
		case entryEnded:
			e.outcome, e.place = Outcome(rnd.IntN(64)), store.Place{Lane: store.Lane{Topic: topic}}
			w.end(topic, name, e.outcome)
		}
		want = append(want, e)
	}
	return want, w
}

// FuzzBlock reads blocks of any bytes, which may not panic; of a good one that ends early, what was before is right.
func FuzzBlock(f *testing.F) {
	for seed := range uint64(20) {
		_, w := someEntries(rand.New(rand.NewPCG(seed, 2)), 10)
		f.Add(w.value())
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		var all []event
		whole := read(b, func(e *event) { all = append(all, *e) })
		if len(b) < headSize {
			if whole == nil {
				t.Error("a block without a head is read")
			}
			return
		}
		if whole != nil {
			return
		}
		half := b[:headSize+(len(b)-headSize)/2]
		i := 0
		_ = read(half, func(e *event) {
			if i >= len(all) || !reflect.DeepEqual(*e, all[i]) {
				t.Errorf("event %d of a half: %+v", i, *e)
			}
			i++
		})
	})
}
