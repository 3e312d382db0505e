package api

import (
	"io"
	"net/http"
	"strings"
	"time"

	"pipit/admin/audit"
	"pipit/admin/gate"
	"pipit/admin/object"
	"pipit/broker/clip"
)

// definitionRoutes are those of definitions as a whole. Exporting takes the scope write, because a
// document holds secrets.
func (a *API) definitionRoutes() []gate.Route {
	return []gate.Route{
		gate.Post(gate.V1+"/connect", a.connect, gate.Write),
		gate.Get(gate.V1+"/export", a.export, gate.Write),
		gate.Post(gate.V1+"/import", a.importDefinitions, gate.Write),
		gate.Post(gate.V1+"/import/zato", a.importZato, gate.Write),
	}
}

func (a *API) export(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	if err := noQuery(r); err != nil {
		return err
	}
	body, err := a.Objects.Export()
	if err != nil {
		return err
	}
	if who := gate.ActorOf(r.Context()); who.Via != gate.File {
		a.Trail.Note(r.Context(), who, audit.Export, "")
	}
	w.Header().Set("Content-Disposition", `attachment; filename="pipit-definitions.json"`)
	return replyJSON(w, http.StatusOK, body)
}

func (a *API) importDefinitions(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	v, err := parseQuery(r, "dry_run")
	if err != nil {
		return err
	}
	dryRun, err := v.flag("dry_run")
	if err != nil {
		return err
	}
	return a.serveImport(w, r, dryRun, object.ReadDefinitions)
}

func (a *API) importZato(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	v, err := parseQuery(r, "dry_run", "list", "topic")
	if err != nil {
		return err
	}
	dryRun, err := v.flag("dry_run")
	if err != nil {
		return err
	}
	lists := []string{object.ZatoTopics, object.ZatoProducers, object.ZatoConsumers}
	list, err := v.oneOf("list", lists...)
	if err != nil {
		return err
	}
	return a.serveImport(w, r, dryRun, func(body io.Reader) (*object.Importing, error) {
		return a.Objects.ReadZato(body, list, v["topic"])
	})
}

// importReply is how long the reply may take, once an import is done.
const importReply = time.Minute

// serveImport answers a request whose body is an import, which read reads.
func (a *API) serveImport(w http.ResponseWriter, r *http.Request, dryRun bool, read func(io.Reader) (*object.Importing, error)) error {
	answer, err := a.importBody(w, r, dryRun, read)
	if err == nil {
		return reply(w, http.StatusOK, answer)
	}
	if r.Header.Get("Expect") == "" { // who does not ask first may not look for the reply before all is sent
		_, _ = io.Copy(io.Discard, r.Body)
	}
	return err
}

func (a *API) importBody(w http.ResponseWriter, r *http.Request, dryRun bool, read func(io.Reader) (*object.Importing, error)) (none object.Import, err error) {
	if err := checkBody(r, TypeJSON); err != nil {
		return none, err
	}
	end, err := a.Objects.BeginImport()
	if err != nil {
		return none, err
	}
	defer end()
	d, err := read(r.Body)
	if err != nil {
		return none, err
	}
	// Hashes of many passwords take longer than other requests may, and the client can leave meanwhile.
	rc := http.NewResponseController(w)
	_, _ = rc.SetReadDeadline(time.Time{}), rc.SetWriteDeadline(time.Time{})
	done, err := a.Objects.Import(r.Context(), gate.ActorOf(r.Context()), d, dryRun)
	_ = rc.SetWriteDeadline(time.Now().Add(importReply))
	return done, err
}

// oneOf returns one of the allowed values, an empty one where it is not given.
func (v values) oneOf(name string, allowed ...string) (string, error) {
	s, given := v[name]
	if !given {
		return "", nil
	}
	for _, a := range allowed {
		if s == a {
			return s, nil
		}
	}
	return "", badParameter(name, "%s %q: allowed are %s", name, clip.Input(s), strings.Join(allowed, ", "))
}
