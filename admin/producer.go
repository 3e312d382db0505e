package admin

import (
	"pipit/broker"
)

// producers describes producers. Their list can be sorted by topic, client and last_seen.
func (o *Objects) producers() *noun[Producer] {
	return &noun[Producer]{
		o: o, kind: broker.KindProducer, path: "/producers", param: "id", filters: []string{"topic", "client"},
		initial: newProducer,
		list:    o.listProducers,
		find:    byID(o.b.Producer, producerOf),
		ref: func(p *Producer) broker.Ref {
			if p.ID == 0 {
				return broker.Ref{Kind: broker.KindProducer, Name: p.Client, Topic: p.Topic}
			}
			return broker.Ref{Kind: broker.KindProducer, ID: p.ID}
		},
		name:     func(p *Producer) string { return ofTopic(p.Client, p.Topic) },
		revision: func(p *Producer) string { return p.Revision },
		goes:     func(*Producer) Deleted { return Deleted{} },
		define:   func(d *broker.Definition, p *Producer) { d.Producers = append(d.Producers, p.Producer) },
		fixed: func(before, p *Producer) error {
			return fixed(broker.ProducerFields, &before.Producer, &p.Producer)
		},
		diff: func(before, p *Producer) fieldChanges {
			return differences(broker.ProducerFields, &before.Producer, &p.Producer)
		},
		number: func(p *Producer, done *broker.Changed) { p.ID = done.Producers[0].ID },
	}
}

var producerSorts = sorts[broker.ProducerInfo]{
	"topic":     func(p *broker.ProducerInfo) place { return place{S: key(p.Topic, p.Client)} },
	"client":    func(p *broker.ProducerInfo) place { return place{S: key(p.Client, p.Topic)} },
	"last_seen": func(p *broker.ProducerInfo) place { return place{N: micros(p.LastSeen), S: key(p.Topic, p.Client)} },
}

func (o *Objects) listProducers(q query) (list[Producer], error) {
	found := contains(q.Search)
	matches := func(p *broker.ProducerInfo) bool { return q.Owns(p.Topic, p.Client) && found(p.Topic, p.Client) }
	return pageOf(q, o.b.Producers(), "topic", producerSorts, matches, producerOf)
}

// ofTopic is how the audit log calls a producer or consumer.
func ofTopic(client, topic string) string { return client + " of " + topic }
