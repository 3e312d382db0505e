package httpapi

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"pipit/broker"
)

// receive returns messages, each in flight until it is settled.
func (s *server) receive(x *exchange, r *http.Request, rest string) error {
	sub, err := s.subscription(x, r, rest)
	if err != nil {
		return err
	}
	if rest == "" {
		return errNoTopic
	}
	p, err := parseParams(r.URL.RawQuery, "max", "dir", "wait", "ack")
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
	ignoreBody(x, r)
	if o.Wait > 0 {
		x.patient(o.Wait + replyTime)
	}
	msgs, err := sub.Receive(r.Context(), o)
	if err != nil {
		return err
	}
	buf := getBuffer()
	defer putBuffer(buf)
	contentType := typeJSON
	if x.xml {
		contentType = typeXML
		*buf = appendMessagesXML((*buf)[:0], msgs)
	} else {
		*buf = appendMessages((*buf)[:0], msgs)
	}
	x.Header()["Content-Length"] = []string{strconv.Itoa(len(*buf))} // so that a reply that breaks off is seen to
	err = x.reply(http.StatusOK, contentType, *buf)
	if len(msgs) == 0 || o.Ack {
		return err
	}
	if err == nil && o.Wait > 0 {
		// It may have left while it waited, and a first write to nobody succeeds. After the flush it
		// is too late to look: who has the reply leaves as well.
		err = r.Context().Err()
	}
	if err == nil {
		err = http.NewResponseController(x.ResponseWriter).Flush() // else a failure shows only after the handler
		if errors.Is(err, http.ErrNotSupported) {
			err = nil // a writer around net/http's that cannot: the reply is on its way all the same
		}
	}
	if err != nil {
		sub.Release(msgs)
	}
	return err
}

// receiveOptions reads the parameters that a receive and a stream share.
func receiveOptions(p params) (o broker.ReceiveOptions, err error) {
	most, err := p.capped("max", broker.DefaultReceive, broker.MaxReceive)
	if err != nil {
		return o, err
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
