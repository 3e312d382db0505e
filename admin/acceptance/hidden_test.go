package acceptance

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"pipit/admin/gate"
	"pipit/admin/text"
	"pipit/broker"
	"pipit/broker/limit"
	"pipit/broker/store"
	"pipit/db"
)

// No new name has characters that do not show, or turn others around.
func TestHiddenCharactersAreRefused(t *testing.T) {
	r := newAPIRig(t)
	r.example()
	for _, hidden := range []string{"\u202e", "\u200b", "\u200c", "\u200d", "\u2066", "\u00ad", "\ufeff", "\u2028", "\u2029", "\u0085", "\U000e0041", "\u3164", "\u115f", "\uffa0"} {
		name := "pay" + hidden + "pal"
		quoted := fmt.Sprintf("⟨%U⟩", []rune(hidden)[0])
		for _, tt := range []struct {
			path, field string
			body        jsonObject
		}{
			{"/topics", "name", jsonObject{"name": "/" + name}},
			{"/clients", "username", jsonObject{"username": name, "password": "a long password"}},
			{"/clients", "name", jsonObject{"username": "x", "name": name, "password": "a long password"}},
			{"/import", "topics/0/name", jsonObject{"version": 1, "topics": []jsonObject{{"name": "/" + name}}}},
			{"/import?dry_run=true", "topics/0/name", jsonObject{"version": 1, "topics": []jsonObject{{"name": "/" + name}}}},
			{"/import?dry_run=true", "clients/0/username", jsonObject{"version": 1, "clients": []jsonObject{{"username": name, "password": "a long password"}}}},
		} {
			p := r.refused(422, "invalid", "POST", tt.path, tt.body)
			if len(p.Errors) == 0 || p.Errors[0].Pointer != "/"+tt.field || !strings.Contains(p.Errors[0].Detail, "allowed are characters that show") && hidden != "\u0085" {
				t.Errorf("%s %s: %+v", tt.path, quoted, p)
			}
		}
		r.refused(422, "invalid", "POST", "/consumers", jsonObject{"client": "erp", "topic": "/customer/created", "name": name})
		r.refused(422, "invalid", "POST", "/import", jsonObject{"version": 1, "consumers": []jsonObject{{"client": "erp", "topic": "/customer/created", "name": name}}})
		r.refused(422, "invalid", "POST", "/tokens", jsonObject{"name": name, "scope": "read"})
		r.refused(422, "invalid", "POST", "/administrators", jsonObject{"name": name, "password": "correct horse battery"})
	}
	r.refused(422, "invalid", "PATCH", "/clients/erp", jsonObject{"name": "E\u202eRP"})
	r.ok(201, "POST", "/topics", jsonObject{"name": "/日本語/ü/é"})
}

// Objects with such names, of before the rule, stay: they can be opened, edited and deleted, and pages
// show what is in their names.
func TestHiddenCharactersOfOld(t *testing.T) {
	r := newAuthRig(t, false)
	r.account()
	const client, topic, filler = "e\u202erp", "/a\u200bb", "k\u3164" // a letter
	r.admit(filler)
	r.close()
	file, err := db.Open(r.path, db.Options{Logger: r.options.Logger})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = file.Load(); err == nil {
		err = file.Commit(&store.Batch{Define: []store.Object{
			{Kind: store.Client, Key: client, Value: encoded(t, broker.Client{Username: client, Name: client, PasswordHash: authHash})},
			{Kind: store.Topic, Key: topic, ID: 1, Value: encoded(t, struct {
				broker.Topic
				ID uint32
			}{broker.Topic{Name: topic, MaxDepth: 10}, 1})},
			{Kind: store.Consumer, Key: "k", ID: 2, Value: encoded(t, struct {
				broker.Consumer
				ID uint32
			}{broker.Consumer{Client: client, Topic: topic, Name: filler, SubKey: "k", MaxDepth: 10, MaxInFlight: 10, AckTimeout: limit.DefaultAckTimeout}, 2})},
		}})
	}
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	r.open()
	as := withCookie(r.signedIn())

	clientPath, topicPath := "/clients/"+url.PathEscape(client), "/topics/"+url.PathEscape(topic)
	for _, path := range []string{"/", "/topics", topicPath, topicPath + "/edit", topicPath + "/delete", "/clients", clientPath, clientPath + "/delete",
		"/consumers", "/consumers/2", "/messages?topic=" + url.QueryEscape(topic)} {
		a := r.call("GET", "/admin"+path, "", as, asBrowser)
		r.want(a, http.StatusOK)
		if shown := text.ShowHidden(a.body); shown != a.body || path != "/" && !strings.Contains(a.body, "⟨U+202E⟩") && !strings.Contains(a.body, "⟨U+200B⟩") {
			t.Errorf("%s shows names as they are", path)
		}
	}
	const emoji = "👩\u200d💻"
	if page := `<td>` + topic + `</td><span class="preview">` + emoji + `</span><b>` + topic + `</b><pre><code>` + emoji + `</code></pre>`; text.ShowHidden(page) != strings.ReplaceAll(page, "\u200b", "⟨U+200B⟩") {
		t.Errorf("payloads are changed: %s", text.ShowHidden(page))
	}
	r.want(r.call("PATCH", gate.V1+topicPath, `{"max_depth": 20}`, as), http.StatusOK)
	r.want(r.call("PATCH", gate.V1+clientPath, `{"is_active": false}`, as), http.StatusOK)
	r.want(r.call("PATCH", gate.V1+"/consumers/2", `{"max_depth": 20}`, as), http.StatusOK)
	r.want(r.call("PATCH", gate.V1+"/administrators/"+url.PathEscape(filler), `{"password": "battery staple", "current_password": "`+authPassword+`"}`, as), http.StatusOK)
	post := func(path string, form url.Values) authAnswer {
		return r.call("POST", "/admin"+path, form.Encode(), as, asBrowser, withHeader("Content-Type", "application/x-www-form-urlencoded"))
	}
	r.want(post(topicPath+"/delete", url.Values{"confirm": {"/ab"}}), http.StatusUnprocessableEntity)
	r.want(post(topicPath+"/delete", url.Values{"confirm": {"/a⟨U+200B⟩b"}}), http.StatusSeeOther)
	r.want(r.call("DELETE", gate.V1+clientPath, "", as), http.StatusOK)
	r.want(r.call("POST", gate.V1+"/topics", `{"name": "`+topic+`"}`, as), http.StatusUnprocessableEntity)
}

// encoded returns an object as the broker stores it.
func encoded(t *testing.T, object any) []byte {
	t.Helper()
	text, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
