package admin

import (
	"net/http"
	"strings"

	"pipit/admin/audit"
	"pipit/broker/clip"
)

// definitionRoutes are those of definitions as a whole. Exporting takes the scope write, because a
// document holds secrets.
func (a *Admin) definitionRoutes() []route {
	return []route{
		{"GET", v1 + "/export", a.apiExport, write},
		{"POST", v1 + "/import", a.apiImport, write},
		{"POST", v1 + "/import/zato", a.apiImportZato, write},
	}
}

func (a *Admin) apiExport(w http.ResponseWriter, r *http.Request, _ params) error {
	if err := noQuery(r); err != nil {
		return err
	}
	body, err := a.export()
	if err != nil {
		return err
	}
	if !isLocal(r) {
		a.trail.Note(r.Context(), actorOf(r.Context()), audit.Export, "")
	}
	w.Header().Set("Content-Disposition", `attachment; filename="pipit-definitions.json"`)
	return replyJSON(w, http.StatusOK, body)
}

func (a *Admin) apiImport(w http.ResponseWriter, r *http.Request, _ params) error {
	v, err := parseQuery(r, "dry_run")
	if err != nil {
		return err
	}
	dryRun, err := v.flag("dry_run")
	if err != nil {
		return err
	}
	return a.serveImport(w, r, dryRun, (*importReader).definitions)
}

func (a *Admin) apiImportZato(w http.ResponseWriter, r *http.Request, _ params) error {
	v, err := parseQuery(r, "dry_run", "list", "topic")
	if err != nil {
		return err
	}
	dryRun, err := v.flag("dry_run")
	if err != nil {
		return err
	}
	lists := []string{zatoTopics, zatoProducers, zatoConsumers}
	list, err := v.oneOf("list", lists...)
	if err != nil {
		return err
	}
	return a.serveImport(w, r, dryRun, func(in *importReader) (*importing, error) { return a.readZato(in, list, v["topic"]) })
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
