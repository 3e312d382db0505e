package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"pipit/broker"
	"pipit/db"
	"pipit/httpapi"
)

// version is that of the last entry in CHANGELOG.md.
const version = "0.1.0"

// run is the program. It returns the exit code: 0 also where ctx ended it, 2 for bad flags, else 1.
func run(ctx context.Context, args, env []string, stdin io.Reader, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("pipit", flag.ContinueOnError)
	flags.SetOutput(stderr)
	file := flags.String("config", "", "read the configuration from `FILE`; config.example.toml lists every key")
	check := flags.Bool("check-config", false, "check the configuration and exit")
	show := flags.Bool("version", false, "print the version and exit")
	hash := flags.Bool("hash-password", false, "read a password from standard input, print what password_hash takes, and exit")
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
			return hashPassword(stdin, stdout, stderr)
		}
		cfg, err := loadConfig(*file, env)
		if err != nil {
			return err
		}
		if *check {
			fmt.Fprintln(stdout, cmp.Or(*file, "built-in defaults")+": ok")
			return nil
		}
		return serve(ctx, cfg, stderr)
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

func hashPassword(stdin io.Reader, stdout, stderr io.Writer) error {
	if isTerminal(stdin) {
		fmt.Fprint(stderr, "Password (it is shown as you type): ")
	}
	line, err := bufio.NewReader(io.LimitReader(stdin, 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	hash, err := broker.HashPassword(strings.TrimRight(line, "\r\n"))
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, hash)
	return nil
}

// serve runs the broker until ctx ends or a listener fails.
func serve(ctx context.Context, cfg *config, stderr io.Writer) (err error) {
	log := newLogger(cfg.Log, stderr)
	tune()

	var down shutdown
	defer func() {
		err = errors.Join(err, down.run(shutdownEnd))
		if err == nil {
			log.Info("stopped")
		}
	}()

	store, err := db.Open(cfg.Database.File, db.Options{Logger: log})
	if err != nil {
		return err
	}
	b, err := broker.Open(store, broker.Options{
		MaxPayload: int64(cfg.HTTP.MaxPayload),
		MaxPending: int64(cfg.HTTP.MaxPending),
		Logger:     log,
	})
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", cfg.Database.File, err), store.Close())
	}
	down.add("database", b.Close)

	made, err := b.Apply(ctx, cfg.definition())
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return refused(err)
	}
	for _, c := range made { // a secret: not for the log
		fmt.Fprintf(stderr, "pipit: client %q consumes %q with the new sub_key %s - note it down, it is shown this once\n", c.Client, c.Topic, c.SubKey)
	}

	var cert *certificate
	if cfg.HTTP.TLSCert != "" {
		if cert, err = openCertificate(cfg.HTTP.TLSCert, cfg.HTTP.TLSKey, log); err != nil {
			return err
		}
	}
	listeners, err := listenAll(ctx, cfg.HTTP.Listen, cfg.HTTP.MaxConnections, log)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}

	srv := httpapi.NewServer(httpapi.New(b, httpapi.Options{
		MaxPayload: int64(cfg.HTTP.MaxPayload),
		MaxBatch:   int64(cfg.HTTP.MaxBatch),
		Logger:     log,
		Access:     cfg.Log.Access,
	}))
	srv.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelDebug) // broken handshakes and connections
	if cert != nil {
		srv.TLSConfig = cert.config()
	}
	srv.RegisterOnShutdown(b.Drain) // after the listeners are closed: long polls and streams end
	down.add("http", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), requestsEnd)
		defer cancel()
		err := srv.Shutdown(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			log.Warn("cutting the connections of requests that did not end", "after", requestsEnd)
			err = srv.Close()
		}
		return err
	})

	failed := make(chan error, len(listeners))
	addrs := make([]string, len(listeners))
	for i, l := range listeners {
		addrs[i] = l.Addr().String()
		go func() {
			if cert != nil {
				failed <- srv.ServeTLS(l, "", "")
			} else {
				failed <- srv.Serve(l)
			}
		}()
	}
	if a := beyondLoopback(listeners); a != "" && cert == nil {
		log.Warn("other machines can reach this address and passwords cross the network in the clear: set http.tls_cert and http.tls_key, or put a TLS proxy in front", "address", a)
	}
	log.Info("listening", "addr", strings.Join(addrs, ","), "tls", cert != nil, "database", cfg.Database.File, "version", version)
	if len(cfg.Client) == 0 {
		fmt.Fprintln(stderr, "pipit: No clients are declared: declare some in a file like config.example.toml and start with -config FILE")
	}

	select {
	case <-ctx.Done():
		log.Info("stopping")
		return nil
	case err := <-failed:
		return fmt.Errorf("http: %w", err)
	}
}

// refused is an error of the broker in the words that it has for callers, with the cause.
func refused(err error) error {
	var e *broker.Error
	if errors.As(err, &e) && e.Code == broker.Invalid {
		return fmt.Errorf("configuration: %s", e.Message)
	}
	return fmt.Errorf("apply the configuration: %w", err)
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
