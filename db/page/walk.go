package page

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// Pages of bbolt below the meta pages: a header and elements, then keys and values.
//
//	branch element   key offset 4 | key size 4 | page 8
//	leaf element     flags 4 | key offset 4 | key size 4 | value size 4
//
// An offset counts from the element itself. A leaf element with flag 1 is a bucket; its value
// begins with the bucket's root page, or 0 and then a page of its own.
const (
	BranchPage       = 1
	leafPage         = 2
	freelistPage     = 16
	elementSize      = 16
	bucketHeaderSize = 16
	manyFree         = 0xFFFF // as count of a freelist: the first 8 bytes behind the header have it
)

// progressStep is after how many pages progress is told.
const progressStep = 64

// walk goes through the pages of all buckets with a reader's distrust: whatever bbolt would panic
// over, it finds first. It keeps one page a level of the tree in memory.
type walk struct {
	file     io.ReaderAt
	shallow  bool // it does not go into buckets
	pageSize uint64
	end      uint64   // first page that was never used
	visited  []uint64 // a bit a page
	free     [][]byte // buffers for pages
	done     uint64   // pages
	progress func(part float64)
}

func newWalk(f io.ReaderAt, h *Head) *walk {
	return &walk{file: f, pageSize: uint64(h.PageSize), end: h.HighWater, visited: make([]uint64, h.HighWater/64+1)} // #nosec G115 -- at least 512: see Check
}

// freelist checks the list of free pages: a page that is in use must not be among them. Call it last.
func (w *walk) freelist(id uint64) error {
	list, overflow, err := w.freePages(id)
	if err != nil {
		return err
	}
	for _, p := range list {
		if w.visited[p/64]&(1<<(p%64)) != 0 || p >= id && p <= id+overflow {
			return wrongList(id)
		}
	}
	return nil
}

func wrongList(id uint64) error {
	return fmt.Errorf("the list of free pages, page %d, is wrong", id)
}

// freePages reads the list of free pages, in order, and returns how many pages it takes beside its first.
func (w *walk) freePages(id uint64) (list []uint64, overflow uint64, err error) {
	if id < 2 || id >= w.end {
		return nil, 0, wrongList(id)
	}
	var header [HeaderSize + 8]byte
	if err := w.readAt(header[:], id, 0); err != nil {
		return nil, 0, err
	}
	first, count := uint64(HeaderSize), uint64(binary.NativeEndian.Uint16(header[10:]))
	if count == manyFree {
		first, count = first+8, binary.NativeEndian.Uint64(header[HeaderSize:])
	}
	overflow = uint64(binary.NativeEndian.Uint32(header[12:]))
	if binary.NativeEndian.Uint64(header[:]) != id || binary.NativeEndian.Uint16(header[8:]) != freelistPage ||
		overflow >= w.end-id || count > ((overflow+1)*w.pageSize-first)/8 {
		return nil, 0, wrongList(id)
	}
	raw := make([]byte, 8*count)
	if err := w.readAt(raw, id, first); err != nil {
		return nil, 0, err
	}
	list = make([]uint64, 0, count)
	last := uint64(1)
	for ; len(raw) > 0; raw = raw[8:] {
		p := binary.NativeEndian.Uint64(raw)
		if p <= last || p >= w.end {
			return nil, 0, wrongList(id)
		}
		list, last = append(list, p), p
	}
	return list, overflow, nil
}

// element is one entry of a page.
type element struct {
	key    []byte
	child  uint64 // of a branch
	bucket uint64 // of a leaf: the root page of a bucket that has one
}

func (w *walk) bucket(root uint64) error {
	_, err := w.tree(root, nil, nil)
	return err
}

// tree goes through a page and what is below it. Its keys must grow, from low on, inclusive, to
// high, exclusive, where these are not nil. It returns the last key.
func (w *walk) tree(id uint64, low, high []byte) (last []byte, err error) {
	page, size, err := w.read(id)
	if err != nil {
		return nil, err
	}
	flags, count := binary.NativeEndian.Uint16(page[8:]), binary.NativeEndian.Uint16(page[10:])
	if count == 0 {
		if flags == BranchPage {
			return nil, fmt.Errorf("page %d has no entry", id)
		}
		w.free = append(w.free, page)
		return low, nil
	}
	elements := make([]element, count)
	for i := range elements {
		if elements[i], err = w.element(id, page, size, flags, uint64(i)); err != nil {
			return nil, err
		}
	}
	last = low
	for i, e := range elements {
		order := bytes.Compare(last, e.key)
		if order > 0 || order == 0 && i > 0 || high != nil && bytes.Compare(e.key, high) >= 0 {
			return nil, fmt.Errorf("page %d has its keys in a wrong order", id)
		}
		last = e.key
		switch {
		case flags == BranchPage:
			next := high
			if i+1 < len(elements) {
				next = elements[i+1].key
			}
			if last, err = w.tree(e.child, e.key, next); err != nil {
				return nil, err
			}
		case e.bucket != 0 && !w.shallow:
			if err := w.bucket(e.bucket); err != nil {
				return nil, err
			}
		}
	}
	last = bytes.Clone(last)
	w.free = append(w.free, page)
	return last, nil
}

