package acceptance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"pipit/admin"
	"pipit/admin/access"
	"pipit/admin/api"
	"pipit/admin/gate"
	"pipit/admin/object"
	"pipit/backup"
	"pipit/broker"
	"pipit/broker/store"
	"pipit/db"
	"pipit/httpapi"
	"pipit/httpapi/callback"
)

// apiRig is an Admin and the wire protocol on a real server over a real file. Each request and answer
// is held to the OpenAPI document.
type apiRig struct {
	t      *testing.T
	b      *broker.Broker
	a      *admin.Admin
	store  *fullStore
	url    string
	client *http.Client
	calls  *conformity

	adminToken, writeToken, readToken, expiredToken string
}

// fullStore is a store that may have no room.
type fullStore struct {
	*db.Store
	full atomic.Bool
}

func (s *fullStore) Commit(b *store.Batch) error {
	if s.full.Load() {
		return fmt.Errorf("the test says: %w", store.ErrNoSpace)
	}
	return s.Store.Commit(b)
}

func newAPIRig(t *testing.T) *apiRig {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	path := filepath.Join(t.TempDir(), "pipit.db")
	file, err := db.Open(path, db.Options{Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	store := &fullStore{Store: file}
	b, err := broker.Open(store, broker.Options{Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	if err := access.CreateAdministrator(t.Context(), b, "ada", "a long password"); err != nil {
		t.Fatal(err)
	}
	former := "pipit_former" // a token that has expired
	if err := b.PutDocuments(t.Context(), broker.Document{Kind: "token", Key: hashOf(former), Value: fmt.Appendf(nil,
		`{"name":"former","scope":"admin","created":%q,"created_by":"ada","owner":"ada","expires":%[1]q}`, time.Now().Add(-time.Second).Format(time.RFC3339Nano))}); err != nil {
		t.Fatal(err)
	}
	sender, err := callback.New(b, callback.Options{Logger: logger, Through: receiver{}})
	if err != nil {
		t.Fatal(err)
	}
	backups := backup.New(b, backup.Options{Directory: path + "-backups", Logger: logger})
	wire := httpapi.New(b, httpapi.Options{Logger: logger})
	a, err := admin.New(b, admin.Options{Version: "test", Logger: logger, Callbacks: sender, Backups: backups, Refusals: wire.Refusals(), LastLines: func() []byte { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	a.API.Cluster = threeNodes()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, gate.RootPath) {
			a.ServeHTTP(w, r)
		} else {
			wire.ServeHTTP(w, r)
		}
	}))
	calls := &conformity{t: t, doc: openAPI(t), next: server.Client().Transport}
	r := &apiRig{t: t, b: b, a: a, store: store, url: server.URL, calls: calls,
		client: &http.Client{Transport: calls, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	t.Cleanup(func() {
		b.Drain()
		server.Close()
		a.Close()
		if err := errors.Join(backups.Stop(), sender.Stop(), b.Close()); err != nil {
			t.Error(err)
		}
		store, err := db.Open(path, db.Options{Logger: logger})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(store.Check(), store.Close()); err != nil {
			t.Error(err)
		}
	})
	who := access.Caller{Actor: gate.Actor{Name: "ada", Via: "web", Addr: "192.0.2.1", Access: gate.Admin}}
	token := func(name, scope string) string {
		made, err := a.Users.CreateToken(t.Context(), who, access.NewToken{Name: name, Scope: scope, Expires: access.Never})
		if err != nil {
			t.Fatal(err)
		}
		return made.Token
	}
	r.adminToken, r.writeToken, r.readToken, r.expiredToken = token("boss", gate.ScopeAdmin), token("writer", gate.ScopeWrite), token("reader", gate.ScopeRead), former
	return r
}

// apiAnswer is what came back.
type apiAnswer struct {
	*http.Response
	body []byte
}

// into decodes the body.
func (a apiAnswer) into(t *testing.T, v any) {
	t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		t.Fatalf("%v in %s", err, a.body)
	}
}

// field returns a field of the body.
func (a apiAnswer) field(t *testing.T, name string) any {
	t.Helper()
	var m map[string]any
	a.into(t, &m)
	return m[name]
}

// do makes a request below /admin/api/v1, or of another path where it begins with a slash twice, with
// a body that is a string, marshalled or missing. headers are names and values; the token is the
// one of scope admin, unless there is an Authorization.
func (r *apiRig) do(method, path string, body any, headers ...string) apiAnswer {
	r.t.Helper()
	var in io.Reader
	switch v := body.(type) {
	case nil:
	case string:
		in = strings.NewReader(v)
	case []byte:
		in = bytes.NewReader(v)
	default:
		b, err := json.Marshal(v)
		if err != nil {
			r.t.Fatal(err)
		}
		in = bytes.NewReader(b)
	}
	u := r.url + gate.V1 + path
	if wire, ok := strings.CutPrefix(path, "//"); ok {
		u = r.url + "/" + wire
	}
	req, err := http.NewRequestWithContext(r.t.Context(), method, u, in)
	if err != nil {
		r.t.Fatal(err)
	}
	if in != nil {
		req.Header.Set("Content-Type", api.TypeJSON)
	}
	req.Header.Set("Authorization", "Bearer "+r.adminToken)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Del(headers[i])
		if headers[i+1] != "" {
			req.Header.Set(headers[i], headers[i+1])
		}
	}
	resp, err := r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return apiAnswer{resp, b}
}

// ok makes a request that must be answered with a status.
func (r *apiRig) ok(status int, method, path string, body any, headers ...string) apiAnswer {
	r.t.Helper()
	a := r.do(method, path, body, headers...)
	if a.StatusCode != status {
		r.t.Fatalf("%s %s: %s %s, want %d", method, path, a.Status, a.body, status)
	}
	return a
}

// refused makes a request that must be refused, and returns the problem.
func (r *apiRig) refused(status int, code, method, path string, body any, headers ...string) gate.Problem {
	r.t.Helper()
	a := r.do(method, path, body, headers...)
	var p gate.Problem
	if a.Header.Get("Content-Type") != api.TypeProblem {
		r.t.Errorf("%s %s: %s %s %s", method, path, a.Status, a.Header.Get("Content-Type"), a.body)
		return p
	}
	a.into(r.t, &p)
	if a.StatusCode != status || p.Status != status || p.Code != code || p.Type != gate.ProblemPrefix+code || p.Title == "" || p.Detail == "" && status < 500 {
		r.t.Errorf("%s %s: %s %s, want %d %s", method, path, a.Status, a.body, status, code)
	}
	return p
}

// object is a body.
type jsonObject = map[string]any

// example makes a client crm that publishes to /customer/created and a client erp that consumes from
// it, and returns the consumer.
func (r *apiRig) example() object.Consumer {
	r.t.Helper()
	r.ok(201, "POST", "/topics", jsonObject{"name": "/customer/created"})
	r.ok(201, "POST", "/clients", jsonObject{"username": "crm", "name": "CRM", "password": "crm"})
	r.ok(201, "POST", "/clients", jsonObject{"username": "erp", "name": "ERP", "password": "erp"})
	r.ok(201, "POST", "/producers", jsonObject{"client": "crm", "topic": "/customer/created"})
	var c object.Consumer
	r.ok(201, "POST", "/consumers", jsonObject{"client": "erp", "topic": "/customer/created"}).into(r.t, &c)
	return c
}

// openAPI loads the document.
var openAPI = func() func(*testing.T) *openapi3.T {
	load := sync.OnceValues(func() (*openapi3.T, error) {
		doc, err := openapi3.NewLoader().LoadFromFile("../api/openapi.json")
		if err != nil {
			return nil, err
		}
		openapi3filter.RegisterBodyDecoder("application/octet-stream", openapi3filter.FileBodyDecoder)
		openapi3filter.RegisterBodyDecoder("text/event-stream", openapi3filter.FileBodyDecoder)
		openapi3filter.RegisterBodyDecoder("application/xml", openapi3filter.FileBodyDecoder)
		return doc, doc.Validate(context.Background())
	})
	return func(t *testing.T) *openapi3.T {
		t.Helper()
		doc, err := load()
		if err != nil {
			t.Fatal(err)
		}
		return doc
	}
}()

// conformity holds what passes to the document: every answer is one that it describes, and every
// request that was not refused.
type conformity struct {
	t    *testing.T
	doc  *openapi3.T
	next http.RoundTripper

	lenientWire bool // clients of the wire protocol may be answered that are not as described

	mu   sync.Mutex
	seen map[string]bool // operations that were answered well
}

func (c *conformity) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		var err error
		if body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
		req.Body = io.NopCloser(bytes.NewReader(body))
	}
	resp, err := c.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(answer))
	route, params := c.find(req)
	if route == nil {
		if resp.StatusCode/100 == 2 {
			c.t.Errorf("%s %s: answered, and not described", req.Method, req.URL)
		}
		return resp, nil
	}
	again := req.Clone(req.Context())
	again.GetBody = nil
	again.Body = io.NopCloser(bytes.NewReader(bytes.TrimPrefix(body, []byte("\ufeff")))) // which the server skips, too
	if len(body) == 0 {
		again.Body = http.NoBody
	}
	in := &openapi3filter.RequestValidationInput{Request: again, PathParams: params, Route: route, Options: &openapi3filter.Options{
		ExcludeReadOnlyValidations: true, // what is read alone may be sent back
		SkipSettingDefaults:        true,
		IncludeResponseStatus:      true,
		AuthenticationFunc:         openapi3filter.NoopAuthenticationFunc,
	}}
	if resp.StatusCode < 300 {
		lenient := c.lenientWire && !strings.HasPrefix(route.Path, gate.V1)
		if err := openapi3filter.ValidateRequest(req.Context(), in); err != nil && !lenient {
			c.t.Errorf("%s %s: answered with %s, and the description would not allow it: %v\n%s", req.Method, req.URL, resp.Status, err, body)
		}
		c.mu.Lock()
		if c.seen == nil {
			c.seen = map[string]bool{}
		}
		c.seen[route.Operation.OperationID] = true
		c.mu.Unlock()
	}
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: resp.StatusCode, Header: resp.Header, Options: in.Options}
	out.SetBodyBytes(answer)
	if err := openapi3filter.ValidateResponse(req.Context(), out); err != nil {
		c.t.Errorf("%s %s: the answer is not as described: %v\n%s", req.Method, req.URL, err, answer)
	}
	return resp, nil
}

