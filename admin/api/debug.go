package api

import (
	"archive/zip"
	"bytes"
	"io"
	"mime"
	"net/http"
	"net/http/pprof"
	"runtime/debug"
	profiles "runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"time"

	"pipit/admin/audit"
	"pipit/admin/gate"
	"pipit/broker/clip"
)

// debugTime is how long a profile, or the reply with the bundle, may take.
const debugTime = 90 * time.Second

// maxProfile is how many seconds a profile lasts at the most.
const maxProfile = 60

// profileNames are the profiles that there are, those that last some seconds first.
var profileNames = []string{"profile", "trace", "allocs", "block", "goroutine", "heap", "mutex", "threadcreate"}

// debugging is the API for who looks for a fault of the program, where admin.debug is on.
type debugging struct{ *API }

func (a debugging) routes() []gate.Route {
	return []gate.Route{
		gate.Get(gate.V1+"/debug", a.on(a.bundle), gate.Write),
		gate.Get(gate.V1+"/debug/pprof/:profile", a.on(a.profile), gate.Write),
	}
}

// on answers where it is on.
func (a debugging) on(h gate.Handler) gate.Handler {
	return func(w http.ResponseWriter, r *http.Request, p gate.Params) error {
		if a.LastLines == nil {
			return gate.Refuse(http.StatusNotFound, "not_found", "Debugging is off: debug = true in [admin] of the server's configuration, and a restart, switch it on")
		}
		return h(w, r, p)
	}
}

// bundle answers with a ZIP file of what helps to find a fault. Nothing in it is secret.
func (a debugging) bundle(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	if err := noQuery(r); err != nil {
		return err
	}
	gate.Patient(w, debugTime)
	now := time.Now().UTC()
	var out bytes.Buffer
	archive := zip.NewWriter(&out)
	var failed error
	add := func(name string, write func(io.Writer) error) {
		f, err := archive.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: now})
		if err == nil {
			err = write(f)
		}
		if failed == nil {
			failed = err
		}
	}
	asJSON := func(v any) func(io.Writer) error {
		return func(w io.Writer) error {
			text, err := gate.Marshal(v)
			if err == nil {
				_, err = w.Write(append(text, '\n'))
			}
			return err
		}
	}
	add("system.json", asJSON(a.systemNow())) // with the configuration, and whether messages can be stored
	add("stats.json", asJSON(a.statsNow()))
	if a.Head != nil {
		add("database.json", asJSON(a.Head()))
	}
	add("log.jsonl", func(w io.Writer) error { _, err := w.Write(a.LastLines()); return err })
	add("goroutines.txt", func(w io.Writer) error { return profiles.Lookup("goroutine").WriteTo(w, 2) })
	add("build.txt", func(w io.Writer) error {
		if info, ok := debug.ReadBuildInfo(); ok {
			_, err := io.WriteString(w, info.String())
			return err
		}
		return nil
	})
	if err := archive.Close(); failed == nil {
		failed = err
	}
	if failed != nil {
		return failed
	}
	a.Trail.Note(r.Context(), gate.ActorOf(r.Context()), audit.DebugLoad, "")
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": "pipit-debug-" + now.Format("20060102-150405") + ".zip"}))
	h.Set("Content-Length", strconv.Itoa(out.Len()))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(out.Bytes()) // #nosec G705 -- a file to save; who has left does not read it
	return nil
}

// profile answers with a profile of the process, for go tool pprof.
func (a debugging) profile(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	v, err := parseQuery(r, "seconds", "debug")
	if err != nil {
		return err
	}
	name := p["profile"]
	if !slices.Contains(profileNames, name) {
		return gate.Refuse(http.StatusNotFound, "not_found", "profile \""+clip.Input(name)+"\": there are "+strings.Join(profileNames, ", "))
	}
	if _, err := v.integer("seconds", 1, 1, maxProfile); err != nil {
		return err
	}
	if _, err := v.integer("debug", 0, 0, 2); err != nil {
		return err
	}
	gate.Patient(w, debugTime)
	a.Trail.Note(r.Context(), gate.ActorOf(r.Context()), audit.DebugProfile, name)
	switch name {
	case "profile":
		pprof.Profile(w, r)
	case "trace":
		pprof.Trace(w, r)
	default:
		pprof.Handler(name).ServeHTTP(w, r)
	}
	return nil
}
