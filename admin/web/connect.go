package web

import (
	"net/http"
	"net/url"
	"strconv"
	"time"

	"pipit/admin/access"
	"pipit/admin/gate"
	"pipit/admin/object"
	"pipit/admin/text"
	"pipit/admin/web/shell"
	"pipit/broker"
	"pipit/broker/limit"
)

// connectPages connect two systems: a form, and what both of them need to know.
type connectPages struct{ *Site }

const (
	connectPath   = "/admin/connect"
	connectedPath = connectPath + "/done"
)

func (cp connectPages) routes() []gate.Route {
	return []gate.Route{
		gate.Get(connectPath, cp.pageConnect, gate.Read),
		gate.Post(connectPath, cp.postConnect, gate.Write),
		gate.Get(connectedPath, cp.pageConnected, gate.Write), // it can show secrets
		gate.Post(connectedPath, cp.postTest, gate.Write),
		gate.Get(connectPath+"/live", cp.pageAwait, gate.Read),
	}
}

// connectForm asks for all that two systems are connected by.
func (cp connectPages) connectForm(proposed url.Values) *form {
	day := int64(24 * 60 * 60)
	var waits []option
	for _, o := range []struct {
		seconds int64
		label   string
	}{{60 * 60, "1 hour"}, {day, "1 day"}, {object.ConnectExpiration, "7 days"}, {30 * day, "30 days"}, {365 * day, "1 year"}, {0, "for ever"}} {
		waits = append(waits, option{strconv.FormatInt(o.seconds, 10), o.label})
	}
	usernames := cp.usernames()
	return newForm("connect", connectPath, "Connect",
		field{Name: "sender", Label: "Who sends", Required: true, Focus: true, Value: proposed.Get("sender"), Options: usernames,
			Hint: "A name such as shop. It becomes a client with a password of its own, unless there is one of the name"},
		field{Name: "receiver", Label: "Who receives", Required: true, Value: proposed.Get("receiver"), Options: usernames,
			Hint: "Likewise, such as erp. It has its own queue"},
		field{Name: "topic", Label: "Topic", Required: true, Value: proposed.Get("topic"), Options: cp.topicNames(),
			Hint: "What it is about, such as /order/created. One that exists keeps its settings"},
		field{Name: "expiration", Label: "Messages wait at most", Type: "select", Value: strconv.Itoa(object.ConnectExpiration), Options: waits,
			Hint: "What the receiver has not fetched by then is lost. A sender can ask for less"},
		field{Name: "callback_url", Label: "Send them to this URL",
			Hint: "Empty: the receiver fetches its messages. Else each is sent to the URL as soon as it is there"},
	)
}

func (cp connectPages) renderConnect(w http.ResponseWriter, r *http.Request, status int, f *form) error {
	return cp.renderForm(w, r, status, "overview", "Connect two systems", formPage{
		Back: link{gate.RootPath, "Overview"},
		Lead: "One system publishes messages to a topic, the other one receives them.",
		Form: f,
	})
}

func (cp connectPages) pageConnect(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	return cp.renderConnect(w, r, 0, cp.connectForm(r.URL.Query()))
}

func (cp connectPages) postConnect(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	v, err := readForm(w, r)
	if err != nil {
		return err
	}
	f := cp.connectForm(url.Values{})
	f.typedInPart(v)
	var done object.Connected
	c := object.Connection{Sender: f.get("sender"), Receiver: f.get("receiver"), Topic: f.get("topic"), CallbackURL: f.get("callback_url")}
	if c.Expiration, err = f.number("expiration", object.ConnectExpiration); err == nil {
		done, err = cp.Objects.Connect(r.Context(), gate.ActorOf(r.Context()), c)
	}
	if err != nil {
		status, err := f.fail(err)
		if err != nil {
			return err
		}
		return cp.renderConnect(w, r, status, f)
	}
	return cp.done(w, r, connectedURL(done.ConsumerID, done.Sender, cp.once.put(access.CallerOf(r.Context()).SessionID(), done), ""), "")
}

// connectedURL is the page of two systems that are connected. once is the key of their secrets on the shelf, and sent the ID
// of a test message.
func connectedURL(consumer uint32, sender, once, sent string) string {
	v := url.Values{"consumer": {strconv.FormatUint(uint64(consumer), 10)}, "sender": {sender}}
	if once != "" {
		v.Set("once", once)
	}
	if sent != "" {
		v.Set("sent", sent)
	}
	return connectedPath + "?" + v.Encode()
}

