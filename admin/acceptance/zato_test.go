package acceptance

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pipit/admin/object"
)

// What a Zato answers.
const (
	zatoTopicList = `{"zato_env": {"result": "ZATO_OK", "cid": "K04DHBDK9WWJ0ZTYA4ZAZPBN59TM", "details": ""}, "zato_pubsub_topics_get_list_response": [
		{"id": 1, "name": "/customer/created", "is_active": true, "current_depth": 12, "max_depth": 500, "consumers_count": 2, "producers_count": 2, "last_pub_time": "2015-01-09T09:21:56.867151"},
		{"id": 2, "name": "/customer/deleted/", "is_active": false, "current_depth": 0, "max_depth": "1000", "consumers_count": 0, "producers_count": 1, "last_pub_time": null}]}`
	zatoProducerList = `[{"id": 7, "name": "CRM", "is_active": true, "sec_type": "basic_auth", "last_seen": "2015-01-09T09:21:56"},
		{"id": 8, "name": "zato.pubsub.default-producer", "is_active": true, "sec_type": "basic_auth"},
		{"id": 9, "name": "Web shop", "is_active": false, "sec_type": "basic_auth", "last_seen": null}]`
	zatoConsumerList = `[{"id": 3, "name": "ERP", "is_active": true, "sec_type": "basic_auth", "client_id": 4, "max_backlog": 300, "current_depth": 3, "in_flight_depth": 1, "sub_key": "K06Y63NEJQYGMQKTP9D4KGQQ0GB2", "delivery_mode": "pull", "callback_id": null},
		{"id": 4, "name": "Billing", "is_active": true, "sec_type": "basic_auth", "client_id": 5, "max_depth": 400, "sub_key": "K05BILLING-OF-ZATO", "delivery_mode": "callback-url", "callback_id": 12}]`
	zatoOutgoingList = `[{"id": 11, "name": "Other", "host": "http://other.example.com", "url_path": "/"},
		{"id": 12, "name": "Billing", "host": "https://billing.example.com", "url_path": "/hook?x=1", "security_id": 7, "transport": "plain_http"}]`
)

func TestImportZato(t *testing.T) {
	r := newAPIRig(t)
	r.ok(201, "POST", "/clients", jsonObject{"username": "crm", "name": "CRM", "password": "crm"})
	document := `{"topics": ` + zatoTopicList + `, "producers": {"/customer/created": ` + zatoProducerList + `}, "consumers": {"/customer/created": ` + zatoConsumerList + `}}`
	want := `create client Web shop
create client ERP
create client Billing
create topic /customer/created
create topic /customer/deleted
create producer crm of /customer/created
create producer Web shop of /customer/created
create consumer ERP of /customer/created
create consumer Billing of /customer/created`
	check := func(i object.Import) {
		t.Helper()
		if planOf(&i) != want || strings.Join(i.NeedsPassword, ",") != "Web shop,ERP,Billing" || len(i.Warnings) != 3 ||
			!strings.Contains(i.Warnings[0], `"/customer/deleted"`) || !strings.Contains(i.Warnings[1], "ack_timeout of 24h0m0s") ||
			!strings.Contains(i.Warnings[2], `the outgoing connection "12"`) {
			t.Errorf("%s\n%q\n%q", planOf(&i), i.NeedsPassword, i.Warnings)
		}
	}
	check(r.imported("/import/zato?dry_run=true", document))
	if len(r.b.Topics()) != 0 {
		t.Error("a dry run has imported something")
	}
	check(r.imported("/import/zato", document))
	for username, active := range map[string]bool{"crm": true, "Web shop": false, "ERP": false, "Billing": false} {
		if c, ok := r.b.Client(username); !ok || c.Inactive == active {
			t.Errorf("client %s: %+v", username, c)
		}
	}
	if topic, _ := r.b.Topic("/customer/created"); topic.MaxDepth != 500 || topic.Inactive || topic.Expiration != 60 {
		t.Errorf("topic: %+v", topic)
	}
	if topic, ok := r.b.Topic("/customer/deleted"); !ok || topic.MaxDepth != 1000 || !topic.Inactive {
		t.Errorf("topic: %+v", topic)
	}
	var active []bool
	for _, p := range r.b.Producers() {
		active = append(active, !p.Inactive)
	}
	if len(active) != 2 || active[0] || !active[1] { // Web shop, crm
		t.Errorf("producers: %v", active)
	}
	for _, c := range r.b.Consumers() {
		switch c.SubKey {
		case "K06Y63NEJQYGMQKTP9D4KGQQ0GB2":
			if c.Client != "ERP" || c.MaxDepth != 300 || c.Inactive {
				t.Errorf("consumer: %+v", c)
			}
		case "K05BILLING-OF-ZATO":
			if c.Client != "Billing" || c.MaxDepth != 400 {
				t.Errorf("consumer: %+v", c)
			}
		default:
			t.Errorf("consumer: %+v", c)
		}
	}
	// With a password and active, the consumer works as its Zato client knows it.
	r.ok(200, "PATCH", "/clients/ERP", jsonObject{"password": "erp", "is_active": true})
	r.ok(201, "POST", "/topics/%2Fcustomer%2Fcreated/messages", jsonObject{"payload": "Hello"})
	a := r.ok(200, "POST", "//zato/pubsub/msg//customer/created/", nil, "Authorization", "Basic RVJQOmVycA==", "X-Zato-PubSub-Key", "K06Y63NEJQYGMQKTP9D4KGQQ0GB2")
	if a.field(t, "results_count") != 1.0 {
		t.Errorf("received: %s", a.body)
	}
	// Where the outgoing connections are known, whatever comes first, messages are sent as Zato did.
	for i, document := range []string{
		`{"outgoing": ` + zatoOutgoingList + `, "consumers": {"/customer/created": ` + zatoConsumerList + `}}`,
		`{"consumers": {"/customer/created": ` + zatoConsumerList + `}, "zato_http_soap_get_list_response": ` + zatoOutgoingList + `}`,
	} {
		done := r.imported("/import/zato", document)
		if done.Updated != 1-i || len(done.Warnings) != 1 || !strings.Contains(done.Warnings[0], "Billing of /customer/created") || !strings.Contains(done.Warnings[0], "callback_headers") {
			t.Errorf("%d updated, %q", done.Updated, done.Warnings)
		}
	}
	for _, c := range r.b.Consumers() {
		if c.Client == "Billing" && (c.DeliveryMode != "callback-url" || c.CallbackURL != "https://billing.example.com/hook?x=1") {
			t.Errorf("consumer: %+v", c)
		}
	}
	// What was set here beside stays, and once more changes nothing.
	r.ok(200, "PATCH", "/topics/%2Fcustomer%2Fcreated", jsonObject{"expiration": 3600})
	if done := r.imported("/import/zato", document); done.Created+done.Updated != 0 || len(done.NeedsPassword) != 0 {
		t.Errorf("once more:\n%s", planOf(&done))
	}
}

