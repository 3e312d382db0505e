package httpapi

import (
	"net/http"
	"unicode/utf8"

	"pipit/broker"
	"pipit/httpapi/forwarded"
)

// client returns who calls. The errors are those of broker.Authenticate.
func (s *server) client(x *call, r *http.Request) (*broker.Client, error) {
	username, password, ok := r.BasicAuth()
	if !ok {
		return nil, errNoCredentials
	}
	if !utf8.ValidString(username) || !utf8.ValidString(password) {
		username, password = fromLatin1(username), fromLatin1(password)
	}
	x.username = username
	c, err := s.b.Authenticate(&x.ctx, username, password, forwarded.Host(x.Remote))
	x.client = c
	return c, err
}

var errNoCredentials = &broker.Error{Code: broker.Unauthorized, Message: "Invalid credentials", Reason: "no credentials"}

// fromLatin1 returns in UTF-8 what s is in ISO-8859-1, the charset of credentials of older clients.
func fromLatin1(s string) string {
	runes := make([]rune, len(s))
	for i := range len(s) {
		runes[i] = rune(s[i])
	}
	return string(runes)
}

// subscription returns the queue that the request's sub_key opens. With topic empty it may be one
// of any topic.
func (s *server) subscription(x *call, r *http.Request, topic string) (broker.Subscription, error) {
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
	name := s.topicName(topic)
	sub, err := s.b.Subscription(c, name, keys[0])
	if err == nil && name != topic {
		s.warnMerged(x, name)
	}
	return sub, err
}
