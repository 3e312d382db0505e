package httpapi

import (
	"bytes"
	"cmp"
	"net/http"
	"strings"
	"unicode/utf8"

	"pipit/broker"
	"pipit/broker/clip"
	"pipit/broker/limit"
	"pipit/tracing"
)

// The query parameters of a settlement of one message.
var settleParams = []string{"ack", "reject", "delay", "dead_letter", "extend"}

// settleOne acknowledges or rejects the message that the URL names.
func (s *server) settleOne(x *call, r *http.Request, id string) error {
	if path := r.URL.EscapedPath(); strings.HasSuffix(strings.ToUpper(path[max(0, len(path)-3):]), "%2F") {
		id += "/" // it was taken for the one that may end a URL
	}
	sub, err := s.subscription(x, r, "")
	if err != nil {
		return err
	}
	if id == "" {
		return errNoID
	}
	p, err := parseParams(r.URL.RawQuery, settleParams...)
	if err != nil {
		return err
	}
	st, err := settlement(p, id)
	if err != nil {
		return err
	}
	span := x.settleSpan(sub)
	span.Message(id)
	res, err := sub.Settle(st)
	if err == nil && len(res.NotFound) > 0 {
		err = &broker.Error{Code: broker.NotFound, Message: "Message not found `" + clip.To(id, maxQuotedID) + "`"}
	}
	span.End(err)
	if err != nil {
		return err
	}
	return x.ok()
}

// settleSpan begins the span of a settlement, whose URL does not name the topic.
func (x *call) settleSpan(sub broker.Subscription) *tracing.Span {
	if x.span == nil {
		return nil
	}
	return x.span.Settle(sub.Definition().Topic)
}

// settlement reads what is to become of one message.
func settlement(p params, id string) (st broker.Settlement, err error) {
	ack, err := p.flag("ack")
	if err != nil {
		return st, err
	}
	reject, err := p.flag("reject")
	if err != nil {
		return st, err
	}
	extend, err := p.integer("extend", 0)
	if err != nil {
		return st, err
	}
	deadLetter, err := p.flag("dead_letter")
	if err != nil {
		return st, err
	}
	if st.Delay, err = p.integer("delay", 0); err != nil {
		return st, err
	}
	switch extended := extend != 0; {
	case !one(ack, reject, extended):
		return st, broker.Invalidf("ack %t, reject %t, extend %d: exactly one of them is needed", ack, reject, extend)
	case ack:
		st.Ack = []string{id}
	case reject && deadLetter:
		st.DeadLetter = []string{id}
	case reject:
		st.Reject = []string{id}
	default:
		st.Extend, err = []broker.Extension{{ID: id, Seconds: extend}}, limit.CheckExtend(extend)
	}
	if p.given("delay") && (!reject || deadLetter) {
		return st, broker.Invalidf("delay %q: allowed with reject=true alone", clip.Input(p["delay"]))
	}
	if deadLetter && !reject {
		return st, broker.Invalidf("dead_letter %q: allowed with reject=true alone", clip.Input(p["dead_letter"]))
	}
	return st, err
}

// one tells whether exactly one of these is true.
func one(flags ...bool) bool {
	n := 0
	for _, f := range flags {
		if f {
			n++
		}
	}
	return n == 1
}

// settleMany acknowledges and rejects the messages that the body lists.
func (s *server) settleMany(x *call, r *http.Request, _ string) error {
	sub, err := s.subscription(x, r, "")
	if err != nil {
		return err
	}
	if _, err := parseParams(r.URL.RawQuery); err != nil {
		return err
	}
	body, done, err := s.body(x, r, s.opts.Load().MaxBatch, "body")
	if err != nil {
		return err
	}
	st, err := parseSettlement(body)
	done()
	if err != nil {
		return err
	}
	span := x.settleSpan(sub)
	span.Batch(len(st.Ack) + len(st.Reject) + len(st.DeadLetter) + len(st.Extend))
	res, err := sub.Settle(st)
	span.End(err)
	if err != nil {
		return err
	}
	d := x.document(x.room[:], "ZATO_OK")
	d.number("acked", res.Acked)
	d.number("rejected", res.Rejected)
	d.number("extended", res.Extended)
	if len(st.DeadLetter) > 0 {
		d.number("dead_lettered", res.DeadLettered)
	}
	d.list("not_found", len(res.NotFound), func(i int) string { return res.NotFound[i] })
	x.send(http.StatusOK, &d) // who repeats it finds that what is done is not found
	return nil
}

// maxQuotedID is bytes of an ID that was not found.
const maxQuotedID = limit.MaxMessageID * utf8.UTFMax

var errSettlement = broker.Invalidf(`body: allowed is one JSON object {"ack": [msg_id, …], "reject": [msg_id, …], "delay": seconds, "dead_letter": [msg_id, …], "extend": {msg_id: seconds, …}}`)

// parseSettlement reads the body of a batch of acknowledgements: 1 to limit.MaxSettle IDs, none of
// them twice. A delay comes with a list of rejected ones, which may be empty: programs send what they have gathered.
func parseSettlement(body []byte) (st broker.Settlement, err error) {
	s := scanner{b: bytes.TrimPrefix(body, byteOrderMark)}
	given := map[string]bool{}
	ok := s.object(func(key string) (ok bool) {
		if given[key] {
			return false
		}
		given[key] = true
		switch key {
		case "ack":
			st.Ack, ok = s.list()
		case "reject":
			st.Reject, ok = s.list()
		case "dead_letter":
			st.DeadLetter, ok = s.list()
		case "delay":
			st.Delay, ok = s.number()
		case "extend":
			ok = s.object(func(id string) bool {
				n, ok := s.number()
				st.Extend = append(st.Extend, broker.Extension{ID: id, Seconds: n})
				return ok
			})
		}
		return ok
	})
	if !ok {
		return st, errSettlement
	}
	if !s.end() {
		return st, broker.Invalidf("body: something follows the JSON object")
	}
	if given["delay"] && !given["reject"] {
		return st, broker.Invalidf("delay %d: allowed with reject alone", st.Delay)
	}
	return st, checkSettlement(st)
}

// checkSettlement finds out whether each message is told once what is to become of it.
func checkSettlement(st broker.Settlement) error {
	n := len(st.Ack) + len(st.Reject) + len(st.DeadLetter) + len(st.Extend)
	if n < 1 || n > limit.MaxSettle {
		return broker.Invalidf("body with %d messages: allowed are 1 to %d", n, limit.MaxSettle)
	}
	ids := make(map[string]struct{}, n)
	check := func(id string) error {
		if err := limit.CheckMessageID(id); err != nil {
			return err
		}
		if _, twice := ids[id]; twice {
			return broker.Invalidf("msg_id %q: given twice", id)
		}
		ids[id] = struct{}{}
		return nil
	}
	for _, list := range [][]string{st.Ack, st.Reject, st.DeadLetter} {
		for _, id := range list {
			if err := check(id); err != nil {
				return err
			}
		}
	}
	for _, e := range st.Extend {
		if err := cmp.Or(check(e.ID), limit.CheckExtend(e.Seconds)); err != nil {
			return err
		}
	}
	return limit.CheckDelay(st.Delay)
}
