package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"pipit/admin"
	"pipit/broker"
	"pipit/config"
	"pipit/db"
	"pipit/httpapi"
	"pipit/httpapi/forwarded"
)

// openStore opens the database of a server.
var openStore = func(file string, log *slog.Logger) (broker.Store, error) {
	return db.Open(file, db.Options{Logger: log})
}

// service is a broker at work: the database, the doors to it, and what has to be ended.
type service struct {
	cfg    *config.Config
	log    *slog.Logger
	level  *slog.LevelVar
	stderr io.Writer // for what a person has to know, secrets among it
	down   shutdown
	again  reloader

	b        *broker.Broker
	protocol *httpapi.Handler
	admin    *admin.Admin // nil: it is off

	cert         *certificate // nil: no TLS
	proxies      forwarded.Proxies
	conns        *connections
	listeners    []net.Listener
	ownListeners []net.Listener // of admin alone
	srv          servers
}

// serve runs the broker with the configuration of a file and of the environment until ctx ends, a listener
// fails, or it is not known any more what the database holds: then a supervisor is to start it again. SIGHUP
// loads the configuration again.
func serve(ctx context.Context, file string, env []string, stderr io.Writer) (err error) {
	load := func() (*config.Config, error) { return config.Load(file, configEnv(env)) }
	cfg, err := load()
	if err != nil {
		return err
	}
	s := &service{cfg: cfg, stderr: stderr}
	s.log, s.level = newLogger(cfg.Log, stderr)
	tune()
	go holdMemory(ctx, cfg.HTTP)

	hangups := notifyHangup() // from here on, so that one during the start does not end it
	defer hangups.stop()

	defer func() {
		err = errors.Join(err, s.down.run(shutdownEnd))
		if err == nil {
			s.log.Info("stopped")
		}
	}()
	if err := s.openBroker(file); err != nil {
		return err
	}
	s.again = reloader{load: load, cfg: cfg, b: s.b, log: s.log, stderr: stderr}
	for _, step := range []func(context.Context) error{s.declare, s.listen, s.openDoors} {
		switch err := step(ctx); {
		case err != nil && ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
	}
	s.start()
	s.announce()
	return s.run(ctx, hangups)
}

func (s *service) openBroker(configFile string) error {
	file := s.cfg.Database.File
	store, err := openStore(file, s.log)
	if err != nil {
		return err
	}
	if s.b, err = broker.Open(store, brokerOptions(s.cfg, s.log)); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", file, err), store.Close())
	}
	s.down.add("database", s.b.Close)
	warnOpen(s.cfg, configFile, s.log)
	return nil
}

func (s *service) declare(ctx context.Context) error {
	return declare(ctx, s.b, s.cfg, s.log, s.stderr)
}

// listen takes the addresses. Nobody is served yet.
func (s *service) listen(ctx context.Context) (err error) {
	c := s.cfg
	if c.HTTP.TLSCert != "" {
		if s.cert, err = openCertificate(c.HTTP.TLSCert, c.HTTP.TLSKey, s.log); err != nil {
			return err
		}
	}
	if s.proxies, err = forwarded.Parse(c.HTTP.TrustedProxies); err != nil {
		return err
	}
	s.conns = newConnections(connectionLimit(c.HTTP.MaxConnections, s.log), s.log)
	s.conns.proxies = s.proxies
	s.down.add("listeners", func() error { closeAll(slices.Concat(s.listeners, s.ownListeners)); return nil })
	if s.listeners, err = listenAll(ctx, "http.listen", c.HTTP.Listen, s.conns); err != nil {
		return err
	}
	if c.Admin.Enabled && len(c.Admin.Listen) > 0 {
		s.ownListeners, err = listenAll(ctx, "admin.listen", c.Admin.Listen, s.conns)
	}
	return err
}

