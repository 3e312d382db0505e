package monitor

import (
	"encoding/json"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestLiveComputes checks that frames are computed once for all viewers, and not for none.
func TestLiveComputes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t)
		defer w.close()
		m := w.m
		var frames atomic.Int64
		frame := func() []byte { return []byte{byte(frames.Add(1))} }
		pass(time.Hour)

		first, second := m.watch(frame), m.watch(frame)
		synctest.Wait()
		if frames.Load() != 1 || (<-first)[0] != 1 || (<-second)[0] != 1 {
			t.Error("frames:", frames.Load())
		}
		pass(LiveStep)
		if frames.Load() != 2 || (<-first)[0] != 2 {
			t.Error("frames:", frames.Load())
		}
		pass(10 * LiveStep)
		if (<-second)[0] != 12 {
			t.Error("who is slow does not get the newest frame")
		}
		late := m.watch(frame)
		if (<-late)[0] != 12 {
			t.Error("who comes late does not get the last frame at once")
		}
		for _, ch := range []chan []byte{first, second, late} {
			m.Unwatch(ch)
		}
		pass(time.Hour)
		if frames.Load() != 12 {
			t.Error("nobody watches, and frames are computed:", frames.Load())
		}

		again := m.watch(frame)
		synctest.Wait()
		if (<-again)[0] != 13 {
			t.Error("frames:", frames.Load())
		}
		for range maxViewers - 1 {
			if m.watch(frame) == nil {
				t.Fatal("too few viewers")
			}
		}
		if m.watch(frame) != nil {
			t.Error("too many viewers")
		}
	})
}

// TestFrames checks the rates: between two frames, and at first those of the last sample.
func TestFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t)
		defer w.close()
		w.publish(watchedTopic, 20)
		pass(sampleStep)
		events := w.m.liveFrames()
		frame := func() (f Frame) {
			t.Helper()
			if err := json.Unmarshal(events()[len("data: "):], &f); err != nil {
				t.Fatal(err)
			}
			return f
		}
		f := frame()
		if f.Rates.Published != 2 || f.Hour == nil || f.Hour.Published != 2 || f.Hour.Backlog != 20 || f.Hour.End != time.Now().Truncate(time.Minute).Unix()+60 || f.Day == nil || f.Day.Published != 2 {
			t.Errorf("%+v %+v", f, f.Hour)
		}
		w.publish(watchedTopic, 6)
		w.receive(4)
		pass(LiveStep)
		f = frame()
		if f.Hour.Published != tidy(26./12) {
			t.Errorf("the step under way has %v", f.Hour.Published)
		}
		if f.Rates != (Rates{3, 2, 2}) || f.Tiles["published"] != "3.0" || f.Tiles["oldest"] == "" {
			t.Errorf("%+v", f)
		}
		pass(5 * time.Minute)
		if f = frame(); f.Day == nil || f.Day.Backlog != 22 {
			t.Errorf("%+v", f.Day)
		}
	})
}
