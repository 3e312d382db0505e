package monitor

import (
	"fmt"
	"net/url"
	"strconv"
	"time"

	"pipit/admin/text"
	"pipit/broker"
	"pipit/broker/stats"
)

// Check is one of the things that could keep messages from a consumer.
type Check struct {
	Code string `json:"code"`           // stable, for scripts
	OK   bool   `json:"ok"`             // it keeps none from it
	Text string `json:"text"`           // a sentence without its full stop
	Link string `json:"link,omitempty"` // path of the page where something can be done about it; absent where it is OK
}

// What is checked.
const (
	CheckClient     = "client"
	CheckTopic      = "topic"
	CheckConsumer   = "consumer"
	CheckMessages   = "messages"
	CheckFilter     = "filter"
	CheckRoom       = "room"
	CheckInFlight   = "in_flight"
	CheckFetch      = "fetch"
	CheckCallback   = "callback"
	CheckRefused    = "refused"
	CheckDeliveries = "deliveries"
)

// checks gathers Checks of a consumer.
type checks struct {
	Thresholds
	m    *Monitor
	c    broker.ConsumerInfo
	page string // of the consumer
	now  time.Time
	list []Check
}

// add adds one, which says fine where it is ok, else wrong, with a link to a page.
func (x *checks) add(code string, ok bool, fine, wrong, link string) {
	c := Check{Code: code, OK: ok, Text: text.Shown(fine)}
	if !ok {
		c.Text, c.Link = text.Shown(wrong), x.m.prefix+link
	}
	x.list = append(x.list, c)
}

// Why tells, point by point, whether there is something that keeps messages from a consumer. It is false where there is no such
// consumer.
func (m *Monitor) Why(consumer uint32) (list []Check, ok bool) {
	c, ok := m.b.Consumer(consumer)
	if !ok {
		return nil, false
	}
	x := &checks{Thresholds: *m.limits.Load(), m: m, c: c, page: consumerLink(consumer), now: time.Now()}
	client, _ := m.b.Client(c.Client)
	x.add(CheckClient, !client.Inactive, "The client "+c.Client+" is active", "The client "+c.Client+" is inactive: it cannot sign in", "/admin/clients/"+text.Segment(c.Client)+"/edit")
	x.topic()
	switch {
	case paused(&c):
		x.add(CheckConsumer, false, "", "The consumer is paused: "+c.Callback.Paused, x.page+"/edit")
	default:
		x.add(CheckConsumer, !c.Inactive, "The consumer is active", "The consumer is inactive", x.page+"/edit")
	}
	x.messages()
	x.room()
	if c.DeliveryMode == broker.DeliveryCallback {
		x.add(CheckCallback, c.Callback.Failures == 0, "The last call to it did not fail",
			fmt.Sprintf("%s in a row failed: %s", text.Count(int64(c.Callback.Failures), "call", "calls"), c.Callback.Error), x.page+"#callbacks")
	} else {
		x.fetched()
	}
	x.refused()
	n := m.b.Repeated(consumer, uint32(x.Redelivered)) // #nosec G115 -- a number of deliveries
	x.add(CheckDeliveries, n == 0, fmt.Sprintf("No message was delivered %d times without being acknowledged", x.Redelivered),
		often(n, x.Redelivered), "/admin/messages?topic="+url.QueryEscape(c.Topic)+"&consumer="+strconv.FormatUint(uint64(c.ID), 10))
	return x.list, true
}

// often tells of messages that were delivered too often.
func often(n, deliveries int64) string {
	if n == 1 {
		return fmt.Sprintf("1 message was delivered %d times or more and is not acknowledged", deliveries)
	}
	return fmt.Sprintf("%s messages were delivered %d times or more and are not acknowledged", text.Number(n), deliveries)
}

// topic looks at the topic, or at those of a pattern.
func (x *checks) topic() {
	t, there := x.m.b.Topic(x.c.Topic)
	if !there {
		_, n, err := x.m.b.Queues(x.c.ID, 1)
		x.add(CheckTopic, err != nil || n > 0, text.Count(int64(n), "topic matches", "topics match")+" "+x.c.Topic, "No topic matches "+x.c.Topic+" yet", "/admin/topics?new")
		return
	}
	x.add(CheckTopic, !t.Inactive, "The topic "+t.Name+" is active", "The topic "+t.Name+" is inactive: it is refused to everybody", topicLink(t.Name)+"/edit")
}

