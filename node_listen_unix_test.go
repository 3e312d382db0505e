//go:build unix

package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"pipit/config"
)

// TestNodeEndsBeforeItListens: a node that is to end while it takes its addresses ends in order. The name has to be looked up, which is cut short.
func TestNodeEndsBeforeItListens(t *testing.T) {
	dir, addr := t.TempDir(), reserveAddr(t)
	file := filepath.Join(dir, "a.toml")
	text := fmt.Sprintf("[http]\nlisten = [\"localhost:0\"]\n[database]\nfile = %[1]q\n[cluster]\nnode = \"a\"\nlisten = %[3]q\npeers = [%[4]q]\ndirectory = %[2]q\n",
		filepath.Join(dir, "a.db"), filepath.Join(dir, "cluster-a"), addr, "a="+addr)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &service{cfg: cfg, log: slog.New(slog.DiscardHandler), level: &slog.LevelVar{}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.runNode(ctx, file, nil, nil, supervisor{s.log}); err != nil {
		t.Error(err)
	}
	if s.server == nil || len(s.listeners) != 0 {
		t.Errorf("it did not come to its addresses, or past them: %v", s.listeners)
	}
	if err := s.down.run(shutdownEnd); err != nil {
		t.Error(err)
	}
}
