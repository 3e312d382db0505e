package winservice

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Each line of the log is an event of its level, in whatever pieces it comes.
func TestEvents(t *testing.T) {
	var got []string
	e := events{report: func(s severity, text string) error {
		got = append(got, fmt.Sprint(s, " ", text[:min(len(text), 30)], " ", len(text)))
		return nil
	}}
	for _, piece := range []string{
		`{"time":"2026","level":"INFO","msg":"listening"}` + "\n" + `{"time":"2026","level":"WA`, `RN","msg":"x"}` + "\r\n\n",
		`time=2026 level=ERROR msg="a 0: ` + "\x00\"\n", "pipit: the database is in use\n", strings.Repeat("x", maxEvent+5), "\n",
	} {
		if n, err := e.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Error(n, err)
		}
	}
	want := []string{
		`0 {"time":"2026","level":"INFO", 48`, `1 {"time":"2026","level":"WARN", 40`, `2 time=2026 level=ERROR msg="a 0 34`,
		"2 pipit: the database is in use 29", "2 " + strings.Repeat("x", 30) + " 31000", "2 xxxxx 5",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A service that stops is waited for as long as it goes on, through a drain of an hour, too, and for stopTime where it does not.
func TestPatience(t *testing.T) {
	begun := time.Date(2026, 11, 27, 0, 0, 0, 0, time.UTC)
	var wait patience
	at := time.Duration(0)
	for ; at < time.Hour; at += stopEvery {
		if wait.over(begun.Add(at), uint32(at/stopEvery), stopTime) { // #nosec G115 -- a few hundred
			t.Fatalf("it is given up after %s", at)
		}
	}
	last := at - stopEvery
	if wait.over(begun.Add(last+stopTime), uint32(last/stopEvery), stopTime) { // #nosec G115 -- a few hundred
		t.Error("it is given up too early")
	}
	if !wait.over(begun.Add(last+stopTime+1), uint32(last/stopEvery), stopTime) { // #nosec G115 -- a few hundred
		t.Error("it is not given up")
	}
	var none patience // of one that has not begun to say anything
	if none.over(begun, 0, 0) || none.over(begun.Add(stopTime), 0, 0) || !none.over(begun.Add(stopTime+1), 0, 0) {
		t.Error("what says nothing is waited for otherwise than stopTime")
	}
}

// The service is started with the whole path of a configuration that is there, and in its folder.
func TestArguments(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.WriteFile("pipit.toml", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	args, err := arguments("pipit.toml")
	if err != nil || len(args) != 3 || !filepath.IsAbs(args[2]) || filepath.Base(args[2]) != "pipit.toml" {
		t.Error(args, err)
	}
	if got := folder(append([]string{"pipit"}, args...)); got != filepath.Dir(args[2]) {
		t.Error(got)
	}
	if got := folder([]string{"pipit", "--config"}); got != "" {
		t.Error(got)
	}
	for file, want := range map[string]string{"": "--config is missing", "none.toml": "none.toml", dir: "allowed is a file"} {
		if _, err := arguments(file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", file, err, want)
		}
	}
}

// Elsewhere than on Windows nothing pretends to be done.
func TestElsewhere(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("this is Windows")
	}
	if _, is := Run(nil, nil); is || Is() {
		t.Error("it is a service")
	}
	for _, err := range []error{Install("pipit.toml"), Uninstall(), Start(), Stop(t.Context())} {
		if err != ErrElsewhere {
			t.Error(err)
		}
	}
}
