package main

import (
	"io"
	"net"
	"testing"

	"pipit/httpapi/serve/servetest"
)

// One address that holds all connections, and tries more, does not lock out another one. (Linux has all of 127.0.0.0/8.)
func TestShareOfAddress(t *testing.T) {
	p := start(t, t.TempDir(), append([]string{"PIPIT_HTTP_MAX_CONNECTIONS=4"}, anyPort...), "-config", example(t))
	for i := range 20 {
		c := servetest.Connect(t, p.addrs[0])
		c.Send(t, []string{
			"GET /health HTTP/1.1\r\nHost:",
			"POST /zato/pubsub/topic//customer/created/ HTTP/1.1\r\nHost: x\r\nAuthorization: Basic Y3JtOmNybQ==\r\nContent-Length: 5\r\n\r\nx",
			"POST /zato/pubsub/msg//customer/created/?wait=60 HTTP/1.1\r\nHost: x\r\nAuthorization: Basic ZXJwOmVycA==\r\n" +
				"X-Zato-PubSub-Key: " + exampleSubKey + "\r\nContent-Length: 0\r\n\r\n",
		}[i%3])
	}
	p.line(t, "max_connections is reached")
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	for range 3 {
		c, err := dialer.Dial("tcp", p.addrs[0])
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(c); err != nil || len(b) < 12 || string(b[9:12]) != "200" {
			t.Fatalf("%q, %v", b, err)
		}
	}
}
