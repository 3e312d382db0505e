package acceptance

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pipit/admin/audit"
	"pipit/admin/gate"
	"pipit/admin/object"
	"pipit/broker"
	"pipit/httpapi/refused"
)

// entries returns those of a kind, or all where it is empty, the newest first, as ACTION(OBJECT)xCOUNT.
func (r *authRig) entries(kind string) string {
	r.t.Helper()
	var s []string
	for cursor := ""; ; {
		l, err := r.a.Trail.List(gate.Query{Kind: kind, Limit: gate.MaxLimit, Cursor: cursor})
		if err != nil {
			r.t.Fatal(err)
		}
		for _, e := range l.Items {
			s = append(s, fmt.Sprintf("%s(%s)x%d", e.Action, e.Object, e.Count))
			if e.Kind != kindOf(e.Action) || kind != "" && e.Kind != kind || (e.Count > 1) == e.First.IsZero() || e.First.After(e.At.Time) {
				r.t.Errorf("%+v", e)
			}
		}
		if cursor = l.Next; cursor == "" {
			if l.Total != len(s) {
				r.t.Errorf("total %d of %d", l.Total, len(s))
			}
			return strings.Join(s, " ")
		}
	}
}

// kindOf is the kind that an action is to have.
func kindOf(action string) string {
	for _, of := range []struct{ kind, actions string }{
		{audit.Refusal, `\.refused$`},
		{audit.Access, `^(administrator|token|session|setup)\.`},
		{audit.Secret, `^(client\.password|consumer\.(rotate|end_overlap|reveal|secret)|webhook\.secret|export)$`},
	} {
		if regexp.MustCompile(of.actions).MatchString(action) {
			return of.kind
		}
	}
	return audit.Edit
}

// kept lets the audit log be kept once.
func kept() {
	time.Sleep(keepInterval)
	synctest.Wait()
}

// auditLines returns what the log of the server says of an action.
func (r *authRig) auditLines(action string) (lines []map[string]any) {
	r.t.Helper()
	for text := range strings.Lines(r.logs.String()) {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			r.t.Fatal(err, text)
		}
		if line["msg"] == "audit" && line["action"] == action {
			lines = append(lines, line)
		}
	}
	return lines
}

// TestAuditIsNotWashedAway: no number of edits, refusals or secrets shown removes what is said of access.
func TestAuditIsNotWashedAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAuthRig(t, true)
		defer r.close()
		r.account()
		as := withCookie(r.signedIn())
		r.want(r.call("POST", gate.V1+"/administrators", `{"name": "mallory", "password": "a long password 4711", "current_password": "`+authPassword+`"}`, as), http.StatusCreated)
		r.newToken(r.signedIn(), "deploy", gate.ScopeWrite, "")
		kept()
		before := r.entries(audit.Access)
		if !strings.Contains(before, "administrator.create(mallory)x1") || !strings.Contains(before, "token.create(deploy)x1") {
			t.Fatal(before)
		}
		for _, action := range []string{"topic.edit", audit.Rotate, "session.refused"} {
			var docs []broker.Document
			for i := range audit.MaxEntries + 200 {
				docs = append(docs, r.a.Trail.Entry(gate.Actor{Name: "mallory", Addr: "192.0.2.7"}, action, fmt.Sprint(i), ""))
				if len(docs) == 1000 || i == audit.MaxEntries+200-1 {
					if err := r.b.PutDocuments(t.Context(), docs...); err != nil {
						t.Fatal(err)
					}
					docs = nil
				}
			}
		}
		kept()
		for range 2 {
			if now := r.entries(audit.Access); now != before {
				t.Errorf("%s, before %s", now, before)
			}
			for _, kind := range []string{audit.Edit, audit.Secret, audit.Refusal} {
				if n := r.a.Trail.Len(kind); n != audit.MaxEntries {
					t.Errorf("%d entries of %s", n, kind)
				}
			}
			r.restart()
		}
	})
}

