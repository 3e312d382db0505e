package api

import (
	"slices"
	"strings"

	"pipit/admin/object"
	"pipit/admin/openapi"
	"pipit/broker/limit"
)

// The wire protocol's replies are written by hand, and so they are described.

const slashes = "Name of the topic. Its slashes need no escape, so that a URL has two in a row: /zato/pubsub/topic//customer/created names the topic /customer/created. A slash at the end belongs to the URL."

var (
	wireMax = inQuery("max", "At most so many; fewer where the reply would pass 16 MiB of payload.",
		*openapi.Integer(1, limit.MaxReceive).With(openapi.Schema{Default: limit.DefaultReceive}))
	wireDir = inQuery("dir", "The oldest or the newest first, within a priority.",
		*openapi.Enum("fifo", "lifo").With(openapi.Schema{Default: "fifo"}))
	wireExtend = *openapi.Integer(1, limit.MaxExtend)
)

// wireOperations are those of the wire protocol.
var wireOperations = []operation{
	{method: "POST", path: "/zato/pubsub/topic/{topic}", id: "publish", summary: "Publish a message, or a batch of them",
		text: "The reply is sent when the message is on disk for every consumer. Headers X-Zato-PubSub-Attr-NAME, ce-NAME, traceparent and tracestate are its attributes.",
		parameters: []openapi.Parameter{
			inRoute("topic", slashes, anyText),
			inQuery("priority", "9 is delivered first.", priorities),
			inQuery("expiration", "Seconds. Default: the topic's.", expirations),
			inQuery("mime_type", "Returned with the payload, never checked against it. Default: the Content-Type of the request.", *anyText.With(mimeTypes)),
			inQuery("msg_id", "An id of the client's own. Default: made by the broker.", openapi.Schema{Type: "string", MaxLength: new(limit.MaxMessageID)}),
			inQuery("delay", "Seconds before it can be delivered.", delays),
			inQuery("deliver_at", "The UTC time, or Unix seconds, before which it is not delivered; not with delay.", *anyText.With(openapi.Schema{Examples: []any{"2026-11-23T09:00:00"}})),
			inQuery("correlation_id", "Returned in the metadata.", openapi.Schema{Type: "string", MaxLength: new(limit.MaxCorrelationID)}),
			inQuery("reply_to", "Returned in the metadata.", openapi.Schema{Type: "string", MaxLength: new(limit.MaxReplyTo)}),
			inQuery("cloudevents", "The body is a CloudEvent in structured mode: its data is the payload, its id the msg_id, the rest attributes.", flags),
			inQuery("batch", "The body is a batch: one JSON object a line, with payload and any parameter above; all or none are stored.", flags),
		}, body: "bytes", reply: "ZatoPublished", headers: []string{"X-Zato-CID", "X-Zato-Duplicate"}, refused: []refused{{507, "ZatoDiskFull"}}},
	{method: "POST", path: "/zato/pubsub/msg/{key}", id: "receive", summary: "Receive messages",
		text: "Each is in flight for this consumer until it is acknowledged, rejected, or its ack_timeout is over.",
		parameters: []openapi.Parameter{
			inRoute("key", slashes, anyText), shared("subKey"), wireMax, wireDir,
			inQuery("wait", "Seconds to wait for the first message.", *openapi.Integer(0, int64(limit.MaxWait.Seconds())).With(openapi.Schema{Default: 0})),
			inQuery("ack", "They are acknowledged as they are returned: at most once.", flags),
		}, reply: "ZatoMessages"},
	{method: "GET", path: "/zato/pubsub/msg/{key}", id: "stream", summary: "Receive messages as server-sent events",
		text: "With the header Accept: text/event-stream. id is the msg_id, data an item of results.",
		parameters: []openapi.Parameter{
			inRoute("key", slashes, anyText), shared("subKey"), wireMax, wireDir,
			inQuery("ack", "They are acknowledged as they are sent: at most once.", flags),
		}, reply: "events"},
	{method: "DELETE", path: "/zato/pubsub/msg/{key}", id: "settle", summary: "Acknowledge or reject a message",
		text: "Exactly one of ack, reject and extend is given. It is on disk when the answer comes.",
		parameters: []openapi.Parameter{
			inRoute("key", "Id of the message.", anyText), shared("subKey"),
			inQuery("ack", "Acknowledge it.", flags),
			inQuery("reject", "Put it back.", flags),
			inQuery("delay", "Seconds before what is put back is delivered again.", delays),
			inQuery("dead_letter", "With reject: move it to the consumer's dead-letter topic.", flags),
			inQuery("extend", "Keep it in flight for so many seconds from now.", wireExtend),
		}, reply: "ZatoOK", refused: []refused{{507, "ZatoDiskFull"}}},
	{method: "POST", path: "/zato/pubsub/ack", id: "settleMany", summary: "Acknowledge and reject messages",
		text:       "Those found are done in one commit, also where others are not found.",
		parameters: []openapi.Parameter{shared("subKey")},
		body:       "ZatoSettlement", reply: "ZatoSettled", refused: []refused{{507, "ZatoDiskFull"}}},
	{method: "POST", path: "/zato/pubsub/seek/{key}", id: "seek", summary: "Go on at another place of the topic",
		text:       "What the topic stores from there on waits again for this consumer, what is before it is done.",
		parameters: []openapi.Parameter{inRoute("key", slashes, anyText), shared("subKey")},
		body:       "ZatoSeek", reply: "ZatoSought", refused: []refused{{507, "ZatoDiskFull"}}},
	{method: "POST", path: "/zato/pubsub/subscribe/{key}", id: "subscribe", summary: "Make a consumer of one's own",
		text:       "For a client whose can_subscribe has the topic, or the whole of the pattern. Repeated, it answers with the same sub_key.",
		parameters: []openapi.Parameter{inRoute("key", slashes, anyText)},
		reply:      "ZatoSubscribed", refused: []refused{{507, "ZatoDiskFull"}}},
	{method: "GET", path: "/zato/pubsub/subscribe/{key}", id: "subscribed", summary: "Look at one's own consumer",
		text:       "404 where the client has none.",
		parameters: []openapi.Parameter{inRoute("key", slashes, anyText)},
		reply:      "ZatoSubscription"},
	{method: "DELETE", path: "/zato/pubsub/subscribe/{key}", id: "unsubscribe", summary: "Delete one's own consumer",
		text:       "All that waits for it goes with it. 404 where the client has none; 403 where an administrator made it.",
		parameters: []openapi.Parameter{inRoute("key", slashes, anyText)},
		reply:      "ZatoOK", refused: []refused{{507, "ZatoDiskFull"}}},
	{method: "POST", path: "/hook/{webhook}", id: "callWebhook", summary: "Call a webhook",
		text:       "Verified as the webhook says, by a signature over the body or a token in a header, and published to its topic. The reply is sent when the message is on disk. A delivery id that is repeated is stored once.",
		parameters: []openapi.Parameter{inRoute("webhook", "Name of the webhook.", anyText)},
		body:       "call", reply: "ZatoPublished", headers: []string{"X-Zato-CID", "X-Zato-Duplicate"},
		refused: []refused{{400, "ZatoBadRequest"}, {401, "ZatoUnauthorized"}, {403, "ZatoDenied"}, {429, "ZatoFull"}, {503, "ZatoUnavailable"}, {507, "ZatoDiskFull"}}},
	{method: "OPTIONS", path: "/hook/{webhook}", id: "askWebhook", summary: "Ask whether CloudEvents may be sent to a webhook",
		text: "The handshake of CloudEvents: the answer has the headers WebHook-Allowed-Origin and WebHook-Allowed-Rate.",
		parameters: []openapi.Parameter{
			inRoute("webhook", "Name of the webhook.", anyText),
			required(inHeader("WebHook-Request-Origin", "Who wants to send.", someText)),
		}, reply: "ZatoOK", refused: []refused{{403, "ZatoDenied"}, {405, "ZatoNoHandshake"}}},
	{method: "GET", path: "/zato/ping", id: "ping", summary: "Ask whether the server serves",
		text: "It answers while the process serves, whatever state the file is in.", reply: "ZatoPong"},
	{method: "GET", path: "/healthz", id: "alive", summary: "Ask whether the process serves",
		text: "For liveness probes: it answers whatever state the file is in. Listeners of the pages alone have it, too.", reply: "ZatoOK"},
	{method: "GET", path: "/readyz", id: "ready", summary: "Ask whether requests are to be sent to it",
		text: "For readiness probes and load balancers: refused while messages cannot be stored, and while the server drains before it stops. Listeners of the pages alone have it, too.", reply: "ZatoOK", refused: []refused{{503, "ZatoUnavailable"}}},
	{method: "GET", path: "/health", id: "health", summary: "Ask whether messages can be stored",
		text: "For load balancers and monitoring.", reply: "ZatoOK", refused: []refused{{503, "ZatoUnavailable"}}},
}

