package web

import (
	"net/http"

	"pipit/admin/web/shell"
	"pipit/broker"
)

// bases are the base URLs that a request's sender reaches the API and the wire protocol by.
func (s *Site) bases(r *http.Request) shell.Bases {
	admin, wire := s.Reach.Bases(r)
	return shell.Bases{Admin: admin, Wire: wire}
}

// publishes tells whether the commands to publish work as a producer: it is active, and of one topic.
func (s *Site) publishes(p *broker.Producer) bool { return !p.Inactive && !s.isPattern(p.Topic) }

// publisher returns the username of an active producer of a topic, or else of a pattern that it matches, with that. It is
// empty where there is none.
func (s *Site) publisher(topic string) (username, pattern string) {
	all := s.Broker.Producers()
	for i := range all {
		if p := &all[i]; p.Topic == topic && !p.Inactive {
			return p.Client, ""
		}
	}
	for i := range all {
		p := &all[i]
		if p.Inactive || !s.isPattern(p.Topic) {
			continue
		}
		if _, err := s.Broker.Publisher(&broker.Client{Username: p.Client}, topic); err == nil {
			return p.Client, p.Topic
		}
	}
	return "", ""
}

// receives tells whether the commands to receive work as a consumer: it is active, and comes for its messages.
func receives(c *broker.Consumer) bool { return !c.Inactive && c.DeliveryMode == broker.DeliveryPull }