// openDoors makes the protocol and admin, which take over what changes in the configuration.
func (s *service) openDoors(ctx context.Context) (err error) {
	s.protocol = httpapi.New(s.b, wireOptions(s.cfg, s.proxies, s.log))
	s.again.onChange(func(c *config.Config) {
		s.conns.adjust(connectionLimit(c.HTTP.MaxConnections, s.log))
		s.b.Adjust(brokerOptions(c, s.log))
		s.protocol.Adjust(wireOptions(c, s.proxies, s.log))
		_ = s.level.UnmarshalText([]byte(c.Log.Level)) // checked with the configuration
	})
	if !s.cfg.Admin.Enabled {
		return nil
	}
	opts := s.adminOptions(ctx)
	if s.admin, err = admin.New(s.b, opts); err != nil {
		return fmt.Errorf("admin: %w", err)
	}
	s.down.add("admin", func() error { s.admin.Close(); return nil })
	s.again.onChange(func(c *config.Config) {
		opts.Settings, opts.MaxPayload, opts.Access = c.Settings(), int64(c.HTTP.MaxPayload), c.Log.Access
		opts.SessionIdle, opts.SessionLife = c.Admin.SessionIdle, c.Admin.SessionLife
		s.admin.Adjust(opts)
	})
	return nil
}

func (s *service) adminOptions(ctx context.Context) admin.Options {
	c := s.cfg
	opts := admin.Options{
		Version:    version,
		Settings:   c.Settings(),
		Addresses:  s.adminURLs(),
		PublicURL:  c.HTTP.PublicURL,
		Origin:     c.Admin.Origin,
		PathPrefix: c.Admin.PathPrefix,
		Proxies:    s.proxies,
		Hosts:      append(machineNames(ctx), lowerNames(c.HTTP.Hosts)...),
		MaxPayload: int64(c.HTTP.MaxPayload),
		Logger:     s.log,
		Access:     c.Log.Access,

		SessionIdle: c.Admin.SessionIdle,
		SessionLife: c.Admin.SessionLife,
	}
	if s.ownListeners != nil {
		opts.Wire = wireURL(s.listeners, s.cert != nil)
	}
	if s.cert != nil {
		opts.HasName = s.cert.names
	}
	return opts
}

// adminURLs are the base URLs that admin is reached by.
func (s *service) adminURLs() []string {
	if s.ownListeners != nil {
		return baseURLs(s.ownListeners, s.cert != nil)
	}
	return baseURLs(s.listeners, s.cert != nil)
}

// start serves all that is listened on.
func (s *service) start() {
	s.srv = servers{cert: s.cert, conns: s.conns, failed: make(chan error, 1)}
	s.down.add("http", func() error { return s.srv.stop(s.log) })
	open := func(h http.Handler, listeners []net.Listener) {
		server := httpapi.NewServer(h, s.cfg.HTTP.IdleTimeout)
		server.RegisterOnShutdown(s.b.Drain) // after the listeners are closed: long polls and streams end
		s.srv.start(server, listeners)
	}
	switch {
	case s.admin == nil:
		open(s.protocol, s.listeners)
	case s.ownListeners == nil:
		open(underAdmin(s.cfg.Admin.PathPrefix, s.admin, s.protocol), s.listeners)
	default:
		open(s.protocol, s.listeners)
		open(s.admin, s.ownListeners)
	}
}

// announce tells where it listens, and a person what to do next.
func (s *service) announce() {
	secure := s.cert != nil
	if s.ownListeners != nil {
		s.log.Info("listening for administrators", "addr", addresses(s.ownListeners), "urls", strings.Join(s.adminURLs(), ","))
	}
	if a := beyondLoopback(slices.Concat(s.listeners, s.ownListeners)); a != "" && !secure {
		s.log.Warn("other machines can reach this address and passwords cross the network in the clear: set http.tls_cert and http.tls_key, or put a TLS proxy in front", "address", a)
	}
	s.log.Info("listening", "addr", addresses(s.listeners), "urls", strings.Join(baseURLs(s.listeners, secure), ","), "tls", secure,
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

// run waits for the end, and loads the configuration again where it is asked to.
func (s *service) run(ctx context.Context, hangups *hangups) error {
	for {
		select {
		case <-ctx.Done():
			s.log.Info("stopping")
			return nil
		case err := <-s.srv.failed:
			return fmt.Errorf("http: %w", err)
		case <-s.b.Failed():
			select { // who comes meanwhile is told so
			case <-time.After(failureTime):
			case <-ctx.Done():
			}
			return fmt.Errorf("the outcome of a write is not known, a restart is needed: %w", s.b.Health())
		case <-hangups.c:
			if hangups.ofTerminal() {
				s.log.Info("stopping, since the terminal was closed")
				return nil
			}
			s.again.reload(ctx)
		}
	}
}
