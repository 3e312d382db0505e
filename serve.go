package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"pipit/admin"
	"pipit/backup"
	"pipit/broker"
	"pipit/broker/store"
	"pipit/config"
	"pipit/db"
	"pipit/httpapi"
	"pipit/httpapi/callback"
	"pipit/httpapi/forwarded"
	"pipit/httpapi/serve"
	"pipit/metrics"
	"pipit/tracing"
)

// openStore opens the database of a server.
var openStore = func(c *config.Database, log *slog.Logger, m *metrics.Metrics) (store.Store, error) {
	opts := db.Options{Logger: log, Program: built(), SyncInterval: c.Unsynced(), LogSize: int64(c.LogSize), CompactWhen: c.CompactWhen, MinFree: int64(c.MinFree)}
	if m != nil {
		opts.Flushed, opts.Checkpointed = m.Flushed, m.Checkpointed
	}
	return db.Open(c.File, opts)
}

// service is the process at work: where it listens and logs, and what has to be ended.
type service struct {
	cfg    *config.Config
	log    *slog.Logger
	file   *logFile     // nil: the log is stderr
	recent *recentLines // nil: admin.debug is off
	head   func() any   // what the database's file says of itself; nil: the store is another
	level  *slog.LevelVar
	stderr io.Writer // for what a person has to know, secrets among it
	load   func() (*config.Config, error)
	down   shutdown
	memory atomic.Int64 // bytes, for limitMemory
	given  sockets      // that a supervisor has opened

	metrics *metrics.Metrics // nil: they are off
	tracer  *tracing.Tracer  // nil: it is off

	cert         *serve.Certificate // nil: no TLS
	proxies      forwarded.Proxies
	server       *serve.Server
	listeners    serve.Listeners
	ownListeners serve.Listeners // of admin alone
	metricsOnly  serve.Listeners
}

// doors are what leads to a broker, and the broker.
type doors struct {
	*service
	down  *shutdown // of what is opened here
	again reloader

	b         *broker.Broker
	protocol  *httpapi.Handler
	callbacks *callback.Service
	backups   *backup.Service
	admin     *admin.Admin // nil: it is off
}

