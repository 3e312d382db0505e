package httpapi

import (
	"net/http"
	"strconv"

	"pipit/broker"
)

// settleOne acknowledges or rejects the message that the URL names.
func (s *server) settleOne(x *exchange, r *http.Request, id string) error {
	sub, err := s.subscription(x, r, "")
	if err != nil {
		return err
	}
	if id == "" {
		return errNoID
	}
	p, err := parseParams(r.URL.RawQuery, "ack", "reject", "delay")
	if err != nil {
		return err
	}
	ack, err := p.flag("ack")
	if err != nil {
		return err
	}
	reject, err := p.flag("reject")
	if err != nil {
		return err
	}
	if ack == reject {
		return broker.Invalidf("ack %t, reject %t: exactly one of them must be true", ack, reject)
	}
	if delay, given := p["delay"]; given && ack {
		return broker.Invalidf("delay %q: allowed with reject=true alone", clip(delay))
	}
	var st broker.Settlement
	if st.Delay, err = p.integer("delay", 0); err != nil {
		return err
	}
	if ack {
		st.Ack = []string{id}
	} else {
		st.Reject = []string{id}
	}
	res, err := sub.Settle(r.Context(), st)
	if err != nil {
		return err
	}
	if len(res.NotFound) > 0 {
		return &broker.Error{Code: broker.NotFound, Message: "Message not found `" + clip(id) + "`"}
	}
	return x.ok()
}

// settleMany acknowledges and rejects the messages that the body lists.
func (s *server) settleMany(x *exchange, r *http.Request, _ string) error {
	sub, err := s.subscription(x, r, "")
	if err != nil {
		return err
	}
	if r.URL.RawQuery != "" {
		return broker.Invalidf("query: this route takes none") // not quoted: it may hold the sub_key
	}
	body, done, err := s.body(x, r, s.opts.MaxBatch, "body")
	if err != nil {
		return err
	}
	st, err := parseSettlement(body)
	done()
	if err != nil {
		return err
	}
	res, err := sub.Settle(r.Context(), st)
	if err != nil {
		return err
	}
	b := append(x.room[:0], `{"status": "ZATO_OK", "acked": `...)
	b = strconv.AppendInt(b, int64(res.Acked), 10)
	b = append(b, `, "rejected": `...)
	b = strconv.AppendInt(b, int64(res.Rejected), 10)
	b = append(b, `, "not_found": `...)
	b = append(appendStrings(b, res.NotFound), '}')
	_ = x.reply(http.StatusOK, typeJSON, b) // who did not get it repeats it, and what is done is not found
	return nil
}

var errSettlement = broker.Invalidf(`body: allowed is one JSON object {"ack": [msg_id, …], "reject": [msg_id, …], "delay": seconds}`)

// parseSettlement reads the body of a batch of acknowledgements: 1 to broker.MaxSettle IDs, none of
// them twice.
func parseSettlement(body []byte) (st broker.Settlement, err error) {
	s := scanner{b: body}
	object := s.next('{')
	ok := object || s.null()
	var seen struct{ ack, reject, delay bool }
	for first := true; ok && object; first = false {
		var more bool
		if more, ok = s.more('}', first); !ok || !more {
			break
		}
		var key []byte
		if key, ok = s.key(); !ok {
			break
		}
		switch string(key) {
		case "ack":
			if ok = !seen.ack; ok {
				st.Ack, ok = s.list()
			}
			seen.ack = true
		case "reject":
			if ok = !seen.reject; ok {
				st.Reject, ok = s.list()
			}
			seen.reject = true
		case "delay":
			if ok = !seen.delay; ok {
				st.Delay, ok = s.number()
			}
			seen.delay = true
		default:
			ok = false
		}
	}
	if !ok {
		return st, errSettlement
	}
	if !s.end() {
		return st, broker.Invalidf("body: something follows the JSON object")
	}
	n := len(st.Ack) + len(st.Reject)
	if n < 1 || n > broker.MaxSettle {
		return st, broker.Invalidf("body with %d messages: allowed are 1 to %d", n, broker.MaxSettle)
	}
	ids := make(map[string]struct{}, n)
	for _, list := range [][]string{st.Ack, st.Reject} {
		for _, id := range list {
			if err := broker.CheckMessageID(id); err != nil {
				return st, err
			}
			if _, twice := ids[id]; twice {
				return st, broker.Invalidf("msg_id %q: given twice", id)
			}
			ids[id] = struct{}{}
		}
	}
	return st, broker.CheckDelay(st.Delay)
}
