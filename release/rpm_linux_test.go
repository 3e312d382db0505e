package main

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// The package for systems of RPM is installed into a folder, upgraded and removed by rpm itself: its files have their modes and root for an
// owner, its scripts, which run in there, say to systemd what they should, and a configuration that was edited stays.
func TestInstallRPM(t *testing.T) {
	if !*install {
		t.Skip("it takes rpm, busybox and root: -install")
	}
	if os.Geteuid() != 0 {
		t.Fatal("-install is for root")
	}
	root := t.TempDir()
	said := filepath.Join(root, "said")
	shell, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"bin", "usr/bin", "run/systemd/system", "dev"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	command(t, "cp", shell, filepath.Join(root, "bin/sh"))
	write(t, filepath.Join(root, "dev/null"), "", 0o666)
	write(t, filepath.Join(root, "usr/bin/systemctl"), "#!/bin/sh\necho \"$@\" >>/said\n", 0o755)
	rpm := func(args ...string) string {
		t.Helper()
		return command(t, "rpm", append([]string{"--root", root}, args...)...)
	}
	says := func(when string, want ...string) {
		t.Helper()
		text, _ := os.ReadFile(said) // none: nothing was said
		_ = os.Remove(said)
		if got := strings.Split(strings.TrimSpace(string(text)), "\n"); !slices.Equal(got, want) {
			t.Errorf("%s: systemctl was told %q, not %q", when, got, want)
		}
	}
	before, now := packageOf(t, "HEAD", "0.0.9", "rpm"), packageOf(t, "HEAD", "0.1.0", "rpm")

	rpm("--install", "--nodeps", before)
	says("installed", "--no-reload preset pipit.service", "daemon-reload")
	modes := map[string]os.FileMode{
		"usr/bin/pipit": 0o755, "etc/pipit/pipit.toml": 0o644, "usr/lib/systemd/system/pipit.service": 0o644, "usr/lib/systemd/system/pipit.socket": 0o644,
		"usr/share/man/man1/pipit-topic-create.1.gz": 0o644, "usr/share/bash-completion/completions/pipit": 0o644, "usr/share/zsh/site-functions/_pipit": 0o644,
		"usr/share/fish/vendor_completions.d/pipit.fish": 0o644, "usr/share/licenses/pipit/LICENSE": 0o644, "usr/share/doc/pipit/config.example.toml": 0o644,
	}
	for file, mode := range modes {
		info, err := os.Stat(filepath.Join(root, file))
		if err != nil || info.Mode() != mode || info.Size() == 0 || info.Sys().(*syscall.Stat_t).Uid != 0 || info.Sys().(*syscall.Stat_t).Gid != 0 {
			t.Errorf("%s: %+v, %v", file, info, err)
		}
	}
	listed := strings.Fields(rpm("--query", "--list", "pipit"))
	for file := range maps.Keys(modes) {
		if !slices.Contains(listed, "/"+file) {
			t.Errorf("%s is not the package's", file)
		}
	}
	rpm("--verify", "--nodeps", "pipit") // that all is as the package says
	version := func(want string) {
		t.Helper()
		if line := command(t, filepath.Join(root, "usr/bin/pipit"), "--version"); !strings.HasPrefix(line, "pipit "+want+" ") {
			t.Error(line)
		}
	}
	version("0.0.9")

	config := filepath.Join(root, "etc/pipit/pipit.toml")
	change(t, config, definitions)
	rpm("--upgrade", "--nodeps", now)
	says("upgraded", "daemon-reload", "daemon-reload", "try-restart pipit.service")
	version("0.1.0")
	if text, err := os.ReadFile(config); err != nil || !strings.HasSuffix(string(text), definitions) {
		t.Error("the upgrade changed the configuration", err)
	}

	rpm("--erase", "pipit")
	says("removed", "--no-reload disable --now pipit.socket pipit.service", "daemon-reload")
	for file := range maps.Keys(modes) {
		if _, err := os.Lstat(filepath.Join(root, file)); err == nil {
			t.Errorf("after the removal: there is %s", file)
		}
	}
	if text, err := os.ReadFile(config + ".rpmsave"); err != nil || !strings.HasSuffix(string(text), definitions) {
		t.Error("the removal took the configuration that was edited", err)
	}
}

func write(t *testing.T, file, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, mode); err != nil {
		t.Fatal(err)
	}
}
