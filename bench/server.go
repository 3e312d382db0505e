package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"pipit/broker/login"
)

const (
	producerName = "crm" // username and password of who publishes
	consumerName = "erp" // … and of who receives
	subKey       = "bench-consumer"
	keyHeader    = "X-Zato-PubSub-Key: " + subKey + "\r\n"
	maxDepth     = 100_000_000
)

const (
	startTimeout = 60 * time.Second
	stopTimeout  = 20 * time.Second
)

// topic is what a configuration declares of one.
type topic struct {
	name       string
	expiration int // seconds, of a message that does not say; 0: the server's default
	consumers  int // at least one: consumerName's; all others are idle

	// Of consumerName's consumer; 0: the server's default.
	maxInFlight int
	ackTimeout  time.Duration

	quiet int // clients beside it that publish to quietTopic

	probed bool // producerName may publish to probeTopic, too

	database string // what the configuration says further of the database

	callback string // what consumerName's consumer says of how it is sent its messages; empty: it receives them
	idle     string // what the idle consumers say further; empty: nothing
}

// program is the path of the server's package, which is that of the module, whatever it is called.
func program() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Path != "" {
		return info.Main.Path
	}
	return "pipit"
}

// build makes the server's binary from the sources, with profiling of profile.go when asked.
func build(ctx context.Context, dir string, profiled bool) (string, error) {
	file := filepath.Join(dir, "pipit")
	if runtime.GOOS == "windows" {
		file += ".exe"
	}
	args := []string{"build", "-o", file}
	if profiled {
		overlay, err := profileOverlay(ctx, dir)
		if err != nil {
			return "", err
		}
		args = append(args, "-overlay", overlay)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, program())...) // #nosec G204 -- builds the program that is measured
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("the server does not build: %w\n%s", err, bytes.TrimSpace(out))
	}
	return file, nil
}

// server is a child process of the binary, with a file that outlives it.
type server struct {
	target
	file    string // the database
	dir     string
	binary  string
	profile string // address of profile.go's handlers; empty: it has none
	cmd     *exec.Cmd
	log     *os.File
	exited  chan struct{} // closed when the process has ended
	started time.Time     // when it was executed
}

// newServer writes a configuration into a directory of its own and starts the server on it.
func (b *bench) newServer(ctx context.Context, t topic) (*server, error) {
	return b.newServerOf(ctx, b.pipit, t)
}

// newServerOf is newServer with any binary.
func (b *bench) newServerOf(ctx context.Context, binary string, t topic) (*server, error) {
	s, err := b.prepare(binary, t)
	if err != nil {
		return nil, err
	}
	return s, s.start(ctx)
}

// prepare is newServerOf without the start.
func (b *bench) prepare(binary string, t topic) (*server, error) {
	dir, err := os.MkdirTemp(b.dir, "server-")
	if err != nil {
		return nil, err
	}
	s := &server{dir: dir, binary: binary, file: filepath.Join(dir, "pipit.db")}
	s.disk = b.disk
	if s.addr, err = freeAddr(); err != nil {
		return nil, err
	}
	if b.profile != "" && binary == b.pipit {
		if s.profile, err = freeAddr(); err != nil {
			return nil, err
		}
	}
	config, err := configuration(s.addr, s.file, t)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(s.configFile(), config, 0o600); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *server) configFile() string { return filepath.Join(s.dir, "config.toml") }

// start executes the binary and waits until it answers.
func (s *server) start(ctx context.Context) error {
	var err error
	s.log, err = os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, s.binary, "-config", s.configFile()) // #nosec G204 -- the program that was built to be measured
	cmd.Dir = s.dir
	cmd.Stdout, cmd.Stderr = s.log, s.log
	cmd.Cancel = func() error { return terminate(cmd.Process) }
	cmd.WaitDelay = stopTimeout
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "PIPIT_") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	if s.profile != "" {
		cmd.Env = append(cmd.Env, profileVariable+"="+s.profile)
	}
	s.started = time.Now()
	if err := cmd.Start(); err != nil {
		_ = s.log.Close()
		return err
	}
	s.cmd, s.pid = cmd, cmd.Process.Pid
	exited := make(chan struct{})
	s.exited = exited
	go func() {
		_ = cmd.Wait() // its state is in cmd
		close(exited)
	}()
	if err := s.waitReady(ctx); err != nil {
		_ = s.stop()
		return fmt.Errorf("%w\n%s", err, s.logTail())
	}
	return nil
}

