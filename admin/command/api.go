package command

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"pipit/admin/gate"
)

// answerTime is how long a server may take to begin an answer. A long poll takes up to a minute.
const answerTime = 90 * time.Second

// remote speaks to the admin API.
type remote struct {
	server string // base URL
	token  string // empty: none is sent
	other  string // server that the token of the user's file is for, where it is not this one
	http   *http.Client
}

// patient returns a remote whose server may take longer.
func (a *remote) patient(d time.Duration) *remote {
	p := *a
	p.http = newHTTPClient(a.http.Transport, d)
	return &p
}

// newHTTPClient returns a client for servers that begin an answer within a time.
func newHTTPClient(t http.RoundTripper, answer time.Duration) *http.Client {
	if d, ok := t.(*http.Transport); ok {
		d = d.Clone()
		d.ResponseHeaderTimeout = answer
		t = d
	}
	return &http.Client{
		Transport: t,
		// A redirect would turn a POST into a GET, and take the token where nobody meant it to go.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// call is a request to the API.
type call struct {
	method   string
	path     []string // segments behind gate.V1, not escaped
	query    url.Values
	body     any    // to be sent as JSON; an io.Reader is sent as it is; nil: none
	revision string // that the object must have; empty: any
}

// do makes a call and decodes the answer into a value, unless that is nil. A *json.RawMessage gets
// all of it. The errors are a *problem, a connectError and those of the context.
func (a *remote) do(ctx context.Context, q call, into any) error {
	body, _, err := a.open(ctx, q)
	if err != nil {
		return err
	}
	defer body.Close()
	if raw, ok := into.(*json.RawMessage); ok {
		*raw, err = io.ReadAll(body)
	} else if into != nil {
		err = json.NewDecoder(body).Decode(into)
	}
	if err != nil {
		return a.broken(ctx, err)
	}
	return nil
}

// open makes a call and returns the body of its answer, and how long that is: -1 where it is not known.
func (a *remote) open(ctx context.Context, q call) (body io.ReadCloser, length int64, err error) {
	var content io.Reader
	contentType := ""
	switch b := q.body.(type) {
	case nil:
	case io.Reader:
		content, contentType = b, "application/json"
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return nil, 0, err
		}
		content, contentType = bytes.NewReader(text), "application/json"
		if q.method == http.MethodPatch {
			contentType = "application/merge-patch+json"
		}
	}
	u := a.server + gate.V1
	for _, s := range q.path {
		u += "/" + url.PathEscape(s)
	}
	if len(q.query) > 0 {
		u += "?" + q.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, q.method, u, content)
	if err != nil {
		return nil, 0, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if q.revision != "" {
		req.Header.Set("If-Match", q.revision)
	}
	if a.token != "" {
		req.Header.Set("Authorization", "Bearer "+a.token)
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return nil, 0, a.broken(ctx, err)
	}
	if resp.StatusCode/100 == 2 {
		return resp.Body, resp.ContentLength, nil
	}
	defer resp.Body.Close()
	if ctx.Err() != nil { // what came back tells of that
		return nil, 0, ctx.Err()
	}
	return nil, 0, a.refusal(resp)
}

// refusal makes an error of an answer.
func (a *remote) refusal(resp *http.Response) error {
	p := &problem{}
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if media != "application/problem+json" {
		if err := speaksTLS(a.server, resp); err != nil {
			return err
		}
	}
	if media != "application/problem+json" || json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&p.Problem) != nil {
		return fmt.Errorf("%s does not answer as a Pipit server does: %s", a.server, resp.Status)
	}
	p.Status = resp.StatusCode
	switch {
	case p.Status == http.StatusUnauthorized && a.token == "" && a.other != "":
		return refused(p.Status, fmt.Sprintf("a token is needed, in %s: that of %s is for %s", envToken, settingsFile(), a.other))
	case p.Status == http.StatusUnauthorized && a.token == "":
		return refused(p.Status, fmt.Sprintf("a token is needed, in %s or in %s", envToken, cmp.Or(settingsFile(), "a file")))
	case p.Status == http.StatusUnauthorized:
		return refused(p.Status, "the token is not valid, or has expired")
	}
	return p
}

// speaksTLS is the error of a server that was asked over http and answers that it takes https, as those of Go do.
func speaksTLS(server string, resp *http.Response) error {
	rest, plain := strings.CutPrefix(server, "http://")
	if !plain || resp.StatusCode != http.StatusBadRequest {
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader(text), resp.Body))
	if !bytes.Contains(text, []byte("HTTP request to an HTTPS server")) {
		return nil
	}
	return usageError{fmt.Errorf("%s speaks TLS: use https://%s", server, rest)}
}

// broken makes an error of a request that was not answered.
func (a *remote) broken(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return connectError{fmt.Errorf("no answer from %s: %w", a.server, cause(err))}
}

// cause is what is behind an error of net/http, without the URL, whose query may say too much.
func cause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return op.Err
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the connection broke off")
	}
	return err
}

// page is a page of a list, or all that was got of it.
type page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"`
	Total *int   `json:"total,omitempty"` // of all pages, where it is known
}

// maxPage is the most that one page may have.
const maxPage = 1000

// pages gets the pages of a list, each of at most perPage items, until it has limit (0: all), and
// hands each to fn.
func pages[T any](ctx context.Context, a *remote, path []string, query url.Values, limit, perPage int, fn func(page[T])) error {
	q := url.Values{}
	for k, v := range query {
		q[k] = v
	}
	for got := 0; ; {
		n := perPage
		if limit > 0 {
			n = min(n, limit-got)
		}
		q.Set("limit", fmt.Sprint(n))
		var p page[T]
		if err := a.do(ctx, call{method: http.MethodGet, path: path, query: q}, &p); err != nil {
			return err
		}
		fn(p)
		got += len(p.Items)
		if p.Next == "" || limit > 0 && got >= limit {
			return nil
		}
		q.Set("cursor", p.Next)
	}
}

// all gets a whole list, or its first limit items.
func all[T any](ctx context.Context, a *remote, path []string, query url.Values, limit int) (page[T], error) {
	list := page[T]{Items: []T{}}
	err := pages(ctx, a, path, query, limit, maxPage, func(p page[T]) {
		list.Items = append(list.Items, p.Items...)
		list.Total, list.Next = p.Total, p.Next
	})
	return list, err
}

// path makes the path of a call: segments of any text.
func path(segments ...string) []string { return segments }

// set sets a parameter of a query unless its value is empty.
func set(q url.Values, name, value string) {
	if value != "" {
		q.Set(name, value)
	}
}
