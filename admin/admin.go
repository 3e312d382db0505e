// Package admin is how people and scripts administer a broker: it serves everything under /admin/, the web pages by
// package web, the REST API by package api. What both do to objects is in object, who may in access, what they see of
// the running broker in monitor, who did what in audit; all stand on gate, and what people read is written by text.
//
// A request passes one way: the security headers, the router, the check of its origin and of who
// asks, then its handler. Handlers return an error, and one place has it written, as an error page
// or as a problem of RFC 9457, and logs what was refused and why.
//
// What is kept beside the broker's objects (administrators, sessions, tokens, the audit log) are
// documents in the same file. What every request needs of them is in memory as well.
package admin

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/julienschmidt/httprouter"

	"pipit/admin/access"
	"pipit/admin/alert"
	"pipit/admin/api"
	"pipit/admin/audit"
	"pipit/admin/gate"
	"pipit/admin/monitor"
	"pipit/admin/object"
	"pipit/admin/web"
	"pipit/backup"
	"pipit/broker"
	"pipit/broker/limit"
	"pipit/httpapi/callback"
	"pipit/httpapi/exchange"
	"pipit/httpapi/forwarded"
	"pipit/httpapi/refused"
)

// Options configure an Admin. The zero value of a field stands for its default.
type Options struct {
	Version     string
	Settings    []gate.Setting // the configuration in force, secrets masked
	Addresses   []string       // base URLs that this machine is reached by, for the set-up links; default "http://127.0.0.1"
	Wire        string         // base URL of the wire protocol, where it has listeners of its own; without a host name, that of the request: "http://:11223"
	PublicURL   string         // base URL of the wire protocol for its clients; default: scheme and host of the request
	Origin      string         // scheme and host of the pages for browsers, where a proxy changes Host; default: those of PublicURL or the request
	PathPrefix  string         // in front of /admin/, where a proxy has it: "/pipit"; served with it and without
	Proxies     forwarded.Proxies
	Hosts       []string               // names of this machine, in lower case, beside localhost and those of Origin and PublicURL: by any other nobody comes in on the loopback
	HasName     func(name string) bool // tells further ones, such as those of the certificate; or nil
	Certificate func() time.Time       // tells when the certificate ends; nil: there is none
	Declared    broker.Definition      // by the configuration file: it is marked so, since the next start brings it back
	MaxPayload  int64                  // bytes of one message; default 1 MiB
	SessionIdle time.Duration          // how long a session lasts without a request; default DefaultSessionIdle
	SessionLife time.Duration          // how long it lasts in any case; default DefaultSessionLife
	Callbacks   *callback.Service      // who sends messages; nil: nobody does in this process
	Backups     *backup.Service        // who makes backups; nil: nobody does in this process
	Attention   monitor.Thresholds     // from where on something needs attention; default monitor.DefaultThresholds
	Alerts      alert.Options          // who is told of it; default: nobody
	Metrics     http.Handler           // answers at gate.MetricsPath; nil: nobody does
	Cluster     monitor.Cluster        // that this process leads; nil: it is of none
	Refusals    *refused.Recent        // requests of the wire protocol that were refused; nil: they are not known
	Logger      *slog.Logger           // default slog.Default()
	Access      bool                   // a line in the log for every request, beside those that are refused
	LastLines   func() []byte          // of the log, of which no secret is part, for who looks for a fault; nil: there is neither a bundle nor a profile
	Head        func() any             // what they are told of the head of the database's file, in JSON; nil: nothing

	// Answered, where it is not nil, is told of each request that was answered, as that of the wire protocol is; id is empty.
	Answered func(route, method string, status int, took time.Duration, id string)
}

// Admin is the handler of all paths under /admin/, and of the metrics. Its methods may be called from any goroutine.
type Admin struct {
	// Its parts, for who does in Go what pages and API do. They are not replaced while requests are served.
	API     *api.API
	Web     *web.Site
	Objects *object.Objects
	Users   *access.Users
	Trail   *audit.Log
	Monitor *monitor.Monitor
	Alerts  *alert.Service

	b        *broker.Broker
	o        Options // as they were at the start
	reach    *gate.Reach
	adjusted atomic.Pointer[adjusted]
	log      *slog.Logger
	lines    *exchange.Lines
	router   *httprouter.Router
	started  time.Time

	closing   chan struct{} // closed by Close
	closeOnce sync.Once
	workers   sync.WaitGroup
}

