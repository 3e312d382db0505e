package broker

import (
	"sync/atomic"
	"time"

	"pipit/broker/limit"
	"pipit/broker/property"
)

// Producer is a client's permission to publish to a topic.
type Producer struct {
	Client   string    // username
	Topic    string    // name
	Inactive bool      `json:"-"` // it may not publish
	LastSeen time.Time `json:"-"` // the last accepted publish; zero: never
}

// producerFields are the properties of a producer.
var producerFields = property.Fields[Producer]{
	{
		Name: "client", At: func(p *Producer) any { return &p.Client },
		Max: limit.MaxUsername, Required: true, Fixed: true,
		Label: "Client", Hint: "A username", Example: "crm",
		Help: "username of the client",
	},
	{
		Name: "topic", At: func(p *Producer) any { return &p.Topic },
		Max: limit.MaxTopicName, Required: true, Fixed: true,
		Label: "Topic", Hint: "Where the client may publish: a topic, or a pattern such as /eu/*/order or /eu/**", Example: "/customer/created",
		Help: "name of the topic, or a pattern: * stands for one segment between slashes, ** for any number of them",
	},
	{
		Name: "is_active", At: func(p *Producer) any { return (*property.Opposite)(&p.Inactive) },
		Default: true,
		Label:   "Active", Hint: "An inactive producer cannot publish",
		Help: "whether it may publish",
	},
}

// producer is a Producer at work.
type producer struct {
	id       uint32
	topic    *topic // nil: it is of a pattern
	def      atomic.Pointer[Producer]
	revision string // of def; guarded by Broker.mu
	seen     lastSeen

	published atomic.Uint64
	earlier   uint64      // published before this process: see tally
	deleted   atomic.Bool // set by the committer, for good
}

// total is what it has published in this process and before.
func (p *producer) total() uint64 { return p.published.Load() + p.earlier }
