package acceptance

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"pipit/admin/access"
	"pipit/admin/api"
	"pipit/admin/gate"
)

var (
	fuzzTime = flag.Duration("schemafuzz", 0, "how long TestSchemaFuzz makes requests; 0: some hundred of them")
	fuzzSeed = flag.Uint64("schemafuzz.seed", 0, "seed of TestSchemaFuzz; 0: another one each time")
)

// TestSchemaFuzz makes requests of the OpenAPI document by chance, those that it allows and some that
// it nearly does. No answer is a fault of the server, or one that the document does not describe; and
// what the document forbids is not done.
func TestSchemaFuzz(t *testing.T) {
	seed := *fuzzSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed: -schemafuzz.seed %d", seed)
	f := newSchemaFuzzer(t, seed)
	rounds := 16
	if testing.Short() {
		rounds = 4
	}
	begin, asked := time.Now(), 0
	for round := 0; round < rounds || time.Since(begin) < *fuzzTime; round++ {
		f.restore()
		f.odd = 0
		if round%4 == 3 {
			f.odd = 0.2 * f.rnd.Float64()
		}
		for _, i := range f.rnd.Perm(len(f.operations)) {
			f.wrongIn = -1
			if round%2 == 1 {
				f.wrongIn = f.rnd.IntN(10)
			}
			f.ask(&f.operations[i])
			asked++
		}
		if t.Failed() {
			break
		}
	}
	t.Logf("%d requests, %d of %d operations were answered well", asked, len(f.r.calls.seen), len(f.operations))
	if 2*len(f.r.calls.seen) < len(f.operations) {
		t.Error("too few requests were any good")
	}
}

// operation is one of the document.
type operation struct {
	method, path string
	*openapi3.Operation
}

func (o *operation) wire() bool { return !strings.HasPrefix(o.path, gate.V1) }

// schemaFuzzer makes requests of schemas.
type schemaFuzzer struct {
	t          *testing.T
	r          *apiRig
	rnd        *rand.Rand
	operations []operation
	odd        float64             // how likely each part of a request is not as the schema says
	wrongIn    int                 // after how many values of a request one is not as the schema says; negative: none
	known      map[string][]string // values that exist or did, by what they are
	hash       string              // of the password of every client that it knows
}

func newSchemaFuzzer(t *testing.T, seed uint64) *schemaFuzzer {
	f := &schemaFuzzer{t: t, r: newAPIRig(t), rnd: rand.New(rand.NewPCG(seed, 0)), known: map[string][]string{}, hash: watchedHash}
	f.r.calls.lenientWire = true
	for path, item := range f.r.calls.doc.Paths.Map() {
		for method, op := range item.Operations() {
			f.operations = append(f.operations, operation{method, path, op})
		}
	}
	slices.SortFunc(f.operations, func(x, y operation) int { return strings.Compare(x.OperationID, y.OperationID) })
	return f
}

// restore makes that there is something to ask for, whatever was deleted or switched off.
func (f *schemaFuzzer) restore() {
	const topic = "/fuzz/one"
	body := jsonObject{"version": 1,
		"topics":    []jsonObject{{"name": topic}, {"name": "two", "expiration": 0}},
		"clients":   []jsonObject{{"username": "crm", "password_hash": f.hash}, {"username": "erp", "password_hash": f.hash}},
		"producers": []jsonObject{{"client": "crm", "topic": topic}, {"client": "erp", "topic": topic}},
		"consumers": []jsonObject{{"client": "crm", "topic": topic}, {"client": "erp", "topic": topic}}}
	a := f.r.do("POST", "/import", body)
	if a.StatusCode == http.StatusUnauthorized { // its token was deleted
		f.newTokens()
		a = f.r.do("POST", "/import", body)
	}
	if a.StatusCode != http.StatusOK {
		f.t.Fatalf("%s %s", a.Status, a.body)
	}
	for _, name := range []string{topic, "two"} {
		f.know("topic", name)
	}
	for _, name := range []string{"crm", "erp"} {
		f.know("client", name)
	}
	f.learn("messages", f.r.do("GET", "/messages?topic="+topic, nil).body)
	f.learn("consumers", f.r.do("GET", "/consumers?topic="+topic, nil).body)
}

func (f *schemaFuzzer) newTokens() {
	for scope, to := range map[string]*string{gate.ScopeAdmin: &f.r.adminToken, gate.ScopeRead: &f.r.readToken} {
		made, err := f.r.a.Users.CreateToken(f.t.Context(), access.Caller{Actor: gate.Actor{Name: gate.CommandLine, Access: gate.Admin}}, access.NewToken{Name: fmt.Sprint("fuzz ", f.rnd.Uint64()), Scope: scope})
		if err != nil {
			f.t.Fatal(err)
		}
		*to = made.Token
	}
}

