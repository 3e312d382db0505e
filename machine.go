package main

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
)

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
