package command

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"pipit/broker"
)

// queue is what a consumer receives from.
type queue interface {
	// receive returns at most max messages, in flight, waiting for the first one at most so long.
	receive(ctx context.Context, max int, wait time.Duration) ([]delivery, error)
	// ack acknowledges messages.
	ack(ctx context.Context, ids []string) error
}

// delivery is a message as the wire protocol returns it.
type delivery struct {
	Payload  string   `json:"payload"`
	Metadata metadata `json:"metadata"`
}

type metadata struct {
	ID            string `json:"msg_id"`
	Topic         string `json:"topic"`
	Created       string `json:"creation_time_utc"`
	Expiration    int64  `json:"expiration"`
	ExpireAt      string `json:"expire_at_utc"`
	Producer      string `json:"producer"`
	Priority      int    `json:"priority"`
	MIMEType      string `json:"mime_type"`
	DeliveryCount int    `json:"delivery_count"`
	Encoding      string `json:"encoding,omitempty"`

	CorrelationID string            `json:"correlation_id,omitempty"`
	ReplyTo       string            `json:"reply_to,omitempty"`
	Attributes    map[string]string `json:"attributes,omitempty"`
	DeadLetter    *deadLetter       `json:"dead_letter,omitempty"`
}

type deadLetter struct {
	Topic    string `json:"topic"`
	Consumer string `json:"consumer"`
	Reason   string `json:"reason"`
	Count    uint32 `json:"delivery_count"`
	At       string `json:"time_utc"`
}

const base64Encoding = "base64"

// bytes is the payload as it was published.
func (d *delivery) bytes() ([]byte, error) {
	if d.Metadata.Encoding == base64Encoding {
		return base64.StdEncoding.DecodeString(d.Payload)
	}
	return []byte(d.Payload), nil
}

// wireQueue is a queue of a server, by the wire protocol.
type wireQueue struct {
	server                 string
	http                   *http.Client
	topic                  string
	user, password, subKey string
}

func (q *wireQueue) receive(ctx context.Context, max int, wait time.Duration) ([]delivery, error) {
	var escaped []string
	for s := range strings.SplitSeq(q.topic, "/") {
		escaped = append(escaped, url.PathEscape(s))
	}
	var answer struct{ Results []delivery }
	err := q.post(ctx, fmt.Sprintf("msg/%s/?max=%d&wait=%d", strings.Join(escaped, "/"), max, int(wait.Seconds())), nil, &answer)
	return answer.Results, err
}

func (q *wireQueue) ack(ctx context.Context, ids []string) error {
	body, err := json.Marshal(map[string][]string{"ack": ids})
	if err != nil {
		return err
	}
	var answer struct {
		NotFound []string `json:"not_found"`
	}
	if err := q.post(ctx, "ack/", body, &answer); err != nil {
		return err
	}
	return notAcked(answer.NotFound)
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
			return fmt.Errorf("%s does not answer as a Pipit server does: %s", q.server, resp.Status)
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

func (q fileQueue) receive(ctx context.Context, max int, wait time.Duration) ([]delivery, error) {
	msgs, err := q.Receive(ctx, broker.ReceiveOptions{Max: max, Wait: wait})
	list := make([]delivery, len(msgs))
	for i := range msgs {
		m := &msgs[i]
		list[i] = delivery{string(m.Payload), metadata{
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
			list[i].Metadata.DeadLetter = &deadLetter{d.Topic, d.Consumer, d.Reason, d.Count, wireTime(d.At)}
		}
		if !utf8.Valid(m.Payload) {
			list[i].Payload = base64.StdEncoding.EncodeToString(m.Payload)
			list[i].Metadata.Encoding = base64Encoding
		}
	}
	return list, err
}

func (q fileQueue) ack(ctx context.Context, ids []string) error {
	done, err := q.Settle(broker.Settlement{Ack: ids})
	return errors.Join(err, notAcked(done.NotFound))
}

func wireTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000000")
}
