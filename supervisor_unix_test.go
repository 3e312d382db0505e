//go:build unix

package main

import (
	"bytes"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// notifySocket is what a supervisor reads notifications from, and the environment that has them sent there.
func notifySocket(t *testing.T) (*net.UnixConn, []string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, append([]string{"NOTIFY_SOCKET=" + path, "WATCHDOG_USEC=300000"}, anyPort...)
}

// manager is a supervisor, which hears all at once, whatever a test is about: of what is not read Linux keeps ten.
type manager struct{ heard chan string }

func newManager(t *testing.T) (*manager, []string) {
	t.Helper()
	conn, env := notifySocket(t)
	m := &manager{make(chan string, 10_000)}
	go func() {
		defer close(m.heard)
		for buf := make([]byte, 256); ; {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			m.heard <- string(buf[:n])
		}
	}()
	return m, env
}

// hears waits for a notification, past those of others.
func (m *manager) hears(t *testing.T, want string) {
	t.Helper()
	for timeout := time.After(time.Minute); ; {
		select {
		case got := <-m.heard:
			if strings.HasPrefix(got, want) {
				return
			}
		case <-timeout:
			t.Fatal("no", want)
		}
	}
}

// A supervisor is told when requests are served, that commits go on, of a reload and its end, and of the stop.
func TestSupervisorIsTold(t *testing.T) {
	m, env := newManager(t)
	p := start(t, t.TempDir(), env, "-config", example(t))
	m.hears(t, "READY=1")
	m.hears(t, "WATCHDOG=1")
	m.hears(t, "WATCHDOG=1")
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	m.hears(t, "RELOADING=1\nMONOTONIC_USEC=")
	m.hears(t, "READY=1")
	if code, log := p.stop(t, syscall.SIGTERM); code != 0 || strings.Contains(log, "supervisor") {
		t.Error(code, log)
	}
	m.hears(t, "STOPPING=1")
}

// A supervisor that reads nothing holds up neither a start nor a reload nor a stop.
func TestStuckSupervisor(t *testing.T) {
	t.Parallel() // it mostly waits
	conn, env := notifySocket(t)
	full, err := net.DialUnix("unixgram", nil, conn.LocalAddr().(*net.UnixAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	_ = full.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	for err == nil {
		_, err = full.Write([]byte("X=1"))
	}
	p := start(t, t.TempDir(), env, "-config", example(t))
	defer time.AfterFunc(time.Minute, func() { p.cmd.Process.Kill() }).Stop() // which fails
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	p.line(t, `"configuration loaded again"`)
	if code, log := p.stop(t, syscall.SIGTERM); code != 0 || !strings.Contains(log, "the supervisor could not be told") || !strings.Contains(log, `"stopped"`) {
		t.Error(code, log)
	}
}

// A server that drains serves on, is alive and not ready, and has its supervisor wait. A second signal ends that in order.
func TestDrain(t *testing.T) {
	m, env := newManager(t)
	p := start(t, t.TempDir(), append(env, "PIPIT_HTTP_DRAIN=1h", "PIPIT_ADMIN_LISTEN=127.0.0.1:0"), "-config", example(t))
	admin := p.line(t, `"listening for administrators","addr":"([^"]+)"`)[1]
	base := "http://" + p.addrs[0]
	ready := func(want string) {
		t.Helper()
		for _, url := range []string{base + "/readyz", "http://" + admin + "/readyz"} {
			if a := fetch(t, url); !strings.HasPrefix(a, want) {
				t.Errorf("%s: %s", url, a)
			}
		}
	}
	ready("200 ")
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	m.hears(t, "STOPPING=1\nEXTEND_TIMEOUT_USEC=3610500000")
	ready(`503 {"status": "ZATO_ERROR", "details": "The server is about to stop"}`)
	for _, path := range []string{"/healthz", "/health"} {
		if a := fetch(t, base+path); !strings.HasPrefix(a, "200 ") {
			t.Errorf("%s: %s", path, a)
		}
	}
	if a := post(t, "http://crm:crm@"+p.addrs[0]+"/zato/pubsub/topic//customer/created/", "", "x"); !strings.HasPrefix(a, "200 ") {
		t.Error(a)
	}
	m.hears(t, "WATCHDOG=1")
	m.hears(t, "WATCHDOG=1")
	if code, log := p.stop(t, syscall.SIGTERM); code != 0 || !strings.Contains(log, `"stopped"`) {
		t.Error(code, log)
	}
}

// A server that drains has its configuration loaded again as ever, and drains on.
func TestReloadWhileDraining(t *testing.T) {
	text := reloadBase + "[metrics]\nper_object_limit = 5\n"
	file := writeConfig(t, text)
	p := start(t, t.TempDir(), append([]string{"PIPIT_HTTP_DRAIN=1h"}, anyPort...), "-config", file)
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.line(t, "draining")
	p.reload(t, file, text+"[[topic]]\nname = \"/new\"\n[[producer]]\nclient = \"crm\"\ntopic = \"/new\"\n", `"configuration loaded again"`)
	if a := post(t, "http://crm:crm@"+p.addrs[0]+"/zato/pubsub/topic//new/", "", "x"); !strings.HasPrefix(a, "200 ") {
		t.Error(a)
	}
	if code, log := p.stop(t, syscall.SIGTERM); code != 0 || !strings.Contains(log, `"stopped"`) {
		t.Error(code, log)
	}
}

// A drain ends by itself.
func TestDrainEnds(t *testing.T) {
	p := start(t, t.TempDir(), append([]string{"PIPIT_HTTP_DRAIN=100ms"}, anyPort...), "-config", example(t))
	if code, log := p.stop(t, os.Interrupt); code != 0 || !strings.Contains(log, "draining") || !strings.Contains(log, `"stopped"`) {
		t.Error(code, log)
	}
}

// inherit has a process started with sockets as a supervisor gives them, by name.
func inherit(t *testing.T, cmd *exec.Cmd, names string, addrs ...string) []string {
	t.Helper()
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	var open []string
	for _, addr := range addrs {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, l.Addr().String())
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close(); f.Close() })
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	cmd.Env = append(cmd.Env, "LISTEN_FDS="+strconv.Itoa(len(addrs)), "LISTEN_FDNAMES="+names)
	cmd.Args = append([]string{"sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = sh
	return open
}

// Sockets of a supervisor are served instead of the addresses of the configuration, and what comes while nobody serves them waits.
func TestSocketActivation(t *testing.T) {
	cmd := program(t, t.TempDir(), anyPort, "-config", example(t))
	addrs := inherit(t, cmd, "pipit.socket:admin", "127.0.0.1:0", "127.0.0.1:0")
	answer := make(chan error, 1)
	go func() { // before it is started
		resp, err := http.Get("http://" + addrs[0] + "/health")
		if err == nil {
			resp.Body.Close()
		}
		answer <- err
	}()
	p := startCommand(t, cmd)
	if len(p.addrs) != 1 || p.addrs[0] != addrs[0] {
		t.Error(p.addrs, addrs)
	}
	if err := <-answer; err != nil {
		t.Error(err)
	}
	if a := fetch(t, "http://"+addrs[0]+"/admin/"); a != noRoute {
		t.Error(a)
	}
	if a := fetch(t, "http://"+addrs[1]+"/admin/"); !strings.Contains(a, "not set up") {
		t.Error(a)
	}
	if code, log := p.stop(t, syscall.SIGTERM); code != 0 {
		t.Error(code, log)
	}
	if c, err := net.Dial("tcp", addrs[0]); err != nil {
		t.Error("the socket was closed with the process:", err)
	} else {
		c.Close()
	}
}

// A socket that has no use is refused before anything is begun.
func TestSocketRefused(t *testing.T) {
	for names, want := range map[string]string{
		"amdin": `socket "amdin" of the supervisor: allowed are the names "http" and "admin"`,
		"admin": `the supervisor has opened a socket "admin", and admin.enabled is false`,
	} {
		cmd := program(t, t.TempDir(), append([]string{"PIPIT_ADMIN_ENABLED=false"}, anyPort...))
		inherit(t, cmd, names, "127.0.0.1:0")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		err := cmd.Run() // the end of the test ends it otherwise
		if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(stderr.String(), want) {
			t.Errorf("%s: %v\n%s", names, err, stderr.String())
		}
	}
}
