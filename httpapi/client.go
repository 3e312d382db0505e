package httpapi

import (
	"net/http"

	"pipit/broker"
	"pipit/httpapi/forwarded"
)

// client returns who calls. The errors are those of broker.Authenticate.
func (s *server) client(x *exchange, r *http.Request) (*broker.Client, error) {
	username, password, ok := r.BasicAuth()
	if !ok {
		return nil, errNoCredentials
	}
	x.username = username
	return s.b.Authenticate(r.Context(), username, password, forwarded.Host(x.remote))
}

var errNoCredentials = &broker.Error{Code: broker.Unauthorized, Message: "Invalid credentials", Reason: "no credentials"}

// subscription returns the queue that the request's sub_key opens. With topic empty it may be one
// of any topic.
func (s *server) subscription(x *exchange, r *http.Request, topic string) (broker.Subscription, error) {
	c, err := s.client(x, r)
	if err != nil {
		return broker.Subscription{}, err
	}
	keys := r.Header["X-Zato-Pubsub-Key"] // how net/http spells X-Zato-PubSub-Key
	if len(keys) != 1 || keys[0] == "" {
		return broker.Subscription{}, broker.Invalidf("Header X-Zato-PubSub-Key: exactly one is needed, the consumer's sub_key")
	}
	if len(keys[0]) >= 16 {
		x.key = keys[0][:4] // enough to tell it from others, too little to use it
	}
	return s.b.Subscription(c, topic, keys[0])
}
