package object

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"

	"pipit/admin/gate"
	"pipit/broker"
	"pipit/broker/change"
	"pipit/broker/clip"
	"pipit/broker/property"
)

// ConnectExpiration is the expiration of a new topic that connects two systems, in seconds, where a connection does not say:
// a week, since the receiver may be away, or not be there yet, for longer than the minute of the protocol.
const ConnectExpiration = 7 * 24 * 60 * 60

// Connection is what connects two systems: a topic, a client that publishes to it and one that receives from it. What
// exists stays as it is.
type Connection struct {
	Sender      string `json:"sender"`       // username of the client that publishes; one that does not exist is created
	Receiver    string `json:"receiver"`     // username of the client that receives, likewise; it may be the same
	Topic       string `json:"topic"`        // name, likewise
	Expiration  int64  `json:"expiration"`   // seconds after which messages of a new topic are lost that were not received; 0: they do not expire
	CallbackURL string `json:"callback_url"` // where messages are sent to; empty: the receiver fetches them
}

// Connected is a connection that was made, with the secrets that both sides need. Passwords are told this once: only their
// hashes are stored.
type Connected struct {
	Topic            string       `json:"topic"`
	Expiration       int64        `json:"expiration"` // seconds, of the topic; 0: its messages do not expire
	Sender           string       `json:"sender"`
	SenderPassword   string       `json:"sender_password,omitempty"` // that was made; absent: the client existed
	Receiver         string       `json:"receiver"`
	ReceiverPassword string       `json:"receiver_password,omitempty"` // likewise, and absent where it is the sender
	ConsumerID       uint32       `json:"consumer_id"`
	SubKey           string       `json:"sub_key"`                   // that the receiver needs
	CallbackURL      string       `json:"callback_url,omitempty"`    // where messages are sent to
	CallbackSecret   string       `json:"callback_secret,omitempty"` // that these calls are signed with
	URL              string       `json:"url"`                       // base URL that both reach the broker by, as far as the request tells
	Plan             []PlanAction `json:"plan"`                      // what was created, and what was kept as it was
}

// Connect connects two systems in one commit, with an entry in the audit log for each object that it creates. Two that
// are connected stay so: the answer has what is there. The errors are Invalid, with the field of the Connection,
// Unavailable and DiskFull.
func (o *Objects) Connect(ctx context.Context, who gate.Actor, c Connection) (out Connected, err error) {
	err = retryConflicts("", func() error {
		out, err = o.connect(ctx, who, c)
		return err
	})
	return out, err
}

// connecting is a Connection on its way.
type connecting struct {
	o      *Objects
	who    gate.Actor
	change broker.Change
	fields []string // of the Connection, which the clients of the change stand for
	out    Connected
}

func (o *Objects) connect(ctx context.Context, who gate.Actor, c Connection) (none Connected, err error) {
	x := &connecting{o: o, who: who, out: Connected{Topic: c.Topic, Sender: c.Sender, Receiver: c.Receiver}}
	if x.out.SenderPassword, err = x.client("sender", c.Sender); err != nil {
		return none, err
	}
	if c.Receiver != c.Sender {
		if x.out.ReceiverPassword, err = x.client("receiver", c.Receiver); err != nil {
			return none, err
		}
	}
	for _, add := range []func(*Connection) error{x.topic, x.producer} {
		if err := add(&c); err != nil {
			return none, err
		}
	}
	found, err := x.consumer(&c)
	if err != nil {
		return none, err
	}
	if len(x.change.Documents) == 0 { // all of it exists
		o.NoteReveal(ctx, found)
		return x.out, nil
	}
	done, err := o.b.Change(ctx, x.change)
	if err != nil {
		return none, x.blame(err)
	}
	if found == nil {
		made, ok := o.Consumers().find(refKey(change.Ref{ID: done.Consumers[0].ID}))
		if !ok { // deleted since
			return none, NotFound("consumer", OfTopic(c.Receiver, c.Topic))
		}
		x.keep(&made)
	} else {
		o.NoteReveal(ctx, found)
	}
	return x.out, nil
}

// does notes in the plan, and of what is created in the audit log, what becomes of an object.
func (x *connecting) does(kind change.Kind, key string, exists bool) {
	p := PlanAction{Action: change.Keep, Kind: kind, Key: key}
	if !exists {
		p.Action = change.Create
		x.change.Documents = append(x.change.Documents, x.o.trail.Entry(x.who, string(kind)+".create", key, "to connect two systems"))
	}
	x.out.Plan = append(x.out.Plan, p)
}

// expect has the change refused where an object comes or goes meanwhile.
func (x *connecting) expect(ref change.Ref, exists bool) {
	e := change.Expect{Ref: ref}
	if exists {
		e.Revision = "*"
	}
	x.change.Expect = append(x.change.Expect, e)
}

