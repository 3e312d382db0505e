package httpapi_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"pipit/broker"
	"pipit/broker/limit"
	"pipit/broker/property"
	"pipit/broker/store"
	"pipit/httpapi/forwarded"
)

const empty = `{"status": "ZATO_OK", "results_count": 0, "results": []}`

// TestSamples sends what curl sends for the sample commands, byte for byte.
func TestSamples(t *testing.T) {
	r := newServer(t)
	a := r.raw("POST /zato/pubsub/topic//customer/created/ HTTP/1.1\r\nHost: 127.0.0.1:11223\r\nAuthorization: Basic Y3JtOmNybQ==\r\n" +
		"User-Agent: curl/8.5.0\r\nAccept: */*\r\nContent-Length: 14\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\nHello pub/sub!")
	m := publishPattern.FindStringSubmatch(a.body)
	if a.status != 200 || m == nil || !cidPattern.MatchString(m[1]) || a.header.Get("Content-Type") != "application/json" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	a = r.raw("POST /zato/pubsub/msg//customer/created/ HTTP/1.1\r\nHost: localhost:17010\r\nAuthorization: Basic ZXJwOmVycA==\r\n" +
		"User-Agent: curl/8.5.0\r\nAccept: */*\r\nX-Zato-PubSub-Key:" + key + "\r\n\r\n")
	const at = `(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6})`
	want := regexp.MustCompile(`^\{"status": "ZATO_OK", "results_count": 1, "results": \[\{"payload": "Hello pub/sub!", "metadata": \{` +
		`"msg_id": "` + m[1] + `", "topic": "/customer/created", "creation_time_utc": "` + at + `", "expiration": 60, "expire_at_utc": "` + at +
		`", "producer": "CRM", "priority": 5, "mime_type": "text/plain", "delivery_count": 1\}\}\]\}$`)
	times := want.FindStringSubmatch(a.body)
	if a.status != 200 || times == nil || a.header.Get("Content-Type") != "application/json" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	from, err1 := time.Parse("2006-01-02T15:04:05.000000", times[1])
	to, err2 := time.Parse("2006-01-02T15:04:05.000000", times[2])
	if err1 != nil || err2 != nil || to.Sub(from) != time.Minute {
		t.Errorf("expires %s after its creation", to.Sub(from))
	}
	a = r.raw("DELETE /zato/pubsub/msg/" + m[1] + "/?ack=true HTTP/1.1\r\nHost: localhost:17010\r\nAuthorization: Basic ZXJwOmVycA==\r\n" +
		"X-Zato-PubSub-Key:" + key + "\r\n\r\n")
	if a.status != 200 || a.body != `{"status": "ZATO_OK", "details": ""}` || a.header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %s", a.status, a.body)
	}
	r.wantPayloads(queue)
}

// TestPaths covers what a URL can look like.
func TestPaths(t *testing.T) {
	r := newServer(t)
	for _, path := range []string{
		"/zato/pubsub/topic//customer/created/", "/zato/pubsub/topic//customer/created",
		"/zato/pubsub/topic/%2Fcustomer%2Fcreated/", "/zato/pubsub/topic//customer/created?priority=5",
		"/zato/pubsub/topic//customer/created/?priority=5",
	} {
		r.publish(path, path)
		for _, q := range []string{queue, strings.TrimSuffix(queue, "/"), "/zato/pubsub/msg/%2Fcustomer%2Fcreated"} {
			got := r.wantPayloads(q+"?max=1", path)
			if got.Results[0].Metadata.Topic != "/customer/created" {
				t.Errorf("topic %q", got.Results[0].Metadata.Topic)
			}
			r.want(200, `{"status": "ZATO_OK", "details": ""}`, "DELETE", "/zato/pubsub/msg/"+got.Results[0].Metadata.ID+"?reject=true", erp, "", "X-Zato-PubSub-Key", key)
		}
		id := r.receive(queue).Results[0].Metadata.ID
		r.want(200, `{"status": "ZATO_OK", "details": ""}`, "DELETE", "/zato/pubsub/msg/"+id+"?ack=true", erp, "", "X-Zato-PubSub-Key", key)
	}
	r.publish("/zato/pubsub/topic/orders/", "without a slash")
	if got := r.receive("/zato/pubsub/msg/orders", "orders-erp-key"); len(got.Results) != 1 || got.Results[0].Metadata.Topic != "orders" {
		t.Errorf("%+v", got)
	}
	spaces := "/zato/pubsub/topic//" + url.PathEscape("a b") + "/" + url.PathEscape("ż€😀") + "/"
	r.publish(spaces, "spaces")
	if got := r.receive(strings.Replace(spaces, "topic", "msg", 1), "spaces-erp-key"); len(got.Results) != 1 || got.Results[0].Metadata.Topic != "/a b/ż€😀" {
		t.Errorf("%+v", got)
	}
	// Nothing is cleaned: these are other topics, which do not exist.
	for _, path := range []string{
		"/zato/pubsub/topic///customer/created/", "/zato/pubsub/topic//customer//created/",
		"/zato/pubsub/topic//customer/./created/", "/zato/pubsub/topic//customer/x/../created/", "/zato/pubsub/topic//customer/created//",
		"/zato/pubsub/topic//Customer/Created/", "/zato/pubsub/topic/customer//created/", "/zato/pubsub/topic//orders/", "/zato/pubsub/topic//", "/zato/pubsub/topic///",
	} {
		status := 403
		details := "Permission denied"
		if path == "/zato/pubsub/topic//" {
			status, details = 404, "No such route: a topic name is missing"
		}
		r.refuse(status, details, "POST", path, crm, marked)
	}
	if r.receive(queue).Count != 0 {
		t.Error("something was stored")
	}
}

func TestNoSuchRoute(t *testing.T) {
	r := newServer(t)
	for _, path := range []string{"/", "/zato", "/zato/", "/zato/pubsub", "/zato/pubsub/", "/zato/pubsub/x", "/zato/pubsub/topic", "/zato/pubsub/msg",
		"//zato/ping", "/zato//ping", "/zato/ping/x", "/ZATO/PING", "/zato/Ping", "/health/", "/zato/pubsub/ack/x", "/zato/./ping", "/x/../zato/ping", "/favicon.ico"} {
		for _, method := range []string{"GET", "POST", "DELETE", "PUT", "OPTIONS"} {
			r.refuse(404, "No such route", method, path, crm, "")
			r.refuse(404, "No such route", method, path, "", "")
		}
		if a := r.do("HEAD", path, crm, ""); a.status != 404 || a.body != "" {
			t.Errorf("HEAD %s: %d %q", path, a.status, a.body)
		}
	}
	r.refuse(404, "No such route: a topic name is missing", "POST", "/zato/pubsub/topic/", crm, "")
	r.refuse(404, "No such route: a topic name is missing", "POST", "/zato/pubsub/msg/", erp, "", "X-Zato-PubSub-Key", key)
	r.refuse(404, "No such route: a topic name is missing", "GET", "/zato/pubsub/msg/", erp, "", "X-Zato-PubSub-Key", key, "Accept", "text/event-stream")
	r.refuse(404, "No such route: a msg_id is missing", "DELETE", "/zato/pubsub/msg/?ack=true", erp, "", "X-Zato-PubSub-Key", key)
}