func (f *schemaFuzzer) chance(p float64) bool { return f.rnd.Float64() < p }

func pick[T any](f *schemaFuzzer, list ...T) T { return list[f.rnd.IntN(len(list))] }

// ask makes a request of an operation. What the answer is held to, the rig's client does.
func (f *schemaFuzzer) ask(op *operation) {
	f.t.Helper()
	limit := 30 * time.Second
	if op.OperationID == "stream" {
		limit = 50 * time.Millisecond // it does not end
	}
	ctx, cancel := context.WithTimeout(f.t.Context(), limit)
	defer cancel()
	req := f.request(ctx, op)
	resp, err := f.r.client.Do(req)
	if err != nil {
		if op.OperationID != "stream" || ctx.Err() == nil {
			f.t.Errorf("%s %s: %v", req.Method, req.URL, err)
		}
		return
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	if resp.StatusCode >= 500 {
		f.t.Errorf("%s %s: %s %s", req.Method, req.URL, resp.Status, body)
	}
	if tag := resp.Header.Get("ETag"); tag != "" {
		f.know("revision", tag)
	}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), api.TypeJSON) {
		f.learn(op.Tags[0], body)
	}
	if resp.StatusCode == http.StatusUnauthorized && !op.wire() {
		f.newTokens()
	}
}

func (f *schemaFuzzer) request(ctx context.Context, op *operation) *http.Request {
	path, query, header := op.path, url.Values{}, http.Header{}
	for _, ref := range op.Parameters {
		p := ref.Value
		s, given := f.parameter(op, p)
		switch p.In {
		case "path":
			escaped := url.PathEscape(s)
			if op.wire() && p.Name != "id" && f.chance(0.8) {
				escaped = strings.ReplaceAll(escaped, "%2F", "/")
			}
			path = strings.Replace(path, "{"+p.Name+"}", strings.ReplaceAll(escaped, ".", "%2E"), 1)
		case "query":
			if given {
				query.Add(p.Name, s)
			}
			if f.chance(f.odd / 8) {
				query.Add(p.Name, s)
			}
		case "header":
			if given {
				header.Set(p.Name, s)
			}
		}
	}
	if f.chance(f.odd / 4) {
		query.Set("nonsense", "1")
	}
	var body io.Reader
	if op.RequestBody != nil {
		b, kind := f.body(op)
		body = bytes.NewReader(b)
		header.Set("Content-Type", kind)
	}
	req, err := http.NewRequestWithContext(ctx, op.method, f.r.url+path, body)
	if err != nil {
		f.t.Fatal(err)
	}
	req.URL.RawQuery = query.Encode()
	req.Header = header
	switch {
	case f.chance(f.odd / 16):
	case op.wire():
		req.SetBasicAuth(pick(f, "crm", "erp"), pick(f, "secret", "secret", "secret", "secret", "secret", "wrong"))
	case f.chance(f.odd / 4):
		req.Header.Set("Authorization", "Bearer "+f.r.readToken)
	default:
		req.Header.Set("Authorization", "Bearer "+f.r.adminToken)
	}
	return req
}

// parameter makes the text of a parameter, and tells whether it is given.
func (f *schemaFuzzer) parameter(op *operation, p *openapi3.Parameter) (string, bool) {
	given := p.Required && !f.chance(f.odd/4) || f.chance(0.3)
	kind := p.Name
	switch {
	case p.In == "query" && p.Name == "name": // of what the path has a - for
		kind, given = strings.TrimSuffix(op.Tags[0], "s"), f.chance(f.odd/2)
	case p.In == "query" && (p.Name == "msg_id" || p.Name == "username") && !op.wire():
		kind, given = map[string]string{"msg_id": "msg_id", "username": "client"}[p.Name], f.chance(f.odd/2)
	case p.In == "path" && f.chance(f.odd/4):
		return "-", true
	case p.Name == "key" && op.OperationID == "settle", p.Name == "id" && op.Tags[0] == "messages":
		kind = "msg_id"
	case p.Name == "key":
		kind = "topic"
	case p.Name == "id":
		kind = "id of " + op.Tags[0]
	case p.Name == "consumer":
		kind = "id of consumers"
	case strings.HasPrefix(p.Name, "If-"):
		kind = "revision"
		given = f.chance(0.2)
	case p.Name == "X-Zato-PubSub-Key":
		kind = "sub_key"
	case p.Name == "wait" && f.odd == 0: // within bounds it would take as long
		return "0", given
	}
	var v any
	if v = f.value(p.Schema.Value, kind); kind == "wait" && f.odd > 0 {
		v = pick[any](f, "0", "61", "-1", "x", "")
	}
	s := ""
	switch x := v.(type) {
	case nil:
	case string:
		s = x
	case []any, map[string]any:
		s = "[]"
	case float64:
		s = string(mustJSON(x))
	default:
		s = fmt.Sprint(x)
	}
	if p.In == "header" { // what a client can send
		s = strings.Map(func(r rune) rune {
			if r < ' ' || r > '~' {
				return -1
			}
			return r
		}, s)
	}
	if p.In == "path" && s == "" {
		s = " " // an empty one is another route
	}
	return s, given
}