// runBroker runs the broker with the configuration of a file and of the environment until ctx ends, a listener
// fails, or it is not known any more what the database holds: then a supervisor is to start it again. SIGHUP
// loads the configuration again.
func runBroker(ctx context.Context, file string, env []string, stderr io.Writer) (err error) {
	load := func() (*config.Config, error) { return config.Load(file, configEnv(env)) }
	cfg, err := load()
	if err != nil {
		return err
	}
	s := &service{cfg: cfg, load: load, stderr: stderr}
	d := &doors{service: s, down: &s.down}
	to := stderr
	if cfg.Log.File != "" {
		s.file = newLogFile(cfg.Log, stderr)
		w := newLogWriter(s.file)
		defer w.Close(logFlush)
		to = w
	}
	s.log, s.level = newLogger(cfg.Log, to)
	if cfg.Admin.Debug {
		s.recent = &recentLines{}
		s.log = slog.New(slog.NewMultiHandler(s.log.Handler(), slog.NewJSONHandler(s.recent, &slog.HandlerOptions{Level: s.level})))
	}
	s.stderr = forPerson(env, cfg.Database.File, stderr, s.log)
	tune()
	alive, end := context.WithCancel(context.WithoutCancel(ctx)) // until requests are not served any more, drained ones too
	defer end()
	paceCollector(alive)
	s.memory.Store(memoryOf(cfg.HTTP))
	allowed := memoryAllowed()
	allowed.tell(s.log, s.memory.Load())
	go limitMemory(alive, &s.memory, allowed)
	if s.given, err = inheritedSockets(); err != nil {
		return err
	}

	hangups := notifyHangup() // from here on, so that one during the start does not end it
	defer hangups.stop()
	signals := notifyEnd() // likewise, so that the first of them is known when it ends ctx
	defer signal.Stop(signals)
	if ctx.Err() != nil {
		return nil
	}

	defer func() {
		begun := time.Now()
		err = errors.Join(err, s.down.run(shutdownEnd))
		s.tracer.Stop(min(tracesEnd, shutdownEnd-time.Since(begun))) // behind all else, which is not to wait for a collector
		switch {
		case err == nil:
			s.log.Info("stopped")
		case s.file != nil:
			s.log.Error("ended", "err", err) // as standard error is told by who called
		}
	}()
	tell := supervisor{s.log}
	if cfg.Cluster.Node != "" {
		return s.runNode(ctx, file, signals, hangups, tell)
	}
	if err := d.openBroker(file); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{d.declare, s.listen, d.openAll} {
		switch err := step(ctx); {
		case err != nil && ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
	}
	d.start(ctx)
	d.announce()
	tell.ready()
	go tell.watchdog(alive, d.b)
	defer tell.stopping()
	return s.run(ctx, d, signals, hangups, tell)
}

// observe makes what counts and traces, where it is on.
func (s *service) observe() (err error) {
	if c := s.cfg.Metrics; c.Enabled && (s.cfg.Admin.Enabled || len(c.Listen) > 0) {
		s.metrics = metrics.New(metrics.Options{Version: version, PerObjectLimit: int(c.PerObjectLimit), Logger: s.log})
	}
	s.tracer, err = tracing.New(s.tracingOptions(s.cfg))
	return err
}

func (s *doors) openBroker(configFile string) error {
	if err := s.observe(); err != nil {
		return err
	}
	store, err := openStore(&s.cfg.Database, s.log, s.metrics)
	if err != nil {
		return err
	}
	if err := s.openOn(store); err != nil {
		return err
	}
	warnOpen(s.cfg, configFile, s.log)
	if d := s.cfg.Database.Unsynced(); d > 0 {
		s.log.Warn("what is answered is not on the disk yet: a power cut, a kill or a crash loses up to the last sync_interval of it", "sync", config.SyncInterval, "sync_interval", d.String())
	}
	return nil
}

// openOn opens the broker on a store.
func (s *doors) openOn(store store.Store) (err error) {
	opts := brokerOptions(s.cfg, s.log)
	if s.metrics != nil {
		opts.Committed = s.metrics.Committed
	}
	if file, ok := store.(*db.Store); ok {
		s.head = func() any { return db.ReadHead(file) }
	}
	if s.b, err = broker.Open(store, opts); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", s.cfg.Database.File, err), store.Close())
	}
	s.down.add("database", s.b.Close)
	s.again = reloader{load: s.load, cfg: s.cfg, b: s.b, log: s.log, stderr: s.stderr}
	return nil
}

func (s *doors) declare(ctx context.Context) error {
	return declare(ctx, s.b, s.cfg, s.log, s.stderr)
}

// listen takes the addresses. Nobody is served yet.
func (s *service) listen(ctx context.Context) (err error) {
	c := s.cfg
	if c.HTTP.TLSCert != "" {
		if s.cert, err = serve.OpenCertificate(c.HTTP.TLSCert, c.HTTP.TLSKey, s.log); err != nil {
			return err
		}
	}
	if s.proxies, err = forwarded.Parse(c.HTTP.TrustedProxies); err != nil {
		return err
	}
	s.server = serve.New(serve.Options{
		MaxConnections: c.HTTP.MaxConnections, IdleTimeout: c.HTTP.IdleTimeout, Certificate: s.cert, Proxies: s.proxies, Logger: s.log,
	})
	s.down.add("listeners", func() error { s.server.Close(); return nil })
	if !c.Admin.Enabled && len(s.given[adminSocket]) > 0 {
		return fmt.Errorf("the supervisor has opened a socket %q, and admin.enabled is false", adminSocket)
	}
	open := func(name, key string, addrs []string) (serve.Listeners, error) {
		if given := s.given[name]; len(given) > 0 {
			s.log.Info("listening where the supervisor does", "instead_of", key)
			return s.server.Adopt(given), nil
		}
		return s.server.Listen(ctx, key, addrs)
	}
	if s.listeners, err = open(httpSocket, "http.listen", c.HTTP.Listen); err != nil {
		return err
	}
	if c.Admin.Enabled && len(c.Admin.Listen)+len(s.given[adminSocket]) > 0 {
		if s.ownListeners, err = open(adminSocket, "admin.listen", c.Admin.Listen); err != nil {
			return err
		}
	}
	if c.Metrics.Enabled && len(c.Metrics.Listen) > 0 {
		s.metricsOnly, err = s.server.Listen(ctx, "metrics.listen", c.Metrics.Listen)
	}
	return err
}

