package api

import (
	"bytes"
	"flag"
	"net/http"
	"os"
	"slices"
	"strconv"
	"testing"

	"pipit/admin/access"
	"pipit/admin/gate"
	"pipit/admin/object"
	"pipit/admin/openapi"
)

var write = flag.Bool("openapi", false, "have TestOpenAPIIsCurrent write openapi.json")

// TestOpenAPIIsCurrent makes the document of the routes, of the types that they read and answer, of the tables of fields, and of
// what is said here in words.
func TestOpenAPIIsCurrent(t *testing.T) {
	made, err := apiDocument(t).JSON()
	if err != nil || t.Failed() {
		t.Fatal("no document", err)
	}
	if *write {
		if err := os.WriteFile("openapi.json", made, 0o644); err != nil { // #nosec G306 -- a source file
			t.Fatal(err)
		}
		return
	}
	if bytes.Equal(made, openAPI) {
		return
	}
	is, want := bytes.Split(openAPI, []byte("\n")), bytes.Split(made, []byte("\n"))
	for i := range min(len(is), len(want)) {
		if !bytes.Equal(is[i], want[i]) {
			t.Fatalf("openapi.json is not what the code says, from line %d: %s\nwanted is %s\nrun: go generate ./admin/api", i+1, is[i], want[i])
		}
	}
	t.Fatal("openapi.json is not what the code says\nrun: go generate ./admin/api")
}

// apiDocument makes the document.
func apiDocument(t *testing.T) *openapi.Document {
	t.Helper()
	d := &openapi.Document{
		OpenAPI: "3.1.0",
		Info: openapi.Info{
			Title:       "Pipit",
			Version:     "1",
			Summary:     "A REST publish/subscribe broker: its administration and its wire protocol.",
			Description: "The admin API takes a token (Authorization: Bearer) or the cookie of a session. Times are UTC with microseconds. Lists are paged: next is the cursor of the next page. Every error is a problem of RFC 9457 with a stable code. Query parameters and fields that are not known are refused. On a loopback address a Host that is not this server's is answered with 421, misdirected. A name in a path is escaped, %2F for each slash; or the path has a - in its place and the query has the name, as in /admin/api/v1/topics/-?name=/customer/created.",
			Contact:     openapi.Contact{Name: "Who runs this broker"},
			License:     openapi.License{Name: "Apache-2.0", Identifier: "Apache-2.0"},
		},
		Servers:  []openapi.Server{{URL: "/"}},
		Security: openapi.Require("bearer", "cookie"),
		Components: openapi.Components{
			SecuritySchemes: openapi.Map[openapi.SecurityScheme]{
				{Name: "bearer", Value: openapi.SecurityScheme{Type: "http", Scheme: "bearer",
					Description: "A token. Its scope is read, write or admin, and each includes those before it: an operation takes one of its x-scope at the least."}},
				{Name: "cookie", Value: openapi.SecurityScheme{Type: "apiKey", In: "cookie", Name: access.SessionCookie,
					Description: "The session of an administrator. Under TLS its name is __Host-pipit_session."}},
				{Name: "basic", Value: openapi.SecurityScheme{Type: "http", Scheme: "basic", Description: "A client's username and password."}},
			},
			Parameters: parameters,
			Responses:  append(problems(), wireRefusals()...),
			Schemas:    schemas(),
		},
	}
	scopes := map[string]string{}
	for _, rt := range (&API{Objects: &object.Objects{}}).Routes() {
		scopes[rt.Method+" "+openapi.AnyNames(rt.Path)] = rt.Access.String()
	}
	for _, g := range groups {
		d.Tags = append(d.Tags, openapi.Tag{Name: g.tag, Description: g.text})
		for _, op := range g.operations {
			route := op.method + " " + openapi.AnyNames(gate.V1+op.path)
			if scopes[route] == "" {
				t.Errorf("%s is described, and no route", route)
			}
			d.Add(op.method, gate.V1+op.path, op.ofTheAPI(g.tag, scopes[route]))
			delete(scopes, route)
		}
	}
	for route := range scopes {
		t.Errorf("%s is not described: groups needs a line for it", route)
	}
	d.Tags = append(d.Tags, openapi.Tag{Name: "wire", Description: "What clients speak."})
	for _, op := range wireOperations {
		d.Add(op.method, op.path, op.onTheWire())
	}
	return d
}

// problems are the responses that say why the API refuses.
func problems() openapi.Map[*openapi.Response] {
	var all openapi.Map[*openapi.Response]
	for _, p := range []struct {
		name, text string
		header     string
	}{
		{"Malformed", "The body or query cannot be read: malformed.", ""},
		{"Unauthorized", "No credentials, or none that are valid: unauthorized.", "WWW-Authenticate"},
		{"Forbidden", "Nobody has set Pipit up: not_set_up. The change comes from another origin: cross_origin. For routes of the scope write: a token of the scope read: forbidden.", ""},
		{"NotFound", "There is no such thing: not_found.", ""},
		{"Exists", "It exists already: exists.", ""},
		{"Inactive", "The topic is not active: inactive.", ""},
		{"NobodyToAlert", "The configuration of the server names nobody: inactive.", ""},
		{"Leads", "The node leads, or has lost nothing: inactive.", ""},
		{"LastAdministrator", "It is the last one, and somebody has to be left: last_administrator.", ""},
		{"Changed", "It is not in the revision that is asked for: changed.", ""},
		{"TooLarge", "The body is too large, or an import has too many objects: too_large.", ""},
		{"UnsupportedType", "The body is of another type: unsupported_type.", ""},
		{"Invalid", "A value is not allowed: invalid.", ""},
		{"Full", "The topic or a backlog is full: full.", "Retry-After"},
		{"Internal", "A fault of Pipit: internal. The log has the cause.", ""},
		{"Unavailable", "Shutting down, or overloaded: unavailable.", "Retry-After"},
		{"DiskFull", "There is no room on the disk, nothing was stored: disk_full.", ""},
	} {
		all.Set(p.name, &openapi.Response{Description: p.text, Headers: headers(p.header), Content: content("Problem", TypeProblem)})
	}
	return all
}

