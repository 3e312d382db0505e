package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// A service whose standard error is the journal leaves secrets in a file that its owner alone can read, and a command
// prints them once.
func TestSecretsBesideTheJournal(t *testing.T) {
	dir := t.TempDir()
	config := writeConfig(t, "[[client]]\nusername = \"erp\"\npassword_hash = '"+hashOfX+"'\n[[topic]]\nname = \"/t\"\n[[consumer]]\nclient = \"erp\"\ntopic = \"/t\"\n")
	journal, stderr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer journal.Close()
	info, err := stderr.Stat()
	if err != nil {
		t.Fatal(err)
	}
	stat := info.Sys().(*syscall.Stat_t)
	if err := os.WriteFile(filepath.Join(dir, "pipit.db-secrets"), nil, 0o644); err != nil { // others could read it
		t.Fatal(err)
	}
	cmd := program(t, dir, append([]string{fmt.Sprintf("JOURNAL_STREAM=%d:%d", stat.Dev, stat.Ino)}, anyPort...), "-config", config)
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	stderr.Close()
	lines := bufio.NewScanner(journal)
	for lines.Scan() && !strings.Contains(lines.Text(), `"listening"`) {
		if strings.Contains(lines.Text(), "sub_key") {
			t.Error(lines.Text())
		}
	}
	file := filepath.Join(dir, "pipit.db-secrets")
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		t.Fatal(info, err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil { // by its end it has told all
		t.Fatal(err)
	}
	for lines.Scan() {
		if strings.Contains(lines.Text(), "setup?key=") {
			t.Error(lines.Text())
		}
	}
	out, err := program(t, dir, nil, "setup-link").Output()
	if err != nil || !regexp.MustCompile(`(?s)^pipit: client "erp" consumes "/t" with the new sub_key \S+ .*setup\?key=\S+\n$`).Match(out) {
		t.Errorf("%v: %s", err, out)
	}
	again := program(t, dir, nil, "setup-link")
	if out, err := again.CombinedOutput(); again.ProcessState.ExitCode() != 3 || !strings.HasPrefix(string(out), "pipit: there is nothing to be told: ") {
		t.Errorf("%v: %s", err, out)
	}
}