// find returns the operation of a request. A topic's name may have slashes in the wire protocol.
func (c *conformity) find(req *http.Request) (*routers.Route, map[string]string) {
	full := strings.TrimPrefix(req.URL.EscapedPath(), "/")
	if strings.HasPrefix(full, "zato/") {
		full = strings.Trim(full, "/")
	}
	for path, item := range c.doc.Paths.Map() {
		op := item.GetOperation(req.Method)
		if op == nil {
			continue
		}
		given, want := strings.Split(full, "/"), strings.Split(strings.TrimPrefix(path, "/"), "/")
		if strings.HasPrefix(path, "/zato/pubsub/") && strings.HasSuffix(path, "}") && len(given) >= len(want) {
			rest := strings.Join(given[len(want)-1:], "/")
			given = append(given[:len(want)-1:len(want)-1], url.PathEscape(rest))
		}
		if len(want) != len(given) {
			continue
		}
		params := map[string]string{}
		for i := range want {
			if name, ok := strings.CutPrefix(want[i], "{"); ok {
				value, err := url.PathUnescape(given[i])
				if err != nil {
					return nil, nil
				}
				params[strings.TrimSuffix(name, "}")] = value
			} else if want[i] != given[i] {
				params = nil
				break
			}
		}
		if params != nil {
			return &routers.Route{Spec: c.doc, Path: path, PathItem: item, Method: req.Method, Operation: op}, params
		}
	}
	return nil, nil
}

