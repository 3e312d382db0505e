package db

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"pipit/broker/store"
)

// What a batch has, the file has afterwards: no field is forgotten.
func TestEveryFieldOfABatchIsStored(t *testing.T) {
	keep := t0.Add(time.Minute)
	samples := map[string]func(f *fixture) store.Batch{
		"Append": func(f *fixture) store.Batch { return store.Batch{Append: []*store.Record{f.message(laneA)}} },
		"Delay": func(f *fixture) store.Batch {
			return store.Batch{Delay: []*store.Record{{Place: store.Place{Lane: laneB}, Created: t0, Delay: 5, ID: "later"}}}
		},
		"Undelay": func(f *fixture) store.Batch {
			due, _ := f.due(t0.Add(time.Hour), 1)
			return store.Batch{Undelay: []string{due[0].Key}}
		},
		"Remove": func(f *fixture) store.Batch {
			return store.Batch{Remove: []store.Removal{{Lane: laneA, Range: store.Span{From: 1, To: 1}}}}
		},
		"Lanes": func(f *fixture) store.Batch {
			return store.Batch{Lanes: []store.LaneState{{Lane: laneA, Tail: 3, Removed: 1, Skipped: 1}}}
		},
		"Cursors": func(f *fixture) store.Batch {
			return store.Batch{Cursors: []store.CursorState{{Consumer: 3, Priority: 5, Cursor: store.Cursor{Floor: 2}, Finished: 1}}}
		},
		"Attempts": func(f *fixture) store.Batch {
			return store.Batch{Attempts: []store.Attempt{{Consumer: 3, Priority: 5, Pos: 2, Count: 7}}}
		},
		"Expiries": func(f *fixture) store.Batch {
			e := f.expired(t0.Add(time.Hour))[0]
			return store.Batch{Expiries: []store.Expired{{Expiry: e, Through: e.Range.To}}}
		},
		"DropIDs": func(f *fixture) store.Batch { return store.Batch{DropIDs: f.stale(t0.Add(time.Hour))} },
		"Seen": func(f *fixture) store.Batch {
			return store.Batch{Seen: []store.Seen{{Kind: store.SeenConsumer, ID: 3, At: t0}}}
		},
		"Define": func(f *fixture) store.Batch {
			return store.Batch{Define: []store.Object{objectOf(store.Topic, "/new", 9)}}
		},
		"Delete": func(f *fixture) store.Batch {
			return store.Batch{Delete: []store.Object{objectOf(store.Topic, "/a", 1)}}
		},
		"Declared": func(f *fixture) store.Batch { return store.Batch{Declared: "slow hash"} },
		"Purge":    func(f *fixture) store.Batch { return store.Batch{Purge: []store.Lane{laneA}} },
		"Put": func(f *fixture) store.Batch {
			return store.Batch{Put: []store.Document{{Kind: "kind", Key: "key", Value: []byte("v")}}}
		},
	}
	typ := reflect.TypeFor[store.Batch]()
	for i := range typ.NumField() {
		name := typ.Field(i).Name
		if name == "Now" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			sample := samples[name]
			if sample == nil {
				t.Fatal("a new field: give it a sample here")
			}
			f := newFixture(t)
			b := f.batch()
			b.Define = []store.Object{objectOf(store.Topic, "/a", 1)}
			b.Append = append(b.Append, f.message(laneA), f.message(laneA, withID("known", keep)))
			b.Delay = append(b.Delay, &store.Record{Place: store.Place{Lane: laneB}, Created: t0, Delay: 1})
			f.commit(b)
			b = f.batch()
			b.Remove = []store.Removal{{Lane: laneA, Range: store.Span{From: 2, To: 2}}}
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
	var at view
	in, err := f.enter(&at)
	if err != nil {
		f.t.Fatal(err)
	}
	defer in.leave()
	for no, name := range bucketNames {
		_ = at.bucket(no).ForEach(func(k, v []byte) error {
			if string(name) != "meta" || !bytes.Equal(k, keyLog) && !bytes.Equal(k, keyFormat) {
				fmt.Fprintf(&out, "%s %x %x\n", name, k, v)
			}
			return nil
		})
	}
	return out.String()
}
