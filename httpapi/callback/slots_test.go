package callback

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
	"pipit/broker/property"
)

// Slots go in turn; who fails has half of them, whoever waits; nobody who leaves takes one along.
func TestSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s slots
		s.adjust(4)
		var mu sync.Mutex
		var got []string
		take := func(name string, failing bool) {
			go func() {
				if s.acquire(t.Context(), failing) {
					mu.Lock()
					got = append(got, name)
					mu.Unlock()
				}
			}()
			synctest.Wait()
		}
		want := func(names ...string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(got, names) {
				t.Errorf("got %q, want %q", got, names)
			}
		}
		for i := range 3 {
			take(fmt.Sprint("bad ", i), true)
		}
		take("a", false)
		take("b", false)
		take("c", false)
		take("d", false)
		want("bad 0", "bad 1", "a", "b")
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan bool)
		go func() { left <- s.acquire(ctx, false) }()
		synctest.Wait()
		cancel()
		if <-left {
			t.Error("who has left got a slot")
		}
		s.release(true)
		want("bad 0", "bad 1", "a", "b", "bad 2")
		s.release(false)
		want("bad 0", "bad 1", "a", "b", "bad 2", "c")
		s.adjust(6)
		want("bad 0", "bad 1", "a", "b", "bad 2", "c", "d")
		take("bad 3", true)
		want("bad 0", "bad 1", "a", "b", "bad 2", "c", "d", "bad 3")
		s.adjust(1)
		for _, failing := range []bool{true, true, true, false, false, false} {
			s.release(failing)
		}
		take("e", false)
		want("bad 0", "bad 1", "a", "b", "bad 2", "c", "d", "bad 3", "e")
		if s.used != 1 || s.failing != 0 {
			t.Errorf("%d used, %d failing", s.used, s.failing)
		}
	})
}

// Receivers that hang until their time limit, as many as there may be calls and more, delay one that answers by that limit
// once, while nobody knows it of them, and never again; one that is slow at many calls at a time does not at all.
func TestSlowBesideFast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 8
		r := newRig(t, func(c *broker.Consumer) { c.CallbackURL = "http://receiver.example.com/fast" })
		o := *r.s.options.Load()
		o.MaxConcurrency = most
		if err := r.s.Adjust(o); err != nil {
			t.Fatal(err)
		}
		r.r.answer = func(_ int, req *http.Request, _ string) (*http.Response, error) {
			if !strings.HasSuffix(req.URL.Path, "fast") {
				<-req.Context().Done()
				return nil, req.Context().Err()
			}
			return answered(200), nil
		}
		last := func() (at time.Time) {
			for _, c := range r.r.all() {
				if c.head.Get("X-Zato-Topic") == "" { // not the raw ones
					at = c.at
				}
			}
			return at
		}
		var d broker.Definition
		for i := range 3 * most {
			topic := broker.Topic{Name: fmt.Sprint("/slow/", i), Expiration: property.Off}
			d.Topics = append(d.Topics, topic)
			d.Consumers = append(d.Consumers, broker.Consumer{Client: "erp", Topic: topic.Name, DeliveryMode: broker.DeliveryCallback,
				CallbackURL: "http://receiver.example.com/slow", CallbackFormat: broker.FormatRaw, CallbackRetry: property.DurationsOf(time.Second)})
		}
		many := broker.Topic{Name: "/many", Expiration: property.Off}
		d.Topics = append(d.Topics, many)
		d.Consumers = append(d.Consumers, broker.Consumer{Client: "erp", Topic: many.Name, DeliveryMode: broker.DeliveryCallback, CallbackConcurrency: most,
			CallbackURL: "http://receiver.example.com/slow", CallbackFormat: broker.FormatRaw, CallbackTimeout: 10 * time.Minute})
		if _, err := r.b.Change(t.Context(), broker.Change{Define: d}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for range 100 {
			if _, err := r.b.Publish(t.Context(), "/many", []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if n := len(r.r.all()); n != most/4 {
			t.Errorf("one consumer has %d of %d calls", n, most)
		}
		r.publish("a")
		synctest.Wait()
		if at := last(); !at.Equal(time.Now()) {
			t.Errorf("a message beside a slow receiver left at %s", at)
		}
		for i := range 3 * most {
			if _, err := r.b.Publish(t.Context(), fmt.Sprint("/slow/", i), []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(5 * time.Minute) // all of them have failed
		for range 20 {
			r.publish("b")
			synctest.Wait()
			if at := last(); !at.Equal(time.Now()) {
				t.Fatalf("a message beside receivers that hang left after %s", time.Since(at))
			}
			time.Sleep(time.Second)
		}
	})
}
