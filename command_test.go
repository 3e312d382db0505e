package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestCommandLine runs testdata/script/*.txtar, in which the program is typed as a user types it.
// Beside the commands of testscript they have
//
//	exits CODE COMMAND…    run a command, which is to end with that exit code
//	capture NAME [REGEXP]  set a variable to what was printed, or to what the group matches in it
//	retry CODE COMMAND…    run a command until it ends with that exit code, for half a minute
//	serve [ARGUMENT…]      start a server and wait until it listens; its URL is in $PIPIT_SERVER
//	stop                   end it with SIGTERM
func TestCommandLine(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			bin := filepath.Join(env.WorkDir, ".bin")
			name := "pipit"
			if runtime.GOOS == "windows" {
				name += ".exe"
			}
			if err := errors.Join(os.Mkdir(bin, 0o700), os.Mkdir(filepath.Join(env.WorkDir, ".config"), 0o700)); err != nil {
				return err
			}
			if err := os.Symlink(program, filepath.Join(bin, name)); err != nil {
				return err
			}
			env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv(asProgram, "1")
			env.Setenv("GOCOVERDIR", t.TempDir())
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, ".config"))
			env.Setenv("AppData", filepath.Join(env.WorkDir, ".config"))
			env.Setenv("TZ", "UTC")
			env.Setenv("EXAMPLE", example(t))
			env.Setenv("SUBKEY", exampleSubKey)
			formats, err := filepath.Abs("db/testdata")
			env.Setenv("FORMATS", formats)
			if err != nil {
				return err
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":   scriptExits,
			"capture": scriptCapture,
			"retry":   scriptRetry,
			"serve":   scriptServe,
			"stop":    scriptStop,
		},
	})
}

func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := scriptRun(ts, args[1:]); got != want {
		ts.Fatalf("exit code %d instead of %d", got, want)
	}
}

func scriptRetry(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: retry CODE COMMAND…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) { // lint:sleep between two runs of a program
		if got := scriptRun(ts, args[1:]); got == want {
			return
		} else if time.Now().After(end) {
			ts.Fatalf("exit code %d instead of %d", got, want)
		}
	}
}

// scriptRun runs a command and returns its exit code.
func scriptRun(ts *testscript.TestScript, args []string) int {
	err := ts.Exec(args[0], args[1:]...)
	var e *exec.ExitError
	if errors.As(err, &e) {
		return e.ExitCode()
	}
	ts.Check(err)
	return 0
}

func scriptCapture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: capture NAME [REGEXP]")
	}
	text := strings.TrimSpace(ts.ReadFile("stdout"))
	if len(args) == 2 {
		m := regexp.MustCompile(args[1]).FindStringSubmatch(text)
		if len(m) != 2 {
			ts.Fatalf("no match in %q", text)
		}
		text = m[1]
	}
	ts.Setenv(args[0], text)
}

// server is one that a script has started.
type server struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when its log is complete
}

// scriptServers are the latest of each script, by its directory.
var scriptServers sync.Map

func scriptServe(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("usage: serve [ARGUMENT…]")
	}
	cmd := exec.Command(filepath.Join(ts.Getenv("WORK"), ".bin", "pipit"), append([]string{"serve"}, args...)...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = []string{asProgram + "=1", "PIPIT_HTTP_LISTEN=127.0.0.1:0"}
	for _, name := range []string{"GOCOVERDIR", "HOME", "PIPIT_TOKEN"} { // the last one is ours, not the server's
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	stderr, err := cmd.StderrPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	listening := make(chan string, 1)
	ended := make(chan struct{})
	var log strings.Builder
	go func() {
		defer close(ended)
		defer close(listening)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			log.WriteString(lines.Text() + "\n")
			var entry struct{ Msg, Addr string }
			if json.Unmarshal(lines.Bytes(), &entry) == nil && entry.Msg == "listening" {
				listening <- "http://" + entry.Addr
			}
		}
	}()
	ts.Defer(func() {
		cmd.Process.Kill()
		<-ended
		cmd.Wait()
		ts.Logf("[the server's log]\n%s", log.String())
	})
	url, ok := <-listening
	if !ok {
		ts.Fatalf("the server did not start:\n%s", log.String())
	}
	ts.Setenv("PIPIT_SERVER", url)
	scriptServers.Store(ts.Getenv("WORK"), server{cmd, ended})
}

func scriptStop(ts *testscript.TestScript, neg bool, args []string) {
	v, ok := scriptServers.Load(ts.Getenv("WORK"))
	if !ok || neg || len(args) > 0 {
		ts.Fatalf("usage: stop, after serve")
	}
	s := v.(server)
	ts.Check(s.cmd.Process.Signal(syscall.SIGTERM))
	<-s.ended
	ts.Check(s.cmd.Wait())
}

// Following goes on when the server was away, and ends well when it is interrupted.
func TestFollow(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, anyPort, "-config", example(t))
	addr := p.addrs[0]
	publish := func(text string) {
		post(t, "http://crm:crm@"+addr+"/zato/pubsub/topic//customer/created/", "", text)
	}
	publish("first")

	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	out, stdout := io.Pipe()
	notes, stderr := io.Pipe()
	code := make(chan int, 1)
	go func() {
		args := []string{"consume", "/customer/created", "--follow", "--ack", "--user", "erp", "--server", "http://" + addr}
		code <- run(ctx, args, []string{"PIPIT_PASSWORD=erp", "PIPIT_SUB_KEY=" + exampleSubKey}, strings.NewReader(""), stdout, stderr)
		stdout.Close()
		stderr.Close()
	}()
	line := func(r *bufio.Reader, want string) {
		t.Helper()
		if got, err := r.ReadString('\n'); !regexp.MustCompile(want).MatchString(got) {
			t.Fatalf("%q, %v", got, err)
		}
	}
	messages, noted := bufio.NewReader(out), bufio.NewReader(notes)
	line(messages, `^first\n$`)
	p.cmd.Process.Kill()
	line(noted, `^pipit: no answer from http://.*: asking again in ([89]00ms|1s|1\.[12]s)\n$`)
	go io.Copy(io.Discard, noted)
	start(t, dir, []string{"PIPIT_HTTP_LISTEN=" + addr}, "-config", example(t))
	publish("second")
	for { // delivered again, if the kill came before its acknowledgement
		got, err := messages.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if got == "second\n" {
			break
		}
	}
	interrupt()
	if c := <-code; c != 0 {
		t.Errorf("exit code %d", c)
	}
}
