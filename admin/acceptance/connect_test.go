package acceptance

import (
	"fmt"
	"html"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"pipit/broker"
	"pipit/broker/property"
)

// TestConnectForEver: messages that are to wait for ever do, also of a topic that is there.
func TestConnectForEver(t *testing.T) {
	d := newDesk(t)
	for range 2 {
		res := d.post("/admin/connect", "sender", "shop", "receiver", "erp 2", "topic", "/ever", "expiration", "0")
		if topic, _ := d.b.Topic("/ever"); topic.Expiration != property.Off || !strings.Contains(d.get(res.location), "until it has fetched them") {
			t.Errorf("%d, %+v", res.status, topic.Topic)
		}
	}
}

// TestConnect connects two systems by a form, runs the commands of the page as they stand there, and loads the page again.
func TestConnect(t *testing.T) {
	d := newDesk(t)
	form := d.get("/admin/connect")
	for _, want := range []string{`<option value="604800" selected>7 days</option>`, "is lost"} {
		if !strings.Contains(form, want) {
			t.Errorf("no %s in %s", want, form)
		}
	}
	before := len(d.b.Clients())
	res := d.post("/admin/connect", "sender", "shop", "receiver", "erp 2", "topic", "/order/created", "expiration", "604800")
	if res.status != http.StatusSeeOther {
		t.Fatalf("%d\n%s", res.status, res.body)
	}
	page := d.get(res.location)
	password := regexp.MustCompile(`id="(?:sender|receiver)-password">([A-Z2-7]{26})<`)
	secrets := password.FindAllStringSubmatch(page, -1)
	if topic, _ := d.b.Topic("/order/created"); topic.Expiration != 604800 || len(d.b.Clients()) != before+2 || len(secrets) != 2 {
		t.Errorf("%+v, %d clients, %q", topic.Topic, len(d.b.Clients()), secrets)
	}
	for _, want := range []string{"Waiting for the first fetch…", "at most 7d for the receiver", "SHOP_PASSWORD=" + secrets[0][1], "ERP_2_PASSWORD=" + secrets[1][1]} {
		if !strings.Contains(html.UnescapeString(page), want) {
			t.Errorf("no %s in %s", want, page)
		}
	}
	if again := d.get(res.location); !strings.Contains(again, secrets[0][1]) || len(d.b.Consumers()) != 1 {
		t.Error("loading the page again does not show the same:", again)
	}
	audit := d.get("/admin/system/audit")
	for _, want := range []string{"client.create", "topic.create", "producer.create", "consumer.create", "to connect two systems"} {
		if !strings.Contains(audit, want) {
			t.Errorf("no %s in the audit log", want)
		}
	}
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("no curl on this machine")
	}
	run := func(line string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "sh", "-c", line).Output()
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		return string(out)
	}
	commands := commandsOf(page)
	if len(commands) != 3 {
		t.Fatalf("%q", commands)
	}
	for i, want := range []string{`"status": "ZATO_OK", "msg_id"`, `"payload": "Hello pub/sub!"`, `"results_count": 0`} {
		if out := run(commands[i]); !strings.Contains(out, want) {
			t.Errorf("%s\n%s\nwithout %s", commands[i], out, want)
		}
	}
	if page := d.get(res.location); !strings.Contains(page, "Fetched, and not acknowledged yet: 1 message is in flight.") {
		t.Error(page)
	}
	// Another message by the button, which is taken at once.
	page = d.done("/admin/connect/done", "consumer", fmt.Sprint(d.b.Consumers()[0].ID), "sender", "shop", "once", regexp.MustCompile(`once=(\w+)`).FindStringSubmatch(res.location)[1])
	if !strings.Contains(page, "The test message is") || !strings.Contains(page, secrets[1][1]) {
		t.Error(page)
	}
	if out := run(commands[2]); !strings.Contains(out, `"payload": "A test message"`) {
		t.Error(out)
	}
	if page := d.get(res.location); !strings.Contains(page, "It works") || strings.Contains(page, "data-await") {
		t.Error(page)
	}

	// Another session is not shown the passwords.
	if res := d.post("/admin/login", "name", adaName, "password", adaPassword); res.status != http.StatusSeeOther {
		t.Fatal(res.status)
	}
	if page := d.get(res.location); password.MatchString(page) || !strings.Contains(page, `id="over"`) {
		t.Error("another session sees the passwords:", page)
	}
}

