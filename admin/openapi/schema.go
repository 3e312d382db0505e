package openapi

import "reflect"

// Schema says what a value of JSON can be, or refers to a schema of the components.
type Schema struct {
	Ref         string `json:"$ref,omitempty"`
	Type        any    `json:"type,omitempty"` // a name, or several
	Format      string `json:"format,omitempty"`
	Description string `json:"description,omitempty"`

	Enum            []any  `json:"enum,omitempty"`
	Default         any    `json:"default,omitempty"`
	Examples        []any  `json:"examples,omitempty"`
	Pattern         string `json:"pattern,omitempty"`
	ContentEncoding string `json:"contentEncoding,omitempty"`
	MinLength       *int   `json:"minLength,omitempty"` // characters
	MaxLength       *int   `json:"maxLength,omitempty"`
	Minimum         *int64 `json:"minimum,omitempty"`
	Maximum         *int64 `json:"maximum,omitempty"`

	Items       *Schema `json:"items,omitempty"`
	MinItems    *int    `json:"minItems,omitempty"`
	MaxItems    *int    `json:"maxItems,omitempty"`
	UniqueItems bool    `json:"uniqueItems,omitempty"`

	Properties           Map[*Schema] `json:"properties,omitempty"`
	Required             []string     `json:"required,omitempty"`
	MinProperties        *int         `json:"minProperties,omitempty"`
	MaxProperties        *int         `json:"maxProperties,omitempty"`
	AdditionalProperties any          `json:"additionalProperties,omitempty"` // a *Schema, or a bool

	If    *Schema   `json:"if,omitempty"`
	Then  *Schema   `json:"then,omitempty"`
	Else  *Schema   `json:"else,omitempty"`
	OneOf []*Schema `json:"oneOf,omitempty"`

	ReadOnly  bool `json:"readOnly,omitempty"`
	WriteOnly bool `json:"writeOnly,omitempty"`
}

// With returns a copy that has what more says, too, and in place of what s says.
func (s Schema) With(more Schema) *Schema {
	to, from := reflect.ValueOf(&s).Elem(), reflect.ValueOf(more)
	for i := range from.NumField() {
		if f := from.Field(i); !f.IsZero() {
			to.Field(i).Set(f)
		}
	}
	return &s
}

// Sized returns a copy in which a whole number, unless its bounds or values show that 32 bits hold it, has 64.
func (s Schema) Sized() *Schema {
	if s.Type == "integer" && s.Enum == nil && (s.Maximum == nil || *s.Maximum >= 1<<31) {
		s.Format = "int64"
	}
	return &s
}

// OrNull returns a copy that may be null as well.
func (s Schema) OrNull() *Schema {
	if s.Ref != "" {
		return &Schema{OneOf: []*Schema{{Ref: s.Ref}, {Type: "null"}}, ReadOnly: s.ReadOnly, WriteOnly: s.WriteOnly}
	}
	s.Type = []any{s.Type, "null"}
	if s.Enum != nil {
		s.Enum = append(s.Enum[:len(s.Enum):len(s.Enum)], nil)
	}
	return &s
}

// Ref refers to a schema of the components.
func Ref(name string) *Schema { return &Schema{Ref: "#/components/schemas/" + name} }

// Array returns the schema of a list.
func Array(items *Schema) *Schema { return &Schema{Type: "array", Items: items} }

// Enum returns the schema of a text that is one of the values.
func Enum[S ~string](values ...S) *Schema {
	s := &Schema{Type: "string"}
	for _, v := range values {
		s.Enum = append(s.Enum, string(v))
	}
	return s
}

// Integer returns the schema of a whole number within bounds.
func Integer(least, most int64) *Schema {
	return Schema{Type: "integer", Minimum: &least, Maximum: &most}.Sized()
}

// Add adds a property to an object.
func (s *Schema) Add(name string, property *Schema, required bool) {
	s.Properties.Set(name, property)
	if required {
		s.Required = append(s.Required, name)
	}
}
