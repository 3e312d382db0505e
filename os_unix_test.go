//go:build unix

package main

import (
	"fmt"
	"net/http"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"pipit/httpapi/serve/servetest"
)

// reserveAddr returns an address of the loopback for who listens later, perhaps several times. Until the test ends a socket is bound to it that does not listen: Linux
// gives the port to nobody then who asks for any, and to who asks for this one, as listeners of Go do and those of most others.
func reserveAddr(t *testing.T) string {
	t.Helper()
	syscall.ForkLock.RLock()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	release := func() { _ = syscall.Close(fd) }
	if runtime.GOOS == "linux" {
		t.Cleanup(release)
	} else { // which give it to nobody else
		defer release()
	}
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	addr, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint("127.0.0.1:", addr.(*syscall.SockaddrInet4).Port)
}

// Where the process may have fewer files open than max_connections needs, it says so and keeps some for its
// database.
func TestFewFiles(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	for limits, warns := range map[string]bool{"ulimit -n 100": true, "ulimit -Sn 100": false} {
		p := startCommand(t, func() *exec.Cmd {
			cmd := program(t, t.TempDir(), append([]string{"PIPIT_HTTP_MAX_CONNECTIONS=200"}, anyPort...), "-config", example(t))
			cmd.Args = append([]string{"sh", "-c", limits + ` && exec "$0" "$@"`, cmd.Path}, cmd.Args[1:]...)
			cmd.Path = sh
			return cmd
		}())
		for range 60 {
			servetest.Connect(t, p.addrs[0])
		}
		// A connection that is not quick to ask makes room for another one, as any does that asks nothing.
		var resp *http.Response
		for try := 0; resp == nil; try++ {
			if resp, err = client.Post("http://crm:crm@"+p.addrs[1]+"/zato/pubsub/topic//customer/created/", "", strings.NewReader("fits")); err != nil && try == 20 {
				t.Fatal(err)
			}
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Error(resp.Status)
		}
		code, log := p.stop(t, syscall.SIGTERM)
		if code != 0 || strings.Contains(log, `"at_most":27`) != warns || strings.Contains(log, "cannot be accepted") {
			t.Errorf("%s: exit code %d\n%s", limits, code, log)
		}
	}
}
