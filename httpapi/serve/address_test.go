package serve

import (
	"net"
	"slices"
	"strings"
	"testing"
)

func TestBaseURLs(t *testing.T) {
	for _, tt := range []struct {
		addrs  []string
		secure bool
		want   string
		wire   string
	}{
		{[]string{"127.0.0.1:80"}, false, "http://127.0.0.1:80", "http://127.0.0.1:80"},
		{[]string{"127.0.0.1:80", "127.0.0.1:81", "[::1]:80"}, false, "http://127.0.0.1:80", "http://127.0.0.1:80"},
		{[]string{"192.0.2.1:80", "192.0.2.2:80"}, true, "https://192.0.2.1:80 https://192.0.2.2:80", "https://192.0.2.2:80"},
		{[]string{"192.0.2.1:80", "[::1]:81", "127.0.0.1:82", "192.0.2.1:83"}, false, "http://[::1]:81 http://192.0.2.1:80", "http://192.0.2.1:80"},
		{[]string{"[2001:db8::1]:80"}, false, "http://[2001:db8::1]:80", "http://[2001:db8::1]:80"},
	} {
		l := listenersAt(t, tt.addrs...)
		if got := strings.Join(l.BaseURLs(tt.secure), " "); got != tt.want {
			t.Errorf("%q: %s, want %s", tt.addrs, got, tt.want)
		}
		if got := l.WireURL(tt.secure); got != tt.wire {
			t.Errorf("%q: %s, want %s", tt.addrs, got, tt.wire)
		}
	}
}

// A server that listens on all addresses is reached by each that the machine has.
func TestBaseURLsOfTheMachine(t *testing.T) {
	interfaces, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, addr := range []string{"0.0.0.0:80", "[::]:80"} {
		l := listenersAt(t, addr)
		got := l.BaseURLs(true)
		if got[0] != "https://127.0.0.1:80" {
			t.Error(addr, got)
		}
		for _, a := range interfaces {
			ip := a.(*net.IPNet).IP
			want := ip.IsGlobalUnicast() && (ip.To4() != nil || addr == "[::]:80")
			if url := "https://" + net.JoinHostPort(ip.String(), "80"); !ip.IsLoopback() && slices.Contains(got, url) != want {
				t.Errorf("%s: %s in %q: want %v", addr, url, got, want)
			}
		}
		if http, https := l.WireURL(false), l.WireURL(true); http != "http://:80" || https != "https://:80" {
			t.Error(addr, http, https)
		}
	}
}

func listenersAt(t *testing.T, addrs ...string) (l Listeners) {
	t.Helper()
	for _, a := range addrs {
		addr, err := net.ResolveTCPAddr("tcp", a)
		if err != nil {
			t.Fatal(err)
		}
		l = append(l, at{addr: addr})
	}
	return l
}

// at is a listener at an address.
type at struct {
	net.Listener
	addr net.Addr
}

func (l at) Addr() net.Addr { return l.addr }

func TestNamedURLs(t *testing.T) {
	all := listenersAt(t, "127.0.0.1:1", "0.0.0.0:2")
	for _, tt := range []struct {
		l    Listeners
		name string
		want string
	}{
		{all, "office.lan", "https://office.lan:2"},
		{all, "", ""},
		{all[:1], "office.lan", ""},
	} {
		if got := strings.Join(tt.l.NamedURLs(tt.name, true), " "); got != tt.want {
			t.Errorf("%s %q: %s, want %s", tt.l, tt.name, got, tt.want)
		}
	}
}