// connectedPage is what two systems that are connected need to know.
type connectedPage struct {
	object.Connected
	Once     string // key of the secrets; empty: their time is over
	Sent     string // ID of a test message
	Send     []shell.Command
	Receive  []shell.Command
	Consumer string // path of its page
	Await    string // URL of the stream that tells what came of it
	State    awaited
}

// Waits is the topic's expiration.
func (p connectedPage) Waits() time.Duration { return time.Duration(p.Expiration) * time.Second }

func (cp connectPages) pageConnected(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	q := r.URL.Query()
	c, err := cp.Objects.Consumers().LookUp(q.Get("consumer"))
	if err != nil {
		return err
	}
	if _, err := cp.Objects.Clients().LookUp(q.Get("sender")); err != nil {
		return err
	}
	page := connectedPage{
		Connected: object.Connected{Topic: c.Topic, Sender: q.Get("sender"), Receiver: c.Client, ConsumerID: c.ID, CallbackURL: c.CallbackURL},
		Consumer:  consumerPath(c.ID),
		Await:     connectPath + "/live?" + url.Values{"consumer": {q.Get("consumer")}}.Encode(),
		State:     awaitedOf(&c),
	}
	if t, ok := cp.Broker.Topic(c.Topic); ok {
		page.Expiration = object.TopicExpiration(&t.Topic)
	}
	if made, ok := shelvedOf[object.Connected](&cp.once, access.CallerOf(r.Context()).SessionID(), q.Get("once")); ok && made.ConsumerID == c.ID && made.Sender == page.Sender {
		page.Connected, page.Once = made, q.Get("once")
	}
	if id := q.Get("sent"); limit.CheckMessageID(id) == nil {
		page.Sent = id
	}
	at := cp.bases(r)
	page.Send = withPassword(at.Publish(page.Sender, page.Topic)[:1], page.Sender, page.SenderPassword)
	if c.DeliveryMode == broker.DeliveryPull {
		password := page.ReceiverPassword
		if page.Receiver == page.Sender {
			password = page.SenderPassword
		}
		page.Receive = withPassword(at.Take(page.Receiver, page.Topic, page.SubKey), page.Receiver, password)
	}
	return cp.render(w, r, "connected", http.StatusOK, view{Title: page.Sender + " and " + page.Receiver, Nav: "overview", Data: page})
}

// withPassword has commands set the variable of the password, where it is known.
func withPassword(commands []shell.Command, username, password string) []shell.Command {
	if password != "" {
		for i := range commands {
			commands[i].Line = shell.Password(username, password) + "\n" + commands[i].Line
		}
	}
	return commands
}

// postTest publishes a test message.
func (cp connectPages) postTest(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	v, err := readForm(w, r)
	if err != nil {
		return err
	}
	c, err := cp.Objects.Consumers().LookUp(v.Get("consumer"))
	if err != nil {
		return err
	}
	id, err := cp.Objects.Publish(r.Context(), gate.ActorOf(r.Context()), c.Topic, object.Publication{
		Payload: []byte("A test message"), MIMEType: limit.DefaultMIMEType, Priority: limit.DefaultPriority})
	if err != nil {
		return err
	}
	return cp.done(w, r, connectedURL(c.ID, v.Get("sender"), v.Get("once"), id), "")
}

// awaited is how far a connection is.
type awaited struct {
	Text string `json:"text"`
	Done bool   `json:"done"` // a message was received and acknowledged
}

func awaitedOf(c *object.Consumer) awaited {
	switch {
	case c.Acked > 0:
		return awaited{"It works: a message was received and acknowledged.", true}
	case c.Callback != nil && c.Callback.Failures > 0:
		return awaited{"The call failed, and is tried again: " + c.Callback.Error, false}
	case c.Callback != nil:
		return awaited{"Waiting for the first call…", false}
	case c.Delivered > 0:
		return awaited{"Fetched, and not acknowledged yet: " + text.Count(c.InFlight, "message is", "messages are") + " in flight.", false}
	case !c.LastSeen.IsZero() || c.Waiting > 0:
		return awaited{"The receiver was here, and there was no message yet.", false}
	default:
		return awaited{"Waiting for the first fetch…", false}
	}
}

// pageAwait streams how far a connection is, until it works.
func (cp connectPages) pageAwait(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	key := r.URL.Query().Get("consumer")
	if _, err := cp.Objects.Consumers().LookUp(key); err != nil {
		return err
	}
	return cp.follow(w, r, func() any {
		c, err := cp.Objects.Consumers().LookUp(key)
		if err != nil {
			return nil
		}
		return awaitedOf(&c)
	})
}
