package page

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
)

const size = 4096 // of a page

// file returns a file of bbolt with branches, an inline bucket, a value of several pages, and a list of free pages or none.
func file(t *testing.T, list bool) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.db")
	b, err := bbolt.Open(path, 0o600, &bbolt.Options{PageSize: size, NoFreelistSync: !list, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	put := func(bucket string, from, n, length int) {
		if err := b.Update(func(tx *bbolt.Tx) error {
			in, err := tx.CreateBucketIfNotExists([]byte(bucket))
			for i := from; i < from+n && err == nil; i++ {
				err = in.Put(fmt.Appendf(nil, "%06d", i), make([]byte, length))
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	put("inline", 0, 3, 8)
	put("large", 0, 1, 3*size)
	for i := range 4 { // the pages of earlier commits are free
		put("tree", 1000*i, 1000, 16)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func head(t *testing.T, file []byte) *Head {
	t.Helper()
	h, err := ReadHead(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	return &h
}

// branch is the first branch page of a file that is in use.
func branch(t *testing.T, file []byte, h *Head) []byte {
	t.Helper()
	w := newWalk(bytes.NewReader(file), h)
	if err := w.bucket(h.Root); err != nil {
		t.Fatal(err)
	}
	for id := uint64(2); id < h.HighWater; id++ {
		if p := file[id*size:]; w.visited[id/64]&(1<<(id%64)) != 0 && binary.NativeEndian.Uint64(p) == id && binary.NativeEndian.Uint16(p[8:]) == BranchPage {
			return p
		}
	}
	t.Fatal("there is no branch page")
	return nil
}

func TestReadHead(t *testing.T) {
	good := file(t, true)
	newest := head(t, good)
	other := int(1-newest.txid%2) * size // of the two meta pages, where the older one is
	for _, tt := range []struct {
		name   string
		damage func(b []byte) []byte
		want   error
		older  bool
	}{
		{"as it is", func(b []byte) []byte { return b }, nil, false},
		{"the older one", func(b []byte) []byte { b[other+HeaderSize+16]++; return b }, nil, false},
		{"the newest one", func(b []byte) []byte { b[size-other+HeaderSize+16]++; return b }, nil, true},
		{"both", func(b []byte) []byte { b[HeaderSize+16]++; b[size+HeaderSize+16]++; return b }, ErrNoHead, false},
		{"text", func([]byte) []byte { return bytes.Repeat([]byte("hello "), 5000) }, ErrForeign, false},
		{"nothing", func([]byte) []byte { return nil }, ErrForeign, false},
	} {
		h, err := ReadHead(bytes.NewReader(tt.damage(bytes.Clone(good))))
		if !errors.Is(err, tt.want) || tt.want == nil && (h.PageSize != size || (h.txid == newest.txid) == tt.older) {
			t.Errorf("%s: %+v, %v", tt.name, h, err)
		}
	}
}

// Each way of damage has an error that names the page.
func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		name    string
		list    bool
		damage  func(b []byte, h *Head) []byte
		want    string // empty: nothing is wrong
		shallow bool   // what does not go into buckets finds it, too
	}{
		{"as it is", true, func(b []byte, _ *Head) []byte { return b }, "", true},
		{"as it is, without a list", false, func(b []byte, _ *Head) []byte { return b }, "", true},
		{"short", true, func(b []byte, h *Head) []byte { return b[:h.HighWater*size-1] }, "bytes long instead of", true},
		{"root", true, func(b []byte, h *Head) []byte { clear(b[h.Root*size:][:size]); return b }, "has a wrong header", true},
		{"free and in use", true, func(b []byte, h *Head) []byte {
			list := b[h.Freelist*size:]
			binary.NativeEndian.PutUint16(list[10:], 1)
			binary.NativeEndian.PutUint64(list[HeaderSize:], h.Root)
			return b
		}, "the list of free pages, page", true},
		{"circle", true, func(b []byte, h *Head) []byte {
			p := branch(t, b, h)
			copy(p[HeaderSize+8:], p[:8])
			return b
		}, "is used twice", false},
		{"child out of range", false, func(b []byte, h *Head) []byte {
			binary.NativeEndian.PutUint64(branch(t, b, h)[HeaderSize+8:], h.HighWater)
			return b
		}, "is out of range", false},
		{"kind of page", false, func(b []byte, h *Head) []byte { branch(t, b, h)[8] = 4; return b }, "has a wrong header", false},
		{"empty branch", false, func(b []byte, h *Head) []byte {
			binary.NativeEndian.PutUint16(branch(t, b, h)[10:], 0)
			return b
		}, "has no entry", false},
		{"key out of range", false, func(b []byte, h *Head) []byte {
			binary.NativeEndian.PutUint32(branch(t, b, h)[HeaderSize:], 1<<20)
			return b
		}, "has an entry that is out of range", false},
		{"keys in a wrong order", false, func(b []byte, h *Head) []byte {
			p := branch(t, b, h)
			first, second := binary.NativeEndian.Uint32(p[HeaderSize:]), binary.NativeEndian.Uint32(p[HeaderSize+elementSize:])
			binary.NativeEndian.PutUint32(p[HeaderSize:], second+elementSize)
			binary.NativeEndian.PutUint32(p[HeaderSize+elementSize:], first-elementSize)
			return b
		}, "in a wrong order", false},
		{"inline bucket", false, func(b []byte, h *Head) []byte {
			i := bytes.LastIndex(b[:(h.Root+1)*size], []byte("inline")) // its header, and then a page, are behind its name
			b[i+len("inline")+bucketHeaderSize+8] = BranchPage
			return b
		}, "has a bucket with a wrong page", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := file(t, tt.list)
			h := head(t, b)
			if h.HasFreelist() != tt.list {
				t.Fatal("has a list of free pages:", !tt.list)
			}
			b = tt.damage(b, h)
			for _, deep := range []bool{true, false} {
				err := h.Check(bytes.NewReader(b), int64(len(b)), deep, nil)
				if found := tt.want != "" && (deep || tt.shallow); (err != nil) != found || found && !strings.Contains(err.Error(), tt.want) {
					t.Errorf("deep %v: got %v, want %q", deep, err, tt.want)
				}
			}
		})
	}
}

// Progress grows up to the whole.
func TestCheckProgress(t *testing.T) {
	b := file(t, false)
	parts := []float64{0}
	if err := head(t, b).Check(bytes.NewReader(b), int64(len(b)), true, func(part float64) { parts = append(parts, part) }); err != nil {
		t.Fatal(err)
	}
	for i, part := range parts[1:] {
		if part <= parts[i] || part > 1 {
			t.Errorf("progress %v", parts)
			break
		}
	}
	if len(parts) < 2 {
		t.Error("no progress")
	}
}
