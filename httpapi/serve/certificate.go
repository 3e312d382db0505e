package serve

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Certificate is a certificate and key in two files, read again when one of them changes.
// A pair that cannot be used leaves the one before in place. Its methods may be called from any goroutine.
type Certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu      sync.Mutex       // guards what follows
	pair    *tls.Certificate // never nil
	stamp   stamp            // of the files when pair was read, or refused
	checked time.Time        // when the files were looked at last
}

// stamp tells one state of the two files from another.
type stamp struct{ cert, key fileStamp }

type fileStamp struct {
	changed time.Time
	size    int64
}

// certificateCheckInterval is how often handshakes look at the files, at most.
const certificateCheckInterval = time.Second

// OpenCertificate reads a certificate and its key, both as PEM. log says later what becomes of their files.
func OpenCertificate(certFile, keyFile string, log *slog.Logger) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile, log: log, checked: time.Now()}
	var err error
	if c.stamp, err = c.currentStamp(); err != nil {
		return nil, fmt.Errorf("tls_cert and tls_key: %w", err)
	}
	if err = c.read(); err != nil {
		return nil, fmt.Errorf("tls_cert %s and tls_key %s: %w", certFile, keyFile, err)
	}
	return c, nil
}

// suites are those of TLS 1.2 that authenticate what they encrypt as one (AEAD), all with forward secrecy. TLS 1.3 has
// no others.
var suites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// config is that of a server which uses the certificate.
func (c *Certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		CipherSuites:   suites,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current(time.Now()), nil },
	}
}

// current returns the certificate, read again if the files have changed.
func (c *Certificate) current(now time.Time) *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.checked) < certificateCheckInterval {
		return c.pair
	}
	c.checked = now
	s, err := c.currentStamp()
	if err == nil && s == c.stamp {
		return c.pair
	}
	if err == nil {
		c.stamp = s
		err = c.read()
	}
	if err != nil {
		c.log.Error("the new certificate cannot be used, the old one stays", "cert", c.certFile, "key", c.keyFile, "error", err)
	} else {
		c.log.Info("certificate read again", "cert", c.certFile)
	}
	return c.pair
}

// Names tells whether the certificate is one for a host name.
func (c *Certificate) Names(host string) bool {
	return c.current(time.Now()).Leaf.VerifyHostname(host) == nil
}

// Ends tells when the certificate is not valid any more.
func (c *Certificate) Ends() time.Time { return c.current(time.Now()).Leaf.NotAfter }

// read replaces the pair. The caller holds mu, but for the first time.
func (c *Certificate) read() error {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err == nil {
		c.pair = &pair
	}
	return err
}

func (c *Certificate) currentStamp() (stamp, error) {
	cert, err := stampOf(c.certFile)
	if err != nil {
		return stamp{}, err
	}
	key, err := stampOf(c.keyFile)
	return stamp{cert, key}, err
}

func stampOf(file string) (fileStamp, error) {
	info, err := os.Stat(file)
	if err != nil {
		return fileStamp{}, err
	}
	return fileStamp{info.ModTime(), info.Size()}, nil
}
