//go:build linux

package main

import (
	"bytes"
	"context"
	"flag"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var soakFor = flag.Duration("soak", 12*time.Second, "how long TestSoak runs")

// TestSoak is a short run, of a program whose clock does not jump: that would have all of the standard library built.
func TestSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes as long as -soak says")
	}
	dir := t.TempDir()
	binary := filepath.Join(dir, "pipit")
	if out, err := exec.Command("go", "build", "-o", binary, program()).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var out bytes.Buffer
	violations, err := run(context.Background(), options{lasts: *soakFor, round: max(*soakFor/2, 5*time.Second), seed: uint64(time.Now().UnixNano()), dir: dir, pipit: binary, rate: 60}, &out)
	if err != nil || violations > 0 {
		t.Errorf("%d violations, %v\n%s", violations, err, &out)
	}
	for _, what := range []string{"messages published", "acknowledged", "books settled"} {
		if strings.Contains(out.String(), what+strings.Repeat(" ", 41-len(what))+"0\n") || !strings.Contains(out.String(), "\n"+what+" ") {
			t.Errorf("nothing was done: %s\n%s", what, &out)
		}
	}
	t.Log(out.String())
}

// TestParse has flags that are wrong named, with what is allowed.
func TestParse(t *testing.T) {
	for args, says := range map[string]string{
		"-for 1ms": "-for 1ms: allowed are 1s to 720h", "-rate 0": "-rate 0: allowed are 1 to 10000", "-round 2h": "-round 2h0m0s: allowed are 1s to 1h",
		"what": `unknown argument "what"`,
	} {
		var stderr strings.Builder
		if _, err := parse(strings.Fields(args), &stderr); err == nil || err.Error() != says {
			t.Errorf("%s: %v", args, err)
		}
	}
}

// TestClockOverlay has the overlay find what it changes in the package time of this version of Go.
func TestClockOverlay(t *testing.T) {
	if _, err := clockOverlay(t.Context(), program(), t.TempDir()); err != nil {
		t.Fatal(err)
	}
}
