package db

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"pipit/broker/store"
)

// large gives a message a payload that is kept apart.
func large(fill byte, size int) func(*store.Record) {
	return func(r *store.Record) { r.Payload = bytes.Repeat([]byte{fill}, size) }
}

// Of a commit that adds or removes one large message among others, that message alone is written, and
// nothing of it where it moves or goes.
func TestLargePayloadsAreWrittenOnce(t *testing.T) {
	const size = 1 << 20
	f := newFixture(t)
	written := func(b *store.Batch) int64 {
		t.Helper()
		stats := f.bolt().Stats()
		before := stats.TxStats.GetPageAlloc()
		f.commit(b)
		f.checkpoint()
		stats = f.bolt().Stats()
		return stats.TxStats.GetPageAlloc() - before
	}
	for i := range 10 {
		b := f.batch()
		b.Append = append(b.Append, f.message(laneA, large(byte(i), size)))
		if n := written(b); n > size+size/8 {
			t.Errorf("publishing %d bytes wrote %d", size, n)
		}
	}
	for i := range 10 {
		b := f.batch()
		b.Delay = append(b.Delay, &store.Record{Place: store.Place{Lane: laneA}, Created: t0, Delay: 5, Payload: bytes.Repeat([]byte{byte(i)}, size)})
		if n := written(b); n > size+size/8 {
			t.Errorf("delaying %d bytes wrote %d", size, n)
		}
	}
	due, _ := f.due(t0.Add(time.Hour), 100)
	if len(due) != 10 {
		t.Fatalf("%d are due", len(due))
	}
	for i, d := range due {
		if len(d.Record.Payload) != 0 || d.Record.Apart.Size != size {
			t.Fatalf("what is due was read: %d bytes, apart %+v", len(d.Record.Payload), d.Record.Apart)
		}
		b := f.batch()
		b.Undelay = []string{d.Key}
		if i%2 == 0 {
			b.Append = []*store.Record{f.message(laneA, func(r *store.Record) { r.Payload, r.Apart = nil, d.Record.Apart })}
		}
		if n := written(b); n > size/8 {
			t.Errorf("moving or deleting %d bytes wrote %d", size, n)
		}
	}
	f.reopen()
	list := f.scan(laneA, 1, false)
	if len(list) != 15 {
		t.Fatalf("%d messages", len(list))
	}
	for i, r := range list {
		fill := byte(i)
		if i >= 10 {
			fill = byte(i-10) * 2
		}
		if !bytes.Equal(r.Payload, bytes.Repeat([]byte{fill}, size)) {
			t.Errorf("message %d has another payload", i)
		}
	}
	b := f.batch()
	b.Remove = []store.Removal{{Lane: laneA, Range: store.Span{From: 1, To: 15}}}
	if n := written(b); n > size/8 {
		t.Errorf("removing wrote %d", n)
	}
	f.wantEmpty(bucketLog, bucketDelayed, bucketPayload)
}

// Whoever appends a message with a payload that is gone is refused, and so is nothing else half done.
func TestPayloadThatIsGone(t *testing.T) {
	f := newFixture(t)
	b := f.batch()
	b.Append = []*store.Record{{Place: store.Place{Lane: laneA, Pos: 1}, Created: t0, Apart: store.PayloadRef{Number: 7, Size: 9}}}
	if err := f.Commit(b); err == nil || !strings.Contains(err.Error(), "payload 7 is not there") {
		t.Errorf("got %v", err)
	}
	f.wantPositions(laneA, 1, false)
}

// A message whose payload is lost or damaged is skipped, said once, found by Check, and can be removed.
func TestDamagedPayload(t *testing.T) {
	for name, damage := range map[string]func(tx *bbolt.Tx, key []byte) error{
		"record without its payload": func(tx *bbolt.Tx, key []byte) error { return tx.Bucket(bucketNames[bucketPayload]).DeleteBucket(key) },
		"record with a wrong checksum": func(tx *bbolt.Tx, key []byte) error {
			return tx.Bucket(bucketNames[bucketPayload]).Bucket(key).Put(keyPayload, make([]byte, apartSize))
		},
		"0 messages have the payload 9": func(tx *bbolt.Tx, _ []byte) error {
			_, err := tx.Bucket(bucketNames[bucketPayload]).CreateBucket([]byte{0, 0, 0, 0, 0, 0, 0, 9})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			var out strings.Builder
			f.log = slog.New(slog.NewTextHandler(&out, nil))
			b := f.batch()
			b.Append = append(b.Append, f.message(laneA), f.message(laneA, large(7, apartSize)), f.message(laneA))
			f.commit(b)
			f.checkpoint()
			tx, err := f.bolt().Begin(true)
			if err != nil {
				t.Fatal(err)
			}
			if err := damage(tx, []byte{0, 0, 0, 0, 0, 0, 0, 1}); err != nil {
				t.Fatal(err)
			}
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
			if err := f.Check(); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("Check: %v", err)
			}
			if strings.HasPrefix(name, "record") {
				f.wantPositions(laneA, 1, false, 1, 3)
				if n := strings.Count(out.String(), "damaged"); n != 1 {
					t.Errorf("logged %d times: %s", n, out.String())
				}
			}
			b = f.batch()
			b.Remove = []store.Removal{{Lane: laneA, Range: store.Span{From: 1, To: 3}}}
			f.commit(b)
			if err := f.Close(); err != nil {
				t.Error(err)
			}
			f.Store = nil
		})
	}
}
