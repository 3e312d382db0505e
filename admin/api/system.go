package api

import (
	"net/http"
	"net/url"
	"runtime"
	"time"

	"pipit/admin/access"
	"pipit/admin/audit"
	"pipit/admin/gate"
	"pipit/admin/monitor"
)

// systemInfo is the program and its file.
type systemInfo struct {
	Version    string         `json:"version"`
	Go         string         `json:"go"` // the release of Go that it was built with
	Platform   string         `json:"platform"`
	Started    gate.Time      `json:"started"`           // when the process started
	Uptime     int64          `json:"uptime"`            // seconds
	Healthy    bool           `json:"healthy"`           // messages can be stored
	Problem    string         `json:"problem,omitempty"` // why they cannot be stored
	Database   Database       `json:"database"`
	Settings   []gate.Setting `json:"settings"` // the configuration in force, secrets masked
	Goroutines int            `json:"goroutines"`
	Memory     uint64         `json:"memory"` // bytes of the heap in use
}

// Database is the file that everything is in. What is not known is absent.
type Database struct {
	File      string `json:"file,omitempty"`       // path of the file
	Size      int64  `json:"size"`                 // bytes of the file, in use or free for reuse
	Free      int64  `json:"free"`                 // bytes of size that are free for reuse
	LogSize   int64  `json:"log_size,omitempty"`   // bytes of the log in front of the file; absent before the first change
	LogUsed   int64  `json:"log_used,omitempty"`   // bytes of log_size that the file does not have yet
	LogMost   int64  `json:"log_most,omitempty"`   // bytes that log_size grows to: log_size of the configuration
	DiskTotal int64  `json:"disk_total,omitempty"` // bytes of the file system; absent where that is not known
	DiskFree  int64  `json:"disk_free,omitempty"`  // bytes of the file system that may still be used; absent where that is not known

	Checkpoint gate.Time `json:"checkpoint,omitzero"`  // when what was in the log was last brought into the file; absent where it was not since the start
	Compacted  gate.Time `json:"compacted,omitzero"`   // when the file was last compacted; absent where it was not since the start
	Compacting bool      `json:"compacting,omitempty"` // the file is being compacted
}

// Compacted is what compacting the database came to.
type Compacted struct {
	Before int64 `json:"before"` // bytes of the file before
	After  int64 `json:"after"`  // and after
}

// systemNow returns what there is to say of the program and its file.
func (a *API) systemNow() systemInfo {
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	s := systemInfo{
		Version:    a.Version,
		Go:         runtime.Version(),
		Platform:   runtime.GOOS + "/" + runtime.GOARCH,
		Started:    gate.TimeOf(a.Started),
		Uptime:     int64(time.Since(a.Started).Seconds()),
		Healthy:    true,
		Database:   a.database(),
		Settings:   a.Settings(),
		Goroutines: runtime.NumGoroutine(),
		Memory:     memory.HeapAlloc,
	}
	if s.Settings == nil {
		s.Settings = []gate.Setting{}
	}
	if err := a.Broker.Health(); err != nil {
		s.Healthy, s.Problem = false, monitor.Reason(err)
	}
	return s
}

// database returns how large the file is.
func (a *API) database() Database {
	s := a.Broker.StoreStats()
	d := Database{File: s.Path, Size: max(0, s.Size), Free: max(0, s.Free), LogSize: max(0, s.LogSize), LogUsed: max(0, s.LogUsed), LogMost: max(0, s.LogMost),
		DiskTotal: max(0, s.DiskTotal), DiskFree: max(0, s.DiskFree)}
	if !s.Checkpoint.IsZero() {
		d.Checkpoint = gate.TimeOf(s.Checkpoint)
	}
	if !s.Compacted.IsZero() {
		d.Compacted = gate.TimeOf(s.Compacted)
	}
	_, d.Compacting = a.Broker.Compacting()
	return d
}

