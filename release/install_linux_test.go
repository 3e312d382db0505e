package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

var install = flag.Bool("install", false, "install the package of this machine, upgrade and purge it: for root, in a container without systemd")

// A user that exists nowhere else, as DynamicUser= makes one.
const dynamicUser = 61184

const paths = "/etc/pipit /var/lib/pipit /var/lib/private/pipit /usr/bin/pipit"

// The package is installed, its service started as the unit says, used, upgraded from the release before, removed and purged, and no
// message is lost on the way.
func TestInstall(t *testing.T) {
	if !*install {
		t.Skip("it changes the machine: -install")
	}
	if os.Geteuid() != 0 {
		t.Fatal("-install is for root")
	}
	for _, path := range append(strings.Fields(paths), "/run/systemd/system") {
		if _, err := os.Lstat(path); err == nil {
			t.Fatalf("-install is for a container without systemd, where nothing of Pipit is: there is %s", path)
		}
	}
	before, now := packageOf(t, previous(t), "0.0.9", "deb"), packageOf(t, "HEAD", "0.1.0", "deb")

	command(t, "dpkg", "--install", before)
	t.Cleanup(func() { _ = exec.Command("dpkg", "--purge", "pipit").Run() })
	change(t, "/etc/pipit/pipit.toml", definitions)
	if err := os.WriteFile("/etc/pipit/pipit.env", []byte("PIPIT_HTTP_LISTEN=127.0.0.1:0\nPIPIT_CLIENT_0_PASSWORD=a-secret-of-the-test\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startUnit(t, readUnit(t))
	waiting := map[string]bool{}
	for i := range 20 {
		waiting[s.publish(t, fmt.Sprint("message ", i))] = true
	}
	for _, id := range s.receive(t)[:5] {
		s.ask(t, http.MethodDelete, "msg/"+id+"/?ack=true", "")
		delete(waiting, id)
	}

	command(t, "dpkg", "--install", now)
	if line := command(t, "/usr/bin/pipit", "--version"); !strings.HasPrefix(line, "pipit 0.1.0 ") {
		t.Error(line)
	}
	waiting[s.publish(t, "between the upgrade and the restart")] = true
	s.stop(t)
	unit := readUnit(t)
	s = startUnit(t, unit)
	got := map[string]bool{}
	for _, id := range s.receive(t) {
		got[id] = true
	}
	if !maps.Equal(got, waiting) {
		t.Errorf("%d messages came, %d were waiting", len(got), len(waiting))
	}
	s.stop(t)
	s.learned(t, unit)

	if text, err := os.ReadFile("/etc/pipit/pipit.toml"); err != nil || !strings.HasSuffix(string(text), definitions) {
		t.Error("the upgrade changed the configuration", err)
	}
	for file, size := range map[string]int64{"/usr/share/man/man1/pipit-topic-create.1.gz": 500, "/usr/share/zsh/vendor-completions/_pipit": 5000} {
		if info, err := os.Stat(file); err != nil || info.Size() < size {
			t.Error(file, err)
		}
	}
	command(t, "bash", "-n", "/usr/share/bash-completion/completions/pipit")

	command(t, "dpkg", "--remove", "pipit")
	for path, there := range map[string]bool{"/usr/bin/pipit": false, "/lib/systemd/system/pipit.service": false, "/etc/pipit/pipit.toml": true, "/var/lib/pipit/pipit.db": true} {
		if _, err := os.Stat(path); (err == nil) != there {
			t.Errorf("after the removal: %s is there: %v", path, err == nil)
		}
	}
	command(t, "dpkg", "--purge", "pipit")
	for _, path := range strings.Fields(paths) {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("after purging: there is %s", path)
		}
	}
}

const definitions = `
[[client]]
username = "till"

[[topic]]
name = "/orders"
expiration = 0

[[producer]]
client = "till"
topic = "/orders"

[[consumer]]
client = "till"
topic = "/orders"
sub_key = "5eCr3t-key-of-orders"
`

// previous is the commit or tag of the release before.
func previous(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("previous")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// packageOf is the package of a commit, of a format.
func packageOf(t *testing.T, commit, version, format string) string {
	t.Helper()
	r := release{source: checkout(t, commit), out: t.TempDir(), version: version, maintainer: unset, targets: []string{"linux/" + architecture(t)}}
	if err := r.make(t.Context()); err != nil {
		t.Fatal(err)
	}
	list, err := filepath.Glob(filepath.Join(r.out, "*."+format))
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	return list[0]
}

func architecture(t *testing.T) string {
	t.Helper()
	return strings.TrimSpace(command(t, "dpkg", "--print-architecture"))
}

func change(t *testing.T, file, more string) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(more)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// unit is what a service says, the last value of each key.
type unit map[string]string

func readUnit(t *testing.T) unit {
	t.Helper()
	text, err := os.ReadFile("/lib/systemd/system/pipit.service")
	if err != nil {
		t.Fatal(err)
	}
	u := unit{}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(key, "#") {
			u[key] = value
		}
	}
	for key, value := range map[string]string{"Type": "notify", "DynamicUser": "yes", "ProtectSystem": "strict", "StateDirectory": "pipit", "NoNewPrivileges": "yes",
		"CapabilityBoundingSet": "", "UMask": "0077"} {
		if u[key] != value {
			t.Fatalf("the unit has %s=%s, and is started as with %s", key, u[key], value)
		}
	}
	return u
}

// running is a service that was started as its unit says.
type running struct {
	cmd    *exec.Cmd
	notify *net.UnixConn // nil: it is told nothing
	addr   string
	log    *strings.Builder // complete when ended is closed
	ended  chan struct{}
	memory int64 // that the control group allows, 0 where none could be made
}

// startUnit does what systemd would: a user of its own without rights, a folder to write to and nothing else, as many files, as much memory.
func startUnit(t *testing.T, u unit) *running {
	t.Helper()
	state := "/var/lib/private/" + u["StateDirectory"]
	if err := os.MkdirAll("/var/lib/private", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod("/var/lib/private", 0o711); err != nil { // systemd has the service see it by a mount
		t.Fatal(err)
	}
	if err := os.MkdirAll(state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(state, dynamicUser, dynamicUser); err != nil {
		t.Fatal(err)
	}
	_ = os.Symlink("private/"+u["StateDirectory"], "/var/lib/"+u["StateDirectory"])
	socket := filepath.Join("/run", fmt.Sprintf("pipit-test-%d.sock", os.Getpid())) // which a user without rights reaches
	_ = os.Remove(socket)
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(socket, 0o666); err != nil { // #nosec G302 -- the service's user writes to it
		t.Fatal(err)
	}
	seconds, err := strconv.Atoi(u["WatchdogSec"])
	if err != nil {
		t.Fatal("WatchdogSec: ", err)
	}
	s := &running{notify: notify}
	group := s.controlGroup(t, u["MemoryMax"])
	script := `set -e
[ -z "$GROUP" ] || echo $$ > "$GROUP/cgroup.procs"
mount --bind "$STATE" "$STATE"
mount -o remount,ro,bind /
umask "$UMASK"
ulimit -n "$FILES"
unset GROUP STATE UMASK FILES
exec setpriv --reuid=61184 --regid=61184 --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs "$@"`
	s.cmd = exec.CommandContext(t.Context(), "unshare", append([]string{"--mount", "--propagation", "private", "sh", "-c", script, "sh"}, strings.Fields(u["ExecStart"])...)...)
	s.cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "NOTIFY_SOCKET=" + socket, fmt.Sprintf("WATCHDOG_USEC=%d000000", seconds),
		"GROUP=" + group, "STATE=" + state, "UMASK=" + u["UMask"], "FILES=" + u["LimitNOFILE"]}
	if text, err := os.ReadFile(strings.TrimPrefix(u["EnvironmentFile"], "-")); err == nil {
		s.cmd.Env = append(s.cmd.Env, strings.Fields(string(text))...)
	}
	t.Cleanup(func() { notify.Close(); _ = os.Remove(socket) })
	p := run(t, s.cmd)
	s.addr, s.log, s.ended = p.addr, p.log, p.ended
	s.hears(t, "READY=1")
	s.hears(t, "WATCHDOG=1")
	return s
}

// run starts the program, and returns when it listens.
func run(t *testing.T, cmd *exec.Cmd) *running {
	t.Helper()
	s := &running{cmd: cmd, log: &strings.Builder{}, ended: make(chan struct{})}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-s.ended; _ = cmd.Wait() })
	addr := make(chan string, 1)
	go func() {
		defer close(s.ended)
		defer close(addr)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			fmt.Fprintln(s.log, lines.Text())
			var entry struct{ Msg, Addr string }
			if json.Unmarshal(lines.Bytes(), &entry) == nil && entry.Msg == "listening" {
				addr <- entry.Addr
			}
		}
	}()
	if s.addr = <-addr; s.addr == "" {
		<-s.ended
		t.Fatalf("it did not start:\n%s", s.log)
	}
	return s
}

