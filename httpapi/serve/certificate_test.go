package serve

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pipit/httpapi/serve/servetest"
)

func TestCertificateIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if _, err := OpenCertificate(certFile, keyFile, quiet); err == nil {
		t.Fatal("opened without files")
	}
	first := servetest.Certificate(t, certFile, keyFile, 1)
	c, err := OpenCertificate(certFile, keyFile, quiet)
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

	second := servetest.Certificate(t, certFile, keyFile, 2)
	now = now.Add(certificateCheckInterval - 1)
	is("before the files are looked at", first)
	now = now.Add(1)
	is("after the files were replaced", second)

	servetest.Write(t, certFile, []byte("half a certificate"), 3)
	now = now.Add(certificateCheckInterval)
	is("with a bad file", second)
	if err := os.Remove(keyFile); err != nil {
		t.Fatal(err)
	}
	now = now.Add(certificateCheckInterval)
	is("without a file", second)

	third := servetest.Certificate(t, certFile, keyFile, 4)
	now = now.Add(certificateCheckInterval)
	is("after the repair", third)
	if ends := c.Ends(); !ends.Equal(time.Unix(1<<33, 0)) {
		t.Errorf("it ends at %s", ends)
	}
}
