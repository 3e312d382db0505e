package broker

import (
	"cmp"
	"slices"
	"sort"

	"pipit/broker/browse"
	"pipit/broker/clip"
	"pipit/broker/limit"
)

// browsePart is a topic that a Browse looks at: as a whole, or what one queue has of it.
type browsePart struct {
	topic *topic
	queue *queue // nil: the topic as a whole
}

// choose chooses what is looked at, and counts how much that is. It begins with the first, or with that of the cursor.
func (x *browsing) choose() error {
	list, err := x.parts()
	if err != nil {
		return err
	}
	list = x.count(list)
	if x.several {
		slices.SortFunc(list, func(a, b browsePart) int { return cmp.Compare(a.topic.id, b.topic.id) })
		if from, ok := parseBrowseCursor(x.o.Cursor); ok && x.any == nil { // of what is gone meanwhile, the next one
			list = list[sort.Search(len(list), func(i int) bool { return list[i].topic.id >= from.topic }):]
		}
	}
	if len(list) == 0 {
		return nil
	}
	x.q, x.topic, x.rest = list[0].queue, list[0].topic, list[1:]
	if x.any != nil {
		x.rest = nil
	}
	return nil
}

// parts returns what is looked at, in no order.
func (x *browsing) parts() (list []browsePart, err error) {
	switch {
	case x.o.Consumer != 0:
		c := x.b.consumer(x.o.Consumer)
		if c == nil || !x.queues(c, &list) {
			return nil, noConsumer(x.o.Consumer)
		}
	case x.o.Topic != "":
		t := x.b.topic(x.o.Topic)
		if t == nil {
			return nil, noTopic(x.o.Topic)
		}
		list = []browsePart{{t, nil}}
	default:
		x.several = true
		if x.o.State == browse.Delayed {
			x.any = map[uint32]*topic{}
		}
		x.b.mu.RLock()
		for _, t := range x.b.topics {
			list = append(list, browsePart{t, nil})
		}
		x.b.mu.RUnlock()
	}
	return list, nil
}

// queues adds those of a consumer's queues that are looked at. It tells whether the consumer has the topic.
func (x *browsing) queues(c *consumer, list *[]browsePart) bool {
	queues := c.list()
	switch {
	case c.merge == nil:
		if x.o.Topic != "" && x.o.Topic != queues[0].topic.def.Load().Name {
			return false
		}
	case x.o.Topic != "":
		t := x.b.topic(x.o.Topic)
		if t == nil {
			return false
		}
		q := c.queueOf(t.id)
		if q == nil {
			return false
		}
		queues = []*queue{q}
	default:
		x.several = true
	}
	for _, q := range queues {
		*list = append(*list, browsePart{q.topic, q})
	}
	return true
}

// count counts the messages of what is looked at. Of all topics it leaves out those that have none.
func (x *browsing) count(list []browsePart) []browsePart {
	x.b.mu.RLock()
	defer x.b.mu.RUnlock()
	some := list[:0:0]
	for _, p := range list {
		n := x.countOf(p)
		if x.page.Total += n; n == 0 && x.o.Topic == "" && x.o.Consumer == 0 {
			continue
		}
		some = append(some, p)
		if x.any != nil {
			x.any[p.topic.id] = p.topic
		}
	}
	return some
}

// countOf counts the messages of a part. The caller holds Broker.mu.
func (x *browsing) countOf(p browsePart) (n int64) {
	switch {
	case x.o.State == browse.Delayed:
		return p.topic.delayed.Load()
	case p.queue == nil:
		n, _, _ = p.topic.held()
		return n
	}
	p.topic.mu.Lock()
	defer p.topic.mu.Unlock()
	p.queue.of.mu.Lock()
	defer p.queue.of.mu.Unlock()
	return p.queue.waiting()
}

// first begins with the first message.
func (x *browsing) first() {
	x.from = browseCursor{delayed: x.o.State == browse.Delayed, newest: x.o.Newest && x.o.State != browse.Delayed, topic: x.topic.id, priority: limit.MaxPriority}
	if x.any != nil {
		x.from.topic = 0 // of no single one
	}
	if x.o.Priority != 0 {
		x.from.priority = uint8(x.o.Priority) // #nosec G115 -- a priority is 1 to 9
	}
}

// resume begins where the page before has ended.
func (x *browsing) resume() error {
	o := &x.o
	if x.topic == nil {
		if _, ok := parseBrowseCursor(o.Cursor); o.Cursor != "" && !ok {
			return badCursor(o.Cursor)
		}
		return nil
	}
	x.first()
	if o.Cursor == "" {
		return nil
	}
	c, ok := parseBrowseCursor(o.Cursor)
	if ok && x.several && c.topic < x.from.topic {
		return nil // the topic is gone
	}
	if !ok || c.delayed != x.from.delayed || c.newest != x.from.newest || c.topic != x.from.topic ||
		!c.delayed && o.Priority != 0 && int(c.priority) != o.Priority {
		return badCursor(o.Cursor)
	}
	x.from = c
	return nil
}

func badCursor(s string) *Error {
	return Invalidf("cursor %q: not one of these pages", clip.Input(s)).of("cursor")
}
