package httpapi

import (
	"bytes"
	"net/http"

	"pipit/broker"
	"pipit/broker/limit"
)

// maxSeek bounds the body of a seek, in bytes.
const maxSeek = 4 << 10

// seek brings a consumer to another place of its topic.
func (s *server) seek(x *call, r *http.Request, rest string) error {
	sub, err := s.subscription(x, r, rest)
	if err != nil {
		return err
	}
	if rest == "" {
		return errNoTopic
	}
	if _, err := parseParams(r.URL.RawQuery); err != nil {
		return err
	}
	body, done, err := s.body(x, r, maxSeek, "body")
	if err != nil {
		return err
	}
	to, err := parseSeek(body)
	done()
	if err != nil {
		return err
	}
	backlog, err := sub.Seek(&x.ctx, to)
	if err != nil {
		return err
	}
	d := x.document(x.room[:], "ZATO_OK")
	d.number("backlog", int(backlog))
	x.send(http.StatusOK, &d)
	return nil
}

var errSeek = broker.Invalidf(`not a JSON object with "to", which is "oldest", "newest" or a UTC time, or with "msg_id"`)

// parseSeek reads {"to": "…"} or {"msg_id": "…"}; what "to" would be may stand alone.
func parseSeek(body []byte) (to broker.Seek, err error) {
	body = bytes.TrimPrefix(body, byteOrderMark)
	s := scanner{b: body}
	if v, ok := s.str(); ok && s.end() {
		return broker.ParseSeek(string(v))
	}
	s = scanner{b: body}
	key, value, n := "", "", 0
	if !s.object(func(k string) bool {
		v, ok := s.str()
		key, value = k, string(v)
		n++
		return ok
	}) || !s.end() || n != 1 {
		return to, errSeek
	}
	switch key {
	case "to":
		return broker.ParseSeek(value)
	case "msg_id":
		return broker.Seek{MessageID: value}, limit.CheckMessageID(value)
	}
	return to, errSeek
}
