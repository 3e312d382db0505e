package broker_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
	"pipit/broker/browse"
	"pipit/broker/change"
	"pipit/broker/limit"
	"pipit/broker/property"
	"pipit/broker/store"
)

func ids(msgs ...broker.Message) (list []string) {
	for _, m := range msgs {
		list = append(list, m.ID)
	}
	return list
}

func (r *rig) remove(topic string, want int, ids ...string) {
	r.t.Helper()
	if n, err := r.DeleteMessages(ctx, topic, ids); err != nil || n != want {
		r.t.Errorf("deleted %d, want %d: %v", n, want, err)
	}
}

// note is a document to be put with a change, and to be found after it.
func note(name string) broker.Document {
	return broker.Document{Kind: "audit", Key: name, Value: []byte(name)}
}

func (r *rig) wantNote(name string, there bool) {
	r.t.Helper()
	if v, err := r.Document("audit", name); err != nil || (string(v) == name) != there {
		r.t.Errorf("document %s: %q %v, want it there: %t", name, v, err, there)
	}
}

func TestDeleteMessages(t *testing.T) {
	for name, between := range map[string]func(*rig){"at once": func(*rig) {}, "restart": (*rig).restart, "crash": func(r *rig) { r.crash()() }} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, broker.Options{})
				topic := topicDef("/t")
				topic.Expiration, topic.MaxDepth = property.Off, 20
				r.define(topic, consumerDef("/t", "a"), consumerDef("/t", "b"))
				var all []string
				for i := range 10 {
					all = append(all, r.publish("/t", broker.Publication{Payload: fmt.Append(nil, i), ID: []string{"", "own"}[i/9]}))
				}
				late := r.publish("/t", broker.Publication{Payload: []byte("late"), Delay: 20, ID: "late"})
				lost := r.publish("/t", broker.Publication{Payload: []byte("lost"), Delay: 20, Priority: 9})
				got := r.receive("/t", "a", broker.ReceiveOptions{Max: 6})
				if _, err := r.sub("/t", "a").Settle(broker.Settlement{Ack: ids(got[0]), Reject: ids(got[2]), Delay: 5}); err != nil {
					t.Fatal(err)
				}
				if _, err := r.sub("/t", "a").Settle(broker.Settlement{Reject: ids(got[3])}); err != nil {
					t.Fatal(err)
				}

				r.remove("/t", 0, "nope", "a b", "", late+"x")
				r.remove("/t", 6, all[1], all[2], all[3], all[1], "own", lost, "nope", all[8])
				r.remove("/t", 0, all[1], "own", lost)
				between(r)
				r.remove("/t", 0, all[1], "own", lost)
				if done, err := r.sub("/t", "a").Settle(broker.Settlement{Ack: []string{all[1], all[2], all[3]}}); err != nil || len(done.NotFound) != 3 {
					t.Errorf("ack of deleted messages: %+v %v", done, err)
				}
				if m := payloads(r.receive("/t", "b", broker.ReceiveOptions{})); m != "0 4 5 6 7 " {
					t.Errorf("b got %q", m)
				}
				time.Sleep(25 * time.Second)
				if m := payloads(r.receive("/t", "b", broker.ReceiveOptions{})); m != "late " {
					t.Errorf("b got %q later", m)
				}
				r.fits(t, 20-6) // b needs all that is left: 0, 4, 5, 6, 7 and late
				time.Sleep(31 * time.Second)
				if m := payloads(r.receive("/t", "a", broker.ReceiveOptions{Max: 6})); m != "4 5 6 7 late  " {
					t.Errorf("a got %q", m)
				}
				m := r.publishAgain("own")
				if !m.Duplicate {
					t.Error("a deleted message's own ID was forgotten")
				}
				if m = r.publishAgain("late"); !m.Duplicate {
					t.Error("a delivered message's own ID was forgotten")
				}
			})
		})
	}
}

// TestDeleteBlocked deletes a message that is in flight and one of the same ID that waits for it: neither is counted, and
// the next one of the ID is delivered.
func TestDeleteBlocked(t *testing.T) {
	r := newRig(t, broker.Options{})
	topic := topicDef("/t")
	topic.DedupWindow = property.Off
	r.define(topic, consumerDef("/t", "a"))
	publish := func(payload string) {
		r.publish("/t", broker.Publication{Payload: []byte(payload), ID: "own"})
	}
	publish("1")
	got := r.receive("/t", "a", broker.ReceiveOptions{})
	publish("2")
	if m := r.receive("/t", "a", broker.ReceiveOptions{}); len(m) > 0 {
		t.Errorf("beside one of its ID: %q", payloads(m))
	}
	r.remove("/t", 2, "own")
	if q := r.queue("a"); q.Backlog != 0 || q.InFlight != 0 {
		t.Errorf("%+v", q)
	}
	publish("3")
	if done, err := r.sub("/t", "a").Settle(broker.Settlement{Ack: ids(got...)}); err != nil {
		t.Errorf("%+v %v", done, err)
	}
	if m := r.receive("/t", "a", broker.ReceiveOptions{}); payloads(m) != "3 " {
		t.Errorf("got %q", payloads(m))
	}
	if q := r.queue("a"); q.Backlog != 1 || q.InFlight != 1 {
		t.Errorf("%+v", q)
	}
}

