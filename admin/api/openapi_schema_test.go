package api

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"pipit/admin/access"
	"pipit/admin/alert"
	"pipit/admin/audit"
	"pipit/admin/gate"
	"pipit/admin/monitor"
	"pipit/admin/object"
	"pipit/admin/openapi"
	"pipit/broker"
	"pipit/broker/browse"
	"pipit/broker/change"
	"pipit/broker/limit"
	"pipit/broker/login"
	"pipit/broker/property"
)

// Schemas that stand in several places.
var (
	anyText     = openapi.Schema{Type: "string"}
	someText    = openapi.Schema{Type: "string", MinLength: new(1)}
	flags       = openapi.Schema{Type: "string", Enum: []any{"true", "false"}, Default: "false"} // of a query
	numbers     = openapi.Schema{Type: "integer", Format: "int64", Minimum: new(int64(1)), Maximum: new(int64(1<<32 - 1))}
	priorities  = *openapi.Integer(limit.MinPriority, limit.MaxPriority).With(openapi.Schema{Default: limit.DefaultPriority})
	expirations = *openapi.Integer(1, limit.MaxExpiration)
	delays      = *openapi.Integer(0, limit.MaxDelay).With(openapi.Schema{Default: 0})
	mimeTypes   = openapi.Schema{MinLength: new(1), MaxLength: new(limit.MaxMIMEType)}
	states      = *openapi.Enum(browse.Waiting, browse.InFlight, browse.Deferred, browse.Delayed, browse.Done)
	scopeNames  = *openapi.Enum(gate.ScopeRead, gate.ScopeWrite, gate.ScopeAdmin)
	times       = openapi.Schema{Type: "string", Format: "date-time", Examples: []any{"2026-01-31T12:00:00.000000Z"}}
	durations   = openapi.Schema{Type: "string", Pattern: `^([0-9]+|([0-9]+d)?(0|(([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)|[0-9]+d|[+-](0|(([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+))$`}
)

// apiTypes reads the schemas of the types of the API.
func apiTypes() *openapi.Types {
	types := &openapi.Types{
		Known: map[reflect.Type]openapi.Schema{
			reflect.TypeFor[gate.Time]():     times,
			reflect.TypeFor[time.Time]():     times,
			reflect.TypeFor[change.Action](): *openapi.Enum(change.Create, change.Update, change.Keep),
			reflect.TypeFor[change.Kind]():   *openapi.Enum(change.Client, change.Topic, change.Producer, change.Consumer, change.Webhook),
		},
		Names: map[reflect.Type]string{},
	}
	for _, n := range nouns {
		types.Names[reflect.TypeOf(n.answer)] = n.name
		types.Names[reflect.TypeOf(n.definition)] = n.stem() + "Definition"
	}
	for _, s := range slices.Concat(answers, requests) {
		types.Names[reflect.TypeOf(s.of)] = s.name
	}
	return types
}

// schemas are those of the components.
func schemas() openapi.Map[*openapi.Schema] {
	types := apiTypes()
	var all openapi.Map[*openapi.Schema]
	for _, n := range nouns {
		n.describe(types, &all)
	}
	for _, s := range answers {
		all.Set(s.name, s.answer(types))
	}
	for _, s := range requests {
		all.Set(s.name, s.request(types))
	}
	return append(append(all, otherSchemas...), wireSchemas...)
}

// typed is a schema that is made of a Go type.
type typed struct {
	name   string
	of     any // a value of the type
	fields map[string]openapi.Schema
	more   openapi.Schema // of the whole
	must   []string       // of a request: what it cannot do without
}

