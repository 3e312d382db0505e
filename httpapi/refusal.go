package httpapi

import (
	"net/http"
	"strings"
	"time"

	"pipit/httpapi/forwarded"
	"pipit/httpapi/refused"
)

// refusal is what is kept of a request that is answered with an error. Only here is it looked at where that was headed: requests
// that are served pay nothing for it.
func (s *server) refusal(x *call, status int, reason string) refused.Refusal {
	key := ""
	if keys := x.Request.Header["X-Zato-Pubsub-Key"]; len(keys) == 1 {
		key = keys[0]
	}
	named := s.b.NamedBy(x.username, key)
	f := refused.Refusal{
		At: time.Now(), Client: x.username, Known: named.Client, SignedIn: x.client != nil, Consumer: named.Consumer, Topic: named.Topic,
		Addr: forwarded.Host(x.Remote), Method: x.Request.Method, Status: status, Reason: reason,
	}
	var rest string
	f.Route, rest = s.routeOf(x.Request.URL.Path)
	switch {
	case x.hook:
		f.Webhook = x.key
	case rest == "" || f.Route == "/hook":
	case f.Route == "/zato/pubsub/msg" && x.Request.Method == http.MethodDelete: // of a message
	default:
		if meant := s.b.NamedBy("", strings.TrimPrefix(rest, "/")); meant.Consumer != 0 {
			f.Topic, f.Reason = meant.Topic, "the path has a sub_key in the place of a topic"
		} else {
			f.Topic = s.topicName(rest)
		}
	}
	return f
}

// routeOf returns the route that a path belongs to, without what it names, and that. It is empty where there is none.
func (s *server) routeOf(path string) (route, rest string) {
	for _, rt := range s.routes() {
		prefix, wild := strings.CutSuffix(rt.path, "*rest")
		switch tail, ok := strings.CutPrefix(path, prefix); {
		case wild && ok:
			return strings.TrimSuffix(prefix, "/"), strings.TrimSuffix(tail, "/")
		case !wild && path == rt.path:
			return strings.TrimSuffix(path, "/"), ""
		}
	}
	return "", ""
}
