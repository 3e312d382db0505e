package object

import (
	"pipit/admin/gate"
	"pipit/broker"
)

// Topics describes topics. Their list can be sorted by name, depth, last_publish, producers and consumers.
func (o *Objects) Topics() *Noun[Topic] {
	return &Noun[Topic]{
		o: o, Kind: broker.KindTopic, Path: "/topics", Param: "name",
		Initial:  NewTopic,
		List:     o.listTopics,
		find:     byName(o.b.Topic, topicOf),
		ref:      func(t *Topic) broker.Ref { return broker.Ref{Kind: broker.KindTopic, Name: t.Name} },
		Name:     func(t *Topic) string { return t.Name },
		Revision: func(t *Topic) string { return t.Revision },
		Goes:     func(t *Topic) Deleted { return Deleted{t.Producers, t.Consumers, t.Depth + t.Delayed} },
		define:   func(d *broker.Definition, t *Topic) { d.Topics = append(d.Topics, t.Topic) },
		fixed:    func(before, t *Topic) error { return fixed(broker.TopicFields, &before.Topic, &t.Topic) },
		diff: func(before, t *Topic) FieldChanges {
			return differences(broker.TopicFields, &before.Topic, &t.Topic)
		},
	}
}

var TopicSorts = gate.Sorts[broker.TopicInfo]{
	"name":         func(t *broker.TopicInfo) gate.Place { return gate.Place{S: t.Name} },
	"depth":        func(t *broker.TopicInfo) gate.Place { return gate.Place{N: t.Depth, S: t.Name} },
	"last_publish": func(t *broker.TopicInfo) gate.Place { return gate.Place{N: gate.Micros(t.LastPublish), S: t.Name} },
	"producers":    func(t *broker.TopicInfo) gate.Place { return gate.Place{N: int64(t.Producers), S: t.Name} },
	"consumers":    func(t *broker.TopicInfo) gate.Place { return gate.Place{N: int64(t.Consumers), S: t.Name} },
}

func (o *Objects) listTopics(q gate.Query) (gate.List[Topic], error) {
	found := gate.Contains(q.Search)
	matches := func(t *broker.TopicInfo) bool { return found(t.Name) }
	return gate.PageOf(q, o.b.Topics(), "name", TopicSorts, matches, topicOf)
}