// TestOpenAPIDescribesRoutes holds the document and the router to each other, in both directions. The wire protocol has a test
// of its own.
func TestOpenAPIDescribesRoutes(t *testing.T) {
	// The names of parameters may differ.
	normal := func(method, path string) string {
		segments := strings.Split(path, "/")
		for i, s := range segments {
			if s != "" && strings.ContainsRune(":*{", rune(s[0])) {
				segments[i] = "{}"
			}
		}
		return method + " " + strings.Join(segments, "/")
	}
	scopes := map[string]string{}
	for path, item := range openAPI(t).Paths.Map() {
		if !strings.HasPrefix(path, gate.RootPath) {
			continue
		}
		for method, op := range item.Operations() {
			scope, _ := op.Extensions["x-scope"].(string)
			scopes[normal(method, path)] = scope
		}
	}
	routes := map[string]bool{}
	a := &api.API{Objects: &object.Objects{}}
	for _, rt := range a.Routes() {
		k := normal(rt.Method, rt.Path)
		routes[k] = true
		want := rt.Access.String()
		if scope, ok := scopes[k]; !ok {
			t.Errorf("%s is not described", k)
		} else if scope != want || want == "" {
			t.Errorf("%s: described with the scope %q, it is %q", k, scope, want)
		}
	}
	for k := range scopes {
		if !routes[k] {
			t.Errorf("%s is described, and no route", k)
		}
	}
}

