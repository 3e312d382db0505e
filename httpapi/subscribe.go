package httpapi

import (
	"net/http"

	"pipit/broker"
	"pipit/httpapi/forwarded"
)

// subscribe answers with the sub_key of the client's consumer of a topic, which it makes where there is none.
func (s *server) subscribe(x *call, r *http.Request, rest string) error {
	sub, err := s.subscriber(x, r, rest)
	if err != nil {
		return err
	}
	key, err := sub.Subscribe(&x.ctx)
	if err != nil {
		return err
	}
	d := x.document(x.room[:], "ZATO_OK")
	d.text("sub_key", key)
	x.send(http.StatusOK, &d)
	return nil
}

// subscribed tells of that consumer.
func (s *server) subscribed(x *call, r *http.Request, rest string) error {
	sub, err := s.subscriber(x, r, rest)
	if err != nil {
		return err
	}
	c, err := sub.Subscribed()
	if err != nil {
		return err
	}
	d := x.document(x.room[:], "ZATO_OK")
	d.text("sub_key", c.SubKey)
	d.number("backlog", int(c.Backlog))
	d.number("in_flight", int(c.InFlight))
	x.send(http.StatusOK, &d)
	return nil
}

// unsubscribe deletes that consumer.
func (s *server) unsubscribe(x *call, r *http.Request, rest string) error {
	sub, err := s.subscriber(x, r, rest)
	if err != nil {
		return err
	}
	if err := sub.Unsubscribe(&x.ctx); err != nil {
		return err
	}
	return x.ok()
}

// subscriber returns the client's door to its consumer of the topic of a URL. Where no topic has the name with a slash or
// without, and the client is not subscribed to it without, it is with it, if the client may subscribe to that.
func (s *server) subscriber(x *call, r *http.Request, rest string) (sub broker.Subscriber, err error) {
	c, err := s.client(x, r)
	if err != nil {
		return sub, err
	}
	if rest == "" {
		return sub, errNoTopic
	}
	if _, err := parseParams(r.URL.RawQuery); err != nil {
		return sub, err
	}
	name, from := s.topicName(rest), forwarded.Host(x.Remote)
	sub = s.b.Subscriber(c, name, from)
	if name[0] != '/' && !s.b.HasTopic(name) {
		if _, err := sub.Subscribed(); err != nil {
			slashed := s.b.Subscriber(c, "/"+name, from)
			if _, err := slashed.Subscribed(); err == nil || broker.CodeOf(err) == broker.NotFound {
				return slashed, nil
			}
		}
	}
	return sub, nil
}
