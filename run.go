package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"pipit/admin"
	cli "pipit/admin/command"
	"pipit/broker"
	"pipit/db"
	"pipit/httpapi"
	"pipit/httpapi/forwarded"
)

// version is that of the last entry in CHANGELOG.md.
const version = "0.1.0"

// run is the program. It returns the exit code: 0 also where ctx ended it, 2 for bad flags, else 1;
// those of commands are package command's.
func run(ctx context.Context, args, env []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if !cli.Handles(args) || args[0] == "serve" { // the broker, which its log must not hold up
		log := newLogWriter(stderr)
		defer log.Close(logFlush)
		stderr = log
	}
	if cli.Handles(args) {
		return cli.Run(ctx, commandLine(env, stdin, stdout, stderr), args)
	}
	flags := flag.NewFlagSet("pipit", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintf(stderr, "Usage: pipit [FLAG…], which runs the broker, or pipit COMMAND …\n\nFlags:\n")
		flags.PrintDefaults()
		fmt.Fprintf(stderr, "\nCommands, see pipit help:\n%s", cli.Summary())
	}
	file := flags.String("config", "", "read the configuration from `FILE`; config.example.toml lists every key")
	check := flags.Bool("check-config", false, "name all that a start would refuse, and exit")
	show := flags.Bool("version", false, "print the version and exit")
	hash := flags.Bool("hash-password", false, "ask for a password, or read it from a line of standard input, print what password_hash takes, and exit")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "pipit: unexpected argument %q: see pipit -help\n", flags.Arg(0))
		return 2
	}
	err := func() error {
		switch {
		case *show:
			fmt.Fprintln(stdout, versionLine())
			return nil
		case *hash:
			return hashPassword(ctx, commandLine(env, stdin, stdout, stderr))
		}
		if *check {
			return checkConfig(ctx, *file, env, stdout, stderr)
		}
		return serve(ctx, *file, env, stderr)
	}()
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			fmt.Fprintf(stderr, "pipit: %s\n", strings.TrimSpace(line))
		}
		return 1
	}
	return 0
}

// versionLine names the version, the commit where the build knows it, and the Go release.
func versionLine() string {
	line := "pipit " + version
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				line += " " + s.Value[:min(12, len(s.Value))]
			}
		}
	}
	return fmt.Sprintf("%s %s %s/%s", line, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// hashPassword prints the hash of a password that it asks for, or reads from standard input.
func hashPassword(ctx context.Context, p cli.Program) error {
	password, err := p.Secret(ctx, "password", true)
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted")
	}
	if err != nil {
		return err
	}
	hash, err := broker.HashPassword(password)
	if err != nil {
		return err
	}
	fmt.Fprintln(p.Stdout, hash)
	if weak := broker.WeakPassword("", password); weak != "" {
		fmt.Fprintln(p.Stderr, "pipit: warning: the password is weak: "+weak)
	}
	return nil
}

// openStore opens the database of a server.
var openStore = func(file string, log *slog.Logger) (broker.Store, error) {
	return db.Open(file, db.Options{Logger: log})
}

