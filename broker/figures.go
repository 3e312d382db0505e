package broker

import (
	"cmp"
	"slices"

	"pipit/broker/stats"
)

// Figures returns what is counted of all topics and of all consumers, each by ID. No lock is held for longer than one of
// them takes, so the figures of two objects may be of two moments.
func (l lister) Figures() ([]stats.Topic, []stats.Consumer) {
	b := l.b
	b.mu.RLock()
	topics := make([]*topic, 0, len(b.topics))
	for _, t := range b.topics {
		topics = append(topics, t)
	}
	consumers := make([]*consumer, 0, len(b.consumers))
	for _, c := range b.consumers {
		consumers = append(consumers, c)
	}
	b.mu.RUnlock()
	slices.SortFunc(topics, func(x, y *topic) int { return cmp.Compare(x.id, y.id) })
	slices.SortFunc(consumers, func(x, y *consumer) int { return cmp.Compare(x.id, y.id) })

	ofTopics := make([]stats.Topic, len(topics))
	for i, t := range topics {
		f := &ofTopics[i]
		f.ID, f.Name, f.Published, f.Delayed = t.id, t.def.Load().Name, t.counters.published.Load(), t.delayed.Load()
		f.Depth, _, _ = t.held()
	}
	ofConsumers := make([]stats.Consumer, len(consumers))
	for i, c := range consumers {
		f, def := &ofConsumers[i], c.def.Load()
		q := c.queued()
		f.ID, f.Topic, f.Client, f.Counters = c.id, def.Topic, def.Client, c.counters.read()
		f.InFlight, f.Deferred, f.Failed = q.inFlight, q.deferred, q.failed
		f.Ready = max(q.backlog-q.inFlight-q.deferred-q.failed, 0)
		for _, of := range c.list() {
			f.Delayed += of.topic.delayed.Load()
		}
	}
	return ofTopics, ofConsumers
}
