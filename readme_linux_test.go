package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// needs returns the path of a program that a test of what README.md says cannot do without.
func needs(t *testing.T, program, pkg string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("short: what README.md says is tested without -short")
	}
	path, err := exec.LookPath(program)
	if err != nil {
		lacking(t, pkg, err)
	}
	return path
}

// lacking ends a test for which a program is missing: as failed where everything is to be tested.
func lacking(t *testing.T, pkg string, err error) {
	t.Helper()
	end := t.Skipf
	if os.Getenv("CI") != "" {
		end = t.Fatalf
	}
	end("%v: install the package %s, as in: apt-get install %[2]s", err, pkg)
}

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The unit is understood by systemd, key by key, and lets the service do little.
func TestReadmeUnit(t *testing.T) {
	analyze := needs(t, "systemd-analyze", "systemd")
	_, rest, _ := strings.Cut(readme(t), "```ini\n[Unit]")
	unit, _, ok := strings.Cut(rest, "```")
	program, err := os.Executable()
	if err != nil || !ok {
		t.Fatal("README.md has no unit, or: ", err)
	}
	unit = strings.Replace("[Unit]"+unit, "/usr/local/bin/pipit", program, 1)
	file := filepath.Join(t.TempDir(), "pipit.service")
	if err := os.WriteFile(file, []byte(unit), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(analyze, "verify", file).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	out, err := exec.Command(analyze, "security", "--offline=true", "--no-pager", file).CombinedOutput()
	m := regexp.MustCompile(`Overall exposure level for pipit\.service: ([0-9.]+) `).FindSubmatch(out)
	if err != nil || m == nil {
		t.Fatalf("systemd-analyze security: %v\n%s", err, out)
	}
	if exposure, err := strconv.ParseFloat(string(m[1]), 64); err != nil || exposure >= 2 {
		t.Errorf("the exposure is to be less than 2:\n%s", out)
	}
}

// Commands can be pasted into zsh, which has a use for ? and the like of its own: it reads them as bash does.
func TestReadmeCommands(t *testing.T) {
	zsh := needs(t, "zsh", "zsh")
	bash := needs(t, "bash", "bash")
	// A program is told what it is given, one argument a line.
	script := `curl() { printf '%s\n' curl "$@"; }; pipit() { printf '%s\n' pipit "$@"; }; set -e` + "\n"
	const command = `(?m)^    ((?:curl|pipit [a-z]|export |API=|AUTH=).*)$`
	lines := regexp.MustCompile(command).FindAllStringSubmatch(readme(t), -1)
	if len(lines) < 10 {
		t.Fatalf("README.md has %d commands", len(lines))
	}
	for _, line := range lines {
		script += line[1] + "\n"
	}
	var read []string
	for _, shell := range []*exec.Cmd{exec.Command(bash, "--norc", "-c", script), exec.Command(zsh, "-f", "-c", script)} {
		shell.Dir = t.TempDir()
		out, err := shell.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", shell.Path, err, out)
		}
		read = append(read, string(out))
	}
	if read[0] != read[1] {
		t.Errorf("bash reads\n%s\nand zsh\n%s", read[0], read[1])
	}
}