func TestMethodNotAllowed(t *testing.T) {
	r := newServer(t)
	for _, c := range []struct{ path, allow string }{
		{created, "POST"},
		{queue, "DELETE, GET, HEAD, POST"},
		{ackMany, "POST"},
		{"/zato/pubsub/ack", "POST"},
		{"/zato/ping", "GET, HEAD"},
		{"/zato/ping/", "GET, HEAD"},
		{"/health", "GET, HEAD"},
		{"/healthz", "GET, HEAD"},
		{"/readyz", "GET, HEAD"},
	} {
		for _, method := range []string{"GET", "POST", "DELETE", "PUT", "PATCH", "OPTIONS", "TRACE", "HEAD", "BREW"} {
			if strings.Contains(c.allow, method) {
				continue
			}
			var a reply
			if method == "HEAD" {
				a = r.do(method, c.path, crm, "")
			} else {
				a = r.refuse(405, "Method "+method+": allowed are "+c.allow, method, c.path, crm, "")
			}
			if got := a.header.Values("Allow"); a.status != 405 || len(got) != 1 || got[0] != c.allow {
				t.Errorf("%s %s: %d, Allow %q, want %q", method, c.path, a.status, got, c.allow)
			}
		}
	}
	a := r.raw("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
	if a.status != 405 || a.header.Get("Allow") != "DELETE, GET, HEAD, POST" {
		t.Errorf("OPTIONS *: %d, Allow %q: %s", a.status, a.header.Get("Allow"), a.body)
	}
	// A target that is no path.
	if a := r.raw("CONNECT example.com:80 HTTP/1.1\r\nHost: example.com:80\r\n\r\n"); a.status != 404 {
		t.Errorf("CONNECT: %d %s", a.status, a.body)
	}
	if a := r.raw("GET http://example.com/zato/ping HTTP/1.1\r\nHost: example.com\r\n\r\n"); a.status != 200 {
		t.Errorf("absolute form: %d %s", a.status, a.body)
	}
}

func TestPingAndHealth(t *testing.T) {
	r := newServer(t)
	for _, path := range []string{"/zato/ping", "/zato/ping/"} {
		a := r.do("GET", path, "", "")
		want := `{"zato_ping_response": {"pong": "zato"}, "zato_env": {"details": "", "result": "ZATO_OK", "cid": "` + a.header.Get("X-Zato-CID") + `"}}`
		if a.status != 200 || a.body != want || a.header.Get("Content-Type") != "application/json" {
			t.Errorf("%d %s, want %s", a.status, a.body, want)
		}
	}
	for _, path := range []string{"/health", "/healthz", "/readyz"} {
		r.want(200, `{"status": "ZATO_OK", "details": ""}`, "GET", path, "", "")
		if a := r.do("HEAD", path, "", ""); a.status != 200 || a.body != "" {
			t.Errorf("HEAD %s: %d %s", path, a.status, a.body)
		}
	}
	if a, b := r.do("GET", "/zato/ping", "", ""), r.do("GET", "/zato/ping", "", ""); a.header.Get("X-Zato-CID") == b.header.Get("X-Zato-CID") {
		t.Error("two requests have one id")
	}
}

func TestCredentials(t *testing.T) {
	r := newServer(t)
	for _, route := range []struct{ method, path string }{
		{"POST", created}, {"POST", queue}, {"GET", queue}, {"DELETE", "/zato/pubsub/msg/K1/?ack=true"}, {"POST", ackMany},
		{"POST", "/zato/pubsub/topic//no/such/"}, {"POST", created + "?priority=x"}, {"POST", queue + "?max=x"},
		{"POST", "/zato/pubsub/topic/"}, {"POST", "/zato/pubsub/msg/"}, {"GET", "/zato/pubsub/msg/"}, {"DELETE", "/zato/pubsub/msg/"},
	} {
		for _, auth := range []string{"", "crm:wrong-password-1", "CRM:crm", "nobody:crm", "off:crm", ":", "crm:", ":crm", "erp:crm"} {
			r.refuse(401, "Invalid credentials", route.method, route.path, auth, marked, "X-Zato-PubSub-Key", key)
			if auth != "" {
				continue
			}
			for _, h := range []string{"Basic", "Basic !", "Bearer Y3JtOmNybQ==", "Basic " + base64.StdEncoding.EncodeToString([]byte("crm"))} {
				r.refuse(401, "Invalid credentials", route.method, route.path, "", marked, "X-Zato-PubSub-Key", key, "Authorization", h)
			}
		}
		if route.path == created {
			break // past this there would be too many failures: see TestTooManyLogins
		}
	}
	for _, route := range []struct{ method, path string }{
		{"POST", queue}, {"GET", queue}, {"DELETE", "/zato/pubsub/msg/K1/?ack=true"}, {"POST", ackMany},
		{"POST", "/zato/pubsub/topic//no/such/"}, {"POST", created + "?priority=x"}, {"POST", queue + "?max=x"},
		{"POST", "/zato/pubsub/topic/"}, {"POST", "/zato/pubsub/msg/"}, {"GET", "/zato/pubsub/msg/"}, {"DELETE", "/zato/pubsub/msg/"},
	} {
		r.refuse(401, "Invalid credentials", route.method, route.path, "", marked)
	}
	r.wantPayloads(queue)
}

func TestTooManyLogins(t *testing.T) {
	r := newServer(t)
	r.publish(created, "before") // verified once: never refused
	for range 10 {
		r.refuse(401, "Invalid credentials", "POST", created, "crm:wrong-password-1", marked)
	}
	r.refuse(429, "Too many failed logins", "POST", created, "crm:wrong-password-1", marked)
	r.publish(created, "after")
	r.wantPayloads(queue, "before", "after")
}

// TestForwarded: what a trusted proxy says of a client's address counts for failed logins, of IPv6 by network,
// and for the log; what anybody else says does not.
func TestForwarded(t *testing.T) {
	trusted, err := forwarded.Parse([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, proxies := range []forwarded.Proxies{nil, trusted} {
		r := newServer(t, func(s *setup) { s.api.Proxies = proxies })
		fail := func(status int, details, client string) string {
			t.Helper()
			line := r.refused(r.refuse(status, details, "POST", created, "crm:wrong-password-1", marked, "X-Forwarded-For", "192.0.2.9, "+client))
			return line["remote"].(string)
		}
		for i := range 10 {
			addr := fmt.Sprintf("2001:db8::%x", i+1)
			if remote := fail(401, "Invalid credentials", addr); (remote == addr) != (proxies != nil) {
				t.Errorf("trusted %v: %s in the log", proxies, remote)
			}
		}
		fail(429, "Too many failed logins", "2001:db8::ffff")
		if proxies == nil {
			fail(429, "Too many failed logins", "2001:db8:0:1::1")
		} else {
			fail(401, "Invalid credentials", "2001:db8:0:1::1")
		}
	}
}

// TestDenied: one text for every reason, and the log says which.
func TestDenied(t *testing.T) {
	r := newServer(t)
	for _, c := range []struct{ reason, method, path, auth, key string }{
		{`no topic "/no/such"`, "POST", "/zato/pubsub/topic//no/such/", crm, ""},
		{`topic "/off" is not active`, "POST", "/zato/pubsub/topic//off/", crm, ""},
		{`producer "crm" of topic "/other" is not active`, "POST", "/zato/pubsub/topic//other/", crm, ""},
		{`client "erp" is no producer of topic "/customer/created"`, "POST", created, erp, ""},
		{`unknown sub_key`, "POST", queue, erp, "K00000000000000000000000000"},
		{`the sub_key is another client's`, "POST", queue, crm, key},
		{`the sub_key is not of topic "orders"`, "POST", "/zato/pubsub/msg/orders/", erp, key},
		{`the sub_key is not of topic "/no/such"`, "POST", "/zato/pubsub/msg//no/such/", erp, key},
		{`topic "/off" is not active`, "POST", "/zato/pubsub/msg//off/", erp, "off-topic-key"},
		{`consumer "erp" of topic "/other" is not active`, "POST", "/zato/pubsub/msg//other/", erp, "off-consumer-key"},
		{`the sub_key is another client's`, "GET", queue, crm, key},
		{`unknown sub_key`, "DELETE", "/zato/pubsub/msg/K1/?ack=true", erp, "K0"},
		{`the sub_key is another client's`, "DELETE", "/zato/pubsub/msg/K1/?ack=true", crm, key},
		{`the sub_key is another client's`, "POST", ackMany, crm, key},
		{`consumer "erp" of topic "/other" is not active`, "POST", ackMany, erp, "off-consumer-key"},
	} {
		header := []string{"Accept", "text/event-stream"}
		if c.key != "" {
			header = append(header, "X-Zato-PubSub-Key", c.key)
		}
		a := r.refuse(403, "Permission denied", c.method, c.path, c.auth, marked, header...)
		log := r.refused(a)
		if log["reason"] != "Permission denied: "+c.reason || log["client"] != strings.Split(c.auth, ":")[0] {
			t.Errorf("%s %s: logged %v, want %q", c.method, c.path, log, c.reason)
		}
	}
}

// refused returns the line of the log about a refused request.
func (r *rig) refused(a reply) map[string]any {
	r.t.Helper()
	for _, line := range r.logs.lines(r.t, "refused") {
		if line["cid"] == a.header.Get("X-Zato-CID") {
			return line
		}
	}
	r.t.Fatalf("nothing is logged of %d %s", a.status, a.body)
	return nil
}

func TestKeyHeader(t *testing.T) {
	r := newServer(t)
	const details = "Header X-Zato-PubSub-Key: exactly one is needed, the consumer's sub_key"
	for _, route := range []struct{ method, path string }{
		{"POST", queue}, {"GET", queue}, {"DELETE", "/zato/pubsub/msg/K1/?ack=true"}, {"POST", ackMany},
	} {
		r.refuse(400, details, route.method, route.path, erp, "", "Accept", "text/event-stream")
		r.refuse(400, details, route.method, route.path, erp, "", "Accept", "text/event-stream", "X-Zato-PubSub-Key", "")
		r.refuse(400, details, route.method, route.path, erp, "", "Accept", "text/event-stream", "X-Zato-PubSub-Key", key, "X-Zato-PubSub-Key", key)
	}
	r.want(200, empty, "POST", queue, erp, "", "x-zato-pubsub-key", key)
}

// TestParameters covers the bad values of every parameter of every route.
func TestParameters(t *testing.T) {
	r := newServer(t)
	long := strings.Repeat("x", 300)
	clipped := strings.Repeat("x", 64) + "…"
	const inPublish = "priority, expiration, mime_type, msg_id, delay, deliver_at, correlation_id, reply_to, batch, cloudevents, format"
	for _, c := range []struct{ query, details string }{
		{"priority=10", "priority 10: allowed are 1 to 9"},
		{"priority=-1", "priority -1: allowed are 1 to 9"},
		{"priority=high", `priority "high": allowed are whole numbers`},
		{"priority=5.0", `priority "5.0": allowed are whole numbers`},
		{"priority=%2B5", `priority "+5": allowed are whole numbers`},
		{"priority=5+", `priority "5 ": allowed are whole numbers`},
		{"priority=0x5", `priority "0x5": allowed are whole numbers`},
		{"priority=99999999999999999999", `priority "99999999999999999999": allowed are whole numbers`},
		{"priority=" + long, `priority "` + clipped + `": allowed are whole numbers`},
		{"priority=5&priority=5", `parameter "priority": given 2 times, allowed is once`},
		{"correlation_id=" + long, `correlation_id "` + clipped + `": allowed are at most 256 characters, none of them a control character`},
		{"reply_to=%00", `reply_to "\x00": allowed are at most 256 characters, none of them a control character`},
		{"cloudevents=maybe", `cloudevents "maybe": allowed are true, 1, yes, on, t, y and false, 0, no, off, f, n`},
		{"cloudevents=true", `header Content-Type "": with cloudevents, allowed is application/cloudevents+json`},
		{"expiration=-1", "expiration -1: allowed are 1 to 3153600000 seconds"},
		{"expiration=3153600001", "expiration 3153600001: allowed are 1 to 3153600000 seconds"},
		{"expiration=1.5", `expiration "1.5": allowed are whole numbers`},
		{"expiration=1e3", `expiration "1e3": allowed are whole numbers`},
		{"mime_type=a%0Ab", `mime_type "a\nb": allowed are 1 to 255 bytes without control characters`},
		{"mime_type=" + long, `mime_type "` + clipped + `": allowed are 1 to 255 bytes without control characters`},
		{"msg_id=%ff", "msg_id \"\\xff\": allowed are 1 to 200 characters, none of them a control character"},
		{"msg_id=" + long[:201], `msg_id "` + clipped + `": allowed are 1 to 200 characters, none of them a control character`},
		{"delay=-1", "delay -1: allowed are 0 to 31536000 seconds"},
		{"delay=31536001", "delay 31536001: allowed are 0 to 31536000 seconds"},
		{"delay=soon", `delay "soon": allowed are whole numbers`},
		{"deliver_at=soon", `deliver_at "soon": allowed are a UTC time such as 2026-11-23T09:00:00, and Unix seconds`},
		{"deliver_at=-1", `deliver_at "-1": allowed are a UTC time such as 2026-11-23T09:00:00, and Unix seconds`},
		{"deliver_at=2026-11-23T09:00:00%2B01:00", `deliver_at "2026-11-23T09:00:00+01:00": allowed are a UTC time such as 2026-11-23T09:00:00, and Unix seconds`},
		{"deliver_at=253402300799", `deliver_at 9999-12-31T23:59:59: allowed are at most 31536000 seconds from now`},
		{"deliver_at=2026-11-23T09:00:00&delay=5", "deliver_at with delay 5: allowed is one of them"},
		{"batch=yep", `batch "yep": allowed are true, 1, yes, on, t, y and false, 0, no, off, f, n`},
		{"Priority=5", `parameter "Priority": allowed are ` + inPublish},
		{"prio=5", `parameter "prio": allowed are ` + inPublish},
		{"wait=5", `parameter "wait": allowed are ` + inPublish},
		{"=", `parameter "": allowed are ` + inPublish},
		{"priority=5;delay=1", `query: not a list of name=value`},
		{"priority=%zz", `query: not a list of name=value`},
	} {
		r.refuse(400, c.details, "POST", created+"?"+c.query, crm, marked)
	}
	const inReceive = "max, dir, wait, ack, format"
	for _, c := range []struct{ query, details string }{
		{"max=-1", "max -1: allowed are 1 to 1000"},
		{"max=all", `max "all": allowed are whole numbers`},
		{"max=1&max=2", `parameter "max": given 2 times, allowed is once`},
		{"dir=up", `dir "up": allowed are fifo, lifo`},
		{"format=yaml", `format "yaml": allowed are json, xml`},
		{"wait=-1", "wait -1: allowed are 0 to 60 seconds"},
		{"wait=61", "wait 61: allowed are 0 to 60 seconds"},
		{"wait=1s", `wait "1s": allowed are whole numbers`},
		{"wait=9223372036854775807", "wait 9223372036854775807: allowed are 0 to 60 seconds"},
		{"ack=yep", `ack "yep": allowed are true, 1, yes, on, t, y and false, 0, no, off, f, n`},
		{"priority=1", `parameter "priority": allowed are ` + inReceive},
	} {
		r.refuse(400, c.details, "POST", queue+"?"+c.query, erp, "", "X-Zato-PubSub-Key", key)
	}
	for _, c := range []struct{ query, details string }{
		{"dir=up", `dir "up": allowed are fifo, lifo`},
		{"ack=yep", `ack "yep": allowed are true, 1, yes, on, t, y and false, 0, no, off, f, n`},
		{"wait=1", `parameter "wait": allowed are max, dir, ack, format`},
	} {
		r.refuse(400, c.details, "GET", queue+"?"+c.query, erp, "", "X-Zato-PubSub-Key", key, "Accept", "text/event-stream")
	}
	for _, c := range []struct{ query, details string }{
		{"", "ack false, reject false, extend 0: exactly one of them is needed"},
		{"ack=false", "ack false, reject false, extend 0: exactly one of them is needed"},
		{"ack=true&reject=true", "ack true, reject true, extend 0: exactly one of them is needed"},
		{"ack=false&reject=false", "ack false, reject false, extend 0: exactly one of them is needed"},
		{"ack=yep", `ack "yep": allowed are true, 1, yes, on, t, y and false, 0, no, off, f, n`},
		{"reject=true&reject=true", `parameter "reject": given 2 times, allowed is once`},
		{"ack=true&delay=30", `delay "30": allowed with reject=true alone`},
		{"reject=true&delay=-1", "delay -1: allowed are 0 to 31536000 seconds"},
		{"reject=true&delay=31536001", "delay 31536001: allowed are 0 to 31536000 seconds"},
		{"reject=true&delay=x", `delay "x": allowed are whole numbers`},
		{"ack=true&extend=60", "ack true, reject false, extend 60: exactly one of them is needed"},
		{"reject=true&extend=60", "ack false, reject true, extend 60: exactly one of them is needed"},
		{"extend=0", "ack false, reject false, extend 0: exactly one of them is needed"},
		{"extend=", "ack false, reject false, extend 0: exactly one of them is needed"},
		{"extend=-1", "extend -1: allowed are 1 to 43200 seconds"},
		{"extend=43201", "extend 43201: allowed are 1 to 43200 seconds"},
		{"extend=1h", `extend "1h": allowed are whole numbers`},
		{"extend=60&delay=30", `delay "30": allowed with reject=true alone`},
		{"max=1", `parameter "max": allowed are ack, reject, delay, dead_letter, extend, format`},
	} {
		r.refuse(400, c.details, "DELETE", "/zato/pubsub/msg/K1/?"+c.query, erp, "", "X-Zato-PubSub-Key", key)
	}
	for query, details := range map[string]string{"ack=true": `parameter "ack": allowed are format`, "x": `parameter "x": allowed are format`,
		"%zz": "query: not a list of name=value", "format=csv": `format "csv": allowed are json, xml`} {
		r.refuse(400, details, "POST", ackMany+"?"+query, erp, `{"ack": ["K1"]}`, "X-Zato-PubSub-Key", key)
	}
	for _, accept := range []string{"", "application/json", "text/event-streams", "text/event-stream;q=0"} {
		r.refuse(400, `header Accept "`+accept+`": allowed are text/event-stream and */*; a receive is a POST`, "GET", queue, erp, "", "X-Zato-PubSub-Key", key, "Accept", accept)
	}
	if got := r.receive(queue); got.Count != 0 {
		t.Errorf("something was stored: %v", got.payloads())
	}
}

// TestPublishParameters covers the good values of every parameter of a publish.
func TestPublishParameters(t *testing.T) {
	r := newServer(t)
	for _, c := range []struct {
		query, contentType string
		priority           int
		expiration         int64
		mimeType           string
	}{
		{"", "", 5, 60, "text/plain"},
		{"?", "", 5, 60, "text/plain"},
		{"?priority=1", "", 1, 60, "text/plain"},
		{"?priority=0&expiration=0", "", 5, 60, "text/plain"},
		{"?priority=&expiration=&mime_type=&msg_id=&delay=&batch=&format=", "", 5, 60, "text/plain"},
		{"?priority&expiration", "", 5, 60, "text/plain"},
		{"?_=1&_=2&_x&priority=6", "", 6, 60, "text/plain"},
		{"?batch=NO&format=JSON", "", 5, 60, "text/plain"},
		{"?priority=9", "", 9, 60, "text/plain"},
		{"?expiration=1000", "", 5, 1000, "text/plain"},
		{"?expiration=3153600000", "", 5, 3153600000, "text/plain"},
		{"?delay=0", "", 5, 60, "text/plain"},
		{"?batch=false", "", 5, 60, "text/plain"},
		{"", "application/x-www-form-urlencoded", 5, 60, "text/plain"},
		{"", "application/x-www-form-urlencoded; charset=utf-8", 5, 60, "text/plain"},
		{"", "Application/X-WWW-Form-URLEncoded", 5, 60, "text/plain"},
		{"", "application/json", 5, 60, "application/json"},
		{"", "application/json; charset=utf-8", 5, 60, "application/json; charset=utf-8"},
		{"", "not a type at all", 5, 60, "not a type at all"},
		{"?mime_type=text/xml", "application/json", 5, 60, "text/xml"},
		{"?mime_type=application/x-www-form-urlencoded", "application/json", 5, 60, "application/x-www-form-urlencoded"},
		{"?mime_type=" + url.QueryEscape(`a"<&>\ż`), "", 5, 60, `a"<&>\ż`},
		{"?mime_type=" + strings.Repeat("x", 255), "", 5, 60, strings.Repeat("x", 255)},
		{"?priority=7&expiration=30&mime_type=a/b", "", 7, 30, "a/b"},
	} {
		var header []string
		if c.contentType != "" {
			header = []string{"Content-Type", c.contentType}
		}
		id := r.publish(created+c.query, "p", header...)
		if !cidPattern.MatchString(id) {
			t.Errorf("msg_id %q", id)
		}
		got := r.receive(queue + "?ack=true")
		if got.Count != 1 {
			t.Fatalf("%s: %d messages", c.query, got.Count)
		}
		m := got.Results[0].Metadata
		if m.ID != id || m.Priority != c.priority || m.Expiration != c.expiration || m.MIMEType != c.mimeType || m.Deliveries != 1 || m.Encoding != "" {
			t.Errorf("%q %q: %+v", c.query, c.contentType, m)
		}
	}
	long := strings.Repeat("x", 256)
	r.refuse(400, `header Content-Type "`+long[:64]+`…": allowed are 1 to 255 bytes without control characters`, "POST", created, crm, marked, "Content-Type", long)
	r.wantPayloads(queue)
}

func TestOwnID(t *testing.T) {
	r := newServer(t)
	for _, id := range []string{"a", "A.b_c-9", strings.Repeat("z", 200), "K05DD3YFNE4SG592VQBF23ECVD02", "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
		"{F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6}", "a b+c%d?e=f&g#h", "/a//b", "ends/", "/", "//", ".", "..", `"\<&>`, strings.Repeat("😀", 200), "żółć"} {
		query := "?msg_id=" + url.QueryEscape(id)
		a := r.do("POST", created+query, crm, "first "+id)
		b := r.do("POST", created+query, crm, "second "+id)
		c := r.do("POST", created+query+"&priority=9", crm, "third "+id)
		if a.status != 200 || a.body != `{"status": "ZATO_OK", "msg_id": `+quoted(id)+`}` || a.header.Get("X-Zato-Duplicate") != "" {
			t.Errorf("%d %s %v", a.status, a.body, a.header)
		}
		for _, d := range []reply{b, c} {
			if d.status != 200 || d.body != a.body || d.header.Get("X-Zato-Duplicate") != "true" {
				t.Errorf("%d %s %v", d.status, d.body, d.header)
			}
		}
		if got := r.wantPayloads(queue, "first "+id); got.Count == 1 && got.Results[0].Metadata.ID != id {
			t.Errorf("msg_id %q, want %q", got.Results[0].Metadata.ID, id)
		}
		slash := "/"
		if len(id) > 10 {
			slash = "" // of the URL, which may be there or not
		}
		r.want(200, `{"status": "ZATO_OK", "details": ""}`, "DELETE", "/zato/pubsub/msg/"+url.PathEscape(id)+slash+"?ack=true", erp, "", "X-Zato-PubSub-Key", key)
		if d := r.do("POST", created+query, crm, "fourth"); d.header.Get("X-Zato-Duplicate") != "true" {
			t.Error("not remembered after its acknowledgement")
		}
		r.wantPayloads(queue)
	}
	// The ID that the broker has made may be repeated as well.
	id := r.publish(created, "made")
	if d := r.do("POST", created+"?msg_id="+id, crm, "again"); d.header.Get("X-Zato-Duplicate") != "true" || d.status != 200 {
		t.Errorf("%d %s", d.status, d.body)
	}
	r.wantPayloads(queue, "made")
	// Another topic has seen nothing.
	if d := r.do("POST", "/zato/pubsub/topic/orders?msg_id=a", crm, "x"); d.status != 200 || d.header.Get("X-Zato-Duplicate") != "" {
		t.Errorf("%d %s %v", d.status, d.body, d.header)
	}
}

// TestPayloads: byte for byte, whatever it is.
func TestPayloads(t *testing.T) {
	r := newServer(t)
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for _, p := range []string{"", " ", "Hello pub/sub!", "a=b&c=d", `quote " backslash \ slash /`, "lines\r\n\ttab\x00\x01\x1f\x7f", "ż€😀\u2028<&>", string(all), "\xff",
		"\xed\xa0\x80", strings.Repeat("0123456789", 100_000), "]]>", `{"payload": "x"}`, "\ufffd", "\uffff"} {
		for _, chunked := range []bool{false, true} {
			var body io.Reader = strings.NewReader(p)
			if chunked {
				body = io.MultiReader(body)
			}
			if a := r.send(r.request(ctx, "POST", created, crm, body)); a.status != 200 {
				t.Fatalf("%d %s", a.status, a.body)
			}
			a := r.do("POST", queue+"?ack=true", erp, "", "X-Zato-PubSub-Key", key)
			got := r.parsed(a)
			if got.Count != 1 {
				t.Fatalf("%d messages", got.Count)
			}
			if back := decoded(t, got.Results[0]); back != p {
				t.Errorf("%.50q came back as %.50q", p, back)
			}
			if want := strings.ToValidUTF8(p, "") != p; (got.Results[0].Metadata.Encoding == "base64") != want || strings.HasSuffix(a.body, `, "encoding": "base64"}}]}`) != want {
				t.Errorf("%.50q: encoding %q", p, got.Results[0].Metadata.Encoding)
			}
			if strings.ContainsAny(a.body, "\r\n") {
				t.Error("a reply of more than one line")
			}
		}
	}
}

// decoded returns the payload of a received message.
func decoded(t *testing.T, m *item) string {
	t.Helper()
	if m.Metadata.Encoding == "" {
		return m.Payload
	}
	b, err := base64.StdEncoding.DecodeString(m.Payload)
	if err != nil || m.Metadata.Encoding != "base64" {
		t.Fatalf("%v: encoding %q of %q", err, m.Metadata.Encoding, m.Payload)
	}
	return string(b)
}

func TestOrder(t *testing.T) {
	r := newServer(t)
	var fifo, lifo []string
	for p := 1; p <= 9; p++ {
		r.publish(fmt.Sprintf("%s?priority=%d", created, p), fmt.Sprintf("%d-first", p))
	}
	for p := 9; p >= 1; p-- {
		r.publish(fmt.Sprintf("%s?priority=%d", created, p), fmt.Sprintf("%d-second", p))
		fifo = append(fifo, fmt.Sprintf("%d-first", p), fmt.Sprintf("%d-second", p))
		lifo = append(lifo, fmt.Sprintf("%d-second", p), fmt.Sprintf("%d-first", p))
	}
	back := func(got received) {
		for _, m := range got.Results {
			r.want(200, `{"status": "ZATO_OK", "details": ""}`, "DELETE", "/zato/pubsub/msg/"+m.Metadata.ID+"/?reject=true", erp, "", "X-Zato-PubSub-Key", key)
		}
	}
	back(r.wantPayloads(queue, fifo...))
	back(r.wantPayloads(queue+"?dir=lifo", lifo...))
	back(r.wantPayloads(queue+"?dir=fifo", fifo...))
	back(r.wantPayloads(queue+"?dir=lifo&max=3", lifo[:3]...))
	r.wantPayloads(queue+"?max=1", fifo[0])
	r.wantPayloads(queue+"?max=1000", fifo[1:]...)
	r.wantPayloads(queue)
}

func TestMax(t *testing.T) {
	r := newServer(t)
	var lines strings.Builder
	for range 1101 {
		lines.WriteString("{\"payload\": \"\"}\n")
	}
	if a := r.do("POST", created+"?batch=true", crm, lines.String(), "Content-Type", "application/x-ndjson"); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	for _, c := range []struct {
		query string
		n     int
	}{{"?max=1000&ack=true", 1000}, {"?ack=true", 100}, {"?ack=true", 1}, {"?ack=true", 0}} {
		if got := r.receive(queue + c.query); got.Count != c.n {
			t.Errorf("%s: %d messages, want %d", c.query, got.Count, c.n)
		}
	}
}

// TestReplySize: at most 16 MiB of payload in a reply.
func TestReplySize(t *testing.T) {
	r := newServer(t)
	for range 17 {
		r.publish(created, strings.Repeat("x", 1<<20))
	}
	if got := r.receive(queue); got.Count != 16 {
		t.Errorf("%d messages", got.Count)
	}
	if got := r.receive(queue); got.Count != 1 {
		t.Errorf("%d messages", got.Count)
	}
}

func TestXML(t *testing.T) {
	r := newServer(t)
	a := r.do("POST", queue+"?format=xml", erp, "", "X-Zato-PubSub-Key", key)
	if want := xml.Header + "<data><status>ZATO_OK</status><results_count>0</results_count><results></results></data>"; a.status != 200 || a.body != want {
		t.Errorf("%d %s", a.status, a.body)
	}
	payloads := []string{"Hello", "", "<a & \"b\">\r\n\t]]>", "ż€😀", "\x00", "\xff\xfe", "\x1f", "\ufffe", "\x7f", " spaces "}
	var ids []string
	for _, p := range payloads {
		ids = append(ids, r.publish(created+"?mime_type="+url.QueryEscape("a/<b>&"), p))
	}
	a = r.do("POST", queue+"?format=xml", erp, "", "X-Zato-PubSub-Key", key)
	if a.status != 200 || a.header.Get("Content-Type") != "application/xml" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	var got struct {
		XMLName struct{} `xml:"data"`
		received
	}
	if err := xml.Unmarshal([]byte(a.body), &got); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	if got.Status != "ZATO_OK" || got.Count != len(payloads) || len(got.Results) != len(payloads) {
		t.Fatalf("%+v", got)
	}
	for i, m := range got.Results {
		if back := decoded(t, m); back != payloads[i] {
			t.Errorf("%q came back as %q", payloads[i], back)
		}
		if d := m.Metadata; d.ID != ids[i] || d.Topic != "/customer/created" || d.Expiration != 60 || d.Producer != "CRM" || d.Priority != 5 || d.MIMEType != "a/<b>&" || d.Deliveries != 1 {
			t.Errorf("%+v", d)
		}
	}
	shape := regexp.MustCompile(`<item><payload>Hello</payload><metadata><msg_id>` + ids[0] + `</msg_id><topic>/customer/created</topic>` +
		`<creation_time_utc>[0-9T:.-]{26}</creation_time_utc><expiration>60</expiration><expire_at_utc>[0-9T:.-]{26}</expire_at_utc>` +
		`<producer>CRM</producer><priority>5</priority><mime_type>a/&lt;b&gt;&amp;</mime_type><delivery_count>1</delivery_count></metadata></item>`)
	if !shape.MatchString(a.body) {
		t.Error(a.body)
	}
}

// TestNeverExpires: a topic whose messages do not expire.
func TestNeverExpires(t *testing.T) {
	r := newServer(t, func(s *setup) { s.topic = func(t *broker.Topic) { t.Expiration = property.Off } })
	r.publish(created, "x")
	a := r.do("POST", queue+"?ack=true", erp, "", "X-Zato-PubSub-Key", key)
	if !strings.Contains(a.body, `", "expiration": 0, "expire_at_utc": "", "producer": `) {
		t.Error(a.body)
	}
}

func TestAckOnReceive(t *testing.T) {
	r := newServer(t)
	id := r.publish(created, "x")
	r.wantPayloads(queue+"?ack=true", "x")
	r.notFound(id, "ack=true")
	r.publish(created, "y")
	id = r.wantPayloads(queue+"?ack=false", "y").Results[0].Metadata.ID
	r.settle(id, "ack=true")
}

const settled = `{"status": "ZATO_OK", "details": ""}`

func (r *rig) settle(id, query string) {
	r.t.Helper()
	r.want(200, settled, "DELETE", "/zato/pubsub/msg/"+id+"/?"+query, erp, "", "X-Zato-PubSub-Key", key)
}

func (r *rig) notFound(id, query string) {
	r.t.Helper()
	r.refuse(404, "Message not found `"+id+"`", "DELETE", "/zato/pubsub/msg/"+id+"/?"+query, erp, "", "X-Zato-PubSub-Key", key)
}

func TestSettleOne(t *testing.T) {
	r := newServer(t)
	a, b := r.publish(created, "a"), r.publish(created, "b")
	r.notFound(a, "ack=true") // not delivered yet
	r.notFound("K05DD3YFNE4SG592VQBF23ECVD02", "ack=true")
	r.notFound("no-such", "reject=true")
	r.wantPayloads(queue, "a", "b")
	r.settle(a, "reject=true")
	r.settle(a, "reject=true") // put back, and yet it was delivered
	r.publish(created, "c")
	if got := r.wantPayloads(queue, "a", "c"); got.Results[0].Metadata.Deliveries != 2 || got.Results[1].Metadata.Deliveries != 1 {
		t.Errorf("%+v", got.Results[0])
	}
	r.settle(a, "ack=true&reject=false")
	r.notFound(a, "ack=true")
	r.settle(b, "reject=true&ack=false&delay=31536000")
	r.wantPayloads(queue) // a year is not over yet
	r.settle(b, "ack=true")
	r.notFound(b, "ack=true")
	// Without the slash at the end, and with what a URL may hold.
	r.refuse(404, "Message not found `no such/one`", "DELETE", "/zato/pubsub/msg/no%20such/one?ack=true", erp, "", "X-Zato-PubSub-Key", key)
	long := strings.Repeat("y", 1000)
	r.refuse(404, "Message not found `"+long[:800]+"…`", "DELETE", "/zato/pubsub/msg/"+long+"?ack=true", erp, "", "X-Zato-PubSub-Key", key)
	// In flight for erp is not in flight for bob.
	d := r.publish(created, "d")
	r.wantPayloads(queue, "d")
	r.refuse(404, "Message not found `"+d+"`", "DELETE", "/zato/pubsub/msg/"+d+"/?ack=true", bob, "", "X-Zato-PubSub-Key", "bobs-own-key")
	r.settle(d, "ack=true")
	if got := r.parsed(r.do("POST", queue, bob, "", "X-Zato-PubSub-Key", "bobs-own-key")); strings.Join(got.payloads(), "") != "abcd" {
		t.Errorf("bob has %q", got.payloads())
	}
}

func TestSettleMany(t *testing.T) {
	r := newServer(t)
	var ids []string
	for i := range 5 {
		ids = append(ids, r.publish(created, fmt.Sprint(i)))
	}
	r.wantPayloads(queue, "0", "1", "2", "3", "4")
	post := func(body, want string) {
		t.Helper()
		r.want(200, want, "POST", ackMany, erp, body, "X-Zato-PubSub-Key", key)
	}
	post(`{"ack": ["`+ids[0]+`", "`+ids[1]+`"]}`, `{"status": "ZATO_OK", "acked": 2, "rejected": 0, "extended": 0, "not_found": []}`)
	post(`{"ack": ["`+ids[0]+`", "nope", "`+ids[2]+`"], "reject": ["neither", "`+ids[3]+`"]}`,
		`{"status": "ZATO_OK", "acked": 1, "rejected": 1, "extended": 0, "not_found": ["`+ids[0]+`", "nope", "neither"]}`)
	post(` { "reject" : [ "`+ids[4]+`" ] , "delay" : 31536000 } `, `{"status": "ZATO_OK", "acked": 0, "rejected": 1, "extended": 0, "not_found": []}`)
	r.wantPayloads(queue, "3")
	r.want(200, `{"status": "ZATO_OK", "acked": 1, "rejected": 0, "extended": 0, "not_found": []}`, "POST", "/zato/pubsub/ack", erp, `{"ack": ["`+ids[3]+`"], "reject": [], "delay": 30}`, "X-Zato-PubSub-Key", key)
	r.wantPayloads(queue)

	const form = `body: allowed is one JSON object {"ack": [msg_id, …], "reject": [msg_id, …], "delay": seconds, "dead_letter": [msg_id, …], "extend": {msg_id: seconds, …}}`
	for _, c := range []struct{ body, details string }{
		{"", form}, {"[]", form}, {`"x"`, form}, {`{"ack": "K1"}`, form}, {`{"ack": [1]}`, form}, {`{"ack": ["K1"]`, form},
		{`{"ack": ["K1"], "nack": []}`, form}, {`{"ack": ["K1"], "delay": "1"}`, form}, {`{"ack": ["K1"], "delay": 1.5}`, form},
		{`{"ack": ["K1"], "delay": 30}`, "delay 30: allowed with reject alone"},
		{`{"delay": 0, "dead_letter": ["K1"]}`, "delay 0: allowed with reject alone"},
		{`{"ack": ["K1"]} x`, "body: something follows the JSON object"},
		{`{"ack": ["K1"]} {}`, "body: something follows the JSON object"},
		{`{}`, "body with 0 messages: allowed are 1 to 10000"},
		{`null`, "body with 0 messages: allowed are 1 to 10000"},
		{`{"ack": []}`, "body with 0 messages: allowed are 1 to 10000"},
		{`{"ack": [` + strings.Repeat(`"K1", `, 10_000) + `"K1"]}`, "body with 10001 messages: allowed are 1 to 10000"},
		{`{"ack": ["K1"], "reject": ["K1"]}`, `msg_id "K1": given twice`},
		{`{"ack": ["K1", "K1"]}`, `msg_id "K1": given twice`},
		{`{"ack": [""]}`, `msg_id "": allowed are 1 to 200 characters, none of them a control character`},
		{`{"ack": ["a\tb"]}`, `msg_id "a\tb": allowed are 1 to 200 characters, none of them a control character`},
		{`{"extend": ["K1"]}`, form}, {`{"extend": {"K1": "60"}}`, form}, {`{"extend": {"K1": 60}, "extend": {}}`, form}, {`{"extend": {"K1": 60`, form},
		{`{"extend": {"K1": 60, "K1": 60}}`, `msg_id "K1": given twice`},
		{`{"extend": {"K1": 60}, "ack": ["K1"]}`, `msg_id "K1": given twice`},
		{`{"extend": {"": 60}}`, `msg_id "": allowed are 1 to 200 characters, none of them a control character`},
		{`{"extend": {"K1": 0}}`, "extend 0: allowed are 1 to 43200 seconds"},
		{`{"extend": {"K1": 43201}}`, "extend 43201: allowed are 1 to 43200 seconds"},
		{`{"extend": {}}`, "body with 0 messages: allowed are 1 to 10000"},
		{`{"reject": ["K1"], "delay": -1}`, "delay -1: allowed are 0 to 31536000 seconds"},
	} {
		r.refuse(400, c.details, "POST", ackMany, erp, c.body, "X-Zato-PubSub-Key", key)
	}
}

// TestExtend: what is extended stays in flight when its ack timeout is over.
func TestExtend(t *testing.T) {
	r := newServer(t, func(s *setup) {
		s.consume = func(c *broker.Consumer) { c.AckTimeout = limit.MinAckTimeout }
	})
	var ids []string
	for _, id := range []string{"a", "b%2F", "c"} {
		ids = append(ids, r.publish(created+"?msg_id="+id, id))
	}
	r.wantPayloads(queue, "a", "b%2F", "c")
	r.settle("a", "extend=43200&ack=false")
	r.want(200, `{"status": "ZATO_OK", "acked": 0, "rejected": 0, "extended": 1, "not_found": ["none"]}`, "POST", ackMany, erp, `{"extend": {"b/": 120, "none": 1}}`, "X-Zato-PubSub-Key", key)
	r.notFound("none", "extend=1")
	r.wantPayloads(queue+"?wait=30", "c") // nobody extended it
	r.wantPayloads(queue)
	r.want(200, `{"status": "ZATO_OK", "acked": 2, "rejected": 1, "extended": 0, "not_found": []}`, "POST", ackMany, erp, `{"ack": ["a", "b/"], "reject": ["c"]}`, "X-Zato-PubSub-Key", key)
	r.notFound(ids[0], "extend=1")
}

func TestTooLarge(t *testing.T) {
	r := newServer(t, func(s *setup) { s.broker.MaxPayload, s.api.MaxPayload, s.api.MaxBatch = 100, 100, 1000 })
	const details = "payload: allowed are at most 100 bytes"
	exact := strings.Repeat("x", 100)
	r.refuse(413, details, "POST", created, crm, exact+"x")
	a := r.send(r.request(ctx, "POST", created, crm, io.MultiReader(strings.NewReader(exact+"x")))) // chunked
	if a.status != 413 || a.body != `{"status": "ZATO_ERROR", "details": "`+details+`"}` {
		t.Errorf("%d %s", a.status, a.body)
	}
	// The header alone is enough: the body is never read.
	a = r.raw("POST " + created + " HTTP/1.1\r\nHost: x\r\nAuthorization: Basic Y3JtOmNybQ==\r\nContent-Length: 99999999999\r\n\r\n")
	if a.status != 413 {
		t.Errorf("%d %s", a.status, a.body)
	}
	// A chunked body without an end.
	a = r.raw("POST " + created + " HTTP/1.1\r\nHost: x\r\nAuthorization: Basic Y3JtOmNybQ==\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n" + strings.Repeat("x", 255))
	if a.status != 413 {
		t.Errorf("%d %s", a.status, a.body)
	}
	r.refuse(413, "body: allowed are at most 1000 bytes", "POST", created+"?batch=true", crm, strings.Repeat("x", 1001), "Content-Type", "application/x-ndjson")
	r.refuse(413, "body: allowed are at most 1000 bytes", "POST", ackMany, erp, strings.Repeat(" ", 1001), "X-Zato-PubSub-Key", key)
	a = r.do("POST", created+"?batch=true", crm, `{"payload": "x"}`+"\n"+`{"payload": "`+exact+`x"}`, "Content-Type", "application/x-ndjson")
	if a.status != 413 || !strings.Contains(a.body, `"line 2: payload`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	r.wantPayloads(queue)
	r.publish(created, exact)
	if a := r.send(r.request(ctx, "POST", created, crm, io.MultiReader(strings.NewReader(exact)))); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
	r.wantPayloads(queue, exact, exact)
}

// TestTruncated: of a body that ends early nothing is stored.
func TestTruncated(t *testing.T) {
	r := newServer(t)
	for _, rest := range []string{
		"Content-Length: 100\r\n\r\n" + marked,
		"Transfer-Encoding: chunked\r\n\r\nff\r\n" + marked,
		"Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n",
		"Transfer-Encoding: chunked\r\n\r\nzz\r\nabcd\r\n",
	} {
		c := r.dial()
		if _, err := io.WriteString(c, "POST "+created+" HTTP/1.1\r\nHost: x\r\nAuthorization: Basic Y3JtOmNybQ==\r\n"+rest); err != nil {
			t.Fatal(err)
		}
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		a := r.readReply(c, "POST")
		c.Close()
		if a.status != 400 || a.body != `{"status": "ZATO_ERROR", "details": "the payload ended early or came too slowly"}` {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	r.wantPayloads(queue)
}

func TestFull(t *testing.T) {
	const full = "The topic or the backlog of one of its consumers is full (max_depth)"
	for _, c := range []struct {
		name   string
		change func(*setup)
	}{
		{"topic", func(s *setup) { s.topic = func(t *broker.Topic) { t.MaxDepth = 2 } }},
		{"backlog", func(s *setup) { s.consume = func(c *broker.Consumer) { c.MaxDepth = 2 } }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newServer(t, c.change)
			orders, mine := "/zato/pubsub/topic/orders/", "/zato/pubsub/msg/orders/"
			r.publish(orders, "1")
			a := r.do("POST", orders+"?batch=true", crm, `{"payload": "x"}`+"\n"+`{"payload": "y"}`, "Content-Type", "application/x-ndjson")
			if a.status != 429 {
				t.Errorf("%d %s", a.status, a.body)
			}
			r.publish(orders, "2")
			r.refuse(429, full, "POST", orders, crm, marked)
			r.refuse(429, full, "POST", orders+"?delay=10", crm, marked)
			got := r.receive(mine, "orders-erp-key")
			if strings.Join(got.payloads(), " ") != "1 2" {
				t.Errorf("%q", got.payloads())
			}
			r.refuse(429, full, "POST", orders, crm, marked) // in flight is not done
			r.want(200, settled, "DELETE", "/zato/pubsub/msg/"+got.Results[0].Metadata.ID+"?ack=true", erp, "", "X-Zato-PubSub-Key", "orders-erp-key")
			r.publish(orders, "3")
		})
	}
}

func TestInFlightLimit(t *testing.T) {
	r := newServer(t, func(s *setup) { s.consume = func(c *broker.Consumer) { c.MaxInFlight = 2 } })
	r.want(200, empty, "POST", queue, erp, "", "X-Zato-PubSub-Key", key)
	for _, p := range []string{"1", "2", "3"} {
		r.publish(created, p)
	}
	got := r.wantPayloads(queue, "1", "2")
	const details = "2 messages are in flight: allowed are max_in_flight 2"
	for _, query := range []string{"", "?wait=60", "?ack=true"} {
		r.refuse(429, details, "POST", queue+query, erp, "", "X-Zato-PubSub-Key", key)
	}
	r.settle(got.Results[1].Metadata.ID, "ack=true")
	r.wantPayloads(queue, "3")
}

// watched returns a channel that is closed when somebody waits for a message.
func (r *rig) watched() <-chan struct{} {
	waits := make(chan struct{})
	go func() {
		for start := time.Now(); time.Since(start) < patience; time.Sleep(time.Millisecond) { // lint:sleep: a wait tells nobody
			for _, c := range r.b.Consumers() {
				if c.Waiting > 0 {
					close(waits)
					return
				}
			}
		}
	}()
	return waits
}

// poll begins a long poll.
func (r *rig) poll(ctx context.Context, query string) <-chan reply {
	req := r.request(ctx, "POST", queue+query, erp, http.NoBody, "X-Zato-PubSub-Key", key)
	c := make(chan reply, 1)
	go func() {
		a, err := r.trySend(req)
		if err != nil && ctx.Err() == nil {
			r.t.Error(err)
		}
		c <- a
	}()
	return c
}

func TestLongPoll(t *testing.T) {
	r := newServer(t)
	for _, query := range []string{"?wait=60", "?wait=60&ack=true", "?wait=60&max=1&dir=lifo"} {
		waits := r.watched()
		c := r.poll(ctx, query)
		await(t, waits)
		r.publish(created, "woken "+query)
		if got := r.parsed(await(t, c)); strings.Join(got.payloads(), "|") != "woken "+query {
			t.Errorf("%s: %q", query, got.payloads())
		}
	}
	// A rejected message wakes too.
	id := r.publish(created, "again")
	r.wantPayloads(queue+"?dir=lifo", "again") // lifo leaves it among what a wait looks at
	waits := r.watched()
	c := r.poll(ctx, "?wait=60&dir=lifo")
	await(t, waits)
	r.settle(id, "reject=true")
	if got := r.parsed(await(t, c)); strings.Join(got.payloads(), "|") != "again" {
		t.Errorf("%q", got.payloads())
	}
	// What is there already comes at once, with the same connection used again after a wait.
	r.publish(created, "there")
	r.wantPayloads(queue+"?wait=60", "there")
	r.want(200, empty, "POST", queue+"?wait=1", erp, "", "X-Zato-PubSub-Key", key)
}

func TestDrainEndsLongPoll(t *testing.T) {
	r := newServer(t)
	waits := r.watched()
	c := r.poll(ctx, "?wait=60&dir=lifo")
	await(t, waits)
	r.b.Drain()
	if a := await(t, c); a.status != 200 || a.body != empty {
		t.Errorf("%d %s", a.status, a.body)
	}
	r.want(200, empty, "POST", queue+"?wait=60", erp, "", "X-Zato-PubSub-Key", key) // and none waits any more
}

// quiet waits until no request is served any more. Draining does not help them to end.
func (r *rig) quiet() {
	r.t.Helper()
	end, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := r.srv.Shutdown(end); err != nil {
		r.t.Fatalf("requests go on for ever: %v", err)
	}
}

// subscription is erp's door without HTTP.
func (r *rig) subscription() broker.Subscription {
	r.t.Helper()
	sub, err := r.b.Subscription(&broker.Client{Username: "erp", Name: "ERP"}, "", key)
	if err != nil {
		r.t.Fatal(err)
	}
	return sub
}

// direct receives as erp without HTTP.
func (r *rig) direct() []broker.Message {
	r.t.Helper()
	msgs, err := r.subscription().Receive(ctx, broker.ReceiveOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	return msgs
}

// deaf is a client that cannot be written a message to.
type deaf struct{ http.ResponseWriter }

func (d *deaf) Write(b []byte) (int, error) {
	if strings.Contains(string(b), `"metadata"`) || strings.Contains(string(b), "<metadata>") {
		return 0, errors.New("the client has left")
	}
	return d.ResponseWriter.Write(b)
}

func (d *deaf) Unwrap() http.ResponseWriter { return d.ResponseWriter }

// deafen makes a server deaf to requests with the header Deaf.
func deafen(s *setup) {
	s.wrap = func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Deaf") != "" {
				w = &deaf{w}
			}
			h.ServeHTTP(w, r)
		})
	}
}

// TestUndelivered: messages that could not be written can be delivered again at once.
func TestUndelivered(t *testing.T) {
	r := newServer(t, deafen)
	r.publish(created, "x")
	for i, c := range []struct{ method, query string }{{"POST", ""}, {"POST", "?format=xml"}, {"POST", "?wait=60"}, {"GET", ""}} {
		req := r.request(ctx, c.method, queue+c.query, erp, http.NoBody, "X-Zato-PubSub-Key", key, "Deaf", "yes", "Accept", "text/event-stream")
		if res, err := r.client.Do(req); err == nil {
			b, err := io.ReadAll(res.Body)
			res.Body.Close()
			if strings.Contains(string(b), "metadata") || err == nil && c.method == "POST" {
				t.Errorf("%s%s: %v: %s", c.method, c.query, err, b)
			}
		}
		got := r.wantPayloads(queue+"?wait=30", "x")
		if n := got.Results[0].Metadata.Deliveries; n != i+1 { // what was not handed over does not count
			t.Errorf("delivery %d", n)
		}
		r.settle(got.Results[0].Metadata.ID, "reject=true")
	}
	// At most once means that it is gone.
	req := r.request(ctx, "POST", queue+"?ack=true", erp, http.NoBody, "X-Zato-PubSub-Key", key, "Deaf", "yes")
	if res, err := r.client.Do(req); err == nil {
		res.Body.Close()
	}
	r.wantPayloads(queue)
}

// plain is a writer that can do nothing but write, as that of a middleware may be.
type plain struct{ w http.ResponseWriter }

func (p plain) Header() http.Header         { return p.w.Header() }
func (p plain) WriteHeader(status int)      { p.w.WriteHeader(status) }
func (p plain) Write(b []byte) (int, error) { return p.w.Write(b) }

// TestPlainWriter: messages that were written are in flight, also where nothing can be flushed.
func TestPlainWriter(t *testing.T) {
	r := newServer(t, func(s *setup) {
		s.wrap = func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(plain{w}, r) })
		}
	})
	r.publish(created, "x")
	got := r.wantPayloads(queue, "x")
	r.wantPayloads(queue)
	r.settle(got.Results[0].Metadata.ID, "ack=true")
}

