package api

import (
	"net/http"

	"pipit/admin/gate"
	"pipit/admin/monitor"
	"pipit/admin/object"
)

// Why is whether anything keeps messages from a consumer.
type Why struct {
	Checks []monitor.Check `json:"checks"` // point by point
}

func (a *API) why(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	if err := noQuery(r); err != nil {
		return err
	}
	c, err := a.Objects.Consumers().LookUp(p["id"])
	if err != nil {
		return err
	}
	list, ok := a.Monitor.Why(c.ID)
	if !ok {
		return object.NotFound("consumer", p["id"])
	}
	return reply(w, http.StatusOK, Why{list})
}

func (a *API) refusals(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	v, err := parseQuery(r, "client", "topic", "consumer", "status", "limit", "cursor")
	if err != nil {
		return err
	}
	f := monitor.RefusalFilter{Client: v["client"], Topic: v["topic"]}
	if f.Consumer, err = v.consumer(); err != nil {
		return err
	}
	status, err := v.integer("status", 0, 400, 599)
	if err != nil {
		return err
	}
	limit, err := v.limit()
	if err != nil {
		return err
	}
	f.Status = int(status)
	page, err := gate.PageOf(gate.Query{Limit: int(limit), Cursor: v["cursor"], Desc: true}, a.Monitor.Refusals(f),
		gate.Sorts[monitor.Refusal]{{At: func(x *monitor.Refusal) gate.Place { return gate.Place{N: int64(x.Number)} }}}, // #nosec G115 -- a count
		func(*monitor.Refusal) bool { return true }, func(x *monitor.Refusal) monitor.Refusal { return *x })
	if err != nil {
		return ofParameters(err)
	}
	return reply(w, http.StatusOK, page)
}
