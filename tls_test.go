package main

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// writeCertificate writes a new self-signed pair of files and returns the certificate.
func writeCertificate(t *testing.T, certFile, keyFile string, serial int64) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject:      pkix.Name{CommonName: "pipit test"},
		NotBefore:    time.Unix(0, 0),
		NotAfter:     time.Unix(1<<33, 0),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		DNSNames:     []string{"pipit.example.com"},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), serial)
	write(t, keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), serial)
	return cert
}

// write writes a file whose time of change is that many seconds after the epoch.
func write(t *testing.T, file string, text []byte, changed int64) {
	t.Helper()
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(file, time.Time{}, time.Unix(changed, 0)); err != nil {
		t.Fatal(err)
	}
}

func TestCertificateIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if _, err := openCertificate(certFile, keyFile, quiet); err == nil {
		t.Fatal("opened without files")
	}
	first := writeCertificate(t, certFile, keyFile, 1)
	c, err := openCertificate(certFile, keyFile, quiet)
	if err != nil {
		t.Fatal(err)
	}
	now := c.checked
	is := func(what string, cert []byte) {
		t.Helper()
		if got := c.current(now).Certificate[0]; !bytes.Equal(got, cert) {
			t.Errorf("%s: another certificate", what)
		}
	}
	is("at the start", first)

	second := writeCertificate(t, certFile, keyFile, 2)
	now = now.Add(certificateCheckInterval - 1)
	is("before the files are looked at", first)
	now = now.Add(1)
	is("after the files were replaced", second)

	write(t, certFile, []byte("half a certificate"), 3)
	now = now.Add(certificateCheckInterval)
	is("with a bad file", second)
	if err := os.Remove(keyFile); err != nil {
		t.Fatal(err)
	}
	now = now.Add(certificateCheckInterval)
	is("without a file", second)

	third := writeCertificate(t, certFile, keyFile, 4)
	now = now.Add(certificateCheckInterval)
	is("after the repair", third)
}

func TestServesTLS(t *testing.T) {
	dir := t.TempDir()
	cert := writeCertificate(t, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), 1)
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
	writeCertificate(t, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), 1)
	p := start(t, dir, []string{"PIPIT_HTTP_LISTEN=127.0.0.1:0", "PIPIT_HTTP_TLS_CERT=cert.pem", "PIPIT_HTTP_TLS_KEY=key.pem"})
	open := func(version uint16) keptConn {
		t.Helper()
		raw, err := net.Dial("tcp", p.addrs[0])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { raw.Close() })
		c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, MaxVersion: version})
		return keptConn{c, bufio.NewReader(c)}
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
					c.ask(t)
				}
				c.send(t, bad)
				if resp, err := c.answer(); err != nil || resp.StatusCode < 400 {
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
				c.ask(t)
				c.send(t, begun)
				if err := leave(c.Conn.(*tls.Conn)); err != nil {
					t.Fatal(err)
				}
				_, _ = c.r.WriteTo(io.Discard) // until the server has closed it, unless Close has
			}
		}
		c := open(version)
		c.ask(t)
		c.send(t, "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
		if resp, err := c.answer(); err != nil || resp.StatusCode != 404 {
			t.Fatal(resp, err)
		}
	}
	if _, log := p.stop(t, syscall.SIGTERM); strings.Count(log, "over TLS") != answers {
		t.Errorf("%d lines about %d answers:\n%s", strings.Count(log, "over TLS"), answers, log)
	}
}
