package broker_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"pipit/broker"
	"pipit/broker/change"
	"pipit/broker/limit"
	"pipit/broker/store"
)

func doc(kind, key, value string) broker.Document {
	return broker.Document{Kind: kind, Key: key, Value: []byte(value)}
}

// keys lists documents as they come.
func keys(t *testing.T, docs []broker.Document, err error) (s string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range docs {
		s += d.Key + "=" + string(d.Value) + " "
	}
	return s
}

func (r *rig) wantDocument(kind, key, want string) {
	r.t.Helper()
	got, err := r.Document(kind, key)
	if err != nil || want == "" && got != nil || string(got) != want {
		r.t.Errorf("document %q of kind %q: %q %v, want %q", key, kind, got, err, want)
	}
}

func TestDocuments(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.wantDocument("k", "a", "")
	large := broker.Document{Kind: strings.Repeat("k", limit.MaxDocumentKind), Key: strings.Repeat("y", limit.MaxDocumentKey), Value: bytes.Repeat([]byte("v"), limit.MaxDocumentValue)}
	if err := r.PutDocuments(ctx, doc("k", "b", "2"), doc("k", "a", "1"), doc("k", "ab", ""), doc("other", "a", "x"), large); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		r.wantDocument("k", "a", "1")
		r.wantDocument("k", "c", "")
		r.wantDocument("none", "a", "")
		r.wantDocument(large.Kind, large.Key, string(large.Value))
		if v, err := r.Document("k", "ab"); v == nil || len(v) != 0 || err != nil {
			t.Errorf("empty document: %v %v", v, err)
		}
		list := func(after string, down bool, limit int) string {
			docs, err := r.Documents("k", after, down, limit)
			return keys(t, docs, err)
		}
		for _, c := range []struct {
			after string
			down  bool
			limit int
			want  string
		}{
			{"", false, 10, "a=1 ab= b=2 "}, {"", true, 10, "b=2 ab= a=1 "}, {"", false, 2, "a=1 ab= "}, {"a", false, 1, "ab= "},
			{"b", true, 10, "ab= a=1 "}, {"b", false, 10, ""}, {"", false, 0, ""}, {"", false, -1, ""},
		} {
			if got := list(c.after, c.down, c.limit); got != c.want {
				t.Errorf("%+v: %q", c, got)
			}
		}
		r.restart()
	}
	if err := r.PutDocuments(ctx, broker.Document{Kind: "k", Key: "a"}, broker.Document{Kind: "k", Key: "never"}, doc("k", "b", "3")); err != nil {
		t.Fatal(err)
	}
	r.wantDocument("k", "a", "")
	r.wantDocument("k", "b", "3")

	for _, d := range []broker.Document{
		{Key: "a"}, {Kind: "k"}, doc("k\x00", "a", ""), doc("k", "a\x00", ""), doc(large.Kind+"k", "a", ""), doc("k", large.Key+"y", ""),
		doc("k", "a", string(large.Value)+"v"),
	} {
		wantCode(t, r.PutDocuments(ctx, doc("k", "b", "never"), d), broker.Invalid)
	}
	done, cancel := context.WithCancel(ctx)
	cancel()
	wantCode(t, r.PutDocuments(done, doc("k", "b", "never")), broker.Unavailable)
	r.wantDocument("k", "b", "3")
}

// TestDocumentsDiskFull refuses documents on a full disk, but lets them be deleted.
func TestDocumentsDiskFull(t *testing.T) {
	r, s := newFaultyRig(t)
	if err := r.PutDocuments(ctx, doc("k", "a", "1")); err != nil {
		t.Fatal(err)
	}
	s.fail(func(b *store.Batch) error {
		for _, d := range b.Put {
			if d.Value != nil {
				return fmt.Errorf("write: %w", store.ErrNoSpace)
			}
		}
		return nil
	})
	wantCode(t, r.PutDocuments(ctx, doc("k", "a", "2")), broker.DiskFull)
	r.wantDocument("k", "a", "1")
	if err := r.PutDocuments(ctx, broker.Document{Kind: "k", Key: "a"}); err != nil {
		t.Error(err)
	}
	r.wantDocument("k", "a", "")
}

// TestCommitted: who put a document is told once it is durable, before the call returns, and not where it is refused.
func TestCommitted(t *testing.T) {
	r := newRig(t, broker.Options{})
	told := 0
	d := doc("k", "a", "1")
	d.Committed = func() {
		told++
		if v, err := r.Document("k", "a"); err != nil || string(v) != "1" {
			t.Errorf("told of %q, %v", v, err)
		}
	}
	if err := r.PutDocuments(ctx, d); err != nil || told != 1 {
		t.Errorf("told %d times, %v", told, err)
	}
	_, err := r.Change(ctx, broker.Change{Delete: []change.Ref{{Kind: change.Topic, Name: "/none"}}, Documents: []broker.Document{d}})
	if err == nil || told != 1 {
		t.Errorf("told %d times, %v", told, err)
	}
}