// client adds a client that does not exist, and returns the password that it gets.
func (x *connecting) client(field, username string) (password string, err error) {
	info, exists := x.o.b.Client(username)
	if exists && info.Inactive {
		return "", gate.Invalid(field, "%s %q: the client is inactive, make it active first", field, clip.Input(username))
	}
	x.does(change.Client, username, exists)
	x.expect(change.Ref{Kind: change.Client, Name: username}, exists)
	if exists {
		return "", nil
	}
	v := NewClient()
	v.Username, v.Name, v.Password = username, username, rand.Text()
	x.change.Define.Clients = append(x.change.Define.Clients, v.Client)
	x.fields = append(x.fields, field)
	return v.Password, nil
}

// topic adds the topic, where it does not exist.
func (x *connecting) topic(c *Connection) error {
	info, exists := x.o.b.Topic(c.Topic)
	switch {
	case exists && info.Inactive:
		return gate.Invalid("topic", "topic %q: it is inactive, make it active first", clip.Input(c.Topic))
	case !exists && strings.Contains(c.Topic, "*"):
		return gate.Invalid("topic", "topic %q: allowed is the name of one topic, and no pattern", clip.Input(c.Topic))
	}
	x.does(change.Topic, c.Topic, exists)
	x.expect(change.Ref{Kind: change.Topic, Name: c.Topic}, exists)
	v := NewTopic()
	v.Name = c.Topic
	topicExpiration.Set(&v.Topic, c.Expiration)
	if exists { // then its own counts, and what is not allowed is refused all the same
		if err := (property.Fields[broker.Topic]{*topicExpiration}).Validate(&v.Topic, "topic"); err != nil {
			return gate.Invalid("expiration", "%v", err)
		}
		x.out.Expiration = TopicExpiration(&info.Topic)
		return nil
	}
	x.out.Expiration = c.Expiration
	x.change.Define.Topics = []broker.Topic{v.Topic}
	return nil
}

var topicExpiration = broker.TopicFields.Named("expiration")

// TopicExpiration is after how many seconds a topic's messages expire that do not say; 0: they do not.
func TopicExpiration(t *broker.Topic) int64 { return topicExpiration.Value(t).(int64) }

// producer lets the sender publish, unless it may.
func (x *connecting) producer(c *Connection) error {
	var found *broker.ProducerInfo
	all := x.o.b.Producers()
	for i := range all {
		if all[i].Client == c.Sender && all[i].Topic == c.Topic {
			found = &all[i]
		}
	}
	if found != nil && found.Inactive {
		return gate.Invalid("sender", "sender %q: it is a producer of %q that is inactive, make it active first", clip.Input(c.Sender), clip.Input(c.Topic))
	}
	x.does(change.Producer, OfTopic(c.Sender, c.Topic), found != nil)
	if found == nil {
		v := NewProducer()
		v.Client, v.Topic = c.Sender, c.Topic
		x.expect(change.Ref{Kind: change.Producer, Name: c.Sender, Topic: c.Topic}, false)
		x.change.Define.Producers = []broker.Producer{v.Producer}
	}
	return nil
}

// consumer gives the receiver a queue, unless it has one, which it returns.
func (x *connecting) consumer(c *Connection) (*Consumer, error) {
	all := x.o.b.Consumers()
	for i := range all {
		info := &all[i]
		if info.Client != c.Receiver || info.Topic != c.Topic || info.Inactive {
			continue
		}
		if info.CallbackURL != c.CallbackURL {
			return nil, gate.Invalid("callback_url", "callback_url %q: client %q is a consumer of %q already that has another one, or none: edit that one", clip.Input(c.CallbackURL), clip.Input(c.Receiver), clip.Input(c.Topic))
		}
		found := consumerOf(info)
		x.does(change.Consumer, OfTopic(found.Label(), found.Topic), true)
		x.keep(&found)
		return &found, nil
	}
	v := NewConsumer()
	v.Client, v.Topic = c.Receiver, c.Topic
	if c.CallbackURL != "" {
		v.DeliveryMode, v.CallbackURL = broker.DeliveryCallback, c.CallbackURL
	}
	x.does(change.Consumer, OfTopic(c.Receiver, c.Topic), false)
	x.change.Define.Consumers = []broker.Consumer{v.definition()}
	return nil, nil
}

// keep takes over what the receiver needs of its consumer.
func (x *connecting) keep(c *Consumer) {
	x.out.ConsumerID, x.out.SubKey, x.out.CallbackURL = c.ID, c.SubKey, c.CallbackURL
	if c.DeliveryMode == broker.DeliveryCallback {
		x.out.CallbackSecret = c.CallbackSecret
	}
}

// blame makes the first fault of a definition one of a field of the Connection.
func (x *connecting) blame(err error) error {
	var faults broker.Faults
	if !errors.As(err, &faults) {
		return err
	}
	f := faults[0]
	e := *f.Err
	switch {
	case f.Kind == change.Client:
		e.Field = x.fields[f.Index]
	case e.Field == "expiration" || e.Field == "callback_url":
	case e.Field == "client" && f.Kind == change.Producer:
		e.Field = "sender"
	case e.Field == "client":
		e.Field = "receiver"
	default:
		e.Field = "topic"
	}
	return &e
}