// systemRoutes are those of the program, and of who may use it.
func (a *API) systemRoutes() []gate.Route {
	return []gate.Route{
		gate.Get(gate.V1+"/tokens", a.tokens, gate.Admin),
		gate.Post(gate.V1+"/tokens", a.createToken, gate.Admin),
		gate.Delete(gate.V1+"/tokens/:id", a.deleteToken, gate.Admin),
		gate.Get(gate.V1+"/administrators", a.administrators, gate.Admin),
		gate.Post(gate.V1+"/administrators", a.createAdministrator, gate.Admin),
		gate.Patch(gate.V1+"/administrators/:name", a.editAdministrator, gate.Admin),
		gate.Delete(gate.V1+"/administrators/:name", a.deleteAdministrator, gate.Admin),
		gate.Get(gate.V1+"/sessions", a.sessions, gate.Admin),
		gate.Delete(gate.V1+"/sessions", a.endSessions, gate.Admin),
		gate.Delete(gate.V1+"/sessions/:id", a.endSession, gate.Admin),
		gate.Get(gate.V1+"/audit", a.audit, gate.Admin),
		gate.Get(gate.V1+"/system", a.system, gate.Read),
		gate.Post(gate.V1+"/database/compact", a.compact, gate.Admin),
	}
}

// replyPage answers with the page of a list that the query asks for, in the order of at.
func replyPage[T any](w http.ResponseWriter, r *http.Request, items []T, desc bool, at func(*T) gate.Place) error {
	q, err := pageQuery(r)
	if err != nil {
		return err
	}
	q.Desc = desc
	page, err := gate.PageOf(q, items, gate.Sorts[T]{{At: at}}, func(*T) bool { return true }, func(v *T) T { return *v })
	if err != nil {
		return ofParameters(err)
	}
	return reply(w, http.StatusOK, page)
}

// pageQuery reads a query that has a limit and a cursor, and the filters that are named.
func pageQuery(r *http.Request, filters ...string) (gate.Query, error) {
	v, err := parseQuery(r, append(filters, "limit", "cursor")...)
	if err != nil {
		return gate.Query{}, err
	}
	limit, err := v.limit()
	if err != nil {
		return gate.Query{}, err
	}
	kind, err := v.oneOf("kind", audit.Kinds...)
	return gate.Query{Limit: int(limit), Cursor: v["cursor"], Kind: kind}, err
}

func (a *API) tokens(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	return replyPage(w, r, a.Users.Tokens(), false, func(t *access.Token) gate.Place { return gate.Place{S: t.Name} })
}

func (a *API) createToken(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	n, byDefault := access.NewToken{Scope: gate.ScopeRead}, access.NewToken{Scope: gate.ScopeRead}
	if err := readObject(r, &n, &byDefault, TypeJSON); err != nil {
		return err
	}
	t, err := a.Users.CreateToken(r.Context(), access.CallerOf(r.Context()), n)
	if err != nil {
		return gate.Created(err)
	}
	return reply(w, http.StatusCreated, t)
}

