package admin

import (
	"maps"
	"slices"

	"pipit/admin/access"
	"pipit/admin/api"
	"pipit/admin/audit"
	"pipit/admin/gate"
	"pipit/admin/monitor"
	"pipit/admin/object"
)

// What the document is made of, for openapi_test.go and the files beside it, which name things as a document does.

type (
	Attention       = monitor.Attention
	MessageIDs      = api.MessageIDs
	MessageJSON     = object.MessageJSON
	NewPassword     = api.NewPassword
	PublicationBody = api.PublicationBody

	ClientList        = list[object.Client]
	TopicList         = list[object.Topic]
	ProducerList      = list[object.Producer]
	ConsumerList      = list[object.Consumer]
	TokenList         = list[access.Token]
	AdministratorList = list[access.Administrator]
	SessionList       = list[access.Session]
	EntryList         = list[audit.Entry]
)

const (
	V1              = v1
	TypeJSON        = api.TypeJSON
	TypePatch       = api.TypePatch
	TypeProblem     = api.TypeProblem
	Base64          = object.EncodingBase64
	CodeAway        = monitor.CodeAway
	DefaultLimit    = gate.DefaultLimit
	MaxLimit        = gate.MaxLimit
	DefaultPayload  = api.DefaultPayload
	MaxPayloadEach  = api.MaxPayloadEach
	MaxPayloadTotal = api.MaxPayloadTotal
	MinPassword     = access.MinPassword
	RangeHour       = monitor.RangeHour
	RangeDay        = monitor.RangeDay
	SessionCookie   = access.SessionCookie
	ZatoTopics      = object.ZatoTopics
	ZatoProducers   = object.ZatoProducers
	ZatoConsumers   = object.ZatoConsumers
)

var (
	OpenAPI      = api.OpenAPI
	BrowseStates = api.BrowseStates
	ProblemCodes = slices.Sorted(maps.Keys(gate.Titles))

	ClientSorts   = slices.Sorted(maps.Keys(object.ClientSorts))
	TopicSorts    = slices.Sorted(maps.Keys(object.TopicSorts))
	ProducerSorts = slices.Sorted(maps.Keys(object.ProducerSorts))
	ConsumerSorts = slices.Sorted(maps.Keys(object.ConsumerSorts))
)

// Scopes returns the scope that each route of the API takes, by method and path.
func Scopes() map[string]string {
	scopes := map[string]string{}
	for _, rt := range (&api.API{Objects: &object.Objects{}}).Routes() {
		scopes[rt.Method+" "+rt.Path] = rt.Access.String()
	}
	return scopes
}
