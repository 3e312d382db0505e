package httpapi

import (
	"sync/atomic"
	"time"

	"pipit/broker"
)

// topicName returns the name of the topic that a URL means: rest as it is or, where a proxy has merged
// the slashes in front of it to one, with a slash. A topic that has the name as it is goes first.
func (s *server) topicName(rest string) string {
	if rest == "" || rest[0] == '/' || s.b.HasTopic(rest) || !s.b.HasTopic("/"+rest) {
		return rest
	}
	return "/" + rest
}

// publisher returns the door to the topic of a URL. Where no topic has the name with a slash or without, one is made
// with it, if that can be, else without. The error is Denied, or that of a topic that cannot be made.
func (s *server) publisher(x *call, c *broker.Client, rest string) (broker.Publisher, error) {
	name := s.topicName(rest)
	if name == rest && rest != "" && rest[0] != '/' && !s.b.HasTopic(rest) {
		if pub, err := s.b.Publisher(c, "/"+rest); err == nil {
			s.warnMerged(x, "/"+rest)
			return pub, nil
		}
	}
	pub, err := s.b.Publisher(c, name)
	if err == nil && name != rest {
		s.warnMerged(x, name)
	}
	return pub, err
}

// warnMerged says once a day that a proxy changes paths. It is no secret: who called may use the topic.
func (s *server) warnMerged(x *call, topic string) {
	if s.merged.due(time.Now()) {
		s.log.Warn("a proxy in front merges slashes of a path: served as the topic with the slash; let it pass paths on as they are, or clients send %2F", "topic", topic, "cid", x.ID[0])
	}
}

// daily is what happens at most once in 24 hours. Its zero value has not happened.
type daily struct{ last atomic.Int64 }

// due tells whether it is time, and counts as its happening.
func (d *daily) due(now time.Time) bool {
	last := d.last.Load()
	return (last == 0 || now.Unix()-last >= 24*60*60) && d.last.CompareAndSwap(last, now.Unix())
}