// New returns the handler for a broker. The caller closes it before the broker.
func New(b *broker.Broker, o Options) (*Admin, error) {
	if len(o.Addresses) == 0 {
		o.Addresses = []string{"http://127.0.0.1"}
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	a := &Admin{
		b:       b,
		o:       o,
		reach:   o.reach(),
		log:     o.Logger,
		lines:   exchange.NewLines(o.Logger),
		started: time.Now(),
		closing: make(chan struct{}),
	}
	var err error
	if a.Trail, err = audit.Open(b, o.Logger); err != nil {
		return nil, err
	}
	if a.Users, err = access.New(b, o.Logger, a.Trail, a.reach); err != nil {
		return nil, err
	}
	a.Objects = object.New(b, o.Logger, a.Trail)
	b.OnSubscription(a.Objects.NoteSubscription)
	b.OnMade(a.Objects.NoteMade)
	if o.Callbacks != nil {
		o.Callbacks.OnPause(a.Objects.NotePause)
	}
	a.Monitor = monitor.New(b, o.PathPrefix, a.started)
	a.Monitor.Refused, a.Monitor.CertificateEnds, a.Monitor.Cluster = o.Refusals, o.Certificate, o.Cluster
	if o.Backups != nil {
		a.Monitor.Backups = func() error {
			if f := o.Backups.Failure(); f != nil {
				return f.Err
			}
			return nil
		}
	}
	if a.Alerts, err = alert.New(b, a.Monitor, cmp.Or(a.reach.ConfiguredOrigin(), o.Addresses[0]), o.PathPrefix, o.Logger); err != nil {
		return nil, err
	}
	if err := a.Adjust(o); err != nil {
		a.Alerts.Close()
		return nil, err
	}
	a.Monitor.Start()
	settings := func() []gate.Setting { return a.adjusted.Load().settings }
	a.API = &api.API{Broker: b, Objects: a.Objects, Users: a.Users, Trail: a.Trail, Monitor: a.Monitor, Reach: a.reach, Version: o.Version, Callbacks: o.Callbacks, Backups: o.Backups, Started: a.started, Settings: settings, Alerts: a.Alerts, LastLines: o.LastLines, Head: o.Head, Cluster: o.Cluster}
	a.Web = &web.Site{Broker: b, Objects: a.Objects, Users: a.Users, Trail: a.Trail, Monitor: a.Monitor, Reach: a.reach, Callbacks: o.Callbacks, Backups: o.Backups, Alerts: a.Alerts, Version: o.Version, Started: a.started, Settings: settings, Cluster: o.Cluster}
	a.register()
	a.workers.Go(a.keep)
	return a, nil
}

// HostCheck returns what refuses a request that came in on the loopback by a name that is not of Origin, PublicURL, Hosts or
// HasName, as an Admin with these options does.
func HostCheck(o Options) func(*http.Request) error { return o.reach().CheckHost }

// reach is what o says of how the server is reached.
func (o *Options) reach() *gate.Reach {
	return &gate.Reach{Addresses: o.Addresses, Wire: o.Wire, PublicURL: o.PublicURL, Origin: o.Origin, PathPrefix: o.PathPrefix,
		Proxies: o.Proxies, Hosts: o.Hosts, HasName: o.HasName}
}

// adjusted are the options that Adjust changes.
type adjusted struct {
	settings   []gate.Setting
	maxPayload int64
	access     bool
}

// Adjust takes over the options that can change while requests are served: Settings, Declared, MaxPayload,
// Access, Attention, Alerts, and those of sessions, which hold for sessions that have begun, too. Where Alerts cannot be used, it
// returns why, and these stay as they were.
func (a *Admin) Adjust(o Options) error {
	if o.MaxPayload <= 0 {
		o.MaxPayload = limit.DefaultMaxPayload
	}
	a.Objects.SetDeclared(o.Declared)
	a.adjusted.Store(&adjusted{o.Settings, o.MaxPayload, o.Access})
	a.Users.Adjust(cmp.Or(o.SessionIdle, access.DefaultSessionIdle), cmp.Or(o.SessionLife, access.DefaultSessionLife))
	o.Attention = cmp.Or(o.Attention, monitor.DefaultThresholds)
	a.Objects.SetThresholds(o.Attention)
	a.Monitor.Adjust(o.Attention)
	o.Alerts.Settle = cmp.Or(o.Alerts.Settle, alert.DefaultSettle+o.Attention.InFlight)
	return a.Alerts.Adjust(o.Alerts)
}

// SetupURLs returns a link to create the first administrator with, once, within half an hour, at each
// address that the pages are reached by; none, where there is an administrator already. Links that were
// returned before are no longer valid. They are secret.
func (a *Admin) SetupURLs() []string { return a.Users.SetupURLs() }

// NoteAtNode takes an action of the command line at a node's port into the audit log; of is the node that it was done to.
func (a *Admin) NoteAtNode(ctx context.Context, action, of string) {
	a.Trail.Note(ctx, gate.Actor{Name: gate.CommandLine, Via: gate.Node}, action, of)
}

// Close ends what runs in the background and stores what only memory has. Requests must have ended.
func (a *Admin) Close() {
	a.closeOnce.Do(func() {
		close(a.closing)
		a.Alerts.Close()
		a.Monitor.Close()
		a.workers.Wait()
		a.Users.Close()
		a.Trail.StoreRepeated()
	})
}

// policy is the Content-Security-Policy: nothing from elsewhere, nothing inline.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// ServeHTTP answers a request, and logs it.
func (a *Admin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	r = a.reach.Unprefixed(r)
	x := &call{who: gate.Actor{Addr: a.reach.Addr(r)}, prefix: a.o.PathPrefix}
	x.Exchange = exchange.Exchange{ResponseWriter: w, Side: x, Request: r, Remote: a.reach.Remote(r)}
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "same-origin") // with no-referrer, browsers hide the Origin of our own forms
	h.Set("X-Content-Type-Options", "nosniff")
	if !strings.HasPrefix(r.URL.Path, gate.AssetsPath) {
		h.Set("Cache-Control", "no-store")
	}
	if a.reach.Secure(r) && !gate.IsLocalhost(gate.HostName(r.Host)) { // which is other servers', too
		h.Set("Strict-Transport-Security", strictTransport)
	}
	if x.Err = a.reach.CheckHost(r); x.Err == nil {
		a.dispatch(x, r)
	}
	switch {
	case x.Err != nil:
		a.fail(x, r)
	case x.Status >= 400: // a form that is shown again
		a.lines.Refused(&x.Exchange, x.Status)
	}
	if a.adjusted.Load().access {
		a.lines.Access(&x.Exchange, start)
	}
	if a.o.Answered != nil {
		a.o.Answered(cmp.Or(x.route, exchange.NoRoute), r.Method, cmp.Or(x.Status, http.StatusOK), time.Since(start), "")
	}
}

