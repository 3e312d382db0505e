package object

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"pipit/admin/gate"
	"pipit/broker"
	"pipit/broker/change"
	"pipit/broker/limit"
	"pipit/broker/login"
)

// What a Zato 2.0 administrator has are the answers of three services: zato.pubsub.topics.get-list,
// and for each topic zato.pubsub.producers.get-list and zato.pubsub.consumers.get-list, whose items
// name a security definition and do not say of which topic they are. So an import takes one answer,
// with the list and the topic that it is of as parameters, or all of them in one document:
//
//	{"topics": LIST, "producers": {"/topic": LIST, …}, "consumers": {"/topic": LIST, …}, "outgoing": LIST}
//
// A LIST is the bare list, or the answer around it. Items may say their topic_name as well.

// Lists of Zato.
const (
	ZatoTopics    = "topics"
	ZatoProducers = "producers"
	ZatoConsumers = "consumers"
)

// zatoInternal is what the names of Zato's own security definitions begin with, which are producers
// and consumers of every topic.
const zatoInternal = "zato.pubsub.default-"

// zatoReader gathers definitions from lists of Zato.
type zatoReader struct {
	*importReader
	d         *Importing
	topics    map[string]broker.Topic // what exists here
	producers map[clientTopic]broker.Producer
	consumers map[string]broker.Consumer // by sub_key
	usernames map[string]bool
	named     map[string][]string        // usernames, by name
	clients   map[string]string          // usernames, by name in Zato
	warned    map[string]bool            // warnings
	origin    map[change.Kind][]jsonStep // items that the objects were made of

	connections map[string]zatoConnection // outgoing ones, by ID
	callbacks   []zatoCallback
}

type clientTopic struct{ client, topic string }

// ReadZato reads lists of Zato. list and topic tell what the body is: one of the lists, and of which
// topic; empty where the body says so itself. Clients that do not exist here are to be created,
// inactive and with a password that nobody knows.
func (o *Objects) ReadZato(body io.Reader, list, topic string) (*Importing, error) {
	return readImport(body, func(in *importReader) (*Importing, error) { return o.zatoDefinitions(in, list, topic) })
}

func (o *Objects) zatoDefinitions(in *importReader, list, topic string) (*Importing, error) {
	z := &zatoReader{
		importReader: in,
		topics:       map[string]broker.Topic{},
		producers:    map[clientTopic]broker.Producer{},
		consumers:    map[string]broker.Consumer{},
		usernames:    map[string]bool{},
		named:        map[string][]string{},
		clients:      map[string]string{},
		warned:       map[string]bool{},
		origin:       map[change.Kind][]jsonStep{},
		connections:  map[string]zatoConnection{},
	}
	z.d = &Importing{pointer: z.pointer}
	have := o.b.Definition()
	for _, c := range have.Clients {
		z.usernames[c.Username] = true
		z.named[c.Name] = append(z.named[c.Name], c.Username)
	}
	for _, t := range have.Topics {
		z.topics[t.Name] = t
	}
	for _, p := range have.Producers {
		z.producers[clientTopic{p.Client, p.Topic}] = p
	}
	for _, c := range have.Consumers {
		z.consumers[c.SubKey] = c
	}
	if err := z.read(list, topic); err != nil {
		return nil, err
	}
	z.call()
	z.deepen()
	for _, username := range z.d.needsPassword {
		z.d.define.Clients = append(z.d.define.Clients, broker.Client{Username: username, Name: username, PasswordHash: login.UnknownPassword(), Inactive: true})
	}
	return z.d, nil
}

// from notes the item that the next object of a kind is made of.
func (z *zatoReader) from(item Node, kind change.Kind) {
	z.origin[kind] = append(z.origin[kind], item.at)
}

// pointer returns the field of an item that an object was made of.
func (z *zatoReader) pointer(f broker.Fault) string {
	field := f.Err.Field
	if field == "username" || field == "client" {
		field = "name"
	}
	made := z.origin[f.Kind]
	if f.Index >= len(made) { // a topic that is deepened for its consumers
		return ""
	}
	return faultPointer(made[f.Index].String(), field)
}

// read reads a body.
func (z *zatoReader) read(list, topic string) error {
	if list != "" {
		return z.list(jsonStep{}, 0, list, topic)
	}
	t, err := z.token()
	if err != nil {
		return err
	}
	if t != json.Delim('{') {
		return gate.Malformed("body %s: allowed is an object; say what a bare list is with ?list=topics, or ?list=producers&topic=NAME", tokenNode(t, jsonStep{}).what())
	}
	found := false
	err = z.members(jsonStep{}, 0, func(at jsonStep) error {
		for _, kind := range []string{ZatoTopics, ZatoProducers, ZatoConsumers, zatoOutgoing} {
			switch at.name {
			case kind, zatoResponse(kind):
				found = true
				return z.part(at, kind, topic)
			}
		}
		return z.skip()
	})
	if err == nil && !found {
		err = gate.Malformed("body: neither topics, producers, consumers nor an answer of Zato, such as %s, is in it", zatoResponse(ZatoTopics))
	}
	return err
}