func TestDiskFull(t *testing.T) {
	r := newServer(t)
	id := r.publish(created, "before")
	r.wantPayloads(queue, "before")
	r.store.failCommits(fmt.Errorf("write /secret/path/pipit.db: %w", store.ErrNoSpace))
	const details = "The disk is full: nothing was stored"
	r.refuse(507, details, "POST", created, crm, marked)
	r.refuse(507, details, "POST", created+"?batch=true", crm, `{"payload": "`+marked+`"}`, "Content-Type", "application/x-ndjson")
	r.refuse(507, details, "DELETE", "/zato/pubsub/msg/"+id+"/?ack=true", erp, "", "X-Zato-PubSub-Key", key)
	r.refuse(507, details, "POST", ackMany, erp, `{"ack": ["`+id+`"]}`, "X-Zato-PubSub-Key", key)
	r.refuse(503, "Messages cannot be stored", "GET", "/readyz", "", "")
	r.want(200, `{"status": "ZATO_OK", "details": ""}`, "GET", "/healthz", "", "")
	a := r.refuse(503, "Messages cannot be stored", "GET", "/health", "", "")
	if reason := fmt.Sprint(r.refused(a)["reason"]); !strings.Contains(reason, "/secret/path") {
		t.Errorf("the log does not say why: %s", reason)
	}
	r.store.failCommits(nil)
	r.settle(id, "ack=true")
	for end := time.Now().Add(time.Minute); r.do("GET", "/health", "", "").status != 200; time.Sleep(50 * time.Millisecond) { // lint:sleep until the broker has looked
		if time.Now().After(end) {
			t.Fatal("with room again: not healthy")
		}
	}
	r.publish(created, "after")
	r.wantPayloads(queue, "after")
}

