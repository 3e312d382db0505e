package tracing

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"pipit/broker"
	"pipit/broker/limit"
)

// Span is one that is recorded. One goroutine at a time uses it, and ends it once.
type Span struct {
	t    *Tracer
	ctx  context.Context
	span trace.Span
}

// system is messaging.system of all spans of messages.
var system = semconv.MessagingSystemKey.String("pipit")

// w3c reads and writes traceparent and tracestate.
var w3c propagation.TraceContext

// begin begins a span, which is nil where it is not sampled.
func (t *Tracer) begin(ctx context.Context, name string, kind trace.SpanKind, links []trace.Link, attrs ...attribute.KeyValue) *Span {
	ctx, span := t.tracer.Start(ctx, name, trace.WithSpanKind(kind), trace.WithLinks(links...), trace.WithAttributes(attrs...))
	if !span.IsRecording() {
		return nil
	}
	return &Span{t, ctx, span}
}

// Request begins the span of a request of the wire protocol: a child of what the header traceparent names, if it does.
// route is the pattern of its path.
func (t *Tracer) Request(r *http.Request, route string) *Span {
	if t == nil {
		return nil
	}
	return t.begin(fromHeader(r.Header), r.Method+" "+route, trace.SpanKindServer, nil,
		semconv.HTTPRequestMethodKey.String(r.Method), semconv.HTTPRoute(route), semconv.URLScheme(scheme(r)))
}

