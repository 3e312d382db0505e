package web

import (
	"net/http"
	"net/url"
	"strings"

	"pipit/broker"
)

// command is a line for a shell, with what it does.
type command struct{ What, Line string }

// shellQuote makes s one word of a POSIX shell.
func shellQuote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:@%+=,", r)
	}
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// bases are the base URLs that a request's sender reaches the API and the wire protocol by.
type bases struct{ admin, wire string }

func (s *Site) bases(r *http.Request) bases {
	admin, wire := s.Reach.Bases(r)
	return bases{admin, wire}
}

// curl is a call of curl as a client whose password is in the variable PASSWORD. path is escaped.
// Topic names can hold segments that curl would take for steps up and down.
func (at bases) curl(method, username, path string, options ...string) string {
	words := []string{"curl", "-X", method, "-u", shellQuote(username) + `:"$PASSWORD"`}
	if strings.Contains(path, "/.") {
		words = append(words, "--path-as-is")
	}
	words = append(words, options...)
	return strings.Join(append(words, shellQuote(at.wire+path)), " ")
}

// wirePath is a topic's name in the path of the wire protocol.
func wirePath(topic string) string {
	parts := strings.Split(topic, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return strings.Join(parts, "/")
}

// publishes tells whether publishCommands work as a producer: it is active, and of one topic.
func (s *Site) publishes(p *broker.Producer) bool { return !p.Inactive && !s.isPattern(p.Topic) }

// receives tells whether receiveCommands work as a consumer: it is active, and comes for its messages.
func receives(c *broker.Consumer) bool { return !c.Inactive && c.DeliveryMode == broker.DeliveryPull }

// publishCommands publish to a topic as one of its producers.
func (at bases) publishCommands(username, topic string) []command {
	path := "/zato/pubsub/topic/" + wirePath(topic) + "/"
	return []command{
		{"Publish", at.curl("POST", username, path, "-d", "'Hello pub/sub!'")},
		{"Publish JSON first, for an hour", at.curl("POST", username, path+"?priority=9&expiration=3600", "-H", "Content-Type:application/json", "-d", `'{"id": 1}'`)},
	}
}

// createCommand creates an object through the API, with a token in the variable TOKEN.
func (at bases) createCommand(noun, object string) string {
	return `curl -H "Authorization: Bearer $TOKEN" -H Content-Type:application/json ` + shellQuote(at.admin+"/admin/api/v1/"+noun) + " -d " + shellQuote(object)
}

// receiveCommands receive and acknowledge as a consumer. Without its sub_key they take it
// from the variable SUB_KEY.
func (at bases) receiveCommands(username, topic, subKey string) []command {
	key := `X-Zato-PubSub-Key:"$SUB_KEY"`
	if subKey != "" {
		key = shellQuote("X-Zato-PubSub-Key:" + subKey)
	}
	path := "/zato/pubsub/msg/" + wirePath(topic) + "/"
	settle := at.curl("DELETE", username, "/zato/pubsub/msg/", "-H", key) + `"$MSG_ID"`
	return []command{
		{"Receive", at.curl("POST", username, path, "-H", key)},
		{"Wait for one message, at most 30 seconds", at.curl("POST", username, path+"?max=1&wait=30", "-H", key)},
		{"Acknowledge", settle + "'/?ack=true'"},
		{"Give back", settle + "'/?reject=true'"},
	}
}
