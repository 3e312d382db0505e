package cluster

import (
	"path/filepath"
	"testing"
)

// TestSecretNotedMeanwhile: a secret that is noted while the log has just been wiped of the one before is noted over a restart, too.
func TestSecretNotedMeanwhile(t *testing.T) {
	s := &secrets{path: filepath.Join(t.TempDir(), "wipe")}
	noted := func() (k secretsKept) {
		_ = readJSON(s.path, &k) // it may not be there
		return k
	}
	if err := s.note(1); err != nil {
		t.Fatal(err)
	}
	for through := uint64(1); through < 50; through++ {
		done := make(chan error, 1)
		go func() {
			for noted().Through == through {
				continue
			}
			done <- s.done(through)
		}()
		if err := s.note(through + 1); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if in, on := s.left(), noted().Through; in != through+1 || on != through+1 {
			t.Fatalf("in memory up to %d, on the disk up to %d: want %d", in, on, through+1)
		}
	}
}
