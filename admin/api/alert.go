package api

import (
	"net/http"
	"time"

	"pipit/admin/alert"
	"pipit/admin/audit"
	"pipit/admin/gate"
)

// Alerts are what is firing, who is told of it, and what they were told last.
type Alerts struct {
	Receivers []AlertReceiver `json:"receivers"` // none where the configuration has nobody to tell; then none is firing
	Firing    []Alert         `json:"firing"`    // the worst first, 1,000 at the most
	More      int             `json:"more"`      // how many more are firing
	Sent      []AlertSent     `json:"sent"`      // the last messages, the latest first, 200 at the most
}

// AlertReceiver is who is told.
type AlertReceiver struct {
	Name     string    `json:"name"`              // the door
	Target   string    `json:"target"`            // scheme and host of the URL, or the addresses
	Last     gate.Time `json:"last,omitzero"`     // when it was told last; absent: never
	Error    string    `json:"error,omitempty"`   // why the last message failed; absent: it has not
	Failures int       `json:"failures"`          // in a row
	Next     gate.Time `json:"next_try,omitzero"` // when it is tried again; absent where none failed
}

// Alert is a thing that needs attention.
type Alert struct {
	Labels  map[string]string `json:"labels"`  // alertname, which is a code of attention, severity, and what it is about
	Summary string            `json:"summary"` // a sentence
	Link    string            `json:"link"`    // path of the page where it can be looked at
	Since   gate.Time         `json:"since"`   // when it was seen first
	Told    []string          `json:"told"`    // names of the receivers that know of it
}

// AlertSent is a message, with all of the tries that it took.
type AlertSent struct {
	At       gate.Time `json:"at"`               // of the last try
	Receiver string    `json:"receiver"`         // its name
	Target   string    `json:"target"`           // scheme and host of the URL, or the addresses
	Firing   int       `json:"firing"`           // things that it told of
	Resolved int       `json:"resolved"`         // things that were over
	Test     bool      `json:"test,omitempty"`   // somebody sent it by hand
	Tries    int       `json:"tries"`            // 1 for the first
	Status   int       `json:"status,omitempty"` // of an answer by HTTP; absent: there was none
	Answer   string    `json:"answer,omitempty"` // what the receiver said, its first KiB
	Error    string    `json:"error,omitempty"`  // why the last try failed; absent: it has not
	Duration int64     `json:"duration_ms"`      // of the last try, in milliseconds
}

// AlertTest is what came of a test, by receiver.
type AlertTest struct {
	Items []AlertTested `json:"items"`
}

// AlertTested is what a receiver made of a test.
type AlertTested struct {
	Receiver string `json:"receiver"`         // its name
	Target   string `json:"target"`           // scheme and host of the URL, or the addresses
	Status   int    `json:"status,omitempty"` // of an answer by HTTP; absent: there was none
	Answer   string `json:"answer,omitempty"` // what the receiver said, its first KiB
	Error    string `json:"error,omitempty"`  // why it failed; absent: it has not
	Duration int64  `json:"duration_ms"`      // in milliseconds
}

// maxFiring is how many alerts are answered.
const maxFiring = 1000

// alerting is the API of who is told of what needs attention.
type alerting struct{ *API }

func (a alerting) routes() []gate.Route {
	return []gate.Route{
		gate.Get(gate.V1+"/alerts", a.list, gate.Read),
		gate.Post(gate.V1+"/alerts/test", a.test, gate.Write),
	}
}

func (a alerting) list(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	if err := noQuery(r); err != nil {
		return err
	}
	st := a.Alerts.State(maxFiring)
	out := Alerts{Receivers: make([]AlertReceiver, len(st.Receivers)), Firing: make([]Alert, len(st.Alerts)), More: st.Beyond, Sent: make([]AlertSent, len(st.Sent))}
	for i, x := range st.Receivers {
		out.Receivers[i] = AlertReceiver{x.Name, x.Target, gate.TimeOf(x.Last), x.Problem, x.Failures, gate.TimeOf(x.Next)}
	}
	for i, x := range st.Alerts {
		out.Firing[i] = Alert{x.Labels, x.Summary, x.Link, gate.TimeOf(x.Begun), x.Told}
	}
	for i := range st.Sent {
		out.Sent[i] = alertSentOf(&st.Sent[i])
	}
	return reply(w, http.StatusOK, out)
}

func alertSentOf(x *alert.Sent) AlertSent {
	return AlertSent{At: gate.TimeOf(x.Time), Receiver: x.Receiver, Target: x.Target, Firing: x.Firing, Resolved: x.Resolved, Test: x.Test, Tries: x.Tries,
		Status: x.Status, Answer: x.Answer, Error: x.Error, Duration: x.Took.Milliseconds()}
}

func (a alerting) test(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	if err := noQuery(r); err != nil {
		return err
	}
	gate.Patient(w, alert.TestTime+time.Minute)
	done, err := a.Alerts.Test(r.Context())
	if err != nil {
		return err
	}
	a.Trail.Note(r.Context(), gate.ActorOf(r.Context()), audit.AlertTest, "")
	out := AlertTest{make([]AlertTested, len(done))}
	for i, x := range done {
		out.Items[i] = AlertTested{x.Receiver, x.Target, x.Status, x.Answer, x.Error, x.Took.Milliseconds()}
	}
	return reply(w, http.StatusOK, out)
}
