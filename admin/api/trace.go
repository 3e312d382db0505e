package api

import (
	"net/http"

	"pipit/admin/gate"
	"pipit/admin/object"
	"pipit/broker/browse"
)

// Traces are those of the messages that were asked about.
type Traces struct {
	Items []object.Trace `json:"items"` // the oldest first: the newest 100
}

func (a *API) traces(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	v, err := parseQuery(r, "id", "correlation_id", "topic")
	if err != nil {
		return err
	}
	if (v["id"] == "") == (v["correlation_id"] == "") {
		return badParameter("id", "id: allowed is exactly one of id and correlation_id")
	}
	list, err := a.Objects.Trace(r.Context(), browse.TraceQuery{ID: v["id"], CorrelationID: v["correlation_id"], Topic: v["topic"]})
	if err != nil {
		return ofParameters(err)
	}
	return reply(w, http.StatusOK, Traces{list})
}
