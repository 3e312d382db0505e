package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	profileVariable = "BENCH_PROFILE_ADDR"
	mallocsHeader   = "X-Mallocs" // allocations between start and stop
)

// profileSource is compiled into the server for -profile: the server that is shipped listens
// for no such thing.
const profileSource = `package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"runtime/pprof"
)

func init() {
	addr := os.Getenv("` + profileVariable + `")
	if addr == "" {
		return
	}
	var profile bytes.Buffer
	var before, after runtime.MemStats
	mux := http.NewServeMux()
	mux.HandleFunc("/start", func(w http.ResponseWriter, _ *http.Request) {
		profile.Reset()
		runtime.ReadMemStats(&before)
		if err := pprof.StartCPUProfile(&profile); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("/stop", func(w http.ResponseWriter, _ *http.Request) {
		runtime.ReadMemStats(&after)
		pprof.StopCPUProfile()
		w.Header().Set("` + mallocsHeader + `", fmt.Sprint(after.Mallocs-before.Mallocs))
		_, _ = w.Write(profile.Bytes())
	})
	go func() {
		fmt.Fprintln(os.Stderr, http.ListenAndServe(addr, mux))
	}()
}
`

// profileOverlay returns an argument of go build -overlay that adds profileSource to the server.
func profileOverlay(ctx context.Context, dir string) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", program()).Output() // #nosec G204 -- where the program that is measured is
	if err != nil {
		return "", fmt.Errorf("the server's sources are not found: %w", err)
	}
	source := filepath.Join(dir, "profile.go.txt")
	if err := os.WriteFile(source, []byte(profileSource), 0o600); err != nil {
		return "", err
	}
	overlay, err := json.Marshal(map[string]map[string]string{
		"Replace": {filepath.Join(strings.TrimSpace(string(out)), "bench_profile.go"): source},
	})
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "overlay.json")
	return file, os.WriteFile(file, overlay, 0o600)
}

// measure calls f, and with -profile takes a CPU profile of the server meanwhile. allocations is
// what the server allocated, or negative without -profile. The profile of the last round stays.
func (b *bench) measure(ctx context.Context, s *server, f func() error) (allocations float64, err error) {
	if s.profile == "" {
		return -1, f()
	}
	if _, _, err := s.askProfile(ctx, "start"); err != nil {
		return -1, err
	}
	if err := f(); err != nil {
		return -1, err
	}
	profile, allocations, err := s.askProfile(ctx, "stop")
	if err != nil {
		return -1, err
	}
	return allocations, os.WriteFile(b.profileFile(), profile, 0o600)
}

func (b *bench) profileFile() string {
	return filepath.Join(b.profile, b.scenario+".prof")
}

func (s *server) askProfile(ctx context.Context, what string) (body []byte, allocations float64, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.profile+"/"+what, nil)
	if err != nil {
		return nil, 0, err
	}
	rsp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer rsp.Body.Close()
	if body, err = io.ReadAll(rsp.Body); err != nil {
		return nil, 0, err
	}
	if rsp.StatusCode != http.StatusOK {
		return nil, 0, errors.New(strings.TrimSpace(string(body)))
	}
	allocations, _ = strconv.ParseFloat(rsp.Header.Get(mallocsHeader), 64) // start has none
	return body, allocations, nil
}

// noteProfile says where the scenario's profile is, and what leads it.
func (b *bench) noteProfile(ctx context.Context) {
	if b.profile == "" {
		return
	}
	out, err := exec.CommandContext(ctx, "go", "tool", "pprof", "-top", "-nodecount=15", b.profileFile()).Output() // #nosec G204 -- a profile that this program wrote
	if err != nil {
		b.report.note("%s: profile %s: %v", b.scenario, b.profileFile(), err)
		return
	}
	b.report.note("%s: profile %s\n%s", b.scenario, b.profileFile(), strings.TrimSpace(string(out)))
}
