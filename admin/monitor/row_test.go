package monitor

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
	"pipit/httpapi/refused"
)

// TestRows: what is about one client is one row, which leads to the weightiest of it, and the rows begin with the weightiest.
func TestRows(t *testing.T) {
	n := notices{counts: map[string]int{}}
	for i := range 50 {
		n.consumer(CodeAway, fmt.Sprint("away ", i), &broker.ConsumerInfo{ID: uint32(i), Consumer: broker.Consumer{Client: "erp"}, Backlog: int64(i % 7)})
	}
	n.consumer(codeInactive, "inactive", &broker.ConsumerInfo{ID: 99, Consumer: broker.Consumer{Client: "crm"}, Backlog: 100_000})
	n.topic(codeTopic, "full", "/orders", 200)
	n.add(codeDisk, "disk", "/admin/system", "", "")
	rows, total := n.doneRows()
	var got []string
	for _, r := range rows {
		got = append(got, r.Text+" "+r.Link+" "+r.More)
	}
	want := []string{"disk /admin/system Clear a backlog", "inactive /admin/consumers/99 ", "full /admin/topics/%2Forders ", "away 6 /admin/consumers/6 and 49 more of erp"}
	if total != 4 {
		t.Error(total)
	}
	// 0 + 1 + … + 6, seven times, and 0: less than the topic's.
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%q, want %q", got, want)
	}
	for i := range 2 * maxRows {
		n.topic(codeTopic, "full", fmt.Sprint("/t", i), 1)
	}
	if rows, total := n.doneRows(); total != 4+2*maxRows || len(rows) != maxRows+1 || rows[maxRows].Text != "54 more things" {
		t.Errorf("%d, %d rows", total, len(rows))
	}
}

// found is the text of what was found of a code, empty where nothing was.
func (w *watched) found(code string) string {
	for _, n := range w.m.Situation(0).Attention {
		if n.Code == code {
			return n.Text
		}
	}
	return ""
}

// take takes n messages into flight, until done.
func (w *watched) take(n int) (done func()) {
	w.t.Helper()
	sub, err := w.b.Subscription(&broker.Client{Username: "erp"}, watchedTopic, watchedKey)
	if err != nil {
		w.t.Fatal(err)
	}
	got, err := sub.Receive(w.t.Context(), broker.ReceiveOptions{Max: n})
	if err != nil {
		w.t.Fatal(err)
	}
	return func() {
		for _, m := range got {
			if _, err := sub.Settle(broker.Settlement{Ack: []string{m.ID}}); err != nil {
				w.t.Error(err)
			}
		}
	}
}

// TestInFlightFull: who works one message off after another is at max_in_flight, and well; who acknowledges nothing for a minute
// is not, nor is who asks for more in vain.
func TestInFlightFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t)
		defer w.close()
		w.m.Refused = &refused.Recent{}
		c, _ := w.b.Consumer(w.consumer.ID)
		c.MaxInFlight, c.AckTimeout = 1, time.Hour
		w.define(broker.Definition{Consumers: []broker.Consumer{c.Consumer}})
		w.publish(watchedTopic, 5)
		for range 3 { // at work
			done := w.take(1)
			w.found(codeInFlight)
			pass(DefaultThresholds.InFlight - time.Second)
			if s := w.found(codeInFlight); s != "" {
				t.Fatal("while it works:", s)
			}
			done()
		}
		done := w.take(1)
		w.found(codeInFlight)
		pass(DefaultThresholds.InFlight)
		if s := w.found(codeInFlight); s != "erp is given no more of /customer/created: 1 of at most 1 messages are in flight and not acknowledged. 2 messages wait for it" {
			t.Error("after a minute:", s)
		}
		done()
		w.take(1)
		if s := w.found(codeInFlight); s != "" {
			t.Error("after an acknowledgement:", s)
		}
		w.m.Refused.Add(refused.Refusal{At: time.Now(), Client: "erp", Known: true, SignedIn: true, Consumer: w.consumer.ID, Status: http.StatusTooManyRequests})
		w.publish(watchedTopic, 1)
		if s := w.found(codeInFlight); s == "" {
			t.Error("it asked for more")
		}
	})
}

// TestRefusedAttention: a client that is refused for who it is needs attention for ten minutes; a stranger never does.
func TestRefusedAttention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t)
		defer w.close()
		w.m.Refused = &refused.Recent{}
		add := func(x refused.Refusal) {
			x.At, x.Addr = time.Now(), "10.0.0.7"
			w.m.Refused.Add(x)
		}
		add(refused.Refusal{Client: "nobody", Status: 401})
		add(refused.Refusal{Client: "erp", Known: true, SignedIn: true, Status: 400})
		if s := w.found(codeRefused); s != "" {
			t.Error(s)
		}
		for range 2 {
			add(refused.Refusal{Client: "erp", Known: true, SignedIn: true, Status: 403, Route: "/zato/pubsub/msg", Topic: watchedTopic, Reason: "Permission denied: unknown sub_key"})
		}
		if s := w.found(codeRefused); s != "Requests of erp are refused: 403 unknown sub_key ×2, from 10.0.0.7" {
			t.Error(s)
		}
		if rows := w.m.Situation(0).Rows; len(rows) == 0 || !strings.HasSuffix(rows[len(rows)-1].Link, fmt.Sprintf("/consumers/%d#why", w.consumer.ID)) {
			t.Errorf("%+v", rows)
		}
		pass(DefaultThresholds.Refused)
		if s := w.found(codeRefused); s != "" {
			t.Error(s)
		}
	})
}

// TestRedeliveredAttention: a message that is delivered for the fifth time needs attention, until it is acknowledged.
func TestRedeliveredAttention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t)
		defer w.close()
		w.publish(watchedTopic, 1)
		for i := range DefaultThresholds.Redelivered {
			if s := w.found(codeRedelivered); s != "" {
				t.Errorf("after %d: %s", i, s)
			}
			w.reject(1)
		}
		if s := w.found(codeRedelivered); s != "erp in /customer/created: 1 message was delivered 5 times or more and is not acknowledged" {
			t.Error(s)
		}
		w.receive(1)
		if s := w.found(codeRedelivered); s != "" {
			t.Error(s)
		}
	})
}
