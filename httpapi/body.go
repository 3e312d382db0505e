package httpapi

import (
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

// body reads a body of at most limit bytes, as they are when it is unpacked. They are valid until done.
// what names it in errors: TooLarge, before it is read where its length is known, Invalid where it ends
// early or is not what its Content-Encoding says, Unavailable where there is no memory to set aside.
func (s *server) body(x *call, r *http.Request, limit int64, what string) (body []byte, done func(), err error) {
	packed, err := encodingOf(r.Header)
	if err != nil {
		return nil, nil, err
	}
	if least := s.opts.Load().MinBodyRate; least > 0 && r.ContentLength != 0 {
		x.pace = pace{body: r.Body, conn: x.ResponseWriter, began: time.Now(), least: least}
		r.Body = &x.pace
	}
	in := &x.in
	in.b, in.part, in.client = s.b, s.bodies, x.username
	if packed == identity {
		err = in.fill(r.Body, r.ContentLength, limit)
	} else {
		err = in.unpack(r.Body, packed, r.ContentLength, limit)
	}
	if err == nil {
		x.read = true
		return in.bytes(), in.leave, nil
	}
	in.leave()
	switch {
	case err == errLimit:
		return nil, nil, tooLarge(what, limit)
	case broker.ErrorOf(err) != nil:
		return nil, nil, err
	}
	be := broker.Invalidf("the %s ended early or came too slowly", what)
	if packed != identity {
		be.Message += ", or is not " + string(packed) + " as its Content-Encoding says"
	}
	be.Err = err
	return nil, nil, be
}

// bodyGrace is the time until MinBodyRate counts; less in a test.
var bodyGrace = 10 * time.Second

// pace is a body that has to come with least bytes a second.
type pace struct {
	body  io.ReadCloser
	conn  http.ResponseWriter
	began time.Time
	least int64
	n     int64 // bytes that have come
}

func (p *pace) Read(b []byte) (int, error) {
	p.limit(min(bodyTime, bodyGrace+time.Duration(float64(p.n)/float64(p.least)*float64(time.Second))))
	n, err := p.body.Read(b)
	p.n += int64(n)
	if err == io.EOF { // the limit is of the body, and not of what comes after it
		p.limit(bodyTime)
	}
	return n, err
}

func (p *pace) Close() error { return p.body.Close() }

func (p *pace) limit(d time.Duration) {
	_ = http.NewResponseController(p.conn).SetReadDeadline(p.began.Add(d))
}

func tooLarge(what string, limit int64) error {
	e := broker.Invalidf("%s: allowed are at most %d bytes", what, limit)
	e.Code = broker.TooLarge
	return e
}