// body makes a body and says of which type it is.
func (f *schemaFuzzer) body(op *operation) (body []byte, kind string) {
	content := op.RequestBody.Value.Content
	kind = pick(f, slices.Sorted(maps.Keys(content))...)
	switch {
	case strings.HasSuffix(kind, "json") && content[kind].Schema != nil:
		body = mustJSON(f.value(content[kind].Schema.Value, ""))
	case kind == "*/*":
		kind = pick(f, "text/plain", "application/octet-stream", "application/x-www-form-urlencoded", api.TypeJSON)
		body = []byte(f.text(0, 200))
	default: // lines of a batch
		for range 1 + f.rnd.IntN(3) {
			line := f.value(f.r.calls.doc.Components.Schemas["Publication"].Value, "")
			if m, ok := line.(map[string]any); ok {
				delete(m, "payload_base64")
			}
			body = append(append(body, mustJSON(line)...), '\n')
		}
	}
	switch {
	case !f.chance(f.odd / 2):
	case f.chance(0.3):
		kind = pick(f, "text/plain", "application/json; charset=latin1", "nonsense")
	case f.chance(0.3) && len(body) > 0:
		body = body[:f.rnd.IntN(len(body))]
	case f.chance(0.3):
		body = append(body, pick(f, "x", "{}", "\xff", "\x00", ",", "]")...)
	case len(body) > 1 && body[0] == '{':
		body = append([]byte(`{"name": "twice", "name": 1, `), body[1:]...)
	}
	return body, kind
}

// value makes a value of a schema. kind says what it is, where that is known.
func (f *schemaFuzzer) value(s *openapi3.Schema, kind string) any {
	f.wrongIn--
	if f.wrongIn == -1 || f.chance(f.odd) {
		return f.wrong(s)
	}
	wrong := f.wrongIn >= 0 || f.odd > 0
	// Conditions are few: it is tried until they hold.
	for range 50 {
		v := f.attempt(s, kind)
		if s.If == nil || wrong || s.VisitJSON(plainJSON(v), openapi3.EnableJSONSchema2020(), openapi3.VisitAsRequest()) == nil {
			return v
		}
	}
	f.t.Fatalf("no value of %s", kind)
	return nil
}

func (f *schemaFuzzer) attempt(s *openapi3.Schema, kind string) any {
	switch {
	case len(s.OneOf) > 0:
		return f.value(pick(f, s.OneOf...).Value, kind)
	case len(s.Enum) > 0:
		return pick(f, s.Enum...)
	case s.Type == nil || s.Type.IsEmpty():
		return pick[any](f, nil, "x", 1, []any{}, map[string]any{"x": []any{map[string]any{}}})
	}
	switch pick(f, s.Type.Slice()...) {
	case "null":
		return nil
	case "boolean":
		return f.chance(0.5)
	case "number":
		return f.rnd.NormFloat64()
	case "integer":
		return f.integer(s, kind)
	case "string":
		return f.string(s, kind)
	case "array":
		return f.array(s, kind)
	default:
		return f.object(s)
	}
}

func (f *schemaFuzzer) integer(s *openapi3.Schema, kind string) any {
	if list := f.known[kind]; len(list) > 0 && f.chance(0.8) {
		return json.Number(pick(f, list...))
	}
	least, most := int64(0), int64(1_000_000)
	if s.Min != nil {
		least = int64(*s.Min)
	}
	if s.Max != nil {
		most = int64(*s.Max)
	}
	return pick(f, least, most, least+f.rnd.Int64N(most-least+1), least+f.rnd.Int64N(min(100, most-least+1)))
}

func (f *schemaFuzzer) string(s *openapi3.Schema, kind string) string {
	if list := f.known[kind]; len(list) > 0 && f.chance(0.8) {
		return pick(f, list...)
	}
	least, most := int(s.MinLength), 40
	if s.MaxLength != nil {
		most = int(*s.MaxLength)
	}
	switch {
	case s.Format == "date-time" || kind == "expires":
		return time.Now().Add(time.Duration(f.rnd.IntN(7200)-600) * time.Second).UTC().Format(time.RFC3339)
	case strings.HasPrefix(s.Pattern, "^([0-9]+|([0-9]+d)?(0|"): // of durations, also in lists
		return pick(f, "1s", "1h30m0s", "30s", "+1.5m", ".5h", "1000000µs", "0", "0s", "24h", "721h", "-1s", "45", "2d", "1d12h", "1d48h")
	case kind == "password_hash":
		return f.hash
	case kind == "payload_base64":
		return base64.StdEncoding.EncodeToString([]byte(f.text(0, 20)))
	case kind == "sub_key" || kind == "msg_id":
		return fmt.Sprintf("K%d._-", f.rnd.Uint64())
	case f.chance(0.05):
		return strings.Repeat("x", most)
	default:
		return f.text(least, min(most, least+20))
	}
}