// zatoResponse is the element around a list, zatoEnvironment the one beside it.
func zatoResponse(kind string) string {
	if kind == zatoOutgoing {
		return zatoOutgoingResponse
	}
	return "zato_pubsub_" + kind + "_get_list_response"
}

const zatoEnvironment = "zato_env"

// part reads a part of a document: a list, or lists by topic.
func (z *zatoReader) part(at jsonStep, kind, topic string) error {
	if kind == ZatoTopics || kind == zatoOutgoing || at.name != kind {
		return z.list(at, 1, kind, topic)
	}
	t, err := z.token()
	if err != nil {
		return err
	}
	if t != json.Delim('{') {
		return z.listed(t, at, 1, kind, topic)
	}
	return z.members(at, 1, func(at jsonStep) error {
		switch at.name {
		case zatoResponse(kind):
			return z.list(at, 2, kind, topic)
		case zatoEnvironment:
			return z.skip()
		}
		return z.list(at, 2, kind, at.name)
	})
}

// list reads a list, bare or within an answer.
func (z *zatoReader) list(at jsonStep, depth int, kind, topic string) error {
	t, err := z.token()
	if err != nil {
		return err
	}
	if t != json.Delim('{') {
		return z.listed(t, at, depth, kind, topic)
	}
	found := false
	err = z.members(at, depth, func(at jsonStep) error {
		if at.name != zatoResponse(kind) {
			return z.skip()
		}
		found = true
		t, err := z.token()
		if err != nil {
			return err
		}
		return z.listed(t, at, depth+1, kind, topic)
	})
	if err == nil && !found {
		err = gate.FieldErrors{noZatoList(t, at, kind)}
	}
	return err
}

func noZatoList(t json.Token, at jsonStep, kind string) gate.FieldError {
	return tokenNode(t, at).Fail("a list, or an object with " + zatoResponse(kind))
}

// listed reads the items of a list, which begins with a token.
func (z *zatoReader) listed(t json.Token, at jsonStep, depth int, kind, topic string) error {
	if t != json.Delim('[') {
		return gate.FieldErrors{noZatoList(t, at, kind)}
	}
	read := map[string]func(Node, string) error{ZatoTopics: z.topic, ZatoProducers: z.producer, ZatoConsumers: z.consumer, zatoOutgoing: z.outgoing}[kind]
	return z.items(at, depth, func(at jsonStep) error {
		item, err := z.object(at, depth+1)
		if err != nil {
			return err
		}
		if _, ok := item.Value.([]member); !ok {
			return z.wrong(gate.FieldErrors{item.Fail("an object")})
		}
		return z.wrong(read(item, topic))
	})
}

func (z *zatoReader) topic(item Node, _ string) error {
	name, err := item.text("name")
	if err != nil {
		return err
	}
	if name, err = z.topicName(item, name); err != nil {
		return err
	}
	t, exists := z.topics[name]
	if !exists {
		t = broker.TopicFields.New()
		t.Name = name
	}
	active, err := item.boolean("is_active", !t.Inactive)
	if err != nil {
		return err
	}
	most, err := item.number(t.MaxDepth, "max_depth")
	if err != nil {
		return err
	}
	t.Inactive = !active
	broker.TopicFields.Named("max_depth").Set(&t, most)
	z.from(item, change.Topic)
	z.d.define.Topics = append(z.d.define.Topics, t)
	return nil
}

// topicName is a name of Zato as it is one here: a slash at the end belongs to the URL.
func (z *zatoReader) topicName(item Node, name string) (string, error) {
	if name == "" {
		return "", gate.FieldErrors{{Pointer: item.pointer(), Detail: "topic: it is missing; say it with ?topic=NAME, or as a key around the list"}}
	}
	if short := strings.TrimSuffix(name, "/"); short != "" && short != name {
		z.warn("topic %q is called %q here", name, short)
		return short, nil
	}
	return name, nil
}

func (z *zatoReader) producer(item Node, topic string) error {
	client, topic, err := z.whose(item, topic)
	if err != nil || client == "" {
		return err
	}
	p, exists := z.producers[clientTopic{client, topic}]
	if !exists {
		p = broker.ProducerFields.New()
		p.Client, p.Topic = client, topic
	}
	active, err := item.boolean("is_active", !p.Inactive)
	if err != nil {
		return err
	}
	p.Inactive = !active
	z.from(item, change.Producer)
	z.d.define.Producers = append(z.d.define.Producers, p)
	return nil
}

