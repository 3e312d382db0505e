package httpapi

import (
	"net/http"
	"time"

	"pipit/broker"
	"pipit/httpapi/forwarded"
	"pipit/httpapi/webhook"
)

// hookRoom bounds, in bytes, the bodies of webhooks that are on their way: anybody can send one, and who sends slowly is to
// leave room for clients that publish, and for other senders.
const hookRoom = 64 << 20

var errNoHook = &httpError{http.StatusNotFound, "No such webhook"}

// hook publishes what the sender of a webhook has sent.
func (s *server) hook(x *call, r *http.Request, name string) error {
	hook, err := s.hookOf(x, name)
	if err != nil {
		return err
	}
	if err := s.called(x, r, hook); err != nil {
		hook.Refused(err)
		return err
	}
	return nil
}

// hookOf returns the door of a webhook, for who may call it.
func (s *server) hookOf(x *call, name string) (broker.Hook, error) {
	hook, ok := s.b.Hook(name)
	if !ok {
		return hook, errNoHook
	}
	x.hook = hook.Name
	if err := webhook.CheckAddress(hook.Webhook, forwarded.Host(x.Remote)); err != nil {
		hook.Refused(err)
		return hook, err
	}
	return hook, nil
}

// called takes a call. Who it is from, only its whole body tells.
func (s *server) called(x *call, r *http.Request, hook broker.Hook) error {
	most := s.opts.Load().MaxPayload
	need := most
	if r.ContentLength >= 0 {
		need = min(need, r.ContentLength)
	}
	from := forwarded.Host(x.Remote)
	if !s.hooks.take(from, need) {
		return errHooks
	}
	defer s.hooks.give(from, need)
	body, done, err := s.body(x, r, most, "payload")
	if err != nil {
		return err
	}
	defer done()
	if err := webhook.Verify(hook.Webhook, r.Header, body, time.Now()); err != nil {
		return err
	}
	if answer, ok := webhook.Challenge(hook.Webhook, body); ok {
		return x.reply(http.StatusOK, typeText, []byte(answer))
	}
	m, err := hookMessage(hook.Webhook, r.Header, body)
	if err != nil {
		return err
	}
	pub, err := hook.Publisher()
	if err != nil {
		return err
	}
	receipt, err := pub.Publish(m)
	if err != nil {
		return err
	}
	hook.Accepted(receipt.Duplicate)
	return x.published(receipt)
}

var errHooks = &broker.Error{Code: broker.Unavailable, Message: "Overloaded, try again", Reason: "too many bodies of webhooks are on their way", RetryAfter: time.Second}

// hookMessage makes a message of a call.
func hookMessage(w *broker.Webhook, h http.Header, body []byte) (m broker.Publication, err error) {
	m = broker.Publication{Payload: body, ID: webhook.DeliveryID(w, h, body), Attributes: webhook.Attributes(w, h)}
	if m.ID != "" {
		if err := broker.CheckMessageID(m.ID); err != nil {
			return m, err
		}
	}
	m.MIMEType, err = webhook.MIMEType(h)
	return m, err
}

// hookHandshake answers a sender of CloudEvents that asks whether it may send
// (https://github.com/cloudevents/spec/blob/main/cloudevents/http-webhook.md).
func (s *server) hookHandshake(x *call, r *http.Request, name string) error {
	if _, err := s.hookOf(x, name); err != nil {
		return err
	}
	h := x.Header()
	origin := r.Header.Get("WebHook-Request-Origin")
	if origin == "" {
		h.Set("Allow", http.MethodPost)
		return &httpError{http.StatusMethodNotAllowed, "Method OPTIONS: allowed are POST, and OPTIONS with the header WebHook-Request-Origin"}
	}
	h["WebHook-Allowed-Origin"] = []string{origin}
	h["WebHook-Allowed-Rate"] = []string{"*"}
	return x.ok()
}
