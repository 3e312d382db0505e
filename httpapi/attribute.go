package httpapi

import (
	"net/http"
	"net/url"
	"strings"

	"pipit/broker"
	"pipit/broker/clip"
	"pipit/broker/limit"
)

// What request headers that are attributes begin with, as net/http spells them, and the two that are attributes by
// themselves (https://www.w3.org/TR/trace-context/).
const (
	attributePrefix = "X-Zato-Pubsub-Attr-"
	eventPrefix     = "Ce-" // of CloudEvents in binary mode
	traceParent     = "Traceparent"
	traceState      = "Tracestate"
)

// headerAttributes returns the attributes that headers are, those of CloudEvents with ce- before their names. More than one
// traceparent is none, and no reason to refuse a message: its trace ends here, and the tracestate with it.
func headerAttributes(h http.Header) (list []broker.Attribute, err error) {
	for header, values := range h {
		if len(values) == 0 {
			continue
		}
		name, value := header, values[0]
		switch {
		case strings.HasPrefix(header, eventPrefix):
			value = eventValue(value)
		case strings.HasPrefix(header, attributePrefix):
			name = header[len(attributePrefix):]
		case header == traceState && len(h[traceParent]) <= 1: // of several, each is a part
			value, values = strings.Join(values, ","), nil
		case header == traceParent && len(values) == 1:
		default:
			continue
		}
		if len(values) > 1 {
			return nil, broker.Invalidf("header %s: given %d times, allowed is once", clip.Input(header), len(values))
		}
		list = append(list, broker.Attribute{Name: name, Value: value})
	}
	return list, limit.CheckAttributes(list)
}

// attributeHeader returns a header of a request that names an attribute, empty where there is none. Those for tracing do not count:
// clients add them to whatever they send.
func attributeHeader(h http.Header) string {
	for header := range h {
		if strings.HasPrefix(header, eventPrefix) || strings.HasPrefix(header, attributePrefix) {
			return header
		}
	}
	return ""
}

// eventValue returns what the header of an attribute of CloudEvents stands for: it may be in quotes, and has all but printable ASCII
// percent-encoded (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md#3132-http-header-values).
// What is not percent-encoding stands for itself.
func eventValue(s string) string {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		var b strings.Builder
		for in := s[1 : len(s)-1]; in != ""; in = in[1:] {
			if in[0] == '\\' && len(in) > 1 {
				in = in[1:]
			}
			b.WriteByte(in[0])
		}
		s = b.String()
	}
	if decoded, err := url.PathUnescape(s); err == nil {
		return decoded
	}
	return s
}