func TestImportZatoLists(t *testing.T) {
	r := newAPIRig(t)
	for _, tt := range []struct{ query, body, plan string }{
		{"?list=topics", `[{"name": "/a", "is_active": "True", "max_depth": 5}]`, "create topic /a"},
		{"?list=topics", zatoTopicList, "create topic /customer/created\ncreate topic /customer/deleted"},
		{"", zatoTopicList, "keep topic /customer/created\nkeep topic /customer/deleted"},
		{"?list=producers&topic=/a", zatoProducerList, "create client CRM\ncreate client Web shop\ncreate producer CRM of /a\ncreate producer Web shop of /a"},
		{"?topic=/a", `{"zato_env": {}, "zato_pubsub_producers_get_list_response": ` + zatoProducerList + `}`, "keep producer CRM of /a\nkeep producer Web shop of /a"},
		{"", `{"producers": [{"name": "CRM", "topic_name": "/customer/created", "is_active": false}]}`, "create producer CRM of /customer/created"},
		{"", `{"producers": [{"client_name": "CRM", "name": "other", "topic_name": "/customer/created", "is_active": true}]}`, "update producer CRM of /customer/created: is_active: false → true"},
		{"?list=consumers&topic=/a/", zatoConsumerList, "create client ERP\ncreate client Billing\nupdate topic /a: max_depth: 5 → 400\ncreate consumer ERP of /a\ncreate consumer Billing of /a"},
		{"", `{"consumers": {"/a": {"zato_pubsub_consumers_get_list_response": ` + zatoConsumerList + `}}}`, "keep consumer ERP of /a\nkeep consumer Billing of /a"},
		{"", `{"topics": [{"name": "/b"}], "producers": {"/b": []}, "consumers": {}}`, "create topic /b"},
	} {
		if got := r.imported("/import/zato"+tt.query, tt.body); planOf(&got) != tt.plan {
			t.Errorf("%s %s:\n%s\nwant:\n%s", tt.query, tt.body, planOf(&got), tt.plan)
		}
	}
	for _, tt := range []struct {
		query, body string
		status      int
		pointer     string
	}{
		{"", `[]`, 400, ""},
		{"", `{}`, 400, ""},
		{"", `7`, 400, ""},
		{"?list=clients", `[]`, 422, ""},
		{"?list=topics", `{}`, 422, ""},
		{"?list=topics", `[7]`, 422, "/0"},
		{"?list=topics", `[{"is_active": true}]`, 422, "/0"},
		{"?list=topics", `[{"name": "/a", "max_depth": "many"}]`, 422, "/0/max_depth"},
		{"?list=topics", `[{"name": "/a", "is_active": "perhaps"}]`, 422, "/0/is_active"},
		{"?list=topics", `[{"name": 7}]`, 422, "/0/name"},
		{"?list=topics", `[{"name": "/a", "max_depth": 0}]`, 422, "/0/max_depth"},
		{"?list=producers", `[{"name": "CRM"}]`, 422, "/0"},
		{"?list=producers&topic=/none", `[{"name": "CRM"}]`, 422, "/0/topic"},
		{"?list=producers&topic=/a", `[{"is_active": true}]`, 422, "/0/name"},
		{"?list=producers&topic=/a", `[{"name": "a:b"}]`, 422, "/0/name"},
		{"?list=consumers&topic=/a", `[{"name": "CRM", "sub_key": "a b"}]`, 422, "/0/sub_key"},
		{"?list=consumers&topic=/b", `[{"name": "CRM", "sub_key": "K05BILLING-OF-ZATO"}]`, 422, "/0/sub_key"},
		{"", `{"producers": {"/a": [{"name": "CRM"}], "/none": {"zato_pubsub_producers_get_list_response": [{"name": "CRM"}]}}}`, 422,
			"/producers/~1none/zato_pubsub_producers_get_list_response/0/topic"},
	} {
		code := map[int]string{400: "malformed", 422: "invalid"}[tt.status]
		p := r.refused(tt.status, code, "POST", "/import/zato"+tt.query, tt.body)
		if tt.pointer != "" && (len(p.Errors) != 1 || p.Errors[0].Pointer != tt.pointer) {
			t.Errorf("%s %s: errors %v", tt.query, tt.body, p.Errors)
		}
	}
}

