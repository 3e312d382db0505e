//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	startTimeout = 60 * time.Second
	stopTimeout  = 60 * time.Second
)

// server is the program, one process after another, on one file.
type server struct {
	binary, dir, config string
	env                 []string
	log                 *os.File

	mu     sync.Mutex
	cmd    *exec.Cmd
	addr   string
	exited chan struct{}  // closed when the process has ended
	lines  map[string]int // of the log, by message
}

func newServer(binary, dir, config string, env ...string) (*server, error) {
	log, err := os.OpenFile(filepath.Join(filepath.Dir(config), "pipit.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	return &server{binary: binary, dir: dir, config: config, env: env, log: log, lines: map[string]int{}}, err
}

// start executes the program and waits until it listens.
func (s *server) start(ctx context.Context, env ...string) error {
	cmd := exec.Command(s.binary, "-config", s.config) // #nosec G204 -- the program that was built
	cmd.Dir = s.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true} // Ctrl-C is for this process alone
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "PIPIT_") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Env = append(append(cmd.Env, s.env...), env...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	exited, listening := make(chan struct{}), make(chan string, 1)
	s.mu.Lock()
	s.cmd, s.exited = cmd, exited
	s.mu.Unlock()
	go func() {
		s.read(stderr, listening)
		_ = cmd.Wait() // its state is in cmd
		close(exited)
	}()
	select {
	case addr := <-listening:
		s.mu.Lock()
		s.addr = addr
		s.mu.Unlock()
		return nil
	case <-exited:
		return fmt.Errorf("the program ended at its start: %s; its log ends: %s", cmd.ProcessState, s.tail())
	case <-time.After(startTimeout):
		return fmt.Errorf("the program did not start within %s", startTimeout)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// read copies the log to its file, and looks for where the program listens.
func (s *server) read(from io.Reader, listening chan<- string) {
	in := bufio.NewReaderSize(from, 1<<20)
	for {
		line, err := in.ReadBytes('\n')
		_, _ = s.log.Write(line)
		var entry struct{ Msg, Addr string }
		if json.Unmarshal(line, &entry) == nil {
			s.mu.Lock()
			s.lines[entry.Msg]++
			s.mu.Unlock()
			if entry.Msg == "listening" {
				listening <- entry.Addr
			}
		}
		if err != nil {
			return
		}
	}
}

// tail returns the end of the log.
func (s *server) tail() string {
	text, err := os.ReadFile(s.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

// logged returns how often the log had a message.
func (s *server) logged(msg string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lines[msg]
}

func (s *server) url() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return "http://" + s.addr
}

func (s *server) process() (*exec.Cmd, chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cmd, s.exited
}

func (s *server) pid() int {
	cmd, _ := s.process()
	return cmd.Process.Pid
}

// signal sends one; the process may have ended.
func (s *server) signal(sig syscall.Signal) { _ = syscall.Kill(s.pid(), sig) }

// end sends a signal that ends the process, and waits for that. A regular stop ends with exit code 0.
func (s *server) end(sig syscall.Signal) error {
	cmd, exited := s.process()
	s.signal(sig)
	select {
	case <-exited:
	case <-time.After(stopTimeout):
		_ = cmd.Process.Kill()
		<-exited
		return fmt.Errorf("the program did not stop within %s", stopTimeout)
	}
	if code := cmd.ProcessState.ExitCode(); sig != syscall.SIGKILL && code != 0 {
		return fmt.Errorf("the program ended with exit code %d after %s", code, unix.SignalName(sig))
	}
	return nil
}

// limitFiles lets the process write no file further than so many bytes: a write past that fails as on a full disk.
func (s *server) limitFiles(bytes uint64) error {
	return unix.Prlimit(s.pid(), unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: bytes, Max: unix.RLIM_INFINITY}, nil)
}

// usage is what the process has: bytes of memory of its own (without mapped pages), and open files.
func (s *server) usage() (memory, files int) {
	dir := fmt.Sprintf("/proc/%d/", s.pid())
	text, err := os.ReadFile(dir + "status") // #nosec G304 -- of the process that was started
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			_, _ = fmt.Sscan(rest, &memory)
		}
	}
	list, err := os.ReadDir(dir + "fd")
	if err != nil {
		return 0, 0
	}
	return memory << 10, len(list)
}

// command runs a command of the program.
func (s *server) command(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, s.binary, args...) // #nosec G204 -- the program that was built
	cmd.Dir, cmd.Env, cmd.Stdin = s.dir, s.env, strings.NewReader(stdin)
	cmd.Env = append(os.Environ(), s.env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("pipit %s: %w: %s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out), nil
}
