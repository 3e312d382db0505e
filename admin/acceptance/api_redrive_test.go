package acceptance

import (
	"fmt"
	"slices"
	"testing"

	"pipit/broker"
)

func TestRedrive(t *testing.T) {
	r := newAPIRig(t)
	r.example()
	r.ok(201, "POST", "/topics", jsonObject{"name": "/dead", "expiration": 0})
	c := r.ok(201, "POST", "/consumers", jsonObject{"client": "erp", "topic": "/customer/created", "name": "n", "sub_key": "the-key-of-this-test", "max_deliveries": 1, "dead_letter_topic": "/dead", "retry_backoff": []string{"5s"}})
	erp, _ := r.b.Client("erp")
	sub, err := r.b.Subscription(&erp.Client, "", "the-key-of-this-test")
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for range 4 {
		ids = append(ids, r.publish(jsonObject{"payload": "x"}))
	}
	fail := func() {
		t.Helper()
		if _, err := sub.Receive(t.Context(), broker.ReceiveOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := sub.Settle(broker.Settlement{Reject: ids[:3], DeadLetter: ids[3:]}); err != nil {
			t.Fatal(err)
		}
	}
	fail()
	one := "/consumers/" + fmt.Sprint(c.field(t, "id"))
	const redrive = "/topics/%2Fdead/messages/redrive"
	for _, path := range []string{one, "/topics/%2Fcustomer%2Fcreated"} {
		a := r.ok(200, "GET", path, nil)
		if d, _ := a.field(t, "dead_lettered").(map[string]any); d["max_deliveries"] != 3.0 || d["rejected"] != 1.0 {
			t.Errorf("%s: %s", path, a.body)
		}
	}

	a := r.ok(200, "POST", redrive, jsonObject{"ids": []string{ids[0], "nope"}})
	if list, _ := a.field(t, "not_found").([]any); a.field(t, "messages") != 1.0 || len(list) != 1 || list[0] != "nope" {
		t.Errorf("%s", a.body)
	}
	if a := r.ok(200, "POST", redrive, jsonObject{"all": true, "reason": "rejected", "topic": "/customer/created", "consumer": "erp/n"}); a.field(t, "messages") != 1.0 {
		t.Errorf("%s", a.body)
	}
	if a := r.ok(200, "POST", redrive, jsonObject{"all": true}); a.field(t, "messages") != 2.0 {
		t.Errorf("%s", a.body)
	}
	if n := r.ok(200, "GET", one, nil).field(t, "backlog"); n != 4.0 {
		t.Errorf("%v messages", n)
	}
	fail()
	r.ok(200, "PATCH", one, jsonObject{"max_depth": 3})
	if p := r.refused(429, "full", "POST", redrive, jsonObject{"all": true}); p.Detail != "The topic or the backlog of one of its consumers is full (max_depth); 3 messages were moved before" {
		t.Errorf("%+v", p)
	}
	r.ok(200, "DELETE", one, nil)
	if p := r.refused(404, "not_found", "POST", redrive, jsonObject{"all": true}); p.Detail != `No consumer "erp/n" of topic "/customer/created"` {
		t.Errorf("%+v", p)
	}
	r.refused(404, "not_found", "POST", "/topics/%2Fnone/messages/redrive", jsonObject{"all": true})
	for body, pointer := range map[string]string{`{}`: "/ids", `{"ids": []}`: "/ids", `{"all": false, "reason": "rejected"}`: "/ids", `{"ids": ["a"], "all": true}`: "/ids",
		`{"ids": ["a"], "topic": "/t"}`: "/ids", `{"all": true, "reason": "x"}`: "/reason", `{"all": 1}`: "/all"} {
		if p := r.refused(422, "invalid", "POST", redrive, body); len(p.Errors) != 1 || p.Errors[0].Pointer != pointer {
			t.Errorf("%s: errors %v", body, p.Errors)
		}
	}
	var audit []string
	var page struct {
		Items []struct{ Action, Detail string }
	}
	r.ok(200, "GET", "/audit?limit=100", nil).into(t, &page)
	for _, e := range page.Items {
		if e.Action == "message.redrive" {
			audit = append(audit, e.Detail)
		}
	}
	if want := []string{"all", "all", "all, reason rejected, topic /customer/created, consumer erp/n", "2 messages"}; !slices.Equal(audit, want) {
		t.Errorf("audit: %q, want %q", audit, want)
	}
}
