package httpapi

import (
	"net/http"
	"slices"
	"strings"
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
	x.hook, x.key = true, hook.Name
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
	if packed, err := encodingOf(r.Header); err != nil {
		return err
	} else if packed == identity && r.ContentLength >= 0 { // what is packed may become any size
		need = min(need, r.ContentLength)
	}
	from := forwarded.Host(x.Remote)
	if !s.hooks.Take(from, need) {
		return errHooks
	}
	defer s.hooks.Give(from, need)
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
	if c := s.b.ClientNow(hook.Client); c != nil {
		if err := s.limits.Publish(c, x.Header()); err != nil {
			return err
		}
		defer s.limits.Published(c, 1, len(body))
	}
	m, release, err := s.hookMessage(hook.Webhook, r, body)
	if err != nil {
		return err
	}
	defer release()
	pub, err := hook.Publisher()
	if err != nil {
		return err
	}
	receipt, err := x.store(pub, hook.Topic, m)
	if err != nil {
		return err
	}
	hook.Accepted(receipt.Duplicate)
	return x.published(receipt)
}

var errHooks = &broker.Error{Code: broker.Unavailable, Message: "Overloaded, try again", Reason: "too many bodies of webhooks are on their way", RetryAfter: time.Second}

// hookMessage makes a message of a call. A CloudEvent that is in the body as a whole is taken apart where the URL says so, as
// for a publish.
func (s *server) hookMessage(w *broker.Webhook, r *http.Request, body []byte) (m broker.Publication, release func(), err error) {
	m.Payload, release = body, func() {}
	if m.Attributes, err = headerAttributes(r.Header); err != nil {
		return m, nil, err
	}
	for _, a := range webhook.Attributes(w, r.Header) {
		if !slices.ContainsFunc(m.Attributes, func(b broker.Attribute) bool { return strings.EqualFold(a.Name, b.Name) }) {
			m.Attributes = append(m.Attributes, a)
		}
	}
	if m.MIMEType, err = webhook.MIMEType(r.Header); err != nil {
		return m, nil, err
	}
	if wantsEvent(r.URL.RawQuery) {
		if release, err = s.publishEvent(r, nil, body, &m); err != nil {
			return m, nil, err
		}
	}
	if id := webhook.DeliveryID(w, r.Header, body); id != "" {
		m.ID = id
	}
	return m, release, nil
}

// wantsEvent tells whether a query has cloudevents=true. Senders have parameters of their own beside it.
func wantsEvent(query string) bool {
	for pair := range strings.SplitSeq(query, "&") {
		if name, value, ok := cutPair(pair); ok && name == "cloudevents" {
			return flags[strings.ToLower(value)]
		}
	}
	return false
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
