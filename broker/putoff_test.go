package broker_test

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
)

// What waits for its delay counts for max_bytes from its publish on, through a delivery, a deletion and a release, a restart and a crash;
// and once only when it is due.
func TestMaxBytesCountsDelayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		def := topicDef("/t")
		def.Expiration, def.MaxBytes = broker.Off, 10<<10
		r.define(def, consumerDef("/t", "a"))
		time.Sleep(2 * time.Second)
		publish := func(delay int64) (string, broker.Code) {
			t.Helper()
			p, err := r.Publisher(r.crm, "/t")
			if err != nil {
				t.Fatal(err)
			}
			size := 1<<10 - 64
			if delay > 0 {
				size -= 28 // the broker gives it an ID that is stored
			}
			receipt, err := p.Publish(broker.Publication{Payload: bytes.Repeat([]byte("x"), size), Delay: delay})
			if err == nil {
				return receipt.ID, -1
			}
			return "", broker.CodeOf(err)
		}
		full := func(want bool) {
			t.Helper()
			id, code := publish(1000)
			if (code == broker.Full) != want || code >= 0 && code != broker.Full {
				t.Fatalf("a publish is answered with %v, full should be %t", code, want)
			}
			if !want {
				if n, err := r.DeleteMessages(ctx, "/t", []string{id}); err != nil || n != 1 {
					t.Fatal(n, err)
				}
			}
		}
		var ids []string
		for i := range 10 {
			id, code := publish(int64(60 + 60*(i%2))) // every second one later
			if code >= 0 {
				t.Fatalf("%d: %v", i, code)
			}
			ids = append(ids, id)
		}
		full(true)
		r.restart()
		time.Sleep(2 * time.Second)
		full(true)
		r.crash()()
		time.Sleep(2 * time.Second)
		full(true)
		if n, err := r.DeleteMessages(ctx, "/t", ids[1:2]); err != nil || n != 1 {
			t.Fatal(n, err)
		}
		full(false)
		if _, code := publish(0); code >= 0 {
			t.Fatal(code)
		}
		full(true)
		time.Sleep(time.Minute) // five of them are due
		full(true)
		if msgs := r.receive("/t", "a", broker.ReceiveOptions{Max: 100, Ack: true}); len(msgs) != 6 {
			t.Fatalf("%d messages", len(msgs))
		}
		for i := range 6 {
			if _, code := publish(1000); code >= 0 {
				t.Fatalf("%d: %v", i, code)
			}
		}
		full(true)
		def.MaxBytes = 0
		r.define(def)
		for range 5 {
			if _, code := publish(1000); code >= 0 {
				t.Fatal(code)
			}
		}
		r.restart()
		def.MaxBytes = 10 << 10
		r.define(def)
		time.Sleep(2 * time.Second)
		full(true)
		def.MaxBytes = 16 << 10
		r.define(def)
		full(false)
	})
}

// What waits is counted as it is, whatever comes and goes while the sweeper looks at it, which takes it several looks, and in whatever order.
func TestDelayedBytesAreExact(t *testing.T) {
	seeds := uint64(4)
	if testing.Short() {
		seeds = 1
	}
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1)) // #nosec G404 -- a test
			r := newRig(t, broker.Options{})
			def, other := topicDef("/t"), topicDef("/other")
			def.Expiration, def.MaxBytes, def.MaxDepth = broker.Off, 1<<30, 1_000_000
			other.MaxDepth = 1_000_000
			r.define(def, consumerDef("/t", "a"))
			r.define(other)
			waiting := map[string]int64{}
			publish := func(n int) {
				t.Helper()
				pubs, sizes := make([]broker.Publication, n), make([]int64, n)
				topic := []string{"/t", "/t", "/other"}[random.IntN(3)]
				for i := range pubs {
					pubs[i].Payload, pubs[i].Delay = make([]byte, random.IntN(50)), 1000+random.Int64N(1000)
					sizes[i] = 64 + 28 + int64(len(pubs[i].Payload))
				}
				p, err := r.Publisher(r.crm, topic)
				if err != nil {
					t.Fatal(err)
				}
				receipts, err := p.PublishBatch(pubs)
				if err != nil {
					t.Fatal(err)
				}
				for i, receipt := range receipts {
					if topic == "/t" {
						waiting[receipt.ID] = sizes[i]
					}
				}
			}
			for range 12 {
				publish(700)
			}
			for _, again := range []func(){r.restart, func() { r.crash()() }} {
				again()
				for range 60 {
					switch random.IntN(3) {
					case 0:
						publish(1 + random.IntN(20))
					default:
						var some []string
						for id := range waiting {
							if some = append(some, id); len(some) > random.IntN(8) {
								break
							}
						}
						n, err := r.DeleteMessages(ctx, "/t", some)
						if err != nil || n != len(some) {
							t.Fatal(n, err)
						}
						for _, id := range some {
							delete(waiting, id)
						}
					}
					time.Sleep(time.Duration(random.IntN(60)) * time.Millisecond)
				}
				time.Sleep(5 * time.Second)
				var want int64
				for _, n := range waiting {
					want += n
				}
				if got := r.topic("/t"); got.Bytes != want || int(got.Delayed) != len(waiting) {
					t.Errorf("seed %d: %d messages of %d bytes, want %d of %d", seed, got.Delayed, got.Bytes, len(waiting), want)
				}
			}
			time.Sleep(3000 * time.Second) // all are due
			if got := r.topic("/t"); got.Delayed != 0 || got.Depth == 0 {
				t.Errorf("seed %d: %+v", seed, got)
			} else {
				var want int64
				for _, n := range waiting {
					want += n
				}
				if got.Bytes != want {
					t.Errorf("seed %d: %d bytes when all are due, want %d", seed, got.Bytes, want)
				}
			}
		})
	}
}
