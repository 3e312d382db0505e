package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"

	cli "pipit/admin/command"
	"pipit/broker"
	"pipit/db"
)

// commandLine is what the command line needs of this program.
func commandLine(env []string, stdin io.Reader, stdout, stderr io.Writer) cli.Program {
	log, _ := newLogger(logConfig{Level: "warn", Format: "text"}, stderr)
	return cli.Program{
		Version: versionLine(),
		Env:     env,
		Stdin:   stdin,
		Stdout:  stdout,
		Stderr:  stderr,
		Serve: func(ctx context.Context, file string) error {
			return serve(ctx, file, env, stderr)
		},
		CheckConfig: func(config string) error {
			return checkConfig(context.Background(), config, env, stdout, stderr)
		},
		Database: func(config string) (file, why string, err error) {
			return databaseOf(config, env)
		},
		Address: func(config string) (string, error) {
			cfg, b, err := bindConfig(config, env)
			if err == nil {
				err = b.err()
			}
			if err != nil {
				return "", err
			}
			return ownURL(cfg.HTTP.Listen, cfg.HTTP.TLSCert != "")
		},
		Open: func(file string, create bool) (*broker.Broker, error) {
			store, err := db.Open(file, db.Options{Logger: log, MustExist: !create})
			if err != nil {
				return nil, err
			}
			b, err := broker.Open(store, broker.Options{MaxPayload: cli.MaxPayload, Logger: log})
			if err != nil {
				return nil, errors.Join(fmt.Errorf("%s: %w", file, err), store.Close())
			}
			return b, nil
		},
		Verify: func(file string, progress func(part float64)) error {
			return db.Verify(file, db.Options{Logger: log}, progress)
		},
	}
}

// databaseOf returns the database file of a configuration, and in words why it is that one. What the
// configuration lacks beside is no fault here: the environment of the service may have it.
func databaseOf(path string, env []string) (file, why string, err error) {
	c, b, err := bindConfig(path, env)
	if err == nil {
		b.database(c)
		err = b.err()
	}
	if err != nil {
		return "", "", err
	}
	const key = "database.file"
	switch {
	case b.vars[key] != "" || b.lines[key] > 0:
		_, where := b.place(key)
		return c.Database.File, "which " + where + " names", nil
	case path != "":
		return c.Database.File, "the default, since neither " + path + " nor PIPIT_DATABASE_FILE in this environment names one", nil
	}
	return c.Database.File, "the default, since there is neither --config nor PIPIT_DATABASE_FILE in this environment", nil
}

// ownURL is under which this machine reaches a server that listens on addresses: at its loopback, where
// it is among them.
func ownURL(listen []string, secure bool) (string, error) {
	u := url.URL{Scheme: "http"}
	if secure {
		u.Scheme = "https"
	}
	for _, addr := range listen {
		host, port, err := net.SplitHostPort(addr)
		switch ip := net.ParseIP(host); {
		case err != nil: // refused with the configuration
			continue
		case port == "" || port == "0":
			return "", fmt.Errorf("http.listen %q: its port is known to the running server alone: use --url", addr)
		case host == "" || ip.Equal(net.IPv4zero):
			host = "127.0.0.1"
		case ip.Equal(net.IPv6unspecified):
			host = "::1"
		}
		own := host == "localhost" || net.ParseIP(host).IsLoopback()
		if u.Host == "" || own {
			u.Host = net.JoinHostPort(host, port)
		}
		if own {
			break
		}
	}
	return u.String(), nil
}
