//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// answer is what came of a request. Where err is set, it was lost.
type answer struct {
	status int
	body   []byte
	header http.Header
	err    error
	sent   time.Time
	epoch  int // in which it was sent
}

// why says what it was, for the events of messages.
func (a answer) why() string {
	if a.err != nil {
		return "no answer"
	}
	return strconv.Itoa(a.status)
}

// isUnknown reports whether what was asked for may have been done all the same.
func (a answer) isUnknown() bool {
	return a.err != nil || a.status == http.StatusServiceUnavailable && bytes.Contains(a.body, []byte("not known"))
}

// request is one of the wire protocol, of user, or one of the admin API, where user is empty.
type request struct {
	method, path, user, key string
	header                  map[string]string
	body                    []byte
}

const answerTimeout = 60 * time.Second

func (s *soak) call(ctx context.Context, r request) answer {
	a := answer{epoch: s.ledger.now(), sent: time.Now()}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	resp, err := s.send(ctx, s.server, r)
	if err != nil {
		a.err = err
		return a
	}
	defer resp.Body.Close()
	a.status, a.header = resp.StatusCode, resp.Header
	a.body, a.err = io.ReadAll(resp.Body)
	return a
}

func (s *soak) send(ctx context.Context, to *server, r request) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, to.url()+r.path, bytes.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	if r.user == "" {
		req.Header.Set("Authorization", "Bearer "+s.token)
	} else {
		req.SetBasicAuth(r.user, password)
	}
	if r.key != "" {
		req.Header.Set("X-Zato-PubSub-Key", r.key)
	}
	return s.client.Do(req)
}

// admin makes a call of the admin API with a body of JSON, nil: none.
func (s *soak) admin(ctx context.Context, method, path string, body any) answer {
	r := request{method: method, path: "/admin/api/v1" + path}
	if body != nil {
		r.body, _ = json.Marshal(body)
		r.header = map[string]string{"Content-Type": "application/json"}
	}
	return s.call(ctx, r)
}

// payload of a number: what it is, and filler that no other number has at the same place.
func payload(n uint64, size int) []byte {
	text := fmt.Sprintf("%d of %d;", n, size)
	return []byte(strings.Repeat(text, size/len(text)+1)[:max(size, len(text))])
}

// readPayload returns what a payload is, and whether it is whole.
func readPayload(p []byte) (n uint64, size int, whole bool) {
	if _, err := fmt.Sscanf(string(p[:min(len(p), 60)]), "%d of %d;", &n, &size); err != nil {
		return 0, 0, false
	}
	return n, size, bytes.Equal(p, payload(n, size))
}

func ownID(n uint64) string { return fmt.Sprint("own-", n) }

// messages are those of a reply or a callback, and the ID of each number.
func messages(body []byte) (list []got, err error) {
	var doc struct {
		Results []struct {
			Payload  string
			Metadata struct {
				MsgID      string `json:"msg_id"`
				Priority   int
				DeadLetter struct{ Consumer string } `json:"dead_letter"`
			}
		}
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return nil, err
	}
	for _, r := range doc.Results {
		n, size, whole := readPayload([]byte(r.Payload))
		list = append(list, got{n: n, id: r.Metadata.MsgID, whole: whole, size: size, priority: r.Metadata.Priority, deadLetter: r.Metadata.DeadLetter.Consumer})
	}
	return list, nil
}
