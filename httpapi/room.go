package httpapi

import (
	"errors"
	"io"
	"math/bits"
	"sync"
	"time"

	"pipit/broker"
	"pipit/httpapi/quota"
)

// room is where a body is read to, and the memory that is set aside for it. Past the first step it
// grows with what has come, to at most twice as much: who announces a body and does not send it takes
// nothing from others.
type room struct {
	b      *broker.Broker
	part   *quota.Budget // of what all bodies may take
	client string        // whose body it is
	buf    *[]byte       // nil until there is something to read
	size   int           // bytes that are set aside
	free   func()        // gives them back
}

// The first step, in bytes.
const (
	firstRoom = 16 << 10 // where the length is known; a body up to that takes one step
	leastRoom = 4 << 10  // where it is not
)

var errLimit = errors.New("limit")

var errShare = &broker.Error{Code: broker.Unavailable, Message: "Overloaded, try again", Reason: "this client's bodies have half of max_pending", RetryAfter: time.Second}

// fill reads a body of n bytes, -1 where that is not known. The error is errLimit where it has more
// than limit, Unavailable where there is no room, or the reader's.
func (r *room) fill(src io.Reader, n, limit int64) error {
	step, most := int64(leastRoom), limit
	if n >= 0 {
		step, most = firstRoom, n
	}
	if most > limit {
		return errLimit
	}
	for ; ; step *= 2 {
		if err := r.grow(int(min(step, most))); err != nil {
			return err
		}
		b := *r.buf
		for len(b) < r.size {
			got, err := src.Read(b[len(b):r.size])
			b = b[:len(b)+got]
			*r.buf = b
			if err == io.EOF && (n < 0 || int64(len(b)) == n) {
				return nil
			}
			if err == io.EOF {
				return io.ErrUnexpectedEOF
			}
			if err != nil {
				return err
			}
		}
		switch {
		case int64(len(b)) == n:
			return nil
		case int64(len(b)) == most:
			return atEnd(src)
		}
	}
}

// atEnd returns errLimit where there is more.
func atEnd(src io.Reader) error {
	var one [1]byte
	switch n, err := io.ReadFull(src, one[:]); {
	case n > 0:
		return errLimit
	case err == io.EOF:
		return nil
	default:
		return err
	}
}

// grow makes the room larger and keeps what is in it.
func (r *room) grow(size int) error {
	more := int64(size - r.size)
	if !r.part.Extend(r.client, int64(r.size), more) {
		return errShare
	}
	free, err := r.b.Reserve(more)
	if err != nil {
		r.part.Give(r.client, more)
		return err
	}
	buf, old := takeBuffer(size), r.buf
	*buf = (*buf)[:0]
	if old == nil {
		r.free = free
	} else {
		*buf = append(*buf, *old...)
		giveBuffer(old)
		before := r.free
		r.free = func() { free(); before() }
	}
	r.buf, r.size = buf, size
	return nil
}

// bytes is what was read.
func (r *room) bytes() []byte {
	if r.buf == nil {
		return nil
	}
	return *r.buf
}

// leave gives everything back.
func (r *room) leave() {
	if r.buf != nil {
		giveBuffer(r.buf)
		r.free()
		r.part.Give(r.client, int64(r.size))
		r.buf = nil
	}
}

// rooms keep buffers of 4 KiB, 8 KiB and so on to keepBuffer. Were there one pool, a small body would
// sit on a large buffer for which nothing is set aside.
var rooms [9]sync.Pool

// class tells which of rooms has buffers of size bytes.
func class(size int) int { return bits.Len(uint(max(size, 1)-1) / leastRoom) }

// takeBuffer returns a buffer of at least size bytes, and less than twice as much or leastRoom.
func takeBuffer(size int) *[]byte {
	if size > keepBuffer {
		b := make([]byte, 0, size)
		return &b
	}
	c := class(size)
	if b, ok := rooms[c].Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, 0, leastRoom<<c)
	return &b
}

func giveBuffer(b *[]byte) {
	if cap(*b) <= keepBuffer {
		rooms[class(cap(*b))].Put(b)
	}
}