// wireSchemas are those of its replies and of what it reads.
var wireSchemas = openapi.Map[*openapi.Schema]{
	{Name: "ZatoError", Value: record(
		field("status", "", openapi.Enum("ZATO_ERROR")),
		field("details", "Names the parameter, its value and what is allowed.", &anyText))},
	{Name: "ZatoOK", Value: record(
		field("status", "", zatoOK),
		field("details", "", openapi.Enum("")))},
	{Name: "ZatoPublished", Value: record(
		field("status", "", zatoOK),
		maybe("msg_id", "Of the message.", &anyText),
		maybe("msg_ids", "Of a batch, in the order of its lines.", openapi.Array(&anyText)))},
	{Name: "ZatoMessage", Value: record(
		field("payload", "", &anyText),
		field("metadata", "", record(
			field("msg_id", "", &anyText),
			field("topic", "", &anyText),
			field("creation_time_utc", "When it was published. UTC, always with six digits.", zatoTime),
			field("expiration", "Seconds; 0: it does not expire.", count),
			field("expire_at_utc", "When it expires; empty where it does not. UTC, always with six digits.", zatoTime),
			field("producer", "Display name of the publishing client.", &anyText),
			field("priority", "", openapi.Integer(limit.MinPriority, limit.MaxPriority)),
			field("mime_type", "", &anyText),
			field("delivery_count", "1 at the first delivery.", count.With(openapi.Schema{Minimum: new(int64(1))})),
			maybe("encoding", "The payload is not UTF-8, and is in base64.", openapi.Enum(object.EncodingBase64)),
			maybe("correlation_id", "", &anyText),
			maybe("reply_to", "", &anyText),
			maybe("attributes", "What travels with it, by name.", &attributes),
			maybe("dead_letter", "Where it failed, of a message of a dead-letter topic.", record(
				field("topic", "Where it was published.", &anyText),
				field("consumer", "For which it failed.", &anyText),
				field("reason", "Why it was moved.", &anyText),
				field("delivery_count", "Deliveries to that consumer.", count),
				field("time_utc", "When it was moved.", zatoTime))))))},
	{Name: "ZatoMessages", Value: record(
		field("status", "", zatoOK),
		field("results_count", "", openapi.Integer(0, limit.MaxReceive)),
		field("results", "", openapi.Array(openapi.Ref("ZatoMessage"))))},
	{Name: "ZatoSettlement", Value: record(
		maybe("ack", "Ids of messages to acknowledge.", zatoIDs),
		maybe("reject", "Ids of messages to put back.", zatoIDs),
		maybe("delay", "Seconds before those put back are delivered again; with reject alone.", openapi.Integer(0, limit.MaxDelay)),
		maybe("dead_letter", "Ids of messages to move to the consumer's dead-letter topic.", zatoIDs),
		maybe("extend", "Seconds from now for which messages stay in flight, by their ids.", &openapi.Schema{Type: "object", AdditionalProperties: &wireExtend}),
	).With(openapi.Schema{
		Description: "1 to 10,000 messages, none of them twice.",
		If:          having("ack", openapi.Schema{MinItems: new(1)}),
		Else: &openapi.Schema{
			If: having("reject", openapi.Schema{MinItems: new(1)}),
			Else: &openapi.Schema{
				If:   having("dead_letter", openapi.Schema{MinItems: new(1)}),
				Else: having("extend", openapi.Schema{MinProperties: new(1)}),
			},
		},
	})},
	{Name: "ZatoSettled", Value: record(
		field("status", "", zatoOK),
		field("acked", "", count),
		field("rejected", "", count),
		field("extended", "", count),
		maybe("dead_lettered", "Where dead_letter was given.", count),
		field("not_found", "Those that are not in flight for this consumer.", openapi.Array(&anyText)))},
	{Name: "ZatoSeek", Value: record(
		maybe("to", "oldest, newest or a UTC time: at the first message that could be delivered then or later.", &someText),
		maybe("msg_id", "At this message.", &someText),
	).With(openapi.Schema{Description: "One of the two.", MinProperties: new(1), MaxProperties: new(1)})},
	{Name: "ZatoSubscribed", Value: record(
		field("status", "", zatoOK),
		field("sub_key", "For the header X-Zato-PubSub-Key.", &anyText))},
	{Name: "ZatoSubscription", Value: record(
		field("status", "", zatoOK),
		field("sub_key", "For the header X-Zato-PubSub-Key.", &anyText),
		field("backlog", "Messages that wait or are in flight.", count),
		field("in_flight", "Of these, delivered and not acknowledged.", count))},
	{Name: "ZatoSought", Value: record(
		field("status", "", zatoOK),
		field("backlog", "Messages that wait for this consumer then.", count))},
	{Name: "ZatoPong", Value: record(
		field("zato_ping_response", "", record(field("pong", "", openapi.Enum("zato")))),
		field("zato_env", "", record(
			field("details", "", &anyText),
			field("result", "", zatoOK),
			field("cid", "Id of the request.", &anyText))))},
}

