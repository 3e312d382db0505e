package httpapi

import (
	"io"
	"net/http"
	"time"

	"pipit/broker"
)

// receive returns messages, each in flight until it is settled.
func (s *server) receive(x *exchange, r *http.Request, rest string) error {
	sub, err := s.topicSubscription(x, r, rest)
	if err != nil {
		return err
	}
	p, err := parseParams(r.URL.RawQuery, "max", "dir", "format", "wait", "ack")
	if err != nil {
		return err
	}
	o, err := receiveOptions(p)
	if err != nil {
		return err
	}
	wait, err := p.integer("wait", 0)
	if err != nil {
		return err
	}
	if wait < 0 || wait > int64(broker.MaxWait/time.Second) {
		return broker.Invalidf("wait %d: allowed are 0 to %d seconds", wait, broker.MaxWait/time.Second)
	}
	o.Wait = time.Duration(wait) * time.Second
	format, err := p.oneOf("format", "json", "xml")
	if err != nil {
		return err
	}
	if wait > 0 {
		// Only once it has read the body does the server notice that the client leaves.
		_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, keepBuffer))
		patient(x, o.Wait+replyTime)
	}
	msgs, err := sub.Receive(r.Context(), o)
	if err != nil {
		return err
	}
	buf := buffers.Get().(*[]byte)
	contentType := typeJSON
	if format == "xml" {
		contentType = typeXML
		*buf = appendMessagesXML((*buf)[:0], msgs)
	} else {
		*buf = appendMessages((*buf)[:0], msgs)
	}
	err = x.reply(http.StatusOK, contentType, *buf)
	if cap(*buf) <= 4*keepBuffer {
		buffers.Put(buf)
	}
	if (err != nil || gone(r.Context())) && !o.Ack {
		sub.Release(msgs)
	}
	return err
}

// receiveOptions reads the parameters that a receive and a stream share.
func receiveOptions(p params) (o broker.ReceiveOptions, err error) {
	most, err := p.integer("max", broker.DefaultReceive)
	if err != nil {
		return o, err
	}
	if most < 1 || most > broker.MaxReceive {
		return o, broker.Invalidf("max %d: allowed are 1 to %d", most, broker.MaxReceive)
	}
	o.Max = int(most)
	dir, err := p.oneOf("dir", "fifo", "lifo")
	if err != nil {
		return o, err
	}
	if dir == "lifo" {
		o.Order = broker.LIFO
	}
	o.Ack, err = p.flag("ack")
	return o, err
}
