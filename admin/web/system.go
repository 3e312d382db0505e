package web

import (
	"fmt"
	"net/http"
	"net/url"
	"runtime"
	"time"

	"pipit/admin/audit"
	"pipit/admin/gate"
	"pipit/admin/monitor"
	"pipit/admin/text"
	"pipit/broker/stats"
	"pipit/broker/store"
)

// auditRows is how many entries a page of the audit log has.
const auditRows = 100

// systemPages are the page of the system and that of the audit log.
type systemPages struct{ *Site }

func (sp systemPages) routes() []gate.Route {
	return []gate.Route{
		gate.Get("/admin/system", sp.pageSystem, gate.Read),
		gate.Post("/admin/system/compact", sp.postCompact, gate.Admin),
		gate.Get("/admin/system/audit", sp.pageAudit, gate.Admin),
	}
}

type systemPage struct {
	Go, OS   string
	Started  time.Time
	Uptime   time.Duration
	Address  string
	Store    store.Stats
	Problem  string // why messages cannot be stored; empty where they can
	Compact  string // how far compacting is; empty where it does not go on
	Totals   stats.Totals
	Settings []gate.Setting
}

func (sp systemPages) pageSystem(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	problem := ""
	if err := sp.Broker.Health(); err != nil {
		problem = monitor.Reason(err)
	}
	compacting := ""
	if part, running := sp.Broker.Compacting(); running {
		compacting = fmt.Sprintf("%.0f %%", 100*part)
	}
	return sp.render(w, r, "system", http.StatusOK, view{Title: "System", Nav: "system", Data: systemPage{
		Go:       runtime.Version(),
		OS:       runtime.GOOS + "/" + runtime.GOARCH,
		Started:  sp.Started,
		Uptime:   time.Since(sp.Started),
		Address:  sp.bases(r).Admin,
		Store:    sp.Broker.StoreStats(),
		Problem:  problem,
		Compact:  compacting,
		Totals:   sp.Broker.Totals(),
		Settings: sp.Settings(),
	}})
}

// compactTime is how long a browser waits for compacting.
const compactTime = 24 * time.Hour

func (sp systemPages) postCompact(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	if _, err := readForm(w, r); err != nil {
		return err
	}
	gate.Patient(w, compactTime)
	before := sp.Broker.StoreStats().Size
	if err := sp.Broker.Compact(r.Context()); err != nil {
		return err
	}
	sp.Trail.Note(r.Context(), gate.ActorOf(r.Context()), audit.Compact, "")
	return sp.done(w, r, "/admin/system", fmt.Sprintf("The database is compacted: %s, before %s.", text.Size(sp.Broker.StoreStats().Size), text.Size(before)))
}

type auditPage struct {
	Items       []audit.Entry
	Most        int // entries of a kind that are kept
	Kinds       []auditTab
	First, Next string // URLs; empty where there are none
}

// auditTab leads to the entries of a kind, or to all.
type auditTab struct {
	Name, Path string
	Current    bool
}

func auditPath(kind, cursor string) string {
	q := url.Values{}
	for key, value := range map[string]string{"kind": kind, "cursor": cursor} {
		if value != "" {
			q.Set(key, value)
		}
	}
	return (&url.URL{Path: "/admin/system/audit", RawQuery: q.Encode()}).String()
}

func (sp systemPages) pageAudit(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	cursor, kind := r.URL.Query().Get("cursor"), r.URL.Query().Get("kind")
	l, err := sp.Trail.List(gate.Query{Cursor: cursor, Limit: auditRows, Kind: kind})
	if err != nil {
		return err
	}
	p := auditPage{Items: l.Items, Most: audit.MaxEntries, Kinds: []auditTab{{"all", auditPath("", ""), kind == ""}}}
	for _, k := range audit.Kinds {
		p.Kinds = append(p.Kinds, auditTab{k, auditPath(k, ""), k == kind})
	}
	if cursor != "" {
		p.First = auditPath(kind, "")
	}
	if l.Next != "" {
		p.Next = auditPath(kind, l.Next)
	}
	return sp.render(w, r, "audit", http.StatusOK, view{Title: "Audit log", Nav: "system", Data: p})
}
