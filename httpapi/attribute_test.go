package httpapi_test

import (
	"context"
	"strings"
	"testing"
)

const typeEvent = "application/cloudevents+json"

// extra returns what is behind delivery_count in the metadata of the only message of a receive.
func (r *rig) extra(query string) string {
	r.t.Helper()
	a := r.do("POST", queue+"?ack=true"+query, erp, "", "X-Zato-PubSub-Key", key)
	if query == "" {
		_, rest, _ := strings.Cut(a.body, `"delivery_count": 1`)
		return strings.TrimSuffix(rest, "}}]}")
	}
	_, rest, _ := strings.Cut(a.body, "<delivery_count>1</delivery_count>")
	return strings.TrimSuffix(rest, "</metadata></item></results></data>")
}

// TestAttributes: what travels with a message in headers and parameters follows the other metadata, in every format.
func TestAttributes(t *testing.T) {
	r := newServer(t)
	publish := func(query, body string, header ...string) {
		t.Helper()
		if a := r.do("POST", created+query, crm, body, header...); a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	header := []string{"X-Zato-PubSub-Attr-Kind", "order ž", "x-zato-pubsub-attr-9.b", "<&>", "traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		"tracestate", "a=1", "tracestate", "b=2", "CE-ID", "e-1", "ce-subject", `"a \"b\" %C5%BE 100%25"`, "ce-odd", "100%", "X-Other", "x"}
	const inJSON = `, "correlation_id": "c\"1", "reply_to": "/r", "attributes": {"9.b": "<&>", "ce-id": "e-1", "ce-odd": "100%", "ce-subject": "a \"b\" \u017e 100%", ` +
		`"kind": "order \u017e", "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate": "a=1,b=2"}`
	const inXML = `<correlation_id>c&#34;1</correlation_id><reply_to>/r</reply_to><attributes><item name="9.b">&lt;&amp;&gt;</item><ce-id>e-1</ce-id><ce-odd>100%</ce-odd>` +
		`<ce-subject>a &#34;b&#34; ž 100%</ce-subject><kind>order ž</kind><traceparent>00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01</traceparent><tracestate>a=1,b=2</tracestate></attributes>`
	for query, want := range map[string]string{"": inJSON, "&format=xml": inXML} {
		publish("?correlation_id=c%221&reply_to=/r", "x", header...)
		if got := r.extra(query); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	publish("?batch=true", `{"payload": "x", "correlation_id": "c\"1", "reply_to": "/r", "attributes": {"Kind": "order ž", "9.b": "<&>"}}`, "Content-Type", ndjson, "traceparent", "ignored")
	if got := r.extra(""); got != `, "correlation_id": "c\"1", "reply_to": "/r", "attributes": {"9.b": "<&>", "kind": "order \u017e"}` {
		t.Errorf("of a batch: %s", got)
	}
	publish("", "x", "traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4737-00f067aa0ba902b7-01", "tracestate", "a=1", "ce-id", "e")
	if got := r.extra(""); got != `, "attributes": {"ce-id": "e"}` {
		t.Errorf("of two traces: %s", got)
	}
	publish("", "\xff", "X-Zato-PubSub-Attr-a", "")
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	events := r.stream(ctx, "")
	await(t, events.lines) // its id
	if data := await(t, events.lines); !strings.HasSuffix(data, `"delivery_count": 1, "encoding": "base64", "attributes": {"a": ""}}}`) {
		t.Errorf("as an event: %s", data)
	}
}

func TestAttributesRefused(t *testing.T) {
	r := newServer(t)
	for _, c := range []struct {
		details string
		header  []string
	}{
		{`header X-Zato-Pubsub-Attr-A: given 2 times, allowed is once`, []string{"X-Zato-PubSub-Attr-A", "1", "x-zato-pubsub-attr-a", "2"}},
		{`attribute "": names have 1 to 64 of A-Z a-z 0-9 . _ -`, []string{"X-Zato-PubSub-Attr-", "1"}},
		{`attribute "A!": names have 1 to 64 of A-Z a-z 0-9 . _ -`, []string{"X-Zato-PubSub-Attr-A!", "1"}},
		{`attribute "ce-x": given more than once`, []string{"X-Zato-PubSub-Attr-ce-X", "1", "ce-x", "2"}},
		{`attributes of 8193 bytes: allowed are 8192 for names and values together`, []string{"X-Zato-PubSub-Attr-A", strings.Repeat("x", 8192)}},
		{`attribute "A": its value "\xff" is not UTF-8 without control characters`, []string{"X-Zato-PubSub-Attr-A", "\xff"}},
		{`attribute "Ce-A": its value "\n" is not UTF-8 without control characters`, []string{"ce-a", "%0A"}},
	} {
		r.refuse(400, c.details, "POST", created, crm, marked, c.header...)
	}
	r.refuse(400, "header Ce-Id: in a batch, attributes belong into the lines", "POST", created+"?batch=true", crm, `{"payload": "x"}`, "Content-Type", ndjson, "ce-id", "1")
	r.refuse(400, `parameter "cloudevents": in a batch it belongs into the lines`, "POST", created+"?batch=true&cloudevents=true", crm, `{"payload": "x"}`, "Content-Type", ndjson)
	if got := r.receive(queue); got.Count != 0 {
		t.Errorf("something was stored: %v", got.payloads())
	}
}

// TestCloudEvents takes events apart: what they carry, and what is said of it.
func TestCloudEvents(t *testing.T) {
	r := newServer(t)
	const head = `"specversion": "1.0", "id": "e-ID", "source": "/s", "type": "com.example", `
	const rest = `"attributes": {"ce-source": "/s", "ce-specversion": "1.0", "ce-type": "com.example"}`
	for i, c := range []struct{ event, payload, mimeType, rest string }{
		{head + `"data": {"a": [1, 2.50, "ž"]}`, `{\"a\": [1, 2.50, \"\u017e\"]}`, "application/json", rest},
		{head + `"data": "text"`, `\"text\"`, "application/json", rest},
		{head + `"data": null`, `null`, "application/json", rest},
		{`"data": "<a>ž</a>", "datacontenttype": "application/xml", ` + strings.TrimSuffix(head, ", "), `<a>\u017e</a>`, "application/xml", rest},
		{head + `"data": 5, "datacontenttype": "text/plain"`, `5`, "text/plain", rest},
		{head + `"data": "x", "datacontenttype": "application/vnd.x+json; charset=utf-8"`, `\"x\"`, "application/vnd.x+json; charset=utf-8", rest},
		{head + `"data_base64": "aGk=", "datacontenttype": "text/plain"`, `hi`, "text/plain", rest},
		{head + `"data": null, "data_base64": "aGk="`, `hi`, "application/json", rest},
		{head + `"datacontenttype": null`, ``, "application/json", rest},
		{head + `"partitionkey": 7, "sampled": true, "subject": "s", "absent": null`, ``, "application/json",
			`"attributes": {"ce-partitionkey": "7", "ce-sampled": "true", "ce-source": "/s", "ce-specversion": "1.0", "ce-subject": "s", "ce-type": "com.example"}`},
	} {
		id := "e-" + string(rune('a'+i))
		event := "{" + strings.Replace(c.event, "e-ID", id, 1) + "}"
		a := r.do("POST", created+"?cloudevents=true&priority=7", crm, event, "Content-Type", typeEvent+"; charset=utf-8")
		if a.status != 200 || a.body != `{"status": "ZATO_OK", "msg_id": "`+id+`"}` {
			t.Errorf("%s: %d %s", event, a.status, a.body)
			continue
		}
		a = r.do("POST", queue+"?ack=true", erp, "", "X-Zato-PubSub-Key", key)
		for _, want := range []string{`[{"payload": "` + c.payload + `", "metadata": {"msg_id": "` + id + `", `, `"priority": 7, "mime_type": "` + c.mimeType + `", "delivery_count": 1, ` + c.rest + "}}]"} {
			if !strings.Contains(a.body, want) {
				t.Errorf("%s: got %s, want %s", event, a.body, want)
			}
		}
	}
	// An event is stored once, and one with an attribute of a header has both.
	const again = "{" + head + `"data": 1}`
	for i, duplicate := range []string{"", "true"} {
		a := r.do("POST", created+"?cloudevents=true", crm, again, "Content-Type", typeEvent, "traceparent", "t")
		if a.status != 200 || a.header.Get("X-Zato-Duplicate") != duplicate {
			t.Errorf("%d: %d %s", i, a.status, a.body)
		}
	}
	if got := r.extra(""); got != `, "attributes": {"ce-source": "/s", "ce-specversion": "1.0", "ce-type": "com.example", "traceparent": "t"}` {
		t.Error(got)
	}
	// Without the parameter it is a payload as any other.
	r.publish(created, again, "Content-Type", typeEvent)
	if got := r.receive(queue); got.Count != 1 || got.Results[0].Payload != again || got.Results[0].Metadata.MIMEType != typeEvent {
		t.Errorf("%+v", got)
	}
	for body, details := range map[string]string{
		``:                                   "not a CloudEvent: allowed is one JSON object in UTF-8",
		`null`:                               "not a CloudEvent: allowed is one JSON object in UTF-8",
		`[` + again + `]`:                    "not a CloudEvent: allowed is one JSON object in UTF-8",
		`{` + head + `"data": "` + "\xff\"}": "not a CloudEvent: allowed is one JSON object in UTF-8",
		`{}`:                                 "CloudEvent: specversion is missing",
		`{"specversion": "1.0", "id": "x", "source": null, "type": "t"}`:       "CloudEvent: source is missing",
		strings.Replace(again, `"1.0"`, `"0.3"`, 1):                            `CloudEvent: specversion "0.3": allowed is 1.0`,
		strings.Replace(again, `"e-ID"`, `"a\nb"`, 1):                          `CloudEvent: id: msg_id "a\nb": allowed are 1 to 200 characters, none of them a control character`,
		strings.Replace(again, `"data": 1`, `"x": {}`, 1):                      "CloudEvent: x: allowed are texts, whole numbers and booleans",
		strings.Replace(again, `"data": 1`, `"x": 1.5`, 1):                     "CloudEvent: x: allowed are texts, whole numbers and booleans",
		strings.Replace(again, `"data": 1`, `"a b": "x"`, 1):                   `attribute "ce-a b": names have 1 to 64 of A-Z a-z 0-9 . _ -`,
		strings.Replace(again, `"data": 1`, `"datacontenttype": ""`, 1):        `CloudEvent: datacontenttype: mime_type "": allowed are 1 to 255 bytes without control characters`,
		strings.Replace(again, `"data": 1`, `"data_base64": "*"`, 1):           "CloudEvent: data_base64: allowed is base64, padded, of the characters A-Z a-z 0-9 + /",
		strings.Replace(again, `"data": 1`, `"data": 1, "data_base64": ""`, 1): "CloudEvent: allowed is one of data and data_base64",
	} {
		r.refuse(400, details, "POST", created+"?cloudevents=true", crm, body, "Content-Type", typeEvent)
	}
	r.refuse(400, `parameter "msg_id": with cloudevents the event says it`, "POST", created+"?cloudevents=true&msg_id=x", crm, again, "Content-Type", typeEvent)
	r.refuse(400, `parameter "mime_type": with cloudevents the event says it`, "POST", created+"?cloudevents=true&mime_type=x", crm, again, "Content-Type", typeEvent)
}
