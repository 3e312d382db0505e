package admin

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"pipit/broker"
)

// What a Zato 2.0 administrator has are the answers of three services: zato.pubsub.topics.get-list,
// and for each topic zato.pubsub.producers.get-list and zato.pubsub.consumers.get-list, whose items
// name a security definition and do not say of which topic they are. So an import takes one answer,
// with the list and the topic that it is of as parameters, or all of them in one document:
//
//	{"topics": LIST, "producers": {"/topic": LIST, …}, "consumers": {"/topic": LIST, …}}
//
// A LIST is the bare list, or the answer around it. Items may say their topic_name as well.

// Lists of Zato.
const (
	zatoTopics    = "topics"
	zatoProducers = "producers"
	zatoConsumers = "consumers"
)

// zatoInternal is what the names of Zato's own security definitions begin with, which are producers
// and consumers of every topic.
const zatoInternal = "zato.pubsub.default-"

// zatoPull is the delivery mode of the consumers that come for their messages.
const zatoPull = "pull"

// zatoReader gathers definitions from lists of Zato.
type zatoReader struct {
	p        *planner // what exists here
	d        Definitions
	clients  map[string]string // usernames, by name in Zato
	named    map[string][]string
	missing  []string // usernames of clients that do not exist here
	warnings []string
	seen     map[string]bool
	origin   map[string]string // pointers to items, by those to what they became in d
}

// importZato creates objects, or brings them to what lists of Zato say of them, all or nothing.
// list and topic tell what the body is: one of the lists, and of which topic; empty where the body
// says so itself. Clients that do not exist here are created, inactive and with a password that
// nobody knows.
func (a *Admin) importZato(ctx context.Context, who actor, body []byte, list, topic string, dryRun bool) (Import, error) {
	in, err := parse(body)
	if err != nil {
		return Import{}, err
	}
	z := &zatoReader{
		p:       a.newPlanner(),
		d:       Definitions{Version: DefinitionsVersion},
		clients: map[string]string{},
		named:   map[string][]string{},
		seen:    map[string]bool{},
		origin:  map[string]string{},
	}
	for username, c := range z.p.clients {
		z.named[c.Name] = append(z.named[c.Name], username)
	}
	if err := z.read(in, list, topic); err != nil {
		return Import{}, err
	}
	z.deepen()
	if len(z.missing) > 0 {
		// One hash for all: nobody knows the password, and each would cost its time.
		hash, err := broker.HashPassword(rand.Text())
		if err != nil {
			return Import{}, err
		}
		for _, username := range z.missing {
			z.d.Clients = append(z.d.Clients, ClientDefinition{Username: username, Name: username, PasswordHash: hash})
		}
	}
	out, err := a.importDefinitions(ctx, who, z.d, dryRun)
	if err != nil {
		return Import{}, z.blame(err)
	}
	out.NeedsPassword, out.Warnings = z.missing, append(z.warnings, out.Warnings...)
	return out, nil
}

// from notes the item that the next object of a list is made of.
func (z *zatoReader) from(item node, list string, index int) {
	z.origin[fmt.Sprintf("/%s/%d", list, index)] = item.pointer()
}

// blame makes errors of objects those of the items that they were made of.
func (z *zatoReader) blame(err error) error {
	var fields fieldErrors
	if !errors.As(err, &fields) {
		return err
	}
	for i, f := range fields {
		for made, item := range z.origin {
			if rest, ok := strings.CutPrefix(f.Pointer+"/", made+"/"); ok {
				rest = strings.TrimSuffix(rest, "/")
				if rest == "username" || rest == "client" {
					rest = "name"
				}
				fields[i].Pointer = item + "/" + rest
			}
		}
	}
	return fields
}