// TestRefusedAreOneEntry: a thousand refused tokens from a network are one entry with their count, its first and its
// last time, and so are refused sign-ins.
func TestRefusedAreOneEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAuthRig(t, true)
		defer r.close()
		r.account()
		began := time.Now()
		for i := range 20 {
			for j := range 50 {
				r.addr = fmt.Sprintf("[2001:db8::%x]", j+1)
				r.wantProblem(r.call("GET", gate.V1+"/topics", "", withToken(fmt.Sprintf("pipit_wrong_%d_%d", i, j))), http.StatusUnauthorized, "unauthorized")
			}
			if i%10 == 0 || i == 19 { // each takes a slow hash
				r.want(r.login(authName, "wrong password"), http.StatusUnauthorized)
			}
			kept()
		}
		if s := r.entries(audit.Refusal); s != "session.refused(ann)x3 token.refused()x1000" && s != "token.refused()x1000 session.refused(ann)x3" {
			t.Error(s)
		}
		l, err := r.a.Trail.List(gate.Query{Kind: audit.Refusal})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range l.Items {
			if e.First.Sub(began) > time.Second || e.At.Sub(e.First.Time).Round(time.Minute) != 19*keepInterval {
				t.Errorf("from %s to %s", e.First, e.At)
			}
		}
		count := 0.0
		lines := r.auditLines("token.refused")
		for _, line := range lines {
			n, counted := line["count"].(float64)
			if !counted {
				n = 1
			}
			if count += n; line["remote"] == nil || line["level"] != "INFO" {
				t.Error(line)
			}
		}
		if count != 1000 || len(lines) != 40 {
			t.Errorf("the log counts %v in %d lines", count, len(lines))
		}
		// Another network, another entry; an hour later, another one, too.
		r.addr = "192.0.2.9"
		r.call("GET", gate.V1+"/topics", "", withToken("pipit_wrong"))
		time.Sleep(audit.MergeWindow)
		r.addr = "[2001:db8::1]"
		r.call("GET", gate.V1+"/topics", "", withToken("pipit_wrong"))
		kept()
		if s := r.entries(audit.Refusal); !strings.HasPrefix(s, "token.refused()x1 token.refused()x1 ") || !strings.Contains(s, "x1000") {
			t.Error(s)
		}
	})
}

// TestEqualEntriesAreOne: what was really done is counted, what was refused is not.
func TestEqualEntriesAreOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAuthRig(t, true)
		defer r.close()
		r.account()
		as := withCookie(r.signedIn())
		r.want(r.call("POST", gate.V1+"/topics", `{"name": "/x"}`, as), http.StatusCreated)
		for range 3 {
			r.want(r.call("POST", gate.V1+"/topics", `{"name": "/x"}`, as), http.StatusConflict)
		}
		for range 60 {
			r.want(r.call("PATCH", gate.V1+"/topics/%2Fx", `{"max_depth": 7}`, as), http.StatusOK)
			r.want(r.call("PATCH", gate.V1+"/topics/%2Fx", `{"max_depth": 8}`, as), http.StatusOK)
		}
		kept()
		// The first edit is from the default.
		if s := r.entries(audit.Edit); s != "topic.edit(/x)x60 topic.edit(/x)x59 topic.edit(/x)x1 topic.create(/x)x1" {
			t.Error(s)
		}
		if n := len(r.auditLines("topic.create")); n != 1 {
			t.Errorf("%d lines of topic.create", n)
		}
		if lines := r.auditLines("topic.edit"); len(lines) != 120 || lines[0]["object"] != "/x" || lines[0]["actor"] != authName || lines[0]["via"] != "api" ||
			lines[0]["remote"] != r.addr || lines[1]["detail"] != "max_depth: 7 → 8" || lines[0]["level"] != "INFO" {
			t.Errorf("%d lines, %v", len(lines), lines[:2])
		}
		r.want(r.call("PATCH", gate.V1+"/topics/%2Fx", `{"max_depth": 7}`, as), http.StatusOK)
		r.restart()
		kept()
		if s := r.entries(audit.Edit); s != "topic.edit(/x)x1 topic.edit(/x)x60 topic.edit(/x)x59 topic.edit(/x)x1 topic.create(/x)x1" && !strings.HasPrefix(s, "topic.edit(/x)x60 topic.edit(/x)x60 ") {
			t.Error(s)
		}
	})
}

