package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"pipit/broker"
)

// DefinitionsVersion is that of the documents of this release.
const DefinitionsVersion = 1

// Definitions are all objects as they are defined, in an order that depends on nothing but them.
// They hold the hashes of passwords and the SubKeys of consumers.
type Definitions struct {
	Version   int                  `json:"version"`
	Clients   []ClientDefinition   `json:"clients"`
	Topics    []TopicDefinition    `json:"topics"`
	Producers []ProducerDefinition `json:"producers"`
	Consumers []ConsumerDefinition `json:"consumers"`
}

// Import is what an import has done, or would do.
type Import struct {
	DryRun  bool         `json:"dry_run"`
	Created int          `json:"created"`
	Updated int          `json:"updated"`
	Kept    int          `json:"kept"`
	Plan    []PlanAction `json:"plan"`

	NeedsPassword []string  `json:"needs_password,omitempty"` // usernames of clients that are created inactive and without a password
	SubKeys       []MadeKey `json:"sub_keys,omitempty"`       // those that were made
	Warnings      []string  `json:"warnings,omitempty"`       // what is weak, or could not be taken over as it is
}

// PlanAction is what becomes of one object.
type PlanAction struct {
	Action  string       `json:"action"` // create, update or keep
	Kind    string       `json:"kind"`   // client, topic, producer or consumer
	Key     string       `json:"key"`    // username, name, or CLIENT of TOPIC
	Changes fieldChanges `json:"changes,omitempty"`
}

// Actions of a plan.
const (
	actionCreate = "create"
	actionUpdate = "update"
	actionKeep   = "keep"
)

// MadeKey is a SubKey that was made for a consumer without one.
type MadeKey struct {
	Client string `json:"client"`
	Topic  string `json:"topic"`
	SubKey string `json:"sub_key"`
}

// export returns the definitions as a document: the same bytes for the same objects.
func (a *Admin) export() ([]byte, error) {
	have := a.b.Definition()
	d := Definitions{
		Version:   DefinitionsVersion,
		Clients:   make([]ClientDefinition, len(have.Clients)),
		Topics:    make([]TopicDefinition, len(have.Topics)),
		Producers: make([]ProducerDefinition, len(have.Producers)),
		Consumers: make([]ConsumerDefinition, len(have.Consumers)),
	}
	for i := range have.Clients {
		d.Clients[i] = clientDefinitionOf(&have.Clients[i])
	}
	for i := range have.Topics {
		d.Topics[i] = topicDefinitionOf(&have.Topics[i])
	}
	for i := range have.Producers {
		d.Producers[i] = producerDefinitionOf(&have.Producers[i])
	}
	for i := range have.Consumers {
		d.Consumers[i] = consumerDefinitionOf(&have.Consumers[i])
	}
	b, err := marshal(d)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = json.Indent(&out, b, "", "  ")
	return out.Bytes(), err
}

func clientDefinitionOf(c *broker.Client) ClientDefinition {
	return ClientDefinition{Username: c.Username, Name: c.Name, Active: c.Active, PasswordHash: c.PasswordHash}
}

// parseDefinitions reads a document of definitions. What an object does not say is the default.
func parseDefinitions(body []byte) (Definitions, error) {
	var d Definitions
	in, err := parse(body)
	if err != nil {
		return d, err
	}
	members, ok := in.value.([]member)
	if !ok {
		return d, malformed("body %s: allowed is an object", in.what())
	}
	version, ok := in.member("version")
	if number, isNumber := version.value.(json.Number); !ok || !isNumber || number.String() != strconv.Itoa(DefinitionsVersion) {
		detail := fmt.Sprintf("version %s: allowed is %d", version.what(), DefinitionsVersion)
		return d, fieldErrors{{Pointer: "/version", Detail: detail}}
	}
	for _, m := range members {
		switch m.name {
		case "version":
		case "clients":
			d.Clients, err = objects(m.node, newClient().ClientDefinition)
		case "topics":
			d.Topics, err = objects(m.node, newTopic().TopicDefinition)
		case "producers":
			d.Producers, err = objects(m.node, newProducer().ProducerDefinition)
		case "consumers":
			d.Consumers, err = objects(m.node, newConsumer().ConsumerDefinition)
		default:
			detail := fmt.Sprintf("%s: no such field, allowed are clients, consumers, producers, topics, version", clip(m.node.name()))
			err = fieldErrors{{Pointer: m.pointer(), Detail: detail}}
		}
		if err != nil {
			return d, err
		}
	}
	return d, nil
}

