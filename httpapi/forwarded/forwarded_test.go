package forwarded

import (
	"crypto/tls"
	"net/http"
	"testing"
)

func TestParse(t *testing.T) {
	p, err := Parse([]string{"10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "::1"})
	if err != nil || len(p) != 4 || p[1].String() != "192.0.2.1/32" || p[3].String() != "::1/128" {
		t.Error(p, err)
	}
	for _, s := range []string{"", "proxy.example.com", "10.0.0.0/33", "10.0.0", "10.0.0.1:80", "fe80::1%eth0", "::ffff:10.0.0.0/104"} {
		if p, err := Parse([]string{s}); err == nil {
			t.Errorf("%q: %v", s, p)
		}
	}
}

func TestRemote(t *testing.T) {
	proxies, err := Parse([]string{"10.0.0.0/8", "2001:db8:1::/48"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		remote string
		hops   []string
		want   string
	}{
		{"10.0.0.1:999", nil, "10.0.0.1"},
		{"10.0.0.1:999", []string{"192.0.2.7"}, "192.0.2.7"},
		{"10.0.0.1:999", []string{"192.0.2.7:4711"}, "192.0.2.7"},
		{"10.0.0.1:999", []string{"[2001:db8:9::1]:4711"}, "2001:db8:9::1"},
		{"10.0.0.1:999", []string{"[2001:db8:9::1]"}, "2001:db8:9::1"},
		{"[2001:db8:1::5]:999", []string{"2001:db8:9::1"}, "2001:db8:9::1"},
		{"[::ffff:10.0.0.1]:999", []string{"::ffff:192.0.2.7"}, "192.0.2.7"},
		// Whatever a client writes stands in front of what the proxies add.
		{"10.0.0.1:999", []string{"127.0.0.1, 192.0.2.7"}, "192.0.2.7"},
		{"10.0.0.1:999", []string{"127.0.0.1", "192.0.2.7, 10.0.0.2", "10.0.0.3"}, "192.0.2.7"},
		{"10.0.0.1:999", []string{"10.0.0.9, 10.0.0.2"}, "10.0.0.9"},
		{"10.0.0.1:999", []string{"192.0.2.7, unknown, 10.0.0.2"}, "10.0.0.2"},
		{"10.0.0.1:999", []string{"<script>"}, "10.0.0.1"},
		{"10.0.0.1:999", []string{"192.0.2.7,"}, "10.0.0.1"},
		// Of somebody else it counts for nothing.
		{"192.0.2.1:999", []string{"192.0.2.7"}, "192.0.2.1"},
		{"[2001:db8::1]:999", []string{"192.0.2.7"}, "2001:db8::1"},
		{"@", []string{"192.0.2.7"}, "@"},
		{"", []string{"192.0.2.7"}, ""},
	} {
		r := &http.Request{RemoteAddr: tt.remote, Header: http.Header{"X-Forwarded-For": tt.hops}}
		if got := Host(proxies.Remote(r)); got != tt.want {
			t.Errorf("%s for %q: %q, want %q", tt.remote, tt.hops, got, tt.want)
		}
		if got, want := Proxies(nil).Remote(r), tt.remote; got != want {
			t.Errorf("%s for %q without proxies: %q", tt.remote, tt.hops, got)
		}
	}
	r := &http.Request{RemoteAddr: "192.0.2.1:999"}
	if n := testing.AllocsPerRun(100, func() { Host(Proxies(nil).Remote(r)) }); n != 0 {
		t.Errorf("%v allocations without proxies", n)
	}
}

func TestSecure(t *testing.T) {
	proxies, err := Parse([]string{"10.0.0.0/8"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		remote string
		tls    bool
		proto  string
		want   bool
	}{
		{"10.0.0.1:999", false, "", false},
		{"10.0.0.1:999", false, "https", true},
		{"10.0.0.1:999", false, "HTTPS, http", true},
		{"10.0.0.1:999", false, "http", false},
		{"10.0.0.1:999", false, "wss", false},
		{"10.0.0.1:999", true, "", true},
		{"10.0.0.1:999", true, "http", false},
		{"192.0.2.1:999", false, "https", false},
		{"192.0.2.1:999", true, "http", true},
	} {
		r := &http.Request{RemoteAddr: tt.remote, Header: http.Header{"X-Forwarded-Proto": {tt.proto}}}
		if tt.tls {
			r.TLS = &tls.ConnectionState{}
		}
		if got := proxies.Secure(r); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}
