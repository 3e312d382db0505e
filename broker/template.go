package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"pipit/broker/clip"
)

// A template is a Topic with AutoCreate, whose name is a pattern. It is no topic: it has no messages, and nobody publishes
// to it or receives from it. A publish to a name that no topic has, and that the pattern matches, makes the topic as
// the template is defined, if the publisher may publish there: as a producer of a pattern. That is a commit of its own
// before the message's, with the queues that consumers of patterns have of the topic, so that they get all messages of it.
// A client that subscribes to such a name makes the topic too, in the commit of its consumer.
//
// Of several templates that match the most specific one counts, see bySpecificity, also where it is not active, and
// then there is no topic. What a template has made stays as it is when the template is changed or deleted. It remembers the template's
// name: as long as it is there, it counts for MaxTopics of the template of that name.

// template is a Topic with AutoCreate at work. It is replaced, never changed.
type template struct {
	id       uint32
	def      Topic
	segments []string // of its name
	revision string   // of def
}

// templates are those of a broker. Broker.mu guards the maps.
type templates struct {
	of     *Broker
	byName map[string]*template
	made   map[string]int // topics that are there, by the name of the template that made them
	onMade atomic.Pointer[func(t *Topic, template, by string, published bool) Document]
}

// OnMade has note make a document that tells that a template made a topic, since somebody published to it or, not published,
// subscribed to it. It is stored with the topic.
func (h *templates) OnMade(note func(t *Topic, template, by string, published bool) Document) {
	h.onMade.Store(&note)
}

// Templates returns all templates, by Name.
func (h *templates) Templates() []TopicInfo {
	h.of.mu.RLock()
	defer h.of.mu.RUnlock()
	list := make([]TopicInfo, 0, len(h.byName))
	for _, t := range h.byName {
		list = append(list, t.info(h.of))
	}
	slices.SortFunc(list, func(x, y TopicInfo) int { return cmp.Compare(x.Name, y.Name) })
	return list
}

// Template returns a template.
func (h *templates) Template(name string) (TopicInfo, bool) {
	h.of.mu.RLock()
	defer h.of.mu.RUnlock()
	t := h.byName[name]
	if t == nil {
		return TopicInfo{}, false
	}
	return t.info(h.of), true
}

// info returns what an administrator sees: producers and consumers are those of the same pattern. The caller holds Broker.mu.
func (t *template) info(b *Broker) TopicInfo {
	return TopicInfo{
		Topic: t.def, Revision: t.revision, Made: b.templates.made[t.def.Name], Bytes: -1,
		Producers: len(producersOf(b, t.def.Name)), Consumers: len(consumersOf(b, t.def.Name)),
	}
}

// bySpecificity puts the more specific of two templates first, of which both match a name: the one that is more
// specific where they differ first, from the left. A segment's name is more specific than "*", that is more specific than no
// more segments, and that is more specific than "**". Where this does not tell them apart, the alphabet does.
func bySpecificity(x, y *template) int {
	for i := range max(len(x.segments), len(y.segments)) {
		if c := cmp.Compare(x.breadth(i), y.breadth(i)); c != 0 {
			return c
		}
	}
	return strings.Compare(x.def.Name, y.def.Name)
}

// breadth is how little the pattern says of its i-th segment.
func (t *template) breadth(i int) int {
	switch {
	case i >= len(t.segments):
		return 2
	case t.segments[i] == "*":
		return 1
	case t.segments[i] == "**":
		return 3
	}
	return 0
}

// templateOf returns the template that makes a topic of a name that no topic has. The error is NotFound where there is none, Denied where it is not active, Invalid where no new topic can
// have the name, and Full where the template has made as many as it may. The caller holds defining or mu.
func templateOf(b *Broker, name string) (found *template, err error) {
	of := segments(name)
	for _, t := range b.templates.byName {
		if matches(t.segments, of) && (found == nil || bySpecificity(t, found) < 0) {
			found = t
		}
	}
	switch {
	case found == nil:
		return nil, noTopic(name)
	case found.def.Inactive:
		return nil, denied("template %q, which topic %q would be made by, is not active", found.def.Name, clip.Input(name))
	}
	to := found.topic(name)
	if err := errors.Join(to.Validate(), to.validateName()); err != nil {
		return nil, Invalidf("%v", err).of("name")
	}
	if most := found.def.MaxTopics; int64(b.templates.made[found.def.Name]) >= most {
		return nil, &Error{
			Code: Full, Field: "max_topics", RetryAfter: time.Minute,
			Message: fmt.Sprintf("topic %q: template %q has made %d topics, which is its max_topics", clip.Input(name), found.def.Name, most),
		}
	}
	return found, nil
}

// topic returns a topic as the template makes it.
func (t *template) topic(name string) Topic {
	made := t.def
	made.Name, made.AutoCreate, made.MaxTopics = name, false, 0
	return made
}

// unmade is a topic that is to be made by the first message.
type unmade struct {
	name string
	by   string // who publishes, for people
}

// publisherOfNew is Broker.Publisher for a topic that is not there. Whether its name and the template let it be made is
// nobody's business who may not publish to it. The caller holds mu.
func publisherOfNew(b *Broker, c *Client, name string) (Publisher, error) {
	var p *producer
	if g := b.grants[c.Username]; g != nil {
		p = g.match(segments(name))
	}
	if p == nil {
		return Publisher{}, denied("no topic %q", clip.Input(name))
	}
	if p.def.Load().Inactive {
		return Publisher{}, denied("no topic %q, and producer %q of topic %q is not active", clip.Input(name), c.Username, p.def.Load().Topic)
	}
	switch _, err := templateOf(b, name); {
	case CodeOf(err) == NotFound:
		return Publisher{}, denied("no topic %q", clip.Input(name))
	case err != nil:
		return Publisher{}, err
	}
	return Publisher{b: b, producer: p, name: c.Name, unmade: &unmade{name, "client " + c.Username}}, nil
}

// make returns the door to the topic that is to be made, which is there then. Of several who publish first, one makes it.
func (p Publisher) make() (Publisher, error) {
	b := p.b
	b.defining.Lock()
	defer b.defining.Unlock()
	if p.topic = b.topics[p.unmade.name]; p.topic != nil {
		return p, nil
	}
	if q := p.producer; q != nil && (q.deleted.Load() || q.def.Load().Inactive) {
		return p, errProducerGone
	}
	t, err := templateOf(b, p.unmade.name)
	if CodeOf(err) == NotFound {
		return p, errTopicGone
	} else if err != nil {
		return p, err
	}
	x := &definer{b: b, lastID: b.lastID}
	if err := x.prepare(context.Background(), &Change{Define: Definition{Topics: []Topic{t.topic(p.unmade.name)}}}); err != nil {
		return p, err
	}
	if err := x.commit(t.noted(x, p.unmade.by, true)); err != nil {
		return p, err
	}
	p.topic = b.topics[p.unmade.name]
	t.log(b, p.unmade.name, p.unmade.by)
	return p, nil
}

// noted has the one topic of a change be made by the template, and returns what is to be put with it.
func (t *template) noted(x *definer, by string, published bool) []Document {
	to := &x.out.topics[0]
	to.Template = t.def.Name
	if note := x.b.templates.onMade.Load(); note != nil {
		return []Document{(*note)(&to.Topic, t.def.Name, by, published)}
	}
	return nil
}

func (t *template) log(b *Broker, name, by string) {
	b.log.Info("a topic was made, since somebody published or subscribed to it", "topic", name, "template", t.def.Name, "by", by)
}