// TestStoreFailed: after a write of unknown outcome nothing is accepted.
func TestStoreFailed(t *testing.T) {
	r := newServer(t, func(s *setup) { s.broken = true })
	id := r.publish(created, "before")
	r.wantPayloads(queue, "before")
	r.store.failCommits(errors.New("input/output error of /secret/path"))
	const refused = "The database failed: nothing was stored or delivered"
	for _, published := range []string{"The database failed: whether this was stored is not known. Repeat it, a message with the same msg_id", refused} {
		r.refuse(503, published, "POST", created, crm, marked)
		r.refuse(503, refused, "POST", queue, erp, "", "X-Zato-PubSub-Key", key)
		r.refuse(503, refused, "DELETE", "/zato/pubsub/msg/"+id+"/?ack=true", erp, "", "X-Zato-PubSub-Key", key)
		r.refuse(503, "Messages cannot be stored", "GET", "/health", "", "")
		r.store.failCommits(nil) // a restart is needed all the same
	}
}

func TestOverloaded(t *testing.T) {
	r := newServer(t, func(s *setup) { s.broker.MaxPending = 10 })
	r.publish(created, "0123456789")
	r.refuse(503, "Overloaded, try again", "POST", created, crm, "0123456789x")
	r.wantPayloads(queue, "0123456789")
	r.publish(created, "9876543210") // the room is free again
	// Every way out gives the room back.
	for range 3 {
		r.refuse(400, "line 1: payload: it is missing", "POST", created+"?batch=true", crm, "{}", "Content-Type", "application/x-ndjson")
		r.do("POST", ackMany, erp, "{}", "X-Zato-PubSub-Key", key)
		c := r.dial()
		if _, err := io.WriteString(c, "POST "+created+" HTTP/1.1\r\nHost: x\r\nAuthorization: Basic Y3JtOmNybQ==\r\nContent-Length: 9\r\n\r\nx"); err != nil {
			t.Fatal(err)
		}
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if a := r.readReply(c, "POST"); a.status != 400 {
			t.Errorf("%d %s", a.status, a.body)
		}
		c.Close()
	}
	r.publish(created, "0246813579")
}