// read reads a body.
func (z *zatoReader) read(in node, list, topic string) error {
	if list != "" {
		return z.list(in, list, topic)
	}
	members, ok := in.value.([]member)
	if !ok {
		return malformed("body %s: allowed is an object; say what a bare list is with ?list=topics, or ?list=producers&topic=NAME", in.what())
	}
	found := false
	for _, kind := range []string{zatoTopics, zatoProducers, zatoConsumers} {
		for _, m := range members {
			var err error
			switch m.name {
			case kind:
				err = z.part(m.node, kind, topic)
			case zatoResponse(kind):
				err = z.list(m.node, kind, topic)
			default:
				continue
			}
			if err != nil {
				return err
			}
			found = true
		}
	}
	if !found {
		return malformed("body: neither topics, producers, consumers nor an answer of Zato, such as %s, is in it", zatoResponse(zatoTopics))
	}
	return nil
}

// zatoResponse is the element around a list.
func zatoResponse(kind string) string { return "zato_pubsub_" + kind + "_get_list_response" }

// part reads a part of a document: a list, or lists by topic.
func (z *zatoReader) part(n node, kind, topic string) error {
	members, ok := n.value.([]member)
	if _, isAnswer := n.member(zatoResponse(kind)); !ok || isAnswer || kind == zatoTopics {
		return z.list(n, kind, topic)
	}
	for _, m := range members {
		if err := z.list(m.node, kind, m.name); err != nil {
			return err
		}
	}
	return nil
}

