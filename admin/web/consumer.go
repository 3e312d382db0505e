package web

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"pipit/admin/access"
	"pipit/admin/gate"
	"pipit/admin/monitor"
	"pipit/admin/object"
	"pipit/admin/text"
	"pipit/admin/web/shell"
	"pipit/broker"
	"pipit/broker/property"
	"pipit/broker/stats"
)

// consumerPages are the pages of consumers.
type consumerPages struct{ *Site }

// pages describes what they have in common with those of other nouns.
func (cp consumerPages) pages() *pages[object.Consumer] {
	return &pages[object.Consumer]{
		Noun: cp.Objects.Consumers(),
		site: cp.Site,
		orders: []order{
			{Key: "topic", Label: "Topic"},
			{Key: "client", Label: "Client"},
			{Label: "State"},
			{Key: "backlog", Label: "Backlog", Number: true, Down: true},
			{Key: "in_flight", Label: "In flight", Number: true, Down: true},
			{Label: "Oldest"},
			{Key: "last_seen", Label: "Last seen", Down: true},
		},
		inactive:   func(c *object.Consumer) *bool { return &c.Inactive },
		clear:      cp.Objects.ClearBacklog,
		example:    `{"client": "erp", "topic": "/customer/created"}`,
		lead:       "A consumer is a client's own queue of what is published to a topic.",
		wide:       true,
		newFields:  cp.newConsumerFields,
		editFields: func(c *object.Consumer) []field { return cp.consumerFields(&c.Consumer, false) },
		exists:     cp.checkPair,
		read:       func(f *form, c *object.Consumer) error { return readSettings(f, broker.ConsumerFields, &c.Consumer) },
		answer:     cp.answerMade,
		show:       cp.pageConsumer,
		deletes: func(c *object.Consumer) deletion {
			to := topicPath(c.Topic)
			if cp.isPattern(c.Topic) {
				to = "/admin/consumers"
			}
			return deletion{
				lead:  "This deletes the consumer " + c.Client + " of " + c.Topic + " and its queue. For ten minutes it can be brought back, but not the messages.",
				label: "Type the topic's name to confirm", expected: c.Topic,
				to: to, called: c.Client,
			}
		},
	}
}

// consumerPath is the path of a consumer's page.
func consumerPath(id uint32) string { return "/admin/consumers/" + strconv.FormatUint(uint64(id), 10) }

// consumerStats are the figures of a consumer's page.
type consumerStats struct {
	object.Consumer
	MaxFlying int64    // MaxInFlight
	Buried    failures // moved to its dead-letter topic
	Dropped   failures // that had none
}

func consumerStatsOf(c *object.Consumer) consumerStats {
	return consumerStats{*c, int64(c.MaxInFlight), failuresOf(c.DeadLettered), failuresOf(c.Dropped)}
}

type consumerPage struct {
	consumerStats
	Back           link
	Path           string
	History        string // URL of its rates
	Range          string // of the charts
	Settings       []setting
	Revealed       string // sub_key, where it was asked for
	RevealedSecret string // that its calls are signed with, likewise
	Rotate         *form
	EndOverlap     *form // nil where there is no old sub_key that is valid
	Clear          *form
	Done           *form // clear-in-flight
	Release        *form
	TestCall       *form
	Attempts       []attemptRow // of one that is sent its messages, the latest first
	WhyFailed      string       // they wait, as monitor.WhyStuck says it
	Commands       []shell.Command
	Messages       string        // URL
	Queues         []stats.Queue // of one of a pattern, the fullest first
	QueuesInAll    int
	Pattern        bool
	Checks         []monitor.Check
	Refusals       []monitor.RefusalGroup
}

// oneButton is a form of a button alone, which is folded away on its page.
func oneButton(name, action, submit, revision string) *form {
	f := newForm(name, action, submit)
	f.Revision = revision
	return f
}

func (cp consumerPages) consumerPage(r *http.Request, c *object.Consumer, reveal bool) (consumerPage, error) {
	path := consumerPath(c.ID)
	page := consumerPage{
		consumerStats: consumerStatsOf(c),
		Back:          link{"/admin/consumers", "Consumers"},
		Path:          path,
		Settings:      settings(broker.ConsumerFields, &c.Consumer, cp.isPattern),
		Rotate:        rotateForm(path, c.Revision),
		Clear:         confirm("clear", path+"/clear", "Clear the backlog", "Type the topic's name to confirm", c.Topic),
		Done:          confirm("clear-in-flight", path+"/clear-in-flight", "Clear what is in flight", "Type the topic's name to confirm", c.Topic),
		Release:       oneButton("release", path+"/release", "Release it", ""),
		TestCall:      oneButton("test-call", path+"/test-call", "Send a test call", ""),
		Messages:      "/admin/messages?" + url.Values{"topic": {c.Topic}, "consumer": {strconv.FormatUint(uint64(c.ID), 10)}}.Encode(),
	}
	if !c.OldUntil.IsZero() {
		page.EndOverlap = endOverlapForm(path, c.Revision)
	}
	if reveal {
		page.Revealed, page.RevealedSecret = c.SubKey, c.CallbackSecret
	}
	page.SubKey, page.Old, page.CallbackSecret, page.CallbackHeaders = "", broker.OldKey{}, "", property.Table{} // what a template does not have, it cannot show
	if c.Callback == nil {
		page.Settings = slices.DeleteFunc(page.Settings, func(s setting) bool { return callbackField(s.Name) })
		page.Commands = cp.bases(r).Receive(c.Client, c.Topic, page.Revealed)
	}
	var err error
	if page.Pattern = cp.isPattern(c.Topic); page.Pattern {
		if page.Queues, page.QueuesInAll, err = cp.Broker.Queues(c.ID, pageSize); err != nil {
			return page, err
		}
	}
	if c.Failed > 0 {
		page.WhyFailed = monitor.WhyStuck(cp.Broker.Topic(c.DeadLetterTopic))
	}
	page.History, page.Range = "/admin/history?"+url.Values{"consumer": {strconv.FormatUint(uint64(c.ID), 10)}}.Encode(), rangeOf(r)
	page.Checks, _ = cp.Monitor.Why(c.ID)
	page.Refusals = cp.refusedLately(monitor.RefusalFilter{Consumer: c.ID})
	page.Attempts, err = cp.attempts(c)
	return page, err
}

