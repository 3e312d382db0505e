package command

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"pipit/admin/command/receiver"
	"pipit/broker"
)

// wireQueue is a queue of a server, by the wire protocol.
type wireQueue struct {
	server                 string
	http                   *http.Client
	topic                  string
	user, password, subKey string
}

func (q *wireQueue) Receive(ctx context.Context, max int, wait time.Duration) ([]receiver.Delivery, error) {
	var escaped []string
	for s := range strings.SplitSeq(q.topic, "/") {
		escaped = append(escaped, url.PathEscape(s))
	}
	var answer struct{ Results []receiver.Delivery }
	err := q.post(ctx, fmt.Sprintf("msg/%s/?max=%d&wait=%d", strings.Join(escaped, "/"), max, int(wait.Seconds())), nil, &answer)
	return answer.Results, err
}

func (q *wireQueue) Settle(ctx context.Context, st broker.Settlement) ([]string, error) {
	extend := map[string]int64{}
	for _, e := range st.Extend {
		extend[e.ID] = e.Seconds
	}
	body, err := json.Marshal(struct {
		Ack        []string         `json:"ack,omitempty"`
		Reject     []string         `json:"reject,omitempty"`
		Delay      int64            `json:"delay,omitempty"`
		DeadLetter []string         `json:"dead_letter,omitempty"`
		Extend     map[string]int64 `json:"extend,omitempty"`
	}{st.Ack, st.Reject, st.Delay, st.DeadLetter, extend})
	if err != nil {
		return nil, err
	}
	var answer struct {
		NotFound []string `json:"not_found"`
	}
	err = q.post(ctx, "ack/", body, &answer)
	return answer.NotFound, err
}

// notAcked says which messages were too late for an acknowledgement.
func notAcked(ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	return fmt.Errorf("not acknowledged, since not in flight any more: %s", strings.Join(ids, ", "))
}

func (q *wireQueue) post(ctx context.Context, target string, body []byte, into any) error {
	a := &remote{server: q.server}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, q.server+"/zato/pubsub/"+target, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.SetBasicAuth(q.user, q.password)
	req.Header.Set("X-Zato-PubSub-Key", q.subKey)
	resp, err := q.http.Do(req)
	if err != nil {
		return a.broken(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		var e struct{ Details string }
		if json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&e) != nil || e.Details == "" {
			err := fmt.Errorf("%s does not answer as a Pipit server does: %s", q.server, resp.Status)
			if statusCode(resp.StatusCode) == exitNotNow { // so answers a proxy of a server that is away
				return connectError{err}
			}
			return err
		}
		return refused(resp.StatusCode, e.Details)
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return a.broken(ctx, err)
	}
	return nil
}

// fileQueue is a queue of a database in this process.
type fileQueue struct{ broker.Subscription }

func (q fileQueue) Receive(ctx context.Context, max int, wait time.Duration) ([]receiver.Delivery, error) {
	msgs, err := q.Subscription.Receive(ctx, broker.ReceiveOptions{Max: max, Wait: wait})
	list := make([]receiver.Delivery, len(msgs))
	for i := range msgs {
		m := &msgs[i]
		list[i] = receiver.Delivery{Payload: string(m.Payload), Metadata: receiver.Metadata{
			ID: m.ID, Topic: m.Topic, Created: wireTime(m.Created), Expiration: m.Expiration, ExpireAt: wireTime(m.ExpireAt),
			Producer: m.Producer, Priority: m.Priority, MIMEType: m.MIMEType, DeliveryCount: m.DeliveryCount, CorrelationID: m.CorrelationID, ReplyTo: m.ReplyTo,
		}}
		for _, a := range m.Attributes {
			if list[i].Metadata.Attributes == nil {
				list[i].Metadata.Attributes = map[string]string{}
			}
			list[i].Metadata.Attributes[a.Name] = a.Value
		}
		if d := m.DeadLetter; d != nil {
			list[i].Metadata.DeadLetter = &receiver.DeadLetter{Topic: d.Topic, Consumer: d.Consumer, Reason: d.Reason, Count: d.Count, At: wireTime(d.At)}
		}
		if !utf8.Valid(m.Payload) {
			list[i].Payload = base64.StdEncoding.EncodeToString(m.Payload)
			list[i].Metadata.Encoding = receiver.Base64
		}
	}
	return list, err
}

func (q fileQueue) Settle(_ context.Context, st broker.Settlement) ([]string, error) {
	done, err := q.Subscription.Settle(st)
	return done.NotFound, err
}

func wireTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000000")
}
