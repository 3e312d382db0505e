package metrics_test

import (
	"context"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
	"pipit/broker/change"
	"pipit/broker/store"
	"pipit/db"
	"pipit/metrics"
)

// slow is a store of which one read takes until it is let go.
type slow struct {
	store.Store
	next           atomic.Bool // the next read is that one
	reading, letGo chan struct{}
}

func (s *slow) View(fn func(store.Reader) error) error {
	if s.next.CompareAndSwap(true, false) {
		close(s.reading)
		<-s.letGo
	}
	return s.Store.View(fn)
}

// Whatever a scrape waits for, nobody waits for the scrape: neither who publishes and receives, nor who makes and deletes topics.
func TestScrapeHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // where the sweeper does not take the read that is slow: its time does not come
		file, err := db.Open(filepath.Join(t.TempDir(), "pipit.db"), db.Options{Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		s := &slow{Store: file, reading: make(chan struct{}), letGo: make(chan struct{})}
		b, err := broker.Open(s, broker.Options{Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		r := &rig{TB: t, Broker: b, Metrics: metrics.New(metrics.Options{PerObjectLimit: 10})}
		r.Read(metrics.Sources{Broker: b})
		c := consumer("/a", "erp", "k")
		c.Name = "1"
		r.define(broker.Definition{Clients: []broker.Client{{Username: "erp", Password: "erp"}}, Topics: []broker.Topic{{Name: "/a"}}, Consumers: []broker.Consumer{c}})
		if _, err := b.Publish(t.Context(), "/a", []byte("x")); err != nil {
			t.Fatal(err)
		}
		s.next.Store(true)
		scraped := make(chan int)
		go func() {
			w := httptest.NewRecorder()
			r.Metrics.ServeHTTP(w, httptest.NewRequest("GET", metrics.Path, nil))
			scraped <- w.Code
		}()
		<-s.reading
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := b.Publish(ctx, "/a", []byte("y")); err != nil {
			t.Error(err)
		}
		r.define(broker.Definition{Topics: []broker.Topic{{Name: "/b"}}})
		if _, err := b.Change(ctx, broker.Change{Delete: []change.Ref{{Kind: change.Topic, Name: "/b"}}}); err != nil {
			t.Error(err)
		}
		q, err := b.Queue("erp", "/a", "1")
		if err != nil {
			t.Fatal(err)
		}
		if msgs, err := q.Receive(ctx, broker.ReceiveOptions{Ack: true}); err != nil || len(msgs) != 2 {
			t.Error(len(msgs), err)
		}
		select {
		case code := <-scraped:
			t.Error("the scrape did not wait: ", code)
		default:
		}
		close(s.letGo)
		if code := <-scraped; code != 200 {
			t.Error(code)
		}
	})
}

// What is told as it happens costs no memory: an exemplar does, at most once a second for each series.
func TestToldWithoutAllocations(t *testing.T) {
	m := metrics.New(metrics.Options{})
	tell := func() {
		m.Answered("/zato/pubsub/topic/*rest", "POST", 200, time.Millisecond, "K3MfiJIIXPLBIBFBZT8x5IvpNcXd")
		m.Committed(1, time.Millisecond)
		m.Flushed(time.Millisecond)
	}
	tell()
	if n := testing.AllocsPerRun(10_000, tell); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