var answers = []typed{
	{name: "ClientList", of: gate.List[object.Client]{}},
	{name: "TopicList", of: gate.List[object.Topic]{}},
	{name: "ProducerList", of: gate.List[object.Producer]{}},
	{name: "WebhookList", of: gate.List[object.Webhook]{}},
	{name: "ConsumerList", of: gate.List[object.Consumer]{}},
	{name: "Deleted", of: object.Deleted{}},
	{name: "Gone", of: Gone{}},
	{name: "Deletion", of: Deletion{}},
	{name: "Deletions", of: Deletions{}},
	{name: "Restored", of: Restored{}},
	{name: "Affected", of: Affected{}},
	{name: "CallbackState", of: object.CallbackState{}, fields: map[string]openapi.Schema{
		"state": *openapi.Enum(object.CallbackSending, object.CallbackFailing, object.CallbackPaused).With(openapi.Schema{Description: "How it fares."}),
	}},
	{name: "Queue", of: Queue{}},
	{name: "Queues", of: Queues{}},
	{name: "Attempt", of: Attempt{}},
	{name: "Attempts", of: Attempts{}},
	{name: "DeadLetter", of: object.DeadLetter{}},
	{name: "Message", of: object.Message{}, fields: map[string]openapi.Schema{
		"priority": *openapi.Integer(limit.MinPriority, limit.MaxPriority),
		"state":    states,
	}, more: openapi.Schema{Description: "A message that is stored.", Properties: openapi.Map[*openapi.Schema]{ // what Message writes by itself
		{Name: "payload", Value: &openapi.Schema{Type: "string", Description: "The payload, or its beginning; absent where none was asked for."}},
		{Name: "encoding", Value: openapi.Enum(object.EncodingBase64).With(openapi.Schema{Description: "base64 where the payload is not UTF-8 and is in base64."})},
	}}},
	{name: "MessageList", of: MessagePage{}},
	{name: "Standing", of: object.Standing{}, fields: map[string]openapi.Schema{"state": states}},
	{name: "MessageDetail", of: MessageDetail{}},
	{name: "Trace", of: object.Trace{}, fields: map[string]openapi.Schema{"priority": *openapi.Integer(limit.MinPriority, limit.MaxPriority)}},
	{name: "TraceEvent", of: object.TraceEvent{}, fields: map[string]openapi.Schema{
		"what": *openapi.Enum(object.TraceEvents...).With(openapi.Schema{Description: "What happened."}),
	}},
	{name: "Traces", of: Traces{}},
	{name: "Published", of: Published{}},
	{name: "Released", of: Released{}},
	{name: "Redriven", of: Redriven{}},
	{name: "Acted", of: Acted{}},
	{name: "Sought", of: Sought{}},
	{name: "Database", of: Database{}},
	{name: "Attention", of: monitor.Attention{}, fields: map[string]openapi.Schema{
		"code": {Examples: []any{monitor.CodeAway}},
		"kind": *openapi.Enum(change.Topic, change.Consumer, change.Webhook, change.Client).With(openapi.Schema{Description: "What it is about."}),
	}},
	{name: "Check", of: monitor.Check{}, fields: map[string]openapi.Schema{"code": {Examples: []any{monitor.CheckFetch}}}},
	{name: "Why", of: Why{}},
	{name: "Refusal", of: monitor.Refusal{}},
	{name: "RefusalList", of: gate.List[monitor.Refusal]{}},
	{name: "Failures", of: object.Failures{}},
	{name: "Stats", of: Stats{}},
	{name: "History", of: monitor.History{}},
	{name: "FieldChange", of: object.FieldChange{}},
	{name: "PlanAction", of: object.PlanAction{}},
	{name: "MadeKey", of: object.MadeKey{}},
	{name: "MadeSecret", of: object.MadeSecret{}},
	{name: "Import", of: object.Import{}},
	{name: "Connected", of: object.Connected{}},
	{name: "Alerts", of: Alerts{}},
	{name: "AlertReceiver", of: AlertReceiver{}, fields: map[string]openapi.Schema{
		"name": *openapi.Enum(alert.Webhook, alert.Mail).With(openapi.Schema{Description: "By which way it is told."}),
	}},
	{name: "Alert", of: Alert{}},
	{name: "AlertSent", of: AlertSent{}},
	{name: "AlertTest", of: AlertTest{}},
	{name: "AlertTested", of: AlertTested{}},
	{name: "ClusterStatus", of: monitor.ClusterStatus{}},
	{name: "ClusterNode", of: monitor.ClusterNode{}, fields: map[string]openapi.Schema{
		"role": *openapi.Enum("leader", "follower", "joining").With(openapi.Schema{Description: "joining: it has not caught up yet, and has no vote."}),
	}},
	{name: "Heir", of: Heir{}},
	{name: "Backup", of: Backup{}},
	{name: "Compacted", of: Compacted{}},
	{name: "BackupList", of: gate.List[Backup]{}},
	{name: "Token", of: access.Token{}, fields: map[string]openapi.Schema{"scope": scopeNames}},
	{name: "TokenList", of: gate.List[access.Token]{}},
	{name: "Administrator", of: access.Administrator{}},
	{name: "AdministratorList", of: gate.List[access.Administrator]{}},
	{name: "Session", of: access.Session{}},
	{name: "SessionList", of: gate.List[access.Session]{}},
	{name: "Ended", of: ended{}},
	{name: "Entry", of: audit.Entry{}, fields: map[string]openapi.Schema{
		"count":  {Minimum: new(int64(1))},
		"kind":   *openapi.Ref("EntryKind"),
		"action": {Examples: []any{"topic.create"}},
	}},
	{name: "EntryList", of: gate.List[audit.Entry]{}},
	{name: "Setting", of: gate.Setting{}},
	{name: "SystemInfo", of: systemInfo{}},
	{name: "Problem", of: gate.Problem{}, fields: map[string]openapi.Schema{
		"type":   {Format: "uri"},
		"status": *openapi.Integer(400, 599),
		"code":   *openapi.Enum(slices.Sorted(maps.Keys(gate.Titles))...),
		"errors": {MinItems: new(1)},
	}},
	{name: "FieldError", of: gate.FieldError{}},
}

