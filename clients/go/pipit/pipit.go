// Package pipit is a client of Pipit, in the standard library of Go 1.22 or later. Copy it: docs/clients.md tells what it does.
package pipit

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"
)

// Client has the credentials, SubKey to consume. Lease is whole seconds, at most the consumer's ack_timeout; after Patience a call is given up.
type Client struct {
	Server, User, Password, SubKey string
	Lease, Patience                time.Duration
}

// Publish stores a message under an ID of the caller's: repeated with the same one it is stored once.
func (c *Client) Publish(ctx context.Context, topic, id, mimeType string, payload []byte) error {
	query := url.Values{"msg_id": {id}, "mime_type": {mimeType}}
	return c.call(ctx, "topic/"+url.PathEscape(topic)+"/?"+query.Encode(), payload, c.Patience, &struct{}{})
}

// Consume calls handle for each message until ctx ends, which gives back those that are not in hand. Where handle fails, the message comes again.
func (c *Client) Consume(ctx context.Context, topic string, handle func(id string, payload []byte) error) error {
	for every := time.NewTicker(c.Lease / 3); ctx.Err() == nil; {
		var received struct{ Results []message }
		if err := c.call(ctx, "msg/"+url.PathEscape(topic)+"/?max=10&wait=60", nil, 1<<62, &received); err != nil && ctx.Err() == nil {
			return err
		}
		every.Reset(c.Lease / 3)
		left := []string{}
		for _, m := range received.Results {
			left = append(left, m.Metadata.ID)
		}
		for ; len(left) > 0 && ctx.Err() == nil; left = left[1:] {
			m, what := received.Results[len(received.Results)-len(left)], map[string]any(nil)
			done := make(chan map[string]any)
			go func() { done <- m.handled(handle) }()
			for what == nil {
				select {
				case what = <-done:
				case <-every.C:
					extend := map[string]time.Duration{}
					for _, id := range left {
						extend[id] = c.Lease / time.Second
					}
					if err := c.settle(0, map[string]any{"extend": extend}); err != nil {
						log.Printf("extend: %v", err) // the next time is early enough
					}
				}
			}
			if err := c.settle(c.Patience, what); err != nil {
				return err
			}
		}
		if len(left) > 0 {
			return c.settle(c.Patience, map[string]any{"reject": left})
		}
	}
	return nil
}

type message struct {
	Payload  string
	Metadata struct {
		ID       string `json:"msg_id"`
		Encoding string
		Count    int `json:"delivery_count"`
	}
}

func (m message) handled(handle func(id string, payload []byte) error) map[string]any {
	id, payload, err := m.Metadata.ID, []byte(m.Payload), error(nil)
	if m.Metadata.Encoding == "base64" {
		payload, err = base64.StdEncoding.DecodeString(m.Payload)
	}
	if err == nil {
		err = handle(id, payload)
	}
	if err != nil {
		log.Printf("%s: %v", id, err)
		return map[string]any{"reject": []string{id}, "delay": min(1<<min(m.Metadata.Count-1, 5), 30)}
	}
	return map[string]any{"ack": []string{id}}
}

func (c *Client) settle(patience time.Duration, what map[string]any) error {
	body, _ := json.Marshal(what) // of texts and numbers it cannot fail
	return c.call(context.Background(), "ack/", body, patience, &struct{}{})
}

// call posts until it is answered, and decodes the answer.
func (c *Client) call(ctx context.Context, path string, body []byte, patience time.Duration, answer any) error {
	for begun, wait := time.Now(), time.Second; ; wait = min(2*wait, 30*time.Second) {
		status, after, text := c.post(ctx, path, body)
		if status == http.StatusOK && json.Unmarshal(text, answer) == nil {
			return nil
		}
		pause := max(wait/2+rand.N(wait/2), after) // #nosec G404 -- no secret
		if status > 200 && status < 500 && status != 429 || ctx.Err() != nil || pause > patience-time.Since(begun) {
			return fmt.Errorf("%d: %s", status, text)
		}
		log.Printf("again in %s: %d: %s", pause.Round(time.Millisecond), status, text)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// post posts once. Where there is no answer, or half of one, the status is 0 and the text tells why.
func (c *Client) post(ctx context.Context, path string, body []byte) (status int, after time.Duration, text []byte) {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second) // longer than a long poll
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "POST", c.Server+"/zato/pubsub/"+path, bytes.NewReader(body))
	if err == nil {
		req.SetBasicAuth(c.User, c.Password)
		req.Header.Set("X-Zato-PubSub-Key", c.SubKey)
		var resp *http.Response
		if resp, err = http.DefaultClient.Do(req); err == nil {
			defer resp.Body.Close()
			after, _ = time.ParseDuration(resp.Header.Get("Retry-After") + "s")
			if text, err = io.ReadAll(resp.Body); err == nil {
				return resp.StatusCode, after, text
			}
		}
	}
	return 0, 0, []byte(err.Error())
}