// objects reads a list of objects.
func objects[T any](n node, byDefault T) ([]T, error) {
	if n.value == nil {
		return nil, nil
	}
	items, ok := n.value.([]node)
	if !ok {
		return nil, fieldErrors{n.fail("a list of objects")}
	}
	list := make([]T, len(items))
	for i, item := range items {
		list[i] = byDefault
		if err := item.object(&list[i], &byDefault); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// importDefinitions creates objects or brings them to what the document says, all or nothing. What
// exists only here is left alone. A dry run does nothing but tell what would be done, and refuses
// what would be refused. The errors are Invalid, those of the fields, Unavailable and DiskFull.
func (a *Admin) importDefinitions(ctx context.Context, who actor, d Definitions, dryRun bool) (Import, error) {
	p := a.newPlanner()
	if err := p.all(ctx, &d); err != nil {
		return Import{}, err
	}
	given := p.secrets(&d)
	out := p.out
	out.DryRun, out.Warnings = dryRun, given.Weak()
	if dryRun || out.Created+out.Updated == 0 {
		return out, nil
	}
	detail := fmt.Sprintf("%d created, %d updated, %d kept", out.Created, out.Updated, out.Kept)
	done, err := a.b.Change(ctx, broker.Change{
		Define:    p.define,
		Documents: []broker.Document{a.audit(who, "import", "", detail)},
	})
	if err != nil {
		return Import{}, err
	}
	a.warnWeak(given)
	for _, c := range done.Consumers {
		out.SubKeys = append(out.SubKeys, MadeKey{c.Client, c.Topic, c.SubKey})
	}
	return out, nil
}

type clientTopic struct{ client, topic string }

type consumerName struct {
	clientTopic
	name string
}

// planner compares a document with what exists.
type planner struct {
	define broker.Definition // what is to be created or changed
	out    Import
	check  func(ctx context.Context, hash, password string) (bool, error)

	clients   map[string]ClientDefinition
	topics    map[string]TopicDefinition
	producers map[clientTopic]ProducerDefinition
	consumers map[string]ConsumerDefinition // by sub_key
	unnamed   map[clientTopic][]string      // sub_keys of those without a name, in the order of their ids
	named     map[consumerName]string       // sub_keys of the others
}

func (a *Admin) newPlanner() *planner {
	have := a.b.Definition()
	p := &planner{
		out:       Import{Plan: []PlanAction{}},
		check:     a.samePassword,
		clients:   map[string]ClientDefinition{},
		topics:    map[string]TopicDefinition{},
		producers: map[clientTopic]ProducerDefinition{},
		consumers: map[string]ConsumerDefinition{},
		unnamed:   map[clientTopic][]string{},
		named:     map[consumerName]string{},
	}
	for i := range have.Clients {
		p.clients[have.Clients[i].Username] = clientDefinitionOf(&have.Clients[i])
	}
	for i := range have.Topics {
		p.topics[have.Topics[i].Name] = topicDefinitionOf(&have.Topics[i])
	}
	for i := range have.Producers {
		d := &have.Producers[i]
		p.producers[clientTopic{d.Client, d.Topic}] = producerDefinitionOf(d)
	}
	for _, c := range a.b.Consumers() {
		p.consumers[c.SubKey] = consumerDefinitionOf(&c.Consumer)
		k := clientTopic{c.Client, c.Topic}
		if c.Name != "" {
			p.named[consumerName{k, c.Name}] = c.SubKey
		} else {
			p.unnamed[k] = append(p.unnamed[k], c.SubKey)
		}
	}
	return p
}

// secrets are the passwords in the clear and the new sub_keys of a document, with whose they are.
func (p *planner) secrets(d *Definitions) (given broker.Definition) {
	for _, c := range d.Clients {
		given.Clients = append(given.Clients, c.broker())
	}
	for _, c := range d.Consumers {
		if _, had := p.consumers[c.SubKey]; !had {
			given.Consumers = append(given.Consumers, c.broker())
		}
	}
	return given
}

// add notes what becomes of an object, and tells whether anything does.
func (p *planner) add(kind broker.Kind, key string, exists bool, changes fieldChanges) bool {
	action := PlanAction{Kind: string(kind), Key: key}
	switch {
	case !exists:
		action.Action = actionCreate
		p.out.Created++
	case len(changes) > 0:
		action.Action, action.Changes = actionUpdate, changes
		p.out.Updated++
	default:
		action.Action = actionKeep
		p.out.Kept++
	}
	p.out.Plan = append(p.out.Plan, action)
	return action.Action != actionKeep
}

// at makes an error of an object of the document that of one of its fields.
func at(list string, i int, err error) error {
	var e *broker.Error
	if !errors.As(err, &e) || e.Code != broker.Invalid {
		return err
	}
	pointer := fmt.Sprintf("/%s/%d", list, i)
	if e.Field != "" {
		pointer += "/" + e.Field
	}
	return fieldErrors{{Pointer: pointer, Detail: e.Message}}
}

func twice(list string, i int, field, what string) error {
	return at(list, i, invalid(field, "%s is given twice", what))
}

// all plans the whole document, with the checks that the broker would make.
func (p *planner) all(ctx context.Context, d *Definitions) error {
	given := map[string]bool{}
	for i, c := range d.Clients {
		if c.Name == "" {
			c.Name = c.Username
		}
		if given[c.Username] {
			return twice("clients", i, "username", fmt.Sprintf("client %q", clip(c.Username)))
		}
		given[c.Username] = true
		if err := p.client(ctx, c); err != nil {
			return at("clients", i, err)
		}
	}
	clear(given)
	for i, t := range d.Topics {
		if given[t.Name] {
			return twice("topics", i, "name", fmt.Sprintf("topic %q", clip(t.Name)))
		}
		given[t.Name] = true
		def := t.broker()
		if err := def.Validate(); err != nil {
			return at("topics", i, err)
		}
		old, exists := p.topics[t.Name]
		if !exists {
			if err := def.ValidateName(); err != nil {
				return at("topics", i, err)
			}
		}
		if p.add(broker.KindTopic, t.Name, exists, differences(old, t)) {
			p.define.Topics = append(p.define.Topics, def)
		}
		p.topics[t.Name] = t
	}
	clear(given)
	for i, x := range d.Producers {
		if err := p.known(x.Client, x.Topic); err != nil {
			return at("producers", i, err)
		}
		name := ofTopic(x.Client, x.Topic)
		if given[key(x.Client, x.Topic)] {
			return twice("producers", i, "client", "producer "+strconv.Quote(name))
		}
		given[key(x.Client, x.Topic)] = true
		old, exists := p.producers[clientTopic{x.Client, x.Topic}]
		if p.add(broker.KindProducer, name, exists, differences(old, x)) {
			p.define.Producers = append(p.define.Producers, x.broker())
		}
	}
	return p.allConsumers(d.Consumers)
}

func (p *planner) client(ctx context.Context, c ClientDefinition) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	old, exists := p.clients[c.Username]
	names, former := c.broker(), (*broker.Client)(nil)
	if exists {
		was := old.broker()
		former = &was
	}
	if err := names.ValidateNames(former); err != nil {
		return err
	}
	if c.Password != "" && c.PasswordHash == "" && exists {
		switch same, err := p.check(ctx, old.PasswordHash, c.Password); {
		case err != nil:
			return err
		case same:
			c.Password, c.PasswordHash = "", old.PasswordHash
		}
	}
	if c.Password == "" && c.PasswordHash == "" {
		if !exists {
			def := c.broker()
			if err := def.Validate(); err != nil {
				return err
			}
			return invalid("password_hash", "client %q has neither a password nor a password_hash", clip(c.Username))
		}
		c.PasswordHash = old.PasswordHash
	}
	def, err := c.hashed(old.PasswordHash)
	if err != nil {
		return err
	}
	if p.add(broker.KindClient, c.Username, exists, differences(old, c)) {
		p.define.Clients = append(p.define.Clients, def)
	}
	p.clients[c.Username] = c
	return nil
}

// known returns an error unless a client and a topic exist here or in the document.
func (p *planner) known(client, topic string) error {
	if _, ok := p.clients[client]; !ok {
		return invalid("client", "client %q: no such client", clip(client))
	}
	if _, ok := p.topics[topic]; !ok {
		return invalid("topic", "topic %q: no such topic", clip(topic))
	}
	return nil
}

// allConsumers plans the consumers, which are known as broker.Change knows them: by SubKey, else by
// name, else, with neither, by client and topic.
func (p *planner) allConsumers(consumers []ConsumerDefinition) error {
	given := map[string]bool{}
	for i, c := range consumers {
		if c.SubKey != "" && given[c.SubKey] {
			return twice("consumers", i, "sub_key", "this sub_key")
		}
		given[c.SubKey] = true
	}
	seen := map[consumerName]bool{}
	for i, c := range consumers {
		if err := p.known(c.Client, c.Topic); err != nil {
			return at("consumers", i, err)
		}
		def := c.broker()
		if err := def.Validate(); err != nil {
			return at("consumers", i, err)
		}
		id := consumerName{clientTopic{c.Client, c.Topic}, c.Name}
		switch {
		case c.Name != "" && seen[id]:
			return twice("consumers", i, "name", fmt.Sprintf("consumer %q with the name %q", clip(ofTopic(c.Client, c.Topic)), c.Name))
		case c.Name == "" && c.SubKey == "" && seen[id]:
			return twice("consumers", i, "client", fmt.Sprintf("consumer %q without a name and a sub_key", clip(ofTopic(c.Client, c.Topic))))
		}
		seen[id] = seen[id] || c.Name != "" || c.SubKey == ""
		old, exists := p.consumer(&c, id, given)
		if exists && c.SubKey == "" {
			c.SubKey, def.SubKey = old.SubKey, old.SubKey
		}
		if exists && (old.Client != c.Client || old.Topic != c.Topic) {
			return at("consumers", i, invalid("sub_key", "the sub_key of consumer %q is that of another consumer", clip(ofTopic(c.Client, c.Topic))))
		}
		if key, taken := p.named[id]; taken && exists && key != old.SubKey && !given[key] {
			return at("consumers", i, invalid("name", "the name %q of consumer %q is that of another consumer", c.Name, clip(ofTopic(c.Client, c.Topic))))
		}
		if p.add(broker.KindConsumer, ofTopic(c.Client, c.Topic), exists, differences(old, c)) {
			p.define.Consumers = append(p.define.Consumers, def)
		}
	}
	return nil
}

// consumer returns the consumer that a document means. given are all sub_keys of the document.
func (p *planner) consumer(c *ConsumerDefinition, id consumerName, given map[string]bool) (ConsumerDefinition, bool) {
	if old, ok := p.consumers[c.SubKey]; ok {
		return old, true
	}
	if key, ok := p.named[id]; ok {
		if !given[key] { // then that entry is it
			return p.consumers[key], true
		}
		return ConsumerDefinition{}, false
	}
	if c.Name == "" && c.SubKey == "" {
		for _, key := range p.unnamed[id.clientTopic] {
			if !given[key] {
				return p.consumers[key], true
			}
		}
	}
	return ConsumerDefinition{}, false
}