// attributes are those of a message.
var attributes = openapi.Schema{Type: "object", MaxProperties: new(limit.MaxAttributes), AdditionalProperties: &anyText}

var (
	zatoOK   = openapi.Enum("ZATO_OK")
	zatoTime = &openapi.Schema{Type: "string", Pattern: `^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6})?$`}
	zatoIDs  = openapi.Array(&anyText).With(openapi.Schema{MaxItems: new(limit.MaxSettle), UniqueItems: true})
	zatoXML  = openapi.Content{Schema: &openapi.Schema{Type: "string", Description: "Root data, list members item."}}
	count    = openapi.Schema{Type: "integer"}.Sized()
)

// wireRefusals are the responses that say why the wire protocol refuses.
func wireRefusals() openapi.Map[*openapi.Response] {
	var all openapi.Map[*openapi.Response]
	for _, r := range []struct {
		name, text string
		header     string
	}{
		{"ZatoBadRequest", "A parameter out of range or of an unknown value, or a body that is not what its type says.", ""},
		{"ZatoUnauthorized", "No or wrong credentials, an inactive client, or a call of a webhook that is not verified.", "WWW-Authenticate"},
		{"ZatoDenied", "Unknown topic, no permission for it, something inactive, or a sub_key of nobody or of another: one and the same answer for all of them.", ""},
		{"ZatoNotFound", "No such route or webhook, a message that is not in flight for this consumer, or a topic that the client is not subscribed to.", ""},
		{"ZatoNoHandshake", "The header WebHook-Request-Origin is missing.", ""},
		{"ZatoTooLarge", "The payload or body is too large.", ""},
		{"ZatoUnsupportedEncoding", "A Content-Encoding that is not known.", "Accept-Encoding"},
		{"ZatoFull", "A topic, a backlog, the limit of messages in flight or that of consumers of a client's own is full, or too many failed logins.", "Retry-After"},
		{"ZatoInternal", "A fault of Pipit. The log has the cause.", ""},
		{"ZatoUnavailable", "Shutting down, or overloaded.", "Retry-After"},
		{"ZatoDiskFull", "There is no room on the disk, nothing was stored.", ""},
	} {
		all.Set(r.name, &openapi.Response{Description: r.text, Headers: headers(r.header), Content: zatoContent("ZatoError")})
	}
	all.Set("HeaderTooLarge", &openapi.Response{Description: "The header is larger than 16 KiB.", Content: content("ZatoError", TypeJSON)})
	return all
}