// dispatch has the router find the handler.
func (a *Admin) dispatch(x *call, r *http.Request) {
	// The router shall see the path as it was sent: %2F belongs to a parameter, / ends it.
	routed := *r
	u := *r.URL
	u.Path, u.RawPath = r.URL.EscapedPath(), ""
	routed.URL = &u
	a.lines.Run(&x.Exchange, a.router, routed.WithContext(context.WithValue(r.Context(), urlKey{}, r.URL)))
}

// urlKey is that of the request's own URL in its context, while the router has another.
type urlKey struct{}

// fail has an error written, if the reply has not begun, and logs it.
func (a *Admin) fail(x *call, r *http.Request) {
	if x.Status != 0 {
		a.lines.BrokenOff(&x.Exchange)
		return
	}
	if gate.IsAPI(r) {
		api.WriteProblem(x, x.Err)
	} else {
		a.Web.ErrorPage(x, r.WithContext(gate.WithActor(r.Context(), x.who)), x.Err)
	}
	a.lines.Refused(&x.Exchange, x.Status, slog.String("reason", x.Err.Error()))
}

// register makes the router of all routes.
func (a *Admin) register() {
	a.router = exchange.NewRouter(
		func(w http.ResponseWriter, r *http.Request) { w.(*call).Err = a.notFound(restored(r)) },
		func(w http.ResponseWriter, r *http.Request, message string) {
			x := w.(*call)
			if x.Err = a.refuseUntilSetUp(restored(r)); x.Err != nil {
				x.Header().Del("Allow")
				return
			}
			x.Err = gate.Refuse(http.StatusMethodNotAllowed, "method_not_allowed", message)
		})
	for _, rt := range slices.Concat(a.Web.Routes(), a.API.Routes()) {
		a.add(rt)
	}
	home := func(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
		http.Redirect(w, r, gate.RootPath, http.StatusSeeOther)
		return nil
	}
	a.add(gate.Get(strings.TrimSuffix(gate.RootPath, "/"), home, gate.Public))
	if a.o.Metrics != nil {
		a.add(gate.Get(gate.MetricsPath, func(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
			a.o.Metrics.ServeHTTP(w, r)
			return nil
		}, gate.Read))
	}
	a.add(gate.Get("/", home, gate.Public)) // of listeners that serve nothing else
}

// add makes the router know a route.
func (a *Admin) add(rt gate.Route) {
	exchange.Handle(a.router, rt.Method, rt.Path, func(w http.ResponseWriter, r *http.Request, p httprouter.Params) {
		x := w.(*call)
		x.route = rt.Path
		x.Err = a.enter(x, restored(r), rt, p)
	})
}

