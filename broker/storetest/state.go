package storetest

import (
	"bytes"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"pipit/broker/store"
)

// A store that was made has its own key, and nothing else.
func empty(f *fixture) {
	first := f.reopen()
	if first.Key == [16]byte{} || len(first.Objects)+len(first.Lanes)+len(first.Cursors)+len(first.Attempts)+len(first.Seen)+len(first.Delayed) > 0 ||
		first.LastID != 0 || first.Declared != "" || !first.NextDue.IsZero() {
		f.t.Errorf("a new store has %+v", first)
	}
	if again := f.reopen(); again.Key != first.Key {
		f.t.Error("a restart changes the key")
	}
	other := &fixture{t: f.t, dir: f.t.TempDir(), open: f.open}
	if image := other.start(); image.Key == first.Key {
		f.t.Error("two stores have the same key")
	}
	other.close()
	f.wantPositions(laneA, 1, false)
	f.wantFind(1, "a", "")
	f.wantDocuments("k", "", true)
	if list, next := f.due(t0, 10, math.MaxInt); len(list) > 0 || !next.IsZero() {
		f.t.Errorf("due: %v, %v", list, next)
	}
	f.commit(&store.Batch{})
}

// State is what was stored last of each.
func state(f *fixture) {
	hour := t0.Add(time.Hour)
	b := &store.Batch{
		Declared: "slow hash",
		Define:   []store.Object{object(store.Producer, "crm\x00/a", 2), object(store.Consumer, "k1", 3)},
		Cursors: []store.CursorState{
			{Consumer: 3, Priority: 5, Cursor: store.Cursor{Floor: 7, Spans: []store.Span{{From: 9, To: 9}, {From: 11, To: 20}}}, Finished: 17},
			{Consumer: 3, Priority: 9, Cursor: store.Cursor{Floor: 1 << 40}, Finished: 1 << 39},
		},
		Attempts: []store.Attempt{{Consumer: 3, Priority: 5, Pos: 8, Count: 2}, {Consumer: 3, Priority: 5, Pos: 10, Count: 1}},
		Seen:     []store.Seen{{Kind: store.SeenProducer, ID: 2, At: hour}, {Kind: store.SeenConsumer, ID: 3, At: t0}},
	}
	f.commit(b)
	image := f.reopen()
	if image.Declared != "slow hash" || !equal(image.Cursors, b.Cursors) || !equal(image.Attempts, b.Attempts) || !equal(utc(image.Seen), b.Seen) {
		f.t.Errorf("got %+v", image)
	}
	b = &store.Batch{
		Cursors:  []store.CursorState{{Consumer: 3, Priority: 5, Cursor: store.Cursor{Floor: 30}, Finished: 29}},
		Attempts: []store.Attempt{{Consumer: 3, Priority: 5, Pos: 8}, {Consumer: 3, Priority: 5, Pos: 10, Count: 2}},
		Seen:     []store.Seen{{Kind: store.SeenConsumer, ID: 3, At: hour}},
	}
	f.commit(b)
	image = f.reopen()
	b.Seen = append(b.Seen, store.Seen{Kind: store.SeenProducer, ID: 2, At: hour})
	if image.Declared != "slow hash" || len(image.Cursors) != 2 || !slices.ContainsFunc(image.Cursors, func(c store.CursorState) bool { return reflect.DeepEqual(c, b.Cursors[0]) }) ||
		!equal(image.Attempts, b.Attempts[1:]) || !equal(utc(image.Seen), b.Seen) {
		f.t.Errorf("got %+v", image)
	}
	f.commit(&store.Batch{Declared: "another"})
	if image = f.reopen(); image.Declared != "another" {
		f.t.Errorf("declared %q", image.Declared)
	}
}

func utc(seen []store.Seen) []store.Seen {
	for i := range seen {
		seen[i].At = seen[i].At.UTC()
	}
	return seen
}

// object returns an object with what a Store may know of it: a consumer's Key is its sub_key.
func object(kind store.ObjectKind, key string, id uint32) store.Object {
	value := fmt.Appendf(nil, `{"ID":%d}`, id)
	if kind == store.Consumer {
		value = fmt.Appendf(nil, `{"Client":"crm","Topic":"/b","SubKey":%q,"ID":%d}`, key, id)
	}
	return store.Object{Kind: kind, Key: key, ID: id, Value: value}
}

