package admin

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestAcceptance runs the tests of the pages and of the API, which are a module of their own.
func TestAcceptance(t *testing.T) {
	args := []string{"test", fmt.Sprintf("-short=%v", testing.Short()), fmt.Sprintf("-v=%v", testing.Verbose())}
	limit := time.Duration(0)
	if deadline, ok := t.Deadline(); ok {
		limit = time.Until(deadline) - 10*time.Second // in which it tells where it hangs
	}
	args = append(args, "-timeout", limit.String(), "./...")
	// go test tells by the folders that were looked at here and by the variables whether what it knows of this test still holds.
	if err := filepath.WalkDir("acceptance", func(_ string, _ fs.DirEntry, err error) error { return err }); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Env = append(cmd.Environ(), "CI="+os.Getenv("CI"))
	cmd.Dir, cmd.Stdout, cmd.Stderr = "acceptance", t.Output(), t.Output()
	if err := cmd.Run(); err != nil {
		t.Errorf("%s: %v", cmd, err)
	}
}
