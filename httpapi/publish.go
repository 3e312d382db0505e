package httpapi

import (
	"net/http"
	"strings"

	"pipit/broker"
	"pipit/broker/clip"
	"pipit/broker/limit"
)

// The query parameters of a publish. Those of a message are the keys of a batch's lines, too.
var publishParams = []string{"priority", "expiration", "mime_type", "msg_id", "delay", "deliver_at", "correlation_id", "reply_to", "batch", "cloudevents"}

// publish stores the body as a message, or as a batch of them.
func (s *server) publish(x *call, r *http.Request, rest string) error {
	c, err := s.client(x, r)
	if err != nil {
		return err
	}
	if rest == "" {
		return errNoTopic
	}
	pub, err := s.publisher(x, c, rest)
	if err != nil {
		return err
	}
	if err := s.limits.Publish(c, x.Header()); err != nil {
		return err
	}
	p, err := parseParams(r.URL.RawQuery, publishParams...)
	if err != nil {
		return err
	}
	batch, err := p.flag("batch")
	if err != nil {
		return err
	}
	if batch {
		return s.publishBatch(x, r, pub, rest, p)
	}
	event, err := p.flag("cloudevents")
	if err != nil {
		return err
	}
	m, err := publication(p, r.Header)
	if err != nil {
		return err
	}
	body, done, err := s.body(x, r, s.opts.Load().MaxPayload, "payload")
	if err != nil {
		return err
	}
	defer done()
	m.Payload = body
	if event {
		release, err := s.publishEvent(r, p, body, &m)
		if err != nil {
			return err
		}
		defer release()
	}
	s.limits.Published(c, 1, len(body))
	receipt, err := x.store(pub, rest, m)
	if err != nil {
		return err
	}
	return x.published(receipt)
}

// store publishes a message, within a span where there is one.
func (x *call) store(pub broker.Publisher, topic string, m broker.Publication) (broker.Receipt, error) {
	span := x.span.Send(topic)
	span.Size(len(m.Payload))
	m.Attributes = span.Attributes(m.Attributes)
	receipt, err := pub.Publish(m)
	span.Message(receipt.ID)
	span.End(err)
	return receipt, err
}

// published is the reply to a publish.
func (x *call) published(receipt broker.Receipt) error {
	if receipt.Duplicate {
		x.Header()["X-Zato-Duplicate"] = isTrue
	}
	d := x.document(x.room[:], "ZATO_OK")
	d.text("msg_id", receipt.ID)
	x.send(http.StatusOK, &d)
	return nil
}

// publication reads the parameters of a message. A zero stands for a default, as in a Publication.
func publication(p params, h http.Header) (m broker.Publication, err error) {
	number := func(name string, check func(int64) error) (n int64) {
		if err == nil {
			if n, err = p.integer(name, 0); err == nil {
				err = unlessZero(n, check)
			}
		}
		return n
	}
	text := func(name string, check func(string) error) string {
		if err == nil {
			err = unlessZero(p[name], check)
		}
		return p[name]
	}
	if len(p) > 0 {
		m.Priority = int(number("priority", limit.CheckPriority))
		m.Expiration = number("expiration", limit.CheckExpiration)
		m.Delay = number("delay", limit.CheckDelay)
		m.MIMEType = text("mime_type", limit.CheckMIMEType)
		m.ID = text("msg_id", limit.CheckMessageID)
		m.CorrelationID = text("correlation_id", limit.CheckCorrelationID)
		m.ReplyTo = text("reply_to", limit.CheckReplyTo)
	}
	if err == nil && p.given("deliver_at") {
		m.DeliverAt, err = limit.ParseDeliverAt(p["deliver_at"])
	}
	if err == nil {
		m.Attributes, err = headerAttributes(h)
	}
	if m.MIMEType == "" && err == nil {
		m.MIMEType, err = mimeType(h)
	}
	return m, err
}

// mimeType is that of the request, but for the one that curl gives any -d.
func mimeType(h http.Header) (string, error) {
	given := h["Content-Type"]
	if len(given) == 0 || given[0] == "" {
		return limit.DefaultMIMEType, nil
	}
	kind, _, _ := strings.Cut(given[0], ";")
	if strings.EqualFold(strings.TrimSpace(kind), "application/x-www-form-urlencoded") {
		return limit.DefaultMIMEType, nil
	}
	if limit.CheckMIMEType(given[0]) != nil {
		return "", broker.Invalidf("header Content-Type %q: allowed are 1 to %d bytes without control characters", clip.Input(given[0]), limit.MaxMIMEType)
	}
	return given[0], nil
}
