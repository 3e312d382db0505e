package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"pipit/broker"
)

// settleOne acknowledges or rejects the message that the URL names.
func (s *server) settleOne(x *exchange, r *http.Request, rest string) error {
	sub, err := s.subscription(x, r)
	if err != nil {
		return err
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
	st := broker.Settlement{}
	if _, given := p["delay"]; given && ack {
		return broker.Invalidf("delay %q: allowed with reject=true alone", clip(p["delay"]))
	}
	if st.Delay, err = p.integer("delay", 0); err != nil {
		return err
	}
	id := strings.TrimSuffix(rest, "/")
	if id == "" {
		return &httpError{status: http.StatusNotFound, message: "No such route: a msg_id is missing"}
	}
	if ack {
		st.Ack = []string{id}
	} else {
		st.Reject = []string{id}
	}
	done, err := sub.Settle(r.Context(), st)
	if err != nil {
		return err
	}
	if len(done.NotFound) > 0 {
		return &broker.Error{Code: broker.NotFound, Message: "Message not found `" + clip(id) + "`"}
	}
	return x.reply(http.StatusOK, typeJSON, []byte(`{"status": "ZATO_OK", "details": ""}`))
}

// settleMany acknowledges and rejects the messages that the body lists.
func (s *server) settleMany(x *exchange, r *http.Request, _ string) error {
	sub, err := s.subscription(x, r)
	if err != nil {
		return err
	}
	if r.URL.RawQuery != "" {
		return broker.Invalidf("query: this route takes none") // not quoted: it may hold a key
	}
	body, done, err := s.body(r, s.opts.MaxBatch, "body")
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
	b := append(make([]byte, 0, 128), `{"status": "ZATO_OK", "acked": `...)
	b = strconv.AppendInt(b, int64(res.Acked), 10)
	b = append(b, `, "rejected": `...)
	b = strconv.AppendInt(b, int64(res.Rejected), 10)
	b = append(b, `, "not_found": `...)
	b = append(appendStrings(b, res.NotFound), '}')
	return x.reply(http.StatusOK, typeJSON, b)
}

// parseSettlement reads the body of a batch of acknowledgements.
func parseSettlement(body []byte) (st broker.Settlement, err error) {
	var in struct {
		Ack    []string `json:"ack"`
		Reject []string `json:"reject"`
		Delay  int64    `json:"delay"`
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return st, broker.Invalidf(`body: allowed is one JSON object {"ack": [msg_id, …], "reject": [msg_id, …], "delay": seconds}`)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return st, broker.Invalidf("body: something follows the JSON object")
	}
	if n := len(in.Ack) + len(in.Reject); n < 1 || n > broker.MaxSettle {
		return st, broker.Invalidf("body with %d messages: allowed are 1 to %d", n, broker.MaxSettle)
	}
	seen := make(map[string]bool, len(in.Ack)+len(in.Reject))
	for _, list := range [][]string{in.Ack, in.Reject} {
		for _, id := range list {
			if err := broker.CheckMessageID(id); err != nil {
				return st, err
			}
			if seen[id] {
				return st, broker.Invalidf("msg_id %q: given twice", id)
			}
			seen[id] = true
		}
	}
	if err := broker.CheckDelay(in.Delay); err != nil {
		return st, err
	}
	return broker.Settlement{Ack: in.Ack, Reject: in.Reject, Delay: in.Delay}, nil
}
