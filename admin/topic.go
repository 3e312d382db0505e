package admin

import "pipit/broker"

// topics describes topics. Their list can be sorted by name, depth, last_publish, producers and consumers.
func (o *Objects) topics() *noun[Topic] {
	return &noun[Topic]{
		o: o, kind: broker.KindTopic, path: "/topics", param: "name",
		initial:  newTopic,
		list:     o.listTopics,
		find:     byName(o.b.Topic, topicOf),
		ref:      func(t *Topic) broker.Ref { return broker.Ref{Kind: broker.KindTopic, Name: t.Name} },
		name:     func(t *Topic) string { return t.Name },
		revision: func(t *Topic) string { return t.Revision },
		goes:     func(t *Topic) Deleted { return Deleted{t.Producers, t.Consumers, t.Depth + t.Delayed} },
		define:   func(d *broker.Definition, t *Topic) { d.Topics = append(d.Topics, t.Topic) },
		fixed:    func(before, t *Topic) error { return fixed(broker.TopicFields, &before.Topic, &t.Topic) },
		diff: func(before, t *Topic) fieldChanges {
			return differences(broker.TopicFields, &before.Topic, &t.Topic)
		},
	}
}

var topicSorts = sorts[broker.TopicInfo]{
	"name":         func(t *broker.TopicInfo) place { return place{S: t.Name} },
	"depth":        func(t *broker.TopicInfo) place { return place{N: t.Depth, S: t.Name} },
	"last_publish": func(t *broker.TopicInfo) place { return place{N: micros(t.LastPublish), S: t.Name} },
	"producers":    func(t *broker.TopicInfo) place { return place{N: int64(t.Producers), S: t.Name} },
	"consumers":    func(t *broker.TopicInfo) place { return place{N: int64(t.Consumers), S: t.Name} },
}

func (o *Objects) listTopics(q query) (list[Topic], error) {
	found := contains(q.Search)
	matches := func(t *broker.TopicInfo) bool { return found(t.Name) }
	return pageOf(q, o.b.Topics(), "name", topicSorts, matches, topicOf)
}
