package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"debug/elf"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/CycloneDX/cyclonedx-go"
)

var all = flag.Bool("all", false, "build for all systems, not one alone")

// The same commit gives the same bytes, in another folder, too; and what they are is what docs/releasing.md says.
func TestReproducible(t *testing.T) {
	only := []string{"linux/" + runtime.GOARCH}
	if *all {
		only = targets
	}
	made := func() release {
		r := release{source: checkout(t, "HEAD"), out: t.TempDir(), version: "1.2.3-rc.1", targets: only, maintainer: unset}
		if err := r.make(t.Context()); err != nil {
			t.Fatal(err)
		}
		return r
	}
	one, two := made(), made()
	sums, names := "", listed(t, one.out)
	for _, name := range names {
		a, b := content(t, one.out, name), content(t, two.out, name)
		if !bytes.Equal(a, b) {
			t.Errorf("%s differs from folder to folder", name)
		}
		if name != "SHA256SUMS" {
			sums += fmt.Sprintf("%x  %s\n", sha256.Sum256(a), name)
		}
	}
	if got := string(content(t, one.out, "SHA256SUMS")); got != sums || fmt.Sprint(names) != fmt.Sprint(listed(t, two.out)) {
		t.Errorf("SHA256SUMS is\n%s, and should be\n%s", got, sums)
	}
	for _, target := range only {
		goos, arch, _ := strings.Cut(target, "/")
		base := fmt.Sprintf("pipit_1.2.3-rc.1_%s_%s", goos, arch)
		looksRight(t, one.out, base, goos)
		wanted := 2 // the archive and what is in it
		if goos == "linux" {
			wanted = 4
		}
		if got := len(names); len(only) == 1 && got != wanted+1 {
			t.Errorf("%q: %d files, want %d", names, got, wanted+1)
		}
	}
}

// looksRight unpacks an archive, and compares what it has with its bill.
func looksRight(t *testing.T, out, base, goos string) {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, base, "pipit")
	if goos == "windows" {
		program += ".exe"
		command(t, "python3", "-m", "zipfile", "-e", filepath.Join(out, base+".zip"), dir)
	} else {
		command(t, "tar", "-C", dir, "-xf", filepath.Join(out, base+".tar.gz"))
	}
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	if goos == "linux" {
		f, err := elf.Open(program)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for _, p := range f.Progs {
			if p.Type == elf.PT_INTERP {
				t.Errorf("%s is not static", base)
			}
		}
	}
	if goos == runtime.GOOS && strings.HasSuffix(base, runtime.GOARCH) {
		line := command(t, program, "--version")
		revision := strings.TrimSpace(command(t, "git", "rev-parse", "HEAD"))
		if !strings.HasPrefix(line, "pipit 1.2.3-rc.1 "+revision[:12]+" ") {
			t.Error(line)
		}
	}
	var bom cyclonedx.BOM
	text := content(t, out, base+".cdx.json")
	if err := cyclonedx.NewBOMDecoder(bytes.NewReader(text), cyclonedx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	self := bom.Metadata.Component
	if bom.BOMFormat != "CycloneDX" || self.Version != "1.2.3-rc.1" || (*self.Hashes)[0].Value != fmt.Sprintf("%x", sha256.Sum256(content(t, filepath.Dir(program), filepath.Base(program)))) {
		t.Errorf("%s: %+v", base, self)
	}
	parts := map[string]bool{}
	for _, c := range *bom.Components {
		parts[c.PackageURL] = true
	}
	for _, ref := range *(*bom.Dependencies)[0].Dependencies {
		if !parts[ref] {
			t.Errorf("%s: %s is needed and no component", base, ref)
		}
	}
	for _, m := range info.Deps {
		if !parts["pkg:golang/"+m.Path+"@"+m.Version] {
			t.Errorf("%s: the bill lacks %s", base, m.Path)
		}
	}
	if len(parts) != len(info.Deps)+1 {
		t.Errorf("%s: %d components, want %d", base, len(parts), len(info.Deps)+1)
	}
}

// What cannot become a release is refused before anything is built or written.
func TestRefused(t *testing.T) {
	dirty, full := checkout(t, "HEAD"), t.TempDir()
	clean := checkout(t, "HEAD")
	for _, file := range []string{filepath.Join(dirty, "new.go"), filepath.Join(full, "there")} {
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		r    release
		want string
	}{
		{release{source: dirty, out: t.TempDir(), targets: targets, maintainer: unset}, "new.go"},
		{release{source: clean, out: full, targets: targets, maintainer: unset}, "the folder is to be empty"},
		{release{source: clean, out: t.TempDir(), targets: []string{"linux"}}, `-targets "linux": allowed are`},
		{release{source: t.TempDir(), out: t.TempDir(), targets: targets, maintainer: unset}, "git status"},
		{release{source: clean, out: t.TempDir(), targets: targets, maintainer: "ann@example.org"}, `-maintainer "ann@example.org": allowed is NAME <ADDRESS>`},
		{release{source: clean, out: t.TempDir(), targets: targets}, `-maintainer "": allowed is`},
	} {
		if err := c.r.make(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
}

// Packages name the maintainer that is given, and nobody who is not there where none is.
func TestMaintainer(t *testing.T) {
	for _, who := range []string{unset, "Ann Lee <ann@example.org>"} {
		r := release{version: "1.2.3", maintainer: who}
		config, err := r.recipe("amd64", "pipit")
		if err != nil {
			t.Fatal(err)
		}
		for _, format := range []string{"deb", "rpm"} {
			if info, err := config.Get(format); err != nil || info.Maintainer != who {
				t.Errorf("%s: %v, want %s", format, err, who)
			}
		}
	}
	if !strings.HasSuffix(unset, "@localhost>") || strings.Contains(recipe, "@") {
		t.Error("an address stands in the sources that may be somebody's")
	}
}

func listed(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func content(t *testing.T, dir, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// checkout is a clean working tree of a commit.
func checkout(t *testing.T, commit string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "source")
	command(t, "git", "clone", "--quiet", "--local", "--no-checkout", "..", dir)
	if commit == "HEAD" {
		commit = strings.TrimSpace(command(t, "git", "rev-parse", "HEAD"))
	}
	command(t, "git", "-C", dir, "checkout", "--quiet", "--detach", commit)
	return dir
}

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