// waitReady waits until the server accepts connections.
func (s *server) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	pause := time.NewTicker(time.Millisecond)
	defer pause.Stop()
	for {
		c, err := dial(ctx, s.addr)
		if err == nil {
			c.close()
			return nil
		}
		select {
		case <-pause.C:
		case <-s.exited:
			return fmt.Errorf("the server ended at its start: %s", s.cmd.ProcessState)
		case <-ctx.Done():
			return errors.New("the server did not start in time")
		}
	}
}

// stop ends the process as an operator would, and reports when it did not end well. It may be
// called again.
func (s *server) stop() error {
	if s.cmd == nil {
		return nil
	}
	cmd := s.cmd
	s.cmd = nil
	defer s.log.Close()
	_ = terminate(cmd.Process)
	select {
	case <-s.exited:
	case <-time.After(stopTimeout):
		_ = cmd.Process.Kill()
		<-s.exited
		return fmt.Errorf("the server did not stop within %s", stopTimeout)
	}
	if !cmd.ProcessState.Success() && runtime.GOOS != "windows" {
		return fmt.Errorf("the server ended with %s\n%s", cmd.ProcessState, s.logTail())
	}
	return nil
}

// discard stops the server and removes its files.
func (s *server) discard() error {
	err := s.stop()
	return errors.Join(err, os.RemoveAll(s.dir))
}

// logTail returns the end of what the server logged.
func (s *server) logTail() string {
	text, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if err != nil {
		return err.Error()
	}
	const tail = 2000
	return "its log ends: " + string(text[max(0, len(text)-tail):])
}

// terminate asks a process to end; where there are no signals it is killed.
func terminate(p *os.Process) error {
	if runtime.GOOS == "windows" {
		return p.Kill()
	}
	return p.Signal(syscall.SIGTERM)
}

// freeAddr returns an address that was free a moment ago.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// configuration declares two clients, the topic, and an idle client for each further consumer: a
// client has one consumer of a topic.
func configuration(addr, file string, t topic) ([]byte, error) {
	var w bytes.Buffer
	fmt.Fprintf(&w, "[http]\nlisten = [%s]\n", quote(addr))
	fmt.Fprintf(&w, "\n[database]\nfile = %s\n%s", quote(file), t.database)
	client := func(name, key, value string) {
		fmt.Fprintf(&w, "\n[[client]]\nname = %s\nusername = %s\n%s = %s\n", quote(strings.ToUpper(name)), quote(name), key, quote(value))
	}
	consumer := func(name, key string) {
		fmt.Fprintf(&w, "\n[[consumer]]\nclient = %s\ntopic = %s\nsub_key = %s\nmax_depth = %d\n", quote(name), quote(t.name), quote(key), maxDepth)
	}

	fmt.Fprintf(&w, "\n[[topic]]\nname = %s\nmax_depth = %d\n", quote(t.name), maxDepth)
	if t.expiration > 0 {
		fmt.Fprintf(&w, "expiration = %d\n", t.expiration)
	}
	client(producerName, "password", producerName)
	fmt.Fprintf(&w, "\n[[producer]]\nclient = %s\ntopic = %s\n", quote(producerName), quote(t.name))
	client(consumerName, "password", consumerName)
	consumer(consumerName, subKey)
	if t.maxInFlight > 0 {
		fmt.Fprintf(&w, "max_in_flight = %d\n", t.maxInFlight)
	}
	if t.ackTimeout > 0 {
		fmt.Fprintf(&w, "ack_timeout = %s\n", quote(t.ackTimeout.String()))
	}
	fmt.Fprint(&w, t.callback)
	if t.probed {
		fmt.Fprintf(&w, "\n[[topic]]\nname = %s\n\n[[producer]]\nclient = %s\ntopic = %s\n", quote(probeTopic), quote(producerName), quote(probeTopic))
	}

	if t.quiet > 0 {
		fmt.Fprintf(&w, "\n[[topic]]\nname = %s\nmax_depth = %d\n", quote(quietTopic), maxDepth)
		for i := range t.quiet {
			client(quietName(i), "password", quietName(i))
			fmt.Fprintf(&w, "\n[[producer]]\nclient = %s\ntopic = %s\n", quote(quietName(i)), quote(quietTopic))
		}
	}

	// The idle ones never log in, so one hash is good for all of them.
	hash, err := login.HashPassword("idle")
	if err != nil {
		return nil, err
	}
	for i := 1; i < t.consumers; i++ {
		name := fmt.Sprintf("idle-%d", i)
		client(name, "password_hash", hash)
		consumer(name, name)
		fmt.Fprint(&w, t.idle)
	}
	return w.Bytes(), nil
}

// quote returns a TOML string.
func quote(s string) string {
	text, _ := json.Marshal(s) // of a string it never fails; TOML's basic strings have these escapes
	return string(text)
}