// names are "kind key number value" of objects.
func names(all []store.Object) (list []string) {
	for _, o := range all {
		list = append(list, fmt.Sprintf("%s %q %d %s", o.Kind, o.Key, o.ID, o.Value))
	}
	slices.Sort(list)
	return list
}

// Objects are known by kind and key, and those with a number by that.
func objects(f *fixture) {
	want := func(last uint32, all ...store.Object) *store.Image {
		f.t.Helper()
		image := f.reopen()
		if got := names(image.Objects); !slices.Equal(got, names(all)) || image.LastID != last {
			f.t.Errorf("last number %d, objects %s, want %d, %s", image.LastID, strings.Join(got, "; "), last, strings.Join(names(all), "; "))
		}
		return image
	}
	deleted := []store.Object{object(store.Client, "erp", 0), object(store.Topic, "/a", 1), object(store.Producer, "crm\x00/a", 3), object(store.Webhook, "shop", 0), object(store.Consumer, "five", 5)}
	kept := []store.Object{object(store.Webhook, "code", 0), object(store.Client, "crm", 0), object(store.Topic, "/b", 2), object(store.Producer, "crm\x00/b", 4), object(store.Consumer, "six", 6)}
	b := &store.Batch{Define: slices.Concat(deleted, kept)}
	for _, id := range []uint32{5, 6} {
		b.Cursors = append(b.Cursors, store.CursorState{Consumer: id, Priority: 5, Cursor: store.Cursor{Floor: 2}, Finished: 1}, store.CursorState{Consumer: id, Priority: 9, Cursor: store.Cursor{Floor: 1}})
		b.Attempts = append(b.Attempts, store.Attempt{Consumer: id, Priority: 5, Pos: 1, Count: 2}, store.Attempt{Consumer: id, Priority: 9, Pos: 1 << 40, Count: 3})
		b.Seen = append(b.Seen, store.Seen{Kind: store.SeenConsumer, ID: id, At: t0})
	}
	b.Seen = append(b.Seen, store.Seen{Kind: store.SeenProducer, ID: 3, At: t0}, store.Seen{Kind: store.SeenProducer, ID: 4, At: t0})
	b.Append = append(b.Append, f.message(laneA), f.message(laneC))
	f.commit(b)
	want(6, slices.Concat(deleted, kept)...)

	// With an object all goes that is kept of it, but messages.
	f.commit(&store.Batch{Delete: deleted})
	image := want(6, kept...)
	if len(image.Cursors) != 2 || len(image.Attempts) != 2 || len(image.Seen) != 2 || len(image.Lanes) != 2 {
		f.t.Errorf("%+v", image)
	}
	f.wantPositions(laneA, 1, false, 1)

	// The key of what was deleted is free; one that is replaced keeps its number, under another key, too; two may swap theirs.
	seven := object(store.Consumer, "five", 7)
	f.commit(&store.Batch{Define: []store.Object{seven}})
	want(7, append(kept, seven)...)
	swapped := []store.Object{object(store.Consumer, "six", 7), object(store.Consumer, "five", 6)}
	f.commit(&store.Batch{Define: swapped})
	want(7, append(kept[:4:4], swapped...)...)
	six := object(store.Consumer, "another", 6)
	f.commit(&store.Batch{Define: []store.Object{six}})
	image = want(7, append(kept[:4:4], swapped[0], six)...)
	if len(image.Cursors) != 2 {
		f.t.Errorf("cursors %+v", image.Cursors)
	}
}

func document(kind, key, value string) store.Document {
	return store.Document{Kind: kind, Key: key, Value: []byte(value)}
}

