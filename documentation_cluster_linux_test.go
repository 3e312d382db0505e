package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What docs/cluster.md has to be pasted makes a cluster of three, and its status is what the page shows, but for the numbers.
func TestDocumentedCluster(t *testing.T) {
	sh := needs(t, "bash", "bash")
	page := pages(t)["docs/cluster.md"]
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(page, -1)
	shown := regexp.MustCompile("(?s)```\n(a leads .*?)```").FindStringSubmatch(page)
	if len(blocks) != 3 || shown == nil {
		t.Fatalf("%d blocks to be pasted, and as status %q", len(blocks), shown)
	}
	dir, exe := t.TempDir(), program(t, "", nil)
	for from, to := range map[string]string{"pipit": exe.Path, "config.example.toml": example(t)} {
		if err := os.Symlink(to, filepath.Join(dir, from)); err != nil {
			t.Fatal(err)
		}
	}
	var others []string // addresses in place of those of the page, which somebody may have
	for _, prefix := range []string{"1122", "700"} {
		for _, i := range []string{"1", "2", "3"} {
			others = append(others, "127.0.0.1:"+prefix+i, reserveAddr(t))
		}
	}
	paste := func(text string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), sh, "-c", text)
		cmd.Dir, cmd.Env = dir, append(exe.Env, "PATH="+dir+":"+os.Getenv("PATH"))
		return cmd
	}

	// The page's loop has the number of a node as a variable.
	making := paste(strings.Replace(blocks[0][1], "pipit cluster init", "sed -i '"+replaced(others)+"' [abc].toml; pipit cluster init", 1) + "\nwait")
	making.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	making.Cancel = func() error { return syscall.Kill(-making.Process.Pid, syscall.SIGKILL) }
	making.Stdout, making.Stderr = t.Output(), t.Output()
	if err := making.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = making.Cancel(); _ = making.Wait() }()

	numbers := regexp.MustCompile(`\d+m?s ago|\d+`)
	spaces := regexp.MustCompile(` +`)
	plain := func(text string) string {
		return strings.TrimSpace(spaces.ReplaceAllString(numbers.ReplaceAllString(text, "N"), " "))
	}
	said := ""
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) { // lint:sleep other processes
		out, err := paste(blocks[1][1]).CombinedOutput()
		if said = string(out); err == nil && plain(said) == plain(shown[1]) {
			return
		}
	}
	t.Errorf("the page shows\n%s\nand it says\n%s", shown[1], said)
}

// What docs/cluster.md says of messages is what the program says.
func TestDocumentedMistakes(t *testing.T) {
	_, table, _ := strings.Cut(pages(t)["docs/cluster.md"], "\n## Mistakes and messages\n")
	table, _, _ = strings.Cut(table, "\n## ")
	var source strings.Builder
	for _, pattern := range []string{"cluster/*.go", "cluster/port/*.go", "admin/command/cluster.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file) // #nosec G304 -- of the repository
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasSuffix(file, "_test.go") {
				source.Write(text)
			}
		}
	}
	rows := regexp.MustCompile("(?m)^\\| (`.*?`) \\| ").FindAllStringSubmatch(table, -1)
	if len(rows) < 10 {
		t.Fatalf("%d messages", len(rows))
	}
	for _, row := range rows {
		for part := range strings.FieldsFuncSeq(row[1], func(r rune) bool { return r == '`' || r == '…' }) {
			if part = strings.Trim(part, " "); !strings.Contains(source.String(), part) {
				t.Errorf("nothing says %q", part)
			}
		}
	}
}

// replaced is a script for sed that puts every second text in the place of the one before it.
func replaced(texts []string) string {
	var s strings.Builder
	for i := 0; i < len(texts); i += 2 {
		s.WriteString("s|" + texts[i] + "|" + texts[i+1] + "|g;")
	}
	return s.String()
}
