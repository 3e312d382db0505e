package object

import (
	"pipit/admin/gate"
	"pipit/broker"
	"pipit/broker/change"
)

// Producers describes producers.
func (o *Objects) Producers() *Noun[Producer] {
	return marking(&Noun[Producer]{
		o: o, Kind: change.Producer, Path: "/producers", Param: "id", Filters: []string{"topic", "client"},
		Parts:   ProducerParts,
		Initial: NewProducer,
		List:    o.listProducers,
		find:    byID(o.b.Producer, producerOf),
		ref: func(p *Producer) change.Ref {
			if p.ID == 0 {
				return change.Ref{Kind: change.Producer, Name: p.Client, Topic: p.Topic}
			}
			return change.Ref{Kind: change.Producer, ID: p.ID}
		},
		Name:     func(p *Producer) string { return OfTopic(p.Client, p.Topic) },
		Revision: func(p *Producer) string { return p.Revision },
		Goes:     func(*Producer) Deleted { return Deleted{} },
		define:   func(d *broker.Definition, p *Producer) { d.Producers = append(d.Producers, p.Producer) },
		fixed: func(before, p *Producer) error {
			return fixed(broker.ProducerFields, &before.Producer, &p.Producer)
		},
		diff: func(before, p *Producer) FieldChanges {
			return differences(broker.ProducerFields, &before.Producer, &p.Producer)
		},
		number: func(p *Producer, done *broker.Changed) { p.ID = done.Producers[0].ID },
	}, func(v *Producer) *bool { return &v.Declared })
}

// ProducerSorts are what lists of producers can be sorted by.
var ProducerSorts = gate.Sorts[broker.ProducerInfo]{
	{Key: "topic", At: func(p *broker.ProducerInfo) gate.Place { return gate.Place{S: gate.Key(p.Topic, p.Client)} }},
	{Key: "client", At: func(p *broker.ProducerInfo) gate.Place { return gate.Place{S: gate.Key(p.Client, p.Topic)} }},
	{Key: "last_seen", At: func(p *broker.ProducerInfo) gate.Place {
		return gate.Place{N: gate.Micros(p.LastSeen), S: gate.Key(p.Topic, p.Client)}
	}},
}

// producerParts are those that lists of producers can be asked for.
var producerParts = []gate.Part[broker.ProducerInfo]{
	{Key: "inactive", Label: "Inactive", Has: func(p *broker.ProducerInfo) bool { return p.Inactive }},
}

func (o *Objects) listProducers(q gate.Query) (gate.List[Producer], error) {
	found := gate.Contains(q.Search)
	matches := func(p *broker.ProducerInfo) bool { return q.Owns(p.Topic, p.Client) && found(p.Topic, p.Client) }
	return gate.PageOf(q, o.b.Producers(), ProducerSorts, matches, producerOf, producerParts...)
}

// OfTopic is how the audit log calls a producer or consumer.
func OfTopic(client, topic string) string { return client + " of " + topic }
