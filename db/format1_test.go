package db

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"pipit/broker"
	"pipit/broker/store"
)

// unpack writes a file of testdata into a folder of the test.
func unpack(t *testing.T, name string) string {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "test.db")
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(out, z)
	if err := errors.Join(err, out.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestFormat1 opens a file of format 1: of 60 messages every third has expired and was swept, one waits
// for its delay, and two consumers have acknowledged out of order, one of them 10 and the other one.
func TestFormat1(t *testing.T) {
	path := unpack(t, "format1.db.gz")
	verifyUnchanged(t, path)
	for _, when := range []string{"brought to the present format", "opened again"} {
		s, err := Open(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		b, err := broker.Open(s, broker.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if d, _ := b.Topic("/t"); d.Depth != 40 || d.Delayed != 1 {
			t.Errorf("%s: %+v", when, d)
		}
		for _, c := range b.Consumers() {
			want := map[string]string{
				"key-a": "m9 m29 m3 m5 m8 m12 m15 m18 m21 m24",
				"key-b": "m9 m39 m59 m0 m2 m3 m5 m6 m8 m11",
				"key-e": "",
			}[c.SubKey]
			if backlog := map[string]int64{"key-a": 30, "key-b": 39}[c.SubKey]; c.Backlog != backlog {
				t.Errorf("%s: %s has a backlog of %d, want %d", when, c.SubKey, c.Backlog, backlog)
			}
			sub, err := b.Subscription(&broker.Client{Username: c.Client}, "", c.SubKey)
			if err != nil {
				t.Fatal(err)
			}
			msgs, err := sub.Receive(context.Background(), broker.ReceiveOptions{Max: 10})
			var got []string
			for i := range msgs {
				got = append(got, string(msgs[i].Payload))
			}
			if err != nil || strings.Join(got, " ") != want {
				t.Errorf("%s: %s got %q %v, want %q", when, c.SubKey, got, err, want)
			}
			sub.Release(msgs)
		}
		if err := errors.Join(b.Close(), Verify(path, Options{}, nil)); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
}

// TestFormat1Kept: bringing a file to the present format is one transaction, and one that fails leaves the
// file as it was.
func TestFormat1Kept(t *testing.T) {
	path := unpack(t, "format1.db.gz")
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = s.bolt().Update(func(tx *bbolt.Tx) error { // a lane that says that more was removed than there ever was
		return tx.Bucket(bucketNames[bucketLane]).Put(appendLane(nil, store.Lane{Topic: 1, Priority: 1}), []byte{1})
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("got %v", err)
	}
	err = s.bolt().View(func(tx *bbolt.Tx) error {
		if v := tx.Bucket(bucketNames[bucketMeta]).Get(keyFormat); v[3] != 1 {
			t.Errorf("format %x", v)
		}
		return nil
	})
	if err := errors.Join(err, s.bolt().Close()); err != nil {
		t.Fatal(err)
	}
}