func documents(f *fixture) {
	f.commit(&store.Batch{Put: []store.Document{document("b", "2", "two"), document("b", "1", "one"), document("b", "3", ""), document("a", "9", "a"),
		document("b\x01", "0", "x"), document("c", "0", "c"), document("bb", "0", "bb")}})
	f.twice(func() {
		f.wantDocuments("b", "", false, "1=one", "2=two", "3=")
		f.wantDocuments("b", "", true, "3=", "2=two", "1=one")
		f.wantDocuments("b", "1", false, "2=two", "3=")
		f.wantDocuments("b", "11", false, "2=two", "3=")
		f.wantDocuments("b", "3", false)
		f.wantDocuments("b", "3", true, "2=two", "1=one")
		f.wantDocuments("b", "4", true, "3=", "2=two", "1=one")
		f.wantDocuments("b", "1", true)
		f.wantDocuments("c", "", true, "0=c")
		f.wantDocuments("c", "0\x00", true, "0=c")
		f.wantDocuments("a", "", false, "9=a")
		f.wantDocuments("", "", false)
		f.wantDocuments("zz", "", true)
	})
	n := 0
	read(f, func(r store.Reader) (int, error) {
		return 0, r.Documents("b", "", false, func(store.Document) bool { n++; return false })
	})
	if n != 1 {
		f.t.Errorf("Documents goes on after false: %d calls", n)
	}
	f.commit(&store.Batch{Put: []store.Document{document("b", "1", "other"), {Kind: "b", Key: "2"}, {Kind: "b", Key: "none"}}})
	f.twice(func() { f.wantDocuments("b", "", false, "1=other", "3=") })
	large := strings.Repeat("x", 64<<10)
	f.commit(&store.Batch{Put: []store.Document{{Kind: "b", Key: "1"}, {Kind: "b", Key: "3"}, document(strings.Repeat("k", 64), strings.Repeat("y", 256), large)}})
	f.twice(func() {
		f.wantDocuments("b", "", false)
		f.wantDocuments("bb", "", false, "0=bb")
		f.wantDocuments(strings.Repeat("k", 64), "", true, strings.Repeat("y", 256)+"="+large)
	})
}

// secrets is for a Wiper: what is replaced or deleted leaves the files of the store in some time.
func secrets(f *fixture) {
	if _, ok := f.Store.(store.Wiper); !ok {
		f.t.Skip("it is no Wiper")
	}
	secret := func(kind store.ObjectKind, key string, id uint32) store.Object {
		o := object(kind, key, id)
		o.Secret = true
		return o
	}
	doc := func(value string) store.Document {
		d := document("k", "1", value)
		d.Secret = true
		return d
	}
	for i, b := range []*store.Batch{
		{Define: []store.Object{secret(store.Consumer, "an old key", 1), secret(store.Consumer, "a key of the deleted", 2)}, Put: []store.Document{doc("an old document")}},
		{Define: []store.Object{secret(store.Consumer, "a new key", 1)}, Delete: []store.Object{secret(store.Consumer, "a key of the deleted", 2)}, Put: []store.Document{doc("a new document")}},
	} {
		b.Append = []*store.Record{f.message(laneA)}
		f.commit(b)
		w := f.Store.(store.Wiper)
		if i == 1 && w.Wiping() == 0 {
			f.t.Error("nothing is to be wiped after secrets were replaced")
		}
		for n := 0; w.Wiping() > 0; n++ {
			if n > 10_000 {
				f.t.Fatalf("%d is left to wipe", w.Wiping())
			}
			time.Sleep(time.Millisecond) // lint:sleep the store does it beside others, by itself
		}
	}
	for text, want := range map[string]bool{"an old key": false, "a key of the deleted": false, "an old document": false, "a new key": true, "a new document": true} {
		if f.onDisk(text) && !want {
			f.t.Errorf("%q is on the disk", text)
		}
	}
	f.twice(func() { f.wantDocuments("k", "", false, "1=a new document") })
}

// onDisk tells whether a file of the store has a text.
func (f *fixture) onDisk(text string) (found bool) {
	err := filepath.WalkDir(f.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path) // #nosec G304 G122 -- of a test's own directory
		found = found || bytes.Contains(content, []byte(text))
		return err
	})
	if err != nil {
		f.t.Error(err)
	}
	return found
}

// stats are of a store that is well: what is not known is negative.
func stats(f *fixture) {
	f.commit(&store.Batch{Put: []store.Document{{Kind: "k", Key: "1", Value: make([]byte, 60_000)}}})
	s := f.Stats()
	if s.Size >= 0 && (s.Size+s.LogSize < 60_000 || s.Free > s.Size) || s.DiskTotal >= 0 && (s.DiskTotal == 0 || s.DiskFree > s.DiskTotal) {
		f.t.Errorf("%+v", s)
	}
	if s.Path != "" {
		if _, err := os.Stat(s.Path); err != nil {
			f.t.Error(err)
		}
	}
	if c, ok := f.Store.(store.FileChecker); ok {
		if err := c.CheckFile(); err != nil {
			f.t.Error("CheckFile:", err)
		}
	}
}
