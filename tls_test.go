package main

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"pipit/httpapi/serve/servetest"
)

func TestServesTLS(t *testing.T) {
	dir := t.TempDir()
	cert := servetest.Certificate(t, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), 1)
	p := start(t, dir, []string{"PIPIT_HTTP_LISTEN=127.0.0.1:0", "PIPIT_HTTP_TLS_CERT=cert.pem", "PIPIT_HTTP_TLS_KEY=key.pem"})
	c, err := tls.Dial("tcp", p.addrs[0], &tls.Config{InsecureSkipVerify: true}) // the certificate is compared below
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(c.ConnectionState().PeerCertificates[0].Raw, cert) {
		t.Error("another certificate")
	}
	c.Close()
	for _, client := range []struct {
		name    string
		config  *tls.Config
		refused bool
	}{
		{"TLS 1.3", &tls.Config{MinVersion: tls.VersionTLS13}, false},
		{"TLS 1.2, AES-GCM", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}}, false},
		{"TLS 1.2, ChaCha20", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256}}, false},
		{"TLS 1.2, CBC", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256}}, true},
		{"TLS 1.1", &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, true},
	} {
		client.config.InsecureSkipVerify = true
		c, err := tls.Dial("tcp", p.addrs[0], client.config)
		if err == nil {
			c.Close()
		}
		if (err != nil) != client.refused {
			t.Errorf("%s: %v", client.name, err)
		}
	}
	if code, log := p.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d\n%s", code, log)
	}
}

// TestRefusedOverTLS: what net/http answers by itself is logged where the bytes are sealed, too, once for each answer,
// and nothing else is.
func TestRefusedOverTLS(t *testing.T) {
	dir := t.TempDir()
	servetest.Certificate(t, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), 1)
	p := start(t, dir, []string{"PIPIT_HTTP_LISTEN=127.0.0.1:0", "PIPIT_HTTP_TLS_CERT=cert.pem", "PIPIT_HTTP_TLS_KEY=key.pem"})
	open := func(version uint16) servetest.Conn {
		t.Helper()
		raw, err := net.Dial("tcp", p.addrs[0])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { raw.Close() })
		c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, MaxVersion: version})
		return servetest.NewConn(c)
	}
	answers := 0
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, bad := range []string{
			"GET /zato/%zz HTTP/1.1\r\nHost: x\r\n\r\n",
			"what is this\r\n\r\n",
			"GET /health HTTP/1.1\r\n\r\n",
			"GET /health HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 30_000) + "\r\n\r\n",
			"POST /health HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
			"GET /health HTTP/1.1\r\nHost: x\r\nExpect: the unexpected\r\n\r\n",
		} {
			for _, before := range []bool{false, true} { // as the first one of its connection, and behind another one
				c := open(version)
				if before {
					c.Ask(t)
				}
				c.Send(t, bad)
				if resp, err := c.Answer(); err != nil || resp.StatusCode < 400 {
					t.Fatalf("%.40q: %v, %v", bad, resp, err)
				}
				p.line(t, `"level":"WARN","msg":"refused","remote":"`+c.LocalAddr().String()+`","reason":"not a request that can be read, over TLS"`)
				answers++
			}
		}
		const part = "GET /health HTTP/1.1\r\nHo"
		for _, leave := range []func(*tls.Conn) error{
			func(c *tls.Conn) error { return c.NetConn().(*net.TCPConn).CloseWrite() },
			(*tls.Conn).CloseWrite,
			(*tls.Conn).Close,
		} {
			for _, begun := range []string{"", part} {
				c := open(version)
				c.Ask(t)
				c.Send(t, begun)
				if err := leave(c.Conn.(*tls.Conn)); err != nil {
					t.Fatal(err)
				}
				_, _ = c.R.WriteTo(io.Discard) // until the server has closed it, unless Close has
			}
		}
		c := open(version)
		c.Ask(t)
		c.Send(t, "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
		if resp, err := c.Answer(); err != nil || resp.StatusCode != 404 {
			t.Fatal(resp, err)
		}
	}
	if _, log := p.stop(t, syscall.SIGTERM); strings.Count(log, "over TLS") != answers {
		t.Errorf("%d lines about %d answers:\n%s", strings.Count(log, "over TLS"), answers, log)
	}
}