var requests = []typed{
	{name: "Publication", of: publicationBody{}, fields: map[string]openapi.Schema{
		"payload_base64": {ContentEncoding: object.EncodingBase64},
		"mime_type":      *mimeTypes.With(openapi.Schema{Default: limit.DefaultMIMEType}),
		"priority":       priorities,
		"expiration":     expirations,
		"delay":          delays,
		"deliver_at":     *someText.With(openapi.Schema{Examples: []any{"2026-11-23T09:00:00"}}),
		"msg_id":         {MinLength: new(1), MaxLength: new(limit.MaxMessageID)},
		"correlation_id": {MaxLength: new(limit.MaxCorrelationID)},
		"reply_to":       {MaxLength: new(limit.MaxReplyTo)},
		"attributes":     attributes,
	}, more: openapi.Schema{
		If:   having("payload", anyText),
		Then: ifAny("payload_base64", openapi.Schema{Type: "null"}),
		Else: having("payload_base64", anyText),
	}},
	{name: "MessageIDs", of: messageIDs{}, must: []string{"ids"}, fields: map[string]openapi.Schema{
		"ids": {MinItems: new(1), MaxItems: new(limit.MaxSettle)},
	}},
	{name: "Seek", of: seekBody{}},
	{name: "Connection", of: object.Connection{}, must: []string{"sender", "receiver", "topic"}, fields: map[string]openapi.Schema{
		"sender":     someText,
		"receiver":   someText,
		"topic":      someText,
		"expiration": *openapi.Integer(0, limit.MaxExpiration).With(openapi.Schema{Default: object.ConnectExpiration}),
	}},
	{name: "Redrive", of: redriveBody{}, fields: map[string]openapi.Schema{
		"ids":    {MaxItems: new(limit.MaxSettle)},
		"reason": *openapi.Enum("", broker.ReasonMaxDeliveries, broker.ReasonRejected, broker.ReasonExpired, broker.ReasonOverflow),
	}},
	{name: "Definitions", of: object.Definitions{}, must: []string{"version"}, fields: map[string]openapi.Schema{
		"version": {Enum: []any{object.DefinitionsVersion}},
	}, more: openapi.Schema{Description: "All objects as they are defined. What an object does not say is the default. Clients are known by username, topics and webhooks by name, producers by client and topic, consumers by sub_key or, without one, by client and topic."}},
	{name: "NewNode", of: newNode{}, must: []string{"node", "addr"}, fields: map[string]openapi.Schema{"node": someText, "addr": someText}},
	{name: "NewLeader", of: newLeader{}},
	{name: "NewToken", of: access.NewToken{}, must: []string{"name"}, fields: map[string]openapi.Schema{
		"name":             someText,
		"scope":            scopeNames,
		"current_password": {WriteOnly: true},
	}},
	{name: "NewAdministrator", of: NewAdministrator{}, must: []string{"name", "password"}, fields: map[string]openapi.Schema{
		"name":             someText,
		"password":         newPasswords,
		"current_password": {WriteOnly: true},
	}},
	{name: "NewPassword", of: newPassword{}, must: []string{"password"}, fields: map[string]openapi.Schema{
		"password":         newPasswords,
		"current_password": {WriteOnly: true},
	}},
}

