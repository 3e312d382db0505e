package httpapi

import (
	"bytes"
	"encoding/base64"
	"mime"
	"net/http"
	"strconv"

	"pipit/broker"
	"pipit/broker/clip"
	"pipit/broker/limit"
)

// publishBatch stores one message a line of the body: all of them or, after an error, none.
func (s *server) publishBatch(x *call, r *http.Request, pub broker.Publisher, topic string, p params) error {
	for _, name := range publishParams {
		if p.given(name) && name != "batch" {
			return broker.Invalidf("parameter %q: in a batch it belongs into the lines", name)
		}
	}
	if header := attributeHeader(r.Header); header != "" {
		return broker.Invalidf("header %s: in a batch, attributes belong into the lines", clip.Input(header))
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/x-ndjson" {
		return broker.Invalidf("header Content-Type %q: a batch is application/x-ndjson", clip.Input(r.Header.Get("Content-Type")))
	}
	body, done, err := s.body(x, r, s.opts.Load().MaxBatch, "body")
	if err != nil {
		return err
	}
	defer done()
	pubs, err := parseBatch(body, s.b.CheckPublication)
	if err != nil {
		return err
	}
	s.limits.Published(x.client, len(pubs), len(body))
	span := x.span.Send(topic)
	span.Batch(len(pubs))
	for i := range pubs {
		pubs[i].Attributes = span.Attributes(pubs[i].Attributes)
	}
	receipts, err := pub.PublishBatch(pubs)
	span.End(err)
	if err != nil {
		return err
	}
	buf := getBuffer()
	defer putBuffer(buf)
	d := x.document(*buf, "ZATO_OK")
	d.list("msg_ids", len(receipts), func(i int) string {
		if receipts[i].Duplicate {
			x.Header()["X-Zato-Duplicate"] = isTrue
		}
		return receipts[i].ID
	})
	x.send(http.StatusOK, &d)
	*buf = d.b
	return nil
}

// parseBatch reads lines of one JSON object each, at most limit.MaxBatch. The last one may end
// with a newline. An error names its line. Payloads without escapes are part of body.
func parseBatch(body []byte, check func(*broker.Publication) error) ([]broker.Publication, error) {
	body = bytes.TrimPrefix(body, byteOrderMark)
	body = bytes.TrimSuffix(bytes.TrimSuffix(body, []byte("\n")), []byte("\r"))
	lines := 0
	if len(body) > 0 {
		lines = bytes.Count(body, []byte("\n")) + 1
	}
	if lines == 0 || lines > limit.MaxBatch {
		return nil, broker.Invalidf("batch of %d lines: allowed are 1 to %d", lines, limit.MaxBatch)
	}
	pubs := make([]broker.Publication, lines)
	for i := range pubs {
		var line []byte
		line, body, _ = bytes.Cut(body, []byte("\n"))
		err := parseLine(line, &pubs[i])
		if err == nil {
			err = check(&pubs[i])
		}
		if err != nil {
			return nil, lineError(i+1, err)
		}
	}
	return pubs, nil
}

// byteOrderMark is what editors of Windows put in front of a text.
var byteOrderMark = []byte("\ufeff")

func lineError(line int, err error) error {
	be := broker.ErrorOf(err)
	if be == nil {
		return err
	}
	e := *be
	e.Message = "line " + strconv.Itoa(line) + ": " + e.Message
	return &e
}

// lineKeyNames are the keys of a line beside its payload.
const lineKeyNames = "priority, expiration, mime_type, msg_id, delay, deliver_at, correlation_id, reply_to, attributes, encoding"

var errSyntax = broker.Invalidf(`not a JSON object with "payload", a string, and perhaps ` + lineKeyNames)

// parseLine reads the object of one line. encoding, where the payload is bytes and not text, is "base64".
func parseLine(line []byte, m *broker.Publication) error {
	s := scanner{b: line}
	if !s.next('{') {
		return errSyntax
	}
	var given lineKey
	for first := true; ; first = false {
		more, ok := s.more('}', first)
		if !ok {
			return errSyntax
		}
		if !more {
			break
		}
		key, ok := s.key()
		if !ok {
			return errSyntax
		}
		k := lineKeys[string(key)]
		if k == 0 {
			return broker.Invalidf("key %q: allowed are payload, "+lineKeyNames, clip.Input(string(key)))
		}
		if given&k != 0 {
			return broker.Invalidf("key %q: given twice", key)
		}
		given |= k
		if err := s.value(k, key, m); err != nil {
			return err
		}
	}
	if !s.end() {
		return errSyntax
	}
	if given&keyPayload == 0 {
		return broker.Invalidf("payload: it is missing")
	}
	if given&keyEncoding != 0 {
		b, err := base64.StdEncoding.AppendDecode(nil, m.Payload)
		if err != nil {
			return broker.Invalidf("payload: not base64, as its encoding says")
		}
		m.Payload = b
	}
	return nil
}