// TestAuditOfOlderFile: where all entries stand in one ring, those that are no edits move to theirs.
func TestAuditOfOlderFile(t *testing.T) {
	r := newAuthRig(t, false)
	r.account()
	at := time.Now().Add(-time.Hour)
	for i, e := range []struct{ action, object string }{{"administrator.create", "ann"}, {"topic.create", "/x"}, {"session.refused", ""}, {"consumer.rotate", "c"}} {
		d := broker.Document{Kind: "audit", Key: fmt.Sprintf("%016x%016x", at.UnixNano()+int64(i), i),
			Value: fmt.Appendf(nil, `{"at":%q,"who":"ann","via":"web","addr":"192.0.2.1","action":%q,"object":%q}`, at.UTC().Format(time.RFC3339Nano), e.action, e.object)}
		if err := r.b.PutDocuments(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	const all = "consumer.rotate(c)x1 session.refused()x1 topic.create(/x)x1 administrator.create(ann)x1"
	r.restart()
	for range 2 {
		for kind, want := range map[string]string{
			"": all, audit.Access: "administrator.create(ann)x1", audit.Edit: "topic.create(/x)x1", audit.Refusal: "session.refused()x1", audit.Secret: "consumer.rotate(c)x1",
		} {
			if got := r.entries(kind); got != want {
				t.Errorf("%q: %s", kind, got)
			}
		}
		r.restart()
	}
	for _, kind := range audit.Kinds {
		if docs, err := r.b.Documents(strings.TrimSuffix("audit."+kind, "."+audit.Edit), "", false, 10); err != nil || len(docs) != 1 {
			t.Errorf("%s: %d entries, %v", kind, len(docs), err)
		}
	}
}

// TestAuditOfSecrets: the log says who was shown or has changed a secret, and not the secret.
func TestAuditOfSecrets(t *testing.T) {
	r := newAuthRig(t, false)
	r.account()
	cookie := r.signedIn()
	as := withCookie(cookie)
	r.want(r.call("POST", gate.V1+"/topics", `{"name": "/x"}`, as), http.StatusCreated)
	r.want(r.call("POST", gate.V1+"/clients", `{"username": "crm", "password": "swordfish-1"}`, as), http.StatusCreated)
	made := r.call("POST", gate.V1+"/consumers", `{"client": "crm", "topic": "/x"}`, as)
	r.want(made, http.StatusCreated)
	var c object.Consumer
	if err := json.Unmarshal([]byte(made.body), &c); err != nil || len(c.SubKey) < 16 {
		t.Fatal(err, made.body)
	}
	one := fmt.Sprintf("%s/consumers/%d", gate.V1, c.ID)
	page := fmt.Sprintf("/admin/consumers/%d", c.ID)
	reader := withToken(r.newToken(cookie, "reader", gate.ScopeRead, "").Token)
	step := func(want string) {
		t.Helper()
		if got := r.entries(audit.Secret); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	// Who is not shown it.
	r.want(r.call("GET", one, "", reader), http.StatusOK)
	r.want(r.call("GET", gate.V1+"/consumers", "", reader), http.StatusOK)
	r.want(r.call("GET", page, "", as), http.StatusOK)
	r.want(r.call("PATCH", gate.V1+"/clients/crm", `{"name": "CRM"}`, as), http.StatusOK)
	step("")
	name := object.OfTopic("crm", "/x")
	want := ""
	for _, c := range []struct{ method, path, body, entry string }{
		{"POST", page + "/reveal", "", "consumer.reveal(" + name + ")x1"}, // through the web
		{"GET", one, "", "consumer.reveal(" + name + ")x1"},               // through the API
		{"GET", gate.V1 + "/consumers", "", "consumer.reveal()x1"},
		{"GET", gate.V1 + "/export", "", "export()x1"},
		{"POST", one + "/rotate", "", "consumer.rotate(" + name + ")x1"},
		{"PATCH", gate.V1 + "/clients/crm", `{"password": "swordfish-2", "is_active": false}`, "client.password(crm)x1"},
		{"POST", gate.V1 + "/import", `{"version": 1, "clients": [{"username": "crm", "password": "swordfish-3"}]}`, "client.password(crm)x1"},
	} {
		status := http.StatusOK
		if strings.HasPrefix(c.path, page) {
			status = http.StatusSeeOther
		}
		r.want(r.call(c.method, c.path, c.body, as), status)
		want = strings.TrimSpace(c.entry + " " + want)
		step(want)
	}
	// Again and again: the first one is stored at once, the others are counted.
	for range 5 {
		r.want(r.call("GET", one, "", as), http.StatusOK)
	}
	step("consumer.reveal(" + name + ")x4 consumer.reveal(" + name + ")x1 " + want)
	for _, secret := range []string{"swordfish", c.SubKey} {
		if strings.Contains(r.logs.String(), secret) {
			t.Errorf("%q is in the log", secret)
		}
	}
}

// TestAuditWithoutRoom: what cannot be stored is in the log of the server.
func TestAuditWithoutRoom(t *testing.T) {
	r := newAuthRig(t, false)
	r.account()
	cookie := r.signedIn()
	r.store.full.Store(true)
	r.call("GET", gate.V1+"/topics", "", withToken("pipit_wrong"))
	r.want(r.call("POST", "/admin/logout", "", withCookie(cookie)), http.StatusSeeOther)
	r.store.full.Store(false)
	for _, action := range []string{"token.refused", "session.end"} {
		if n := len(r.auditLines(action)); n != 1 {
			t.Errorf("%d lines of %s", n, action)
		}
	}
}

// TestLogOfRefusedIsBounded: what strangers send fills no disk with lines; their number is told.
func TestLogOfRefusedIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAuthRig(t, true)
		defer r.close()
		r.account()
		as := withCookie(r.signedIn())
		lines := func(msg string) int { return strings.Count(r.logs.String(), `"msg":"`+msg+`"`) }
		for range 40 {
			r.want(r.call("GET", gate.V1+"/topics", "", withToken("pipit_wrong")), http.StatusUnauthorized)
			r.want(r.call("GET", "/admin/nothing", ""), http.StatusNotFound)
			r.want(r.call("GET", gate.V1+"/topics/%2Fnone", "", as), http.StatusNotFound)
		}
		if n := lines("refused"); n != refused.OfNetwork+40 {
			t.Errorf("%d lines", n)
		}
		time.Sleep(refused.Span)
		synctest.Wait()
		if want := fmt.Sprintf(`"msg":"more were refused","requests":%d,"network":"192.0.2.1"}`, 80-refused.OfNetwork); !strings.Contains(r.logs.String(), want) || lines("more were refused") != 1 {
			t.Errorf("%s is missing", want)
		}
	})
}
