package acceptance

import (
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

var withClients = flag.Bool("clients", false, "have generators make clients of the OpenAPI document and linters look at it: takes npm, and loads modules and packages")

// TestGeneratedClients has generators make clients of the document that a server answers, compiles
// them, and has each create a topic, publish, list and delete.
func TestGeneratedClients(t *testing.T) {
	if !*withClients {
		t.Skip("without -clients")
	}
	r := newAPIRig(t)
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/clients")); err != nil {
		t.Fatal(err)
	}
	document := r.ok(200, "GET", "/openapi.json", nil).body
	if err := os.WriteFile(filepath.Join(dir, "openapi.json"), document, 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(t *testing.T, sub string, command ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		c := exec.CommandContext(ctx, command[0], command[1:]...)
		c.Dir = filepath.Join(dir, sub)
		c.Env = append(os.Environ(), "PIPIT_TOKEN="+r.adminToken, "REDOCLY_TELEMETRY=off", "REDOCLY_SUPPRESS_UPDATE_NOTICE=true")
		c.WaitDelay = time.Second
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", command, err, out)
		}
	}
	t.Run("oapi-codegen", func(t *testing.T) {
		if err := os.Mkdir(filepath.Join(dir, "oapi/api"), 0o700); err != nil {
			t.Fatal(err)
		}
		run(t, "", "go", "tool", "oapi-codegen", "-generate", "types,client", "-package", "api", "-o", "oapi/api/api.go", "openapi.json")
		run(t, "", "go", "run", "./oapi", r.url)
	})
	t.Run("ogen", func(t *testing.T) {
		run(t, "", "go", "tool", "ogen", "--target", "ogen/api", "--package", "api", "openapi.json")
		run(t, "", "go", "run", "./ogen", r.url)
	})
	run(t, "npm", "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	t.Run("openapi-typescript", func(t *testing.T) {
		run(t, "npm", "npx", "openapi-typescript", "../openapi.json", "-o", "api.d.ts")
		run(t, "npm", "npx", "tsc")
		run(t, "npm", "node", "out/main.js", r.url)
	})
	t.Run("redocly", func(t *testing.T) {
		run(t, "npm", "npx", "redocly", "lint", "--extends=recommended-strict", "../openapi.json")
	})
	t.Run("spectral", func(t *testing.T) {
		run(t, "npm", "npx", "spectral", "lint", "--fail-severity=hint", "../openapi.json")
	})
}