func (r *rig) publishAgain(id string) broker.Receipt {
	r.t.Helper()
	p, err := r.Publisher(r.crm, "/t")
	if err != nil {
		r.t.Fatal(err)
	}
	rc, err := p.Publish(broker.Publication{ID: id, Payload: []byte("again")})
	if err != nil {
		r.t.Fatal(err)
	}
	return rc
}

// TestDeleteKeepsID: an own ID is remembered as long as if its message had been acknowledged.
func TestDeleteKeepsID(t *testing.T) {
	for _, delay := range []int64{0, 1000} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, broker.Options{})
			r.define(topicDef("/t"), consumerDef("/t", "a"))
			r.publish("/t", broker.Publication{ID: "own", Delay: delay})
			r.remove("/t", 1, "own")
			for range 2 {
				if rc := r.publishAgain("own"); !rc.Duplicate {
					t.Error("forgotten")
				}
				_, _, err := r.Message("/t", "own")
				wantCode(t, err, broker.NotFound)
				r.restart()
			}
			time.Sleep(topicDef("").DedupWindow + 2*time.Second)
			if rc := r.publishAgain("own"); rc.Duplicate {
				t.Error("remembered for too long")
			}
			if m := payloads(r.receive("/t", "a", broker.ReceiveOptions{})); m != "again " {
				t.Errorf("got %q", m)
			}
			r.remove("/t", 1, "own")
		})
	}
}

// TestDeleteAllWithID: an ID names all messages that have it.
func TestDeleteAllWithID(t *testing.T) {
	r := newRig(t, broker.Options{})
	topic := topicDef("/t")
	topic.DedupWindow = property.Off
	r.define(topic, consumerDef("/t", "a"))
	for i := range 6 {
		r.publish("/t", broker.Publication{ID: "own", Payload: fmt.Append(nil, i), Priority: 1 + i%2, Delay: int64(i / 2 * 1000)})
	}
	r.publish("/t", text("other"))
	r.remove("/t", 6, "own", "own")
	r.wantBrowse(browse.Options{Topic: "/t"}, "other ")
	r.wantBrowse(browse.Options{Topic: "/t", State: browse.Delayed}, "")
	r.restart()
	r.wantBrowse(browse.Options{Topic: "/t", State: browse.Delayed}, "")
}

// TestDeleteFrees: what is deleted leaves the disk at once, also from a topic without consumers.
func TestDeleteFrees(t *testing.T) {
	for _, consumers := range [][]broker.Consumer{nil, {consumerDef("/t", "a"), consumerDef("/t", "b")}} {
		r := newRig(t, broker.Options{})
		r.define(topicDef("/t"), consumers...)
		p, err := r.Publisher(r.crm, "/t")
		if err != nil {
			t.Fatal(err)
		}
		pubs := make([]broker.Publication, 5000)
		for i := range pubs {
			pubs[i].Payload = make([]byte, 1000)
		}
		receipts, err := p.PublishBatch(pubs)
		if err != nil {
			t.Fatal(err)
		}
		var odd []string
		for i := range receipts {
			if i%10 > 0 { // leaves holes
				odd = append(odd, receipts[i].ID)
			}
		}
		r.close() // brings what the log has into the file
		r.open()
		before := r.StoreStats()
		r.remove("/t", 4500, odd...)
		r.publish("/t", text("x"))
		r.close()
		r.open()
		after := r.StoreStats()
		if freed := after.Free - before.Free; freed < 4_000_000 || after.Size > before.Size+1<<20 {
			t.Errorf("%d bytes freed: %+v, then %+v", freed, before, after)
		}
		if got := len(r.browse(browse.Options{Topic: "/t"})); got != 501 {
			t.Errorf("%d are left", got)
		}
		r.restart()
		if got := len(r.browse(browse.Options{Topic: "/t"})); got != 501 {
			t.Errorf("%d are left after a restart", got)
		}
		for _, c := range consumers {
			if got := len(r.receive("/t", c.SubKey, broker.ReceiveOptions{Max: 1000})); got != 501 {
				t.Errorf("%s got %d", c.SubKey, got)
			}
		}
	}
}

