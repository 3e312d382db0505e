//go:build unix

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pipit/config"
)

// logged waits until a file has a text.
func logged(t *testing.T, file, text string) string {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) { // lint:sleep another process writes it
		b, err := os.ReadFile(file)
		if strings.Contains(string(b), text) {
			return string(b)
		}
		if time.Now().After(end) {
			t.Fatalf("no %s in %s: %v\n%s", text, file, err, b)
		}
	}
}

// The log is in its file, which is its owner's alone. One that was renamed is written to until SIGHUP, then a new one, and no line is
// lost; what is for a person stays on standard error.
func TestLogFile(t *testing.T) {
	dir, addr := t.TempDir(), reserveAddr(t)
	file, old := filepath.Join(dir, "logs", "pipit.log"), filepath.Join(dir, "logs", "pipit.log.1")
	stderr, err := os.Create(filepath.Join(dir, "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	cmd := program(t, dir, []string{"PIPIT_HTTP_LISTEN=" + addr, "PIPIT_LOG_FILE=" + file})
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	logged(t, file, `"listening"`)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	if err := os.Rename(file, old); err != nil {
		t.Fatal(err)
	}
	refusals(t, addr, 1)
	logged(t, old, `"status":401`)
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	logged(t, file, "opened again")
	refusals(t, addr, 1)
	if n := strings.Count(logged(t, file, `"status":401`), `"status":401`); n != 1 {
		t.Errorf("%d lines", n)
	}
	terminate(t, cmd)
	logged(t, file, `"stopped"`)
	b, err := os.ReadFile(stderr.Name())
	if err != nil || strings.Contains(string(b), `"msg"`) || !strings.Contains(string(b), "/admin/setup?key=") || strings.Contains(logged(t, file, ""), "setup?key=") {
		t.Errorf("%v %s", err, b)
	}
}

// A log that cannot be written stops nobody: standard error says so once.
func TestLogFileFails(t *testing.T) {
	dir := t.TempDir()
	addr := reserveAddr(t)
	blocked := filepath.Join(dir, "blocked")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	stderr, err := os.Create(filepath.Join(dir, "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	cmd := program(t, dir, []string{"PIPIT_HTTP_LISTEN=" + addr, "PIPIT_LOG_FILE=" + filepath.Join(blocked, "pipit.log")})
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	logged(t, stderr.Name(), "pipit: log.file: ")
	logged(t, stderr.Name(), "/admin/setup?key=")
	refusals(t, addr, 10)
	terminate(t, cmd)
	if b, _ := os.ReadFile(stderr.Name()); bytes.Count(b, []byte("log.file")) != 1 {
		t.Errorf("%s", b)
	}
}

// A full file is renamed, ends with a whole line, and the newest renamed ones are kept.
func TestLogFileRotates(t *testing.T) {
	dir := t.TempDir()
	f := newLogFile(config.Log{File: filepath.Join(dir, "pipit.log"), MaxSize: 1 << 20, MaxFiles: 2}, os.Stderr)
	w := newLogWriter(f)
	line := strings.Repeat("x", 997)
	for i := range 5 {
		for range 1000 {
			fmt.Fprintf(w, "%s\n", line)
		}
		for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) { // lint:sleep until the writer has taken them
			w.mu.Lock()
			size := w.size
			w.mu.Unlock()
			if size == 0 {
				break
			}
			if time.Now().After(end) {
				t.Fatal(i, size)
			}
		}
	}
	w.Close(10 * time.Second)
	_ = f.file.Close() // which waits for the old ones to be removed
	all, err := filepath.Glob(filepath.Join(dir, "pipit*.log"))
	if err != nil || len(all) != 3 {
		t.Errorf("%q %v", all, err)
	}
	for _, name := range all {
		b, err := os.ReadFile(name)
		info, _ := os.Stat(name)
		if err != nil || !bytes.HasSuffix(b, []byte("x\n")) || bytes.HasPrefix(b, []byte("\n")) || len(b) > 1<<20 || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %d bytes, %v, %v", name, len(b), info.Mode(), err)
		}
	}
}