// messages looks at what waits.
func (x *checks) messages() {
	c := &x.c
	t, there := x.m.b.Topic(c.Topic)
	none := c.Filter != "" && c.Published > 0 && c.Backlog == 0 && c.Delivered == 0 && c.Expired == 0 && c.Dropped == stats.Failures{} && c.DeadLettered == stats.Failures{}
	switch {
	case c.Backlog > 0 && c.Deferred == c.Backlog:
		x.add(CheckMessages, false, "", "All "+text.Count(c.Backlog, "message", "messages")+" that it has are deferred: it has rejected them with a delay that is not over", x.page+"#actions")
	case c.Backlog > 0:
		x.add(CheckMessages, true, wait(c.Backlog)+" for it or in flight", "", "")
	case there && t.LastPublish.IsZero():
		x.add(CheckMessages, false, "", "Nothing was ever published to "+t.Name, topicLink(t.Name)+"#producers")
	case there:
		x.add(CheckMessages, true, "Nothing waits for it; "+text.Duration(x.now.Sub(t.LastPublish))+" ago something was published", "", "")
	default:
		x.add(CheckMessages, true, "Nothing waits for it", "", "")
	}
	if c.Filter != "" {
		x.add(CheckFilter, !none, "Its filter is "+c.Filter, "Its filter "+c.Filter+" has let through none of "+text.Count(int64(c.Published), "message", "messages")+" that came", x.page+"/edit") // #nosec G115 -- a count
	}
}

// room looks at limits that are reached.
func (x *checks) room() {
	c := &x.c
	t, there := x.m.b.Topic(c.Topic)
	switch {
	case there && t.Depth+t.Delayed >= t.MaxDepth:
		x.add(CheckRoom, false, "", "The topic is full, and publishers are refused: "+text.Count(t.Depth+t.Delayed, "message", "messages"), topicLink(t.Name))
	default:
		x.add(CheckRoom, c.Backlog < c.MaxDepth, "There is room for more messages",
			fmt.Sprintf("Its backlog is full: %s of at most %s messages", text.Number(c.Backlog), text.Number(c.MaxDepth)), x.page+"#actions")
	}
	held := c.InFlight + c.Deferred + c.Failed
	x.add(CheckInFlight, held < int64(c.MaxInFlight), fmt.Sprintf("%s of at most %s messages are in flight", text.Number(held), text.Number(c.MaxInFlight)),
		fmt.Sprintf("%s of at most %s messages are in flight: it is given more when it acknowledges some, or they are released", text.Number(held), text.Number(c.MaxInFlight)), x.page+"#actions")
}

// fetched looks at when the consumer was seen.
func (x *checks) fetched() {
	c := &x.c
	since := x.now.Sub(c.LastSeen)
	switch {
	case c.Waiting > 0:
		x.add(CheckFetch, true, "It listens now", "", "")
	case c.LastSeen.IsZero():
		x.add(CheckFetch, false, "", "It has never fetched", x.page+"#commands")
	default:
		x.add(CheckFetch, since <= x.Away || c.Backlog == 0, "It last fetched or acknowledged "+text.Duration(since)+" ago", "It has not fetched for "+text.Duration(since), x.page+"#commands")
	}
}

// refused looks at what was refused to it lately.
func (x *checks) refused() {
	groups := x.m.RefusedLately(RefusalFilter{Consumer: x.c.ID})
	if len(groups) == 0 {
		x.add(CheckRefused, true, "No request for it was refused lately", "", "")
		return
	}
	g := &groups[0]
	said := fmt.Sprintf("%s, last %s ago", g, text.Duration(x.now.Sub(g.Last.Time)))
	x.add(CheckRefused, x.now.Sub(g.Last.Time) > x.Refused && x.c.LastSeen.After(g.Last.Time), "Refused, but not lately: "+said, "Refused: "+said, x.page+"#refusals")
}

// consumerLink is the path of a consumer's page.
func consumerLink(id uint32) string { return "/admin/consumers/" + strconv.FormatUint(uint64(id), 10) }
