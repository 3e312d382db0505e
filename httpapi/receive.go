package httpapi

import (
	"errors"
	"net/http"
	"time"

	"pipit/broker"
	"pipit/broker/limit"
)

// receive returns messages, each in flight until it is settled.
func (s *server) receive(x *call, r *http.Request, rest string) error {
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
	if wait < 0 || wait > int64(limit.MaxWait/time.Second) {
		return broker.Invalidf("wait %d: allowed are 0 to %d seconds", wait, limit.MaxWait/time.Second)
	}
	o.Wait = time.Duration(wait) * time.Second
	if o.Max, err = s.limits.Receive(x.client, x.Header(), o.Max); err != nil {
		return err
	}
	x.ignoreBody()
	if o.Wait > 0 {
		done, err := s.limits.Wait(x.client)
		if err != nil {
			return err
		}
		defer done()
		x.patient(o.Wait + replyTime)
	}
	held := share{b: s.replies, client: x.username}
	defer held.free()
	o.Hold, o.Room = !o.Ack, held.take
	span := x.span.Receive(rest)
	msgs, err := sub.Receive(&x.ctx, o)
	span.Received(msgs)
	span.End(err)
	if broker.CodeOf(err) == broker.Unauthorized { // while it waited: the same password, perhaps, with another hash
		_, err = s.client(x, r)
	}
	if err != nil {
		return err
	}
	s.limits.Received(x.client, msgs)
	format := jsonFormat
	if x.xml {
		format = xmlFormat
	}
	if o.Ack || len(msgs) == 0 {
		return x.messages(msgs, format)
	}
	written := false
	defer func() { // also where something panics
		if !written {
			sub.Release(msgs)
		}
	}()
	halfClosed := x.ctx.HalfClosed()
	if err := x.messages(msgs, format); err != nil {
		return err
	}
	if err := x.sent(halfClosed); err != nil {
		return err
	}
	sub.Written(msgs)
	written = true
	return nil
}

// sent sends what was written. The error tells that the client has left; of one that was half-closed
// before the write, where a first write to nobody succeeds.
func (x *call) sent(halfClosed bool) error {
	err := http.NewResponseController(x.ResponseWriter).Flush() // else a failure shows only after the handler
	if errors.Is(err, http.ErrNotSupported) {
		err = nil // a writer around net/http's that cannot: it is on its way all the same
	}
	if err == nil && halfClosed {
		err = x.ctx.Arrived()
	}
	return err
}

// receiveOptions reads the parameters that a receive and a stream share.
func receiveOptions(p params) (o broker.ReceiveOptions, err error) {
	most, err := p.capped("max", limit.DefaultReceive, limit.MaxReceive)
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
