package serve

import (
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func TestListenAll(t *testing.T) {
	all, err := listenAll(t.Context(), "http.listen", []string{"127.0.0.1:0", "127.0.0.1:0", "[::1]:0"}, newConnections(10, quiet))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range all {
		defer l.Close()
	}
	if len(all) < 2 || all.BeyondLoopback() != "" {
		t.Error(len(all), all.BeyondLoopback())
	}
	taken := all[0].Addr().String()
	if _, err := listenAll(t.Context(), "http.listen", []string{"127.0.0.1:0", taken}, newConnections(10, quiet)); err == nil || !strings.Contains(err.Error(), taken) {
		t.Error(err)
	}
	wide, err := listenAll(t.Context(), "http.listen", []string{"0.0.0.0:0"}, newConnections(10, quiet))
	if err != nil {
		t.Fatal(err)
	}
	defer wide[0].Close()
	if append(all, wide...).BeyondLoopback() != wide[0].Addr().String() {
		t.Error(wide.BeyondLoopback())
	}
}

// An IPv4 address listens on IPv4 alone, an IPv6 address on IPv6 alone, no host and a name on both.
func TestFamilies(t *testing.T) {
	if l, err := net.Listen("tcp6", "[::1]:0"); err != nil {
		t.Skip("no IPv6 here: ", err)
	} else {
		l.Close()
	}
	listen := func(addrs ...string) Listeners {
		t.Helper()
		all, err := listenAll(t.Context(), "http.listen", addrs, newConnections(10, quiet))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { all.close() })
		return all
	}
	answers := func(network string, port int) bool {
		c, err := net.Dial(network, net.JoinHostPort(map[string]string{"tcp4": "127.0.0.1", "tcp6": "::1"}[network], strconv.Itoa(port)))
		if err == nil {
			c.Close()
		}
		return err == nil
	}
	portOf := func(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }

	v4 := listen("0.0.0.0:0")
	port := portOf(v4[0])
	if !answers("tcp4", port) || answers("tcp6", port) {
		t.Error("0.0.0.0 is not IPv4 alone")
	}
	v6 := listen("[::]:" + strconv.Itoa(port)) // beside it
	if v6.BaseURLs(false)[0] != "http://[::1]:"+strconv.Itoa(port) {
		t.Error(v6.BaseURLs(false))
	}
	v4.close()
	if answers("tcp4", port) || !answers("tcp6", port) {
		t.Error("[::] is not IPv6 alone")
	}
	if port = portOf(listen(":0")[0]); !answers("tcp4", port) || !answers("tcp6", port) {
		t.Error("no host is not both")
	}
	ips, err := net.DefaultResolver.LookupNetIP(t.Context(), "ip", "localhost")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range listen("localhost:0") {
		at := l.Addr().(*net.TCPAddr).AddrPort().Addr()
		ips = slices.DeleteFunc(ips, func(ip netip.Addr) bool { return ip.Unmap() == at.Unmap() })
	}
	if len(ips) > 0 {
		t.Errorf("localhost is not listened on at %s", ips)
	}
	if _, err := listenAll(t.Context(), "http.listen", []string{"pipit.invalid:0"}, newConnections(10, quiet)); err == nil || !strings.Contains(err.Error(), `http.listen "pipit.invalid:0"`) {
		t.Error(err)
	}
}

// A connection can be closed in one direction, and what the client still sends arrives.
func TestCloseWrite(t *testing.T) {
	all, err := listenAll(t.Context(), "http.listen", []string{"127.0.0.1:0"}, newConnections(1, quiet))
	if err != nil {
		t.Fatal(err)
	}
	defer all[0].Close()
	client, err := net.Dial("tcp", all[0].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	c, err := all[0].Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(client); len(b) > 0 || err != nil {
		t.Errorf("%q, %v: want the end", b, err)
	}
	if _, err := client.Write([]byte("rest")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "rest" {
		t.Errorf("%q, %v", b, err)
	}
}
