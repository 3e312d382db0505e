package web

import (
	"net/http"
	"slices"

	"pipit/admin/gate"
	"pipit/admin/monitor"
	"pipit/admin/web/shell"
	"pipit/broker"
)

// overviewPages are the overview, and what the script of a page asks for: the live stream and the history of rates.
type overviewPages struct{ *Site }

func (op overviewPages) routes() []gate.Route {
	return []gate.Route{
		gate.Get("/admin/", op.pageOverview, gate.Read),
		gate.Post("/admin/first-steps", op.postDismiss, gate.Write),
		gate.Get("/admin/live", op.pageLive, gate.Read),
		gate.Get("/admin/history", op.pageHistory, gate.Read),
	}
}

type overviewPage struct {
	monitor.Frame
	Range  string // of the charts
	Steps  []step // what is to do before messages flow; empty: nothing
	Curl   []shell.Command
	Create string // commands that make what is missing
}

// Urgent is how much of what needs attention does harm already.
func (p *overviewPage) Urgent() (n int) {
	for i := range p.Rows {
		if p.Rows[i].Bad {
			n++
		}
	}
	return n
}

// step is something to do.
type step struct {
	Title, Text, Link string
	Done              bool
}

func (op overviewPages) pageOverview(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	p := overviewPage{Frame: op.Monitor.Frame(), Range: rangeOf(r)}
	if err := op.firstSteps(r, &p); err != nil {
		return err
	}
	return op.render(w, r, "overview", http.StatusOK, view{Title: "Overview", Nav: "overview", Data: &p})
}

// rangeOf is the range of a page's charts.
func rangeOf(r *http.Request) string {
	if r.URL.Query().Get("range") == monitor.RangeDay {
		return monitor.RangeDay
	}
	return monitor.RangeHour
}

// stepsKind is the kind of the document that says that nobody wants to see the first steps any more.
const stepsKind = "first_steps"

// inUse tells whether something was acknowledged, as far as is known, or the first steps were dismissed: then nobody needs them.
func (op overviewPages) inUse(p *overviewPage, consumers []broker.ConsumerInfo) (bool, error) {
	before := func(c broker.ConsumerInfo) bool { return !c.LastSeen.IsZero() && c.LastSeen.Before(op.Started) } // the counters are younger
	if p.Totals.Acked > 0 || slices.ContainsFunc(consumers, before) {
		return true, nil
	}
	dismissed, err := op.Broker.Document(stepsKind, "dismissed")
	return dismissed != nil, err
}

// postDismiss takes the first steps from the overview, for everybody.
func (op overviewPages) postDismiss(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	if err := op.Broker.PutDocuments(r.Context(), broker.Document{Kind: stepsKind, Key: "dismissed", Value: []byte("true")}); err != nil {
		return err
	}
	return op.done(w, r, gate.RootPath, "")
}

// firstSteps fills in what is to do where nothing was ever acknowledged.
func (op overviewPages) firstSteps(r *http.Request, p *overviewPage) error {
	t, consumers := &p.Totals, op.Broker.Consumers()
	if used, err := op.inUse(p, consumers); used || err != nil {
		return err
	}
	p.Steps = []step{
		{"Create a topic", "What messages are published to, such as /customer/created.", "/admin/topics?new", t.Topics > 0},
		{"Create clients", "Who publishes, and who receives: a name and a password each.", "/admin/clients?new", t.Clients > 0},
		{"Allow a client to publish", "A producer is a client's permission to publish to a topic.", "/admin/producers?new", t.Producers > 0},
		{"Give a client a queue", "A consumer is a client's own queue of a topic's messages.", "/admin/consumers?new", t.Consumers > 0},
		{"Publish a first message", "From the page of a topic, or by the command line.", "/admin/topics", t.Published > 0 || t.Depth+t.Delayed > 0},
		{"Receive and acknowledge it", "By the commands on the page of a consumer, or by a system of yours.", "/admin/consumers", false},
	}
	if t.Topics == 0 || t.Clients == 0 || t.Producers == 0 || t.Consumers == 0 {
		p.Create = op.bases(r).CreateAll()
		return nil
	}
	producers := op.Broker.Producers()
	i := slices.IndexFunc(producers, func(p broker.ProducerInfo) bool { return op.publishes(&p.Producer) })
	if i < 0 {
		return nil
	}
	producer := producers[i]
	p.Curl = append(p.Curl, op.bases(r).Publish(producer.Client, producer.Topic)[0])
	i = slices.IndexFunc(consumers, func(c broker.ConsumerInfo) bool { return c.Topic == producer.Topic && receives(&c.Consumer) })
	if i >= 0 {
		p.Curl = append(p.Curl, op.bases(r).Take(consumers[i].Client, producer.Topic, "")...)
	}
	return nil
}
