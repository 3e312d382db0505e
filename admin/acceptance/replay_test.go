package acceptance

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"pipit/broker"
)

// replays defines a topic that retains, with a consumer of at most 5 messages that is done with 4 of them, and returns its
// page and the messages.
func (d *desk) replays() (page string, ids []string) {
	d.Helper()
	d.define(broker.Definition{
		Clients:   []broker.Client{{Username: "erp", Name: "ERP", Password: "p"}},
		Topics:    []broker.Topic{{Name: "/kept", Retention: time.Hour, Expiration: 3600}, {Name: "/gone"}},
		Consumers: []broker.Consumer{{Client: "erp", Topic: "/kept", MaxDepth: 5}, {Client: "erp", Topic: "/gone"}, {Client: "erp", Topic: "/*", Name: "both"}},
	})
	for _, c := range d.b.Consumers() {
		if c.Topic == "/kept" {
			page = fmt.Sprint("/admin/consumers/", c.ID)
		}
	}
	for i := range 4 {
		ids = append(ids, d.publish("/kept", fmt.Sprint(i)))
	}
	d.done(page+"/clear", "confirm", "/kept")
	return page, ids
}

// TestReplayPage: a consumer is brought to each place, after what would wait there was counted; what cannot be is refused
// before anything is done.
func TestReplayPage(t *testing.T) {
	d := newDesk(t)
	page, ids := d.replays()
	backlog := func(want int64) {
		t.Helper()
		for _, c := range d.b.Consumers() {
			if c.Topic == "/kept" && c.Backlog != want {
				t.Errorf("%d wait, want %d", c.Backlog, want)
			}
		}
	}
	d.contains(d.get(page), `href="`+page+`/replay"`)
	d.contains(d.get(page+"/replay"), "decided by the topic’s", "now 1h")
	asked := d.get(page + "/replay?to=oldest")
	d.contains(asked, "4 messages would wait", "Now it has 0", "Replay 4 messages", `name="to" value="oldest"`)
	backlog(0)
	d.contains(d.done(page+"/replay", "to", "oldest"), "The consumer goes on there: 4 messages wait")
	backlog(4)
	d.contains(d.get(page+"/replay?to=message&id="+ids[3]), "1 message would wait", "Now it has 4")
	d.contains(d.done(page+"/replay", "to", "message", "id", " "+ids[3]+" "), "1 message waits")
	backlog(1)
	hour := func(h int) string {
		return time.Now().UTC().Add(time.Duration(h) * time.Hour).Format("2006-01-02T15:04")
	}
	d.contains(d.get(page+"/replay?to=time&at="+hour(-1)), "4 messages would wait", "Replay 4 messages", "UTC</time> on")
	d.lacks(d.get(page+"/replay?to=time&at="+hour(1)), `id="go"`)
	d.contains(d.get(page+"/replay?to=time&at_offset=120&at="+hour(1)), "4 messages would wait", `name="at_offset" value="120"`) // two hours ahead of UTC
	d.done(page+"/replay", "to", "time", "at_offset", "120", "at", hour(1))
	backlog(4)
	d.done(page+"/replay", "to", "newest", "confirm", "/kept")
	d.done(page+"/replay", "to", "time", "at", hour(-1))
	backlog(4)
	d.contains(d.get(page+"/replay?to=newest"), "Nothing would wait", "The 4 messages that it has now", "Skip all that waits")
	d.contains(d.done(page+"/replay", "to", "newest", "confirm", "/kept"), "All that waited was skipped")
	backlog(0)

	refused := func(status int, says, query string, posted ...string) {
		t.Helper()
		if res := d.do("GET", page+"/replay?"+query, "", nil); res.status != status || !strings.Contains(res.body, says) || strings.Contains(res.body, `id="go"`) {
			t.Errorf("%s: %d, expected %d and %q\n%s", query, res.status, status, says, res.body)
		}
		d.refused(status, says, page+"/replay", posted...)
	}
	refused(http.StatusUnprocessableEntity, "The topic has no such message", "to=message&id=none", "to", "message", "id", "none")
	refused(http.StatusUnprocessableEntity, "msg_id", "to=message&id=", "to", "message")
	refused(http.StatusUnprocessableEntity, "From when on is needed", "to=time&at=", "to", "time")
	refused(http.StatusUnprocessableEntity, "Allowed are times", "to=time&at=0001-01-02", "to", "time", "at", "0001-01-02")
	refused(http.StatusUnprocessableEntity, "allowed are oldest, newest", "to=nowhere", "to", "nowhere")
	for range 2 {
		d.publish("/kept", "more")
	}
	refused(http.StatusTooManyRequests, "6 messages would wait", "to=oldest", "to", "oldest")
	d.contains(d.do("GET", page+"/replay?to=oldest", "", nil).body, page+`/edit#consumer-max_depth`)
	backlog(2)
	d.contains(d.get("/admin/system/audit"), "consumer.seek", "erp of /kept", "to oldest", "to message "+ids[3])

	for _, c := range d.b.Consumers() {
		switch other := fmt.Sprint("/admin/consumers/", c.ID, "/replay"); c.Topic {
		case "/gone":
			d.contains(d.get(other), "keeps nothing that everyone is done with", `href="/admin/topics/%2Fgone/edit#topic-retention"`)
		case "/*":
			d.contains(d.get(other+"?to=oldest"), "retention of each topic", "6 messages would wait")
		}
	}
	if res := d.do("GET", "/admin/consumers/99/replay?to=message&id=x", "", nil); res.status != http.StatusNotFound {
		t.Errorf("of no consumer: %d", res.status)
	}
}