// TestDeleteMany deletes so much that all must be done at once, of consumers that know of it.
func TestDeleteMany(t *testing.T) {
	r := newRig(t, broker.Options{})
	topic := topicDef("/t")
	topic.Expiration = property.Off
	r.define(topic, consumerDef("/t", "a"), consumerDef("/t", "b"))
	r.fill("/t", 3000, 9, 5, 1)
	var all, some []string
	for _, m := range r.browse(browse.Options{Topic: "/t"}) {
		all = append(all, m.ID)
	}
	rnd := newRand(t, 1)
	rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	m := r.receive("/t", "a", broker.ReceiveOptions{Max: 1000})
	if _, err := r.sub("/t", "a").Settle(broker.Settlement{Reject: ids(m[:300]...)}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.sub("/t", "a").Settle(broker.Settlement{Reject: ids(m[300:600]...), Delay: 1000}); err != nil {
		t.Fatal(err)
	}
	some, all = all[:2000], all[2000:]
	r.remove("/t", 2000, some...)
	left := map[string]bool{}
	for _, id := range all {
		left[id] = true
	}
	flying, deferred, waiting := 0, 0, 0
	for i := range m {
		switch {
		case !left[m[i].ID]:
		case i < 300:
			waiting++
		case i < 600:
			deferred++
		default:
			flying++
		}
	}
	if c, ok := r.Consumer(r.id("a")); !ok || c.Backlog != 1000 || c.InFlight != int64(flying) || c.Deferred != int64(deferred) {
		t.Errorf("%+v, want %d in flight, %d deferred", c, flying, deferred)
	}
	for i, key := range []string{"a", "b"} {
		var got []string
		for range 2 {
			got = append(got, ids(r.receive("/t", key, broker.ReceiveOptions{Max: 1000})...)...)
		}
		if want := 1000 - []int{flying + deferred, 0}[i]; len(got) != want {
			t.Errorf("%s got %d, want %d", key, len(got), want)
		}
		for _, id := range got {
			if !left[id] {
				t.Fatalf("%s got %s, which was deleted", key, id)
			}
		}
	}
	if waiting+flying+deferred == 0 {
		t.Error("nothing that a had seen is left")
	}
}

func TestClearBacklog(t *testing.T) {
	for name, between := range map[string]func(*rig){"at once": func(*rig) {}, "restart": (*rig).restart, "crash": func(r *rig) { r.crash()() }} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, broker.Options{})
				topic := topicDef("/t")
				topic.Expiration, topic.MaxDepth = property.Off, 50
				r.define(topic, consumerDef("/t", "a"), consumerDef("/t", "b"))
				a := r.id("a")
				r.fill("/t", 20, 9, 5)
				r.publish("/t", broker.Publication{Payload: []byte("late"), Delay: 10})
				m := r.receive("/t", "a", broker.ReceiveOptions{Max: 15})
				if _, err := r.sub("/t", "a").Settle(broker.Settlement{Ack: ids(m[1], m[11]), Reject: ids(m[2]), Delay: 5}); err != nil {
					t.Fatal(err)
				}
				if n, err := r.ClearBacklog(ctx, a, note("clear")); err != nil || n != 18 {
					t.Errorf("cleared %d, want 18: %v", n, err)
				}
				if n, err := r.ClearBacklog(ctx, a); err != nil || n != 0 {
					t.Errorf("cleared %d, want 0: %v", n, err)
				}
				r.wantNote("clear", true)
				if done, err := r.sub("/t", "a").Settle(broker.Settlement{Ack: ids(m[0], m[2], m[14]), Reject: ids(m[3])}); err != nil || len(done.NotFound) != 4 {
					t.Errorf("ack of cleared messages: %+v %v", done, err)
				}
				r.fill("/t", 1)
				between(r)
				if c, ok := r.Consumer(r.id("a")); !ok || c.Backlog != 1 || c.InFlight != 0 || c.Deferred != 0 {
					t.Errorf("%+v", c)
				}
				if got := payloads(r.receive("/t", "a", broker.ReceiveOptions{})); got != "0 " {
					t.Errorf("a got %q", got)
				}
				time.Sleep(35 * time.Second)
				if got := payloads(r.receive("/t", "a", broker.ReceiveOptions{})); got != "0 late " {
					t.Errorf("a got %q later", got)
				}
				if got := r.receive("/t", "b", broker.ReceiveOptions{}); len(got) != 22 {
					t.Errorf("b got %d", len(got))
				}
				if n, err := r.ClearBacklog(ctx, r.id("b")); err != nil || n != 22 {
					t.Errorf("cleared %d, want 22: %v", n, err)
				}
				time.Sleep(2 * time.Second)
				if d, ok := r.Topic("/t"); !ok || d.Depth != 2 {
					t.Errorf("%+v", d)
				}
				r.fits(t, 48)
			})
		})
	}
}

// TestClearLarge: a large backlog is cleared by moving a cursor; its messages leave the disk in
// commits that are bounded, while others publish.
func TestClearLarge(t *testing.T) {
	n := 150_000
	if testing.Short() {
		n = 50_000
	}
	r, s := newFaultyRig(t)
	topic := topicDef("/t")
	topic.Expiration = property.Off
	c := consumerDef("/t", "a")
	c.MaxInFlight = n
	r.define(topic, c)
	r.fill("/t", n, 9, 8, 7, 6, 5, 4, 3, 2, 1)
	flying := 0
	for i := range n / 5000 {
		m := r.receive("/t", "a", broker.ReceiveOptions{Max: 1000})
		for j := range m {
			if i+j*3 < 1000 {
				m[j], m[i+j*3] = m[i+j*3], m[j]
			}
		}
		r.ack(t, "a", m[:500]...)
		flying += 500
	}
	var most atomic.Int64
	s.fail(func(b *store.Batch) error {
		removed := uint64(0)
		for _, r := range b.Remove {
			removed += r.Range.To - r.Range.From + 1
		}
		most.Store(max(most.Load(), int64(removed)))
		return nil
	})
	if got, err := r.ClearBacklog(ctx, r.id("a")); err != nil || got != int64(n-flying) {
		t.Fatalf("cleared %d, want %d: %v", got, n-flying, err)
	}
	if page, err := r.Browse(ctx, browse.Options{Topic: "/t"}); err != nil || len(page.Messages) != 0 || page.Next != "" {
		t.Errorf("%d messages, next %q, %v", len(page.Messages), page.Next, err)
	}
	published := 0
	deadline := time.Now().Add(time.Minute)
	for {
		r.publish("/t", text("x"))
		published++
		d, _ := r.Topic("/t")
		if d.Depth == int64(published) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d messages are still there", d.Depth)
		}
	}
	if most.Load() > 20_000 {
		t.Errorf("one commit removed %d messages", most.Load())
	}
	t.Logf("%d publishes meanwhile; a commit removed at most %d", published, most.Load())
	got := 0
	for {
		m := r.receive("/t", "a", broker.ReceiveOptions{Max: 1000, Ack: true})
		if got += len(m); len(m) == 0 {
			break
		}
	}
	if got != published {
		t.Errorf("got %d, want %d", got, published)
	}
}

