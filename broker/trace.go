package broker

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"pipit/broker/browse"
	"pipit/broker/clip"
	"pipit/broker/history"
	"pipit/broker/limit"
	"pipit/broker/property"
	"pipit/broker/store"
)

var traceOutcomes = map[history.Outcome]string{
	history.Acknowledged: browse.TraceAcknowledged, history.Expired: browse.TraceExpired, history.DeadLettered: browse.TraceDeadLettered, history.Dropped: browse.TraceDropped,
	history.Cleared: browse.TraceCleared, history.Skipped: browse.TraceSkipped, history.Unsubscribed: browse.TraceUnsubscribed, history.Deleted: browse.TraceDeleted,
	history.Redriven: browse.TraceRedriven, history.TopicGone: browse.TraceTopicDeleted,
}

// tracer tells what happened to messages.
type tracer struct {
	b   *Broker
	log *history.Log
}

func historyLimits(o *Options) history.Limits {
	return history.Limits{Keep: cmp.Or(o.History, history.DefaultKeep), Messages: cmp.Or(o.HistoryMessages, history.DefaultMessages)}
}

func (t tracer) load() error {
	return t.b.store.View(func(r store.Reader) error { return t.log.Load(r, time.Now()) })
}

// Trace returns what is known of messages, the oldest first, at most 100 of them and those the newest: also of those that are gone, for as
// long as Options.History says and within HistoryMessages. After a crash the last seconds may be missing. One that is
// stored is found by its ID also where it is older than that. The errors are Invalid, NotFound (nothing is known) and
// Unavailable, where ctx ends.
func (t tracer) Trace(ctx context.Context, q browse.TraceQuery) ([]browse.Trace, error) {
	if (q.ID == "") == (q.CorrelationID == "") {
		return nil, Invalidf("a message is found by its ID or by a correlation ID: exactly one of them is needed").of("id")
	}
	if q.ID != "" {
		if err := limit.CheckMessageID(q.ID); err != nil {
			return nil, ours(err)
		}
	}
	find := history.Query{ID: q.ID, Correlation: q.CorrelationID}
	if p, second, ok := t.b.ids.decode(q.ID); ok {
		find.Place, find.Created = p, uint32(second) // #nosec G115 -- as an ID has it
	}
	lives, err := t.log.Find(func(fn func(store.Reader) error) error {
		if ctx.Err() != nil {
			return callerLeft(ctx)
		}
		return t.b.store.View(fn)
	}, find)
	if err != nil {
		return nil, err
	}
	var list []browse.Trace
	for i := range lives {
		trace, err := t.of(&lives[i], &q)
		if err != nil {
			return nil, err
		}
		if q.Topic == "" || q.Topic == trace.Topic {
			list = append(list, trace)
		}
	}
	if q.ID != "" && !slices.ContainsFunc(list, func(x browse.Trace) bool { return x.Here }) {
		if list, err = t.stored(ctx, &q, find.Place.Topic, list); err != nil {
			return nil, err
		}
	}
	if len(list) == 0 {
		return nil, t.nothing(&q)
	}
	return list, nil
}

// nothing is the error where nothing is known.
func (t tracer) nothing(q *browse.TraceQuery) error {
	what := fmt.Sprintf("message %q", clip.Input(q.ID))
	if q.ID == "" {
		what = fmt.Sprintf("message with the correlation_id %q", clip.Input(q.CorrelationID))
	}
	limits := t.log.Limits()
	why := fmt.Sprintf("what happened is kept for %s, of the last %d messages", property.FormatDuration(limits.Keep), limits.Messages)
	if limits.Keep <= 0 {
		why = "what happened to messages is not kept"
	}
	return &Error{Code: NotFound, Message: fmt.Sprintf("No %s is stored or known: %s", what, why)}
}

// of makes a Trace of what the history knows.
func (t tracer) of(life *history.Life, q *browse.TraceQuery) (browse.Trace, error) {
	x := browse.Trace{
		ID: life.ID, Topic: life.Topic, Priority: int(life.Priority), Created: life.Created, Known: life.Published,
		Producer: life.Producer, CorrelationID: life.CorrelationID, Size: life.Size, Delay: int64(life.Delay),
	}
	switch {
	case x.ID != "":
	case !life.Published:
		_, second, _ := t.b.ids.decode(q.ID)
		x.ID, x.Created = q.ID, time.Unix(second, 0).UTC()
	default:
		x.ID = t.b.ids.encode(life.Place, life.Created)
	}
	t.b.mu.RLock()
	there := t.b.topicIDs[life.Place.Topic]
	t.b.mu.RUnlock()
	if there != nil {
		x.Topic = there.def.Load().Name
		err := t.b.store.View(func(r store.Reader) error {
			if life.Pos > 0 {
				return r.Stored(life.Lane, store.Span{From: life.Pos, To: life.Pos}, func(uint64) bool { x.Here = true; return false })
			}
			return t.b.find(r, there.id, x.ID, func(key string, rec *store.Record) {
				x.Here = x.Here || key != "" && rec.Created.Equal(life.Created)
			})
		})
		if err != nil {
			return x, err
		}
	}
	if life.Published {
		x.Events = append(x.Events, browse.TraceEvent{At: x.Created, What: browse.TracePublished})
	}
	for _, e := range life.Events {
		what, reason := e.Outcome.Split()
		event := browse.TraceEvent{At: e.At, What: traceOutcomes[what], Consumer: e.Consumer, Client: e.Label, Deliveries: int(e.Deliveries), Delivered: e.Delivered}
		if (what == history.DeadLettered || what == history.Dropped) && reason < int(failures) {
			event.Reason = failure(reason).String() // #nosec G115 -- it is one
		}
		x.Events = append(x.Events, event)
	}
	return x, nil
}

// maxTraceTopics bounds the topics in which a message is looked for that the history does not know.
const maxTraceTopics = 1000

// stored adds a stored message to list that the history does not know, or of which it does not know all.
func (t tracer) stored(ctx context.Context, q *browse.TraceQuery, home uint32, list []browse.Trace) ([]browse.Trace, error) {
	var names []string
	t.b.mu.RLock()
	first := ""
	if there := t.b.topicIDs[home]; there != nil {
		first = there.def.Load().Name
	}
	for name, topic := range t.b.topics {
		if needed, retained, _ := topic.held(); (q.Topic == "" || q.Topic == name) && needed+retained+topic.delayed.Load() > 0 {
			names = append(names, name)
		}
	}
	t.b.mu.RUnlock()
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(b2i(b == first)-b2i(a == first), cmp.Compare(a, b)) })
	for _, name := range names[:min(len(names), maxTraceTopics)] {
		if ctx.Err() != nil {
			return nil, callerLeft(ctx)
		}
		m, _, err := t.b.Message(name, q.ID)
		if CodeOf(err) == NotFound {
			continue
		}
		if err != nil {
			return nil, err
		}
		x := browse.Trace{ID: m.ID, Topic: m.Topic, Here: true, Priority: m.Priority, Created: m.Created, Known: true, Producer: m.Producer,
			Size: int64(m.Size), Delay: int64(m.Due.Sub(m.Created) / time.Second), Events: []browse.TraceEvent{{At: m.Created, What: browse.TracePublished}}}
		if m.Extra != nil {
			x.CorrelationID = m.Extra.CorrelationID
		}
		for i := range list { // the history knows what became of it, but not how it began
			if !list[i].Known && list[i].Topic == x.Topic {
				x.Events = append(x.Events, list[i].Events...)
				list = slices.Delete(list, i, i+1)
				break
			}
		}
		list = append(list, x)
	}
	return list, nil
}
