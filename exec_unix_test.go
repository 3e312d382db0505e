//go:build unix

package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// receiving is a process that runs a command for each message.
type receiving struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines *bufio.Reader // of the command's output
	noted *bufio.Reader // what it tells a person
}

// receives starts the process, as the example's client erp.
func receives(t *testing.T, addr, line string, flags ...string) *receiving {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r := &receiving{t: t, cmd: exec.Command(self, append([]string{"consume", "/customer/created", "--user", "erp", "--server", "http://" + addr, "--exec", line}, flags...)...)}
	r.cmd.Env = append(os.Environ(), asProgram+"=1", "PIPIT_PASSWORD=erp", "PIPIT_SUB_KEY="+exampleSubKey, "GOCOVERDIR="+t.TempDir())
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	notes, err := r.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.lines, r.noted = bufio.NewReader(out), bufio.NewReader(notes)
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.cmd.Process.Kill() })
	return r
}

// says fails the test unless the command's next line is that one.
func (r *receiving) says(want string) {
	r.t.Helper()
	if got, err := r.lines.ReadString('\n'); got != want+"\n" {
		r.t.Fatalf("%q, %v instead of %q", got, err, want)
	}
}

// notes fails the test unless the next thing that it tells a person matches.
func (r *receiving) notes(want string) {
	r.t.Helper()
	if got, err := r.noted.ReadString('\n'); !regexp.MustCompile("^pipit: " + strings.ReplaceAll(want, "(1)", `\(1\)`) + "\n$").MatchString(got) {
		r.t.Fatalf("%q, %v instead of %q", got, err, want)
	}
}

func (r *receiving) signal() { r.send(syscall.SIGTERM) }

func (r *receiving) send(s os.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		r.t.Fatal(err)
	}
}

// ends waits until the process has ended, with that exit code.
func (r *receiving) ends(want int) {
	r.t.Helper()
	rest, err := io.ReadAll(r.lines)
	if err != nil || len(rest) > 0 {
		r.t.Errorf("%q, %v", rest, err)
	}
	notes, _ := io.ReadAll(r.noted)
	_ = r.cmd.Wait()
	if code := r.cmd.ProcessState.ExitCode(); code != want {
		r.t.Errorf("exit code %d instead of %d: %s", code, want, notes)
	}
}

// gate returns a command that waits until goOn is called.
func gate(t *testing.T) (wait string, goOn func()) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "gate")
	return "until test -e " + name + "; do sleep 0.02; done", func() {
		t.Helper()
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func toErp(t *testing.T, addr string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		post(t, "http://crm:crm@"+addr+"/zato/pubsub/topic//customer/created/", "", text)
	}
}

// waitingForErp is what erp receives next.
func waitingForErp(t *testing.T, addr string) string {
	t.Helper()
	return post(t, "http://erp:erp@"+addr+"/zato/pubsub/msg//customer/created/", exampleSubKey, "")
}

// A signal lets a run end, whose message is acknowledged, and no other one begins.
func TestExecEndsAfterTheMessageInHand(t *testing.T) {
	addr := start(t, t.TempDir(), anyPort, "-config", example(t)).addrs[0]
	wait, goOn := gate(t)
	toErp(t, addr, "one", "two")
	r := receives(t, addr, "echo has $(cat); "+wait+"; echo done")
	r.says("has one")
	r.signal()
	r.notes("ends when what runs has ended (1); a second signal ends that at once") // it has come
	goOn()
	r.says("done")
	r.ends(0)
	if got := waitingForErp(t, addr); strings.Contains(got, "one") || !strings.Contains(got, `"delivery_count": 1`) {
		t.Error(got)
	}
}

// A second signal ends the run, and its message waits again at once.
func TestExecEndsAtOnce(t *testing.T) {
	addr := start(t, t.TempDir(), anyPort, "-config", example(t)).addrs[0]
	toErp(t, addr, "one")
	r := receives(t, addr, `trap "" TERM INT; echo has $(cat); sleep 300; echo done`)
	r.says("has one")
	r.signal()
	r.notes("ends when what runs has ended (1); a second signal ends that at once")
	r.signal()
	r.notes("message K.* of topic /customer/created, delivery 1: interrupted twice, given back")
	r.ends(0)
	if got := waitingForErp(t, addr); !strings.Contains(got, `"payload": "one"`) {
		t.Error(got)
	}
}

// A terminal that is closed lets the run end, however often it says so; then one signal ends that at once.
func TestExecEndsWithItsTerminal(t *testing.T) {
	addr := start(t, t.TempDir(), anyPort, "-config", example(t)).addrs[0]
	toErp(t, addr, "one")
	r := receives(t, addr, `trap "" HUP TERM; echo has $(cat); sleep 300; echo done`)
	r.says("has one")
	r.send(syscall.SIGHUP)
	r.notes("ends when what runs has ended (1); a second signal ends that at once")
	r.send(syscall.SIGHUP)
	r.signal()
	r.notes("message K.* of topic /customer/created, delivery 1: interrupted twice, given back")
	r.ends(0)
}

// Messages are handled over a kill of the server: one in hand is acknowledged at the next one, others come from there.
func TestExecReconnects(t *testing.T) {
	dir, addr := t.TempDir(), reserveAddr(t)
	p := start(t, dir, []string{"PIPIT_HTTP_LISTEN=" + addr}, "-config", example(t))
	wait, goOn := gate(t)
	toErp(t, addr, "one")
	r := receives(t, addr, "text=$(cat); echo has $text; test $text != one || { "+wait+"; }")
	r.says("has one")
	p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	goOn()
	start(t, dir, []string{"PIPIT_HTTP_LISTEN=" + addr}, "-config", example(t))
	toErp(t, addr, "two")
	r.says("has two")
	r.signal()
	r.ends(0)
	if got := waitingForErp(t, addr); !strings.Contains(got, `"results_count": 0`) {
		t.Error(got)
	}
}

// While a run goes on its message stays in flight, longer than the consumer's ack_timeout.
func TestExecExtends(t *testing.T) {
	text, err := os.ReadFile(example(t))
	if err != nil {
		t.Fatal(err)
	}
	config := strings.Replace(string(text), "\n[[consumer]]\n", "\n[[consumer]]\nack_timeout = \"1s\"\n", 1)
	addr := start(t, t.TempDir(), anyPort, "-config", writeConfig(t, config)).addrs[0]
	toErp(t, addr, "one")
	r := receives(t, addr, "sleep 2.2; echo $PIPIT_DELIVERY_COUNT", "--max", "1")
	r.says("1")
	r.ends(0)
	if got := waitingForErp(t, addr); !strings.Contains(got, `"results_count": 0`) {
		t.Error(got)
	}
}

// With one run at a time the order is kept; with several as many go on side by side as there are messages.
func TestExecConcurrency(t *testing.T) {
	addr := start(t, t.TempDir(), anyPort, "-config", example(t)).addrs[0]
	var texts []string
	for i := range 10 {
		texts = append(texts, fmt.Sprint("m", i))
	}
	toErp(t, addr, texts...)
	r := receives(t, addr, "cat; echo", "--max", "10")
	for _, text := range texts {
		r.says(text)
	}
	r.ends(0)

	// Each of three begins before one is done.
	wait, goOn := gate(t)
	toErp(t, addr, "a", "b", "c")
	r = receives(t, addr, "echo begun; "+wait, "--concurrency", "3", "--max", "3")
	r.says("begun")
	r.says("begun")
	r.says("begun")
	goOn()
	r.ends(0)
}
