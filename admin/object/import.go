package object

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"pipit/admin/gate"
	"pipit/broker"
	"pipit/broker/change"
	"pipit/broker/clip"
	"pipit/broker/property"
)

// Import is what an import has done, or would do.
type Import struct {
	DryRun  bool         `json:"dry_run"` // nothing was done
	Created int          `json:"created"`
	Updated int          `json:"updated"`
	Kept    int          `json:"kept"`
	Plan    []PlanAction `json:"plan"`

	NeedsPassword   []string     `json:"needs_password,omitempty"`   // usernames of clients that are created inactive, with a password that nobody knows
	SubKeys         []MadeKey    `json:"sub_keys,omitempty"`         // those that were made for consumers without one
	CallbackSecrets []MadeSecret `json:"callback_secrets,omitempty"` // those that were made for consumers that are sent their messages and had none
	Warnings        []string     `json:"warnings,omitempty"`         // what is weak, or was not taken over as it is
}

// PlanAction is what becomes of one object.
type PlanAction struct {
	Action  change.Action `json:"action"`
	Kind    change.Kind   `json:"kind"`
	Key     string        `json:"key"` // username, name, or CLIENT of TOPIC, of a consumer with a name CLIENT/NAME of TOPIC
	Changes FieldChanges  `json:"changes,omitempty"`
}

// MadeKey is the sub_key that was made for a consumer without one.
type MadeKey struct {
	Client string `json:"client"`
	Topic  string `json:"topic"`
	Name   string `json:"name,omitempty"` // of the consumer, which tells it from others of the same client and topic
	SubKey string `json:"sub_key"`
}

// MadeSecret is the callback_secret that was made for a consumer without one.
type MadeSecret struct {
	Client         string `json:"client"`
	Topic          string `json:"topic"`
	Name           string `json:"name,omitempty"` // of the consumer
	CallbackSecret string `json:"callback_secret"`
}

// Limits of an import. Its body is read as it comes, and what is kept of it are objects alone: of their
// largest number, a dry run takes some 100 MiB, and to create them 250.
const (
	MaxImportBody    = 64 << 20 // bytes
	maxImportObjects = 100_000  // of all kinds together
	maxImportValues  = 1000     // of one object
	maxImportToken   = 1 << 20  // bytes of one text
)

var errImporting = &broker.Error{Code: broker.Unavailable, Message: "Another import is on its way, allowed is one at a time", RetryAfter: 2 * time.Second}

// Importing is what the body of an import says.
type Importing struct {
	define        broker.Definition
	pointer       func(broker.Fault) string // where in the body an object is at fault
	needsPassword []string
	warnings      []string
}

// BeginImport takes the turn of an import, of which there is one at a time, of all callers. Who has it gives it back by end.
// The error is Unavailable.
func (o *Objects) BeginImport() (end func(), err error) {
	if !o.oneImport.TryLock() {
		return nil, errImporting
	}
	return o.oneImport.Unlock, nil
}

// ReadDefinitions reads a document of definitions. The errors are those of fields, and of what is malformed or too large.
func ReadDefinitions(body io.Reader) (*Importing, error) {
	return readImport(body, (*importReader).definitions)
}

// readImport reads the body of an import as read does, and returns what is wrong with any of its objects.
func readImport(body io.Reader, read func(*importReader) (*Importing, error)) (*Importing, error) {
	in := &importReader{parser: newParser(body, maxImportToken, maxImportValues)}
	d, err := read(in)
	if err == nil {
		err = in.end()
	}
	if err == nil && in.errs != nil {
		err = in.errs
	}
	return d, err
}

// Import creates objects or brings them to what is said, all or nothing. What exists only here
// is left alone. A dry run does nothing but tell what would be done, and refuses what would be
// refused. The errors are those of fields, Invalid, Unavailable and DiskFull.
func (o *Objects) Import(ctx context.Context, who gate.Actor, d *Importing, dryRun bool) (Import, error) {
	done, err := o.b.Change(ctx, broker.Change{
		Define: d.define,
		DryRun: dryRun,
		Note: func(done *broker.Changed) []broker.Document {
			out := importOf(done)
			return o.auditImport(who, &out)
		},
	})
	var faults broker.Faults
	if errors.As(err, &faults) {
		errs := make(gate.FieldErrors, len(faults))
		for i, f := range faults {
			errs[i] = gate.FieldError{Pointer: d.pointer(f), Detail: f.Err.Message}
		}
		return Import{}, errs
	}
	if err != nil {
		return Import{}, err
	}
	out := importOf(&done)
	given := d.secrets(&done)
	out.DryRun, out.NeedsPassword, out.Warnings = dryRun, d.needsPassword, append(d.warnings, given.Weak()...)
	if !dryRun && out.Created+out.Updated > 0 {
		o.warnWeak(given)
	}
	return out, nil
}

