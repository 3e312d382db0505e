// Package openapi is what a document of OpenAPI 3.1 is made of: its parts, which keep their order, and schemas that are
// read from Go types, with the types' doc comments for descriptions. It knows nothing of what is described, and no server
// needs it: documents are made when the code is changed.
package openapi

import (
	"bytes"
	"encoding/json"
	"strings"
)

// Document is a whole document.
type Document struct {
	OpenAPI    string                `json:"openapi"`
	Info       Info                  `json:"info"`
	Servers    []Server              `json:"servers"`
	Security   []Requirement         `json:"security"`
	Tags       []Tag                 `json:"tags"`
	Paths      Map[*Map[*Operation]] `json:"paths"` // by path, and then by method in small letters
	Components Components            `json:"components"`
}

// Info says what is described.
type Info struct {
	Title       string  `json:"title"`
	Version     string  `json:"version"`
	Summary     string  `json:"summary"`
	Description string  `json:"description"`
	Contact     Contact `json:"contact"`
	License     License `json:"license"`
}

// Contact says whom to ask.
type Contact struct {
	Name string `json:"name"`
}

// License is that of what is described; Identifier is one of SPDX.
type License struct {
	Name       string `json:"name"`
	Identifier string `json:"identifier"`
}

// Server is where the paths begin.
type Server struct {
	URL string `json:"url"`
}

// Requirement names a security scheme, with nothing more to ask of it.
type Requirement map[string][]string

// Require returns one requirement for each scheme: any of them will do. Without schemes it is what needs none.
func Require(schemes ...string) []Requirement {
	list := []Requirement{}
	for _, s := range schemes {
		list = append(list, Requirement{s: {}})
	}
	return list
}

// Tag is a heading for operations.
type Tag struct {
	Name        string `json:"name"`
	Description string `json:"description"`
}

// Operation is a method of a path.
type Operation struct {
	ID          string         `json:"operationId"`
	Tags        []string       `json:"tags"`
	Summary     string         `json:"summary"`
	Description string         `json:"description"`
	Scope       string         `json:"x-scope,omitempty"` // what a token needs
	Security    []Requirement  `json:"security,omitzero"` // nil: that of the document
	Parameters  []Parameter    `json:"parameters,omitempty"`
	Body        *Body          `json:"requestBody,omitempty"`
	Responses   Map[*Response] `json:"responses"` // by status
}

// Parameter is one of a query, a path or a header, or a reference to one of the components.
type Parameter struct {
	Ref         string  `json:"$ref,omitempty"`
	Name        string  `json:"name,omitempty"`
	In          string  `json:"in,omitempty"`
	Required    bool    `json:"required,omitempty"`
	Description string  `json:"description,omitempty"`
	Schema      *Schema `json:"schema,omitempty"`
}

// Body is that of a request.
type Body struct {
	Required    bool         `json:"required"`
	Description string       `json:"description,omitempty"`
	Content     Map[Content] `json:"content"` // by media type
}

// Response is an answer, or a reference to one of the components.
type Response struct {
	Ref         string       `json:"$ref,omitempty"`
	Description string       `json:"description,omitempty"`
	Headers     Map[Header]  `json:"headers,omitempty"`
	Content     Map[Content] `json:"content,omitempty"` // by media type
}

// Header is one of an answer.
type Header struct {
	Description string  `json:"description,omitempty"`
	Schema      *Schema `json:"schema"`
}

// Content is what a body of a media type holds; without a Schema, anything.
type Content struct {
	Schema *Schema `json:"schema,omitempty"`
}

// Components are what the rest refers to by name.
type Components struct {
	SecuritySchemes Map[SecurityScheme] `json:"securitySchemes"`
	Parameters      Map[Parameter]      `json:"parameters"`
	Responses       Map[*Response]      `json:"responses"`
	Schemas         Map[*Schema]        `json:"schemas"`
}

// SecurityScheme is a way to say who asks.
type SecurityScheme struct {
	Type        string `json:"type"`
	Scheme      string `json:"scheme,omitempty"` // of the type http: basic or bearer
	In          string `json:"in,omitempty"`
	Name        string `json:"name,omitempty"`
	Description string `json:"description"`
}

// Map is an object of JSON that keeps the order of its members.
type Map[V any] []Member[V]

// Member is one of a Map.
type Member[V any] struct {
	Name  string
	Value V
}

// Get returns the value of a member, and whether there is one.
func (m Map[V]) Get(name string) (value V, ok bool) {
	for _, member := range m {
		if member.Name == name {
			return member.Value, true
		}
	}
	return value, false
}

// Set gives a member another value, or adds it at the end.
func (m *Map[V]) Set(name string, value V) {
	for i := range *m {
		if (*m)[i].Name == name {
			(*m)[i].Value = value
			return
		}
	}
	*m = append(*m, Member[V]{name, value})
}

// MarshalJSON writes the members in their order.
func (m Map[V]) MarshalJSON() ([]byte, error) {
	out := []byte{'{'}
	for i, member := range m {
		if i > 0 {
			out = append(out, ',')
		}
		name, err := marshal(member.Name)
		if err != nil {
			return nil, err
		}
		value, err := marshal(member.Value)
		if err != nil {
			return nil, err
		}
		out = append(append(append(out, name...), ':'), value...)
	}
	return append(out, '}'), nil
}

// JSON returns the document as a file: indented, with a line feed at the end.
func (d *Document) JSON() ([]byte, error) {
	compact, err := marshal(d)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = json.Indent(&out, compact, "", "  ")
	return append(out.Bytes(), '\n'), err
}

// marshal is json.Marshal without the escapes that only a script within a page needs.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// Add adds an operation at a path.
func (d *Document) Add(method, path string, op *Operation) {
	at, ok := d.Paths.Get(path)
	if !ok {
		at = &Map[*Operation]{}
		d.Paths.Set(path, at)
	}
	at.Set(strings.ToLower(method), op)
}

// AnyNames returns a path without the names of its parameters: that of a router, with :name or *name, is then that of a
// document, with {name}.
func AnyNames(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		if s != "" && strings.ContainsRune(":*{", rune(s[0])) {
			segments[i] = "{}"
		}
	}
	return strings.Join(segments, "/")
}