// ofTheAPI is what the document says of an operation of the API.
func (op operation) ofTheAPI(tag, scope string) *openapi.Operation {
	out := &openapi.Operation{ID: op.id, Tags: []string{tag}, Summary: op.summary, Description: op.text, Scope: scope}
	refusals := append([]refused{
		{400, "Malformed"}, {401, "Unauthorized"}, {403, "Forbidden"}, {422, "Invalid"}, {500, "Internal"}, {503, "Unavailable"},
	}, op.refused...)
	var instead []openapi.Parameter
	for i, c := range op.path {
		if p := inPath[op.path[:i+1]]; c == '}' {
			out.Parameters, instead = append(out.Parameters, p[0]), append(instead, p[1:]...)
		}
	}
	if out.Parameters != nil {
		refusals = append(refusals, refused{404, "NotFound"})
	}
	out.Parameters = slices.Concat(out.Parameters, instead, op.parameters)
	if op.method != "GET" {
		refusals = append(refusals, refused{507, "DiskFull"})
	}
	if slices.Contains(op.parameters, shared("ifMatch")) {
		refusals = append(refusals, refused{412, "Changed"})
	}
	if op.body != "" {
		types := []string{TypeJSON}
		if op.method == "PATCH" {
			types = []string{TypePatch, TypeJSON}
		}
		out.Body = &openapi.Body{Required: true, Content: content(op.body, types...)}
		refusals = append(refusals, refused{413, "TooLarge"}, refused{415, "UnsupportedType"})
	}
	out.Responses = op.replies()
	refuse(&out.Responses, refusals)
	return out
}

// replies are the responses of what was not refused.
func (op operation) replies() openapi.Map[*openapi.Response] {
	r := &openapi.Response{Description: "Done.", Headers: headers(op.headers...)}
	switch op.reply {
	case "":
	case "bytes":
		r.Content = openapi.Map[openapi.Content]{{Name: "application/octet-stream"}}
	case "object":
		r.Content = openapi.Map[openapi.Content]{{Name: TypeJSON, Value: openapi.Content{Schema: &openapi.Schema{Type: "object"}}}}
	default:
		r.Content = content(op.reply, TypeJSON)
	}
	if op.status == http.StatusCreated {
		r.Description = "Made."
	}
	all := openapi.Map[*openapi.Response]{{Name: strconv.Itoa(max(http.StatusOK, op.status)), Value: r}}
	if slices.Contains(op.parameters, shared("ifNoneMatch")) {
		all.Set("304", &openapi.Response{Description: "It is what the caller has.", Headers: headers("ETag")})
	}
	return all
}

// refuse adds what a request is refused with, by status.
func refuse(to *openapi.Map[*openapi.Response], list []refused) {
	slices.SortFunc(list, func(x, y refused) int { return x.status - y.status })
	for _, r := range list {
		to.Set(strconv.Itoa(r.status), &openapi.Response{Ref: "#/components/responses/" + r.response})
	}
}

// content is a body of a schema of the components, in any of the media types.
func content(schema string, types ...string) openapi.Map[openapi.Content] {
	var all openapi.Map[openapi.Content]
	for _, t := range types {
		all.Set(t, openapi.Content{Schema: openapi.Ref(schema)})
	}
	return all
}

// headers are those of a response.
func headers(names ...string) openapi.Map[openapi.Header] {
	known := map[string]openapi.Header{
		"Accept-Encoding":     {Description: "Those that are.", Schema: &anyText},
		"Content-Disposition": {Schema: &anyText},
		"Content-Length":      {Description: "Bytes.", Schema: &openapi.Schema{Type: "integer"}},
		"ETag":                {Description: "For If-Match and If-None-Match.", Schema: &anyText},
		"Location":            {Description: "Path of what was made.", Schema: &anyText},
		"Retry-After":         {Description: "Seconds until it makes sense to try again.", Schema: &openapi.Schema{Type: "integer", Minimum: new(int64(1))}},
		"WWW-Authenticate":    {Schema: &anyText},
		"X-Zato-CID":          {Description: "Id of the request.", Schema: &anyText},
		"X-Zato-Duplicate":    {Description: "The topic has seen the msg_id within its dedup window: it is not stored again.", Schema: &openapi.Schema{Type: "string", Pattern: "^true$"}},
	}
	var all openapi.Map[openapi.Header]
	for _, name := range names {
		if name != "" {
			all.Set(name, known[name])
		}
	}
	return all
}
