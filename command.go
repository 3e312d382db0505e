package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"

	cli "pipit/admin/command"
	"pipit/broker"
	"pipit/broker/limit"
	"pipit/config"
	"pipit/db"
)

// commandLine is what the command line needs of this program.
func commandLine(env []string, stdin io.Reader, stdout, stderr, serverLog io.Writer) cli.Program {
	log, _ := newLogger(config.Log{Level: "warn", Format: "text"}, stderr)
	return cli.Program{
		Version: versionLine(),
		Env:     env,
		Stdin:   stdin,
		Stdout:  stdout,
		Stderr:  stderr,
		Log:     serverLog,
		Serve: func(ctx context.Context, file string) error {
			return runBroker(ctx, file, env, serverLog)
		},
		CheckConfig: func(ctx context.Context, file string) error {
			return checkConfig(ctx, file, env, stdout, stderr)
		},
		Database: func(file string) (database, why string, err error) {
			return config.DatabaseFile(file, configEnv(env))
		},
		Address: func(file string) (string, error) {
			cfg, err := config.Read(file, configEnv(env))
			if err != nil {
				return "", err
			}
			return ownURL(cfg.HTTP.Listen, cfg.HTTP.TLSCert != "")
		},
		Open: func(file string, create bool) (*broker.Broker, error) {
			store, err := db.Open(file, db.Options{Logger: log, Program: built(), MustExist: !create})
			if err != nil {
				return nil, err
			}
			b, err := broker.Open(store, broker.Options{
				MaxPayload: cli.MaxPayload, Logger: log,
				History: limit.MaxHistory, HistoryMessages: limit.MaxHistoryMessages, // the server may allow so much
			})
			if err != nil {
				return nil, errors.Join(fmt.Errorf("%s: %w", file, err), store.Close())
			}
			return b, nil
		},
		ClusterInit: func(file string) error { return initCluster(file, env, log) },
		AskNode: func(ctx context.Context, file, question string) (json.RawMessage, error) {
			return askNode(ctx, file, env, question)
		},
		NodeBackup: func(ctx context.Context, file string) (io.ReadCloser, int64, error) {
			return loadBackup(ctx, file, env)
		},
		Verify: func(file string, progress func(part float64)) error {
			return db.Verify(file, db.Options{Logger: log, Program: built()}, progress)
		},
		Releases: db.Releases(),
		Downgrade: func(file, release string) (cli.Downgrade, error) {
			loss, err := db.Downgrade(file, db.Options{Logger: log, Program: built()}, release)
			d := cli.Downgrade{Version: release, Opens: loss.Opens >= loss.Format, Format: loss.Format, Highest: loss.Opens, Unknown: []cli.NotKnown{}}
			for _, l := range loss.Lost {
				d.Unknown = append(d.Unknown, cli.NotKnown(l))
			}
			return d, err
		},
		Compact: func(file string) (before, after int64, err error) {
			return db.CompactFile(file, db.Options{Logger: log, Program: built()})
		},
		SaveBackup: db.SaveBackup,
		Restore: func(ctx context.Context, backup, file string, progress func(part float64)) (string, error) {
			return db.Restore(ctx, backup, file, db.Options{Logger: log, Program: built()}, progress)
		},
	}
}

// configEnv is the environment but for the variables of the command line, which the configuration would refuse as
// misspelled.
func configEnv(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains(cli.Variables, name)
	})
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