// A topic's depth is in Zato what was not moved to consumers yet, so that the larger of the two holds,
// in whatever order the lists come; and nothing comes again there before it is acknowledged.
func TestImportZatoDepth(t *testing.T) {
	const (
		topics    = `[{"name": "/a", "max_depth": 500}, {"name": "/b", "max_depth": 2000}]`
		consumers = `[{"name": "ERP", "max_backlog": 1000, "sub_key": "K-of-the-erp-client-TOPIC"}, {"name": "CRM", "max_backlog": 700, "sub_key": "K-of-the-crm-client-TOPIC"}]`
		deeper    = `topic "/a": max_depth is 1000 as that of a consumer, not 500: Zato's counts only what was not moved to consumers yet`
	)
	of := func(topic string) string { return strings.ReplaceAll(consumers, "TOPIC", topic) }
	check := func(r *apiRig, max int64, timeout time.Duration) {
		t.Helper()
		if a, _ := r.b.Topic("/a"); a.MaxDepth != max {
			t.Errorf("max_depth of the topic: %d instead of %d", a.MaxDepth, max)
		}
		if b, _ := r.b.Topic("/b"); b.MaxDepth != 2000 {
			t.Errorf("max_depth of a topic that is deep enough: %d", b.MaxDepth)
		}
		for _, c := range r.b.Consumers() {
			if c.AckTimeout != timeout {
				t.Errorf("ack_timeout of consumer %s: %s instead of %s", c.Client, c.AckTimeout, timeout)
			}
		}
	}
	t.Run("one document", func(t *testing.T) {
		r := newAPIRig(t)
		document := `{"topics": ` + topics + `, "consumers": {"/a": ` + of("a") + `, "/b": ` + of("b") + `}}`
		done := r.imported("/import/zato", document)
		if len(done.Warnings) != 2 || !strings.HasPrefix(done.Warnings[0], "new consumers have an ack_timeout of 24h0m0s") || done.Warnings[1] != deeper {
			t.Errorf("warnings %q", done.Warnings)
		}
		check(r, 1000, 24*time.Hour)
		for _, c := range r.b.Consumers() { // what is set here stays
			r.ok(200, "PATCH", fmt.Sprintf("/consumers/%d", c.ID), jsonObject{"ack_timeout": "1m"})
		}
		done = r.imported("/import/zato", document)
		if done.Created+done.Updated != 0 || len(done.Warnings) != 1 || done.Warnings[0] != deeper {
			t.Errorf("once more:\n%s\n%q", planOf(&done), done.Warnings)
		}
		check(r, 1000, time.Minute)
	})
	t.Run("list by list", func(t *testing.T) {
		r := newAPIRig(t)
		r.imported("/import/zato?list=topics", topics)
		check(r, 500, 0)
		done := r.imported("/import/zato?list=consumers&topic=/a", of("a"))
		if want := "create client ERP\ncreate client CRM\nupdate topic /a: max_depth: 500 → 1000\ncreate consumer ERP of /a\ncreate consumer CRM of /a"; planOf(&done) != want {
			t.Errorf("plan:\n%s", planOf(&done))
		}
		if len(done.Warnings) != 2 || done.Warnings[1] != deeper {
			t.Errorf("warnings %q", done.Warnings)
		}
		if done := r.imported("/import/zato?list=consumers&topic=/b", of("b")); strings.Contains(planOf(&done), "update") {
			t.Errorf("plan:\n%s", planOf(&done))
		}
		if done := r.imported("/import/zato?list=topics", topics); done.Updated != 0 {
			t.Errorf("topics once more:\n%s", planOf(&done))
		}
		check(r, 1000, 24*time.Hour)
		r.refused(422, "invalid", "POST", "/import/zato?list=consumers&topic=/a", `[{"name": "ERP", "max_backlog": 9000000000000, "sub_key": "K-new"}]`)
		check(r, 1000, 24*time.Hour)
	})
}