// TestOpenAPICodes holds the codes of problems to the document.
func TestOpenAPICodes(t *testing.T) {
	described := map[string]bool{}
	for _, v := range openAPI(t).Components.Schemas["Problem"].Value.Properties["code"].Value.Enum {
		described[v.(string)] = true
		if gate.Titles[v.(string)] == "" {
			t.Errorf("%v has no title", v)
		}
	}
	for code := range gate.Titles {
		if !described[code] {
			t.Errorf("%s is not described", code)
		}
	}
}

// TestCredentials asks for every operation of the document without credentials, with wrong ones, with
// those that are over, and with a token of each scope: what it has not is refused by its name.
func TestCredentials(t *testing.T) {
	r := newAPIRig(t)
	c := r.example()
	r.ok(201, "POST", "/webhooks", jsonObject{"name": "x", "topic": "/customer/created", "client": "crm", "verify": "token", "secret": []string{"a long secret of it"}})
	at := func(path string) string {
		for from, to := range map[string]string{
			"/clients/{client}": "/clients/erp",
			"/topics/{topic}":   "/topics/%2Fcustomer%2Fcreated",
			"/producers/{id}":   fmt.Sprintf("/producers/%d", r.b.Producers()[0].ID),
			"/consumers/{id}":   fmt.Sprintf("/consumers/%d", c.ID),
		} {
			path = strings.Replace(path, from, to, 1)
		}
		for strings.Contains(path, "{") {
			i, j := strings.Index(path, "{"), strings.Index(path, "}")
			path = path[:i] + "x" + path[j+1:]
		}
		return path
	}
	before, err := r.a.Objects.Export()
	if err != nil {
		t.Fatal(err)
	}
	bodies := func(op *openapi3.Operation) (any, []string) {
		if op.RequestBody == nil {
			return nil, nil
		}
		for kind := range op.RequestBody.Value.Content {
			return "{}", []string{"Content-Type", kind}
		}
		return nil, nil
	}
	each := func(do func(method, path string, op *openapi3.Operation, scope string)) {
		for path, item := range r.calls.doc.Paths.Map() {
			for method, op := range item.Operations() {
				scope, _ := op.Extensions["x-scope"].(string)
				do(method, "/"+at(path), op, scope)
			}
		}
	}
	operations := 0
	each(func(method, path string, op *openapi3.Operation, scope string) {
		operations++
		body, headers := bodies(op)
		with := func(credentials string) apiAnswer {
			t.Helper()
			return r.do(method, path, body, append(headers, "Authorization", credentials)...)
		}
		switch {
		case strings.HasPrefix(path, "//hook/"): // what its sender has signed, and a question that says who asks
			if a := with("Bearer wrong"); a.StatusCode != map[string]int{"POST": 401, "OPTIONS": 405}[method] {
				t.Errorf("%s %s: %s", method, path, a.Status)
			}
			return
		case op.Security != nil && len(*op.Security) == 0: // open to everybody
			if a := with(""); a.StatusCode >= 400 {
				t.Errorf("%s %s without credentials: %s", method, path, a.Status)
			}
			return
		case scope == "": // of the wire
			for _, credentials := range []string{"", "Basic ZXJwOndyb25n", "Bearer " + r.writeToken} {
				if a := with(credentials); a.StatusCode != 401 || a.Header.Get("WWW-Authenticate") == "" {
					t.Errorf("%s %s with %q: %s", method, path, credentials, a.Status)
				}
			}
			return
		}
		for name, credentials := range map[string]string{
			"no credentials":      "",
			"a token of nobody":   "Bearer pipit_00000000000000000000000000",
			"an expired token":    "Bearer " + r.expiredToken,
			"an empty token":      "Bearer ",
			"a client's password": "Basic ZXJwOmVycA==",
		} {
			a := with(credentials)
			if a.StatusCode != 401 || a.Header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s %s with %s: %s %s", method, path, name, a.Status, a.body)
			}
		}
		for has, token := range map[gate.Access]string{gate.Read: r.readToken, gate.Write: r.writeToken} {
			if has >= gate.AccessOf(scope) {
				continue // below
			}
			p := r.refused(403, "forbidden", method, path, body, append(headers, "Authorization", "Bearer "+token)...)
			if want := fmt.Sprintf("The token's scope is %s: this takes one of scope %s", has, scope); p.Detail != want {
				t.Errorf("%s %s: %q, want %q", method, path, p.Detail, want)
			}
		}
	})
	after, err := r.a.Objects.Export()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, after) || len(r.a.Users.Tokens()) != 4 {
		t.Errorf("without the right to it something was changed: %s", after)
	}
	each(func(method, path string, op *openapi3.Operation, scope string) {
		if scope == "" || method == "DELETE" {
			return
		}
		body, headers := bodies(op)
		for has, token := range map[gate.Access]string{gate.Read: r.readToken, gate.Write: r.writeToken, gate.Admin: r.adminToken} {
			if has < gate.AccessOf(scope) {
				continue
			}
			if a := r.do(method, path, body, append(headers, "Authorization", "Bearer "+token)...); a.StatusCode == 401 || a.StatusCode == 403 {
				t.Errorf("%s %s with a token of the scope %s: %s %s", method, path, has, a.Status, a.body)
			}
		}
	})
	if operations < 55 {
		t.Errorf("%d operations are too few to be all", operations)
	}
}