// restored is a request with the URL that it came with.
func restored(r *http.Request) *http.Request {
	r.URL = r.Context().Value(urlKey{}).(*url.URL)
	return r
}

// notFound answers what has no route.
func (a *Admin) notFound(r *http.Request) error {
	if err := a.refuseUntilSetUp(r); err != nil {
		return err
	}
	return gate.ErrNoRoute
}

// refuseUntilSetUp returns an error while there is no administrator.
func (a *Admin) refuseUntilSetUp(r *http.Request) error {
	switch {
	case a.Users.IsSetUp() || gate.IsLocal(r):
		return nil
	case gate.IsAPI(r):
		return gate.ErrNotSetUp
	default:
		return gate.ErrNoPage
	}
}

// enter lets a request in to its handler, or not.
func (a *Admin) enter(x *call, r *http.Request, rt gate.Route, p httprouter.Params) error {
	if !strings.HasPrefix(rt.Path, gate.AssetsPath) {
		if rt.Path == gate.SetupPath {
			if a.Users.IsSetUp() {
				return gate.ErrNoRoute
			}
		} else if err := a.refuseUntilSetUp(r); err != nil {
			return err
		}
	}
	who, err := a.Users.Identify(r)
	if err != nil {
		return err
	}
	x.who = who.Actor
	switch {
	case rt.Access == gate.Public:
	case who.Name == "" && !gate.IsAPI(r) && gate.WantsPage(r):
		http.Redirect(x, r, a.signInFor(r), http.StatusSeeOther)
		return nil
	case who.Name == "":
		return gate.ErrNoSignIn
	case rt.Access > who.Access:
		return gate.Refuse(http.StatusForbidden, "forbidden", fmt.Sprintf("The token's scope is %s: this takes one of scope %s", who.Access, rt.Access))
	}
	if r.Body != nil {
		r.Body = http.MaxBytesReader(x.ResponseWriter, r.Body, a.maxBody(rt))
	}
	values := make(gate.Params, len(p))
	for _, v := range p {
		if strings.HasPrefix(rt.Path, gate.AssetsPath) {
			values[v.Key] = v.Value
		} else if values[v.Key], err = url.PathUnescape(v.Value); err != nil {
			return gate.ErrNoRoute
		}
	}
	if gate.IsAPI(r) {
		if r, err = api.NamesFromQuery(values, r); err != nil {
			return err
		}
	}
	return rt.Handler(x, r.WithContext(who.In(r.Context())), values)
}

// signInFor is where who is not signed in is sent: from there on to the page that was asked for, or that what was sent was typed
// in. That the request is of our own origin was checked before.
func (a *Admin) signInFor(r *http.Request) string {
	v := url.Values{}
	if !gate.IsRead(r) {
		if from, err := url.Parse(r.Referer()); err == nil && from.Path != "" {
			v.Set("next", strings.TrimPrefix(from.RequestURI(), a.o.PathPrefix))
			v.Set("sent", "1")
		}
	} else if r.URL.Path != gate.RootPath {
		v.Set("next", r.URL.RequestURI())
	}
	if len(v) == 0 {
		return gate.LoginPath
	}
	return gate.LoginPath + "?" + v.Encode()
}

// Limits of bodies.
const maxBody = 1 << 20 // bytes

// maxBody returns how large the body of a route may be. A payload may be escaped in it: as base64 it
// takes a third more, in a form at worst three bytes for one.
func (a *Admin) maxBody(rt gate.Route) int64 {
	switch {
	case strings.Contains(rt.Path, "/import"):
		return object.MaxImportBody
	case strings.HasSuffix(rt.Path, "/messages") || strings.HasSuffix(rt.Path, "/publish"):
		return maxBody + 3*a.adjusted.Load().maxPayload
	default:
		return maxBody
	}
}

// strictTransport has a browser come through TLS alone for 30 days since its last visit: to this host, at any port.
const strictTransport = "max-age=2592000"

// Local returns the handler for who has the database file in hand: nobody has to sign in. It must
// not be served to anybody else.
func (a *Admin) Local() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.ServeHTTP(w, gate.AsLocal(r))
	})
}

// keepInterval is how often last uses are written, and what is over is cleared away.
const keepInterval = time.Minute

// keep writes last uses now and then and clears away what is over, until Close.
func (a *Admin) keep() {
	tick := time.NewTicker(keepInterval)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			a.Users.Flush(now)
			if err := a.Trail.Keep(context.Background()); err != nil {
				a.log.Warn("the audit log was not merged or trimmed", "error", err)
			}
		case <-a.closing:
			return
		}
	}
}
