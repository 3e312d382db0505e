package admin

import (
	"cmp"
	"context"
	"fmt"
	"strconv"

	"pipit/broker"
)

var producerSorts = sorts[broker.ProducerInfo]{
	"topic":     func(p *broker.ProducerInfo) place { return place{S: key(p.Topic, p.Client)} },
	"client":    func(p *broker.ProducerInfo) place { return place{S: key(p.Client, p.Topic)} },
	"last_seen": func(p *broker.ProducerInfo) place { return place{micros(p.LastSeen), key(p.Topic, p.Client)} },
}

// listProducers returns a page of the producers. It can be sorted by topic, client and last_seen.
func (a *Admin) listProducers(q query) (list[Producer], error) {
	found := contains(q.Search)
	matches := func(p *broker.ProducerInfo) bool { return q.owns(p.Topic, p.Client) && found(p.Topic, p.Client) }
	return pageOf(q, a.b.Producers(), "topic", producerSorts, matches, producerOf)
}

// getProducer returns a producer. The error is NotFound.
func (a *Admin) getProducer(id uint32) (Producer, error) {
	info, ok := a.b.Producer(id)
	if !ok {
		return Producer{}, notFound("No producer %q", fmt.Sprint(id))
	}
	return producerOf(&info), nil
}

// createProducer allows a client to publish to a topic. The errors are Invalid, Conflict (it is
// allowed to), Unavailable and DiskFull.
func (a *Admin) createProducer(ctx context.Context, who actor, p Producer) (Producer, error) {
	_, err := a.b.Change(ctx, broker.Change{
		Expect:    []broker.Expect{{Ref: broker.Ref{Kind: broker.KindProducer, Name: p.Client, Topic: p.Topic}}},
		Define:    broker.Definition{Producers: []broker.Producer{p.broker()}},
		Documents: []broker.Document{a.audit(who, "producer.create", ofTopic(p.Client, p.Topic), "")},
	})
	if err != nil {
		return Producer{}, err
	}
	all := a.b.Producers()
	for i := range all {
		if all[i].Client == p.Client && all[i].Topic == p.Topic {
			return producerOf(&all[i]), nil
		}
	}
	return Producer{}, notFound("No producer %q", ofTopic(p.Client, p.Topic)) // deleted since
}

// editProducer has edit change a producer that is in a revision, or in any where that is empty or
// "*". The errors are those of edit, NotFound, Conflict (another revision), Invalid, Unavailable
// and DiskFull.
func (a *Admin) editProducer(ctx context.Context, who actor, id uint32, revision string, edit func(*Producer) error) (Producer, error) {
	err := again(revision, func() error {
		before, err := a.getProducer(id)
		if err != nil {
			return err
		}
		if err := checkRevision(revision, before.Revision); err != nil {
			return err
		}
		p := before
		if err := edit(&p); err != nil {
			return err
		}
		if p.Client != before.Client {
			return fixed("client", p.Client, before.Client)
		}
		if p.Topic != before.Topic {
			return fixed("topic", p.Topic, before.Topic)
		}
		diff := differences(before.ProducerDefinition, p.ProducerDefinition)
		if len(diff) == 0 {
			return nil
		}
		_, err = a.b.Change(ctx, broker.Change{
			Expect:    []broker.Expect{{Ref: broker.Ref{Kind: broker.KindProducer, ID: id}, Revision: before.Revision}},
			Define:    broker.Definition{Producers: []broker.Producer{p.broker()}},
			Documents: []broker.Document{a.audit(who, "producer.edit", ofTopic(p.Client, p.Topic), diff.String())},
		})
		return err
	})
	if err != nil {
		return Producer{}, err
	}
	return a.getProducer(id)
}

// deleteProducer takes the permission from a client. The errors are NotFound, Conflict, Unavailable
// and DiskFull.
func (a *Admin) deleteProducer(ctx context.Context, who actor, id uint32, revision string) (Deleted, error) {
	p, err := a.getProducer(id)
	if err != nil {
		return Deleted{}, err
	}
	return a.delete(ctx, who, "producer.delete", broker.Ref{Kind: broker.KindProducer, ID: id}, ofTopic(p.Client, p.Topic), revision)
}

// owns tells whether a producer or consumer is one of those that are asked for.
func (q *query) owns(topic, client string) bool {
	return cmp.Or(q.Topic, topic) == topic && cmp.Or(q.Client, client) == client
}

// ofTopic is how the audit log calls a producer or consumer.
func ofTopic(client, topic string) string { return client + " of " + topic }

// parseID reads the id of a producer or consumer. What is none belongs to nobody: NotFound.
func parseID(kind broker.Kind, s string) (uint32, error) {
	id, err := strconv.ParseUint(s, 10, 32)
	if err != nil || id == 0 || strconv.FormatUint(id, 10) != s {
		return 0, notFound("No "+string(kind)+" %q", s)
	}
	return uint32(id), nil
}

// refKey is the key of an object in a path.
func refKey(r broker.Ref) string {
	if r.ID != 0 {
		return strconv.FormatUint(uint64(r.ID), 10)
	}
	return r.Name
}
