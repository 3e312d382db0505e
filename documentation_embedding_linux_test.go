package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The module of docs/embedding.md is built as it stands there, receives what it publishes, and ends in order.
func TestDocumentedEmbedding(t *testing.T) {
	goTool := needs(t, "go", "golang")
	repository, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	text := pages(t)["docs/embedding.md"]
	block := func(begin string) string {
		_, rest, _ := strings.Cut(text, begin)
		inside, _, ok := strings.Cut(rest, "\n```\n")
		if !ok {
			t.Fatalf("docs/embedding.md has no block that begins with %q", begin)
		}
		return inside + "\n"
	}
	sums, err := os.ReadFile("go.sum")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":  strings.Replace("module "+block("```\nmodule "), "../pipit", repository, 1),
		"main.go": strings.Replace("package main\n"+block("```go\npackage main\n"), "127.0.0.1:11223", "127.0.0.1:0", 1),
		"go.sum":  string(sums),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.CommandContext(t.Context(), goTool, "build", "-o", "orders", ".")
	build.Dir, build.Env = dir, append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	orders := exec.CommandContext(t.Context(), filepath.Join(dir, "orders"))
	orders.Dir, orders.Stderr, orders.Env = dir, t.Output(), append(os.Environ(), "STOCK_PASSWORD=not to be guessed")
	stdout, err := orders.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := orders.Start(); err != nil {
		t.Fatal(err)
	}
	defer orders.Process.Kill()
	lines := bufio.NewScanner(stdout)
	if !lines.Scan() || lines.Text() != `received {"number": 17}, delivery 1` {
		t.Errorf("it printed %q", lines.Text())
	}
	if err := orders.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
		t.Errorf("it printed %q as well", lines.Text())
	}
	if err := orders.Wait(); err != nil {
		t.Error(err)
	}
}