// openAll makes the protocol and admin, which take over what changes in the configuration.
func (s *doors) openAll(ctx context.Context) (err error) {
	s.protocol = httpapi.New(s.b, s.wireOptions(s.cfg))
	s.again.onChange(func(c *config.Config) {
		s.memory.Store(memoryOf(c.HTTP))
		s.server.Adjust(c.HTTP.MaxConnections)
		s.b.Adjust(brokerOptions(c, s.log))
		s.protocol.Adjust(s.wireOptions(c))
		s.backups.Adjust(backupOptions(c, s.log))
		s.tracer.Adjust(s.tracingOptions(c))
		_ = s.level.UnmarshalText([]byte(c.Log.Level)) // checked with the configuration
		if err := s.callbacks.Adjust(s.callbackOptions(c)); err != nil {
			s.log.Error("calls go on as before", "err", err)
		}
	})
	if s.callbacks, err = callback.New(s.b, s.callbackOptions(s.cfg)); err != nil {
		return err
	}
	s.down.add("callbacks", s.callbacks.Stop)
	s.backups = backup.New(s.b, backupOptions(s.cfg, s.log))
	s.down.add("backups", s.backups.Stop)
	if s.metrics != nil {
		s.metrics.Read(metrics.Sources{Broker: s.b, Callbacks: s.callbacks, Connections: s.server.Connections})
		s.again.onChange(func(c *config.Config) { s.metrics.Adjust(int(c.Metrics.PerObjectLimit)) })
	}
	if !s.cfg.Admin.Enabled {
		return nil
	}
	opts := s.adminOptions(ctx)
	if s.admin, err = admin.New(s.b, opts); err != nil {
		return fmt.Errorf("admin: %w", err)
	}
	s.down.add("admin", func() error { s.admin.Close(); return nil })
	s.again.onChange(func(c *config.Config) {
		opts.Settings, opts.Declared, opts.MaxPayload, opts.Access = c.Settings(), c.Definition(), int64(c.HTTP.MaxPayload), c.Log.Access
		opts.SessionIdle, opts.SessionLife = c.Admin.SessionIdle, c.Admin.SessionLife
		opts.Alerts, opts.Attention = alertOptions(c), c.Attention.Thresholds()
		if err := s.admin.Adjust(opts); err != nil {
			s.log.Error("alerts go on as before", "err", err)
		}
	})
	return nil
}

func (s *doors) adminOptions(ctx context.Context) admin.Options {
	c := s.cfg
	names := machineNames(ctx)
	opts := admin.Options{
		Version:    version,
		Settings:   c.Settings(),
		Declared:   c.Definition(),
		Addresses:  s.adminAddresses(names),
		PublicURL:  c.HTTP.PublicURL,
		Origin:     c.Admin.Origin,
		PathPrefix: c.Admin.PathPrefix,
		Proxies:    s.proxies,
		Hosts:      append(names, lowerNames(c.HTTP.Hosts)...),
		MaxPayload: int64(c.HTTP.MaxPayload),
		Callbacks:  s.callbacks,
		Backups:    s.backups,
		Alerts:     alertOptions(c),
		Attention:  c.Attention.Thresholds(),
		Refusals:   s.protocol.Refusals(),
		Logger:     s.log,
		Access:     c.Log.Access,

		SessionIdle: c.Admin.SessionIdle,
		SessionLife: c.Admin.SessionLife,
	}
	if s.metrics != nil {
		opts.Metrics, opts.Answered = s.metrics, s.metrics.Answered
	}
	if s.recent != nil {
		opts.LastLines, opts.Head = s.recent.text, s.head
	}
	if s.ownListeners != nil {
		opts.Wire = s.listeners.WireURL(s.cert != nil)
	}
	if s.cert != nil {
		opts.HasName, opts.Certificate = s.cert.Names, s.cert.Ends
	}
	return opts
}

