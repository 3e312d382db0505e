package tracing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// client sends spans by OTLP over HTTP (https://opentelemetry.io/docs/specs/otlp/#otlphttp). It is a client of
// OpenTelemetry's exporter in place of its own, which brings gRPC and its gateway: a quarter of the program.
type client struct {
	url     string
	headers atomic.Pointer[http.Header]
	http    http.Client
	ctx     context.Context // of all requests
	end     context.CancelFunc
}

func newClient(endpoint string) (*client, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, err
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces"
	}
	through := http.DefaultTransport.(*http.Transport).Clone()
	through.MaxIdleConnsPerHost, through.MaxConnsPerHost = 1, 1
	c := &client{url: u.String(), http: http.Client{Transport: through, Timeout: answerTime,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}} // which would get the headers
	c.ctx, c.end = context.WithCancel(context.Background())
	return c, nil
}

// CheckHeader tells whether requests to a collector can have such a header. The error does not show its value.
func CheckHeader(name, value string) error {
	switch canonical := http.CanonicalHeaderKey(name); {
	case !httpguts.ValidHeaderFieldName(name):
		return fmt.Errorf("%q: allowed are names of headers", name)
	case canonical == "Host" || canonical == "Content-Type" || canonical == "Content-Length" || canonical == "Transfer-Encoding" || canonical == "Connection":
		return fmt.Errorf("%q: allowed are headers that the request does not have by itself", name)
	case !httpguts.ValidHeaderFieldValue(value):
		return fmt.Errorf("the value of %q: allowed is one line", name)
	}
	return nil
}

// Start and Stop are for otlptrace.Client.
func (c *client) Start(context.Context) error { return nil }

// Stop is for otlptrace.Client.
func (c *client) Stop(context.Context) error {
	c.http.CloseIdleConnections()
	return nil
}

// againAfter is how long the first wait for the next try is; each is twice that before.
const againAfter = time.Second

// UploadTraces sends spans, and tries it again until the collector takes or refuses them, ctx ends, or end is called.
func (c *client) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	body, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans}) // as ExportTraceServiceRequest is on the wire
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	for wait := againAfter; ; wait *= 2 {
		asked, err := c.send(ctx, body)
		if err == nil || asked < 0 {
			return err
		}
		select {
		case <-time.After(max(wait, asked)):
		case <-ctx.Done():
			return err
		}
	}
}

// never is a wait after which nothing is tried again.
const never = time.Duration(-1)

// send makes one request. With an error, it returns how long the collector wants to be left alone, or never.
func (c *client) send(ctx context.Context, body []byte) (time.Duration, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return never, err
	}
	r.Header = c.headers.Load().Clone()
	r.Header.Set("Content-Type", "application/x-protobuf")
	resp, err := c.http.Do(r)
	if err != nil {
		return 0, errors.Unwrap(err) // without the URL
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10) // so that the connection can be used again
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		seconds, _ := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 16)
		return time.Duration(seconds) * time.Second, fmt.Errorf("the collector answers %s", resp.Status)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return never, fmt.Errorf("the collector answers %s", resp.Status)
	}
	return 0, nil
}