// lineKey is a set of keys of a line.
type lineKey uint

const (
	keyPayload lineKey = 1 << iota
	keyPriority
	keyExpiration
	keyMIMEType
	keyMessageID
	keyDelay
	keyEncoding
	keyCorrelationID
	keyReplyTo
	keyAttributes
	keyDeliverAt
)

var lineKeys = map[string]lineKey{"payload": keyPayload, "priority": keyPriority, "expiration": keyExpiration,
	"mime_type": keyMIMEType, "msg_id": keyMessageID, "delay": keyDelay, "encoding": keyEncoding,
	"correlation_id": keyCorrelationID, "reply_to": keyReplyTo, "attributes": keyAttributes, "deliver_at": keyDeliverAt}

// value takes the value of a key into a message. 0 and "" stand for a default there.
func (s *scanner) value(k lineKey, name []byte, m *broker.Publication) error {
	if k&(keyPriority|keyExpiration|keyDelay) != 0 {
		n, ok := s.number()
		if !ok {
			return broker.Invalidf("%s: allowed are whole numbers", name)
		}
		switch k {
		case keyPriority:
			m.Priority = int(n)
			return unlessZero(n, limit.CheckPriority)
		case keyExpiration:
			m.Expiration = n
			return unlessZero(n, limit.CheckExpiration)
		default:
			m.Delay = n
			return limit.CheckDelay(n)
		}
	}
	switch k {
	case keyAttributes:
		return s.attributes(m)
	case keyDeliverAt:
		return s.deliverAt(m)
	}
	v, ok := s.str()
	if !ok {
		return broker.Invalidf("%s: allowed is a JSON string", name)
	}
	switch k {
	case keyCorrelationID:
		m.CorrelationID = string(v)
		return limit.CheckCorrelationID(m.CorrelationID)
	case keyReplyTo:
		m.ReplyTo = string(v)
		return limit.CheckReplyTo(m.ReplyTo)
	case keyPayload:
		m.Payload = v
	case keyMIMEType:
		m.MIMEType = string(v)
		return unlessZero(m.MIMEType, limit.CheckMIMEType)
	case keyMessageID:
		m.ID = string(v)
		return unlessZero(m.ID, limit.CheckMessageID)
	default:
		if string(v) != "base64" {
			return broker.Invalidf("encoding %q: allowed is base64", clip.Input(string(v)))
		}
	}
	return nil
}

// attributes takes an object whose values are strings, as the attributes of a message.
func (s *scanner) attributes(m *broker.Publication) error {
	ok := s.object(func(name string) bool {
		v, ok := s.str()
		m.Attributes = append(m.Attributes, broker.Attribute{Name: name, Value: string(v)})
		return ok && len(m.Attributes) <= limit.MaxAttributes
	})
	if len(m.Attributes) > limit.MaxAttributes {
		return limit.CheckAttributes(m.Attributes)
	}
	if !ok {
		return broker.Invalidf("attributes: allowed is a JSON object whose values are strings")
	}
	return limit.CheckAttributes(m.Attributes)
}

// deliverAt takes a string, a UTC time, or a number, Unix seconds, as the time before which the message is not delivered.
func (s *scanner) deliverAt(m *broker.Publication) (err error) {
	v, ok := s.str()
	if !ok {
		n, whole := s.number()
		if !whole {
			return broker.Invalidf("deliver_at: allowed are a JSON string, a UTC time such as 2026-11-23T09:00:00, and a whole number, Unix seconds")
		}
		v = strconv.AppendInt(nil, n, 10)
	}
	if len(v) > 0 {
		m.DeliverAt, err = limit.ParseDeliverAt(string(v))
	}
	return err
}

// unlessZero checks a value that is not the one which stands for a default.
func unlessZero[V int64 | string](v V, check func(V) error) error {
	var zero V
	if v == zero {
		return nil
	}
	return check(v)
}
