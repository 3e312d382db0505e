package httpapi_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"pipit/broker"
	"pipit/broker/limit"
	"pipit/broker/property"
)

const subscribe = "/zato/pubsub/subscribe//news/"

// canSubscribe lets the client erp make consumers of topics by itself, and of no others.
func (r *rig) canSubscribe(patterns ...string) {
	r.t.Helper()
	r.change(broker.Change{Define: broker.Definition{Clients: []broker.Client{
		{Username: "erp", Name: "ERP", PasswordHash: erpHash, CanSubscribe: property.TextsOf(patterns...)},
	}}})
}

// topics makes topics that crm may publish to.
func (r *rig) topics(names ...string) {
	r.t.Helper()
	var d broker.Definition
	for _, name := range names {
		d.Topics = append(d.Topics, broker.Topic{Name: name})
		d.Producers = append(d.Producers, broker.Producer{Client: "crm", Topic: name})
	}
	r.change(broker.Change{Define: d})
}

func (r *rig) change(c broker.Change) {
	r.t.Helper()
	if _, err := r.b.Change(ctx, c); err != nil {
		r.t.Fatal(err)
	}
}

// subscribed subscribes the client erp and returns the sub_key.
func (r *rig) subscribed(path string) string {
	r.t.Helper()
	a := r.do("POST", path, erp, "")
	subKey, ok := strings.CutPrefix(a.body, `{"status": "ZATO_OK", "sub_key": "`)
	subKey, whole := strings.CutSuffix(subKey, `"}`)
	if a.status != 200 || !ok || !whole || !cidPattern.MatchString(subKey) {
		r.t.Fatalf("%s: %d %s", path, a.status, a.body)
	}
	return subKey
}

// own returns the consumers of the client erp of a topic that it made by itself.
func (r *rig) own(topic string) (own []broker.ConsumerInfo) {
	for _, c := range r.b.Consumers() {
		if c.Client == "erp" && c.Topic == topic && c.SelfService {
			own = append(own, c)
		}
	}
	return own
}

// TestSubscribe: a client makes a consumer, is given the same key whenever it asks, receives, looks and deletes.
func TestSubscribe(t *testing.T) {
	r := newServer(t)
	r.topics("/news")
	r.change(broker.Change{Define: broker.Definition{Consumers: []broker.Consumer{{Client: "bob", Topic: "/news"}}}})
	r.canSubscribe("/other", "/news")
	const none = "Not subscribed to topic `/news`"
	r.refuse(404, none, "GET", subscribe, erp, "")
	r.refuse(404, none, "DELETE", subscribe, erp, "")
	const publish = "/zato/pubsub/topic//news/"
	r.publish(publish, "before")

	subKey := r.subscribed(subscribe)
	for _, path := range []string{subscribe, "/zato/pubsub/subscribe//news", "/zato/pubsub/subscribe/%2Fnews", "/zato/pubsub/subscribe/news/", subscribe + "?_=1&format=json"} {
		if again := r.subscribed(path); again != subKey {
			t.Errorf("%s: another key", path)
		}
	}
	a := r.do("POST", subscribe+"?format=xml", erp, `{"not": "looked at"}`)
	if a.status != 200 || !strings.HasSuffix(a.body, "<data><status>ZATO_OK</status><sub_key>"+subKey+"</sub_key></data>") {
		t.Errorf("as XML: %d %s", a.status, a.body)
	}

	r.publish(publish, "1")
	r.publish(publish, "2")
	if got := r.receive("/zato/pubsub/msg//news/?max=1", subKey).payloads(); strings.Join(got, "|") != "1" {
		t.Errorf("received %q", got)
	}
	r.want(200, `{"status": "ZATO_OK", "sub_key": "`+subKey+`", "backlog": 2, "in_flight": 1}`, "GET", subscribe, erp, "")
	if a := r.do("HEAD", subscribe, erp, ""); a.status != 200 || a.body != "" {
		t.Errorf("HEAD: %d %q", a.status, a.body)
	}

	r.want(200, `{"status": "ZATO_OK", "details": ""}`, "DELETE", subscribe, erp, "")
	r.refuse(404, none, "DELETE", subscribe, erp, "")
	r.refuse(403, "Permission denied", "POST", "/zato/pubsub/msg//news/", erp, "", "X-Zato-PubSub-Key", subKey)
	next := r.subscribed(subscribe)
	r.want(200, `{"status": "ZATO_OK", "sub_key": "`+next+`", "backlog": 0, "in_flight": 0}`, "GET", subscribe, erp, "")
	if logs := r.logs.String(); next == subKey || strings.Contains(logs, subKey) || strings.Contains(logs, next) {
		t.Error("the key is that of before, or in the log")
	}
}

