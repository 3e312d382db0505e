//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"pipit/httpapi/serve/servetest"
)

// What other users of the machine could read or change is told at the start, each with the command that mends it,
// and nothing else is.
func TestOpenFiles(t *testing.T) {
	const secrets, none = "[[client]]\nusername = \"crm\"\npassword = \"crm\"\n", "[log]\nlevel = \"info\"\n"
	for _, tt := range []struct {
		name, config      string
		file, dir         os.FileMode // of the configuration
		database, dataDir os.FileMode // 0: still to be made
		want              string      // what is mended, in the order of the lines
	}{
		{"closed", secrets, 0o600, 0o755, 0, 0o755, ""},
		{"readable password", secrets, 0o604, 0o755, 0, 0o755, "chmod 600 etc/pipit.toml"},
		{"password for the group", secrets, 0o640, 0o755, 0, 0o755, "chmod 600 etc/pipit.toml"},
		{"nothing to hide", none, 0o644, 0o755, 0, 0o755, ""},
		{"nothing to hide, but anybody can add to it", none, 0o666, 0o755, 0, 0o755, "chmod 644 etc/pipit.toml"},
		{"replaceable configuration", none, 0o600, 0o777, 0, 0o755, "chmod 755 etc"},
		{"database", none, 0o600, 0o755, 0o644, 0o755, "chmod 600 data/pipit.db"},
		{"database that anybody can write", none, 0o600, 0o755, 0o662, 0o755, "chmod 600 data/pipit.db"},
		{"replaceable database", none, 0o600, 0o755, 0o600, 0o773, "chmod 751 data"},
		{"as in /tmp", none, 0o600, 0o755, 0o600, 0o777 | os.ModeSticky, ""},
		{"all", secrets, 0o644, 0o777, 0o644, 0o777, "chmod 600 etc/pipit.toml,chmod 755 etc,chmod 600 data/pipit.db,chmod 755 data"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			etc, data := filepath.Join(dir, "etc"), filepath.Join(dir, "data")
			for _, d := range []string{etc, data} {
				if err := os.Mkdir(d, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			servetest.Write(t, filepath.Join(etc, "pipit.toml"), []byte(tt.config), 1)
			if tt.database != 0 {
				servetest.Write(t, filepath.Join(data, "pipit.db"), nil, 1)
				chmod(t, filepath.Join(data, "pipit.db"), tt.database)
			}
			chmod(t, filepath.Join(etc, "pipit.toml"), tt.file)
			chmod(t, etc, tt.dir)
			chmod(t, data, tt.dataDir)
			p := start(t, dir, append([]string{"PIPIT_DATABASE_FILE=data/pipit.db"}, anyPort...), "-config", "etc/pipit.toml")
			code, log := p.stop(t, syscall.SIGTERM)
			if code != 0 {
				t.Error("exit code", code)
			}
			var got []string
			for line := range strings.Lines(log) {
				if _, rest, ok := strings.Cut(line, `"command":"`); ok {
					command, _, _ := strings.Cut(rest, `"`)
					_, file, _ := strings.Cut(strings.TrimPrefix(command, "chmod "), " ")
					got = append(got, command)
					if !strings.Contains(line, `"level":"WARN"`) || !strings.Contains(line, `"file":"`+file+`","mode":"`) {
						t.Error(line)
					}
				}
			}
			if s := strings.Join(got, ","); s != tt.want {
				t.Errorf("%q, want %q\n%s", s, tt.want, log)
			}
			if info, err := os.Stat(filepath.Join(data, "pipit.db")); tt.database == 0 && (err != nil || info.Mode() != 0o600) {
				t.Error("the new database:", info, err)
			}
		})
	}
}

// A log that is there already keeps its mode: the start warns of one that others can read, and lets a group do so.
func TestOpenLog(t *testing.T) {
	for mode, want := range map[os.FileMode]string{0o600: "", 0o640: "", 0o644: "chmod 640 pipit.log", 0o660: "chmod 640 pipit.log"} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			servetest.Write(t, filepath.Join(dir, "pipit.log"), nil, 1)
			chmod(t, filepath.Join(dir, "pipit.log"), mode)
			cmd := program(t, dir, append([]string{"PIPIT_LOG_FILE=pipit.log"}, anyPort...))
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
			log := logged(t, filepath.Join(dir, "pipit.log"), `"listening"`)
			if got := strings.Contains(log, `"command":"`+want+`"`); got != (want != "") || strings.Count(log, "the log is open to other users") != strings.Count(want, "chmod") {
				t.Errorf("want %q in\n%s", want, log)
			}
		})
	}
}

// chmod sets a mode whatever the umask.
func chmod(t *testing.T, file string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(file, mode); err != nil {
		t.Fatal(err)
	}
}

// Who is not the owner of a file reads it as one of its group, or as anybody: the command must not shut that one out.
func TestOpenFileOfAnother(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pipit.toml")
	servetest.Write(t, file, nil, 1)
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	const other = 12345
	for _, tt := range []struct {
		name string
		who  user
		mode os.FileMode
		want string
	}{
		{"owner", user{int(owner.Uid), []int{other}}, 0o644, "chmod 600 " + file},
		{"root", user{0, []int{0}}, 0o644, "chmod 600 " + file},
		{"of the group", user{other, []int{other, int(owner.Gid)}}, 0o640, ""},
		{"of the group, and others may read", user{other, []int{other, int(owner.Gid)}}, 0o644, "chmod 640 " + file},
		{"anybody", user{other, []int{other}}, 0o644, "chown 12345 " + file + " && chmod 600 " + file},
	} {
		chmod(t, file, tt.mode)
		if mode, got := tt.who.exposure(file, readWriting); got != tt.want || mode != tt.mode {
			t.Errorf("%s: %s %q, want %q", tt.name, mode, got, tt.want)
		}
	}
}