// What exists is kept as it is; what cannot be is refused at its field, and nothing is made.
func TestConnectExisting(t *testing.T) {
	d := newDesk(t)
	d.define(broker.Definition{
		Clients:   []broker.Client{{Username: "shop", Password: "p"}, {Username: "off", Password: "p", Inactive: true}},
		Topics:    []broker.Topic{{Name: "/orders", Expiration: 60}, {Name: "/off", Inactive: true}},
		Producers: []broker.Producer{{Client: "shop", Topic: "/orders"}},
		Consumers: []broker.Consumer{{Client: "shop", Topic: "/orders", SubKey: "key-of-shop"}},
	})
	page := d.done("/admin/connect", "sender", "shop", "receiver", "shop", "topic", "/orders")
	if !strings.Contains(page, "key-of-shop") || !strings.Contains(page, "1m") || len(d.b.Consumers()) != 1 || len(d.b.Producers()) != 1 {
		t.Error(page)
	}
	if !strings.Contains(d.get("/admin/system/audit"), "consumer.reveal") {
		t.Error("that a sub_key was shown is not in the audit log")
	}
	page = d.done("/admin/connect", "sender", "shop", "receiver", "erp", "topic", "/orders", "callback_url", "https://erp.example.com/orders")
	if !strings.Contains(page, "https://erp.example.com/orders") || !strings.Contains(page, "whsec_") || !strings.Contains(page, "Waiting for the first call…") {
		t.Error(page)
	}
	objects := func() int {
		return len(d.b.Clients()) + len(d.b.Topics()) + len(d.b.Producers()) + len(d.b.Consumers())
	}
	before := objects()
	for _, tt := range []struct{ sender, receiver, topic, callback, field, message string }{
		{"", "new", "/new", "", "sender", "Username"},
		{"a:b", "new", "/new", "", "sender", "a:b"},
		{"new", "a:b", "/new", "", "receiver", "a:b"},
		{"new", "off", "/new", "", "receiver", "inactive"},
		{"new", "new2", "", "", "topic", "Topic"},
		{"new", "new2", "/off", "", "topic", "inactive"},
		{"new", "new2", "/a/*", "", "topic", "no pattern"},
		{"new", "new2", "/new", "ftp://x", "callback_url", "ftp://x"},
		{"new", "shop", "/orders", "https://x.example.com", "callback_url", "already"},
	} {
		res := d.post("/admin/connect", "sender", tt.sender, "receiver", tt.receiver, "topic", tt.topic, "callback_url", tt.callback, "expiration", "86400")
		m := regexp.MustCompile(`(?s)id="connect-(\w+)-error" role="alert">([^<]*)<`).FindStringSubmatch(res.body)
		if res.status != http.StatusUnprocessableEntity || m == nil || m[1] != tt.field || !strings.Contains(m[2], tt.message) {
			t.Errorf("%+v: %d %q\n%s", tt, res.status, m, res.body)
		}
		if !strings.Contains(res.body, `<option value="86400" selected>`) {
			t.Errorf("%+v: what was chosen is lost", tt)
		}
	}
	// Also where the topic is there, and has its own.
	if res := d.post("/admin/connect", "sender", "shop", "receiver", "new", "topic", "/orders", "expiration", "-1"); res.status != http.StatusUnprocessableEntity || !strings.Contains(res.body, `id="connect-expiration-error"`) {
		t.Errorf("an expiration of -1: %d\n%s", res.status, res.body)
	}
	if objects() != before {
		t.Error("something was made of what was refused")
	}
}
