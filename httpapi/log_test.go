package httpapi_test

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"pipit/httpapi/refused"
)

// TestLog: what is refused is logged with its reason, at a level that tells whose fault it is.
func TestLog(t *testing.T) {
	r := newServer(t)
	for _, c := range []struct {
		status                          int
		method, path, auth, key, reason string
	}{
		{401, "POST", created, "", "", "Invalid credentials: no credentials"},
		{401, "POST", created, "crm:wrong-password-1", "", "Invalid credentials: wrong password"},
		{401, "POST", created, "nobody:wrong-password-1", "", "Invalid credentials: unknown user"},
		{401, "POST", created, "off:crm", "", "Invalid credentials: inactive client"},
		{403, "POST", created, erp, "", `Permission denied: client "erp" is no producer of topic "/customer/created"`},
		{403, "POST", queue, crm, key, "Permission denied: the sub_key is another client's"},
		{400, "POST", created + "?priority=x", crm, "", `priority "x": allowed are whole numbers`},
		{404, "GET", "/nothing", "", "", "No such route"},
		{404, "DELETE", "/zato/pubsub/msg/K1?ack=true", erp, key, "Message not found `K1`"},
		{405, "PUT", created, "", "", "Method PUT: allowed are POST"},
	} {
		var header []string
		if c.key != "" {
			header = []string{"X-Zato-PubSub-Key", c.key}
		}
		a := r.do(c.method, c.path, c.auth, marked, header...)
		line := r.refused(a)
		path, _, _ := strings.Cut(c.path, "?")
		remote, ok := line["remote"].(string)
		if a.status != c.status || line["status"] != float64(c.status) || line["level"] != "WARN" || line["method"] != c.method ||
			line["path"] != path || line["reason"] != c.reason || !ok || !strings.HasPrefix(remote, "127.0.0.1:") {
			t.Errorf("%d %s: logged %v, want %+v", a.status, a.body, line, c)
		}
	}
	n := len(r.logs.lines(t, "refused"))
	r.publish(created, "fine")
	r.wantPayloads(queue, "fine")
	if len(r.logs.lines(t, "refused")) != n {
		t.Error("something is logged as refused that was not")
	}
}

// TestLogIsBounded: what strangers send does not fill the log, whatever it is; who is signed in has lines of its own.
func TestLogIsBounded(t *testing.T) {
	r := newServer(t)
	for i := range 60 {
		r.refuse(401, "Invalid credentials", "POST", created, "", "")
		r.refuse(404, "No such route", "GET", fmt.Sprintf("/nothing/%d", i), "", "")
		r.refuse(405, "Method PUT: allowed are POST", "PUT", created, "", "")
		r.refuse(403, "Permission denied", "POST", created, erp, marked)
	}
	by := map[string]int{}
	for _, line := range r.logs.lines(t, "refused") {
		client, _ := line["client"].(string)
		by[client]++
	}
	if by[""] != refused.OfNetwork || by["erp"] != 60 {
		t.Errorf("lines by client: %v", by)
	}
}

// TestLogOfUnreadableIsBounded: nor does what no handler is given.
func TestLogOfUnreadableIsBounded(t *testing.T) {
	r := newServer(t)
	for range refused.OfNetwork + 10 {
		conn := r.dial()
		if _, err := io.WriteString(conn, "what is this\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if a := r.readReply(conn, "GET"); a.status != 400 {
			t.Fatal(a)
		}
		conn.Close()
	}
	if n := len(r.logs.lines(t, "refused")); n != refused.OfNetwork {
		t.Errorf("%d lines", n)
	}
}