// read returns a page up to the end of its elements, at least, and how long it is in the file.
func (w *walk) read(id uint64) (page []byte, size uint64, err error) {
	if id < 2 || id >= w.end {
		return nil, 0, fmt.Errorf("page %d is out of range", id)
	}
	if n := len(w.free); n > 0 {
		page, w.free = w.free[n-1][:w.pageSize], w.free[:n-1]
	} else {
		page = make([]byte, w.pageSize)
	}
	if err := w.readAt(page, id, 0); err != nil {
		return nil, 0, err
	}
	overflow := uint64(binary.NativeEndian.Uint32(page[12:]))
	if binary.NativeEndian.Uint64(page) != id || overflow >= w.end-id {
		return nil, 0, fmt.Errorf("page %d has a wrong header", id)
	}
	for p := id; p <= id+overflow; p++ {
		if w.visited[p/64]&(1<<(p%64)) != 0 {
			return nil, 0, fmt.Errorf("page %d is used twice", p)
		}
		w.visited[p/64] |= 1 << (p % 64)
		if w.done++; w.progress != nil && w.done%progressStep == 0 {
			w.progress(float64(w.done) / float64(w.end))
		}
	}
	size = (overflow + 1) * w.pageSize
	flags, count := binary.NativeEndian.Uint16(page[8:]), uint64(binary.NativeEndian.Uint16(page[10:]))
	if HeaderSize+count*elementSize > size || flags != BranchPage && flags != leafPage {
		return nil, 0, fmt.Errorf("page %d has a wrong header", id)
	}
	if need := HeaderSize + count*elementSize; need > w.pageSize { // many elements of a large page
		page = slices.Grow(page, int(need))[:need] // #nosec G115 -- count has 16 bits
		if err := w.readAt(page, id, 0); err != nil {
			return nil, 0, err
		}
	}
	return page, size, nil
}

func (w *walk) element(id uint64, page []byte, size uint64, flags uint16, i uint64) (e element, err error) {
	at := HeaderSize + i*elementSize
	field := func(n uint64) uint64 { return uint64(binary.NativeEndian.Uint32(page[at+n:])) }
	if flags == BranchPage {
		e.child = binary.NativeEndian.Uint64(page[at+8:])
		e.key, err = w.bytes(id, page, size, at+field(0), field(4))
		return e, err
	}
	key, keySize, valueSize := at+field(4), field(8), field(12)
	if key+keySize+valueSize > size {
		return e, fmt.Errorf("page %d has an entry that is out of range", id)
	}
	if e.key, err = w.bytes(id, page, size, key, keySize); err != nil || field(0)&1 == 0 {
		return e, err
	}
	if valueSize < bucketHeaderSize {
		return e, fmt.Errorf("page %d has a bucket that is too short", id)
	}
	v, err := w.bytes(id, page, size, key+keySize, valueSize)
	if err != nil {
		return e, err
	}
	if e.bucket = binary.NativeEndian.Uint64(v); e.bucket == 0 {
		err = inline(id, v[bucketHeaderSize:])
	}
	return e, err
}

// inline checks the page of a small bucket, which is in an entry of page id.
func inline(id uint64, page []byte) error {
	wrong := fmt.Errorf("page %d has a bucket with a wrong page", id)
	if len(page) < HeaderSize || binary.NativeEndian.Uint16(page[8:]) != leafPage {
		return wrong
	}
	size, count := uint64(len(page)), uint64(binary.NativeEndian.Uint16(page[10:]))
	if HeaderSize+count*elementSize > size {
		return wrong
	}
	var last []byte
	for i := range count {
		at := HeaderSize + i*elementSize
		field := func(n uint64) uint64 { return uint64(binary.NativeEndian.Uint32(page[at+n:])) }
		key := at + field(4)
		if key+field(8)+field(12) > size || i > 0 && bytes.Compare(last, page[key:key+field(8)]) >= 0 {
			return wrong
		}
		last = page[key : key+field(8)]
	}
	return nil
}

// bytes returns n bytes of a page from off on, from the file where page does not have them.
func (w *walk) bytes(id uint64, page []byte, size, off, n uint64) ([]byte, error) {
	if off+n > size {
		return nil, fmt.Errorf("page %d has an entry that is out of range", id)
	}
	if off+n <= uint64(len(page)) {
		return page[off : off+n], nil
	}
	b := make([]byte, n)
	return b, w.readAt(b, id, off)
}

func (w *walk) readAt(b []byte, id, off uint64) error {
	if _, err := w.file.ReadAt(b, int64(id*w.pageSize+off)); err != nil { // #nosec G115 -- within the file: ids are below its end
		return fmt.Errorf("page %d: %w", id, err)
	}
	return nil
}
