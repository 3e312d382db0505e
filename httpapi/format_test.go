package httpapi_test

import (
	"encoding/base64"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"pipit/broker"
)

const xmlHead = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"

// TestXMLReplies: format=xml is understood by every call, errors included.
func TestXMLReplies(t *testing.T) {
	r := newServer(t)
	wantXML := func(status int, body, method, path, auth, sent string, header ...string) reply {
		t.Helper()
		a := r.want(status, xmlHead+"<data>"+body+"</data>", method, path, auth, sent, header...)
		if a.header.Get("Content-Type") != "application/xml" {
			t.Errorf("%s %s: Content-Type %s", method, path, a.header.Get("Content-Type"))
		}
		return a
	}
	wantXML(200, "<status>ZATO_OK</status><msg_id>&lt;a&gt;&#34;ż</msg_id>", "POST", created+"?format=xml&msg_id=%3Ca%3E%22%C5%BC", crm, "Hello")
	wantXML(200, "<status>ZATO_OK</status><msg_ids><item>b</item><item>c</item></msg_ids>", "POST", created+"?batch=true&format=XML", crm,
		`{"payload": "x", "msg_id": "b"}`+"\n"+`{"payload": "x", "msg_id": "c"}`, "Content-Type", ndjson)
	r.wantPayloads(queue, "Hello", "x", "x")
	withKey := []string{"X-Zato-PubSub-Key", key}
	wantXML(200, "<status>ZATO_OK</status><details></details>", "DELETE", "/zato/pubsub/msg/b/?ack=true&format=xml", erp, "", withKey...)
	wantXML(200, "<status>ZATO_OK</status><acked>1</acked><rejected>0</rejected><extended>0</extended><not_found><item>b</item><item>d&amp;</item></not_found>",
		"POST", ackMany+"?format=xml", erp, `{"ack": ["b", "c", "d&"]}`, withKey...)
	wantXML(200, "<status>ZATO_OK</status><acked>0</acked><rejected>1</rejected><extended>0</extended><not_found></not_found>",
		"POST", ackMany+"?format=xml", erp, `{"reject": ["<a>\"ż"]}`, withKey...)
	wantXML(200, "<status>ZATO_OK</status><details></details>", "GET", "/health?format=xml", "", "")
	a := r.do("GET", "/zato/ping?format=xml", "", "")
	if want := xmlHead + "<data><zato_ping_response><pong>zato</pong></zato_ping_response><zato_env><details></details><result>ZATO_OK</result><cid>" +
		a.header.Get("X-Zato-CID") + "</cid></zato_env></data>"; a.status != 200 || a.body != want {
		t.Errorf("%d %s, want %s", a.status, a.body, want)
	}
	refused := func(details string) string { return "<status>ZATO_ERROR</status><details>" + details + "</details>" }
	wantXML(401, refused("Invalid credentials"), "POST", created+"?format=xml", "", "")
	wantXML(403, refused("Permission denied"), "POST", "/zato/pubsub/topic//no/such?format=xml", crm, "")
	wantXML(404, refused("No such route"), "GET", "/nothing?format=xml", "", "")
	wantXML(404, refused("Message not found `x`"), "DELETE", "/zato/pubsub/msg/x/?ack=true&format=xml", erp, "", withKey...)
	wantXML(405, refused("Method PUT: allowed are POST"), "PUT", created+"?format=xml", crm, "")
	wantXML(400, refused("priority &#34;&lt;&#34;: allowed are whole numbers"), "POST", created+"?priority=%3C&format=xml", crm, "")
	wantXML(400, refused("query: not a list of name=value"), "POST", created+"?%zz&format=xml", crm, "")
	wantXML(400, refused("header Accept &#34;text/plain&#34;: allowed are text/event-stream and */*; a receive is a POST"), "GET", queue+"?format=xml", erp, "", append(withKey, "Accept", "text/plain")...)
	wantXML(415, refused("header Content-Encoding &#34;br&#34;: allowed are gzip, deflate, identity"), "POST", created+"?format=xml", crm, "", "Content-Encoding", "br")
	r.refuse(400, `format "yaml": allowed are json, xml`, "POST", created+"?format=yaml", crm, "")
}

