package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A copy of the repository that was renamed, twice, builds, is vetted and keeps to its layout, and nothing has the former path.
func TestRename(t *testing.T) {
	if testing.Short() {
		t.Skip("short: all is built once more")
	}
	dir := t.TempDir()
	run(t, "../..", "sh", "-c", `git ls-files -z --cached --others --exclude-standard --deduplicate | tar --null --ignore-failed-read -T - -cf - | tar -C "$0" -xf -`, dir)
	for _, path := range []string{"example.com/first.v-1/pipit", "example.org/pipit"} {
		changed, err := rename(dir, path)
		if err != nil || changed < 400 {
			t.Fatalf("%s: %d files, %v", path, changed, err)
		}
	}
	if changed, err := rename(dir, "example.org/pipit"); changed != 0 || err != nil {
		t.Errorf("once more: %d files, %v", changed, err)
	}
	run(t, dir, "go", "build", "./...")
	run(t, dir, "go", "vet", "./...") // with the tests
	run(t, dir, "go", "test", "-run", "^TestLayout", ".")
	if unformatted := run(t, dir, "gofmt", "-l", "."); unformatted != "" {
		t.Error("not formatted:", unformatted)
	}
	run(t, dir, "go", "test", "-run", "^TestProgram$", "./bench")
	var mods []string
	for _, pattern := range []string{"*", "*/*"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern, "go.mod"))
		if err != nil || len(found) == 0 {
			t.Fatal(pattern, found, err)
		}
		mods = append(mods, found...)
	}
	for _, mod := range append(mods, filepath.Join(dir, ".ci", "tools.mod")) {
		if path, err := modulePath(mod); err != nil || !strings.HasPrefix(path, "example.org/pipit") {
			t.Errorf("%s: %s %v", mod, path, err)
		}
		if filepath.Base(mod) == "go.mod" {
			run(t, filepath.Dir(mod), "go", "vet", "./...")
		}
	}
	page, err := os.ReadFile(filepath.Join(dir, "docs", "embedding.md"))
	for _, want := range []string{"\nrequire example.org/pipit v0.0.0\n", "\nreplace example.org/pipit => ../pipit\n", "\n\t\"example.org/pipit/broker\"\n", "`go doc example.org/pipit/broker`"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("docs/embedding.md lacks %q, %v", want, err)
		}
	}
}

func TestRenameRefused(t *testing.T) {
	for _, path := range []string{"", "pipit", "example.org", "example.org/", "https://example.org/pipit", "example.org/a b", "example.org/$1"} {
		if _, err := rename(t.TempDir(), path); err == nil || !strings.Contains(err.Error(), "allowed is a host and a path") {
			t.Errorf("%q: %v", path, err)
		}
	}
}

func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return string(out)
}
