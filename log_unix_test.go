//go:build unix

package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startWithStderr starts the program at an address, which logs into a file, and waits until it answers.
func startWithStderr(t *testing.T, addr string, stderr *os.File) *exec.Cmd {
	t.Helper()
	cmd := program(t, t.TempDir(), []string{"PIPIT_HTTP_LISTEN=" + addr, "PIPIT_LOG_ACCESS=true"}, "-config", example(t))
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) { // lint:sleep another process starts, which cannot say when it is ready
		resp, err := client.Get("http://" + addr + "/health")
		if err == nil {
			resp.Body.Close()
			return cmd
		}
	}
	t.Fatal("does not answer")
	return nil
}

// refusals causes n lines of the log.
func refusals(t *testing.T, addr string, n int) {
	t.Helper()
	keep := &http.Client{Timeout: 30 * time.Second}
	defer keep.CloseIdleConnections()
	for range n {
		resp, err := keep.Post("http://"+addr+"/zato/pubsub/topic//customer/created/", "text/plain", nil)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 401 {
			t.Fatal(resp.Status)
		}
	}
}

// terminate asks a process to end, which is to do so in time and well.
func terminate(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	overdue := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
	defer overdue.Stop()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

// Nothing that becomes of its log's reader ends the process or holds it up: not its start, nor requests, nor
// its end.
func TestLogDestination(t *testing.T) {
	const many = 1000 // some hundred bytes each: more than a pipe takes
	t.Run("reader gone before the start", func(t *testing.T) {
		r, w := pipe(t)
		r.Close()
		addr := reserveAddr(t)
		cmd := startWithStderr(t, addr, w)
		refusals(t, addr, many)
		terminate(t, cmd)
	})
	t.Run("full before the start", func(t *testing.T) {
		_, w := pipe(t)
		if err := w.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, 1<<20)); err == nil {
			t.Fatal("the pipe takes all")
		}
		addr := reserveAddr(t)
		cmd := startWithStderr(t, addr, w)
		refusals(t, addr, many)
		terminate(t, cmd)
	})
	t.Run("full disk", func(t *testing.T) {
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Skip("no /dev/full here")
		}
		defer full.Close()
		addr := reserveAddr(t)
		cmd := startWithStderr(t, addr, full)
		refusals(t, addr, many)
		terminate(t, cmd)
	})
	t.Run("nobody reads for a while", func(t *testing.T) {
		r, w := pipe(t)
		addr := reserveAddr(t)
		cmd := startWithStderr(t, addr, w)
		w.Close()
		refusals(t, addr, 8*many)
		// The reader comes back: it gets the beginning, the number of lines that are missing, and what comes then.
		lines := bufio.NewScanner(r)
		for seen := 0; lines.Scan(); seen++ {
			if strings.Contains(lines.Text(), droppedMessage) {
				if seen < many {
					t.Errorf("only %d lines were kept", seen)
				}
				break
			}
		}
		refusals(t, addr, 1)
		if !lines.Scan() || !strings.Contains(lines.Text(), `"status":401`) {
			t.Error(lines.Text(), lines.Err())
		}
		rest := make(chan string, 1)
		go func() { b, _ := io.ReadAll(r); rest <- string(b) }()
		terminate(t, cmd)
		if b := <-rest; !strings.Contains(b, `"stopped"`) {
			t.Error(b)
		}
	})
}

// Who reads the output of a command and ends first, ends the command: without a word, and without damage.
func TestOutputReaderGone(t *testing.T) {
	dir := t.TempDir()
	ok := func(stdin string, args ...string) {
		t.Helper()
		cmd := program(t, dir, nil, args...)
		cmd.Stdin = strings.NewReader(stdin)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
	}
	ok("correct horse\n", "admin", "create", "ann", "--file", "x.db", "--create")
	ok("", "topic", "create", "/t", "--file", "x.db")
	ok("secret\n", "client", "create", "erp", "--file", "x.db")
	ok("", "consumer", "create", "erp", "/t", "--file", "x.db")
	ok("", "publish", "/t", "hello", "--file", "x.db")
	for _, args := range [][]string{
		{"topic", "list"}, {"topic", "list", "--json"}, {"topic", "show", "/t"}, {"messages", "list", "/t"}, {"export"},
		{"consume", "/t", "--user", "erp", "--ack"}, {"completion", "bash"},
	} {
		r, w := pipe(t)
		r.Close()
		if args[0] != "completion" {
			args = append(args, "--file", "x.db")
		}
		cmd := program(t, dir, nil, args...)
		var stderr strings.Builder
		cmd.Stdout, cmd.Stderr = w, &stderr
		err := cmd.Run()
		if cmd.ProcessState.ExitCode() != 141 || stderr.String() != "" {
			t.Errorf("%q: %v\n%s", args, err, &stderr)
		}
	}
	ok("", "check", "x.db")
	ok("", "compact", "x.db")
	cmd := program(t, dir, nil, "consume", "/t", "--user", "erp", "--ack", "--file", "x.db") // what was not printed is there
	if out, err := cmd.Output(); err != nil || string(out) != "hello\n" {
		t.Errorf("%q, %v", out, err)
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full here")
	}
	defer full.Close()
	cmd = program(t, dir, nil, "export", "--file", filepath.Join(dir, "x.db"))
	var stderr strings.Builder
	cmd.Stdout, cmd.Stderr = full, &stderr
	if err := cmd.Run(); cmd.ProcessState.ExitCode() != 1 || !strings.HasPrefix(stderr.String(), "pipit: write ") {
		t.Error(err, fmt.Sprint(&stderr))
	}
}