// serve runs the broker with the configuration of a file and of the environment until ctx ends, a listener
// fails, or it is not known any more what the database holds: then a supervisor is to start it again. SIGHUP
// loads the configuration again.
func serve(ctx context.Context, file string, env []string, stderr io.Writer) (err error) {
	load := func() (*config, error) { return loadConfig(file, env) }
	cfg, err := load()
	if err != nil {
		return err
	}
	log, level := newLogger(cfg.Log, stderr)
	tune()
	go holdMemory(ctx, cfg.HTTP)

	hangups := notifyHangup() // from here on, so that one during the start does not end it
	defer hangups.stop()

	var down shutdown
	defer func() {
		err = errors.Join(err, down.run(shutdownEnd))
		if err == nil {
			log.Info("stopped")
		}
	}()

	store, err := openStore(cfg.Database.File, log)
	if err != nil {
		return err
	}
	b, err := broker.Open(store, cfg.brokerOptions(log))
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", cfg.Database.File, err), store.Close())
	}
	down.add("database", b.Close)
	warnOpen(cfg, file, log)

	if err := declare(ctx, b, cfg, log, stderr); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}

	var cert *certificate
	if cfg.HTTP.TLSCert != "" {
		if cert, err = openCertificate(cfg.HTTP.TLSCert, cfg.HTTP.TLSKey, log); err != nil {
			return err
		}
	}
	proxies, err := forwarded.Parse(cfg.HTTP.TrustedProxies)
	if err != nil {
		return err
	}
	conns := newConnections(connectionLimit(cfg.HTTP.MaxConnections, log), log)
	conns.proxies = proxies
	listeners, err := listenAll(ctx, "http.listen", cfg.HTTP.Listen, conns)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	protocol := httpapi.New(b, cfg.wireOptions(proxies, log))
	again := reloader{load: load, cfg: cfg, b: b, log: log, stderr: stderr}
	again.onChange(func(c *config) {
		conns.adjust(connectionLimit(c.HTTP.MaxConnections, log))
		b.Adjust(c.brokerOptions(log))
		protocol.Adjust(c.wireOptions(proxies, log))
		_ = level.UnmarshalText([]byte(c.Log.Level)) // checked with the configuration
	})
	var (
		handler      http.Handler = protocol
		adm          *admin.Admin
		ownListeners []net.Listener // of admin alone
		reached      = listeners    // those that serve admin
		wire         string         // base URL of listeners, where these are others
	)
	if cfg.Admin.Enabled {
		if len(cfg.Admin.Listen) > 0 {
			if ownListeners, err = listenAll(ctx, "admin.listen", cfg.Admin.Listen, conns); err != nil {
				closeAll(listeners)
				if ctx.Err() != nil {
					return nil
				}
				return err
			}
			reached, wire = ownListeners, wireURL(listeners, cert != nil)
		}
		opts := admin.Options{
			Version:    version,
			Settings:   cfg.settings(),
			Addresses:  baseURLs(reached, cert != nil),
			Wire:       wire,
			PublicURL:  cfg.HTTP.PublicURL,
			Origin:     cfg.Admin.Origin,
			PathPrefix: cfg.Admin.PathPrefix,
			Proxies:    proxies,
			Hosts:      append(machineNames(ctx), lowerNames(cfg.HTTP.Hosts)...),
			MaxPayload: int64(cfg.HTTP.MaxPayload),
			Logger:     log,
			Access:     cfg.Log.Access,

			SessionIdle: cfg.Admin.SessionIdle,
			SessionLife: cfg.Admin.SessionLife,
		}
		if cert != nil {
			opts.HasName = cert.names
		}
		adm, err = admin.New(b, opts)
		if err != nil {
			closeAll(slices.Concat(listeners, ownListeners))
			return fmt.Errorf("admin: %w", err)
		}
		down.add("admin", func() error { adm.Close(); return nil })
		again.onChange(func(c *config) {
			opts.Settings, opts.MaxPayload, opts.Access = c.settings(), int64(c.HTTP.MaxPayload), c.Log.Access
			opts.SessionIdle, opts.SessionLife = c.Admin.SessionIdle, c.Admin.SessionLife
			adm.Adjust(opts)
		})
		if ownListeners == nil {
			handler = underAdmin(cfg.Admin.PathPrefix, adm, handler)
		}
	}

	srv := servers{cert: cert, conns: conns, failed: make(chan error, 1)}
	down.add("http", func() error { return srv.stop(log) })
	front := httpapi.NewServer(handler, cfg.HTTP.IdleTimeout)
	front.RegisterOnShutdown(b.Drain) // after the listeners are closed: long polls and streams end
	srv.start(front, listeners, log)
	if ownListeners != nil {
		own := httpapi.NewServer(adm, cfg.HTTP.IdleTimeout)
		own.RegisterOnShutdown(b.Drain)
		srv.start(own, ownListeners, log)
		log.Info("listening for administrators", "addr", addresses(ownListeners), "urls", strings.Join(baseURLs(ownListeners, cert != nil), ","))
	}

	if a := beyondLoopback(slices.Concat(listeners, ownListeners)); a != "" && cert == nil {
		log.Warn("other machines can reach this address and passwords cross the network in the clear: set http.tls_cert and http.tls_key, or put a TLS proxy in front", "address", a)
	}
	log.Info("listening", "addr", addresses(listeners), "urls", strings.Join(baseURLs(listeners, cert != nil), ","), "tls", cert != nil, "database", cfg.Database.File, "version", version)
	if len(cfg.Client) == 0 && len(b.Clients()) == 0 {
		hint := "declare some in a file like config.example.toml and start with -config FILE"
		if adm != nil {
			hint = "create some at " + baseURLs(reached, cert != nil)[0] + cfg.Admin.PathPrefix + "/admin/, or " + hint
		}
		fmt.Fprintln(stderr, "pipit: There are no clients yet: "+hint)
	}
	if adm != nil {
		for i, link := range adm.SetupURLs() { // a secret: not for the log
			words := "There is no administrator yet: create one within 30 minutes at"
			if i > 0 {
				words = "  or from another machine at"
			}
			fmt.Fprintf(stderr, "pipit: %s %s\n", words, link)
		}
	}

	for {
		select {
		case <-ctx.Done():
			log.Info("stopping")
			return nil
		case err := <-srv.failed:
			return fmt.Errorf("http: %w", err)
		case <-b.Failed():
			select { // who comes meanwhile is told so
			case <-time.After(failureTime):
			case <-ctx.Done():
			}
			return fmt.Errorf("the outcome of a write is not known, a restart is needed: %w", b.Health())
		case <-hangups.c:
			if hangups.ofTerminal() {
				log.Info("stopping, since the terminal was closed")
				return nil
			}
			again.reload(ctx)
		}
	}
}

// tune sets the runtime up for this program, where the environment does not say otherwise.
func tune() {
	if os.Getenv("GOGC") == "" {
		// What lives is small, a few megabytes, and every request allocates a little that dies with
		// it: the default would collect many times a second to save memory that nobody misses.
		debug.SetGCPercent(400)
	}
	if os.Getenv("GOMAXPROCS") == "" {
		// The committer spends its life in fsync. One processor more than there are cores lets
		// it come back from there without a queue of requests before it.
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
}
