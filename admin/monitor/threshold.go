package monitor

import (
	"time"

	"pipit/broker"
)

// Thresholds are from where on something needs attention.
type Thresholds struct {
	Full        int64         // percent of a max_depth or max_bytes
	Away        time.Duration // since a consumer was last seen
	Failing     time.Duration // of nothing but calls that fail
	InFlight    time.Duration // at max_in_flight without an acknowledgement
	Refused     time.Duration // since a request of a client was last refused
	Redelivered int64         // deliveries of one message
	Certificate time.Duration // until the certificate ends
	DiskPercent int64         // of the disk that is free; less is little
	DiskFree    int64         // bytes that are free; less is little, unless it is half of the disk
	NodeAway    time.Duration // since a node of the cluster was last heard of
	NodeLag     int64         // entries that a node is behind the leader
}

// DefaultThresholds are those of a Monitor that was told no others.
var DefaultThresholds = Thresholds{
	Full: 80, Away: 15 * time.Minute, Failing: 5 * time.Minute, InFlight: time.Minute, Refused: 10 * time.Minute,
	Redelivered: 5, Certificate: 14 * 24 * time.Hour, DiskPercent: 10, DiskFree: 1 << 30, NodeAway: 10 * time.Second, NodeLag: 10000,
}

// Adjust takes over other thresholds, which count from the next look on.
func (m *Monitor) Adjust(t Thresholds) { m.limits.Store(&t) }

// NearlyFullTopic tells whether a topic is near one of its limits.
func (t *Thresholds) NearlyFullTopic(topic *broker.TopicInfo) bool {
	return t.NearlyFull(topic.Depth+topic.Delayed, topic.MaxDepth) || t.nearlyFullOfBytes(topic)
}

// nearlyFullOfBytes tells whether max_bytes is near. What is retained gives way, and is no reason.
func (t *Thresholds) nearlyFullOfBytes(topic *broker.TopicInfo) bool {
	return topic.MaxBytes > 0 && topic.Retained == 0 && t.NearlyFull(topic.Bytes, int64(topic.MaxBytes))
}

// NearlyFull tells whether n messages of at most so many are enough to say so.
func (t *Thresholds) NearlyFull(n, most int64) bool {
	return n > 0 && float64(n)*100 >= float64(most)*float64(t.Full)
}

// IsAway returns a function that tells whether messages came to a consumer after it was last seen, long before now. off are
// the clients that are inactive, and published tells when something was last published to each topic.
func (t *Thresholds) IsAway(off map[string]bool, published func() map[string]time.Time, now time.Time) func(*broker.ConsumerInfo) bool {
	return func(c *broker.ConsumerInfo) bool {
		if c.Inactive || off[c.Client] || c.Backlog == 0 || c.Waiting > 0 || c.DeliveryMode == broker.DeliveryCallback {
			return false
		}
		return c.LastSeen.IsZero() || now.Sub(c.LastSeen) > t.Away && published()[c.Topic].After(c.LastSeen)
	}
}
