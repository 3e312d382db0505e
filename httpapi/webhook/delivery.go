package webhook

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"strings"
	"unicode"

	"pipit/broker"
	"pipit/broker/clip"
	"pipit/broker/limit"
	"pipit/broker/property"
)

// idHeaders say where a scheme has the ID of a delivery, which is the same when the delivery is repeated.
var idHeaders = map[string]string{
	broker.VerifyStandard: standardID,
	broker.VerifyGitHub:   "X-Github-Delivery",
	broker.VerifyGitLab:   "Idempotency-Key",
	broker.VerifyShopify:  "X-Shopify-Webhook-Id",
}

// DeliveryID returns the sender's ID of a delivery, empty where it has none: of the header that the webhook names; else as the
// scheme has it, of a header or of the event in the body; else that of a CloudEvent.
func DeliveryID(w *broker.Webhook, h http.Header, body []byte) string {
	name := w.IDHeader
	if name == "" {
		name = idHeaders[w.Verify]
	}
	if name != "" {
		return h.Get(name)
	}
	switch w.Verify {
	case broker.VerifyStripe:
		return eventOf(body).ID
	case broker.VerifySlack:
		return eventOf(body).EventID
	}
	return h.Get("Ce-Id")
}

// Challenge returns what a sender wants to have back that tries whether somebody listens, in a call that is verified.
func Challenge(w *broker.Webhook, body []byte) (answer string, ok bool) {
	if w.Verify != broker.VerifySlack {
		return "", false
	}
	e := eventOf(body)
	return e.Challenge, e.Type == "url_verification"
}

// event is what is looked at of a body of JSON.
type event struct {
	ID        string `json:"id"`       // of Stripe
	EventID   string `json:"event_id"` // of Slack
	Type      string `json:"type"`     // of Slack
	Challenge string `json:"challenge"`
}

// eventOf reads a body, which may be anything.
func eventOf(body []byte) (e event) {
	if err := json.Unmarshal(body, &e); err != nil {
		return event{}
	}
	return e
}

// Attributes returns the headers of a call that the webhook names. One that is there several times is joined by commas.
func Attributes(w *broker.Webhook, h http.Header) (list []broker.Attribute) {
	for _, name := range w.Headers.All() {
		if values := h.Values(name); len(values) > 0 {
			list = append(list, broker.Attribute{Name: strings.ToLower(name), Value: plain(strings.Join(values, ", "))})
		}
	}
	return list
}

// plain is a value of a header as an attribute can be: what is no UTF-8 or a control character becomes a blank.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, " "))
}

// MIMEType returns that of a call, as its Content-Type says.
func MIMEType(h http.Header) (string, error) {
	given := h.Get("Content-Type")
	switch {
	case given == "":
		return limit.DefaultMIMEType, nil
	case limit.CheckMIMEType(given) != nil:
		return "", broker.Invalidf("header Content-Type %q: allowed are 1 to %d bytes without control characters", clip.Input(given), limit.MaxMIMEType)
	}
	return given, nil
}

// CheckAddress returns an error, which is broker.Denied, where the webhook takes no calls from an address.
func CheckAddress(w *broker.Webhook, remote string) error {
	if w.AllowFrom.IsZero() {
		return nil
	}
	addr, err := netip.ParseAddr(remote)
	for _, s := range w.AllowFrom.All() {
		if network, bad := property.ParseNetwork(s); bad == nil && err == nil && network.Contains(addr.Unmap().WithZone("")) {
			return nil
		}
	}
	return &broker.Error{Code: broker.Denied, Message: "Permission denied", Field: "allow_from", Reason: "it takes no calls from " + clip.Input(remote)}
}