// controlGroup makes one with as much memory as the unit says, where it may.
func (s *running) controlGroup(t *testing.T, most string) string {
	t.Helper()
	gib, err := strconv.ParseInt(strings.TrimSuffix(most, "G"), 10, 64)
	if err != nil || !strings.HasSuffix(most, "G") {
		t.Fatalf("MemoryMax=%s: the test knows whole GiB", most)
	}
	name := fmt.Sprintf("pipit-test-%d", os.Getpid())
	for parent, file := range map[string]string{"/sys/fs/cgroup/memory": "memory.limit_in_bytes", "/sys/fs/cgroup": "memory.max"} {
		group := filepath.Join(parent, name)
		if _, err := os.Stat(filepath.Join(parent, "cgroup.procs")); err != nil {
			continue
		}
		if err := os.Mkdir(group, 0o755); err != nil && !os.IsExist(err) {
			continue
		}
		t.Cleanup(func() { _ = os.Remove(group) })
		if err := os.WriteFile(filepath.Join(group, file), []byte(strconv.FormatInt(gib<<30, 10)), 0); err == nil {
			s.memory = gib << 30
			return group
		}
	}
	t.Log("no control group can be made here: that the process learns of MemoryMax is not looked at")
	return ""
}

// learned tells whether the process knows what MemoryMax says.
func (s *running) learned(t *testing.T, u unit) {
	t.Helper()
	if want := fmt.Sprintf(`"msg":"memory is bounded from outside","memory_max":%d,`, s.memory); s.memory > 0 && !strings.Contains(s.log.String(), want) {
		t.Errorf("MemoryMax=%s: no %s in\n%s", u["MemoryMax"], want, s.log)
	}
}