// list reads a list, bare or within an answer.
func (z *zatoReader) list(n node, kind, topic string) error {
	if inner, ok := n.member(zatoResponse(kind)); ok {
		n = inner
	}
	items, ok := n.value.([]node)
	if !ok {
		return fieldErrors{n.fail("a list, or an object with " + zatoResponse(kind))}
	}
	for _, item := range items {
		if _, ok := item.value.([]member); !ok {
			return fieldErrors{item.fail("an object")}
		}
		var err error
		switch kind {
		case zatoTopics:
			err = z.topic(item)
		case zatoProducers:
			err = z.producer(item, topic)
		case zatoConsumers:
			err = z.consumer(item, topic)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (z *zatoReader) topic(item node) error {
	name, err := item.text("name")
	if err != nil {
		return err
	}
	if name, err = z.topicName(item, name); err != nil {
		return err
	}
	t, exists := z.p.topics[name]
	if !exists {
		t = newTopic().TopicDefinition
		t.Name = name
	}
	if t.Active, err = item.boolean("is_active", t.Active); err != nil {
		return err
	}
	if t.MaxDepth, err = item.number(t.MaxDepth, "max_depth"); err != nil {
		return err
	}
	z.from(item, zatoTopics, len(z.d.Topics))
	z.d.Topics = append(z.d.Topics, t)
	return nil
}

// topicName is a name of Zato as it is one here: a slash at the end belongs to the URL.
func (z *zatoReader) topicName(item node, name string) (string, error) {
	if name == "" {
		return "", fieldErrors{{Pointer: item.pointer(), Detail: "topic: it is missing; say it with ?topic=NAME, or as a key around the list"}}
	}
	if short := strings.TrimSuffix(name, "/"); short != "" && short != name {
		z.warn("topic %q is called %q here", name, short)
		return short, nil
	}
	return name, nil
}

func (z *zatoReader) producer(item node, topic string) error {
	client, topic, err := z.whose(item, topic)
	if err != nil || client == "" {
		return err
	}
	p, exists := z.p.producers[clientTopic{client, topic}]
	if !exists {
		p = newProducer().ProducerDefinition
		p.Client, p.Topic = client, topic
	}
	if p.Active, err = item.boolean("is_active", p.Active); err != nil {
		return err
	}
	z.from(item, zatoProducers, len(z.d.Producers))
	z.d.Producers = append(z.d.Producers, p)
	return nil
}

func (z *zatoReader) consumer(item node, topic string) error {
	client, topic, err := z.whose(item, topic)
	if err != nil || client == "" {
		return err
	}
	subKey, err := item.text("sub_key")
	if err != nil {
		return err
	}
	c, exists := z.p.consumers[subKey]
	if !exists {
		c = newConsumer().ConsumerDefinition
		c.AckTimeout = Duration(broker.MaxAckTimeout)
		z.warn("new consumers have an ack_timeout of %s, since Zato had none: what a client receives and does not acknowledge comes again only then", broker.MaxAckTimeout)
	}
	c.Client, c.Topic, c.SubKey = client, topic, subKey
	if c.Active, err = item.boolean("is_active", c.Active); err != nil {
		return err
	}
	if c.MaxDepth, err = item.number(c.MaxDepth, "max_depth", "max_backlog"); err != nil {
		return err
	}
	mode, err := item.text("delivery_mode")
	if err != nil {
		return err
	}
	if mode != "" && mode != zatoPull {
		z.warn("consumer %q: delivery_mode %q is not supported yet, its client has to receive", ofTopic(client, topic), clip(mode))
	}
	z.from(item, zatoConsumers, len(z.d.Consumers))
	z.d.Consumers = append(z.d.Consumers, c)
	return nil
}

// deepen lets each topic that is read hold at least what each of its consumers may, read or here: the
// depth of a topic is in Zato only what was not moved to consumers yet, and less by default than theirs.
func (z *zatoReader) deepen() {
	consumers := maps.Clone(z.p.consumers)
	for _, c := range z.d.Consumers {
		consumers[c.SubKey] = c
	}
	deepest := map[string]int64{}
	for _, c := range consumers {
		if c.MaxDepth <= broker.MaxMaxDepth { // else it is refused
			deepest[c.Topic] = max(deepest[c.Topic], c.MaxDepth)
		}
	}
	read := map[string]bool{}
	for _, t := range z.d.Topics {
		read[t.Name] = true
	}
	for _, c := range z.d.Consumers {
		if t, ok := z.p.topics[c.Topic]; ok && !read[c.Topic] && t.MaxDepth < deepest[c.Topic] {
			read[c.Topic] = true
			z.d.Topics = append(z.d.Topics, t)
		}
	}
	for i := range z.d.Topics {
		t := &z.d.Topics[i]
		if n := deepest[t.Name]; t.MaxDepth > 0 && t.MaxDepth < n {
			z.warn("topic %q: max_depth is %d as that of a consumer, not %d: Zato's counts only what was not moved to consumers yet", t.Name, n, t.MaxDepth)
			t.MaxDepth = n
		}
	}
}

// whose returns the client and topic of an item, no client where it is one of Zato's own.
func (z *zatoReader) whose(item node, topic string) (client, name string, err error) {
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
		return "", "", fieldErrors{{Pointer: item.pointer() + "/name", Detail: "name: it is missing"}}
	case strings.HasPrefix(client, zatoInternal):
		return "", "", nil
	}
	return z.username(item, client), topic, nil
}

// username returns that of a security definition: the client here of that username, else the only
// one of that name, else a new one.
func (z *zatoReader) username(item node, name string) string {
	if username, ok := z.clients[name]; ok {
		return username
	}
	username := name
	if _, ok := z.p.clients[name]; !ok {
		if with := z.named[name]; len(with) == 1 {
			username = with[0]
		} else {
			z.from(item, "clients", len(z.missing))
			z.missing = append(z.missing, name)
		}
	}
	z.clients[name] = username
	return username
}

func (z *zatoReader) warn(format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	if !z.seen[s] {
		z.seen[s] = true
		z.warnings = append(z.warnings, s)
	}
}

// text returns a member that is a text, empty where it is missing.
func (n node) text(name string) (string, error) {
	v, _ := n.member(name)
	switch s := v.value.(type) {
	case nil:
		return "", nil
	case string:
		return s, nil
	default:
		return "", fieldErrors{v.fail("a text")}
	}
}

// boolean returns a member that is true or false, also as a text.
func (n node) boolean(name string, def bool) (bool, error) {
	v, _ := n.member(name)
	switch b := v.value.(type) {
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
	return false, fieldErrors{v.fail("true or false")}
}

// number returns the first of the members that is there, a whole number, also as a text.
func (n node) number(def int64, names ...string) (int64, error) {
	for _, name := range names {
		v, _ := n.member(name)
		s := ""
		switch x := v.value.(type) {
		case nil:
			continue
		case json.Number:
			s = x.String()
		case string:
			s = x
		}
		i, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return 0, fieldErrors{v.fail("a whole number")}
		}
		return i, nil
	}
	return def, nil
}