func zatoContent(schema string) openapi.Map[openapi.Content] {
	return append(content(schema, TypeJSON), openapi.Member[openapi.Content]{Name: "application/xml", Value: zatoXML})
}

// onTheWire is what the document says of an operation of the wire protocol.
func (op operation) onTheWire() *openapi.Operation {
	out := &openapi.Operation{ID: op.id, Tags: []string{"wire"}, Summary: op.summary, Description: op.text,
		Security: openapi.Require("basic"), Parameters: append(slices.Clone(op.parameters), shared("format"))}
	refusals := append([]refused{{500, "ZatoInternal"}}, op.refused...)
	if !strings.HasPrefix(op.path, "/zato/pubsub/") {
		out.Security = openapi.Require()
		refusals = append(refusals, refused{431, "HeaderTooLarge"})
	} else {
		refusals = append(refusals, refused{400, "ZatoBadRequest"}, refused{401, "ZatoUnauthorized"}, refused{403, "ZatoDenied"},
			refused{429, "ZatoFull"}, refused{503, "ZatoUnavailable"})
	}
	if strings.HasSuffix(op.path, "}") {
		refusals = append(refusals, refused{404, "ZatoNotFound"})
	}
	if op.body != "" {
		refusals = append(refusals, refused{413, "ZatoTooLarge"}, refused{415, "ZatoUnsupportedEncoding"})
	}
	switch op.body {
	case "":
	case "call":
		out.Body = &openapi.Body{Description: "What the sender sends.", Content: openapi.Map[openapi.Content]{{Name: "*/*"}}}
	case "bytes":
		out.Body = &openapi.Body{Description: "The payload, byte for byte.", Content: openapi.Map[openapi.Content]{{Name: "application/x-ndjson"}, {Name: "*/*"}}}
	default:
		out.Body = &openapi.Body{Required: true, Content: content(op.body, TypeJSON)}
	}
	done := &openapi.Response{Description: "Done.", Headers: headers(append(op.headers, "X-Zato-CID")...)}
	if op.reply == "events" {
		done.Content = openapi.Map[openapi.Content]{{Name: "text/event-stream", Value: openapi.Content{Schema: &anyText}}}
	} else {
		done.Content = zatoContent(op.reply)
	}
	out.Responses.Set("200", done)
	refuse(&out.Responses, refusals)
	return out
}

// member is a property of a record.
type member struct {
	name     string
	schema   *openapi.Schema
	optional bool
}

func field(name, text string, s *openapi.Schema) member {
	return member{name, s.With(openapi.Schema{Description: text}), false}
}

// maybe is a property that can be left out.
func maybe(name, text string, s *openapi.Schema) member {
	return member{name, s.With(openapi.Schema{Description: text}), true}
}

// record returns the schema of an object with properties.
func record(properties ...member) *openapi.Schema {
	s := &openapi.Schema{Type: "object", AdditionalProperties: false}
	for _, p := range properties {
		s.Add(p.name, p.schema, !p.optional)
	}
	return s
}
