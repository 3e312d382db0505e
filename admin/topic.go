package admin

import (
	"context"

	"pipit/broker"
)

var topicSorts = sorts[broker.TopicInfo]{
	"name":         func(t *broker.TopicInfo) place { return place{S: t.Name} },
	"depth":        func(t *broker.TopicInfo) place { return place{t.Depth, t.Name} },
	"last_publish": func(t *broker.TopicInfo) place { return place{micros(t.LastPublish), t.Name} },
	"producers":    func(t *broker.TopicInfo) place { return place{int64(t.Producers), t.Name} },
	"consumers":    func(t *broker.TopicInfo) place { return place{int64(t.Consumers), t.Name} },
}

// listTopics returns a page of the topics. It can be sorted by name, depth, last_publish, producers
// and consumers.
func (a *Admin) listTopics(q query) (list[Topic], error) {
	found := contains(q.Search)
	matches := func(t *broker.TopicInfo) bool { return found(t.Name) }
	return pageOf(q, a.b.Topics(), "name", topicSorts, matches, topicOf)
}

// getTopic returns a topic. The error is NotFound.
func (a *Admin) getTopic(name string) (Topic, error) {
	info, ok := a.b.Topic(name)
	if !ok {
		return Topic{}, notFound("No topic %q", name)
	}
	return topicOf(&info), nil
}

// createTopic creates a topic. The errors are Invalid, Conflict (it exists), Unavailable and DiskFull.
func (a *Admin) createTopic(ctx context.Context, who actor, t Topic) (Topic, error) {
	_, err := a.b.Change(ctx, broker.Change{
		Expect:    []broker.Expect{{Ref: broker.Ref{Kind: broker.KindTopic, Name: t.Name}}},
		Define:    broker.Definition{Topics: []broker.Topic{t.broker()}},
		Documents: []broker.Document{a.audit(who, "topic.create", t.Name, "")},
	})
	if err != nil {
		return Topic{}, err
	}
	return a.getTopic(t.Name)
}

// editTopic has edit change a topic that is in a revision, or in any where that is empty or "*".
// The errors are those of edit, NotFound, Conflict (another revision), Invalid, Unavailable and DiskFull.
func (a *Admin) editTopic(ctx context.Context, who actor, name, revision string, edit func(*Topic) error) (Topic, error) {
	err := again(revision, func() error {
		before, err := a.getTopic(name)
		if err != nil {
			return err
		}
		if err := checkRevision(revision, before.Revision); err != nil {
			return err
		}
		t := before
		if err := edit(&t); err != nil {
			return err
		}
		if t.Name != name {
			return fixed("name", t.Name, name)
		}
		diff := differences(before.TopicDefinition, t.TopicDefinition)
		if len(diff) == 0 {
			return nil
		}
		_, err = a.b.Change(ctx, broker.Change{
			Expect:    []broker.Expect{{Ref: broker.Ref{Kind: broker.KindTopic, Name: name}, Revision: before.Revision}},
			Define:    broker.Definition{Topics: []broker.Topic{t.broker()}},
			Documents: []broker.Document{a.audit(who, "topic.edit", name, diff.String())},
		})
		return err
	})
	if err != nil {
		return Topic{}, err
	}
	return a.getTopic(name)
}

// deleteTopic deletes a topic with its producers, consumers and messages, and returns what went
// with it. The errors are NotFound, Conflict, Unavailable and DiskFull.
func (a *Admin) deleteTopic(ctx context.Context, who actor, name, revision string) (Deleted, error) {
	return a.delete(ctx, who, "topic.delete", broker.Ref{Kind: broker.KindTopic, Name: name}, name, revision)
}