var newPasswords = openapi.Schema{MinLength: new(access.MinPassword), MaxLength: new(login.MaxPassword), WriteOnly: true}

// otherSchemas are those that no Go type has.
var otherSchemas = openapi.Map[*openapi.Schema]{
	{Name: "EntryKind", Value: openapi.Enum(audit.Kinds...).With(openapi.Schema{
		Description: "access: administrators, tokens, sessions and the set-up. secret: passwords of clients that were changed, sub_keys that were shown or changed, exports, backups. refusal: of sign-ins, tokens and set-up keys that were wrong. edit: all else.",
	})},
	{Name: "ZatoList", Value: openapi.Array(&openapi.Schema{Type: "object", AdditionalProperties: true}).With(openapi.Schema{
		Description: "What a service of Zato lists.",
	})},
	{Name: "ZatoDocument", Value: &openapi.Schema{Type: "object", MinProperties: new(1), AdditionalProperties: true,
		Description: "Several lists: topics is the list of zato.pubsub.topics.get-list, or the answer around it; producers and consumers are those of zato.pubsub.producers.get-list and zato.pubsub.consumers.get-list by the name of a topic, or one list whose items have a topic_name; outgoing is what zato.http-soap.get-list answers of outgoing connections, for the consumers that are called back. Or an answer of Zato, such as zato_pubsub_topics_get_list_response. What else is in it is left out of account."}},
	{Name: "ZatoLists", Value: &openapi.Schema{OneOf: []*openapi.Schema{openapi.Ref("ZatoList"), openapi.Ref("ZatoDocument")},
		Description: "The list that the parameter list names, the answer of Zato around it, or an object with several of them."}},
}

// having returns the condition that an object has a property of a schema.
func having(name string, s openapi.Schema) *openapi.Schema {
	return ifAny(name, s).With(openapi.Schema{Required: []string{name}})
}

// ifAny returns the condition that a property, where an object has it, is of a schema.
func ifAny(name string, s openapi.Schema) *openapi.Schema {
	return &openapi.Schema{Properties: openapi.Map[*openapi.Schema]{{Name: name, Value: &s}}}
}

// orNull returns a schema that may be null as well, if it is so.
func orNull(s *openapi.Schema, so bool) *openapi.Schema {
	if so {
		return s.OrNull()
	}
	return s
}

// answer returns the schema of what is answered: a field that is never left out is required.
func (s *typed) answer(types *openapi.Types) *openapi.Schema {
	object := s.object(types)
	for _, f := range types.Fields(reflect.TypeOf(s.of)) {
		object.Add(f.Name, s.field(f), !f.Optional)
	}
	return object
}

// request returns the schema of what is read: a field that is not required may be null, which stands for its default.
func (s *typed) request(types *openapi.Types) *openapi.Schema {
	object := s.object(types)
	for _, f := range types.Fields(reflect.TypeOf(s.of)) {
		if slices.Contains(s.must, f.Name) {
			object.Add(f.Name, s.field(f), true)
		} else {
			object.Add(f.Name, tellDefault(s.field(f)).OrNull(), false)
		}
	}
	return object
}

