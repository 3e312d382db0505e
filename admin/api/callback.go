package api

import (
	"net/http"
	"strings"
	"time"

	"pipit/admin/gate"
	"pipit/broker"
	"pipit/broker/limit"
	"pipit/httpapi/callback"
)

// Attempt is one call to a consumer that is sent its messages.
type Attempt struct {
	At         gate.Time `json:"at"`               // when it was made
	Duration   int64     `json:"duration_ms"`      // until it was over, in milliseconds
	Status     int       `json:"status,omitempty"` // of the answer; absent: there was none
	Error      string    `json:"error,omitempty"`  // why it has failed; absent: it has not, and the messages are acknowledged
	Answer     string    `json:"answer,omitempty"` // the first KiB of the body that was answered
	Messages   int       `json:"messages"`         // how many were sent
	Bytes      int64     `json:"bytes"`            // of the body that was sent
	WebhookID  string    `json:"webhook_id"`       // its header webhook-id
	Deliveries int       `json:"deliveries"`       // how often the messages were sent, this time counted; of several, the most
	Test       bool      `json:"test,omitempty"`   // somebody made it by hand
}

// Attempts are the last ones of a consumer.
type Attempts struct {
	Items []Attempt `json:"items"` // the latest first, 100 at the most
}

func attemptOf(a *callback.Attempt) Attempt {
	return Attempt{
		At: gate.TimeOf(a.Time), Duration: a.Duration.Milliseconds(), Status: a.Status, Error: a.Error,
		Answer: strings.ToValidUTF8(string(a.Answer), "\uFFFD"), Messages: a.Messages, Bytes: a.Bytes,
		WebhookID: a.WebhookID, Deliveries: a.Deliveries, Test: a.Test,
	}
}

// callbackRoutes are those of what is sent to a consumer.
func (a *API) callbackRoutes() []gate.Route {
	one := gate.V1 + "/consumers/:id"
	return []gate.Route{
		gate.Get(one+"/attempts", a.attempts, gate.Read),
		gate.Post(one+"/test-call", a.testCall, gate.Write),
	}
}

func (a *API) attempts(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	if err := noQuery(r); err != nil {
		return err
	}
	c, err := a.Objects.Consumers().LookUp(p["id"])
	if err != nil {
		return err
	}
	list, err := callback.Attempts(a.Callbacks, a.Broker, c.ID)
	if err != nil {
		return err
	}
	out := Attempts{Items: make([]Attempt, len(list))}
	for i := range list {
		out.Items[i] = attemptOf(&list[i])
	}
	return reply(w, http.StatusOK, out)
}

func (a *API) testCall(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	if err := noQuery(r); err != nil {
		return err
	}
	c, err := a.Objects.Consumers().LookUp(p["id"])
	if err != nil {
		return err
	}
	if a.Callbacks == nil {
		return &broker.Error{Code: broker.Unavailable, Message: "Messages are not sent by this process: ask the broker while it runs"}
	}
	gate.Patient(w, limit.MaxCallbackTimeout+time.Minute)
	done, err := a.Callbacks.Test(r.Context(), c.ID)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, attemptOf(&done))
}
