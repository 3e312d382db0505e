package command

import (
	"bytes"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pipit/admin/command/manual"
)

var writeManual = flag.Bool("manual", false, "write docs/cli.md")

// The reference in the documentation is what the commands say of themselves.
func TestManual(t *testing.T) {
	const file = "../../docs/cli.md"
	want := manual.Markdown(newCLI(Program{}).root())
	if *writeManual {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil { // #nosec G306 -- a page for all
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil || string(got) != want {
		t.Errorf("docs/cli.md is not what the commands say, %v: go test ./admin/command -run TestManual -manual", err)
	}
}

// Pages of man are the same each time, one for each command, and each line is text or a request that is known.
func TestManPages(t *testing.T) {
	dir := t.TempDir()
	var out bytes.Buffer
	if code := Run(t.Context(), Program{Stdout: &out, Stderr: &out}, []string{"help", "--man", dir}); code != exitOK {
		t.Fatal(out.String())
	}
	pages := manual.Pages(newCLI(Program{}).root())
	if !maps.Equal(pages, manual.Pages(newCLI(Program{}).root())) {
		t.Error("they differ")
	}
	requests := map[string]bool{".TH": true, ".SH": true, ".TP": true, ".nf": true, ".fi": true}
	for name, text := range pages {
		for line := range strings.Lines(text) {
			if first := strings.Fields(line + " -")[0]; strings.HasPrefix(line, ".") && !requests[first] || strings.HasPrefix(line, "'") {
				t.Errorf("%s: %q", name, line)
			}
		}
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != text {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !strings.HasPrefix(pages["pipit-topic-create.1"], ".TH PIPIT\\-TOPIC\\-CREATE 1 ") || !strings.Contains(pages["pipit-topic-create.1"], "\\-\\-max\\-depth") {
		t.Error(pages["pipit-topic-create.1"])
	}
}
