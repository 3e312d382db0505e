// Package page looks at the pages of a bbolt file without bbolt, which trusts what it maps: a wrong page there is a panic, at times in
// a goroutine of its own, or a walk in a circle. Here it is an error, before bbolt opens the file.
//
// It knows how bbolt lays out its meta pages, its list of free pages, and branches and leaves; what is stored in them it does
// not know. It only reads, and nobody may write to the file meanwhile.
package page

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
)

// Head is what the newest valid meta page of a file says.
type Head struct {
	PageSize  int64
	Root      uint64 // page of the root bucket
	Freelist  uint64 // page of the list of free pages; see HasFreelist
	HighWater uint64 // first page that was never used
	txid      uint64
}

// A meta page of bbolt, in the byte order of the machine:
//
//	page id 8 | flags 2 | count 2 | overflow 4 |
//	magic 4 | version 4 | page size 4 | flags 4 | root page 8 | root sequence 8 |
//	freelist page 8 | high water 8 | txid 8 | FNV-1a of the meta before it 8
const (
	HeaderSize = 16 // of every page: from its id to its overflow
	metaSize   = 64
	boltMagic  = 0xED0CDAED
	noFreelist = 1<<64 - 1
)

// Errors of ReadHead.
var (
	ErrForeign = errors.New("it is no file of bbolt")
	ErrNoHead  = errors.New("neither of its meta pages is valid")
)

// Meta is what a meta page says. Of two, the valid one with the higher Txid counts.
type Meta struct {
	Offset    int64  `json:"offset"` // in the file
	Valid     bool   `json:"valid"`  // its checksum is right; else the rest is what stands there
	Version   uint32 `json:"version"`
	PageSize  uint32 `json:"page_size"`
	Root      uint64 `json:"root_page"`
	Freelist  uint64 `json:"freelist_page"` // 2⁶⁴-1: it is left out
	HighWater uint64 `json:"high_water"`    // pages
	Txid      uint64 `json:"txid"`
}

// ReadMeta reads the meta page at an offset; it is not found where nothing there looks like one.
func ReadMeta(f io.ReaderAt, off int64) (m Meta, found bool) {
	var b [HeaderSize + metaSize]byte
	if _, err := f.ReadAt(b[:], off); err != nil {
		return m, false
	}
	raw := b[HeaderSize:]
	if binary.NativeEndian.Uint32(raw) != boltMagic {
		return m, false
	}
	sum := fnv.New64a()
	_, _ = sum.Write(raw[:56])
	return Meta{
		Offset:    off,
		Valid:     binary.NativeEndian.Uint64(raw[56:]) == sum.Sum64(),
		Version:   binary.NativeEndian.Uint32(raw[4:]),
		PageSize:  binary.NativeEndian.Uint32(raw[8:]),
		Root:      binary.NativeEndian.Uint64(raw[16:]),
		Freelist:  binary.NativeEndian.Uint64(raw[32:]),
		HighWater: binary.NativeEndian.Uint64(raw[40:]),
		Txid:      binary.NativeEndian.Uint64(raw[48:]),
	}, true
}

// Head returns the head of a file as m, which is valid, has it.
func (m *Meta) Head() Head {
	return Head{PageSize: int64(m.PageSize), Root: m.Root, Freelist: m.Freelist, HighWater: m.HighWater, txid: m.Txid}
}

// ReadHead finds the meta pages of a file. The error is ErrForeign or ErrNoHead.
func ReadHead(f io.ReaderAt) (h Head, err error) {
	found, valid := false, false
	try := func(off int64) {
		m, ok := ReadMeta(f, off)
		found = found || ok
		if !m.Valid {
			return
		}
		if !valid || m.Txid > h.txid {
			h = m.Head()
		}
		valid = true
	}
	try(0)
	if valid {
		try(h.PageSize)
	} else {
		for size := int64(1024); size <= 16<<20; size *= 2 {
			try(size)
		}
	}
	switch {
	case !found:
		return h, ErrForeign
	case !valid:
		return h, ErrNoHead
	}
	return h, nil
}

// HasFreelist tells whether the file has the list of free pages. It can be left out; then bbolt finds them when it opens
// the file, by going through all that are in use.
func (h *Head) HasFreelist() bool { return h.Freelist != noFreelist }

// FreePages returns the free pages of a file that has the list of them, in order.
func (h *Head) FreePages(f io.ReaderAt) ([]uint64, error) {
	if !h.HasFreelist() {
		return nil, errors.New("it has no list of free pages")
	}
	list, _, err := newWalk(f, h).freePages(h.Freelist)
	return list, err
}

// Check tells whether a file is as long as its head says, size being its length in bytes, and whether its pages are what they
// should be: all of them where it is deep, else those of the root bucket, which lists the others, and the list of free pages.
// progress, where not nil, is told now and then which part of a deep one is done.
func (h *Head) Check(f io.ReaderAt, size int64, deep bool, progress func(part float64)) error {
	if h.PageSize < 512 || h.HighWater > uint64(size/h.PageSize) { // #nosec G115 -- neither is negative
		return fmt.Errorf("it is %d bytes long instead of %d", size, int64(h.HighWater)*h.PageSize) // #nosec G115 -- of a damaged file any number, which is shown alone
	}
	w := newWalk(f, h)
	w.progress, w.shallow = progress, !deep
	if err := w.bucket(h.Root); err != nil || !h.HasFreelist() {
		return err
	}
	return w.freelist(h.Freelist)
}