func TestClearInFlight(t *testing.T) {
	for name, between := range map[string]func(*rig){"at once": func(*rig) {}, "restart": (*rig).restart} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, broker.Options{})
				r.define(topicDef("/t"), consumerDef("/t", "a"), consumerDef("/t", "b"))
				a := r.id("a")
				r.fill("/t", 8, 5, 9)
				m := r.receive("/t", "a", broker.ReceiveOptions{Max: 2})
				time.Sleep(20 * time.Second)
				r.receive("/t", "b", broker.ReceiveOptions{})
				if _, err := r.sub("/t", "a").Settle(broker.Settlement{Reject: ids(r.receive("/t", "a", broker.ReceiveOptions{Max: 1})...), Delay: 10}); err != nil {
					t.Fatal(err)
				}
				r.receive("/t", "a", broker.ReceiveOptions{Max: 2})
				time.Sleep(11 * time.Second) // the first two and the rejected one come back
				if n, err := r.ClearInFlight(ctx, a, note("clear")); err != nil || n != 2 {
					t.Errorf("cleared %d, want 2: %v", n, err)
				}
				if n, err := r.ClearInFlight(ctx, a); err != nil || n != 0 {
					t.Errorf("cleared %d, want 0: %v", n, err)
				}
				r.wantNote("clear", true)
				if done, err := r.sub("/t", "a").Settle(broker.Settlement{Ack: ids(m...)}); err != nil || done.Acked != 2 {
					t.Errorf("ack of what had timed out: %+v %v", done, err)
				}
				between(r)
				if got := payloads(r.receive("/t", "a", broker.ReceiveOptions{})); got != "5 2 4 6 " {
					t.Errorf("a got %q", got)
				}
				if c, ok := r.Consumer(r.id("b")); !ok || c.Backlog != 8 {
					t.Errorf("b: %+v", c)
				}
			})
		})
	}
}

func TestReleaseInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		r.define(topicDef("/t"), consumerDef("/t", "a"), consumerDef("/t", "b"))
		a := r.id("a")
		r.fill("/t", 6)
		m := r.receive("/t", "a", broker.ReceiveOptions{})
		r.receive("/t", "b", broker.ReceiveOptions{})
		if _, err := r.sub("/t", "a").Settle(broker.Settlement{Ack: ids(m[0]), Reject: ids(m[2]), Delay: 20}); err != nil {
			t.Fatal(err)
		}
		if _, err := r.sub("/t", "a").Settle(broker.Settlement{Reject: ids(m[4])}); err != nil {
			t.Fatal(err)
		}
		r.receive("/t", "a", broker.ReceiveOptions{}) // 4 again
		var polls sync.WaitGroup
		start := time.Now()
		got := make([]string, 3)
		for i := range got {
			polls.Go(func() {
				m, err := r.sub("/t", "a").Receive(ctx, broker.ReceiveOptions{Max: 2, Wait: 10 * time.Second})
				if err != nil {
					t.Error(err)
				}
				got[i] = payloads(m)
			})
		}
		synctest.Wait()
		if n, err := r.ReleaseInFlight(ctx, a, note("release")); err != nil || n != 5 {
			t.Errorf("released %d, want 5: %v", n, err)
		}
		polls.Wait()
		slices.Sort(got)
		if fmt.Sprint(got) != "[1 2  3 4  5 ]" || time.Since(start) > time.Second {
			t.Errorf("%q after %s", got, time.Since(start))
		}
		r.wantNote("release", true)
		r.wantBrowse(browse.Options{Consumer: a}, "1:in_flight*2 2:in_flight*2 3:in_flight*2 4:in_flight*3 5:in_flight*2 ")
		if n, err := r.ReleaseInFlight(ctx, a); err != nil || n != 5 {
			t.Errorf("released %d, want 5: %v", n, err)
		}
		if n, err := r.ReleaseInFlight(ctx, a); err != nil || n != 0 {
			t.Errorf("released %d, want 0: %v", n, err)
		}
		if done, err := r.sub("/t", "a").Settle(broker.Settlement{Ack: ids(m[1])}); err != nil || done.Acked != 1 {
			t.Errorf("ack of what was released: %+v %v", done, err)
		}
		if c, _ := r.Consumer(a); c.InFlight != 0 || c.Deferred != 0 || c.Backlog != 4 {
			t.Errorf("%+v", c)
		}
		if c, _ := r.Consumer(r.id("b")); c.InFlight != 6 {
			t.Errorf("%+v", c)
		}
	})
}

func TestReleaseMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		r.define(topicDef("/t"), consumerDef("/t", "a"), consumerDef("/t", "b"))
		r.define(topicDef("/u"), consumerDef("/u", "c"))
		a, b := r.id("a"), r.id("b")
		release := func(id string, consumer uint32, want bool) {
			t.Helper()
			if changed, err := r.ReleaseMessage(ctx, "/t", id, consumer); err != nil || changed != want {
				t.Errorf("released %s for %d: %t %v", id, consumer, changed, err)
			}
		}
		r.fill("/t", 2)
		late := r.publish("/t", broker.Publication{Payload: []byte("late"), Delay: 1000, Expiration: 20})
		r.publish("/t", broker.Publication{Payload: []byte("own"), Delay: 1000, ID: "own", Expiration: 1000, Priority: 9})
		m := r.receive("/t", "a", broker.ReceiveOptions{})
		r.receive("/t", "b", broker.ReceiveOptions{})
		if _, err := r.sub("/t", "b").Settle(broker.Settlement{Reject: ids(m[1]), Delay: 20}); err != nil {
			t.Fatal(err)
		}
		// In flight for a, deferred for b.
		release(m[1].ID, a, true)
		release(m[1].ID, a, false)
		if got := payloads(r.receive("/t", "a", broker.ReceiveOptions{})); got != "1 " {
			t.Errorf("a got %q", got)
		}
		r.wantBrowse(browse.Options{Consumer: b}, "0:in_flight*1 1:deferred*1 ")
		release(m[1].ID, 0, true)
		release(m[1].ID, 0, false)
		r.wantBrowse(browse.Options{Consumer: a}, "0:in_flight*1 1*2 ")
		r.wantBrowse(browse.Options{Consumer: b}, "0:in_flight*1 1*1 ")
		r.ack(t, "a", m[0])
		release(m[0].ID, a, false)

		// Delayed ones, by which a long poll is woken.
		time.Sleep(10 * time.Second)
		r.receive("/t", "a", broker.ReceiveOptions{Ack: true})
		time.AfterFunc(time.Second, func() { release(late, a, true) })
		start := time.Now()
		if got := payloads(r.receive("/t", "a", broker.ReceiveOptions{Wait: 20 * time.Second})); got != "late " || time.Since(start) > 1100*time.Millisecond {
			t.Errorf("a got %q after %s", got, time.Since(start))
		}
		release("own", 0, true)
		if rc := r.publishAgain("own"); !rc.Duplicate {
			t.Error("a released message's own ID was forgotten")
		}
		r.restart()
		a, b = r.id("a"), r.id("b")
		if got := payloads(r.receive("/t", "b", broker.ReceiveOptions{})); got != "own 0 1 late " {
			t.Errorf("b got %q", got)
		}
		if d, _ := r.Topic("/t"); d.Delayed != 0 || d.Depth != 4 {
			t.Errorf("%+v", d)
		}
		time.Sleep(19*time.Second - time.Millisecond) // the expiration counts from the release
		r.wantBrowse(browse.Options{Consumer: b, Text: "late"}, "late:in_flight*1 ")
		time.Sleep(2 * time.Second)
		r.wantBrowse(browse.Options{Consumer: b, Text: "late"}, "")
		time.Sleep(1000 * time.Second) // nothing comes at the old time
		r.wantBrowse(browse.Options{Topic: "/t"}, "")

		for _, c := range []struct {
			topic, id string
			consumer  uint32
		}{{"/x", "own", 0}, {"/t", "nope", 0}, {"/t", "own", 9999}, {"/t", "own", r.id("c")}, {"/t", m[0].ID, 0}} {
			_, err := r.ReleaseMessage(ctx, c.topic, c.id, c.consumer)
			wantCode(t, err, broker.NotFound)
		}
	})
}

// TestDelayedTaken: the sweeper does not deliver what an administrator deletes or releases at the
// same moment, and counts nothing twice.
func TestDelayedTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{}.Sweeping(time.Millisecond))
		topic := topicDef("/t")
		topic.MaxDepth, topic.Expiration = 1000, property.Off
		r.define(topic, consumerDef("/t", "a"))
		rnd := newRand(t, 1)
		var all []string
		for i := range 300 {
			all = append(all, r.publish("/t", broker.Publication{Payload: fmt.Append(nil, i), Delay: 1}))
		}
		rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		deleted := 0
		for i, id := range all {
			if i%2 == 0 {
				n, err := r.DeleteMessages(ctx, "/t", []string{id})
				if err != nil {
					t.Fatal(err)
				}
				deleted += n
			} else if _, err := r.ReleaseMessage(ctx, "/t", id, 0); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(rnd.IntN(7)) * time.Millisecond)
		}
		if deleted != 150 {
			t.Errorf("%d deleted", deleted)
		}
		got := r.receive("/t", "a", broker.ReceiveOptions{Max: 1000})
		if len(got) != 150 {
			t.Errorf("%d delivered", len(got))
		}
		for _, m := range got {
			if i := slices.Index(all, m.ID); i%2 == 0 {
				t.Errorf("%s was deleted and delivered", m.ID)
			}
		}
		r.fits(t, 850)
	})
}

func TestInterveneErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newFaultyRig(t)
		topic := topicDef("/t")
		topic.Expiration = property.Off
		r.define(topic, consumerDef("/t", "a"))
		a := r.id("a")
		r.fill("/t", 3)
		r.publish("/t", broker.Publication{ID: "late", Delay: 1000})
		m := r.receive("/t", "a", broker.ReceiveOptions{Max: 2})
		over, cancel := context.WithCancel(ctx)
		cancel()
		type call func(context.Context, string, string, uint32, ...broker.Document) error
		calls := map[string]call{
			"delete": func(ctx context.Context, topic, id string, _ uint32, docs ...broker.Document) error {
				_, err := r.DeleteMessages(ctx, topic, []string{id, m[0].ID}, docs...)
				return err
			},
			"release": func(ctx context.Context, topic, id string, c uint32, docs ...broker.Document) error {
				_, err := r.ReleaseMessage(ctx, topic, id, c, docs...)
				return err
			},
			"clear": func(ctx context.Context, _, _ string, c uint32, docs ...broker.Document) error {
				_, err := r.ClearBacklog(ctx, c, docs...)
				return err
			},
			"clear in flight": func(ctx context.Context, _, _ string, c uint32, docs ...broker.Document) error {
				_, err := r.ClearInFlight(ctx, c, docs...)
				return err
			},
			"release in flight": func(ctx context.Context, _, _ string, c uint32, docs ...broker.Document) error {
				_, err := r.ReleaseInFlight(ctx, c, docs...)
				return err
			},
		}
		for name, do := range calls {
			wantCode(t, do(ctx, "/t", "late", a, broker.Document{Kind: "audit"}), broker.Invalid)
			wantCode(t, do(over, "/t", "late", a), broker.Unavailable)
			wantCode(t, do(ctx, "/x", "late", 9999), broker.NotFound)
			s.fail(func(*store.Batch) error { return fmt.Errorf("write: %w", store.ErrNoSpace) })
			wantCode(t, do(ctx, "/t", "late", a, note(name)), broker.DiskFull)
			s.fail(nil)
			r.wantNote(name, false)
			r.wantBrowse(browse.Options{Consumer: a}, "0:in_flight*1 1:in_flight*1 2 ")
			r.wantBrowse(browse.Options{Topic: "/t", State: browse.Delayed}, ":delayed ")
			if c, _ := r.Consumer(a); c.InFlight != 2 || c.Backlog != 3 {
				t.Errorf("%s: %+v", name, c)
			}
		}
		for _, n := range []int{0, limit.MaxSettle + 1} {
			_, err := r.DeleteMessages(ctx, "/t", make([]string, n))
			wantCode(t, err, broker.Invalid)
		}
		// Neither does a consumer or a topic that was deleted meanwhile.
		if _, err := r.Change(ctx, broker.Change{Delete: []change.Ref{{Kind: change.Topic, Name: "/t"}}}); err != nil {
			t.Fatal(err)
		}
		for name, do := range calls {
			wantCode(t, do(ctx, "/t", "late", a, note(name)), broker.NotFound)
			r.wantNote(name, false)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		r.open()
	})
}

// queued runs operations so that they wait for one commit together, in this order. then is what
// goes wrong in the commits after it.
func (s *faultyStore) queued(r *rig, then func(*store.Batch) error, ops ...func()) {
	proceed := make(chan struct{})
	s.fail(func(*store.Batch) error { <-proceed; return nil })
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := r.PutDocuments(ctx, note("before")); err != nil {
			r.t.Error(err)
		}
	})
	synctest.Wait()
	for _, op := range ops {
		wg.Go(op)
		time.Sleep(10 * time.Millisecond) // the sweeper may be among them
	}
	synctest.Wait()
	s.fail(then)
	close(proceed)
	wg.Wait()
	s.fail(nil)
}

