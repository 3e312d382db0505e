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
	"pipit/admin/monitor"
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

	cluster monitor.Cluster // nil: it is no node of one
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
	if ready, err := prepare(ctx, d.declare, s.listen, d.openAll); !ready {
		return err
	}
	d.start(ctx)
	d.announce()
	tell.ready()
	go tell.watchdog(alive, d.b)
	defer tell.stopping()
	return s.run(ctx, d, signals, hangups, tell)
}

// prepare takes steps before anybody is served. What fails since ctx has ended is no error.
func prepare(ctx context.Context, steps ...func(context.Context) error) (ready bool, err error) {
	for _, step := range steps {
		switch err := step(ctx); {
		case err != nil && ctx.Err() != nil:
			return false, nil
		case err != nil:
			return false, err
		}
	}
	return true, nil
}

// observe makes what counts and traces, where it is on.
func (s *service) observe() (err error) {
	if c := s.cfg.Metrics; c.Enabled && (s.cfg.Admin.Enabled || len(c.Listen) > 0) {
		s.metrics = metrics.New(metrics.Options{Version: version, PerObjectLimit: int(c.PerObjectLimit), Logger: s.log})
	}
	s.tracer, err = tracing.New(s.tracingOptions(s.cfg))
	return err
}

func (d *doors) openBroker(configFile string) error {
	if err := d.observe(); err != nil {
		return err
	}
	store, err := openStore(&d.cfg.Database, d.log, d.metrics)
	if err != nil {
		return err
	}
	if err := d.openOn(store); err != nil {
		return err
	}
	warnOpen(d.cfg, configFile, d.log)
	warnWeak(d.cfg, d.log)
	if lost := d.cfg.Database.Unsynced(); lost > 0 {
		d.log.Warn("what is answered is not on the disk yet: a power cut, a kill or a crash loses up to the last sync_interval of it", "sync", config.SyncInterval, "sync_interval", lost.String())
	}
	return nil
}

// openOn opens the broker on a store.
func (d *doors) openOn(store store.Store) (err error) {
	opts := brokerOptions(d.cfg, d.log)
	if d.metrics != nil {
		opts.Committed = d.metrics.Committed
	}
	if file, ok := store.(*db.Store); ok {
		d.head = func() any { return db.ReadHead(file) }
	}
	if d.b, err = broker.Open(store, opts); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", d.cfg.Database.File, err), store.Close())
	}
	d.down.add("database", d.b.Close)
	d.again = reloader{load: d.load, cfg: d.cfg, b: d.b, log: d.log, stderr: d.stderr}
	return nil
}