func (s *running) hears(t *testing.T, want string) {
	t.Helper()
	_ = s.notify.SetReadDeadline(time.Now().Add(20 * time.Second))
	for buf := make([]byte, 256); ; {
		n, err := s.notify.Read(buf)
		if err != nil {
			t.Fatalf("no %s: %v", want, err)
		}
		if string(buf[:n]) == want {
			return
		}
	}
}

func (s *running) stop(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.hears(t, "STOPPING=1")
	<-s.ended
	if err := s.cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, s.log)
	}
	s.notify.Close()
}

// ask makes a call of the protocol, and returns its answer.
func (s *running) ask(t *testing.T, method, path, body string) (answer struct {
	Status  string
	MsgID   string `json:"msg_id"`
	Results []struct {
		Metadata struct {
			MsgID string `json:"msg_id"`
		}
	}
}) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.addr+"/zato/pubsub/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("till", "a-secret-of-the-test")
	req.Header.Set("X-Zato-PubSub-Key", "5eCr3t-key-of-orders")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || json.Unmarshal(text, &answer) != nil {
		t.Fatalf("%s %s: %s %s %v", method, path, resp.Status, text, err)
	}
	return answer
}

func (s *running) publish(t *testing.T, payload string) (id string) {
	t.Helper()
	return s.ask(t, http.MethodPost, "topic//orders/", payload).MsgID
}

func (s *running) receive(t *testing.T) (ids []string) {
	t.Helper()
	for _, r := range s.ask(t, http.MethodPost, "msg//orders/", "").Results {
		ids = append(ids, r.Metadata.MsgID)
	}
	slices.Sort(ids)
	return ids
}