// TestStrictness asks for every operation with what none of them takes: a parameter that is not
// known, a body of another type, and one that is broken off.
func TestStrictness(t *testing.T) {
	r := newAPIRig(t)
	r.example()
	before, err := r.a.Objects.Export()
	if err != nil {
		t.Fatal(err)
	}
	for path, item := range r.calls.doc.Paths.Map() {
		api, ok := strings.CutPrefix(path, gate.V1)
		if !ok {
			continue
		}
		api = strings.NewReplacer("{client}", "erp", "{administrator}", "ada", "{id}", "1", "{topic}", "%2Fcustomer%2Fcreated").Replace(api)
		for method, op := range item.Operations() {
			var body any
			kind := ""
			if op.RequestBody != nil {
				body = "{}"
				for kind = range op.RequestBody.Value.Content {
					break
				}
				r.refused(415, "unsupported_type", method, api, "{}", "Content-Type", "text/plain")
				r.refused(400, "malformed", method, api, `{"a`, "Content-Type", kind)
				r.refused(400, "malformed", method, api, "", "Content-Type", kind)
			}
			p := r.refused(422, "invalid", method, api+"?nonsense=1", body, "Content-Type", kind)
			if len(p.Errors) != 1 || p.Errors[0].Parameter != "nonsense" {
				t.Errorf("%s %s: errors %v", method, api, p.Errors)
			}
		}
	}
	after, err := r.a.Objects.Export()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, after) {
		t.Errorf("something was changed: %s", after)
	}
}