// TestInterveneFirst: what is settled, delayed or deleted at the same moment is dealt with once.
func TestInterveneFirst(t *testing.T) {
	run := func(name string, f func(*testing.T, *rig, *faultyStore)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, s := newFaultyRig(t)
				topic := topicDef("/t")
				topic.Expiration = property.Off
				r.define(topic, consumerDef("/t", "a"))
				f(t, r, s)
			})
		})
	}
	standing := func(t *testing.T, r *rig, backlog, inFlight int64) {
		t.Helper()
		if c, ok := r.Consumer(r.id("a")); !ok || c.Backlog != backlog || c.InFlight != inFlight || c.Deferred != 0 {
			t.Errorf("%+v, want a backlog of %d with %d in flight", c, backlog, inFlight)
		}
	}
	remove := func(t *testing.T, r *rig, m []broker.Message) func() {
		return func() { r.remove("/t", len(m), ids(m...)...) }
	}
	clearAll := func(t *testing.T, r *rig, m []broker.Message) func() {
		return func() {
			if n, err := r.ClearBacklog(ctx, r.id("a")); err != nil || n != int64(len(m)) {
				t.Errorf("cleared %d, want %d: %v", n, len(m), err)
			}
		}
	}
	for name, op := range map[string]func(*testing.T, *rig, []broker.Message) func(){"delete": remove, "clear": clearAll} {
		run(name+" before an ack", func(t *testing.T, r *rig, s *faultyStore) {
			r.fill("/t", 3)
			m := r.receive("/t", "a", broker.ReceiveOptions{})
			s.queued(r, nil, op(t, r, m), func() { r.ack(t, "a", m[1]) })
			standing(t, r, 0, 0)
			// What is in flight is still counted.
			id := r.publish("/t", text("x"))
			for range 2 {
				r.receive("/t", "a", broker.ReceiveOptions{})
				if _, err := r.sub("/t", "a").Settle(broker.Settlement{Reject: []string{id}}); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(2 * time.Second)
			r.crash()()
			if m := r.receive("/t", "a", broker.ReceiveOptions{}); len(m) != 1 || m[0].DeliveryCount != 3 {
				t.Errorf("%+v", m)
			}
		})
		run(name+" before an ack that fails", func(t *testing.T, r *rig, s *faultyStore) {
			r.fill("/t", 3)
			m := r.receive("/t", "a", broker.ReceiveOptions{})
			commits := 0
			full := func(*store.Batch) error {
				if commits++; commits == 2 {
					return fmt.Errorf("write: %w", store.ErrNoSpace)
				}
				return nil
			}
			s.queued(r, full, op(t, r, m), func() {
				_, err := r.sub("/t", "a").Settle(broker.Settlement{Ack: ids(m[1])})
				wantCode(t, err, broker.DiskFull)
			})
			standing(t, r, 0, 0)
		})
	}
	run("ack before a clear", func(t *testing.T, r *rig, s *faultyStore) {
		r.fill("/t", 3)
		m := r.receive("/t", "a", broker.ReceiveOptions{})
		s.queued(r, nil, func() { r.ack(t, "a", m[1]) }, clearAll(t, r, m[:2]))
		standing(t, r, 0, 0)
	})
	for name, op := range map[string]func(*rig, string) error{
		"delete":  func(r *rig, id string) error { _, err := r.DeleteMessages(ctx, "/t", []string{id}); return err },
		"release": func(r *rig, id string) error { _, err := r.ReleaseMessage(ctx, "/t", id, 0); return err },
	} {
		run(name+" before a delayed one is due", func(t *testing.T, r *rig, s *faultyStore) {
			id := r.publish("/t", broker.Publication{Payload: []byte("late"), Delay: 5})
			time.Sleep(5*time.Second - time.Millisecond)
			s.queued(r, nil, func() {
				if err := op(r, id); err != nil {
					t.Error(err)
				}
			})
			want := int64(0)
			if name == "release" {
				want = 1
			}
			time.Sleep(2 * time.Second)
			standing(t, r, want, 0)
			if d, _ := r.Topic("/t"); d.Delayed != 0 || d.Depth != want {
				t.Errorf("%+v", d)
			}
		})
		run(name+" after a delayed one is due", func(t *testing.T, r *rig, s *faultyStore) {
			id := r.publish("/t", broker.Publication{Payload: []byte("late"), Delay: 5})
			time.Sleep(5*time.Second - time.Millisecond)
			s.queued(r, nil, func() {}, func() {
				if err := op(r, id); err != nil {
					t.Error(err)
				}
			})
			want := int64(0)
			if name == "release" {
				want = 1
			}
			standing(t, r, want, 0)
			if d, _ := r.Topic("/t"); d.Delayed != 0 || d.Depth != want {
				t.Errorf("%+v", d)
			}
		})
	}
	run("delete after the topic is deleted", func(t *testing.T, r *rig, s *faultyStore) {
		r.fill("/t", 3)
		m := r.receive("/t", "a", broker.ReceiveOptions{})
		late := r.publish("/t", broker.Publication{Delay: 1000})
		a := r.id("a")
		want := func(_ any, err error) {
			t.Helper()
			wantCode(t, err, broker.NotFound)
		}
		s.queued(r, nil, func() {
			if _, err := r.Change(ctx, broker.Change{Delete: []change.Ref{{Kind: change.Topic, Name: "/t"}}}); err != nil {
				t.Error(err)
			}
		},
			func() { want(r.DeleteMessages(ctx, "/t", append(ids(m...), late), note("x"))) },
			func() { want(r.ReleaseMessage(ctx, "/t", late, 0, note("x"))) },
			func() { want(r.ReleaseMessage(ctx, "/t", m[0].ID, a, note("x"))) },
			func() { want(r.ClearBacklog(ctx, a, note("x"))) },
			func() { want(r.ClearInFlight(ctx, a, note("x"))) },
			func() { want(r.ReleaseInFlight(ctx, a, note("x"))) })
		r.wantNote("x", false)
		r.wantNote("before", true)
	})
}