// TestShutDown: what comes after the end is refused in the same form.
func TestShutDown(t *testing.T) {
	r := newServer(t)
	if err := r.b.Close(); err != nil {
		t.Fatal(err)
	}
	r.refuse(503, "Shutting down", "POST", created, crm, marked)
}

// TestPanic: a fault of ours tells the client nothing, and the server goes on.
func TestPanic(t *testing.T) {
	r := newServer(t)
	r.publish(created, "x")
	f := func() { panic("boom at /secret/path") }
	r.store.scan.Store(&f)
	for range 2 {
		a := r.refuse(500, "Internal error", "POST", queue, erp, "", "X-Zato-PubSub-Key", key)
		if log := r.refused(a); log["level"] != "ERROR" || log["status"] != 500.0 {
			t.Errorf("%v", log)
		}
		var found bool
		for _, line := range r.logs.lines(t, "panic") {
			if line["cid"] == a.header.Get("X-Zato-CID") {
				found = line["panic"] == "boom at /secret/path" && strings.Contains(fmt.Sprint(line["stack"]), "receive")
			}
		}
		if !found {
			t.Error("the log does not say what happened")
		}
	}
	nothing := func() {}
	r.store.scan.Store(&nothing)
	r.wantPayloads(queue, "x")
}

// TestAbort: the way of net/http to give up a request stays open.
func TestAbort(t *testing.T) {
	r := newServer(t)
	r.publish(created, "x")
	f := func() { panic(http.ErrAbortHandler) }
	r.store.scan.Store(&f)
	if res, err := r.client.Do(r.request(ctx, "POST", queue, erp, http.NoBody, "X-Zato-PubSub-Key", key)); err == nil {
		t.Errorf("%d", res.StatusCode)
		res.Body.Close()
	}
	nothing := func() {}
	r.store.scan.Store(&nothing)
	r.wantPayloads(queue, "x")
}

