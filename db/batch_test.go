package db

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"pipit/broker"
)

// What a batch has, the file has afterwards: no field is forgotten.
func TestEveryFieldOfABatchIsStored(t *testing.T) {
	keep := t0.Add(time.Minute)
	samples := map[string]func(f *fixture) broker.Batch{
		"Append": func(f *fixture) broker.Batch { return broker.Batch{Append: []*broker.Record{f.message(laneA)}} },
		"Delay": func(f *fixture) broker.Batch {
			return broker.Batch{Delay: []*broker.Record{{Place: broker.Place{Lane: laneB}, Created: t0, Delay: 5, ID: "later"}}}
		},
		"Undelay": func(f *fixture) broker.Batch {
			due, _ := f.due(t0.Add(time.Hour), 1)
			return broker.Batch{Undelay: []string{due[0].Key}}
		},
		"Remove": func(f *fixture) broker.Batch {
			return broker.Batch{Remove: []broker.Removal{{Lane: laneA, Range: broker.Span{From: 1, To: 1}}}}
		},
		"Lanes": func(f *fixture) broker.Batch {
			return broker.Batch{Lanes: []broker.LaneState{{Lane: laneA, Tail: 3, Removed: 1, Skipped: 1}}}
		},
		"Cursors": func(f *fixture) broker.Batch {
			return broker.Batch{Cursors: []broker.CursorState{{Consumer: 3, Priority: 5, Cursor: broker.Cursor{Floor: 2}, Finished: 1}}}
		},
		"Attempts": func(f *fixture) broker.Batch {
			return broker.Batch{Attempts: []broker.Attempt{{Consumer: 3, Priority: 5, Pos: 2, Count: 7}}}
		},
		"Expiries": func(f *fixture) broker.Batch {
			e := f.expired(t0.Add(time.Hour))[0]
			return broker.Batch{Expiries: []broker.Expired{{Expiry: e, Through: e.Range.To}}}
		},
		"DropIDs": func(f *fixture) broker.Batch { return broker.Batch{DropIDs: f.stale(t0.Add(time.Hour))} },
		"Seen": func(f *fixture) broker.Batch {
			return broker.Batch{Seen: []broker.Seen{{Kind: broker.SeenConsumer, ID: 3, At: t0}}}
		},
		"Define": func(f *fixture) broker.Batch {
			return broker.Batch{Define: &broker.Definitions{Topics: []broker.TopicRecord{{Topic: broker.Topic{Name: "/new"}, ID: 9}}}}
		},
		"Delete": func(f *fixture) broker.Batch {
			return broker.Batch{Delete: &broker.Deletions{Topics: []broker.TopicRecord{{Topic: broker.Topic{Name: "/a"}, ID: 1}}}}
		},
		"Purge": func(f *fixture) broker.Batch { return broker.Batch{Purge: []broker.Lane{laneA}} },
		"Put": func(f *fixture) broker.Batch {
			return broker.Batch{Put: []broker.Document{{Kind: "kind", Key: "key", Value: []byte("v")}}}
		},
	}
	typ := reflect.TypeFor[broker.Batch]()
	for i := range typ.NumField() {
		name := typ.Field(i).Name
		if name == "Now" || name == "Wipe" { // free pages are not what the file has: see wipe_test.go
			continue
		}
		t.Run(name, func(t *testing.T) {
			sample := samples[name]
			if sample == nil {
				t.Fatal("a new field: give it a sample here")
			}
			f := newFixture(t)
			b := f.batch()
			b.Define = &broker.Definitions{Topics: []broker.TopicRecord{{Topic: broker.Topic{Name: "/a"}, ID: 1}}}
			b.Append = append(b.Append, f.message(laneA), f.message(laneA, withID("known", keep)))
			b.Delay = append(b.Delay, &broker.Record{Place: broker.Place{Lane: laneB}, Created: t0, Delay: 1})
			f.commit(b)
			b = f.batch()
			b.Remove = []broker.Removal{{Lane: laneA, Range: broker.Span{From: 2, To: 2}}}
			f.commit(b)
			before := f.dump()
			only := sample(f)
			if v := reflect.ValueOf(only); v.Field(i).IsZero() {
				t.Fatal("the sample has no such field")
			}
			only.Now = t0
			if err := f.Commit(&only); err != nil {
				t.Fatal(err)
			}
			if f.dump() == before {
				t.Error("nothing of it was stored")
			}
			if err := f.Close(); err != nil { // as it is: the states of a sample need not fit the messages
				t.Error(err)
			}
			f.Store = nil
		})
	}
}

// dump writes down all that the file has.
func (f *fixture) dump() string {
	f.t.Helper()
	var out strings.Builder
	err := f.bolt.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			return b.ForEach(func(k, v []byte) error {
				fmt.Fprintf(&out, "%s %x %x\n", name, k, v)
				return nil
			})
		})
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return out.String()
}
