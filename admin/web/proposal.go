package web

import (
	"net/url"
	"strings"

	"pipit/admin/gate"
)

// maxProposals bounds the names that a field proposes, which are all in the page. What is beyond is for the script.
const maxProposals = 200

// Propose is where the script finds proposals for what is typed, where there are more than the page has; else empty.
func (x field) Propose() string {
	switch {
	case len(x.Options) < maxProposals:
	case x.Name == "topic":
		return gate.V1 + "/topics"
	case x.Name == "client", x.Name == "sender", x.Name == "receiver":
		return gate.V1 + "/clients"
	}
	return ""
}

// topicNames are names of topics for a field to propose.
func (s *Site) topicNames() []option {
	l, err := s.Objects.Topics().List(gate.Query{Sort: "name", Limit: maxProposals})
	if err != nil {
		return nil
	}
	var names []option
	for _, t := range l.Items {
		names = append(names, option{Value: t.Name})
	}
	return names
}

// usernames are names of clients for a field to propose.
func (s *Site) usernames() []option {
	l, err := s.Objects.Clients().List(gate.Query{Sort: "username", Limit: maxProposals})
	if err != nil {
		return nil
	}
	var names []option
	for _, c := range l.Items {
		o := option{Value: c.Username}
		if c.Name != c.Username {
			o.Label = c.Name
		}
		names = append(names, o)
	}
	return names
}

// proposePair has the fields of a new producer or consumer propose the clients and topics that there are.
func (s *Site) proposePair(fields []field, proposed url.Values) []field {
	for i := range fields {
		switch x := &fields[i]; x.Name {
		case "client":
			x.Value, x.Options = proposed.Get("client"), s.usernames()
			x.Focus = x.Value == ""
		case "topic":
			x.Value, x.Options = proposed.Get("topic"), s.topicNames()
		}
	}
	return fields
}

// isPattern tells whether the topic of a producer or consumer is none, but a pattern of some.
func (s *Site) isPattern(topic string) bool {
	return strings.Contains(topic, "*") && !s.Broker.HasTopic(topic)
}

// checkPair returns an error of the field that names no client, or neither a topic nor a pattern, which the broker checks.
func (s *Site) checkPair(f *form) error {
	if _, ok := s.Broker.Client(f.get("client")); !ok {
		return &fieldError{"client", "There is no client of that username"}
	}
	if topic := f.get("topic"); !s.Broker.HasTopic(topic) && !s.isPattern(topic) {
		return &fieldError{"topic", "There is no topic of that name"}
	}
	return nil
}
