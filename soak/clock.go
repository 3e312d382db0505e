//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// clockVariable names the file whose number, in seconds, the program's wall clock is off by. The machine's stays as it is.
const clockVariable = "SOAK_CLOCK"

// The program that is built for a soak has a wall clock that jumps: package time adds Jump to it, and clockSource follows the file.
// Monotonic time, by which leases and timers go, is not touched, as by a clock that somebody sets.
const (
	nowBefore   = "sec, nsec, mono := runtimeNow()\n"
	nowAfter    = nowBefore + "\tsec += Jump.Load()\n"
	importsPart = "import (\n"
	importsNow  = importsPart + "\t\"sync/atomic\"\n"
	jumpSource  = "\n// Jump is what the wall clock is off by, in seconds.\nvar Jump atomic.Int64\n"
)

const clockSource = `package main

import (
	"os"
	"strconv"
	"strings"
	"time"
)

func init() {
	file := os.Getenv("` + clockVariable + `")
	if file == "" {
		return
	}
	follow := func() {
		text, err := os.ReadFile(file)
		if err != nil {
			return
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil {
			time.Jump.Store(n)
		}
	}
	follow()
	go func() {
		for {
			time.Sleep(20 * time.Millisecond)
			follow()
		}
	}()
}
`

// build makes the program from the sources, with a clock that jumps.
func build(ctx context.Context, module, dir string) (string, error) {
	overlay, err := clockOverlay(ctx, module, dir)
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "pipit")
	cmd := exec.CommandContext(ctx, "go", "build", "-overlay", overlay, "-o", file, module) // #nosec G204 -- builds the program that is looked at
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("the program does not build: %w\n%s", err, bytes.TrimSpace(out))
	}
	return file, nil
}

// clockOverlay writes the argument of go build -overlay.
func clockOverlay(ctx context.Context, module, dir string) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", module, "time").Output() // #nosec G204 -- where the sources are
	if err != nil {
		return "", fmt.Errorf("the sources are not found: %w", err)
	}
	dirs := strings.Fields(string(out))
	if len(dirs) != 2 {
		return "", fmt.Errorf("the sources are in %q: two folders are expected", dirs)
	}
	original := filepath.Join(dirs[1], "time.go")
	text, err := os.ReadFile(original) // #nosec G304 -- of the toolchain
	if err != nil {
		return "", err
	}
	changed := strings.Replace(string(text), importsPart, importsNow, 1)
	changed = strings.Replace(changed, nowBefore, nowAfter, 1) + jumpSource
	if strings.Count(string(text), nowBefore) == 0 || !strings.Contains(string(text), importsPart) {
		return "", errors.New("package time reads the clock otherwise in this version of Go: nowBefore has to be what it does")
	}
	replace := map[string]string{}
	for name, source := range map[string]string{filepath.Join(dirs[0], "soak_clock.go"): clockSource, original: changed} {
		file := filepath.Join(dir, filepath.Base(name)+".txt")
		if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
			return "", err
		}
		replace[name] = file
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "overlay.json")
	return file, os.WriteFile(file, overlay, 0o600)
}