// TestAccessLog: a line for every request, with the ID that its reply carries.
func TestAccessLog(t *testing.T) {
	r := newServer(t)
	long := strings.Repeat("y", 1000)
	for _, c := range []struct {
		method, path, auth string
		status             int
	}{
		{"GET", "/zato/ping", "", 200}, {"POST", created, crm, 200}, {"POST", created, "", 401}, {"GET", "/" + long, "", 404}, {"HEAD", "/health", "", 200}, {"HEAD", created, "", 405},
	} {
		a := r.do(c.method, c.path, c.auth, marked)
		r.awaitLine(a)
		var found int
		for _, line := range r.logs.lines(t, "request") {
			if line["cid"] != a.header.Get("X-Zato-CID") {
				continue
			}
			found++
			path, _ := line["path"].(string)
			_, timed := line["duration"].(float64)
			if line["level"] != "INFO" || line["method"] != c.method || line["status"] != float64(c.status) || a.status != c.status || len(path) > 300 ||
				!strings.HasPrefix(c.path, strings.TrimSuffix(path, "…")) || !timed {
				t.Errorf("%v, want %+v", line, c)
			}
			if n, ok := line["bytes"].(float64); !ok || c.method != "HEAD" && int(n) != len(a.body) {
				t.Errorf("%v bytes, want %d", line["bytes"], len(a.body))
			}
		}
		if found != 1 {
			t.Errorf("%s %s: %d lines", c.method, c.path, found)
		}
	}
}

// awaitLine waits until the access line of a reply is written, which may be after the reply: on the
// same connection the next request comes after it.
func (r *rig) awaitLine(a reply) {
	r.t.Helper()
	for range 1000 {
		for _, line := range r.logs.lines(r.t, "request") {
			if line["cid"] == a.header.Get("X-Zato-CID") {
				return
			}
		}
		r.do("GET", "/health", "", "")
	}
	r.t.Errorf("no line of %s", a.header.Get("X-Zato-CID"))
}

// TestSecrets goes through all that a client can do, right and wrong, with payloads, keys and
// passwords that must not turn up in the log at any level. The end of every test looks for them.
func TestSecrets(t *testing.T) {
	r := newServer(t, func(s *setup) { s.broker.MaxPayload, s.api.MaxPayload = 1000, 1000 })
	for _, payload := range []string{marked, marked + "\xff", strings.Repeat(marked, 200)} {
		for _, auth := range []string{"", crm, erp, bob, "off:crm", "crm:wrong-password-1", "wrong-password-1"} {
			for _, path := range []string{
				created, created + "?priority=10", created + "?batch=true", created + "?msg_id=mine", "/zato/pubsub/topic//no/such/", "/zato/pubsub/topic/",
			} {
				r.do("POST", path, auth, payload)
				r.do("POST", path, auth, `{"payload": "`+payload+`"}`+"\n"+`{"payload": `+payload, "Content-Type", ndjson)
			}
			for _, k := range []string{"", key, "bobs-own-key", "orders-erp-key", key + "x"} {
				header := []string{"X-Zato-PubSub-Key", k}
				for _, path := range []string{queue, queue + "?max=0", queue + "?sub_key=" + key + ";x", queue + "?sub_key=" + key + "%zz", queue + "?format=xml", "/zato/pubsub/msg/orders/", "/zato/pubsub/msg/", ackMany, ackMany + "?sub_key=" + key} {
					r.do("POST", path, auth, payload, header...)
				}
				r.do("POST", ackMany, auth, `{"ack": ["K1"], "reject": ["`+marked+`x"]}`, header...)
				r.do("POST", queue+"?sub_key="+key, auth, "", header...)
				r.do("GET", queue, auth, "", append(header, "Accept", "text/plain")...)
				r.do("DELETE", "/zato/pubsub/msg/K1/?ack=true", auth, "", header...)
				r.do("DELETE", "/zato/pubsub/msg/K1/", auth, payload, header...)
			}
		}
	}
	if n := len(r.logs.lines(t, "refused")); n < 100 {
		t.Errorf("%d requests were refused", n)
	}
}

// TestShortKey: of a key so short that its beginning would be most of it, nothing is shown.
func TestShortKey(t *testing.T) {
	r := newServer(t)
	for _, k := range []string{"Zq7", "Zq7w", "Zq7wX9"} {
		r.refuse(403, "Permission denied", "POST", queue, erp, "", "X-Zato-PubSub-Key", k)
		for line := range strings.Lines(r.logs.String()) {
			if strings.Contains(line, `"`+k) || strings.Contains(line, `"Zq7`) {
				t.Errorf("a key of %d characters: %s", len(k), line)
			}
		}
	}
	if !strings.Contains(fmt.Sprint(r.logs.lines(t, "refused")), "unknown sub_key") {
		t.Error("the refusal is not logged")
	}
}