// TestSubscribeRefused: each error has the form and the status that it has elsewhere, and makes nothing.
func TestSubscribeRefused(t *testing.T) {
	r := newServer(t)
	r.topics("/news", "/old")
	r.canSubscribe("/news", "/news/*/x", "/off", "/none", "/other", "/old")
	before := len(r.b.Consumers())
	const path = "/zato/pubsub/subscribe/"
	for _, c := range []struct {
		status              int
		auth, path, details string
	}{
		{401, "", "/news/", "Invalid credentials"},
		{403, crm, "/news/", "Permission denied"},             // may subscribe to nothing
		{403, erp, "/customer/created/", "Permission denied"}, // not to this
		{403, erp, "/none/", "Permission denied"},             // no such topic
		{403, erp, "/off/", "Permission denied"},              // not active
		{403, erp, "/other/", "Permission denied"},            // the consumer that it has there is not
		{403, erp, "/news/**", "Permission denied"},           // more than it may
		{403, erp, "/**/x", "Permission denied"},
		{400, erp, "/news/x*", "topic \"/news/x*\": allowed in a pattern are * for one segment between slashes, and ** for any number of them"},
		{400, erp, "/news/?start=oldest", `parameter "start": allowed are format`},
		{404, erp, "", "No such route: a topic name is missing"},
	} {
		for _, method := range []string{"POST", "GET", "DELETE"} {
			r.refuse(c.status, c.details, method, path+c.path, c.auth, "")
		}
	}
	r.refuse(401, "Invalid credentials", "POST", subscribe, "erp:wrong-password-1", "")
	r.refuse(401, "Invalid credentials", "DELETE", subscribe, "off:crm", "")
	if a := r.do("PUT", subscribe, erp, ""); a.status != 405 || a.header.Get("Allow") != "DELETE, GET, HEAD, POST" {
		t.Errorf("PUT: %d, allowed are %s", a.status, a.header.Get("Allow"))
	}
	if after := len(r.b.Consumers()); after != before {
		t.Errorf("%d consumers were made", after-before)
	}

	// What the log alone tells.
	logs := r.logs.String()
	for _, reason := range []string{`can_subscribe of client \"crm\" does not have topic \"/news\"`, `no topic \"/none\"`, `topic \"/off\" is not active`, `consumer \"erp\" of topic \"/other\" is not active`} {
		if !strings.Contains(logs, reason) {
			t.Errorf("the log does not say: %s", reason)
		}
	}

	// Who may not any more keeps what it has.
	subKey := r.subscribed("/zato/pubsub/subscribe//old/")
	r.canSubscribe("/news")
	for _, method := range []string{"POST", "GET", "DELETE"} {
		r.refuse(403, "Permission denied", method, "/zato/pubsub/subscribe//old/", erp, "")
	}
	r.publish("/zato/pubsub/topic//old/", "1")
	if got := r.receive("/zato/pubsub/msg//old/?ack=true", subKey).payloads(); strings.Join(got, "|") != "1" {
		t.Errorf("received %q", got)
	}
}

