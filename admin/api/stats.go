package api

import (
	"net/http"
	"time"

	"pipit/admin/gate"
	"pipit/admin/monitor"
	"pipit/admin/object"
)

// Stats are the figures of the whole broker at one moment.
type Stats struct {
	Time gate.Time `json:"time"` // when these figures were taken

	Clients   int `json:"clients"`
	Topics    int `json:"topics"`
	Producers int `json:"producers"`
	Consumers int `json:"consumers"`

	Depth    int64     `json:"depth"`           // messages that somebody may still need
	Retained int64     `json:"retained"`        // messages that stay though nobody needs them
	Delayed  int64     `json:"delayed"`         // messages that wait for their delay
	Backlog  int64     `json:"backlog"`         // messages that wait or are in flight, of all consumers together
	InFlight int64     `json:"in_flight"`       // of the backlog
	Oldest   gate.Time `json:"oldest,omitzero"` // when the oldest message of a backlog was created; absent where there is none

	Published uint64 `json:"published"` // messages stored since the start of the process
	Delivered uint64 `json:"delivered"` // deliveries to consumers since the start of the process, also repeated ones
	Acked     uint64 `json:"acked"`     // acknowledgements since the start of the process, by each consumer
	// messages that expired since the start of the process before a consumer was done with them, for each such consumer
	Expired uint64 `json:"expired"`

	Redelivered  uint64          `json:"redelivered"`   // deliveries since the start of the process that were not the first of their message to the consumer
	DeadLettered object.Failures `json:"dead_lettered"` // messages moved to dead-letter topics since the start of the process, for each consumer, by reason
	Dropped      object.Failures `json:"dropped"`       // messages that failed since the start of the process and had no dead-letter topic, for each consumer, by reason

	Database  Database            `json:"database"`
	Attention []monitor.Attention `json:"attention"` // the worst first
}

func (a *API) statsRoutes() []gate.Route {
	return []gate.Route{
		gate.Get(gate.V1+"/stats", a.stats, gate.Read),
		gate.Get(gate.V1+"/stats/history", a.history, gate.Read),
		gate.Get(gate.V1+"/refusals", a.refusals, gate.Read),
	}
}

func (a *API) stats(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	if err := noQuery(r); err != nil {
		return err
	}
	return reply(w, http.StatusOK, a.statsNow())
}

// statsNow returns the figures of the whole broker.
func (a *API) statsNow() Stats {
	now := time.Now()
	t, store, s := a.Broker.Totals(), a.database(), a.Monitor.Situation(monitor.SituationFresh)
	out := Stats{
		Time:    gate.TimeOf(now),
		Clients: t.Clients, Topics: t.Topics, Producers: t.Producers, Consumers: t.Consumers,
		Depth: t.Depth, Retained: t.Retained, Delayed: t.Delayed, Backlog: t.Backlog, InFlight: t.InFlight,
		Published: t.Published, Delivered: t.Delivered, Acked: t.Acked, Expired: t.Expired,
		Redelivered: t.Redelivered, DeadLettered: object.Failures(t.DeadLettered), Dropped: object.Failures(t.Dropped),
		Database:  store,
		Attention: s.Attention,
	}
	if t.Backlog > 0 {
		out.Oldest = gate.TimeOf(s.Oldest)
	}
	return out
}

func (a *API) history(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	v, err := parseQuery(r, "range", "topic")
	if err != nil {
		return err
	}
	rng, err := v.oneOf("range", monitor.RangeHour, monitor.RangeDay)
	if err != nil {
		return err
	}
	if rng == "" {
		rng = monitor.RangeHour
	}
	if topic, given := v["topic"]; given {
		if !a.Broker.HasTopic(topic) {
			return object.NotFound("topic", topic)
		}
	}
	h := a.Monitor.History(rng, monitor.Of{Topic: v["topic"]})
	return reply(w, http.StatusOK, struct {
		monitor.History
		Start gate.Time `json:"start"`
	}{h, gate.TimeOf(h.Start)})
}