func (z *zatoReader) consumer(item Node, topic string) error {
	client, topic, err := z.whose(item, topic)
	if err != nil || client == "" {
		return err
	}
	subKey, err := item.text("sub_key")
	if err != nil {
		return err
	}
	c, exists := z.consumers[subKey]
	if !exists {
		c = broker.ConsumerFields.New()
		c.AckTimeout = limit.MaxAckTimeout
		z.warn("new consumers have an ack_timeout of %s, since Zato had none: what a client receives and does not acknowledge comes again only then", limit.MaxAckTimeout)
	}
	c.Client, c.Topic, c.SubKey = client, topic, subKey
	active, err := item.boolean("is_active", !c.Inactive)
	if err != nil {
		return err
	}
	most, err := item.number(c.MaxDepth, "max_depth", "max_backlog")
	if err != nil {
		return err
	}
	c.Inactive = !active
	broker.ConsumerFields.Named("max_depth").Set(&c, most)
	if err := z.delivery(item, &c); err != nil {
		return err
	}
	z.from(item, change.Consumer)
	z.d.define.Consumers = append(z.d.define.Consumers, c)
	return nil
}

// deepen lets each topic that is read hold at least what each of its consumers may, read or here: the
// depth of a topic is in Zato only what was not moved to consumers yet, and less by default than theirs.
func (z *zatoReader) deepen() {
	d := &z.d.define
	here := maps.Clone(z.consumers)
	for _, c := range d.Consumers {
		delete(here, c.SubKey)
	}
	deepest := map[string]int64{}
	for _, c := range slices.AppendSeq(slices.Clone(d.Consumers), maps.Values(here)) {
		if c.MaxDepth <= limit.MaxMaxDepth { // else it is refused
			deepest[c.Topic] = max(deepest[c.Topic], c.MaxDepth)
		}
	}
	read := map[string]bool{}
	for _, t := range d.Topics {
		read[t.Name] = true
	}
	for _, c := range d.Consumers {
		if t, ok := z.topics[c.Topic]; ok && !read[c.Topic] && t.MaxDepth < deepest[c.Topic] {
			read[c.Topic] = true
			d.Topics = append(d.Topics, t)
		}
	}
	for i := range d.Topics {
		t := &d.Topics[i]
		if n := deepest[t.Name]; t.MaxDepth > 0 && t.MaxDepth < n {
			z.warn("topic %q: max_depth is %d as that of a consumer, not %d: Zato's counts only what was not moved to consumers yet", t.Name, n, t.MaxDepth)
			t.MaxDepth = n
		}
	}
}

// whose returns the client and topic of an item, no client where it is one of Zato's own.
func (z *zatoReader) whose(item Node, topic string) (client, name string, err error) {
	said, err := item.text("topic_name")
	if err != nil {
		return "", "", err
	}
	if topic, err = z.topicName(item, cmp.Or(topic, said)); err != nil {
		return "", "", err
	}
	if client, err = item.text("client_name"); err == nil && client == "" {
		client, err = item.text("name")
	}
	switch {
	case err != nil:
		return "", "", err
	case client == "":
		return "", "", gate.FieldErrors{{Pointer: item.pointer() + "/name", Detail: "name: it is missing"}}
	case strings.HasPrefix(client, zatoInternal):
		return "", "", nil
	}
	return z.username(item, client), topic, nil
}

// username returns that of a security definition: the client here of that username, else the only
// one of that name, else a new one.
func (z *zatoReader) username(item Node, name string) string {
	if username, ok := z.clients[name]; ok {
		return username
	}
	username := name
	if !z.usernames[name] {
		if with := z.named[name]; len(with) == 1 {
			username = with[0]
		} else {
			z.from(item, change.Client)
			z.d.needsPassword = append(z.d.needsPassword, name)
		}
	}
	z.clients[name] = username
	return username
}

func (z *zatoReader) warn(format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	if !z.warned[s] {
		z.warned[s] = true
		z.d.warnings = append(z.d.warnings, s)
	}
}

// text returns a member that is a text, empty where it is missing.
func (n Node) text(name string) (string, error) {
	v, _ := n.Member(name)
	switch s := v.Value.(type) {
	case nil:
		return "", nil
	case string:
		return s, nil
	default:
		return "", gate.FieldErrors{v.Fail("a text")}
	}
}

// boolean returns a member that is true or false, also as a text.
func (n Node) boolean(name string, def bool) (bool, error) {
	v, _ := n.Member(name)
	switch b := v.Value.(type) {
	case nil:
		return def, nil
	case bool:
		return b, nil
	case string:
		switch strings.ToLower(b) {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
	}
	return false, gate.FieldErrors{v.Fail("true or false")}
}

// number returns the first of the members that is there, a whole number, also as a text.
func (n Node) number(def int64, names ...string) (int64, error) {
	for _, name := range names {
		v, _ := n.Member(name)
		s := ""
		switch x := v.Value.(type) {
		case nil:
			continue
		case json.Number:
			s = x.String()
		case string:
			s = x
		}
		i, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return 0, gate.FieldErrors{v.Fail("a whole number")}
		}
		return i, nil
	}
	return def, nil
}
