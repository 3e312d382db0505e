package cluster

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/raft"

	"pipit/cluster/name"
	"pipit/db/disk"
)

// An ID is a name, a slash, and 16 random digits.

// NodeOf returns the name of the node that has an ID.
func NodeOf(id string) string {
	node, _, _ := strings.Cut(id, "/")
	return node
}

// Address returns the address of a node in raft's configuration: where it is reached, host:port, and behind a slash its ID, since another one may be
// reached there by now. Whoever connects to it has to make sure that it is the one.
func Address(addr, id string) raft.ServerAddress { return raft.ServerAddress(addr + "/" + id) }

// SplitAddress returns what Address made one of.
func SplitAddress(a raft.ServerAddress) (addr, id string) {
	addr, id, _ = strings.Cut(string(a), "/")
	return addr, id
}

// Identify returns the ID of the node whose directory this is, and makes both where they are not there.
func Identify(dir, node string) (id string, err error) {
	if err := name.Check(node); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("the cluster's directory %s cannot be made: %w", dir, err)
	}
	path := filepath.Join(dir, "node")
	var known struct{ ID string }
	switch err := readJSON(path, &known); {
	case err == nil && NodeOf(known.ID) == node:
		return known.ID, nil
	case err == nil:
		return "", fmt.Errorf("the directory %s is that of node %q, not of %q", dir, NodeOf(known.ID), node)
	case !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("the cluster's directory %s: %w", dir, err)
	}
	var random [8]byte
	rand.Read(random[:]) // never fails
	known.ID = node + "/" + hex.EncodeToString(random[:])
	return known.ID, writeJSON(path, known)
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path) // #nosec G304 -- in the directory of the configuration
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// writeJSON makes a file durable, whole or not at all.
func writeJSON(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path+".part", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600) // #nosec G304 -- likewise
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".part", path); err != nil {
		return err
	}
	return disk.OS.SyncDir(filepath.Dir(path))
}