func (s *typed) object(types *openapi.Types) *openapi.Schema {
	return openapi.Schema{Type: "object", Description: types.Describe(reflect.TypeOf(s.of)), AdditionalProperties: false}.With(s.more)
}

func (s *typed) field(f openapi.Field) *openapi.Schema {
	more := s.fields[f.Name]
	if more.Ref != "" {
		return &more
	}
	return f.Schema.With(more).Sized()
}

// tellDefault says in words what is the default of a field that may be null. A default of JSON Schema has generators of
// clients send it.
func tellDefault(s *openapi.Schema) *openapi.Schema {
	told := *s
	if s.Default != nil {
		told.Description += fmt.Sprintf(" Default: %v.", s.Default)
		told.Default = nil
	}
	return &told
}

// noun is a kind of object: what the document says beside what its fields and types do. Each kind has four schemas: of
// what is answered, of what creates an object, of what edits one, and of one in an export.
type noun struct {
	name       string // of the schemas
	answer     any    // a value of the type
	definition any    // and of that in an export
	settings   []setting
	unanswered []string // settings that no answer has
	create     openapi.Schema
	edit       openapi.Schema // and a definition
}

// setting is a field that can be set.
type setting struct {
	name     string
	schema   openapi.Schema
	required bool
	fixed    bool // for good: an edit cannot make it the default either
	once     bool // for who creates it alone
	optional bool // left out where it is empty
}

var nouns = []noun{
	{name: "ClientAccount", answer: object.Client{}, definition: object.ClientDefinition{}, settings: settings(broker.ClientFields), unanswered: []string{"password", "password_hash"},
		create: openapi.Schema{Description: "Exactly one of password and password_hash is needed.",
			If: having("password", someText), Then: noHash, Else: having("password_hash", someText)},
		edit: openapi.Schema{Description: "Not both of password and password_hash.", If: having("password", someText), Then: noHash}},
	{name: "Topic", answer: object.Topic{}, definition: object.TopicDefinition{}, settings: settings(broker.TopicFields)},
	{name: "Producer", answer: object.Producer{}, definition: object.ProducerDefinition{}, settings: settings(broker.ProducerFields)},
	{name: "Consumer", answer: object.Consumer{}, definition: object.ConsumerDefinition{}, settings: settings(broker.ConsumerFields)},
	{name: "Webhook", answer: object.Webhook{}, definition: object.WebhookDefinition{}, settings: settings(broker.WebhookFields), unanswered: []string{"secret"}},
}

var noHash = ifAny("password_hash", openapi.Schema{MaxLength: new(0)})

// settings are those of the table of a noun.
func settings[T any](fields property.Fields[T]) []setting {
	var zero T
	var list []setting
	for i := range fields {
		f := &fields[i]
		help := strings.ReplaceAll(f.Help, "`", "")
		if f.Fixed && !f.Secret && !f.Once {
			help += "; it is for good"
		}
		s := openapi.Schema{Description: openapi.Sentence(help), Default: f.Default}
		if f.Example != "" {
			s.Examples = []any{f.Example}
		}
		switch f.Value(&zero).(type) {
		case string:
			s.Type, s.Pattern = "string", f.Pattern
			if f.Required {
				s.MinLength = new(1)
			}
			if f.Max > 0 {
				s.MaxLength = new(int(f.Max))
			}
			for _, o := range f.Options {
				if f.Other == "" {
					s.Enum = append(s.Enum, o.Value)
				}
			}
		case bool:
			s.Type = "boolean"
		case int64:
			s = *openapi.Integer(f.Min, f.Max).With(s)
		case time.Duration:
			s = *durations.With(s)
			s.Default = fmt.Sprint(f.Default)
			s.Examples = []any{s.Default}
			s.Description += fmt.Sprintf(` It is %s, written as "30s", "1h30m0s" or "7d".`, f.Allowed())
		case property.Size:
			s = *openapi.Integer(f.Min, f.Max).With(s)
			s.Description += " It is in bytes."
		case property.Durations:
			s = *listSchema(f, &durations, s)
			if byDefault, ok := f.Default.(property.Durations); ok {
				s.Default = byDefault
			}
			s.Description += fmt.Sprintf(` Each is %s, written as "30s", "1h30m0s" or "7d".`, f.Allowed())
		case property.Texts:
			s = *listSchema(f, &openapi.Schema{Type: "string", MinLength: new(1), MaxLength: length(f), Pattern: f.Pattern}, s)
		case property.Table:
			s.Type, s.AdditionalProperties = "object", &openapi.Schema{Type: "string", MinLength: new(1), MaxLength: length(f)}
			s.MaxProperties, s.Default, s.Examples = new(f.Most()), nil, nil
		}
		list = append(list, setting{f.Name, s, f.Required, f.Fixed && (f.Required || f.Secret), f.Once, f.Secret || f.Fixed && !f.Required})
	}
	return list
}

