package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"

	"pipit/broker/store"
	"pipit/config"
	"pipit/db"
	"pipit/httpapi/serve"
)

// machine is this one, for a configuration that is checked.
var machine = config.Machine{
	Certificate: func(certFile, keyFile string) error {
		_, err := serve.OpenCertificate(certFile, keyFile, nil)
		return err
	},
	Bind: serve.Bindable,
	Inspect: func(file string) (*store.Image, error) {
		return db.Inspect(file, db.Options{Program: built(), Logger: slog.New(slog.DiscardHandler)})
	},
}

// machineNames are the names of this machine, as far as it knows them without asking anybody, in lower case.
func machineNames(ctx context.Context) []string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return nil
	}
	files := net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) { return nil, errors.ErrUnsupported }}
	full, err := files.LookupCNAME(ctx, name) // its line in the hosts file begins with the full name
	if err != nil {
		full = name
	}
	short, _, _ := strings.Cut(name, ".")
	return lowerNames([]string{name, short, full})
}

// lowerNames are names as admin compares them.
func lowerNames(names []string) []string {
	lower := make([]string, len(names))
	for i, n := range names {
		lower[i] = strings.ToLower(strings.TrimSuffix(n, "."))
	}
	return lower
}