// auditImport makes the entries of what an import does: one of all, and one of the secrets of each kind that it changes.
func (o *Objects) auditImport(who gate.Actor, out *Import) []broker.Document {
	docs := []broker.Document{o.trail.Entry(who, "import", "", fmt.Sprintf("%d created, %d updated, %d kept", out.Created, out.Updated, out.Kept))}
	changed := map[string][]string{} // keys, by action
	for _, p := range out.Plan {
		if p.Changes.hasSecret() {
			action := editAction(p.Kind, p.Changes)
			changed[action] = append(changed[action], p.Key)
		}
	}
	for _, action := range slices.Sorted(maps.Keys(changed)) {
		docs = append(docs, o.trail.Entry(who, action, strings.Join(changed[action], ", "), fmt.Sprintf("%d by import", len(changed[action]))))
	}
	return docs
}

// secrets are the passwords in the clear and the new sub_keys of an import, with whose they are.
func (d *Importing) secrets(done *broker.Changed) (given broker.Definition) {
	given.Clients, given.Webhooks = d.define.Clients, d.define.Webhooks
	for i := range done.Consumers {
		if c := &done.Consumers[i]; c.After.SubKey != c.Before.SubKey {
			given.Consumers = append(given.Consumers, c.After)
		}
	}
	return given
}

func importOf(done *broker.Changed) Import {
	out := Import{Plan: make([]PlanAction, 0, len(done.Clients)+len(done.Topics)+len(done.Producers)+len(done.Consumers)+len(done.Webhooks))}
	addActions(&out, change.Client, done.Clients, broker.ClientFields, func(c *broker.Client) string { return c.Username })
	addActions(&out, change.Topic, done.Topics, broker.TopicFields, func(t *broker.Topic) string { return t.Name })
	addActions(&out, change.Producer, done.Producers, broker.ProducerFields, func(p *broker.Producer) string { return OfTopic(p.Client, p.Topic) })
	addActions(&out, change.Consumer, done.Consumers, broker.ConsumerFields, func(c *broker.Consumer) string { return OfTopic(c.Label(), c.Topic) })
	addActions(&out, change.Webhook, done.Webhooks, broker.WebhookFields, func(w *broker.Webhook) string { return w.Name })
	for _, c := range done.Made {
		out.SubKeys = append(out.SubKeys, MadeKey{c.Client, c.Topic, c.Name, c.SubKey})
	}
	for _, c := range done.Sealed {
		out.CallbackSecrets = append(out.CallbackSecrets, MadeSecret{c.Client, c.Topic, c.Name, c.CallbackSecret})
	}
	return out
}

// addActions adds what becomes of the objects of a kind.
func addActions[T any](out *Import, kind change.Kind, list []change.Outcome[T], fields property.Fields[T], key func(*T) string) {
	for i := range list {
		o := &list[i]
		action := PlanAction{Action: o.Action, Kind: kind, Key: key(&o.After)}
		switch o.Action {
		case change.Create:
			out.Created++
		case change.Update:
			out.Updated++
			action.Changes = differences(fields, &o.Before, &o.After)
		case change.Keep:
			out.Kept++
		}
		out.Plan = append(out.Plan, action)
	}
}

// importReader reads the body of an import as it comes.
type importReader struct {
	*parser
	objects int
	errs    gate.FieldErrors // of objects
}

// object reads an object that is to be imported, of which an allowance is taken.
func (r *importReader) object(at jsonStep, depth int) (Node, error) {
	if r.objects++; r.objects > maxImportObjects {
		return Node{}, gate.Refuse(http.StatusRequestEntityTooLarge, "too_large",
			fmt.Sprintf("%s: allowed are at most %d objects in all", clip.Input(Node{at: at}.name()), maxImportObjects))
	}
	r.values = 0
	return r.node(at, depth)
}