// TestDelay: a delayed message has its ID at once and is not delivered yet.
func TestDelay(t *testing.T) {
	r := newServer(t)
	id := r.publish(created+"?delay=31536000", "later")
	if !cidPattern.MatchString(id) {
		t.Errorf("msg_id %q", id)
	}
	r.wantPayloads(queue)
	r.notFound(id, "ack=true")
	r.publish(created+"?delay=31536000&msg_id=mine", "later")
	if a := r.do("POST", created+"?msg_id=mine", crm, "now"); a.header.Get("X-Zato-Duplicate") != "true" {
		t.Error("a delayed message's ID is not known")
	}
	r.wantPayloads(queue)
}

// TestExpectContinue: a client that asks first is answered before it sends.
func TestExpectContinue(t *testing.T) {
	r := newServer(t)
	a := r.raw("POST /zato/pubsub/topic//no/such/ HTTP/1.1\r\nHost: x\r\nAuthorization: Basic Y3JtOmNybQ==\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
	if a.status != 403 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// TestDefaults: options that are not given.
func TestDefaults(t *testing.T) {
	r := newServer(t, func(s *setup) { s.api.Access = false })
	if a := r.do("POST", created, crm, strings.Repeat("x", 1<<20)); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
	r.refuse(413, "payload: allowed are at most 1048576 bytes", "POST", created, crm, strings.Repeat("x", 1<<20+1))
	if len(r.logs.lines(t, "request")) != 0 {
		t.Error("access lines that nobody wanted")
	}
}

// TestHandlerAlone: the handler needs no server of its own making.
func TestHandlerAlone(t *testing.T) {
	r := newServer(t)
	w := httptest.NewRecorder()
	r.srv.Handler.ServeHTTP(w, httptest.NewRequest("GET", "/zato/ping", nil))
	if w.Code != 200 || !json.Valid(w.Body.Bytes()) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
