package object

import (
	"pipit/admin/gate"
	"pipit/broker"
	"pipit/broker/change"
)

// Topics describes topics.
func (o *Objects) Topics() *Noun[Topic] {
	return marking(&Noun[Topic]{
		o: o, Kind: change.Topic, Path: "/topics", Param: "name", Filters: []string{"template"},
		Parts:   TopicParts,
		Initial: NewTopic,
		List:    o.listTopics,
		find: byName(func(name string) (broker.TopicInfo, bool) {
			if t, ok := o.b.Topic(name); ok {
				return t, true
			}
			return o.b.Template(name)
		}, topicOf),
		ref:      func(t *Topic) change.Ref { return change.Ref{Kind: change.Topic, Name: t.Name} },
		Name:     func(t *Topic) string { return t.Name },
		Revision: func(t *Topic) string { return t.Revision },
		Goes: func(t *Topic) Deleted {
			if t.AutoCreate { // producers and consumers are of the pattern, and what it made stays
				return Deleted{}
			}
			hooks := o.webhooksOf(func(w *broker.WebhookInfo) bool { return w.Topic == t.Name })
			return Deleted{t.Producers, t.Consumers, hooks, t.Depth + t.Delayed}
		},
		define: func(d *broker.Definition, t *Topic) { d.Topics = append(d.Topics, t.Topic) },
		fixed:  func(before, t *Topic) error { return fixed(broker.TopicFields, &before.Topic, &t.Topic) },
		diff: func(before, t *Topic) FieldChanges {
			return differences(broker.TopicFields, &before.Topic, &t.Topic)
		},
	}, func(v *Topic) *bool { return &v.Declared })
}

// TopicSorts are what lists of topics can be sorted by.
var TopicSorts = gate.Sorts[broker.TopicInfo]{
	{Key: "name", At: func(t *broker.TopicInfo) gate.Place { return gate.Place{S: t.Name} }},
	{Key: "depth", At: func(t *broker.TopicInfo) gate.Place { return gate.Place{N: t.Depth, S: t.Name} }},
	{Key: "last_publish", At: func(t *broker.TopicInfo) gate.Place { return gate.Place{N: gate.Micros(t.LastPublish), S: t.Name} }},
	{Key: "producers", At: func(t *broker.TopicInfo) gate.Place { return gate.Place{N: int64(t.Producers), S: t.Name} }},
	{Key: "consumers", At: func(t *broker.TopicInfo) gate.Place { return gate.Place{N: int64(t.Consumers), S: t.Name} }},
}

// topicParts are those that lists of topics can be asked for.
func (o *Objects) topicParts() []gate.Part[broker.TopicInfo] {
	return []gate.Part[broker.TopicInfo]{
		{Key: "messages", Label: "With messages", Has: func(t *broker.TopicInfo) bool { return t.Depth+t.Delayed > 0 }},
		{Key: "full", Label: "Nearly full", Has: func(t *broker.TopicInfo) bool { return o.attention.Load().NearlyFullTopic(t) }},
		{Key: "inactive", Label: "Inactive", Has: func(t *broker.TopicInfo) bool { return t.Inactive }},
	}
}

func (o *Objects) listTopics(q gate.Query) (gate.List[Topic], error) {
	found := gate.Contains(q.Search)
	matches := func(t *broker.TopicInfo) bool {
		return (q.Template == "" || q.Template == t.Template) && found(t.Name)
	}
	return gate.PageOf(q, append(o.b.Topics(), o.b.Templates()...), TopicSorts, matches, topicOf, o.topicParts()...)
}

// NoteMade makes the audit entry of a topic that a template made, since somebody published or subscribed to it.
func (o *Objects) NoteMade(t *broker.Topic, template, by string, published bool) broker.Document {
	via := gate.Publish
	if !published {
		via = gate.Protocol
	}
	return o.trail.Entry(gate.Actor{Name: by, Via: via}, "topic.create", t.Name, "by the template "+template)
}
