package api

import (
	"net/http"

	"pipit/admin/gate"
	"pipit/admin/object"
)

// connect connects two systems.
func (a *API) connect(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	byDefault := object.Connection{Expiration: object.ConnectExpiration}
	c := byDefault
	if err := readObject(r, &c, &byDefault, TypeJSON); err != nil {
		return err
	}
	done, err := a.Objects.Connect(r.Context(), gate.ActorOf(r.Context()), c)
	if err != nil {
		return err
	}
	_, done.URL = a.Reach.Bases(r)
	return reply(w, http.StatusOK, done)
}
