package httpapi

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"

	"pipit/broker"
)

// publishParams are the query parameters of a publish.
var publishParams = []string{"priority", "expiration", "mime_type", "msg_id", "delay", "batch"}

var duplicate = []string{"true"}

// publish stores the body as a message.
func (s *server) publish(x *exchange, r *http.Request, rest string) error {
	c, err := s.client(x, r)
	if err != nil {
		return err
	}
	name, err := topicName(rest)
	if err != nil {
		return err
	}
	pub, err := s.b.Publisher(c, name)
	if err != nil {
		return err
	}
	p, err := parseParams(r.URL.RawQuery, publishParams...)
	if err != nil {
		return err
	}
	if batch, err := p.flag("batch"); err != nil {
		return err
	} else if batch {
		return s.publishBatch(x, r, pub, p)
	}
	m, err := publication(p)
	if err != nil {
		return err
	}
	if m.MIMEType == "" {
		if m.MIMEType, err = mimeType(r.Header); err != nil {
			return err
		}
	}
	body, done, err := s.body(r, s.opts.MaxPayload, "payload")
	if err != nil {
		return err
	}
	m.Payload = body
	receipt, err := pub.Publish(r.Context(), m)
	done()
	if err != nil {
		return err
	}
	if receipt.Duplicate {
		x.Header()["X-Zato-Duplicate"] = duplicate
	}
	b := append(make([]byte, 0, 96), `{"status": "ZATO_OK", "msg_id": "`...)
	b = append(append(b, receipt.ID...), `"}`...)
	_ = x.reply(http.StatusOK, typeJSON, b)
	return nil
}

// publication reads the parameters of one message.
func publication(p params) (m broker.Publication, err error) {
	if len(p) == 0 {
		return m, nil
	}
	number := func(name string, check func(int64) error) (n int64) {
		if _, given := p[name]; given && err == nil {
			if n, err = p.integer(name, 0); err == nil {
				err = check(n)
			}
		}
		return n
	}
	text := func(name string, check func(string) error) string {
		v, given := p[name]
		if given && err == nil {
			err = check(v)
		}
		return v
	}
	m.Priority = int(number("priority", broker.CheckPriority))
	m.Expiration = number("expiration", broker.CheckExpiration)
	m.Delay = number("delay", broker.CheckDelay)
	m.MIMEType = text("mime_type", broker.CheckMIMEType)
	m.ID = text("msg_id", broker.CheckMessageID)
	return m, err
}

// mimeType is that of the request, unless it is what curl says of any -d.
func mimeType(h http.Header) (string, error) {
	t := h.Get("Content-Type")
	if t == "" || strings.HasPrefix(strings.ToLower(t), "application/x-www-form-urlencoded") {
		return broker.DefaultMIMEType, nil
	}
	if err := broker.CheckMIMEType(t); err != nil {
		return "", broker.Invalidf("header Content-Type %q: allowed are 1 to %d bytes without control characters", clip(t), broker.MaxMIMEType)
	}
	return t, nil
}

// keepBuffer bounds, in bytes, what is kept of a buffer for the next request.
const keepBuffer = 64 << 10

var buffers = sync.Pool{New: func() any { return new([]byte) }}

// body reads a body of at most limit bytes, as a stream. The bytes are valid until done.
func (s *server) body(r *http.Request, limit int64, what string) (body []byte, done func(), err error) {
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
	buf := buffers.Get().(*[]byte)
	done = func() {
		if cap(*buf) <= keepBuffer {
			buffers.Put(buf)
		}
		release()
	}
	if n >= 0 {
		if int64(cap(*buf)) < n {
			*buf = make([]byte, n)
		}
		*buf = (*buf)[:n]
		_, err = io.ReadFull(r.Body, *buf)
	} else {
		*buf, err = readAll((*buf)[:0], io.LimitReader(r.Body, limit+1))
		if err == nil && int64(len(*buf)) > limit {
			err = tooLarge(what, limit)
		}
	}
	if err != nil {
		done()
		var be *broker.Error
		if !errors.As(err, &be) {
			err = broker.Invalidf("the %s ended early or came too slowly", what)
		}
		return nil, nil, err
	}
	return *buf, done, nil
}

// readAll appends all of r to b.
func readAll(b []byte, r io.Reader) ([]byte, error) {
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			return b, nil
		}
		if err != nil {
			return b, err
		}
	}
}

func tooLarge(what string, limit int64) *broker.Error {
	e := broker.Invalidf("%s: allowed are at most %d bytes", what, limit)
	e.Code = broker.TooLarge
	return e
}
