package db

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"pipit/broker/store"
)

// delayed makes a record that waits for its delay.
func delayed(l store.Lane, delay uint32, id string, keep time.Time) *store.Record {
	return &store.Record{Place: store.Place{Lane: l}, Created: t0, Delay: delay, Expiration: 60, ID: id, KeepID: keep,
		Producer: "CRM", MIMEType: "text/plain", Payload: fmt.Append(nil, "after ", delay)}
}

// scanDelayed returns the keys and payloads behind a key, at most so many.
func (f *fixture) scanDelayed(after string, most int) (keys []string, payloads string) {
	f.t.Helper()
	f.view(func(r store.Reader) {
		err := r.ScanDelayed(after, func(d store.Delayed) bool {
			keys = append(keys, d.Key)
			payloads += string(d.Record.Payload) + ", "
			if d.Record.Pos != 0 || d.Record.Producer != "CRM" {
				f.t.Errorf("record %+v", d.Record)
			}
			return len(keys) < most
		})
		if err != nil {
			f.t.Error(err)
		}
	})
	return keys, payloads
}

func TestScanDelayedDamaged(t *testing.T) {
	f := newFixture(t)
	b := f.batch()
	for _, delay := range []uint32{10, 20, 30} {
		b.Delay = append(b.Delay, delayed(laneA, delay, "", time.Time{}))
	}
	f.commit(b)
	f.checkpoint()
	keys, _ := f.scanDelayed("", 10)
	damage := func(change func([]byte) []byte) {
		err := f.bolt().Update(func(tx *bbolt.Tx) error {
			b := tx.Bucket(bucketNames[bucketDelayed])
			return b.Put([]byte(keys[1]), change(bytes.Clone(b.Get([]byte(keys[1])))))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	flip := func(v []byte) []byte { v[12] ^= 1; return v }
	damage(flip)
	if _, payloads := f.scanDelayed("", 10); payloads != "after 10, after 30, " {
		t.Errorf("got %s", payloads)
	}
	damage(flip)
	if got, _ := f.scanDelayed("", 10); len(got) != 3 {
		t.Errorf("repaired: %x", got)
	}
}

// sightings returns what is known of an ID: places, and payloads of what waits for its delay.
func (f *fixture) sightings(id string) (s string) {
	f.t.Helper()
	f.view(func(r store.Reader) {
		list, err := r.FindID(1, id)
		if err != nil {
			f.t.Error(err)
		}
		for _, x := range list {
			s += fmt.Sprintf("%d/%d", x.Priority, x.Pos)
			if x.Key != "" {
				err := r.ScanDelayed(x.Key[:len(x.Key)-1], func(d store.Delayed) bool {
					if d.Key == x.Key {
						s += " " + string(d.Record.Payload)
					}
					return false
				})
				if err != nil {
					f.t.Error(err)
				}
			}
			s += ", "
		}
	})
	return s
}

// TestDelayedIsDeleted: the ID of a delayed message that is deleted is known as long as that of any
// other that is removed; that of one that moves is known at its place.
func TestDelayedIsDeleted(t *testing.T) {
	keep := t0.Add(5 * time.Minute)
	f := newFixture(t)
	b := f.batch()
	b.Delay = []*store.Record{delayed(laneA, 10, "a", keep), delayed(laneA, 20, "a", keep), delayed(laneB, 30, "a", keep),
		delayed(laneA, 40, "made", time.Time{}), delayed(laneC, 50, "a", keep)}
	b.Delay[1].Created = t0.Add(time.Microsecond)
	b.Delay[2].Created = t0.Add(2 * time.Microsecond)
	f.commit(b)
	if got := f.sightings("a"); got != "5/0 after 10, 5/0 after 20, 9/0 after 30, " {
		t.Errorf("a: %s", got)
	}
	keys, _ := f.scanDelayed("", 10)

	// Of three with the same ID the second moves and the third is deleted, as is one whose ID is not to be remembered.
	moved := *b.Delay[1]
	moved.Pos = 1
	f.tails[laneA] = 1
	b = &store.Batch{Now: t0.Add(time.Second), Undelay: keys[1:4], Append: []*store.Record{&moved}}
	f.commit(b)
	const want = "5/0 after 10, 5/1, 9/0, "
	if got := f.sightings("a"); got != want {
		t.Errorf("a: %s, want %s", got, want)
	}
	if got := f.sightings("made"); got != "" {
		t.Errorf("made: %s", got)
	}
	if img := f.reopen(); img.Delayed[1] != 1 || img.Delayed[2] != 1 {
		t.Errorf("%v", img.Delayed)
	}
	if got := f.sightings("a"); got != want {
		t.Errorf("a after a restart: %s, want %s", got, want)
	}

	// In the end nothing is left of any.
	keys, _ = f.scanDelayed("", 10)
	b = &store.Batch{Now: t0.Add(time.Minute), Undelay: keys, Remove: []store.Removal{{Lane: laneA, Range: store.Span{From: 1, To: 1}}}}
	f.commit(b)
	if got := f.sightings("a"); got != "5/0, 5/1, 9/0, " {
		t.Errorf("a: %s", got)
	}
	f.commit(&store.Batch{Now: keep, DropIDs: f.stale(keep)})
	f.wantEmpty(bucketID, bucketIDKeep, bucketDelayed, bucketWaiting)
}
