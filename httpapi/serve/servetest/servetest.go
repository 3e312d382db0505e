// Package servetest has what tests of servers need: the client's end of a connection, and certificates. It is for the tests
// of package serve and for those of the whole process.
package servetest

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"testing"
	"time"
)

// Conn is a connection of a client that keeps it.
type Conn struct {
	net.Conn
	R *bufio.Reader
}

// NewConn is the client's end of a connection.
func NewConn(c net.Conn) Conn { return Conn{c, bufio.NewReader(c)} }

// Connect opens one to an address.
func Connect(t *testing.T, addr string) Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return NewConn(c)
}

// Send writes a text.
func (c Conn) Send(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// Answer reads a reply.
func (c Conn) Answer() (*http.Response, error) {
	resp, err := http.ReadResponse(c.R, nil)
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	return resp, err
}

// GetHealth is a request.
const GetHealth = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"

// Ask sends a request, which is to be answered.
func (c Conn) Ask(t *testing.T) {
	t.Helper()
	c.Send(t, GetHealth)
	if resp, err := c.Answer(); err != nil || resp.StatusCode != 200 {
		t.Fatal(resp, err)
	}
}

// Closed waits until the server closes the connection.
func (c Conn) Closed(t *testing.T) {
	t.Helper()
	if b, err := c.R.ReadByte(); err == nil || errors.Is(err, net.ErrClosed) {
		t.Errorf("%q, %v: want the end", b, err)
	}
}

// Certificate writes a new self-signed pair of files and returns the certificate.
func Certificate(t *testing.T, certFile, keyFile string, serial int64) []byte {
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
	Write(t, certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), serial)
	Write(t, keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), serial)
	return cert
}

// Write writes a file whose time of change is that many seconds after the epoch.
func Write(t *testing.T, file string, text []byte, changed int64) {
	t.Helper()
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(file, time.Time{}, time.Unix(changed, 0)); err != nil {
		t.Fatal(err)
	}
}
