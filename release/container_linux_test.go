package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The image has what the Containerfile says: a user without rights runs the program, sees nothing else, and writes to /data alone; the
// health check tells whether it is well.
func TestContainer(t *testing.T) {
	if !*install {
		t.Skip("it needs root: -install")
	}
	dir := t.TempDir()
	context := filepath.Join(dir, "context")
	command(t, "cp", "-r", filepath.Join("..", "deploy", "container"), context)
	r := release{source: checkout(t, "HEAD")}
	if err := r.build(t.Context(), "linux", architecture(t), filepath.Join(context, "pipit")); err != nil {
		t.Fatal(err)
	}
	buildah := func(args ...string) string {
		t.Helper()
		at := []string{"--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"), "--storage-driver", "vfs"}
		return strings.TrimSpace(command(t, "buildah", append(at, args...)...))
	}
	buildah("build", "--quiet", "--isolation", "chroot", "--format", "docker", "--tag", "pipit", context)
	name := buildah("from", "--pull-never", "pipit")
	var image struct {
		Docker struct {
			Config struct {
				User, StopSignal string
				Env              []string
				Entrypoint       []string
				Volumes          map[string]any
				Healthcheck      struct{ Test []string }
			} `json:"config"`
		}
	}
	if err := json.Unmarshal([]byte(buildah("inspect", name)), &image); err != nil {
		t.Fatal(err)
	}
	c := image.Docker.Config
	if _, ok := c.Volumes["/data"]; !ok || c.User != "65532:65532" || strings.Join(c.Entrypoint, " ") != "/pipit" || strings.Join(c.Healthcheck.Test, " ") != "CMD /pipit health" {
		t.Errorf("%+v", c)
	}
	root := buildah("mount", name)
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries { // and what a runtime mounts
		if !strings.Contains(" pipit data dev etc proc run sys ", " "+e.Name()+" ") {
			t.Errorf("the image has %s", e.Name())
		}
	}
	if info, err := os.Stat(filepath.Join(root, "data")); err != nil || info.Sys().(*syscall.Stat_t).Uid != 65532 {
		t.Error("/data is not the user's", err)
	}

	// As a runtime does it, with the root read-only.
	const script = `set -e
mount --bind "$0" "$0"
mount --bind "$0/data" "$0/data"
mount -o remount,ro,bind "$0"
exec setpriv --bounding-set=-all,+sys_chroot,+setuid,+setgid --inh-caps=-all --no-new-privs chroot --userspec=65532:65532 "$0" "$@"`
	inside := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), "unshare", append([]string{"--mount", "--propagation", "private", "sh", "-c", script, root}, args...)...)
		for _, variable := range c.Env {
			if strings.HasPrefix(variable, "PIPIT_") && !strings.HasPrefix(variable, "PIPIT_HTTP_LISTEN=") {
				cmd.Env = append(cmd.Env, variable)
			}
		}
		cmd.Env = append(cmd.Env, "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "PIPIT_HTTP_LISTEN=127.0.0.1:0")
		return cmd
	}
	s := run(t, inside("/pipit"))
	if out, err := inside("/pipit", "health", "--url", "http://"+s.addr).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-s.ended
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, s.log)
	}
	if info, err := os.Stat(filepath.Join(root, "data", "pipit.db")); err != nil || info.Mode().Perm() != 0o600 {
		t.Error("the database:", info, err)
	}
	down := inside("/pipit", "health", "--url", "http://"+s.addr)
	if _ = down.Run(); down.ProcessState.ExitCode() != 1 {
		t.Errorf("stopped: exit code %d", down.ProcessState.ExitCode())
	}
}
