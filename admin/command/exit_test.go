package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pipit/admin/gate"
	"pipit/broker"
)

// fillers are arguments of commands which need others than their help names.
var fillers = map[string][]string{
	"pipit messages list":    {"/t"},
	"pipit messages redrive": {"/t", "K1"}, "pipit messages delete": {"/t", "K1"}, "pipit messages release": {"/t", "K1"}, "pipit messages copy": {"/t", "K1"},
	"pipit consumer seek":  {"4", "--to", "oldest"},
	"pipit webhook create": {"shop", "/t", "crm", "none", "--allow-from", "192.0.2.0/24"},
}

// eachCommand calls fn with every command that does something, and arguments that it takes.
func eachCommand(t *testing.T, fn func(cmd *cobra.Command, args []string)) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "file.json")
	if err := os.WriteFile(file, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	found := 0
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
		if cmd.HasSubCommands() || cmd.Name() == "help" || cmd.Parent().Name() == "completion" {
			return
		}
		found++
		args := strings.Fields(cmd.CommandPath())[1:]
		if more, ok := fillers[cmd.CommandPath()]; ok {
			args = append(args, more...)
		} else {
			for _, name := range strings.Fields(cmd.Use)[1:] {
				switch {
				case strings.HasPrefix(name, "["):
				case name == "FILE":
					args = append(args, file)
				case strings.HasPrefix(name, "ID"):
					args = append(args, "4")
				default:
					args = append(args, "/t")
				}
			}
		}
		if cmd.Name() == "edit" {
			args = append(args, "--active=false")
		}
		if cmd.Flags().Lookup("yes") != nil {
			args = append(args, "--yes")
		}
		fn(cmd, slices.Clip(args))
	}
	walk(newCLI(Program{}).root())
	if found < 55 {
		t.Errorf("%d commands were found", found)
	}
}

// typed runs a command line on a machine without a database.
func typed(t *testing.T, args ...string) (code int, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	absent := func(file string) error {
		return fmt.Errorf("there is no database %s%w", file, hiddenError{fs.ErrNotExist})
	}
	code = Run(t.Context(), Program{
		Env: []string{envToken + "=pipit_1"}, Stdin: strings.NewReader("a long password\n"), Stdout: &out, Stderr: &errs, Log: &errs,
		Serve:       func(context.Context, string) error { return nil },
		CheckConfig: func(context.Context, string) error { return nil },
		Database:    func(string) (string, string, error) { return "none.db", "", nil },
		Address:     func(string) (string, error) { return "http://127.0.0.1:1", nil },
		NodeBackup:  func(context.Context, string) (io.ReadCloser, int64, error) { return nil, 0, nil },
		Open:        func(file string, _ bool) (*broker.Broker, error) { return nil, absent(file) },
		Verify:      func(file string, _ func(float64)) error { return absent(file) },
		Compact:     func(file string) (int64, int64, error) { return 0, 0, absent(file) },
		Restore:     func(_ context.Context, file, _ string, _ func(float64)) (string, error) { return "", absent(file) },
	}, args)
	return code, errs.String()
}

// hiddenError is an error without words.
type hiddenError struct{ error }

func (hiddenError) Error() string   { return "" }
func (e hiddenError) Unwrap() error { return e.error }

var foreignWords = regexp.MustCompile(`strconv|pflag|parsing "|invalid argument|flag provided|flag needs|in the group`)

// What cannot be understood is exit code 2 of every command, in our own words, and with --json a problem.
func TestExitCodesOfUsage(t *testing.T) {
	check := func(args ...string) {
		t.Helper()
		code, stderr := typed(t, args...)
		if code != exitUsage || foreignWords.MatchString(stderr) || !strings.HasPrefix(stderr, "pipit: ") {
			t.Errorf("%q: exit code %d, %s", args, code, stderr)
		}
		code, stderr = typed(t, append([]string{"--json"}, args...)...)
		var p gate.Problem
		if err := json.Unmarshal([]byte(stderr), &p); err != nil || code != exitUsage || p.Code == "" || p.Detail == "" || p.Type != gate.ProblemPrefix+p.Code || p.Title == "" || p.Status == 0 {
			t.Errorf("%q: exit code %d, %v, %s", args, code, err, stderr)
		}
	}
	eachCommand(t, func(cmd *cobra.Command, args []string) {
		check(append(args, "--nonsense")...)
		if cmd.Name() != "delete" && !strings.HasSuffix(cmd.Use, "…") { // of messages there can be many
			check(append(args, "1", "2", "3", "4", "5")...)
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			switch f.Value.Type() {
			case "string", "stringSlice", "size":
				return
			}
			check(append(args, "--"+f.Name+"=soon")...)
		})
	})
	check("topic", "list", "--server", "http://127.0.0.1:1", "--file", "x")
	check("topic", "list", "--config", "x.toml", "--server", "127.0.0.1:1")
	check("topic", "list", "--limit")
	check("help", "nonsense")
	check("help", "topic", "nonsense")
	check("nonsense")
	check("topic", "nonsense")
	check("version", "--server", "x")
}

// What a server answers, or that it does not, is the same exit code of every command that asks one.
func TestExitCodesOfAnswers(t *testing.T) {
	status := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"type":"urn:pipit:problem:x","title":"X","status":%d,"detail":"because","code":"x"}`, status)
	}))
	t.Cleanup(s.Close)
	eachCommand(t, func(cmd *cobra.Command, args []string) {
		if cmd.Flags().Lookup("server") == nil || cmd.Name() == "health" { // which is 1 in any case
			return
		}
		for given, want := range map[int]int{400: exitUsage, 401: exitRefused, 403: exitRefused, 404: exitNotFound, 409: exitConflict, 412: exitConflict,
			413: exitUsage, 422: exitUsage, 429: exitNotNow, 500: exitFailed, 503: exitNotNow, 507: exitNotNow} {
			status = given
			if code, stderr := typed(t, append(args, "--server", s.URL)...); code != want {
				t.Errorf("%q: %d is exit code %d, want %d: %s", args, given, code, want, stderr)
			}
		}
		if code, stderr := typed(t, append(args, "-s", "127.0.0.1:1")...); code != exitNotNow {
			t.Errorf("%q: exit code %d without a server: %s", args, code, stderr)
		}
		if code, stderr := typed(t, append([]string{"--config", "x.toml"}, args...)...); code != exitNotNow && cmd.Parent().Name() != "admin" {
			t.Errorf("%q: exit code %d without a server: %s", args, code, stderr)
		}
	})
}

// A database that is not there is exit code 3.
func TestExitCodesOfDatabases(t *testing.T) {
	eachCommand(t, func(cmd *cobra.Command, args []string) {
		if cmd.Flags().Lookup("database") == nil || cmd.Name() == "init" { // which makes one
			return
		}
		for _, flag := range []string{"--database", "--file"} {
			if code, stderr := typed(t, append(args, flag, "none.db")...); code != exitNotFound || !strings.Contains(stderr, "there is no database") {
				t.Errorf("%q %s: exit code %d: %s", args, flag, code, stderr)
			}
		}
	})
	for _, args := range [][]string{{"publish", "/t", "@none.json"}, {"import", "none.json"}} {
		if code, stderr := typed(t, args...); code != exitNotFound {
			t.Errorf("%q: exit code %d: %s", args, code, stderr)
		}
	}
}

func TestExitCodeOfInterrupt(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	var errs bytes.Buffer
	c := newCLI(Program{Stderr: &errs})
	c.begun = true
	if code := fail(ctx, c, errors.Join(context.Canceled), nil); code != 130 || errs.String() != "pipit: interrupted\n" {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
}
