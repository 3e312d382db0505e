package acceptance

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"pipit/admin/access"
	"pipit/admin/alert"
	"pipit/admin/api"
	"pipit/admin/audit"
	"pipit/admin/gate"
	"pipit/admin/object"
	"pipit/broker"
	"pipit/broker/login"
	"pipit/broker/property"
)

// TestEveryOperation has each operation of the document answered well, once at least.
func TestEveryOperation(t *testing.T) {
	r := newAPIRig(t)
	c := r.example()
	topic := "/topics/%2Fcustomer%2Fcreated"
	consumer := fmt.Sprintf("/consumers/%d", c.ID)
	producer := fmt.Sprintf("/producers/%d", r.b.Producers()[0].ID)
	r.ok(201, "POST", "/webhooks", jsonObject{"name": "shop", "topic": "/customer/created", "client": "crm", "verify": "token", "secret": []string{"a long secret of it"}})
	for _, one := range []string{"/clients/erp", topic, producer, consumer, "/webhooks/shop"} {
		r.ok(200, "GET", one[:strings.LastIndexByte(one, '/')], nil)
		r.ok(200, "GET", one, nil)
		r.ok(200, "GET", one+"/deletion", nil)
		r.ok(200, "PATCH", one, jsonObject{"is_active": false}, "Content-Type", api.TypePatch)
		r.ok(200, "PATCH", one, jsonObject{"is_active": true})
	}

	wire := "//zato/pubsub/"
	crm := []string{"Authorization", "Basic Y3JtOmNybQ==", "Content-Type", ""}
	erp := []string{"Authorization", "Basic ZXJwOmVycA==", "Content-Type", "", "X-Zato-PubSub-Key", c.SubKey}
	received := func(n int) []string {
		t.Helper()
		var got struct {
			Results []struct {
				Metadata struct {
					ID string `json:"msg_id"`
				} `json:"metadata"`
			} `json:"results"`
		}
		r.ok(200, "POST", wire+"msg//customer/created/", nil, erp...).into(t, &got)
		if len(got.Results) != n {
			t.Fatalf("%d messages received, want %d", len(got.Results), n)
		}
		var ids []string
		for _, m := range got.Results {
			ids = append(ids, m.Metadata.ID)
		}
		return ids
	}
	r.ok(200, "POST", wire+"topic//customer/created/", "Hello", crm...)
	r.ok(200, "POST", wire+"topic//customer/created/?batch=true", `{"payload": "one"}`+"\n"+`{"payload": "two", "priority": 9}`, append(crm, "Content-Type", "application/x-ndjson")...)
	ids := received(3)
	r.ok(200, "DELETE", wire+"msg/"+ids[0]+"/?ack=true", nil, erp...)
	r.ok(200, "POST", wire+"ack/", jsonObject{"ack": ids[1:2], "reject": ids[2:]}, append(erp, "Content-Type", api.TypeJSON)...)
	r.ok(200, "POST", wire+"msg//customer/created/?format=xml", nil, erp...)
	r.ok(200, "POST", wire+"seek//customer/created/", jsonObject{"to": "newest"}, append(erp, "Content-Type", api.TypeJSON)...)
	r.ok(200, "PATCH", "/clients/erp", jsonObject{"can_subscribe": []string{"/customer/*"}})
	r.ok(201, "POST", "/topics", jsonObject{"name": "/customer/deleted"})
	for _, method := range []string{"POST", "GET", "DELETE"} {
		r.ok(200, method, wire+"subscribe//customer/deleted/", nil, erp...)
	}
	r.ok(200, "POST", "//hook/shop", "paid", "Authorization", "Bearer a long secret of it", "Content-Type", "")
	r.ok(401, "POST", "//hook/shop", "paid", "Authorization", "Bearer another", "Content-Type", "")
	if a := r.ok(200, "GET", "/stats", nil); !strings.Contains(string(a.body), `"kind":"webhook"`) {
		t.Errorf("the call that could not be verified is not told of: %s", a.body)
	}
	r.ok(200, "OPTIONS", "//hook/shop", nil, "WebHook-Request-Origin", "shop.example", "Content-Type", "")
	r.ok(200, "DELETE", "/webhooks/shop", nil)
	r.ok(200, "GET", "//zato/ping", nil)
	r.ok(200, "GET", "//health", nil)
	r.ok(200, "GET", "//healthz", nil)
	r.ok(200, "GET", "//readyz", nil)
	r.calls.seen["stream"] = true // it does not end: TestStream of httpapi

	var m api.Published
	a := r.ok(201, "POST", topic+"/messages", jsonObject{"payload": "from the API", "delay": 3600})
	a.into(t, &m)
	message := strings.TrimPrefix(a.Header.Get("Location"), gate.V1)
	r.ok(200, "GET", "/messages?topic=/customer/created&state=delayed", nil)
	r.ok(200, "GET", message, nil)
	r.ok(200, "GET", message+"/payload", nil)
	r.ok(200, "POST", message+"/release", nil)
	if id := r.ok(201, "POST", message+"/copy", nil).field(t, "msg_id"); id == m.ID {
		t.Errorf("the copy has the ID of what it was made of: %s", id)
	}
	r.refused(404, "not_found", "POST", "/messages/%2Fcustomer%2Fcreated/none/copy", nil)
	r.ok(200, "DELETE", message, nil)
	r.ok(200, "GET", "/traces?id="+m.ID, nil)
	r.ok(200, "POST", topic+"/messages/delete", jsonObject{"ids": []string{m.ID}})
	r.ok(200, "POST", topic+"/messages/redrive", jsonObject{"all": true})
	r.ok(200, "POST", "/messages?action=delete&topic=/customer/created&dry_run=true", nil)
	r.ok(200, "GET", consumer+"/queues?limit=10", nil)
	r.ok(200, "GET", consumer+"/why", nil)
	r.ok(200, "POST", consumer+"/seek?dry_run=true", jsonObject{"to": "oldest"})
	r.ok(200, "POST", consumer+"/release", nil)
	r.ok(200, "POST", consumer+"/clear-in-flight", nil)
	r.ok(200, "POST", consumer+"/clear", nil)
	r.ok(200, "POST", consumer+"/rotate?overlap=24h", nil)
	r.ok(200, "POST", consumer+"/end-overlap", nil)
	r.ok(200, "PATCH", consumer, jsonObject{"delivery_mode": "callback-url", "callback_url": "http://erp.example.com/gone"})
	r.ok(200, "POST", consumer+"/test-call", nil)
	r.ok(200, "GET", consumer+"/attempts", nil)
	r.ok(200, "GET", "/stats", nil)
	r.ok(200, "GET", "/stats/history", nil)
	if a := r.ok(200, "GET", "/refusals?status=401", nil); !strings.Contains(string(a.body), `"webhook":"shop"`) {
		t.Errorf("the call that was refused is not among the refusals: %s", a.body)
	}
	r.ok(200, "POST", "/import", r.ok(200, "GET", "/export", nil).body)
	r.ok(200, "POST", "/import/zato", jsonObject{"topics": []jsonObject{}})
	r.ok(200, "POST", "/connect", jsonObject{"sender": "shop", "receiver": "erp", "topic": "/orders"})
	r.ok(200, "GET", "/openapi.json", nil)

	saved := strings.TrimPrefix(r.ok(201, "POST", "/backups", nil).Header.Get("Location"), gate.V1)
	r.ok(200, "GET", "/backups", nil)
	r.ok(200, "GET", saved, nil)
	r.ok(200, "POST", "/backups/stream", nil)
	r.ok(204, "DELETE", saved, nil)
	r.ok(200, "POST", "/database/compact", nil)
	if err := r.a.Alerts.Adjust(alert.Options{URL: "http://127.0.0.1:1/s3cret"}); err != nil {
		t.Fatal(err)
	}
	r.ok(200, "POST", "/alerts/test", nil)
	r.ok(200, "GET", "/alerts", nil)
	r.ok(200, "GET", "/cluster", nil)
	r.ok(200, "POST", "/cluster/verify", nil)
	r.ok(202, "POST", "/cluster/transfer", jsonObject{"node": "b"})
	r.ok(201, "POST", "/cluster/nodes", jsonObject{"node": "d", "addr": "10.0.0.4:7001"})
	r.ok(200, "POST", "/cluster/nodes/c/replace", nil)
	r.ok(204, "DELETE", "/cluster/nodes/b", nil)
	r.ok(200, "GET", "/debug", nil)
	r.ok(200, "GET", "/debug/pprof/heap", nil)

	r.ok(200, "GET", "/tokens", nil)
	token := r.ok(201, "POST", "/tokens", jsonObject{"name": "one", "scope": "read", "expires": "never"}).field(t, "id")
	r.ok(204, "DELETE", "/tokens/"+token.(string), nil)
	r.ok(200, "GET", "/administrators", nil)
	r.ok(201, "POST", "/administrators", jsonObject{"name": "bob", "password": "a long password"})
	r.ok(200, "PATCH", "/administrators/bob", jsonObject{"password": "another password"})
	r.ok(204, "DELETE", "/administrators/bob", nil)
	signIn := func() {
		w := &recorder{header: http.Header{}}
		req, err := http.NewRequest("POST", "/admin/login", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.RemoteAddr = "192.0.2.1:1000"
		if err := r.a.Users.SignIn(t.Context(), w, req, "ada", "a long password"); err != nil {
			t.Fatal(err)
		}
	}
	signIn()
	var sessions gate.List[access.Session]
	r.ok(200, "GET", "/sessions", nil).into(t, &sessions)
	if len(sessions.Items) != 1 {
		t.Fatalf("%d sessions", len(sessions.Items))
	}
	r.ok(204, "DELETE", "/sessions/"+sessions.Items[0].ID, nil)
	signIn()
	if n := r.ok(200, "DELETE", "/sessions?administrator=ada", nil).field(t, "sessions"); n != 1.0 {
		t.Errorf("%v sessions have ended", n)
	}
	r.ok(200, "GET", "/audit", nil)
	r.ok(200, "GET", "/system", nil)
	for _, one := range []string{consumer, producer, topic, "/clients/erp"} {
		r.ok(200, "DELETE", one, nil)
	}
	undo := r.ok(200, "GET", "/undo", nil).field(t, "items").([]any)[0].(map[string]any)["id"].(string)
	r.ok(200, "POST", "/undo/"+undo, nil)

	for _, secret := range []string{c.SubKey, "s3cret", "a long password", "another password", "pipit_", "$2a$"} {
		if a := r.ok(200, "GET", "/audit?limit=1000", nil); strings.Contains(string(a.body), secret) {
			t.Errorf("%q is in the audit log: %s", secret, a.body)
		}
	}

	for path, item := range r.calls.doc.Paths.Map() {
		for method, op := range item.Operations() {
			if !r.calls.seen[op.OperationID] {
				t.Errorf("%s %s (%s) was not asked for", method, path, op.OperationID)
			}
		}
	}
}

// recorder is a writer of which nobody reads.
type recorder struct{ header http.Header }

func (w *recorder) Header() http.Header         { return w.header }
func (w *recorder) Write(b []byte) (int, error) { return len(b), nil }
func (w *recorder) WriteHeader(int)             {}

func TestCreate(t *testing.T) {
	r := newAPIRig(t)
	a := r.ok(201, "POST", "/topics", jsonObject{"name": "/a/b c"})
	if got := a.Header.Get("Location"); got != gate.V1+"/topics/%2Fa%2Fb%20c" {
		t.Errorf("Location %q", got)
	}
	var topic object.Topic
	a.into(t, &topic)
	if want := object.NewTopic().Topic; topic.MaxDepth != want.MaxDepth || topic.Expiration != want.Expiration || topic.DedupWindow != want.DedupWindow || topic.Inactive || topic.Revision == "" {
		t.Errorf("without more than a name: %s", a.body)
	}
	if got := r.ok(200, "GET", "/topics/%2Fa%2Fb%20c", nil); string(got.body) != string(a.body) || got.Header.Get("ETag") != a.Header.Get("ETag") {
		t.Errorf("created %s, got %s", a.body, got.body)
	}
	a = r.ok(201, "POST", "/topics", jsonObject{"name": "/full", "is_active": false, "max_depth": 7, "expiration": 0, "dedup_window": "1h30m0s"})
	a.into(t, &topic)
	if !topic.Inactive || topic.MaxDepth != 7 || topic.Expiration != property.Off || time.Duration(topic.DedupWindow) != 90*time.Minute {
		t.Errorf("created %s", a.body)
	}
	// An answer can be sent to another Pipit.
	again := strings.Replace(string(a.body), "/full", "/again", 1)
	r.ok(201, "POST", "/topics", again)

	a = r.ok(201, "POST", "/clients", jsonObject{"username": "crm", "password": "a secret of theirs"})
	if a.field(t, "name") != "crm" || strings.Contains(string(a.body), "password") || strings.Contains(string(a.body), "a secret of theirs") {
		t.Errorf("created %s", a.body)
	}
	if _, err := r.b.Authenticate(t.Context(), "crm", "a secret of theirs", "192.0.2.1"); err != nil {
		t.Error(err)
	}
	hash, err := login.HashPassword("hashed")
	if err != nil {
		t.Fatal(err)
	}
	r.ok(201, "POST", "/clients", jsonObject{"username": "erp", "password_hash": hash, "name": "ERP"})
	if _, err := r.b.Authenticate(t.Context(), "erp", "hashed", "192.0.2.1"); err != nil {
		t.Error(err)
	}
	r.ok(201, "POST", "/producers", jsonObject{"client": "crm", "topic": "/full"})

	r.ok(201, "POST", "/topics/%2Fa%2Fb%20c/messages", jsonObject{"payload": "early"})
	for i, want := range []struct {
		body    jsonObject
		backlog float64
	}{
		{jsonObject{}, 1}, // the first consumer gets what waits
		{jsonObject{"sub_key": "my.own-key_1", "max_depth": 5, "max_in_flight": 3, "ack_timeout": "1m"}, 0},
		{jsonObject{"start": "oldest"}, 2},
		{jsonObject{"start": "tail"}, 0},
	} {
		if i == 2 {
			r.ok(201, "POST", "/topics/%2Fa%2Fb%20c/messages", jsonObject{"payload": "for those that are there"})
		}
		want.body["client"], want.body["topic"] = "erp", "/a/b c"
		a := r.ok(201, "POST", "/consumers", want.body)
		if a.field(t, "backlog") != want.backlog || a.field(t, "sub_key") == "" || want.body["sub_key"] != nil && a.field(t, "sub_key") != want.body["sub_key"] {
			t.Errorf("created %s from %v", a.body, want.body)
		}
	}
	if n := len(r.b.Consumers()); n != 4 {
		t.Errorf("%d consumers", n)
	}
}

func TestCreateRefused(t *testing.T) {
	r := newAPIRig(t)
	c := r.example()
	long := strings.Repeat("x", 600)
	for _, tt := range []struct {
		path, body string
		status     int
		code       string
		pointer    string // of the first error
		detail     string // a part
	}{
		{"/topics", `{"name": "/customer/created"}`, 409, "exists", "", "/customer/created"},
		{"/clients", `{"username": "crm", "password": "x"}`, 409, "exists", "", "crm"},
		{"/producers", `{"client": "crm", "topic": "/customer/created"}`, 409, "exists", "", "crm"},
		{"/consumers", `{"client": "crm", "topic": "/customer/created", "sub_key": "` + c.SubKey + `"}`, 409, "exists", "/sub_key", "sub_key"},

		{"/topics", `{}`, 422, "invalid", "/name", "name"},
		{"/topics", `{"name": "/x/"}`, 422, "invalid", "/name", "/x/"},
		{"/topics", `{"name": "` + long + `"}`, 422, "invalid", "/name", "512"},
		{"/topics", `{"name": "a\u0000b"}`, 422, "invalid", "/name", "control"},
		{"/topics", `{"name": "/x", "max_depth": 0}`, 422, "invalid", "/max_depth", "1 to 1000000000000"},
		{"/topics", `{"name": "/x", "max_depth": "7"}`, 422, "invalid", "/max_depth", `"7"`},
		{"/topics", `{"name": "/x", "max_depth": 1.5}`, 422, "invalid", "/max_depth", "whole number"},
		{"/topics", `{"name": "/x", "max_depth": 99999999999999999999}`, 422, "invalid", "/max_depth", "whole number"},
		{"/topics", `{"name": "/x", "expiration": -1}`, 422, "invalid", "/expiration", "-1"},
		{"/topics", `{"name": "/x", "dedup_window": "soon"}`, 422, "invalid", "/dedup_window", `"30s"`},
		{"/topics", `{"name": "/x", "dedup_window": 30}`, 422, "invalid", "/dedup_window", `"30s"`},
		{"/topics", `{"name": "/x", "dedup_window": "1000h"}`, 422, "invalid", "/dedup_window", "41d16h"},
		{"/topics", `{"name": "/x", "is_active": "yes"}`, 422, "invalid", "/is_active", "true or false"},
		{"/topics", `{"name": 7}`, 422, "invalid", "/name", "a text"},
		{"/topics", `{"name": "/x", "Max_Depth": 7}`, 422, "invalid", "/Max_Depth", "max_depth"},
		{"/topics", `{"name": "/x", "a/b~c": 7}`, 422, "invalid", "/a~1b~0c", "a/b~c"},

		{"/clients", `{"username": "a:b", "password": "x"}`, 422, "invalid", "/username", "colon"},
		{"/clients", `{"username": "a"}`, 422, "invalid", "/password", "missing"},
		{"/clients", `{"username": "a", "password": "` + long + `"}`, 422, "invalid", "/password", "72"},
		{"/clients", `{"username": "a", "password": 7}`, 422, "invalid", "/password", "not shown"},
		{"/clients", `{"username": "a", "password_hash": "plain"}`, 422, "invalid", "/password_hash", "bcrypt"},
		{"/clients", `{"username": "a", "password": "x", "password_hash": "$2a$10$ga.mjXeT4qNCi9dluXSmXOS81iKd6PbqwwcF1uf5dLELg2WqSbu82"}`, 422, "invalid", "/password", "one of"},
		{"/clients", `{"username": "a", "password": "x", "name": "` + long + `"}`, 422, "invalid", "/name", "256"},

		{"/producers", `{"client": "nobody", "topic": "/customer/created"}`, 422, "invalid", "/client", "nobody"},
		{"/producers", `{"client": "crm", "topic": "/nowhere"}`, 422, "invalid", "/topic", "/nowhere"},
		{"/consumers", `{"client": "nobody", "topic": "/customer/created"}`, 422, "invalid", "/client", "nobody"},
		{"/consumers", `{"client": "crm", "topic": "/nowhere"}`, 422, "invalid", "/topic", "/nowhere"},
		{"/consumers", `{"client": "crm", "topic": "/customer/created", "sub_key": "a b"}`, 422, "invalid", "/sub_key", "A-Z"},
		{"/consumers", `{"client": "crm", "topic": "/customer/created", "max_in_flight": 0}`, 422, "invalid", "/max_in_flight", "1000000"},
		{"/consumers", `{"client": "crm", "topic": "/customer/created", "ack_timeout": "1ms"}`, 422, "invalid", "/ack_timeout", "1ms"},
		{"/consumers", `{"client": "crm", "topic": "/customer/created", "max_depth": 0}`, 422, "invalid", "/max_depth", "max_depth 0"},
		{"/consumers", `{"client": "crm", "topic": "/customer/created", "start": "middle"}`, 422, "invalid", "/start", "middle"},

		{"/topics", ``, 400, "malformed", "", "empty"},
		{"/topics", `{"name": "/x"`, 400, "malformed", "", "JSON"},
		{"/topics", `{"name": "/x"} {}`, 400, "malformed", "", "more than one"},
		{"/topics", `{"name": "/x"} garbage`, 400, "malformed", "", "behind"},
		{"/topics", `{"name": "/x", "name": "/y"}`, 400, "malformed", "", "twice"},
		{"/topics", `["/x"]`, 400, "malformed", "", "object"},
		{"/topics", `null`, 400, "malformed", "", "object"},
		{"/topics", "{\"name\": \"/\xff\"}", 400, "malformed", "", "UTF-8"},
		{"/topics", `{"name": {"a": 1, "a": 2}}`, 400, "malformed", "", "name/a"},
		{"/topics", strings.Repeat("[", 100) + strings.Repeat("]", 100), 400, "malformed", "", "levels"},
		{"/topics?name=/x", `{"name": "/x"}`, 422, "invalid", "", "name"},
	} {
		p := r.refused(tt.status, tt.code, "POST", tt.path, tt.body)
		if !strings.Contains(p.Detail, tt.detail) {
			t.Errorf("%s: %q does not name %q", tt.body, p.Detail, tt.detail)
		}
		switch {
		case tt.pointer == "" && tt.status == 422:
			if len(p.Errors) != 1 || p.Errors[0].Parameter == "" {
				t.Errorf("%s: errors %v", tt.body, p.Errors)
			}
		case tt.pointer == "" && len(p.Errors) > 0, tt.pointer != "" && (len(p.Errors) == 0 || p.Errors[0].Pointer != tt.pointer):
			t.Errorf("%s: errors %v, want %q", tt.body, p.Errors, tt.pointer)
		}
	}
	// All fields that are wrong are named at once.
	if p := r.refused(422, "invalid", "POST", "/topics", `{"name": 1, "max_depth": "x", "more": true}`); len(p.Errors) != 3 {
		t.Errorf("errors %v", p.Errors)
	}
	var many []string
	for i := range 1000 {
		many = append(many, fmt.Sprintf(`"field%d": 1`, i))
	}
	if p := r.refused(422, "invalid", "POST", "/topics", "{"+strings.Join(many, ",")+"}"); len(p.Errors) != object.MaxErrors {
		t.Errorf("%d errors", len(p.Errors))
	}
	r.refused(415, "unsupported_type", "POST", "/topics", `{"name": "/x"}`, "Content-Type", "application/x-www-form-urlencoded")
	r.refused(415, "unsupported_type", "POST", "/topics", `{"name": "/x"}`, "Content-Type", api.TypePatch)
	r.refused(415, "unsupported_type", "POST", "/topics", `{"name": "/x"}`, "Content-Type", "application/json; charset=latin1")
	r.refused(415, "unsupported_type", "POST", "/topics", `{"name": "/x"}`, "Content-Encoding", "gzip")
	r.refused(413, "too_large", "POST", "/topics", `{"name": "/x", "more": "`+strings.Repeat("x", maxBody)+`"}`)
	if n := len(r.b.Topics()); n != 1 {
		t.Errorf("%d topics", n)
	}
	r.ok(201, "POST", "/topics", `{"name": "/x"}`, "Content-Type", "application/json; charset=UTF-8")
}

func TestEdit(t *testing.T) {
	r := newAPIRig(t)
	c := r.example()
	topic, client := "/topics/%2Fcustomer%2Fcreated", "/clients/erp"
	consumer, producer := fmt.Sprintf("/consumers/%d", c.ID), fmt.Sprintf("/producers/%d", r.b.Producers()[0].ID)

	a := r.ok(200, "PATCH", topic, `{"max_depth": 5, "dedup_window": "0s"}`)
	if a.field(t, "max_depth") != 5.0 || a.field(t, "dedup_window") != "0s" || a.field(t, "expiration") != 60.0 {
		t.Errorf("edited: %s", a.body)
	}
	// null is the default, what is not named stays.
	if a := r.ok(200, "PATCH", topic, `{"max_depth": null}`); a.field(t, "max_depth") != 1e6 || a.field(t, "dedup_window") != "0s" {
		t.Errorf("edited: %s", a.body)
	}
	// What was answered can be sent back as it is, also when counters have moved meanwhile.
	for _, one := range []string{topic, client, consumer, producer} {
		before := r.ok(200, "GET", one, nil)
		r.ok(201, "POST", topic+"/messages", jsonObject{"payload": "x"})
		after := r.ok(200, "PATCH", one, before.body)
		if after.field(t, "revision") != before.field(t, "revision") {
			t.Errorf("%s: %s became %s", one, before.body, after.body)
		}
	}
	if entries := actions(t, r); slices.Contains(entries, "client.edit") {
		t.Errorf("an edit that changes nothing is in the log: %q", entries)
	}
	// A password is changed and never shown; without one it stays.
	revision := r.ok(200, "GET", client, nil).field(t, "revision")
	a = r.ok(200, "PATCH", client, `{"password": "new", "name": "E R P"}`)
	if strings.Contains(string(a.body), "new") || a.field(t, "revision") == revision {
		t.Errorf("edited: %s", a.body)
	}
	r.ok(200, "PATCH", client, `{"name": null, "password": null}`)
	if _, err := r.b.Authenticate(t.Context(), "erp", "new", "192.0.2.1"); err != nil {
		t.Error(err)
	}
	if a := r.ok(200, "GET", client, nil); a.field(t, "name") != "erp" {
		t.Errorf("without a name: %s", a.body)
	}
	a = r.ok(200, "PATCH", consumer, `{"max_in_flight": 2, "ack_timeout": "2m0s", "is_active": false}`)
	if a.field(t, "max_in_flight") != 2.0 || a.field(t, "ack_timeout") != "2m0s" || a.field(t, "is_active") != false || a.field(t, "sub_key") != c.SubKey {
		t.Errorf("edited: %s", a.body)
	}

	for _, tt := range []struct {
		path, body string
		status     int
		code       string
		pointer    string
	}{
		{topic, `{"name": "/other"}`, 422, "invalid", "/name"},
		{topic, `{"name": null}`, 422, "invalid", "/name"},
		{topic, `{"max_depth": -1}`, 422, "invalid", "/max_depth"},
		{topic, `{"depth": 1, "colour": "red"}`, 422, "invalid", "/colour"},
		{topic, `{"revision": 7}`, 422, "invalid", "/revision"},
		{client, `{"username": "other"}`, 422, "invalid", "/username"},
		{client, `{"password": "x", "password_hash": "y"}`, 422, "invalid", "/password"},
		{producer, `{"client": "erp"}`, 422, "invalid", "/client"},
		{producer, `{"topic": "/other"}`, 422, "invalid", "/topic"},
		{consumer, `{"client": "crm"}`, 422, "invalid", "/client"},
		{consumer, `{"topic": "/other"}`, 422, "invalid", "/topic"},
		{consumer, `{"sub_key": "other"}`, 422, "invalid", "/sub_key"},
		{consumer, `{"start": "oldest"}`, 422, "invalid", "/start"},
		{topic, `[]`, 400, "malformed", ""},
		{"/topics/%2Fnone", `{}`, 404, "not_found", ""},
		{"/clients/none", `{}`, 404, "not_found", ""},
		{"/producers/4711", `{}`, 404, "not_found", ""},
		{"/consumers/4711", `{}`, 404, "not_found", ""},
		{"/consumers/x", `{}`, 404, "not_found", ""},
		{"/consumers/01", `{}`, 404, "not_found", ""},
	} {
		p := r.refused(tt.status, tt.code, "PATCH", tt.path, tt.body)
		if tt.pointer != "" && (len(p.Errors) == 0 || p.Errors[0].Pointer != tt.pointer) {
			t.Errorf("%s %s: errors %v", tt.path, tt.body, p.Errors)
		}
		if strings.Contains(p.Detail, c.SubKey) {
			t.Errorf("a secret is in %q", p.Detail)
		}
	}
	r.refused(415, "unsupported_type", "PATCH", topic, `{}`, "Content-Type", "application/json-patch+json")
}

// actions returns the actions of the audit log, the newest first.
func actions(t *testing.T, r *apiRig) []string {
	t.Helper()
	var entries gate.List[audit.Entry]
	r.ok(200, "GET", "/audit?limit=1000", nil).into(t, &entries)
	var all []string
	for _, e := range entries.Items {
		all = append(all, e.Action)
	}
	return all
}

func TestRevisions(t *testing.T) {
	r := newAPIRig(t)
	c := r.example()
	for _, one := range []string{"/topics/%2Fcustomer%2Fcreated", "/clients/erp", fmt.Sprintf("/producers/%d", r.b.Producers()[0].ID), fmt.Sprintf("/consumers/%d", c.ID)} {
		a := r.ok(200, "GET", one, nil)
		tag, revision := a.Header.Get("ETag"), a.field(t, "revision").(string)
		if same := r.ok(304, "GET", one, nil, "If-None-Match", `"x", W/`+tag); len(same.body) > 0 || same.Header.Get("ETag") != tag {
			t.Errorf("%s: %q %s", one, same.body, same.Header.Get("ETag"))
		}
		r.ok(304, "GET", one, nil, "If-None-Match", "*")
		r.ok(200, "GET", one, nil, "If-None-Match", `"`+revision+`"`)

		first := r.ok(200, "PATCH", one, `{"is_active": false}`, "If-Match", tag)
		p := r.refused(412, "changed", "PATCH", one, `{"is_active": true}`, "If-Match", tag)
		if len(p.Errors) > 0 {
			t.Errorf("%s: errors %v", one, p.Errors)
		}
		r.refused(412, "changed", "PATCH", one, `{"is_active": true, "revision": "`+revision+`"}`)
		r.refused(412, "changed", "DELETE", one, nil, "If-Match", tag)
		r.refused(412, "changed", "DELETE", one, nil, "If-Match", `"`+revision+`"`)
		r.refused(400, "malformed", "PATCH", one, `{}`, "If-Match", `"a", "b"`)
		r.refused(400, "malformed", "DELETE", one, nil, "If-Match", `""`)
		if got := r.ok(200, "GET", one, nil); got.field(t, "is_active") != false {
			t.Errorf("%s: a refused edit was made: %s", one, got.body)
		}
		second := r.ok(200, "PATCH", one, `{"is_active": true}`, "If-Match", "W/"+first.Header.Get("ETag"))
		if second.field(t, "revision") == first.field(t, "revision") {
			t.Errorf("%s: the revision stays", one)
		}
		r.ok(200, "PATCH", one, `{"is_active": false}`, "If-Match", "*")
		r.ok(200, "PATCH", one, `{"is_active": true}`)
		// Counters have no revision: they change the ETag alone.
		before := r.ok(200, "GET", one, nil)
		r.refused(412, "changed", "PATCH", one, `{"is_active": false}`, "If-Match", `"0000"`)
		r.ok(200, "PATCH", one, `{"is_active": false, "revision": "`+before.field(t, "revision").(string)+`"}`)
		r.refused(404, "not_found", "PATCH", one+"0", `{}`, "If-Match", "*")
		r.refused(404, "not_found", "DELETE", one+"0", nil, "If-Match", "*")
	}
	consumer := fmt.Sprintf("/consumers/%d", c.ID)
	r.refused(412, "changed", "POST", consumer+"/rotate", nil, "If-Match", `"0000"`)
	a := r.ok(200, "POST", consumer+"/rotate", nil, "If-Match", r.ok(200, "GET", consumer, nil).Header.Get("ETag"))
	if key := a.field(t, "sub_key"); key == c.SubKey || key == "" || a.field(t, "id") != float64(c.ID) {
		t.Errorf("rotated: %s", a.body)
	}
	r.refused(404, "not_found", "POST", "/consumers/4711/rotate", nil)

	// Deleting takes the revision of the definition, whatever the counters do.
	topic := "/topics/%2Fcustomer%2Fcreated"
	r.ok(200, "PATCH", topic, `{"is_active": true}`)
	tag := r.ok(200, "GET", topic, nil).Header.Get("ETag")
	r.ok(201, "POST", topic+"/messages", jsonObject{"payload": "x"})
	r.ok(200, "GET", topic, nil, "If-None-Match", tag)
	r.ok(200, "DELETE", topic, nil, "If-Match", tag)
}

func TestDelete(t *testing.T) {
	r := newAPIRig(t)
	c := r.example()
	topic := "/topics/%2Fcustomer%2Fcreated"
	r.ok(201, "POST", "/topics", jsonObject{"name": "/other"})
	var second object.Consumer
	r.ok(201, "POST", "/consumers", jsonObject{"client": "erp", "topic": "/other"}).into(t, &second)
	for range 3 {
		r.ok(201, "POST", topic+"/messages", jsonObject{"payload": "x"})
	}
	r.ok(201, "POST", topic+"/messages", jsonObject{"payload": "x", "delay": 60})
	r.ok(201, "POST", "/topics/%2Fother/messages", jsonObject{"payload": "x"})
	want := func(path string, d object.Deleted) {
		t.Helper()
		for _, method := range []string{"GET", "DELETE"} {
			p := path
			if method == "GET" {
				p += "/deletion"
			}
			var got object.Deleted
			r.ok(200, method, p, nil).into(t, &got)
			if got != d {
				t.Errorf("%s %s: %+v, want %+v", method, p, got, d)
			}
		}
		r.refused(404, "not_found", "GET", path, nil)
		r.refused(404, "not_found", "GET", path+"/deletion", nil)
		r.refused(404, "not_found", "DELETE", path, nil)
	}
	want(fmt.Sprintf("/consumers/%d", second.ID), object.Deleted{Messages: 1})
	want(fmt.Sprintf("/producers/%d", r.b.Producers()[0].ID), object.Deleted{})
	r.ok(201, "POST", "/producers", jsonObject{"client": "erp", "topic": "/customer/created"})
	want("/clients/erp", object.Deleted{Producers: 1, Consumers: 1, Messages: 3})
	r.refused(404, "not_found", "GET", fmt.Sprintf("/consumers/%d", c.ID), nil)
	r.ok(201, "POST", "/producers", jsonObject{"client": "crm", "topic": "/customer/created"})
	want(topic, object.Deleted{Producers: 1, Messages: 4}) // who comes may still need them
	for _, path := range []string{"/consumers/0", "/consumers/-1", "/consumers/4294967296", "/producers/x", "/clients/", "/topics/"} {
		r.refused(404, "not_found", "GET", path, nil)
	}
	if got := actions(t, r); !slices.Equal(slices.DeleteFunc(got, func(a string) bool { return !strings.HasSuffix(a, ".delete") }),
		[]string{"topic.delete", "client.delete", "producer.delete", "consumer.delete"}) {
		t.Errorf("audit log: %q", got)
	}
}

func TestScopes(t *testing.T) {
	r := newAPIRig(t)
	c := r.example()
	reader := []string{"Authorization", "Bearer " + r.readToken}
	for _, path := range []string{"/consumers", fmt.Sprintf("/consumers/%d", c.ID)} {
		if a := r.ok(200, "GET", path, nil, reader...); strings.Contains(string(a.body), "sub_key") {
			t.Errorf("GET %s with the scope read: %s", path, a.body)
		}
		if a := r.ok(200, "GET", path, nil); !strings.Contains(string(a.body), c.SubKey) {
			t.Errorf("GET %s with the scope write: %s", path, a.body)
		}
	}
	// What the reader got can still be sent back by who may write.
	path := fmt.Sprintf("/consumers/%d", c.ID)
	r.ok(200, "PATCH", path, r.ok(200, "GET", path, nil, reader...).body)
	r.refused(403, "forbidden", "GET", "/export", nil, reader...)
}

func TestLists(t *testing.T) {
	r := newAPIRig(t)
	r.example()
	var names []string
	for i := range 25 {
		name := fmt.Sprintf("/orders/%02d", i)
		names = append(names, name)
		r.ok(201, "POST", "/topics", jsonObject{"name": name, "is_active": i%2 == 0})
	}
	r.ok(201, "POST", "/topics", jsonObject{"name": "/Ähre"})
	type topics = gate.List[object.Topic]
	all := func(query string) (got []string, pages int) {
		t.Helper()
		cursor := ""
		for {
			var page topics
			r.ok(200, "GET", "/topics?"+query+cursor, nil).into(t, &page)
			for _, topic := range page.Items {
				got = append(got, topic.Name)
			}
			pages++
			if page.Next == "" {
				return got, pages
			}
			cursor = "&cursor=" + page.Next
		}
	}
	if got, pages := all("search=ORDERS&limit=10"); !slices.Equal(got, names) || pages != 3 {
		t.Errorf("%d pages: %q", pages, got)
	}
	if got, _ := all("search=%C3%A4hre"); !slices.Equal(got, []string{"/Ähre"}) {
		t.Errorf("search in another case: %q", got)
	}
	back := slices.Clone(names)
	slices.Reverse(back)
	if got, _ := all("search=orders&desc=true&limit=7"); !slices.Equal(got, back) {
		t.Errorf("in the opposite order: %q", got)
	}
	if got, pages := all("search=orders/2&limit=5"); len(got) != 5 || pages != 1 {
		t.Errorf("%d pages: %q", pages, got)
	}
	var page topics
	r.ok(200, "GET", "/topics?search=nothing", nil).into(t, &page)
	if page.Items == nil || len(page.Items) != 0 || page.Total != 0 {
		t.Errorf("of nothing: %+v", page)
	}
	for _, sort := range []string{"depth", "last_publish", "producers", "consumers"} {
		for _, desc := range []string{"true", "false"} {
			got, _ := all("sort=" + sort + "&desc=" + desc + "&limit=4")
			slices.Sort(got)
			if got = slices.Compact(got); len(got) != 27 {
				t.Errorf("sorted by %s: %d topics", sort, len(got))
			}
		}
	}

	// What comes and goes between two pages moves nothing else.
	r.ok(200, "GET", "/topics?search=orders&limit=10", nil).into(t, &page)
	if page.Total != 25 {
		t.Errorf("total %d", page.Total)
	}
	r.ok(200, "DELETE", "/topics/%2Forders%2F09", nil)
	r.ok(201, "POST", "/topics", jsonObject{"name": "/orders/00b"})
	r.ok(201, "POST", "/topics", jsonObject{"name": "/orders/09b"})
	var next topics
	r.ok(200, "GET", "/topics?search=orders&limit=2&cursor="+page.Next, nil).into(t, &next)
	if next.Items[0].Name != "/orders/09b" || next.Items[1].Name != "/orders/10" {
		t.Errorf("the next page begins at %q", next.Items[0].Name)
	}
	// A cursor is as good for numbers.
	r.ok(201, "POST", "/consumers", jsonObject{"client": "erp", "topic": "/orders/04"})
	r.ok(201, "POST", "/topics/%2Forders%2F04/messages", jsonObject{"payload": "x"})
	if got, _ := all("sort=depth&desc=true&limit=1"); got[0] != "/orders/04" || len(got) != 28 {
		t.Errorf("the deepest topic is %q of %d", got[0], len(got))
	}

	for _, path := range []string{"/clients", "/producers", "/consumers"} {
		r.ok(200, "GET", path+"?search=e&limit=1", nil)
	}
	for _, tt := range []struct {
		path  string
		total float64
	}{
		{"/consumers?client=erp", 2}, {"/consumers?client=crm", 0}, {"/consumers?topic=/orders/04&client=erp", 1}, {"/consumers?topic=/none", 0},
		{"/producers?client=crm", 1}, {"/producers?topic=/customer/created", 1}, {"/producers?search=CREATED", 1}, {"/clients?search=Erp", 1},
		{"/consumers?sort=backlog&desc=true", 2}, {"/consumers?sort=in_flight", 2}, {"/consumers?sort=last_seen", 2}, {"/consumers?sort=client", 2},
		{"/producers?sort=client", 1}, {"/producers?sort=last_seen", 1}, {"/clients?sort=name", 2}, {"/clients?sort=last_seen", 2},
		{"/topics?part=inactive", 11}, {"/topics?part=inactive&search=orders/0", 4}, {"/topics?part=messages", 1}, {"/topics?part=full", 0},
		{"/consumers?part=messages", 1}, {"/consumers?part=away", 1}, {"/consumers?part=full", 0}, {"/consumers?part=inactive", 0},
		{"/clients?part=inactive", 0}, {"/clients?part=unseen", 2}, {"/producers?part=inactive", 0}, {"/webhooks?part=inactive", 0},
	} {
		if got := r.ok(200, "GET", tt.path, nil).field(t, "total"); got != tt.total {
			t.Errorf("%s: %v", tt.path, got)
		}
	}
	for _, tt := range []struct{ path, parameter string }{
		{"/topics?limit=0", "limit"}, {"/topics?limit=1001", "limit"}, {"/topics?limit=x", "limit"}, {"/topics?limit=+1", "limit"}, {"/topics?limit=", "limit"},
		{"/topics?sort=colour", "sort"}, {"/topics?desc=1", "desc"}, {"/topics?part=away", "part"}, {"/topics?part=", "part"}, {"/webhooks?part=full", "part"}, {"/topics?cursor=x", "cursor"}, {"/topics?cursor=e30", "cursor"},
		{"/topics?desc=true&cursor=" + page.Next, "cursor"}, {"/topics?sort=depth&cursor=" + page.Next, "cursor"},
		{"/topics?colour=red", "colour"}, {"/topics?limit=1&limit=2", "limit"}, {"/topics?topic=/x", "topic"}, {"/clients/erp?verbose=true", "verbose"},
	} {
		p := r.refused(422, "invalid", "GET", tt.path, nil)
		if len(p.Errors) != 1 || p.Errors[0].Parameter != tt.parameter || p.Errors[0].Pointer != "" {
			t.Errorf("%s: errors %v", tt.path, p.Errors)
		}
	}
	r.refused(400, "malformed", "GET", "/topics?a=%zz", nil)
	r.refused(400, "malformed", "GET", "/topics?a;b", nil)
}

func TestUnknownRoutes(t *testing.T) {
	r := newAPIRig(t)
	for _, path := range []string{"", "/", "/nothing", "/topics/", "/topics/a/b", "/Topics", "/consumers/1/rotate/"} {
		r.refused(404, "not_found", "GET", path, nil)
	}
	for _, tt := range []struct{ method, path, allow string }{
		{"PUT", "/topics", "GET, HEAD, POST"},
		{"DELETE", "/topics", "GET, HEAD, POST"},
		{"POST", "/topics/x", "DELETE, GET, HEAD, PATCH"},
		{"OPTIONS", "/stats", "GET, HEAD"},
		{"GET", "/import", "POST"},
	} {
		a := r.do(tt.method, tt.path, nil)
		allow := strings.Split(a.Header.Get("Allow"), ", ")
		slices.Sort(allow)
		if a.StatusCode != 405 || strings.Join(allow, ", ") != tt.allow || a.Header.Get("Content-Type") != api.TypeProblem {
			t.Errorf("%s %s: %s, Allow %q, %s", tt.method, tt.path, a.Status, allow, a.body)
		}
	}
}

// TestHostileNames has topics and clients whose names a path must not take for something else.
func TestHostileNames(t *testing.T) {
	r := newAPIRig(t)
	for _, name := range []string{".", "..", "/..", "/a/../b", "/a//b", "a?b#c", "a%2Fb", "%", "/ü/é", `"<script>alert(1)</script>"`, "a+b", "a;b", ":name", "deletion", " "} {
		one := strings.TrimPrefix(r.ok(201, "POST", "/topics", jsonObject{"name": name}).Header.Get("Location"), gate.V1)
		if strings.Contains(one, "/.") {
			t.Errorf("%q is at %s, which clients resolve", name, one)
		}
		if a := r.ok(200, "GET", one, nil); a.field(t, "name") != name {
			t.Errorf("%q is %s", name, a.body)
		}
		r.ok(200, "PATCH", one, jsonObject{"max_depth": 9})
		message := r.ok(201, "POST", one+"/messages", jsonObject{"payload": name, "msg_id": ".."})
		r.ok(200, "GET", strings.TrimPrefix(message.Header.Get("Location"), gate.V1), nil)
		r.ok(200, "DELETE", one, nil)
		r.ok(201, "POST", "/clients", jsonObject{"username": strings.ReplaceAll(name, ":", "."), "password": "x"})
	}
}

func TestConcurrentEdits(t *testing.T) {
	r := newAPIRig(t)
	r.example()
	// Without a revision none of them fails, and none is lost.
	fields := []string{`{"max_depth": 77}`, `{"expiration": 88}`, `{"dedup_window": "9s"}`, `{"is_active": false}`}
	done := make(chan struct{})
	for _, body := range fields {
		go func() {
			defer func() { done <- struct{}{} }()
			req, err := http.NewRequestWithContext(t.Context(), "PATCH", r.url+gate.V1+"/topics/%2Fcustomer%2Fcreated", strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			req.Header.Set("Authorization", "Bearer "+r.writeToken)
			req.Header.Set("Content-Type", api.TypePatch)
			resp, err := r.client.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
			if resp.StatusCode != 200 {
				t.Errorf("%s: %s", body, resp.Status)
			}
		}()
	}
	for range fields {
		<-done
	}
	var topic object.Topic
	r.ok(200, "GET", "/topics/%2Fcustomer%2Fcreated", nil).into(t, &topic)
	if topic.MaxDepth != 77 || topic.Expiration != 88 || topic.DedupWindow != 9*time.Second || !topic.Inactive {
		t.Errorf("edits are lost: %+v", topic)
	}
}

// TestLargeLists imports many objects and pages through them.
func TestLargeLists(t *testing.T) {
	if testing.Short() {
		t.Skip("10,000 objects of each kind")
	}
	r := newAPIRig(t)
	const n = 10_000
	hash, err := login.HashPassword("x")
	if err != nil {
		t.Fatal(err)
	}
	d := object.Definitions{Version: 1, Clients: []object.ClientDefinition{{Client: broker.Client{Username: "c", PasswordHash: hash}}}}
	for i := range n {
		topic := object.NewTopic().Topic
		topic.Name = fmt.Sprintf("/topic/%05d", i)
		c := object.NewConsumer().Consumer
		c.Client, c.Topic = "c", topic.Name
		d.Topics = append(d.Topics, object.TopicDefinition{Topic: topic})
		d.Consumers = append(d.Consumers, object.ConsumerDefinition{Consumer: c})
	}
	body, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	var done object.Import
	r.ok(200, "POST", "/import", body).into(t, &done)
	if done.Created != 2*n+1 || len(done.SubKeys) != n {
		t.Fatalf("%d created", done.Created)
	}
	for _, path := range []string{"/topics?sort=depth&", "/consumers?sort=backlog&desc=true&"} {
		seen := map[string]bool{}
		for cursor := ""; ; {
			var page struct {
				Items []json.RawMessage `json:"items"`
				Next  string            `json:"next"`
				Total int               `json:"total"`
			}
			r.ok(200, "GET", path+"limit=1000&cursor="+url.QueryEscape(cursor), nil).into(t, &page)
			for _, item := range page.Items {
				seen[string(item)] = true
			}
			if page.Total != n || len(page.Items) > 1000 {
				t.Fatalf("%s: %d of %d", path, len(page.Items), page.Total)
			}
			if cursor = page.Next; cursor == "" {
				break
			}
		}
		if len(seen) != n {
			t.Errorf("%s: %d of %d were listed", path, len(seen), n)
		}
	}
}
