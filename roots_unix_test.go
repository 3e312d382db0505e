//go:build unix && !darwin

package main

import (
	"crypto/x509"
	"os"
	"os/exec"
	"testing"
)

// A machine without authorities of its own, such as an image that has no files, has those of the program.
func TestRootsWithoutFiles(t *testing.T) {
	const child = "ROOTS_OF_A_PROCESS_WITHOUT_FILES"
	if os.Getenv(child) == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestRootsWithoutFiles$")
		none := t.TempDir()
		cmd.Env = append(os.Environ(), child+"=1", "SSL_CERT_FILE="+none+"/none", "SSL_CERT_DIR="+none)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	if pool, err := x509.SystemCertPool(); err != nil || pool.Equal(x509.NewCertPool()) {
		t.Error("there are none", err)
	}
}