// TestSubscribeOfAdministrator: what the client has from an administrator without a name is what it is subscribed to, unless
// it is sent its messages, and is not its to delete until the administrator says so.
func TestSubscribeOfAdministrator(t *testing.T) {
	r := newServer(t)
	r.topics("/news", "/sent")
	r.canSubscribe("/customer/**", "/news", "/sent")
	const path = "/zato/pubsub/subscribe//customer/created/"
	r.want(200, `{"status": "ZATO_OK", "sub_key": "`+key+`"}`, "POST", path, erp, "")
	r.refuse(403, "Permission denied", "DELETE", path, erp, "")

	r.change(broker.Change{Define: broker.Definition{Consumers: []broker.Consumer{
		{Client: "erp", Topic: "/news", Name: "named", SubKey: "key-of-the-named"},
		{Client: "erp", Topic: "/sent", DeliveryMode: broker.DeliveryCallback, CallbackURL: "http://127.0.0.1:9/", SubKey: "key-of-the-sent"},
	}}})
	for _, topic := range []string{"/news", "/sent"} {
		own := r.subscribed("/zato/pubsub/subscribe/" + topic)
		// It goes before one that an administrator makes later, and is not taken for it.
		r.change(broker.Change{Define: broker.Definition{Consumers: []broker.Consumer{{Client: "erp", Topic: topic, SubKey: "later" + topic[1:]}}}})
		if _, err := r.b.Apply(ctx, broker.Definition{Consumers: []broker.Consumer{{Client: "erp", Topic: topic}}}); err != nil {
			t.Fatal(err)
		}
		if again := r.subscribed("/zato/pubsub/subscribe/" + topic); again != own || len(r.own(topic)) != 1 {
			t.Errorf("%s: another key, or %+v", topic, r.own(topic))
		}
	}

	// An administrator takes the consumer over, rotates its key, and gives it back.
	mine := r.own("/news")[0]
	edited := mine.Consumer
	edited.SelfService = false
	r.change(broker.Change{Define: broker.Definition{Consumers: []broker.Consumer{edited}}, Rotate: []uint32{mine.ID}})
	r.refuse(403, "Permission denied", "DELETE", "/zato/pubsub/subscribe//news/", erp, "")
	if now, _ := r.b.Consumer(mine.ID); r.subscribed(subscribe) != now.SubKey || now.SubKey == mine.SubKey {
		t.Error("not the key that it has now")
	}
	edited.SubKey, edited.SelfService = r.subscribed(subscribe), true
	r.change(broker.Change{Define: broker.Definition{Consumers: []broker.Consumer{edited}}})
	r.want(200, `{"status": "ZATO_OK", "details": ""}`, "DELETE", subscribe, erp, "")
}

// TestSubscribeToPattern: one consumer of all topics that match, also of those that are made later.
func TestSubscribeToPattern(t *testing.T) {
	r := newServer(t)
	r.topics("/eu/lv/order")
	r.canSubscribe("/eu/**")
	subKey := r.subscribed("/zato/pubsub/subscribe//eu/*/order/")
	if again := r.subscribed("/zato/pubsub/subscribe//eu/%2A/order"); again != subKey {
		t.Error("another key")
	}
	r.topics("/eu/ee/order")
	for i, path := range []string{"/zato/pubsub/topic//eu/lv/order/", "/zato/pubsub/topic//eu/ee/order/"} {
		r.publish(path, strconv.Itoa(i))
	}
	if got := r.receive("/zato/pubsub/msg//eu/*/order/?ack=true", subKey).payloads(); strings.Join(got, "|") != "0|1" {
		t.Errorf("received %q", got)
	}
	r.want(200, `{"status": "ZATO_OK", "details": ""}`, "DELETE", "/zato/pubsub/subscribe//eu/*/order/", erp, "")
}

// TestSubscribeAtOnce: requests of one moment make one consumer, and all get its key.
func TestSubscribeAtOnce(t *testing.T) {
	r := newServer(t)
	r.canSubscribe("**")
	for round := range 5 {
		topic := "/news/" + strconv.Itoa(round)
		r.topics(topic)
		path := "/zato/pubsub/subscribe/" + topic
		r.refuse(404, "Not subscribed to topic `"+topic+"`", "GET", path, erp, "") // logs in, which holds up the first of all
		keys, begin := make([]string, 8), make(chan struct{})
		var all sync.WaitGroup
		for i := range keys {
			all.Go(func() {
				<-begin
				a, err := r.trySend(r.request(ctx, "POST", path, erp, nil))
				if err != nil || a.status != 200 {
					t.Errorf("%+v %v", a, err)
				}
				keys[i] = a.body
			})
		}
		close(begin)
		all.Wait()
		if slices.Sort(keys); keys[0] != keys[len(keys)-1] || len(r.own(topic)) != 1 {
			t.Errorf("%d consumers, %q", len(r.own(topic)), slices.Compact(keys))
		}
	}
}

