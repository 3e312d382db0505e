package broker

import "time"

// Producer is a client's permission to publish to a topic.
type Producer struct {
	Client   string // username
	Topic    string // name
	Active   bool
	LastSeen time.Time `json:"-"` // the last accepted publish; zero: never
}