// text makes a text of characters that are hard on a parser, a URL or a page.
func (f *schemaFuzzer) text(least, most int) string {
	characters := []rune("abcXYZ019/_-.~ %+&=#?;*'\"<>\\ü€😀")
	out := make([]rune, least+f.rnd.IntN(most-least+1))
	for i := range out {
		out[i] = pick(f, characters...)
	}
	if s := strings.TrimSpace(string(out)); len([]rune(s)) == len(out) && !strings.HasSuffix(s, "/") {
		return s
	}
	return strings.Repeat("a", len(out))
}

func (f *schemaFuzzer) array(s *openapi3.Schema, kind string) any {
	n := int(s.MinItems) + f.rnd.IntN(3)
	if s.MaxItems != nil {
		n = min(n, int(*s.MaxItems))
		if f.chance(f.odd / 8) {
			n = int(*s.MaxItems) + 1
		}
	}
	list := make([]any, 0, n)
	for range n {
		list = append(list, f.value(s.Items.Value, map[string]string{"ids": "msg_id", "ack": "msg_id", "reject": "msg_id"}[kind]))
	}
	return list
}

func (f *schemaFuzzer) object(s *openapi3.Schema) any {
	m := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		p := s.Properties[name].Value
		switch {
		case p.ReadOnly: // nobody looks at it, so that it may be anything
			if f.chance(0.1) {
				odd, wrongIn := f.odd, f.wrongIn
				f.odd, f.wrongIn = 0, -1
				m[name] = f.value(p, name)
				f.odd, f.wrongIn = odd, wrongIn
			}
		case slices.Contains(s.Required, name) && !f.chance(f.odd/2), f.chance(0.4):
			m[name] = f.value(p, name)
		}
	}
	if f.chance(f.odd/4) || len(m) < int(s.MinProps) {
		m["nonsense"] = 1
	}
	return m
}

// wrong makes a value that a schema does not allow, most likely.
func (f *schemaFuzzer) wrong(s *openapi3.Schema) any {
	list := []any{nil, true, 0, -1, 1.5, 1e300, json.Number("1e2"), json.Number("9223372036854775808"), "", "x", "0", " ", "\x00", "a\u009fb",
		strings.Repeat("x", 5000), []any{}, []any{nil}, map[string]any{}, map[string]any{"x": 1}}
	if s.Max != nil && *s.Max < 1<<52 {
		list = append(list, int64(*s.Max)+1)
	}
	if s.Min != nil {
		list = append(list, int64(*s.Min)-1)
	}
	if s.MaxLength != nil {
		list = append(list, strings.Repeat("ü", int(*s.MaxLength)), strings.Repeat("x", int(*s.MaxLength)+1))
	}
	return pick(f, list...)
}

// learn notes the values of an answer.
func (f *schemaFuzzer) learn(tag string, body []byte) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v any
	if d.Decode(&v) == nil {
		f.learnValue(tag, v)
	}
}

func (f *schemaFuzzer) learnValue(tag string, v any) {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			f.learnValue(tag, item)
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			f.learnValue(tag, v[name])
			if _, isText := v[name].(string); !isText && name != "id" {
				continue
			}
			s := fmt.Sprint(v[name])
			switch name {
			case "username":
				f.know("client", s)
			case "next":
				f.know("cursor", s)
			case "id":
				f.know("id of "+tag, s)
			case "name":
				f.know(strings.TrimSuffix(tag, "s"), s)
			case "client", "topic", "msg_id", "sub_key", "revision":
				f.know(name, s)
			}
		}
	}
}

func (f *schemaFuzzer) know(kind, s string) {
	list := f.known[kind]
	switch {
	case slices.Contains(list, s):
	case len(list) < 30:
		f.known[kind] = append(list, s)
	default:
		list[f.rnd.IntN(len(list))] = s
	}
}

func mustJSON(v any) []byte {
	b, err := gate.Marshal(v)
	if err != nil {
		panic(err) // of what was made here: never
	}
	return b
}

// plainJSON is a value as a decoder makes it.
func plainJSON(v any) (out any) {
	if err := json.Unmarshal(mustJSON(v), &out); err != nil {
		panic(err)
	}
	return out
}