// adminURLs are the base URLs that admin is reached by.
func (s *service) adminURLs() []string {
	if s.ownListeners != nil {
		return s.ownListeners.BaseURLs(s.cert != nil)
	}
	return s.listeners.BaseURLs(s.cert != nil)
}

// adminAddresses are adminURLs, and one by the full name of this machine where others can reach it.
func (s *service) adminAddresses(names []string) []string {
	ls := s.listeners
	if s.ownListeners != nil {
		ls = s.ownListeners
	}
	urls := s.adminURLs()
	if n := len(names); n > 0 && !strings.HasPrefix(names[n-1], "localhost") {
		urls = append(urls, ls.NamedURLs(names[n-1], s.cert != nil)...)
	}
	return urls
}

// start serves all that is listened on.
func (s *doors) start(ctx context.Context) {
	s.down.add("http", s.server.Stop)
	wire, own := s.handlers()
	s.serve(ctx, wire, own, s.b.Drain) // which ends long polls and streams
}

// handlers are those of all addresses, and of admin's own, where it has some.
func (s *doors) handlers() (wire, own http.Handler) {
	switch {
	case s.admin == nil:
		return s.protocol, nil
	case s.ownListeners == nil:
		return s.underAdmin(), nil
	}
	return s.protocol, s.underOwn()
}

// serve begins to serve. A stop calls stopping, which is to end requests that wait.
func (s *service) serve(ctx context.Context, wire, own http.Handler, stopping func()) {
	s.server.Serve(wire, s.listeners, stopping)
	if s.ownListeners != nil {
		s.server.Serve(own, s.ownListeners, stopping)
	}
	if s.metricsOnly != nil {
		s.server.Serve(s.bareMetrics(ctx), s.metricsOnly, stopping)
	}
}

// bareMetrics is the handler of metrics without a token. A page whose name is made to stand for this machine does not get them.
func (s *service) bareMetrics(ctx context.Context) http.Handler {
	c := s.cfg
	names := admin.Options{PublicURL: c.HTTP.PublicURL, Origin: c.Admin.Origin, Hosts: append(machineNames(ctx), lowerNames(c.HTTP.Hosts)...)}
	if s.cert != nil {
		names.HasName = s.cert.Names
	}
	check, alone := admin.HostCheck(names), s.metrics.Alone()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := check(r); err != nil {
			http.Error(w, err.Error(), http.StatusMisdirectedRequest)
			return
		}
		alone.ServeHTTP(w, r)
	})
}

// announce tells where it listens, and a person what to do next.
func (s *doors) announce() {
	secure := s.cert != nil
	if s.ownListeners != nil {
		s.log.Info("listening for administrators", "addr", s.ownListeners.String(), "urls", strings.Join(s.adminURLs(), ","))
	}
	if a := slices.Concat(s.listeners, s.ownListeners).BeyondLoopback(); a != "" && !secure {
		s.log.Warn("other machines can reach this address and passwords cross the network in the clear: set http.tls_cert and http.tls_key, or put a TLS proxy in front", "addr", a)
	}
	if s.metricsOnly != nil {
		s.log.Info("listening for Prometheus, which needs no token there", "addr", s.metricsOnly.String())
	}
	if a := s.metricsOnly.BeyondLoopback(); a != "" {
		s.log.Warn("other machines can reach this address and read the metrics, names of topics and clients among them, without a token: let the network keep others away", "addr", a)
	}
	s.log.Info("listening", "addr", s.listeners.String(), "urls", strings.Join(s.listeners.BaseURLs(secure), ","), "tls", secure,
		"database", s.cfg.Database.File, "version", version)
	if len(s.cfg.Client) == 0 && len(s.b.Clients()) == 0 {
		hint := "declare some in a file like config.example.toml and start with -config FILE"
		if s.admin != nil {
			hint = "create some at " + s.adminURLs()[0] + s.cfg.Admin.PathPrefix + "/admin/, or " + hint
		}
		fmt.Fprintln(s.stderr, "pipit: There are no clients yet: "+hint)
	}
	if s.admin == nil {
		return
	}
	for i, link := range s.admin.SetupURLs() { // a secret: not for the log
		words := "There is no administrator yet: create one within 30 minutes at"
		if i > 0 {
			words = "  or from another machine at"
		}
		fmt.Fprintf(s.stderr, "pipit: %s %s\n", words, link)
	}
}

