package acceptance

import (
	"encoding/json"
	"slices"
	"testing"
)

// TestTemplateAPI: a template is made, listed with what it made, edited and deleted like a topic, has no messages, and an
// export and its import know it.
func TestTemplateAPI(t *testing.T) {
	r := newAPIRig(t)
	const one = "/topics/%2Forder%2F*"
	made := r.ok(201, "POST", "/topics", jsonObject{"name": "/order/*", "auto_create": true, "max_topics": 2, "expiration": 9})
	if made.field(t, "auto_create") != true || made.field(t, "max_topics") != 2.0 {
		t.Errorf("%s", made.body)
	}
	r.refused(409, "exists", "POST", "/topics", jsonObject{"name": "/order/*", "auto_create": true})
	r.ok(201, "POST", one[:len("/topics/")]+"%2Forder%2Flv/messages", jsonObject{"payload": "1"})
	r.ok(201, "POST", "/topics/%2Forder%2Fee/messages", jsonObject{"payload": "2"})
	if p := r.refused(429, "full", "POST", "/topics/%2Forder%2Flt/messages", jsonObject{"payload": "3"}); p.Detail != `topic "/order/lt": template "/order/*" has made 2 topics, which is its max_topics` {
		t.Errorf("%+v", p)
	}
	lv := r.ok(200, "GET", "/topics/%2Forder%2Flv", nil)
	if lv.field(t, "template") != "/order/*" || lv.field(t, "expiration") != 9.0 || lv.field(t, "auto_create") != false {
		t.Errorf("%s", lv.body)
	}
	if a := r.ok(200, "GET", one, nil); a.field(t, "made") != 2.0 {
		t.Errorf("%s", a.body)
	}
	names := func(query string) (list []string) {
		var page struct{ Items []struct{ Name string } }
		r.ok(200, "GET", "/topics"+query, nil).into(t, &page)
		for _, i := range page.Items {
			list = append(list, i.Name)
		}
		return list
	}
	if all, of := names(""), names("?template=/order/*"); !slices.Equal(all, []string{"/order/*", "/order/ee", "/order/lv"}) || !slices.Equal(of, []string{"/order/ee", "/order/lv"}) {
		t.Errorf("listed %q, of the template %q", all, of)
	}
	const none = `No topic "/order/*": a pattern or a template has no messages of its own`
	for _, c := range [][2]string{{"POST", one + "/messages"}, {"GET", "/messages?topic=/order/*"}, {"POST", one + "/messages/redrive"}} {
		var body any
		switch {
		case c[0] == "POST" && c[1] == one+"/messages":
			if p := r.refused(422, "invalid", c[0], c[1], jsonObject{"payload": "3"}); p.Detail == "" {
				t.Errorf("%+v", p)
			}
			continue
		case c[0] == "POST":
			body = jsonObject{"all": true}
		}
		if p := r.refused(404, "not_found", c[0], c[1], body); p.Detail != none {
			t.Errorf("%s: %+v", c[1], p)
		}
	}
	r.refused(404, "not_found", "GET", "/stats/history?topic=/order/*", nil)
	if p := r.refused(422, "invalid", "PATCH", one, jsonObject{"auto_create": false}); len(p.Errors) != 1 || p.Errors[0].Pointer != "/auto_create" {
		t.Errorf("%+v", p)
	}
	if p := r.refused(422, "invalid", "PATCH", "/topics/%2Forder%2Flv", jsonObject{"max_topics": 7}); len(p.Errors) != 1 || p.Errors[0].Pointer != "/max_topics" {
		t.Errorf("%+v", p)
	}
	r.ok(200, "PATCH", one, jsonObject{"max_topics": 3, "is_active": false})
	if p := r.refused(409, "inactive", "POST", "/topics/%2Forder%2Flt/messages", jsonObject{"payload": "3"}); p.Detail != `Template "/order/*", which topic "/order/lt" would be made by, is not active` {
		t.Errorf("%+v", p)
	}

	var doc json.RawMessage
	r.ok(200, "GET", "/export", nil).into(t, &doc)
	if d := r.ok(200, "DELETE", one, nil); d.field(t, "messages") != 0.0 {
		t.Errorf("%s", d.body)
	}
	if all := names(""); !slices.Equal(all, []string{"/order/ee", "/order/lv"}) {
		t.Errorf("after the template was deleted: %q", all)
	}
	r.ok(200, "POST", "/import", doc)
	if back, _ := r.b.Template("/order/*"); back.MaxTopics != 3 || !back.Inactive || back.Made != 2 {
		t.Errorf("imported %+v", back)
	}
	var page struct {
		Items []struct{ Action, Object, Detail, Who, Via string }
	}
	r.ok(200, "GET", "/audit?limit=100", nil).into(t, &page)
	n := 0
	for _, e := range page.Items {
		if e.Action == "topic.create" && e.Object == "/order/lv" && e.Detail == "by the template /order/*" && e.Via == "publish" && e.Who != "" {
			n++
		}
	}
	if n != 1 {
		t.Errorf("audited: %+v", page.Items)
	}
}
