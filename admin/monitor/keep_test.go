package monitor

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker/limit"
	"pipit/broker/stats"
)

// TestSeriesSurvive checks that a start knows what the process before has measured, up to a regular stop, and when it was started.
func TestSeriesSurvive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t)
		start := time.Now()
		w.publish(watchedTopic, 30)
		pass(12 * time.Minute)
		w.publish(watchedTopic, 60)
		w.receive(12)
		pass(20 * time.Second)
		w.close() // within the minute
		pass(5 * time.Second)
		w.open()
		again := time.Now()
		w.receive(6)
		pass(35 * time.Second) // the minute is full
		w.publish(watchedTopic, 6)
		pass(2 * time.Minute)
		w.close()
		pass(45 * time.Minute)
		w.open()
		defer w.close()
		last := time.Now()
		for _, of := range []Of{{}, {Topic: watchedTopic}, {Consumer: w.consumer.ID}} {
			published := map[int]float64{0: .5, 12: 1, 13: .1}
			h := w.m.History(RangeHour, of)
			if !h.Start.Equal(last.Add(-time.Hour)) && !h.Start.Equal(start) {
				t.Errorf("%+v: from %v", of, h.Start)
			}
			skip := int(h.Start.Sub(start) / time.Minute)
			for i, v := range h.Published {
				if v != published[i+skip] {
					t.Errorf("%+v: %v published in minute %d", of, v, i+skip)
				}
				if acked := map[int]float64{12: .3}[i+skip]; h.Acked[i] != acked || h.Delivered[i] != acked {
					t.Errorf("%+v: %v acknowledged in minute %d", of, h.Acked[i], i+skip)
				}
			}
			if n := len(h.Backlog); h.Backlog[n-1] != 78 || h.Backlog[n-3] != 78 || h.Backlog[13-skip-1] != 72 {
				t.Errorf("%+v: %v wait", of, h.Backlog)
			}
			if len(h.Starts) != 3 && !h.Start.After(start) || !h.Starts[len(h.Starts)-1].Equal(last) || !h.Starts[len(h.Starts)-2].Equal(again) {
				t.Errorf("%+v: starts are %v", of, h.Starts)
			}
			h = w.m.History(RangeDay, of)
			if h.Published[0] != tidy(30./600) || h.Published[1] != tidy(66./600) || h.Acked[1] != tidy(18./600) {
				t.Errorf("%+v: %v, %v", of, h.Published, h.Acked)
			}
		}
		if f := w.m.Frame(); f.Tiles["published-more"] != "96 since 2000-01-01" || f.Tiles["acked-more"] != "18 since 2000-01-01" || f.Totals.Published != 0 {
			t.Errorf("%v", f.Tiles)
		}
	})
}

// TestKeptIsBounded checks that nothing is stored where nothing happens, and that a step of the most series fits into a document.
func TestKeptIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t)
		defer w.close()
		stored := func() int {
			docs, err := w.b.Documents(keptKind, "", false, 1000)
			if err != nil {
				t.Fatal(err)
			}
			return len(docs)
		}
		pass(time.Hour)
		if n := stored(); n != 0 {
			t.Errorf("%d documents of nothing", n)
		}
		for range 3 * 24 {
			w.publish(watchedTopic, 1)
			w.receive(1)
			pass(time.Hour)
		}
		w.m.mu.Lock()
		for i := range 2 * maxSeries {
			w.m.topics.make(fmt.Sprint("/", i), time.Now())
			w.m.consumers.make(uint32(1000+i), time.Now())
		}
		for _, s := range w.m.topics.of {
			s.put(time.Now(), point{1 << 23, 1 << 23, 1 << 23, 1 << 23, 1 << 23})
		}
		for _, s := range w.m.consumers.of {
			s.put(time.Now(), point{1 << 23, 1 << 23, 1 << 23, 1 << 23, 1 << 23})
		}
		docs := w.m.keep(time.Now())
		w.m.mu.Unlock()
		if err := w.b.PutDocuments(t.Context(), docs...); err != nil {
			t.Error(err)
		}
		if n := stored(); n > hourSlots+daySlots+1 {
			t.Errorf("%d documents", n)
		}
	})
}

func TestStepCodec(t *testing.T) {
	k := keptStep{number: 29_000_000, since: time.Unix(1_700_000_000, 0), counted: stats.Counters{Published: 1 << 40, Acked: 7},
		entries: []keptEntry{{entryAll, 0, point{1, 2, 3, 4, 5}}, {entryTopic, 1 << 63, point{backlog: 1 << 24}}, {entryConsumer, 3, point{acked: 300}}}}
	b := k.encode()
	if got, ok := decodeStep(b); !ok || !reflect.DeepEqual(got, k) {
		t.Errorf("%+v", got)
	}
	for i := range len(b) {
		if got, ok := decodeStep(b[:i]); ok && (i == 0 || !slices.Equal(got.entries, k.entries[:len(got.entries)])) {
			t.Errorf("%d bytes are %+v", i, got)
		}
	}
	if _, ok := decodeStep(bytes.Repeat([]byte{0xff}, 100)); ok {
		t.Error("damage is a step")
	}
}

// FuzzStep checks that what is read of a step is written as it was.
func FuzzStep(f *testing.F) {
	k := keptStep{number: 1, since: time.Unix(2, 0), counted: stats.Counters{Published: 3}, entries: []keptEntry{{entryTopic, 4, point{published: 5, backlog: 6}}}}
	f.Add(k.encode())
	f.Add([]byte{keptFormat})
	f.Fuzz(func(t *testing.T, b []byte) {
		k, ok := decodeStep(b)
		if !ok || k.number < 0 || k.since.Unix() < 0 || k.since.Unix() > 1<<40 {
			return
		}
		for _, e := range k.entries {
			if e.published > 1<<24 || e.delivered > 1<<24 || e.acked > 1<<24 || e.expired > 1<<24 || e.backlog > 1<<24 { // beyond it a float32 is no count
				return
			}
		}
		if len(b) > limit.MaxDocumentValue {
			return
		}
		again, ok := decodeStep(k.encode())
		if !ok || !reflect.DeepEqual(again, k) {
			t.Errorf("%+v, and then %+v", k, again)
		}
	})
}