// work is what the process does until it ends: it has a broker, or is a node of a cluster.
type work interface {
	// failed is closed when it cannot go on, for which failure has the reason.
	failed() <-chan struct{}
	failure() error
	// unready has readiness probes told that the process is about to stop. All else goes on.
	unready()
	// reload loads the configuration again.
	reload(ctx context.Context)
}

func (s *doors) failed() <-chan struct{} { return s.b.Failed() }

func (s *doors) failure() error {
	return fmt.Errorf("the outcome of a write is not known, a restart is needed: %w", s.b.Health())
}

func (s *doors) unready() { s.protocol.Drain() }

func (s *doors) reload(ctx context.Context) { s.again.reload(ctx) }

// run waits for the end, and loads the configuration again where it is asked to.
func (s *service) run(ctx context.Context, w work, signals chan os.Signal, hangups *hangups, tell supervisor) error {
	defer signal.Stop(signals) // one that comes while all is closed ends the process at once
	for {
		select {
		case <-ctx.Done():
			s.drain(ctx, w, signals, hangups, tell)
			s.log.Info("stopping")
			return nil
		case err := <-s.server.Failed():
			return fmt.Errorf("http: %w", err)
		case <-w.failed():
			select { // who comes meanwhile is told so
			case <-time.After(failureTime):
			case <-ctx.Done():
			}
			return w.failure()
		case <-hangups.c:
			tell.reloading()
			if s.hangup(ctx, w, hangups) {
				return nil
			}
			tell.ready()
		}
	}
}

// hangup does what a SIGHUP asks for, and tells whether that is the end.
func (s *service) hangup(ctx context.Context, w work, hangups *hangups) (ends bool) {
	if hangups.ofTerminal() {
		s.log.Info("stopping, since the terminal was closed")
		return true
	}
	w.reload(ctx)
	if s.file != nil {
		s.file.reopen(s.cfg.Log)
		s.log.Info("the file of the log was opened again", "file", s.cfg.Log.File)
	}
	return false
}

// underOwn is admin where it has listeners of its own, which are probed as well.
func (s *doors) underOwn() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if httpapi.IsProbe(r.URL.Path) {
			s.protocol.ServeHTTP(w, r)
			return
		}
		s.admin.ServeHTTP(w, r)
	})
}

// underAdmin sends what is under /admin/, and who wants metrics, to admin, with its prefix in front of the path or without, and
// everything else to the protocol. It looks at paths as they are: nothing is cleaned or redirected.
func (s *doors) underAdmin() http.Handler {
	prefix := s.cfg.Admin.PathPrefix
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, ok := strings.CutPrefix(r.URL.Path, prefix)
		if prefix != "" && ok && (path == "" || path == "/") {
			s.admin.ServeHTTP(w, r)
			return
		}
		if tail, ok := strings.CutPrefix(path, "/admin"); ok && (tail == "" || tail[0] == '/') || path == metrics.Path && s.metrics != nil {
			s.admin.ServeHTTP(w, r)
			return
		}
		s.protocol.ServeHTTP(w, r)
	})
}
