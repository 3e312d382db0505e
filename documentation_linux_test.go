package main

import (
	"bytes"
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

// needs returns the path of a program that a test of what the documentation says cannot do without.
func needs(t *testing.T, program, pkg string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("short: what the documentation says is tested without -short")
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

// pages returns the documentation, by file.
func pages(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file) // #nosec G304 -- of the repository
			if err != nil {
				t.Fatal(err)
			}
			texts[file] = string(text)
		}
	}
	return texts
}

// The units are understood by systemd, key by key, and let the service do little, and a handler of messages what it may need.
func TestDocumentedUnit(t *testing.T) {
	analyze := needs(t, "systemd-analyze", "systemd")
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for unit, name := range map[string]string{"pipit.service": "pipit.service", "pipit-consume@.service": "pipit-consume@one.service", "pipit.socket": "pipit.socket"} {
		text, err := os.ReadFile("deploy/systemd/" + unit) // #nosec G304 -- of the repository
		if err != nil {
			t.Fatal(err)
		}
		text = bytes.ReplaceAll(text, []byte("=/usr/bin/pipit "), []byte("="+program+" ")) // which is not installed
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name string
		most float64 // exposure
	}{
		{"pipit.service", 2},
		{"pipit-consume@one.service", 5},
		{"pipit.socket", 0}, // it runs nothing
	} {
		file := filepath.Join(dir, c.name)
		if out, err := exec.Command(analyze, "verify", "--man=no", file).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("systemd-analyze verify: %v\n%s", err, out)
		}
		if c.most == 0 {
			continue
		}
		out, err := exec.Command(analyze, "security", "--offline=true", "--no-pager", file).CombinedOutput()
		m := regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+) `).FindSubmatch(out)
		if err != nil || m == nil {
			t.Fatalf("systemd-analyze security: %v\n%s", err, out)
		}
		if exposure, err := strconv.ParseFloat(string(m[1]), 64); err != nil || exposure >= c.most {
			t.Errorf("%s: the exposure is to be less than %g:\n%s", c.name, c.most, out)
		}
	}
}

// What a page links to is there: a file, and a heading of it.
func TestDocumentedLinks(t *testing.T) {
	texts := pages(t)
	anchors := func(file string) (all []string) {
		for _, m := range regexp.MustCompile("(?m)^#+ (.*)$").FindAllStringSubmatch(texts[file], -1) {
			anchor := strings.Map(func(r rune) rune {
				switch {
				case r == ' ':
					return '-'
				case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
					return unicode.ToLower(r)
				}
				return -1
			}, m[1])
			all = append(all, anchor)
		}
		return all
	}
	links := 0
	for file, text := range texts {
		for _, m := range regexp.MustCompile(`\]\(([^)\s]+)\)|src="([^"]+)"`).FindAllStringSubmatch(text, -1) {
			link := cmp.Or(m[1], m[2])
			if strings.Contains(link, "://") {
				continue
			}
			links++
			path, anchor, _ := strings.Cut(link, "#")
			target := file
			if path != "" {
				target = filepath.Join(filepath.Dir(file), path)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", file, link, err)
			} else if anchor != "" && !slices.Contains(anchors(target), anchor) {
				t.Errorf("%s links to %s: no such heading", file, link)
			}
		}
	}
	if links < 20 {
		t.Errorf("%d links were found", links)
	}
}