// wrong gathers the errors of an object, nil where there are none. It returns an error where it is time to stop.
func (r *importReader) wrong(err error) error {
	var errs gate.FieldErrors
	if !errors.As(err, &errs) {
		return err
	}
	r.errs = append(r.errs, errs...)
	if len(r.errs) >= MaxErrors {
		return r.errs[:MaxErrors]
	}
	return nil
}

// definitions reads a document of definitions. What an object does not say is the default.
func (r *importReader) definitions() (*Importing, error) {
	d := &Importing{pointer: func(f broker.Fault) string { return faultPointer(fmt.Sprintf("/%ss/%d", f.Kind, f.Index), f.Err.Field) }}
	t, err := r.token()
	if err != nil {
		return nil, err
	}
	if t != json.Delim('{') {
		return nil, gate.Malformed("body %s: allowed is an object", tokenNode(t, jsonStep{}).what())
	}
	version := Node{}
	err = r.members(jsonStep{}, 0, func(at jsonStep) (err error) {
		switch at.name {
		case "version":
			version, err = r.node(at, 1)
			return err
		case "clients":
			return readObjects(r, at, ClientDefinition{broker.ClientFields.New()}, func(c *ClientDefinition) error {
				d.define.Clients = append(d.define.Clients, c.Client)
				return onePassword(&c.Client)
			})
		case "topics":
			return readObjects(r, at, TopicDefinition{broker.TopicFields.New()}, func(t *TopicDefinition) error {
				d.define.Topics = append(d.define.Topics, t.Topic)
				return nil
			})
		case "producers":
			return readObjects(r, at, ProducerDefinition{broker.ProducerFields.New()}, func(p *ProducerDefinition) error {
				d.define.Producers = append(d.define.Producers, p.Producer)
				return nil
			})
		case "consumers":
			return readObjects(r, at, ConsumerDefinition{broker.ConsumerFields.New()}, func(c *ConsumerDefinition) error {
				d.define.Consumers = append(d.define.Consumers, c.Consumer)
				return nil
			})
		case "webhooks":
			return readObjects(r, at, WebhookDefinition{broker.WebhookFields.New()}, func(w *WebhookDefinition) error {
				d.define.Webhooks = append(d.define.Webhooks, w.Webhook)
				return nil
			})
		}
		field := Node{at: at}
		return gate.FieldErrors{{Pointer: field.pointer(), Detail: fmt.Sprintf("%s: no such field, allowed are clients, consumers, producers, topics, version, webhooks", clip.Input(field.name()))}}
	})
	if number, ok := version.Value.(json.Number); err == nil && (!ok || number.String() != strconv.Itoa(DefinitionsVersion)) {
		err = gate.FieldErrors{{Pointer: "/version", Detail: fmt.Sprintf("version %s: allowed is %d", version.what(), DefinitionsVersion)}}
	}
	return d, err
}

// readObjects reads a list of objects.
func readObjects[D any](r *importReader, at jsonStep, byDefault D, add func(*D) error) error {
	t, err := r.token()
	if err != nil || t == nil {
		return err
	}
	if t != json.Delim('[') {
		return gate.FieldErrors{tokenNode(t, at).Fail("a list of objects")}
	}
	return r.items(at, 1, func(at jsonStep) error {
		n, err := r.object(at, 2)
		if err != nil {
			return err
		}
		v := byDefault
		if err = n.Object(&v, &byDefault); err == nil {
			err = add(&v)
		}
		if e := broker.ErrorOf(err); e != nil {
			err = gate.FieldErrors{{Pointer: faultPointer(n.pointer(), e.Field), Detail: e.Message}}
		}
		return r.wrong(err)
	})
}

// faultPointer returns the pointer of a field of an object.
func faultPointer(object, field string) string {
	if field == "" {
		return object
	}
	return object + "/" + field
}

// tokenNode is a token as a node, for an error that says what it is.
func tokenNode(t json.Token, at jsonStep) Node {
	switch t {
	case json.Delim('{'):
		return Node{Value: []member{}, at: at}
	case json.Delim('['):
		return Node{Value: []Node{}, at: at}
	}
	return Node{Value: t, at: at}
}
