package acceptance

import (
	"fmt"
	"strings"
	"testing"

	"pipit/admin/api"
	"pipit/broker/browse"
)

// TestActOnAll counts all messages that match, and does things to them, in as many requests as it takes.
func TestActOnAll(t *testing.T) {
	r := newAPIRig(t)
	r.example()
	for i := range 5 {
		r.publish(jsonObject{"payload": fmt.Sprintf("Order %d", i), "priority": 1 + i%2})
	}
	r.publish(jsonObject{"payload": "order later", "delay": 600})
	act := func(query string) (done api.Acted) {
		t.Helper()
		r.ok(200, "POST", "/messages?"+query, nil).into(t, &done)
		return done
	}
	count := func() int64 {
		topic, _ := r.b.Topic("/customer/created")
		return topic.Depth
	}
	for _, c := range []struct {
		query       string
		done        int
		depth, copy int64
	}{
		{"action=delete&text=order&dry_run=true", 5, 5, 0},
		{"action=delete&text=ORDER&match_case=true", 0, 5, 0},
		{"action=copy&text=order", 5, 10, 0},
		{"action=release&topic=/customer/created&state=delayed", 1, 11, 0},
		{"action=release&topic=/customer/created", 0, 11, 0},
		{"action=redrive&priority=1", 0, 11, 0},
		{"action=delete&text=order%204", 2, 9, 0},
		{"action=delete&since=2101-01-01T00:00:00Z", 0, 9, 0},
		{"action=delete&topic=/customer/created", 9, 0, 0},
	} {
		if got := act(c.query); got.Messages != c.done || got.Next != "" || count() != c.depth {
			t.Errorf("%s: %+v, %d messages", c.query, got, count())
		}
	}
	for query, parameter := range map[string]string{
		"action=delete": "topic", "action=burn&topic=/customer/created": "action", "topic=/customer/created": "action", "action=delete&text=x&next=x": "next",
		"action=delete&topic=": "topic", "action=delete&match_case=true": "topic", "action=copy&text=" + strings.Repeat("x", browse.MaxText+1): "text",
	} {
		if p := r.refused(422, "invalid", "POST", "/messages?"+query, nil); len(p.Errors) != 1 || p.Errors[0].Parameter != parameter {
			t.Errorf("%s: %v", query, p.Errors)
		}
	}
	r.refused(404, "not_found", "POST", "/messages?action=delete&topic=/none", nil)
	var entries struct {
		Items []struct{ Action, Object, Detail string }
	}
	r.ok(200, "GET", "/audit?limit=3", nil).into(t, &entries)
	for i, want := range []string{"9 messages that matched", `2 messages that matched, text "order 4"`} {
		if e := entries.Items[i]; e.Action != "message.delete" || e.Object != "/customer/created" || e.Detail != want {
			t.Errorf("%+v", e)
		}
	}
}