// TestSubscribeLimit: a client makes so many consumers, and more once it has deleted one. Those of an administrator do not count.
func TestSubscribeLimit(t *testing.T) {
	r := newServer(t)
	var d broker.Definition
	for i := range limit.MaxSubscriptions {
		name := "/n/" + strconv.Itoa(i)
		d.Topics = append(d.Topics, broker.Topic{Name: name})
		d.Consumers = append(d.Consumers, broker.Consumer{Client: "erp", Topic: name, SelfService: true}, broker.Consumer{Client: "erp", Topic: name, Name: "an administrator's"})
	}
	r.change(broker.Change{Define: d})
	r.topics("/news")
	r.canSubscribe("**")
	r.refuse(429, "the client has made 100 consumers by itself, which is all that it may: delete one of them", "POST", subscribe, erp, "")
	r.subscribed("/zato/pubsub/subscribe//n/7/")
	r.want(200, `{"status": "ZATO_OK", "details": ""}`, "DELETE", "/zato/pubsub/subscribe//n/7/", erp, "")
	r.subscribed(subscribe)
}

// TestSubscribeToTemplate: who subscribes to a name that a template makes before anybody has published to it misses nothing.
func TestSubscribeToTemplate(t *testing.T) {
	r := newServer(t)
	r.change(broker.Change{Define: broker.Definition{
		Topics:    []broker.Topic{{Name: "/eu/*", AutoCreate: true, MaxTopics: 2, MaxDepth: 7}, {Name: "/eu/off", AutoCreate: false, Inactive: true}, {Name: "/eu/no/*", AutoCreate: true, Inactive: true}},
		Producers: []broker.Producer{{Client: "crm", Topic: "/eu/**"}},
	}})
	r.canSubscribe("/eu/**", "/us/**")
	const path = "/zato/pubsub/subscribe//eu/"
	var notes []string
	r.b.OnMade(func(t *broker.Topic, template, by string, published bool) broker.Document {
		notes = append(notes, fmt.Sprint(t.Name, template, by, published))
		return broker.Document{Kind: "note", Key: t.Name, Value: []byte("made")}
	})
	for _, method := range []string{"GET", "DELETE"} {
		r.refuse(404, "Not subscribed to topic `/eu/lv`", method, path+"lv/", erp, "")
	}
	if r.b.HasTopic("/eu/lv") {
		t.Error("a look has made the topic")
	}

	subKey := r.subscribed(path + "lv/")
	if again := r.subscribed("/zato/pubsub/subscribe/eu/lv"); again != subKey {
		t.Error("another key")
	}
	if to, ok := r.b.Topic("/eu/lv"); !ok || to.Template != "/eu/*" || to.MaxDepth != 7 || len(r.own("/eu/lv")) != 1 {
		t.Errorf("%+v", to)
	}
	r.publish("/zato/pubsub/topic//eu/lv/", "1")
	if got := r.receive("/zato/pubsub/msg//eu/lv/", subKey).payloads(); strings.Join(got, "|") != "1" {
		t.Errorf("received %q", got)
	}
	r.subscribed("/zato/pubsub/subscribe/eu/ee")
	if want := []string{"/eu/lv/eu/*client erpfalse", "/eu/ee/eu/*client erpfalse"}; !slices.Equal(notes, want) {
		t.Errorf("noted %q", notes)
	}

	full := r.refuse(429, `topic "/eu/lt": template "/eu/*" has made 2 topics, which is its max_topics`, "POST", path+"lt/", erp, "")
	if full.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	r.refuse(404, "Not subscribed to topic `/eu/lt`", "GET", path+"lt/", erp, "")
	for _, denied := range []string{path + "no/lv/", path + "off/", path + "a/b/", "/zato/pubsub/subscribe//us/lv/"} {
		r.refuse(403, "Permission denied", "POST", denied, erp, "")
	}
	r.canSubscribe("/news")
	r.refuse(403, "Permission denied", "POST", path+"lt/", erp, "") // which is nobody's business who may not
}