func (cp consumerPages) renderConsumer(w http.ResponseWriter, r *http.Request, status int, page consumerPage) error {
	return cp.render(w, r, "consumer", status, view{Title: "Consumer " + object.OfTopic(page.Client, page.Topic), Nav: "consumers", Data: page,
		Live: liveURL("consumer", strconv.FormatUint(uint64(page.ID), 10))})
}

func (cp consumerPages) pageConsumer(w http.ResponseWriter, r *http.Request, c *object.Consumer) error {
	shown, ok := shelvedOf[shownKeys](&cp.once, access.CallerOf(r.Context()).SessionID(), r.URL.Query().Get("keys"))
	page, err := cp.consumerPage(r, c, ok && shown == keysOf(c))
	if err != nil {
		return err
	}
	return cp.renderConsumer(w, r, http.StatusOK, page)
}

// queueRoutes are the forms of a consumer's page.
func (cp consumerPages) queueRoutes() []gate.Route {
	one := "/admin/consumers/:id"
	return []gate.Route{
		gate.Post(one+"/reveal", cp.postReveal, gate.Write),
		gate.Post(one+"/rotate", cp.postRotate, gate.Write),
		gate.Post(one+"/end-overlap", cp.postEndOverlap, gate.Write),
		gate.Post(one+"/clear", cp.postClear, gate.Write),
		gate.Post(one+"/clear-in-flight", cp.postClearInFlight, gate.Write),
		gate.Post(one+"/release", cp.postRelease, gate.Write),
		gate.Post(one+"/test-call", cp.postTestCall, gate.Write),
		gate.Get(one+"/replay", cp.pageReplay, gate.Read),
		gate.Post(one+"/replay", cp.postReplay, gate.Write),
	}
}

// onConsumer runs one of the forms of a consumer's page, and shows the page again, with the form
// open, where that was refused.
func (cp consumerPages) onConsumer(w http.ResponseWriter, r *http.Request, p gate.Params, pick func(*consumerPage) *form, do func(*object.Consumer, *form) (notice string, err error)) error {
	return cp.onConsumerTo(w, r, p, pick, do, func(c *object.Consumer, notice string) error { return cp.done(w, r, consumerPath(c.ID), notice) })
}

// onConsumerTo is onConsumer that goes on by itself.
func (cp consumerPages) onConsumerTo(w http.ResponseWriter, r *http.Request, p gate.Params, pick func(*consumerPage) *form,
	do func(*object.Consumer, *form) (notice string, err error), on func(c *object.Consumer, notice string) error) error {
	v, err := readForm(w, r)
	if err != nil {
		return err
	}
	c, err := cp.Objects.Consumers().Get(p["id"])
	if err != nil {
		return err
	}
	page, err := cp.consumerPage(r, &c, false)
	if err != nil {
		return err
	}
	f := pick(&page)
	f.typedInPart(v)
	notice, err := do(&c, f)
	if err == nil {
		return on(&c, notice)
	}
	if broker.CodeOf(err) == broker.Conflict {
		f.Changed, f.Open, f.Revision = true, true, c.Revision
		return cp.renderConsumer(w, r, http.StatusConflict, page)
	}
	status, err := f.fail(err)
	if err != nil {
		return err
	}
	return cp.renderConsumer(w, r, status, page)
}

func (cp consumerPages) postClear(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	return cp.onConsumer(w, r, p, func(p *consumerPage) *form { return p.Clear }, func(c *object.Consumer, f *form) (string, error) {
		if err := f.confirmed(c.Topic); err != nil {
			return "", err
		}
		n, err := cp.Objects.ClearBacklog(r.Context(), gate.ActorOf(r.Context()), c)
		return "The backlog was cleared: " + text.Count(n, "message", "messages"), err
	})
}

func (cp consumerPages) postClearInFlight(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	return cp.onConsumer(w, r, p, func(p *consumerPage) *form { return p.Done }, func(c *object.Consumer, f *form) (string, error) {
		if err := f.confirmed(c.Topic); err != nil {
			return "", err
		}
		n, err := cp.Objects.ClearInFlight(r.Context(), gate.ActorOf(r.Context()), c)
		return "What was in flight was cleared: " + text.Count(int64(n), "message", "messages"), err
	})
}

func (cp consumerPages) postRelease(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	return cp.onConsumer(w, r, p, func(p *consumerPage) *form { return p.Release }, func(c *object.Consumer, f *form) (string, error) {
		n, err := cp.Objects.ReleaseInFlight(r.Context(), gate.ActorOf(r.Context()), c)
		if n == 0 {
			return "Nothing was in flight or deferred: nothing was released", err
		}
		return "Released, to be delivered next: " + text.Count(int64(n), "message", "messages"), err
	})
}
