package port_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pipit/cluster/port"
)

var silent = slog.New(slog.NewTextHandler(io.Discard, nil))

func open(t *testing.T, o port.Options) *port.Port {
	t.Helper()
	o.Listen, o.Logger = "127.0.0.1:0", silent
	p, err := port.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// echo answers each connection of a kind with a word.
func echo(p *port.Port, k port.Kind, word string) {
	go func() {
		for {
			c, err := p.Listener(k).Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, word)
			_ = c.Close()
		}
	}()
}

func hear(t *testing.T, from, to *port.Port, k port.Kind) string {
	t.Helper()
	c, err := from.Dial(t.Context(), k, to.Addr().String())
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	said, err := io.ReadAll(c)
	if err != nil {
		return err.Error()
	}
	return string(said)
}

func TestKinds(t *testing.T) {
	p := open(t, port.Options{})
	echo(p, port.Engine, "engine")
	echo(p, port.Request, "request")
	for k, want := range map[port.Kind]string{port.Engine: "engine", port.Request: "request", 'x': ""} {
		if got := hear(t, p, p, k); got != want && (want != "" || !strings.Contains(got, "reset")) {
			t.Errorf("%c: %q: want %q", k, got, want)
		}
	}
}

// Who speaks another protocol is sent away, and holds up nobody.
func TestStrangers(t *testing.T) {
	p := open(t, port.Options{})
	echo(p, port.Engine, "engine")
	for _, said := range []string{"", "GET / HTTP/1.1\r\n\r\n", "pipit/2e", strings.Repeat("x", 1<<16)} {
		c, err := net.Dial("tcp", p.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = io.WriteString(c, said)
		if got := hear(t, p, p, port.Engine); got != "engine" {
			t.Errorf("beside %.10q: %q", said, got)
		}
	}
}

func TestBeyondLoopback(t *testing.T) {
	if p, err := port.Open(port.Options{Listen: "0.0.0.0:0", Logger: silent}); err == nil || !strings.Contains(err.Error(), "tls_cert") {
		t.Errorf("without certificates: %v", err)
		_ = p.Close()
	}
}

// Both sides show a certificate of the cluster's authority.
func TestMutualTLS(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	a, b := open(t, port.Options{TLS: ours.node(t)}), open(t, port.Options{TLS: ours.node(t)})
	stranger, bare := open(t, port.Options{TLS: theirs.node(t)}), open(t, port.Options{})
	echo(a, port.Engine, "engine")
	if got := hear(t, b, a, port.Engine); got != "engine" {
		t.Errorf("of a node: %q", got)
	}
	for name, p := range map[string]*port.Port{"another authority": stranger, "none": bare} {
		if got := hear(t, p, a, port.Engine); strings.Contains(got, "engine") {
			t.Errorf("of one with %s: %q", name, got)
		}
	}
	half := ours.node(t)
	half.Certificates = nil
	d := tls.Dialer{Config: half}
	c, err := d.DialContext(context.Background(), "tcp", a.Addr().String())
	if err == nil {
		defer c.Close()
		_, _ = io.WriteString(c, "pipit/1e")
		if got, _ := io.ReadAll(c); len(got) > 0 {
			t.Errorf("of one without a certificate: %q", got)
		}
	}
}

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{cert, key}
}

// node returns what a node has of the authority, by way of files.
func (a authority) node(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	config, err := port.Certificates(write("cert", "CERTIFICATE", cert), write("key", "PRIVATE KEY", der), write("ca", "CERTIFICATE", a.cert.Raw))
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// Whatever a stranger says first, nobody gets its connection but for the preface of a node; what comes behind that gets there whole.
func FuzzStranger(f *testing.F) {
	p, err := port.Open(port.Options{Listen: "127.0.0.1:0", Logger: silent})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = p.Close() })
	came := make(chan string)
	for _, k := range []port.Kind{port.Engine, port.Request} {
		go func() {
			for {
				c, err := p.Listener(k).Accept()
				if err != nil {
					return
				}
				behind, _ := io.ReadAll(c)
				_ = c.Close()
				came <- string(rune(k)) + string(behind)
			}
		}()
	}
	for _, said := range []string{"", "pipit/1", "pipit/1e", "pipit/1rGET / HTTP/1.1\r\n\r\n", "pipit/1x", "pipit/2e", "GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x02\x00\x01"} {
		f.Add(said)
	}
	f.Fuzz(func(t *testing.T, said string) {
		c, err := net.Dial("tcp", p.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, said); err == nil {
			_ = c.(*net.TCPConn).CloseWrite()
		}
		if rest, ok := strings.CutPrefix(said, "pipit/1"); ok && rest != "" && strings.Contains("er", rest[:1]) {
			if got := <-came; got != rest {
				t.Errorf("%q came of %q", got, said)
			}
			return
		}
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if answer, err := io.ReadAll(c); len(answer) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%q was answered with %q: %v", said, answer, err)
		}
		select {
		case got := <-came:
			t.Errorf("%q came of %q", got, said)
		default:
		}
	})
}