// TestASCII: a client that takes application/json for ISO-8859-1 reads the same.
func TestASCII(t *testing.T) {
	r := newServer(t)
	const text = "ž €😀\u2028 é"
	a := r.do("POST", "/zato/pubsub/topic//a%20b/%C5%BC%E2%82%AC%F0%9F%98%80?msg_id="+"%C5%BC&mime_type=%C5%BC", crm, text)
	if a.body != `{"status": "ZATO_OK", "msg_id": "\u017c"}` {
		t.Errorf("%d %s", a.status, a.body)
	}
	a = r.do("POST", "/zato/pubsub/msg//a%20b/%C5%BC%E2%82%AC%F0%9F%98%80", erp, "", "X-Zato-PubSub-Key", "spaces-erp-key")
	if strings.ContainsFunc(a.body, func(r rune) bool { return r >= 0x80 }) || !strings.Contains(a.body, `"payload": "\u017e \u20ac\ud83d\ude00\u2028 \u00e9"`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	if got := r.parsed(a); got.Count != 1 || got.Results[0].Payload != text || got.Results[0].Metadata.ID != "ż" || got.Results[0].Metadata.Topic != "/a b/ż€😀" {
		t.Errorf("%+v", got)
	}
}

// TestHeaderNames: spelled on the wire as documented, because scripts grep.
func TestHeaderNames(t *testing.T) {
	r := newServer(t)
	for request, lines := range map[string][]string{
		"POST " + created + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n": {"X-Zato-CID: K", `WWW-Authenticate: Basic realm="Zato pub/sub", charset="UTF-8"` + "\r\n"},
		"GET /zato/ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n":                            {"X-Zato-CID: K"},
		"GET /zato/%zz HTTP/1.1\r\nHost: x\r\n\r\n":                                                  {"X-Zato-CID: K"},
	} {
		c := r.dial()
		if _, err := io.WriteString(c, request); err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(c)
		c.Close()
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range lines {
			if !strings.Contains(string(b), "\r\n"+line) {
				t.Errorf("no %q in %s", line, b)
			}
		}
	}
}

// TestHEAD: what GET answers, without the body, and without taking messages.
func TestHEAD(t *testing.T) {
	r := newServer(t)
	id := r.publish(created, "Hello")
	for _, path := range []string{"/zato/ping", "/zato/ping/", "/health", "/zato/ping?format=xml", queue} {
		header := []string{"X-Zato-PubSub-Key", key, "Accept", "text/event-stream"}
		head := r.do("HEAD", path, erp, "", header...)
		if head.status != 200 || head.body != "" {
			t.Errorf("HEAD %s: %d %q", path, head.status, head.body)
		}
		if path == queue {
			if head.header.Get("Content-Type") != "text/event-stream" {
				t.Errorf("HEAD %s: Content-Type %q", path, head.header.Get("Content-Type"))
			}
			continue
		}
		get := r.do("GET", path, erp, "", header...)
		for _, name := range []string{"Content-Type", "Content-Length"} {
			if head.header.Get(name) != get.header.Get(name) {
				t.Errorf("HEAD %s: %s %q, GET %q", path, name, head.header.Get(name), get.header.Get(name))
			}
		}
	}
	if a := r.do("HEAD", queue, "", ""); a.status != 401 || a.body != "" {
		t.Errorf("%d %q", a.status, a.body)
	}
	if got := r.receive(queue); got.Count != 1 || got.Results[0].Metadata.ID != id || got.Results[0].Metadata.Deliveries != 1 {
		t.Errorf("%+v", got.Results)
	}
}

// TestFlags: what Zato took for a boolean, and empty parameters.
func TestFlags(t *testing.T) {
	r := newServer(t)
	for i, flag := range []string{"true", "True", "TRUE", "1", "yes", "Yes", "on", "ON", "t", "T", "y", "Y"} {
		id := r.publish(created, flag)
		r.wantPayloads(queue+"?ack=&max=&dir=&format=&wait=&_=1", flag)
		r.settle(id, "ack="+flag+"&reject="+[]string{"false", "False", "0", "no", "NO", "off", "f", "n", ""}[i%9])
		r.publish(created, flag)
		r.wantPayloads(queue+"?max=0&dir=Lifo&ack="+flag, flag)
		r.wantPayloads(queue)
	}
	for range 3 {
		r.publish(created, "x")
	}
	r.wantPayloads(queue+"?max=1001", "x", "x", "x")
	r.wantPayloads(queue + "?max=99999999999999999999")
	r.refuse(400, `max "-99999999999999999999": allowed are whole numbers`, "POST", queue+"?max=-99999999999999999999", erp, "", "X-Zato-PubSub-Key", key)
	r.refuse(400, `ack "2": allowed are true, 1, yes, on, t, y and false, 0, no, off, f, n`, "DELETE", "/zato/pubsub/msg/x/?ack=2", erp, "", "X-Zato-PubSub-Key", key)
}

// TestMergedSlashes: where a proxy has merged the slashes, the topic is found all the same, and the log
// says so once.
func TestMergedSlashes(t *testing.T) {
	r := newServer(t)
	const merged, mergedQueue = "/zato/pubsub/topic/customer/created/", "/zato/pubsub/msg/customer/created/"
	for range 2 {
		r.publish(merged, "merged")
		r.wantPayloads(mergedQueue+"?ack=true", "merged")
	}
	lines := slices.DeleteFunc(r.logs.lines(t, "a proxy in front merges slashes of a path: served as the topic with the slash; let it pass paths on as they are, or clients send %2F"),
		func(line map[string]any) bool { return line["level"] != "WARN" || line["topic"] != "/customer/created" })
	if len(lines) != 1 {
		t.Errorf("%d warnings", len(lines))
	}
	// What may not be used is refused as what is not there, and does not count as seen.
	for _, c := range []struct{ path, auth, key string }{
		{"/zato/pubsub/topic/other", crm, ""}, {"/zato/pubsub/topic/off", crm, ""}, {merged, erp, ""}, {"/zato/pubsub/topic/no/such", crm, ""},
		{"/zato/pubsub/msg/other", erp, "off-consumer-key"}, {mergedQueue, erp, "orders-erp-key"}, {"/zato/pubsub/msg/no/such", erp, key},
	} {
		r.refuse(403, "Permission denied", "POST", c.path, c.auth, "", "X-Zato-PubSub-Key", c.key)
	}
}

// TestLatin1Credentials: those that are not UTF-8 are taken for ISO-8859-1, and count as what they mean.
func TestLatin1Credentials(t *testing.T) {
	r := newServer(t)
	_, err := r.b.Change(ctx, broker.Change{Define: broker.Definition{Clients: []broker.Client{{Username: "jürgen", Password: "pässword"}}}})
	if err != nil {
		t.Fatal(err)
	}
	latin1 := func(s string) string {
		b := make([]byte, 0, len(s))
		for _, c := range s {
			b = append(b, byte(c))
		}
		return "Basic " + base64.StdEncoding.EncodeToString(b)
	}
	for range 2 { // the second time it is remembered
		for _, auth := range []string{latin1("jürgen:pässword"), "Basic " + base64.StdEncoding.EncodeToString([]byte("jürgen:pässword"))} {
			a := r.do("POST", created, "", "Hello", "Authorization", auth)
			if a.status != http.StatusForbidden { // known, and no producer
				t.Errorf("%d %s", a.status, a.body)
			}
			if line := r.refused(a); line["client"] != "jürgen" {
				t.Errorf("logged %v", line)
			}
		}
	}
	// Wrong ones count for one username, in either charset.
	for i := range 10 {
		auth := latin1("jürgen:wröng")
		if i%2 == 0 {
			auth = "Basic " + base64.StdEncoding.EncodeToString([]byte("jürgen:wröng"))
		}
		r.refuse(401, "Invalid credentials", "POST", created, "", "", "Authorization", auth)
	}
	r.refuse(429, "Too many failed logins", "POST", created, "", "", "Authorization", latin1("jürgen:wröng"))
	r.refuse(429, "Too many failed logins", "POST", created, "", "", "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("jürgen:wröng")))
}