// TestInterveneConcurrent lets administrators delete, clear and release while others publish,
// receive and settle. What was deleted or cleared never comes again, nothing else is lost, and in the
// end nothing is left.
func TestInterveneConcurrent(t *testing.T) {
	const each, publishers = 400, 2
	r := newRig(t, broker.Options{}.Sweeping(5*time.Millisecond))
	topic := topicDef("/t")
	topic.MaxDepth, topic.Expiration = 5000, property.Off
	r.define(topic, consumerDef("/t", "a"), consumerDef("/t", "b"))
	rnd := newRand(t, 1)
	source := func() *rand.Rand { return rand.New(rand.NewPCG(rnd.Uint64(), 0)) }

	var mu sync.Mutex
	var known []string             // published
	over := map[string]string{}    // what became of messages, by ID, or by consumer and ID
	acked := map[string]int{}      // by consumer
	cleared := map[string]int64{}  // by consumer
	inFlight := map[string]int64{} // those cleared that were in flight
	deleted := 0
	missing := func() bool { // something that is to happen beside the others has not yet
		mu.Lock()
		defer mu.Unlock()
		for _, key := range []string{"a", "b"} {
			if acked[key] == 0 || cleared[key] == 0 || inFlight[key] == 0 {
				return true
			}
		}
		return deleted == 0
	}

	var sending, others sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	for range publishers {
		rnd := source()
		sending.Go(func() {
			p, err := r.Publisher(r.crm, "/t")
			if err != nil {
				t.Error(err)
				return
			}
			for n := 0; n < each || n < 100*each && missing(); n++ {
				pubs := make([]broker.Publication, 1+rnd.IntN(3))
				for i := range pubs {
					pubs[i].Priority = 1 + rnd.IntN(9)
					if rnd.IntN(20) == 0 {
						pubs[i].Delay = 1
					}
				}
				receipts, err := p.PublishBatch(pubs)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for _, rc := range receipts {
					known = append(known, rc.ID)
				}
				mu.Unlock()
			}
		})
	}
	receiver := func(key string, rnd *rand.Rand) {
		s := r.sub("/t", key)
		for ctx.Err() == nil {
			mu.Lock()
			before := maps.Clone(over)
			mu.Unlock()
			got, err := s.Receive(ctx, broker.ReceiveOptions{Max: 1 + rnd.IntN(30), Order: broker.Order(rnd.IntN(2))})
			if err != nil {
				t.Error(err)
				return
			}
			for _, m := range got {
				if how := before[m.ID] + before[key+m.ID]; how != "" {
					t.Errorf("%s got %s, which was %s before", key, m.ID, how)
				}
			}
			n := rnd.IntN(len(got) + 1)
			st := broker.Settlement{Ack: ids(got[:n]...)}
			if rest := got[n:]; rnd.IntN(2) == 0 {
				st.Reject = ids(rest...)
				st.Delay = int64(rnd.IntN(2))
			}
			if len(st.Ack)+len(st.Reject) == 0 {
				runtime.Gosched()
				continue
			}
			done, err := s.Settle(st)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			acked[key] += done.Acked
			for _, id := range st.Ack {
				if !slices.Contains(done.NotFound, id) {
					over[key+id] = "acknowledged"
				}
			}
			mu.Unlock()
		}
	}
	for _, key := range []string{"a", "a", "b"} {
		rnd := source()
		others.Go(func() { receiver(key, rnd) })
	}
	for _, key := range []string{"a", "b"} {
		id := r.id(key)
		rnd := source()
		others.Go(func() {
			for ctx.Err() == nil {
				switch rnd.IntN(8) {
				case 0:
					n, err := r.ClearBacklog(context.Background(), id)
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					cleared[key] += n
					mu.Unlock()
				case 1, 2:
					n, err := r.ClearInFlight(context.Background(), id)
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					inFlight[key] += int64(n)
					mu.Unlock()
				case 3, 4:
					if _, err := r.ReleaseInFlight(context.Background(), id); err != nil {
						t.Error(err)
					}
				default:
					if _, err := r.Browse(context.Background(), browse.Options{Consumer: id, Limit: 1 + rnd.IntN(50)}); err != nil {
						t.Error(err)
					}
				}
				pause(rnd)
			}
		})
	}
	for range 2 {
		rnd := source()
		others.Go(func() {
			for ctx.Err() == nil {
				mu.Lock()
				var some []string
				for range min(len(known), 1+rnd.IntN(10)) {
					some = append(some, known[max(0, len(known)-1-rnd.IntN(60))])
				}
				mu.Unlock()
				if len(some) == 0 {
					runtime.Gosched()
					continue
				}
				if rnd.IntN(3) == 0 {
					if _, err := r.ReleaseMessage(context.Background(), "/t", some[0], 0); err != nil && broker.CodeOf(err) != broker.NotFound {
						t.Error(err)
					}
					if _, _, err := r.Message("/t", some[0]); err != nil && broker.CodeOf(err) != broker.NotFound {
						t.Error(err)
					}
					continue
				}
				n, err := r.DeleteMessages(context.Background(), "/t", some)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				deleted += n
				for _, id := range some {
					over[id] = "deleted"
				}
				mu.Unlock()
			}
		})
	}
	sending.Wait()
	eventually(t, func() bool { d, _ := r.Topic("/t"); return d.Delayed == 0 })
	cancel()
	others.Wait()
	if t.Failed() {
		return
	}
	for _, key := range []string{"a", "b"} {
		if _, err := r.ClearBacklog(context.Background(), r.id(key)); err != nil {
			t.Fatal(err)
		}
		if c, _ := r.Consumer(r.id(key)); c.Backlog != 0 || c.InFlight != 0 || c.Deferred != 0 {
			t.Errorf("%+v", c)
		}
		if acked[key] == 0 || cleared[key] == 0 || inFlight[key] == 0 || deleted == 0 {
			t.Errorf("%s: %d acknowledged, %d and %d cleared, %d deleted: this proves little", key, acked[key], cleared[key], inFlight[key], deleted)
		}
		c, _ := r.Consumer(r.id(key))
		if n := int64(c.Acked) + cleared[key]; n > int64(len(known)) || int64(c.Acked) > int64(acked[key])+inFlight[key] {
			t.Errorf("%s: %d messages acknowledged and %d cleared of %d", key, c.Acked, cleared[key], len(known))
		}
	}
	eventually(t, func() bool { d, _ := r.Topic("/t"); return d.Depth == 0 })
	r.fits(t, 5000)
}
