//go:build !windows

package db

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"pipit/broker/store"
)

var compactKills = flag.Int("compact-kills", 6, "how often TestKilledWhileCompacting kills")

// A process that is killed while it compacts and commits leaves one file or the other whole: whatever it said was
// stored is there, and nothing is left of the file that did not take the place.
func TestKilledWhileCompacting(t *testing.T) {
	const child = "PIPIT_TEST_COMPACT"
	if path := os.Getenv(child); path != "" {
		compactForEver(t, path)
		return
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	path := filepath.Join(t.TempDir(), "killed.db")
	var stored, compacted int
	for range *compactKills {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledWhileCompacting$")
		cmd.Env = append(os.Environ(), child+"="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		kill := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
		begun := false
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if !begun { // however long its start took
				begun = true
				kill.Reset(time.Duration(rnd.IntN(700)+50) * time.Millisecond)
			}
			if n, err := strconv.Atoi(lines.Text()); err == nil {
				stored = n
			} else if lines.Text() == "compacted" {
				compacted++
			}
		}
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait() // killed
		kill.Stop()
		if err := Verify(path, Options{Logger: silent}, nil); err != nil && stored > 0 {
			t.Fatalf("after %d documents: %v", stored, err)
		}
		s := openChecked(t, path)
		n := 0
		err = s.View(func(r store.Reader) error {
			return r.Documents("k", "", false, func(d store.Document) bool {
				n++
				return d.Key == fmt.Sprintf("%08d", n)
			})
		})
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err != nil || n < stored {
			t.Fatalf("%d documents of at least %d: %v", n, stored, err)
		}
		if left, _ := filepath.Glob(path + unfinished); len(left) > 0 {
			t.Errorf("%q are left", left)
		}
	}
	if stored == 0 || compacted == 0 {
		t.Errorf("the test tests nothing: %d documents, compacted %d times", stored, compacted)
	}
}

// compactForEver says each document that it has stored, and each time that it has compacted the file.
func compactForEver(t *testing.T, path string) {
	s := openChecked(t, path)
	go func() {
		for {
			if err := s.Compact(context.Background()); err == nil {
				fmt.Println("compacted")
			}
		}
	}()
	n := 0
	if err := s.View(func(r store.Reader) error {
		return r.Documents("k", "", false, func(store.Document) bool { n++; return true })
	}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		n++
		b := &store.Batch{Now: t0, Put: []store.Document{{Kind: "k", Key: fmt.Sprintf("%08d", n), Value: make([]byte, 3000)}}}
		if err := s.Commit(b); err != nil {
			t.Fatal(err)
		}
		fmt.Println(n)
	}
}
