package callback

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"pipit/broker"
	"pipit/broker/clip"
)

// Bounds of an answer.
const (
	keptAnswer  = 1 << 10  // bytes of its body that are kept
	readAnswer  = 64 << 10 // bytes of it that are read, so that the connection can be used again
	maxWaitTold = time.Hour
	maxReason   = 300 // bytes
)

// answer is what came of a call.
type answer struct {
	Attempt
	wait time.Duration // which the receiver asks for, before the next try
	late bool          // there was none within the time limit
}

// ok tells whether the receiver has the messages.
func (a *answer) ok() bool { return a.Error == "" }

// gone tells whether the receiver wants no more of them.
func (a *answer) gone() bool { return a.Status == http.StatusGone }

// call sends messages, and tells what came of it. It ends with the consumer's time limit, or ctx.
func (s *Service) call(ctx context.Context, def *broker.Consumer, msgs []broker.Message, test bool) (a answer) {
	h := make(http.Header, 16)
	for name, value := range def.CallbackHeaders.All() {
		h.Add(name, value)
	}
	body := write(h, def.CallbackFormat, msgs)
	now := time.Now()
	a.Attempt = Attempt{Time: now.UTC(), Messages: len(msgs), Bytes: int64(len(body)), WebhookID: webhookID(msgs), Test: test}
	for i := range msgs {
		a.Deliveries = max(a.Deliveries, msgs[i].DeliveryCount)
	}
	if h.Get("User-Agent") == "" { // else it is the consumer's
		h.Set("User-Agent", s.options.Load().UserAgent)
	}
	if test {
		h.Set(testHeader, "true")
	}
	sign(h, def.CallbackSecret, a.WebhookID, now, body)
	span := s.options.Load().Tracer.Call(def, msgs)
	span.Header(h)
	a.send(ctx, s.client.Load(), def.CallbackURL, def.CallbackTimeout, h, body)
	span.Called(a.Status, a.class())
	a.Duration = time.Since(now)
	return a
}

// class is the class of what went wrong, of which there are few; empty where nothing did.
func (a *answer) class() string {
	switch {
	case a.ok():
		return ""
	case a.late:
		return "timeout"
	case a.Status != 0 && (a.Status < 200 || a.Status > 299):
		return strconv.Itoa(a.Status)
	}
	return "connection"
}

// Post sends a body that is of no message, and tells what came of it: of the Attempt what a call itself tells. It waits no longer
// than timeout. The URL is no part of an error.
func Post(ctx context.Context, client *http.Client, to string, timeout time.Duration, h http.Header, body []byte) Attempt {
	a := answer{Attempt: Attempt{Time: time.Now().UTC(), Bytes: int64(len(body))}}
	a.send(ctx, client, to, timeout, h, body)
	a.Duration = time.Since(a.Time)
	return a.Attempt
}

// testHeader marks a call that somebody has made by hand.
const testHeader = "X-Zato-Test-Call"

// send makes the request and reads its answer.
func (a *answer) send(ctx context.Context, client *http.Client, to string, timeout time.Duration, h http.Header, body []byte) {
	limit := fmt.Errorf("no answer within %s", timeout)
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, limit)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		a.Error = reason(err)
		return
	}
	r.Header = h
	resp, err := client.Do(r)
	if err == nil {
		defer resp.Body.Close()
		a.Status = resp.StatusCode
		a.wait = retryAfter(resp.Header.Get("Retry-After"), time.Now())
		a.Answer, err = read(resp.Body)
	}
	switch {
	case err != nil && errors.Is(context.Cause(ctx), limit):
		a.Error, a.late = limit.Error(), true
	case err != nil && a.Status != 0:
		a.Error = fmt.Sprintf("%s, and the answer breaks off: %s", status(a.Status), reason(err))
	case err != nil:
		a.Error = reason(err)
	case a.Status < 200 || a.Status > 299:
		a.Error = status(a.Status)
	}
}

func status(code int) string { return strings.TrimSpace(fmt.Sprint(code, " ", http.StatusText(code))) }

// read reads what is read of a body, and returns what is kept.
func read(body io.Reader) ([]byte, error) {
	kept, err := io.ReadAll(io.LimitReader(body, keptAnswer))
	if err == nil && len(kept) == keptAnswer {
		_, err = io.CopyN(io.Discard, body, readAnswer-keptAnswer)
		if err == io.EOF {
			err = nil
		}
	}
	return kept, err
}

// reason says why a call got no answer. The URL, which may hold a secret, is no part of it.
func reason(err error) string {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err
	}
	if errors.Is(err, io.EOF) {
		return "the connection was closed before the answer"
	}
	return clip.To(strings.ToValidUTF8(err.Error(), "\uFFFD"), maxReason)
}

// retryAfter reads the header of that name: seconds, or a date. More than an hour is an hour.
func retryAfter(s string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(s, 10, 31); err == nil {
		return min(time.Duration(n)*time.Second, maxWaitTold)
	}
	if at, err := http.ParseTime(s); err == nil {
		return min(max(at.Sub(now), 0), maxWaitTold)
	}
	return 0
}
