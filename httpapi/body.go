package httpapi

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"pipit/broker"
)

// keepBuffer bounds, in bytes, which buffers are kept for the next request.
const keepBuffer = 1 << 20

var buffers = sync.Pool{New: func() any { return new([]byte) }}

func getBuffer() *[]byte { return buffers.Get().(*[]byte) }

func putBuffer(b *[]byte) {
	if cap(*b) <= keepBuffer {
		buffers.Put(b)
	}
}

// body reads a body of at most limit bytes, for which it first sets memory aside. The bytes are
// valid until done. what names it in errors: TooLarge, before it is read where its length is
// known, Invalid where it ends early, Unavailable where there is no room.
func (s *server) body(x *exchange, r *http.Request, limit int64, what string) (body []byte, done func(), err error) {
	n := r.ContentLength
	if n > limit {
		return nil, nil, tooLarge(what, limit)
	}
	room := n
	if n < 0 {
		room = limit
	}
	release, err := s.b.Reserve(room)
	if err != nil {
		return nil, nil, err
	}
	buf := getBuffer()
	done = func() {
		putBuffer(buf)
		release()
	}
	if n >= 0 {
		err = readFull(buf, r.Body, int(n))
	} else if err = readAll(buf, r.Body, int(limit)); err == errLimit {
		err = tooLarge(what, limit)
	}
	if err != nil {
		done()
		var be *broker.Error
		if !errors.As(err, &be) {
			be = broker.Invalidf("the %s ended early or came too slowly", what)
			be.Err = err
		}
		return nil, nil, be
	}
	x.read = true
	return *buf, done, nil
}

// readFull makes buf the next n bytes of r.
func readFull(buf *[]byte, r io.Reader, n int) error {
	if cap(*buf) < n {
		*buf = make([]byte, n)
	}
	*buf = (*buf)[:n]
	_, err := io.ReadFull(r, *buf)
	return err
}

var errLimit = errors.New("limit")

// readAll makes buf all of r, of which it never takes more than limit bytes.
func readAll(buf *[]byte, r io.Reader, limit int) error {
	b := (*buf)[:0]
	for {
		if len(b) == limit {
			// Is this the end?
			var one [1]byte
			n, err := io.ReadFull(r, one[:])
			*buf = b
			if n > 0 {
				return errLimit
			}
			if err == io.EOF {
				return nil
			}
			return err
		}
		if len(b) == cap(b) {
			b = append(make([]byte, 0, min(limit, max(4<<10, 2*cap(b)))), b...)
		}
		n, err := r.Read(b[len(b):min(cap(b), limit)])
		b = b[:len(b)+n]
		*buf = b
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func tooLarge(what string, limit int64) error {
	e := broker.Invalidf("%s: allowed are at most %d bytes", what, limit)
	e.Code = broker.TooLarge
	return e
}

// Of a body that nobody asked for.
const (
	ignoreSize = 4 << 10 // bytes
	ignoreTime = time.Second
)

// ignoreBody takes a small body off the connection: only behind it can the server see the client
// leave. A large or slow one is not waited for; it costs the connection.
func ignoreBody(x *exchange, r *http.Request) {
	if r.ContentLength == 0 || x.read {
		return
	}
	if r.ContentLength <= ignoreSize && r.Header["Expect"] == nil { // to read would ask for it
		rc := http.NewResponseController(x.ResponseWriter)
		_ = rc.SetReadDeadline(time.Now().Add(ignoreTime))
		if n, err := io.CopyN(io.Discard, r.Body, ignoreSize+1); n <= ignoreSize && err == io.EOF {
			x.read = true
			_ = rc.SetReadDeadline(time.Time{})
			return
		}
	}
	x.unread = true
	x.Header()["Connection"] = isClose
}