func (a *API) deleteToken(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	takeOver, err := takeOver(r)
	if err != nil {
		return err
	}
	if err := a.Users.DeleteToken(r.Context(), access.CallerOf(r.Context()), p["id"], takeOver); err != nil {
		return ofParameters(err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// takeOver reads whether who deletes takes over the tokens that would end.
func takeOver(r *http.Request) (bool, error) {
	v, err := parseQuery(r, "take_over")
	if err != nil {
		return false, err
	}
	return v.flag("take_over")
}

// NewAdministrator is what an administrator is made of.
type NewAdministrator struct {
	Name     string `json:"name"`
	Password string `json:"password"` // at least 12 characters, at most 72 bytes; not the name, nor one of the commonest

	CurrentPassword string `json:"current_password"` // the password of the administrator whose session asks, which this takes. A token has none.
}

// newPassword is what can be changed of an administrator.
type newPassword struct {
	Password        string `json:"password"`         // at least 12 characters, at most 72 bytes; not the name, nor one of the commonest
	CurrentPassword string `json:"current_password"` // the password of the administrator whose session asks, which this takes. A token has none.
}

func (a *API) administrators(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	all, err := a.Users.Administrators()
	if err != nil {
		return err
	}
	return replyPage(w, r, all, false, func(v *access.Administrator) gate.Place { return gate.Place{S: v.Name} })
}

func (a *API) createAdministrator(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	var n, byDefault NewAdministrator
	if err := readObject(r, &n, &byDefault, TypeJSON); err != nil {
		return err
	}
	made, err := a.Users.CreateAdministrator(r.Context(), access.CallerOf(r.Context()), n.Name, n.Password, n.CurrentPassword)
	if err != nil {
		return gate.Created(err)
	}
	w.Header().Set("Location", gate.V1+"/administrators/"+url.PathEscape(made.Name))
	return reply(w, http.StatusCreated, made)
}

func (a *API) editAdministrator(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	var n, byDefault newPassword
	if err := readObject(r, &n, &byDefault, TypePatch, TypeJSON); err != nil {
		return err
	}
	if _, err := a.Users.Administrator(p["name"]); err != nil { // rather than what is wrong with a new one of that name
		return err
	}
	if err := a.Users.SetAdministratorPassword(r.Context(), access.CallerOf(r.Context()), p["name"], n.Password, n.CurrentPassword); err != nil {
		return err
	}
	changed, err := a.Users.Administrator(p["name"])
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, changed)
}

func (a *API) deleteAdministrator(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	takeOver, err := takeOver(r)
	if err != nil {
		return err
	}
	if err := a.Users.DeleteAdministrator(r.Context(), access.CallerOf(r.Context()), p["name"], takeOver); err != nil {
		return ofParameters(err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *API) sessions(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	all := a.Users.Sessions(access.CallerOf(r.Context()))
	return replyPage(w, r, all, true, func(s *access.Session) gate.Place { return gate.Place{N: gate.Micros(s.LastUsed.Time), S: s.ID} })
}

// ended is how many sessions have ended.
type ended struct {
	Sessions int `json:"sessions"` // how many sessions have ended
}

// endSessions ends the sessions of the administrator that the query names, or all.
func (a *API) endSessions(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	v, err := parseQuery(r, "administrator")
	if err != nil {
		return err
	}
	name, given := v["administrator"]
	if given { // an empty one is not all
		if _, err := a.Users.Administrator(name); err != nil {
			return err
		}
	}
	n, err := a.Users.EndSessions(r.Context(), gate.ActorOf(r.Context()), name)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, ended{n})
}

func (a *API) endSession(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	if err := noQuery(r); err != nil {
		return err
	}
	if err := a.Users.EndSession(r.Context(), gate.ActorOf(r.Context()), p["id"]); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *API) audit(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	q, err := pageQuery(r, "kind")
	if err != nil {
		return err
	}
	page, err := a.Trail.List(q)
	if err != nil {
		return ofParameters(err)
	}
	return reply(w, http.StatusOK, page)
}

func (a *API) system(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	if err := noQuery(r); err != nil {
		return err
	}
	return reply(w, http.StatusOK, a.systemNow())
}

// compactTime is how long compacting the database may take.
const compactTime = 24 * time.Hour

func (a *API) compact(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	if err := noQuery(r); err != nil {
		return err
	}
	gate.Patient(w, compactTime)
	before := a.Broker.StoreStats().Size
	if err := a.Broker.Compact(r.Context()); err != nil {
		return err
	}
	a.Trail.Note(r.Context(), gate.ActorOf(r.Context()), audit.Compact, "")
	return reply(w, http.StatusOK, Compacted{Before: before, After: a.Broker.StoreStats().Size})
}
