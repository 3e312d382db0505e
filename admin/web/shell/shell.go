// Package shell writes commands that people paste into a shell: calls of curl to the wire protocol and the admin API. It
// quotes what is in them.
package shell

import (
	"encoding/json"
	"net/url"
	"strings"
)

// Command is a line for a shell, with what it does.
type Command struct{ What, Line string }

// Quote makes s one word of a POSIX shell.
func Quote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:@%+=,", r)
	}
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// Bases are the base URLs that the API and the wire protocol are reached by.
type Bases struct{ Admin, Wire string }

// Variable is the name of the variable that commands take the password of a client from: SHOP_PASSWORD of shop. Each has one
// of its own, so that commands of several run in one shell.
func Variable(username string) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToUpper(username))
	if name == "" || name[0] >= '0' && name[0] <= '9' { // no shell takes that for a name
		name = "_" + name
	}
	return name + "_PASSWORD"
}

// Password puts a client's password into its variable.
func Password(username, password string) string {
	return Variable(username) + "=" + Quote(password)
}

// curl is a call of curl as a client whose password is in its Variable. path is escaped.
// Topic names can hold segments that curl would take for steps up and down.
func (at Bases) curl(method, username, path string, options ...string) string {
	words := []string{"curl", "-X", method, "-u", Quote(username) + `:"$` + Variable(username) + `"`}
	if strings.Contains(path, "/.") {
		words = append(words, "--path-as-is")
	}
	words = append(words, options...)
	return strings.Join(append(words, Quote(at.Wire+path)), " ")
}

// wirePath is a topic's name in the path of the wire protocol.
func wirePath(topic string) string {
	parts := strings.Split(topic, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return strings.Join(parts, "/")
}

// Publish has commands that publish to a topic as one of its producers.
func (at Bases) Publish(username, topic string) []Command {
	path := "/zato/pubsub/topic/" + wirePath(topic) + "/"
	return []Command{
		{"Publish", at.curl("POST", username, path, "-d", "'Hello pub/sub!'")},
		{"Publish JSON first, for an hour", at.curl("POST", username, path+"?priority=9&expiration=3600", "-H", "Content-Type:application/json", "-d", `'{"id": 1}'`)},
	}
}

// Create creates an object through the API, with a token in the variable TOKEN.
func (at Bases) Create(noun, object string) string {
	return `curl -H "Authorization: Bearer $TOKEN" -H Content-Type:application/json ` + Quote(at.Admin+"/admin/api/v1/"+noun) + " -d " + Quote(object)
}

// Receive has commands that receive and acknowledge as a consumer. Without its sub_key they take it
// from the variable SUB_KEY.
func (at Bases) Receive(username, topic, subKey string) []Command {
	settle := at.curl("DELETE", username, "/zato/pubsub/msg/", "-H", keyHeader(subKey)) + `"$MSG_ID"`
	return []Command{
		{"Receive", at.receive(username, topic, subKey, "")},
		{"Wait for one message, at most 30 seconds", at.receive(username, topic, subKey, "?max=1&wait=30")},
		{"Acknowledge", settle + "'/?ack=true'"},
		{"Give back", settle + "'/?reject=true'"},
	}
}

// receive receives from a topic, with a query or none.
func (at Bases) receive(username, topic, subKey, query string) string {
	return at.curl("POST", username, "/zato/pubsub/msg/"+wirePath(topic)+"/"+query, "-H", keyHeader(subKey))
}

// keyHeader is the header with a sub_key, or with the variable SUB_KEY.
func keyHeader(subKey string) string {
	if subKey == "" {
		return `X-Zato-PubSub-Key:"$SUB_KEY"`
	}
	return Quote("X-Zato-PubSub-Key:" + subKey)
}

// Take has commands that receive as a consumer and need no further word: they acknowledge nothing, or all at once.
func (at Bases) Take(username, topic, subKey string) []Command {
	look := at.Receive(username, topic, subKey)[0]
	take := Command{"Receive and acknowledge at once", at.receive(username, topic, subKey, "?ack=true")}
	return []Command{look, take}
}

// CreateAll makes a topic, two clients, a producer and a consumer.
func (at Bases) CreateAll() string {
	line := func(what string, object any) string {
		b, err := json.Marshal(object)
		if err != nil {
			panic(err) // of texts: never
		}
		return `curl -H "Authorization: Bearer $TOKEN" -H Content-Type:application/json -d '` + string(b) + `' ` + Quote(at.Admin+"/admin/api/v1/"+what) + "\n"
	}
	type object map[string]string
	return line("topics", object{"name": "/customer/created"}) +
		line("clients", object{"username": "crm", "name": "CRM", "password": "change this"}) +
		line("clients", object{"username": "erp", "name": "ERP", "password": "change this"}) +
		line("producers", object{"client": "crm", "topic": "/customer/created"}) +
		line("consumers", object{"client": "erp", "topic": "/customer/created"})
}