func (d *doors) declare(ctx context.Context) error {
	return declare(ctx, d.b, d.cfg, d.log, d.stderr)
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

// adjust takes over what changes in the configuration and is the process', whoever has the broker.
func (s *service) adjust(c *config.Config) {
	s.memory.Store(memoryOf(c.HTTP))
	s.server.Adjust(c.HTTP.MaxConnections)
	s.tracer.Adjust(s.tracingOptions(c))
	_ = s.level.UnmarshalText([]byte(c.Log.Level)) // checked with the configuration
	if s.metrics != nil {
		s.metrics.Adjust(int(c.Metrics.PerObjectLimit))
	}
}

// openAll makes the protocol and admin, which take over what changes in the configuration.
func (d *doors) openAll(ctx context.Context) (err error) {
	d.protocol = httpapi.New(d.b, d.wireOptions(d.cfg))
	d.again.onChange(func(c *config.Config) {
		d.adjust(c)
		d.b.Adjust(brokerOptions(c, d.log))
		d.protocol.Adjust(d.wireOptions(c))
		d.backups.Adjust(backupOptions(c, d.log))
		if err := d.callbacks.Adjust(d.callbackOptions(c)); err != nil {
			d.log.Error("calls go on as before", "err", err)
		}
	})
	if d.callbacks, err = callback.New(d.b, d.callbackOptions(d.cfg)); err != nil {
		return err
	}
	d.down.add("callbacks", d.callbacks.Stop)
	if d.backups == nil { // a node of a cluster has one, whoever leads
		d.backups = backup.New(d.b, backupOptions(d.cfg, d.log))
		d.down.add("backups", d.backups.Stop)
	}
	if d.metrics != nil {
		d.metrics.Read(metrics.Sources{Broker: d.b, Callbacks: d.callbacks, Connections: d.server.Connections})
		d.down.add("metrics", func() error { d.metrics.Forget(); return nil })
	}
	if !d.cfg.Admin.Enabled {
		return nil
	}
	opts := d.adminOptions(ctx)
	if d.admin, err = admin.New(d.b, opts); err != nil {
		return fmt.Errorf("admin: %w", err)
	}
	d.down.add("admin", func() error { d.admin.Close(); return nil })
	d.again.onChange(func(c *config.Config) {
		opts.Settings, opts.Declared, opts.MaxPayload, opts.Access = c.Settings(), c.Definition(), int64(c.HTTP.MaxPayload), c.Log.Access
		opts.SessionIdle, opts.SessionLife = c.Admin.SessionIdle, c.Admin.SessionLife
		opts.Alerts, opts.Attention = alertOptions(c), c.Attention.Thresholds()
		if err := d.admin.Adjust(opts); err != nil {
			d.log.Error("alerts go on as before", "err", err)
		}
	})
	return nil
}

func (d *doors) adminOptions(ctx context.Context) admin.Options {
	c := d.cfg
	names := machineNames(ctx)
	opts := admin.Options{
		Version:    version,
		Settings:   c.Settings(),
		Declared:   c.Definition(),
		Addresses:  d.adminAddresses(names),
		PublicURL:  c.HTTP.PublicURL,
		Origin:     c.Admin.Origin,
		PathPrefix: c.Admin.PathPrefix,
		Proxies:    d.proxies,
		Hosts:      append(names, lowerNames(c.HTTP.Hosts)...),
		MaxPayload: int64(c.HTTP.MaxPayload),
		Callbacks:  d.callbacks,
		Backups:    d.backups,
		Alerts:     alertOptions(c),
		Attention:  c.Attention.Thresholds(),
		Refusals:   d.protocol.Refusals(),
		Cluster:    d.cluster,
		Logger:     d.log,
		Access:     c.Log.Access,

		SessionIdle: c.Admin.SessionIdle,
		SessionLife: c.Admin.SessionLife,
	}
	if d.metrics != nil {
		opts.Metrics, opts.Answered = d.metrics, d.metrics.Answered
	}
	if d.recent != nil {
		opts.LastLines, opts.Head = d.recent.text, d.head
	}
	if d.ownListeners != nil {
		opts.Wire = d.listeners.WireURL(d.cert != nil)
	}
	if d.cert != nil {
		opts.HasName, opts.Certificate = d.cert.Names, d.cert.Ends
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
func (d *doors) start(ctx context.Context) {
	d.down.add("http", d.server.Stop)
	wire, own := d.handlers()
	d.serve(ctx, wire, own, d.b.Drain) // which ends long polls and streams
}

// handlers are those of all addresses, and of admin's own, where it has some.
func (d *doors) handlers() (wire, own http.Handler) {
	switch {
	case d.admin == nil:
		return d.protocol, nil
	case d.ownListeners == nil:
		return d.underAdmin(), nil
	}
	return d.protocol, d.underOwn()
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
func (d *doors) announce() {
	secure := d.cert != nil
	if d.ownListeners != nil {
		d.log.Info("listening for administrators", "addr", d.ownListeners.String(), "urls", strings.Join(d.adminURLs(), ","))
	}
	if a := slices.Concat(d.listeners, d.ownListeners).BeyondLoopback(); a != "" && !secure {
		d.log.Warn("other machines can reach this address and passwords cross the network in the clear: set http.tls_cert and http.tls_key, or put a TLS proxy in front", "addr", a)
	}
	if d.metricsOnly != nil {
		d.log.Info("listening for Prometheus, which needs no token there", "addr", d.metricsOnly.String())
	}
	if a := d.metricsOnly.BeyondLoopback(); a != "" {
		d.log.Warn("other machines can reach this address and read the metrics, names of topics and clients among them, without a token: let the network keep others away", "addr", a)
	}
	d.log.Info("listening", "addr", d.listeners.String(), "urls", strings.Join(d.listeners.BaseURLs(secure), ","), "tls", secure,
		"database", d.cfg.Database.File, "version", version)
	if len(d.cfg.Client) == 0 && len(d.b.Clients()) == 0 {
		hint := "declare some in a file like config.example.toml and start with -config FILE"
		if d.admin != nil {
			hint = "create some at " + d.adminURLs()[0] + d.cfg.Admin.PathPrefix + "/admin/, or " + hint
		}
		fmt.Fprintln(d.stderr, "pipit: There are no clients yet: "+hint)
	}
	if d.admin == nil {
		return
	}
	for i, link := range d.admin.SetupURLs() { // a secret: not for the log
		words := "There is no administrator yet: create one within 30 minutes at"
		if i > 0 {
			words = "  or from another machine at"
		}
		fmt.Fprintf(d.stderr, "pipit: %s %s\n", words, link)
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

func (d *doors) failed() <-chan struct{} { return d.b.Failed() }

func (d *doors) failure() error {
	return fmt.Errorf("the outcome of a write is not known, a restart is needed: %w", d.b.Health())
}

func (d *doors) unready() { d.protocol.Drain() }

func (d *doors) reload(ctx context.Context) { d.again.reload(ctx) }

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
func (d *doors) underOwn() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if httpapi.IsProbe(r.URL.Path) {
			d.protocol.ServeHTTP(w, r)
			return
		}
		d.admin.ServeHTTP(w, r)
	})
}

// underAdmin sends what is under /admin/, and who wants metrics, to admin, with its prefix in front of the path or without, and
// everything else to the protocol. It looks at paths as they are: nothing is cleaned or redirected.
func (d *doors) underAdmin() http.Handler {
	prefix := d.cfg.Admin.PathPrefix
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, ok := strings.CutPrefix(r.URL.Path, prefix)
		if prefix != "" && ok && (path == "" || path == "/") {
			d.admin.ServeHTTP(w, r)
			return
		}
		if tail, ok := strings.CutPrefix(path, "/admin"); ok && (tail == "" || tail[0] == '/') || path == metrics.Path && d.metrics != nil {
			d.admin.ServeHTTP(w, r)
			return
		}
		d.protocol.ServeHTTP(w, r)
	})
}