func scheme(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

// fromHeader is the context of the span that a header names. Two of them name none.
func fromHeader(h http.Header) context.Context {
	if len(h["Traceparent"]) != 1 {
		return context.Background()
	}
	in := propagation.MapCarrier{"traceparent": h["Traceparent"][0], "tracestate": strings.Join(h["Tracestate"], ",")}
	return w3c.Extract(context.Background(), in)
}

// Answered ends the span of a request. id is that of the request, which its lines in the log have as cid.
func (s *Span) Answered(status int, id string) {
	if s == nil {
		return
	}
	s.span.SetAttributes(semconv.HTTPResponseStatusCode(status), attribute.String("pipit.cid", id))
	if status >= 500 { // else it is the caller's error
		s.failed(strconv.Itoa(status))
	}
	s.span.End()
}

// failed notes an error by its class.
func (s *Span) failed(class string) {
	s.span.SetAttributes(semconv.ErrorTypeKey.String(class))
	s.span.SetStatus(codes.Error, "")
}

// Send begins the span of a publish to a topic, within that of its request.
func (s *Span) Send(topic string) *Span {
	if s == nil {
		return nil
	}
	return s.t.begin(s.ctx, "send "+topic, trace.SpanKindProducer, nil, operation("send", semconv.MessagingOperationTypeSend, topic)...)
}

// Settle begins the span of acknowledgements, rejections and extensions, within that of their request.
func (s *Span) Settle(topic string) *Span {
	if s == nil {
		return nil
	}
	return s.t.begin(s.ctx, "settle "+topic, trace.SpanKindClient, nil, operation("settle", semconv.MessagingOperationTypeSettle, topic)...)
}

// Receive begins the span of a receive, within that of its request.
func (s *Span) Receive(topic string) *Span {
	if s == nil {
		return nil
	}
	return s.t.receive(s.ctx, topic)
}

// Receive begins the span of messages that a stream is sent. The trace begins here, as a stream goes on for hours.
func (t *Tracer) Receive(topic string) *Span {
	if t == nil {
		return nil
	}
	return t.receive(context.Background(), topic)
}

func (t *Tracer) receive(ctx context.Context, topic string) *Span {
	return t.begin(ctx, "receive "+topic, trace.SpanKindConsumer, nil, operation("receive", semconv.MessagingOperationTypeReceive, topic)...)
}

func operation(name string, kind attribute.KeyValue, topic string) []attribute.KeyValue {
	return []attribute.KeyValue{system, kind, semconv.MessagingOperationName(name), semconv.MessagingDestinationName(topic)}
}

// Received notes the messages of a receive, and links to the spans that they were published in.
func (s *Span) Received(msgs []broker.Message) {
	if s == nil {
		return
	}
	for _, l := range links(msgs) {
		s.span.AddLink(l)
	}
	s.span.SetAttributes(about(msgs)...)
}

// about are the attributes of messages.
func about(msgs []broker.Message) []attribute.KeyValue {
	if len(msgs) != 1 {
		return []attribute.KeyValue{semconv.MessagingBatchMessageCount(len(msgs))}
	}
	m := &msgs[0]
	return []attribute.KeyValue{semconv.MessagingMessageID(m.ID), semconv.MessagingMessageBodySize(len(m.Payload))}
}

// links are those to the spans that messages were published in.
func links(msgs []broker.Message) (list []trace.Link) {
	for i := range msgs {
		if sc := trace.SpanContextFromContext(fromMessage(&msgs[i])); sc.IsValid() && len(list) < linkCount {
			list = append(list, trace.Link{SpanContext: sc, Attributes: []attribute.KeyValue{semconv.MessagingMessageID(msgs[i].ID)}})
		}
	}
	return list
}

// fromMessage is the context of the span that the attributes of a message name.
func fromMessage(m *broker.Message) context.Context {
	in := propagation.MapCarrier{}
	for _, a := range m.Attributes {
		if a.Name == "traceparent" || a.Name == "tracestate" {
			in[a.Name] = a.Value
		}
	}
	return w3c.Extract(context.Background(), in)
}

// Message notes the ID of the one message of an operation, where it has one.
func (s *Span) Message(id string) {
	if s != nil && id != "" {
		s.span.SetAttributes(semconv.MessagingMessageID(id))
	}
}

// Size notes of how many bytes the payload of the one message of an operation is.
func (s *Span) Size(bytes int) {
	if s != nil {
		s.span.SetAttributes(semconv.MessagingMessageBodySize(bytes))
	}
}

// Batch notes how many messages an operation is of.
func (s *Span) Batch(messages int) {
	if s != nil {
		s.span.SetAttributes(semconv.MessagingBatchMessageCount(messages))
	}
}

// End ends the span of an operation, with its error or nil.
func (s *Span) End(err error) {
	if s == nil {
		return
	}
	if err != nil {
		s.failed(broker.CodeOf(err).String())
	}
	s.span.End()
}

// Attributes returns the attributes of a message that is published in this span: with its traceparent, and the tracestate,
// where they have no traceparent and there is room.
func (s *Span) Attributes(list []broker.Attribute) []broker.Attribute {
	if s == nil {
		return list
	}
	for _, a := range list {
		if strings.EqualFold(a.Name, "traceparent") || strings.EqualFold(a.Name, "tracestate") {
			return list
		}
	}
	out := propagation.MapCarrier{}
	w3c.Inject(s.ctx, out)
	more := list[:len(list):len(list)]
	for name, value := range out {
		more = append(more, broker.Attribute{Name: name, Value: value})
	}
	if limit.CheckAttributes(more) != nil {
		return list
	}
	return more
}

// Call begins the span of a call that sends messages to a consumer: a child of the span that its one message was published
// in, or one with links to those of several.
func (t *Tracer) Call(def *broker.Consumer, msgs []broker.Message) *Span {
	if t == nil {
		return nil
	}
	ctx, linked := context.Background(), []trace.Link(nil)
	if len(msgs) == 1 {
		ctx = fromMessage(&msgs[0])
	} else {
		linked = links(msgs)
	}
	attrs := append(operation("process", semconv.MessagingOperationTypeProcess, def.Topic), about(msgs)...)
	attrs = append(attrs, semconv.HTTPRequestMethodPost)
	if u, err := url.Parse(def.CallbackURL); err == nil { // of which the rest may hold a secret
		port, _ := strconv.Atoi(u.Port())
		if port == 0 {
			port = map[string]int{"http": 80, "https": 443}[u.Scheme]
		}
		attrs = append(attrs, semconv.URLScheme(u.Scheme), semconv.ServerAddress(u.Hostname()), semconv.ServerPort(port))
	}
	return t.begin(ctx, "process "+def.Topic, trace.SpanKindClient, linked, attrs...)
}

// Header names the span in the header of the call, in place of that which the message was published in.
func (s *Span) Header(h http.Header) {
	if s != nil {
		h.Del("Tracestate")
		w3c.Inject(s.ctx, propagation.HeaderCarrier(h))
	}
}

// Called ends the span of a call. status is 0 where there was no answer; class is that of its failure, empty where the
// receiver has the messages.
func (s *Span) Called(status int, class string) {
	if s == nil {
		return
	}
	if status != 0 {
		s.span.SetAttributes(semconv.HTTPResponseStatusCode(status))
	}
	if class != "" {
		s.failed(class)
	}
	s.span.End()
}
