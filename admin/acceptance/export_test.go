package acceptance

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pipit/admin/gate"
	"pipit/admin/object"
	"pipit/broker"
	"pipit/broker/property"
)

// planOf returns an import's plan, one action a line.
func planOf(i *object.Import) string {
	var lines []string
	for _, a := range i.Plan {
		line := string(a.Action) + " " + string(a.Kind) + " " + a.Key
		if s := a.Changes.String(); s != "" {
			line += ": " + s
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func (r *apiRig) imported(path string, body any) object.Import {
	r.t.Helper()
	var done object.Import
	r.ok(200, "POST", path, body).into(r.t, &done)
	return done
}

func TestExportImport(t *testing.T) {
	from := newAPIRig(t)
	from.example()
	from.ok(201, "POST", "/topics", jsonObject{"name": "/ü <&> \"x\"", "is_active": false, "max_depth": 7, "expiration": 0, "dedup_window": "0s"})
	from.ok(201, "POST", "/topics", jsonObject{"name": "plain"})
	for _, start := range []string{"tail", "oldest"} {
		from.ok(201, "POST", "/consumers", jsonObject{"client": "crm", "topic": "plain", "start": start, "max_in_flight": 3, "ack_timeout": "1s", "is_active": false})
	}
	from.ok(201, "POST", "/producers", jsonObject{"client": "erp", "topic": "plain", "is_active": false})
	a := from.ok(200, "GET", "/export", nil)
	document := a.body
	if !strings.Contains(a.Header.Get("Content-Disposition"), "attachment") || !strings.Contains(string(document), "$2a$") {
		t.Errorf("export: %v %s", a.Header, document)
	}
	if again := from.ok(200, "GET", "/export", nil).body; !bytes.Equal(document, again) {
		t.Errorf("exported %s, then %s", document, again)
	}

	to := newAPIRig(t)
	dry := to.imported("/import?dry_run=true", document)
	if !dry.DryRun || dry.Created != 10 || dry.Updated+dry.Kept != 0 || len(to.b.Topics()) != 0 {
		t.Errorf("dry run: %+v", dry)
	}
	done := to.imported("/import", document)
	if done.DryRun || planOf(&done) != planOf(&dry) || done.Created != 10 || len(done.SubKeys) != 0 {
		t.Errorf("done:\n%s\nplanned:\n%s", planOf(&done), planOf(&dry))
	}
	if got := to.ok(200, "GET", "/export", nil).body; !bytes.Equal(got, document) {
		t.Errorf("exported %s\nfrom %s", got, document)
	}
	if _, err := to.b.Authenticate(t.Context(), "crm", "crm", "192.0.2.1"); err != nil {
		t.Error(err)
	}
	// Once more changes nothing, and is not in the log.
	entries := len(actions(t, to))
	if done := to.imported("/import", document); done.Kept != 10 || done.Created+done.Updated != 0 || len(actions(t, to)) != entries {
		t.Errorf("once more: %+v", done)
	}
	// Who starts with this document and has no secrets shown would not know what changes there.
	other := strings.Replace(string(document), `"max_depth": 7`, `"max_depth": 8`, 1)
	other = strings.Replace(other, `"name": "CRM"`, `"name": "C R M"`, 1)
	done = to.imported("/import", other)
	for _, want := range []string{`update client crm: name: "CRM" → "C R M"`, `update topic /ü <&> "x": max_depth: 7 → 8`, "keep client erp", "keep producer crm of /customer/created"} {
		if !slices.Contains(strings.Split(planOf(&done), "\n"), want) {
			t.Errorf("%q is not in\n%s", want, planOf(&done))
		}
	}
	if done.Updated != 2 || done.Kept != 8 {
		t.Errorf("updated: %+v", done)
	}
	if got := actions(t, to); got[0] != "import" {
		t.Errorf("audit log: %q", got)
	}
}

// TestExportImportOfEverything: no field of an object is lost on the way, whatever its type. A new field has to be given
// here what is not its default.
func TestExportImportOfEverything(t *testing.T) {
	from := newAPIRig(t)
	from.example()
	from.ok(200, "PATCH", "/clients/erp", jsonObject{"can_subscribe": []string{"/news", "/eu/*/order/**"},
		"publish_rate": 7, "publish_byte_rate": 8 << 10, "receive_rate": 9, "receive_byte_rate": 10 << 20, "max_waiting": 11})
	from.ok(201, "POST", "/topics", jsonObject{"name": "/every/thing", "is_active": false, "max_depth": 7, "max_bytes": 5 << 30, "expiration": 0, "dedup_window": "1m",
		"retention": "36h", "retention_bytes": 3 << 20})
	from.ok(201, "POST", "/producers", jsonObject{"client": "crm", "topic": "/every/**", "is_active": false})
	from.ok(201, "POST", "/consumers", jsonObject{"client": "erp", "topic": "/every/*", "name": "nightly", "sub_key": "zpsk.every", "is_active": false, "self_service": true,
		"max_depth": 8, "max_in_flight": 9, "ack_timeout": "10s", "max_deliveries": 11, "dead_letter_topic": "/customer/created",
		"retry_backoff": []string{"1s", "1m30s"}, "overflow": "dead-letter", "on_expiry": "dead-letter", "filter": `country = "LV" and not has(test)`,
		"delivery_mode": "callback-url", "callback_url": "https://erp.example.com/a?b=c", "callback_format": "cloudevents", "callback_batch": 12,
		"callback_timeout": "13s", "callback_concurrency": 3, "callback_headers": jsonObject{"Authorization": "Bearer a, b: c = d", "X-Of": "\"<&>\""},
		"callback_retry": []string{"2s", "2h0m0.5s"}, "callback_give_up": "0s", "callback_secret": "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="})
	from.ok(201, "POST", "/topics", jsonObject{"name": "/order/*", "auto_create": true, "max_topics": 7})
	from.ok(201, "POST", "/webhooks", jsonObject{"name": "shop", "topic": "/customer/created", "client": "crm", "verify": "hmac", "is_active": false,
		"secret": []string{"the first, of two", "the second: ü"}, "header": "X-Signature", "algorithm": "sha512", "encoding": "base64", "prefix": "sha512=",
		"id_header": "X-Id", "headers": []string{"X-Kind", "X-Shop"}, "allow_from": []string{"192.0.2.0/24", "2001:db8::/32"}})
	document := from.ok(200, "GET", "/export", nil).body

	to := newAPIRig(t)
	to.imported("/import", document)
	if got := to.ok(200, "GET", "/export", nil).body; !bytes.Equal(got, document) {
		t.Errorf("exported %s\nfrom %s", got, document)
	}
	sent, got := from.b.Definition(), to.b.Definition()
	sameObjects(t, broker.ClientFields, sent.Clients, got.Clients, "is_active", "password", "password_hash")
	sameObjects(t, broker.TopicFields, sent.Topics, got.Topics)
	sameObjects(t, broker.ProducerFields, sent.Producers, got.Producers)
	sameObjects(t, broker.ConsumerFields, sent.Consumers, got.Consumers, "start")
	sameObjects(t, broker.WebhookFields, sent.Webhooks, got.Webhooks)
}

// sameObjects wants the same objects on both sides, and one of them to have of each field, but for some, what is not its default.
func sameObjects[T any](t *testing.T, fields property.Fields[T], sent, got []T, but ...string) {
	t.Helper()
	if len(sent) != len(got) {
		t.Fatalf("%d objects of %d", len(got), len(sent))
	}
	byDefault := fields.New()
	for i := range fields {
		f := &fields[i]
		other := slices.Contains(but, f.Name)
		for k := range sent {
			if f.Value(&sent[k]) != f.Value(&got[k]) {
				t.Errorf("%s: %q, wanted %q", f.Name, f.Text(&got[k]), f.Text(&sent[k]))
			}
			other = other || f.Value(&sent[k]) != f.Value(&byDefault)
		}
		if !other {
			t.Errorf("%s is tried with its default alone, %q", f.Name, f.Text(&byDefault))
		}
	}
}

func TestImport(t *testing.T) {
	r := newAPIRig(t)
	c := r.example()
	r.ok(201, "POST", "/topics", jsonObject{"name": "/mine"})
	document := jsonObject{
		"version": 1,
		"clients": []jsonObject{{"username": "new", "password": "new"}, {"username": "erp", "name": "E", "password": "erp"}, {"username": "crm"}},
		"topics":  []jsonObject{{"name": "/new", "max_depth": 5}, {"name": "/customer/created", "max_depth": nil}},
		"producers": []jsonObject{
			{"client": "new", "topic": "/new"}, {"client": "crm", "topic": "/customer/created", "is_active": false},
		},
		"consumers": []jsonObject{
			{"client": "new", "topic": "/new"}, {"client": "erp", "topic": "/customer/created", "max_in_flight": 7}, {"client": "erp", "topic": "/new", "sub_key": "own"},
		},
	}
	want := `create client new
update client erp: name: "ERP" → "E"
update client crm: name: "CRM" → "crm"
create topic /new
keep topic /customer/created
create producer new of /new
update producer crm of /customer/created: is_active: true → false
create consumer new of /new
update consumer erp of /customer/created: max_in_flight: 10000 → 7
create consumer erp of /new`
	// A dry run hashes no password, so that each is another one to it.
	wantDry := strings.Replace(want, `"E"`, `"E", password`, 1)
	if dry := r.imported("/import?dry_run=true", document); planOf(&dry) != wantDry || dry.Created != 5 || dry.Updated != 4 || dry.Kept != 1 {
		t.Errorf("planned:\n%s", planOf(&dry))
	}
	done := r.imported("/import", document)
	if planOf(&done) != want || len(done.SubKeys) != 1 || done.SubKeys[0].Client != "new" || done.SubKeys[0].Topic != "/new" || done.SubKeys[0].SubKey == "" {
		t.Errorf("done:\n%s\n%+v", planOf(&done), done.SubKeys)
	}
	for username := range map[string]bool{"new": true, "erp": true, "crm": true} {
		if _, err := r.b.Authenticate(t.Context(), username, username, "192.0.2.1"); err != nil {
			t.Errorf("%s: %v", username, err)
		}
	}
	// A consumer without a sub_key keeps its own, and a password that is the same its hash.
	if got, _ := r.b.Consumer(c.ID); got.SubKey != c.SubKey || got.MaxInFlight != 7 {
		t.Errorf("consumer: %+v", got)
	}
	if done := r.imported("/import", document); done.Kept != 10 {
		t.Errorf("once more:\n%s", planOf(&done))
	}
	document["clients"] = []jsonObject{{"username": "erp", "password": "another"}}
	if done := r.imported("/import", document); !strings.Contains(planOf(&done), "update client erp: name: \"E\" → \"erp\", password") {
		t.Errorf("another password:\n%s", planOf(&done))
	}
	if len(r.b.Topics()) != 3 {
		t.Error("what is here alone is not left alone")
	}
}

// A byte order mark in front of a document is no part of it.
func TestImportByteOrderMark(t *testing.T) {
	r := newAPIRig(t)
	const mark = "\ufeff"
	r.ok(200, "POST", "/import", mark+`{"version": 1, "topics": [{"name": "/marked"}]}`)
	r.ok(200, "POST", "/import/zato?list=topics", mark+`[{"name": "/zato"}]`)
	if got := len(r.b.Topics()); got != 2 {
		t.Errorf("%d topics", got)
	}
	r.refused(400, "malformed", "POST", "/import", mark+"\n")
	if a := r.refused(400, "malformed", "POST", "/import", mark+`{"version": 1,,}`); !strings.Contains(a.Detail, "no JSON from byte 17 on") {
		t.Error(a.Detail)
	}
}

func TestImportRefused(t *testing.T) {
	r := newAPIRig(t)
	c := r.example()
	before := r.ok(200, "GET", "/export", nil).body
	for _, tt := range []struct {
		body    string
		pointer string // empty: malformed
	}{
		{`{}`, "/version"},
		{`{"version": 2}`, "/version"},
		{`{"version": "1"}`, "/version"},
		{`{"version": 1, "tokens": []}`, "/tokens"},
		{`{"version": 1, "topics": {}}`, "/topics"},
		{`{"version": 1, "topics": [7]}`, "/topics/0"},
		{`{"version": 1, "topics": [{"name": "/a"}, {"name": "/a"}]}`, "/topics/1/name"},
		{`{"version": 1, "topics": [{"name": "/a"}, {"name": "/b", "max_depth": 0}]}`, "/topics/1/max_depth"},
		{`{"version": 1, "topics": [{"name": "/a", "depth": 3}]}`, "/topics/0/depth"},
		{`{"version": 1, "clients": [{"username": "a"}]}`, "/clients/0/password_hash"},
		{`{"version": 1, "clients": [{"username": "a", "password_hash": "x"}]}`, "/clients/0/password_hash"},
		{`{"version": 1, "clients": [{"username": "a:b"}]}`, "/clients/0/username"},
		{`{"version": 1, "clients": [{"username": "crm"}, {"username": "crm"}]}`, "/clients/1/username"},
		{`{"version": 1, "clients": [{"username": "crm", "name": ["x"]}]}`, "/clients/0/name"},
		{`{"version": 1, "producers": [{"client": "crm", "topic": "/none"}]}`, "/producers/0/topic"},
		{`{"version": 1, "producers": [{"client": "none", "topic": "/customer/created"}]}`, "/producers/0/client"},
		{`{"version": 1, "producers": [{"client": "crm", "topic": "/customer/created"}, {"client": "crm", "topic": "/customer/created"}]}`, "/producers/1/client"},
		{`{"version": 1, "consumers": [{"client": "none", "topic": "/customer/created"}]}`, "/consumers/0/client"},
		{`{"version": 1, "consumers": [{"client": "crm", "topic": "/customer/created", "ack_timeout": "0s"}]}`, "/consumers/0/ack_timeout"},
		{`{"version": 1, "consumers": [{"client": "crm", "topic": "/customer/created"}, {"client": "crm", "topic": "/customer/created"}]}`, "/consumers/1/client"},
		{`{"version": 1, "consumers": [{"client": "crm", "topic": "/customer/created", "sub_key": "` + c.SubKey + `"}]}`, "/consumers/0/sub_key"},
		{`{"version": 1, "consumers": [{"client": "erp", "topic": "/customer/created", "sub_key": "a"}, {"client": "erp", "topic": "/customer/created", "sub_key": "a"}]}`, "/consumers/1/sub_key"},
		{`[]`, ""},
		{`{"version": 1`, ""},
		{`{"version": 1, "topics": [{"name": "/a", "name": "/b"}]}`, ""},
	} {
		for _, query := range []string{"", "?dry_run=true"} {
			if tt.pointer == "" {
				r.refused(400, "malformed", "POST", "/import"+query, tt.body)
			} else if p := r.refused(422, "invalid", "POST", "/import"+query, tt.body); len(p.Errors) != 1 || p.Errors[0].Pointer != tt.pointer {
				t.Errorf("%s: errors %v", tt.body, p.Errors)
			} else if strings.Contains(fmt.Sprint(p), c.SubKey) {
				t.Errorf("%s: a secret is in %v", tt.body, p)
			}
		}
	}
	r.refused(422, "invalid", "POST", "/import?dry_run=yes", `{"version": 1}`)
	r.refused(415, "unsupported_type", "POST", "/import", `{"version": 1}`, "Content-Type", "text/plain")
	if after := r.ok(200, "GET", "/export", nil).body; !bytes.Equal(before, after) {
		t.Errorf("something was imported: %s", after)
	}
}

// A consumer's name tells it from the client's others of the topic: in lists, at its creation, in imports.
func TestConsumerName(t *testing.T) {
	r := newAPIRig(t)
	first := r.example()
	create := jsonObject{"client": first.Client, "topic": first.Topic, "name": "reports"}
	var made object.Consumer
	r.ok(201, "POST", "/consumers", create).into(t, &made)
	if made.Name != "reports" || made.ID == first.ID {
		t.Fatalf("%+v", made)
	}
	if p := r.refused(409, "exists", "POST", "/consumers", create); !strings.Contains(p.Detail, `"reports"`) {
		t.Errorf("%+v", p)
	}
	one := fmt.Sprint("/consumers/", made.ID)
	r.refused(422, "invalid", "PATCH", one, jsonObject{"name": "other"})
	r.refused(422, "invalid", "POST", "/consumers", jsonObject{"client": first.Client, "topic": first.Topic, "name": " x"})
	var found gate.List[object.Consumer]
	r.ok(200, "GET", "/consumers?search=report", nil).into(t, &found)
	if len(found.Items) != 1 || found.Items[0].ID != made.ID || found.Items[0].Name != "reports" {
		t.Errorf("%+v", found)
	}

	document := func(consumers ...jsonObject) jsonObject {
		return jsonObject{"version": 1, "consumers": consumers}
	}
	of := func(o jsonObject) jsonObject {
		o["client"], o["topic"] = first.Client, first.Topic
		return o
	}
	// Known by its name, it takes another sub_key, and keeps its own where none is said.
	done := r.imported("/import", document(of(jsonObject{"name": "reports", "sub_key": "another"}), of(jsonObject{"max_depth": 5})))
	if done.Updated != 2 || done.Created != 0 {
		t.Errorf("%s", planOf(&done))
	}
	if done = r.imported("/import", document(of(jsonObject{"name": "reports"}))); done.Kept != 1 {
		t.Errorf("%s", planOf(&done))
	}
	r.ok(200, "GET", one, nil).into(t, &made)
	if made.SubKey != "another" || made.Name != "reports" {
		t.Errorf("%+v", made)
	}
	for _, bad := range []jsonObject{
		document(of(jsonObject{"name": "reports"}), of(jsonObject{"name": "reports", "sub_key": "x"})),
		document(of(jsonObject{"name": "reports", "sub_key": first.SubKey})),
	} {
		for _, query := range []string{"?dry_run=true", ""} {
			if p := r.refused(422, "invalid", "POST", "/import"+query, bad); len(p.Errors) != 1 || !strings.HasSuffix(p.Errors[0].Pointer, "/name") {
				t.Errorf("%+v", p)
			}
		}
	}
}