// listSchema is that of a field that is a list.
func listSchema[T any](f *property.Field[T], items *openapi.Schema, s openapi.Schema) *openapi.Schema {
	list := openapi.Array(items).With(s)
	list.MaxItems = new(f.Most())
	if f.Required {
		list.MinItems = new(1)
	}
	if f.Example != "" {
		list.Examples = []any{[]string{f.Example}}
	}
	return list
}

// length is that of an item of a list or table, nil where there is no limit of its own.
func length[T any](f *property.Field[T]) *int {
	if f.Max == 0 {
		return nil
	}
	return new(int(f.Max))
}

// stem is the name without what only keeps it apart from the names that generators of clients have for themselves.
func (n *noun) stem() string { return strings.TrimSuffix(n.name, "Account") }

// describe adds the four schemas of a noun.
func (n *noun) describe(types *openapi.Types, all *openapi.Map[*openapi.Schema]) {
	const readAlone = "Fields that are read alone are left out of account"
	object := func(name, text string, more openapi.Schema) *openapi.Schema {
		more.Description = strings.TrimSpace(text + " " + more.Description)
		s := openapi.Schema{Type: "object", AdditionalProperties: false}.With(more)
		all.Set(name, s)
		return s
	}
	answer := object(n.name, types.Describe(reflect.TypeOf(n.answer)), openapi.Schema{})
	create := object("New"+n.name, "What is created. "+readAlone+", so that what another Pipit answered can be sent.", n.create)
	edit := object(n.stem()+"Patch", "A JSON merge patch (RFC 7396): what is not given stays, null stands for the default. "+readAlone+
		", but for revision: it is what the object must have, as If-Match.", n.edit)
	definition := object(n.stem()+"Definition", types.Describe(reflect.TypeOf(n.answer)), n.edit)

	for _, s := range n.settings { // which come first
		hidden := s.once || slices.Contains(n.unanswered, s.name)
		if !hidden {
			answer.Add(s.name, &s.schema, !s.optional)
		}
		given := tellDefault(&s.schema).With(openapi.Schema{WriteOnly: hidden})
		changed := s.schema.With(openapi.Schema{WriteOnly: hidden})
		changed.Examples, changed.Default = nil, nil
		create.Add(s.name, orNull(given, !s.required), s.required)
		if !s.once {
			edit.Add(s.name, orNull(changed, !s.fixed), false)
			defined := *changed
			defined.WriteOnly = false
			definition.Add(s.name, orNull(&defined, !s.required), s.required)
		}
	}
	for _, f := range types.Fields(reflect.TypeOf(n.answer)) {
		s := f.Schema.With(openapi.Schema{ReadOnly: true})
		if f.Name == "id" {
			s.Minimum = new(int64(1))
		}
		answer.Add(f.Name, s.Sized(), !f.Optional || f.Name == "id" || f.Name == "revision") // which objects have that exist
		create.Add(f.Name, s.Sized(), false)
		s.Examples = nil
		edit.Add(f.Name, s.Sized().OrNull(), false)
	}
}
