package main

import (
	"bytes"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"pipit/broker/store"
	"pipit/config"
	"pipit/db"
	"pipit/db/disk"
	"pipit/metrics"
)

// With this variable the program has a disk on which a flush of the log fails, once "swordfish" was written there.
const failingFlush = "RUN_WITH_FAILING_FLUSH"

// With this variable no disk has as much room as it is to leave.
const lowDisk = "RUN_WITH_LOW_DISK"

func init() {
	var with db.Options
	switch {
	case os.Getenv(failingFlush) != "":
		with = with.With(db.Seam{FS: &brokenDisk{FS: disk.OS}})
	case os.Getenv(lowDisk) != "":
		with.MinFree = 1 << 60
	default:
		return
	}
	openStore = func(c *config.Database, log *slog.Logger, m *metrics.Metrics) (store.Store, error) {
		with.Logger = log
		return db.Open(c.File, with)
	}
}

type brokenDisk struct {
	disk.FS
	fails, after atomic.Bool
}

func (d *brokenDisk) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	f, err := d.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return failingFile{f, d}, nil
}

type failingFile struct {
	disk.File
	disk *brokenDisk
}

func (f failingFile) WriteAt(b []byte, at int64) (int, error) {
	if f.disk.after.Load() {
		panic("written after a flush that failed")
	}
	if bytes.Contains(b, []byte("swordfish")) {
		f.disk.fails.Store(true)
	}
	return f.File.WriteAt(b, at)
}

func (f failingFile) Sync() error {
	if f.disk.fails.Load() {
		f.disk.after.Store(true)
		return syscall.EIO
	}
	return f.File.Sync()
}

// A flush of the log fails: whoever waits for it is told that the outcome is not known, nothing more is written, the program
// ends with exit code 1 and says why; the next start has all that was answered, and the message once where it is repeated.
func TestFailedFlush(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, append(anyPort, failingFlush+"=1"), "-config", example(t))
	topic := func() string { return "http://crm:crm@" + p.addrs[0] + "/zato/pubsub/topic//customer/created/" }
	if answer := post(t, topic(), "", "before"); !strings.HasPrefix(answer, "200 ") {
		t.Fatal(answer)
	}
	answer := post(t, topic()+"?msg_id=own", "", "swordfish")
	if answer != `503 {"status": "ZATO_ERROR", "details": "The database failed: whether this was stored is not known. Repeat it, a message with the same msg_id"}` {
		t.Error(answer)
	}
	if answer := post(t, topic(), "", "behind"); answer != `503 {"status": "ZATO_ERROR", "details": "The database failed: nothing was stored or delivered"}` {
		t.Error(answer)
	}
	<-p.ended
	p.cmd.Wait()
	log := p.log.String()
	why := regexp.MustCompile(`(?m)^pipit: the outcome of a write is not known, a restart is needed: .*database pipit\.db: commit: it is not known what the log has: input/output error$`)
	if code := p.cmd.ProcessState.ExitCode(); code != 1 || !why.MatchString(log) || strings.Contains(log, "panic") {
		t.Errorf("exit code %d\n%s", code, log)
	}
	if code := run(t.Context(), []string{"check", filepath.Join(dir, "pipit.db")}, nil, strings.NewReader(""), new(bytes.Buffer), new(bytes.Buffer)); code != 0 {
		t.Error("pipit check: exit code", code)
	}

	p = start(t, dir, anyPort, "-config", example(t))
	if answer := post(t, topic()+"?msg_id=own", "", "swordfish"); !strings.HasPrefix(answer, "200 ") {
		t.Error(answer)
	}
	answer = post(t, "http://erp:erp@"+p.addrs[1]+"/zato/pubsub/msg//customer/created/", exampleSubKey, "")
	if strings.Count(answer, "swordfish") != 1 || strings.Count(answer, "before") != 1 || strings.Contains(answer, "behind") {
		t.Error(answer)
	}
}

// While the disk has less room than is to be left, publishing is refused and says so; what is there is received, acknowledged and
// compacted, and outlives that.
func TestLowDisk(t *testing.T) {
	dir := t.TempDir()
	command := func(args ...string) string {
		t.Helper()
		var out, errs strings.Builder
		if code := run(t.Context(), args, nil, strings.NewReader("a long password\n"), &out, &errs); code != 0 {
			t.Fatalf("%s: exit code %d: %s", args, code, &errs)
		}
		return out.String()
	}
	p := start(t, dir, anyPort, "-config", example(t))
	topic := func() string { return "http://crm:crm@" + p.addrs[0] + "/zato/pubsub/topic//customer/created/" }
	queue := func() string { return "http://erp:erp@" + p.addrs[1] + "/zato/pubsub/msg//customer/created/" }
	for _, body := range []string{"first", "second"} {
		if answer := post(t, topic(), "", body); !strings.HasPrefix(answer, "200 ") {
			t.Fatal(answer)
		}
	}
	if code, log := p.stop(t, syscall.SIGTERM); code != 0 {
		t.Fatal(log)
	}

	command("admin", "create", "low", "--database", filepath.Join(dir, "pipit.db"))
	token := command("token", "create", "low", "--scope", "admin", "--database", filepath.Join(dir, "pipit.db"))

	p = start(t, dir, append(anyPort, lowDisk+"=1"), "-config", example(t))
	if answer := post(t, topic(), "", "third"); !strings.HasPrefix(answer, "507 ") {
		t.Error(answer)
	}
	answer := post(t, queue()+"?max=1", exampleSubKey, "")
	id := regexp.MustCompile(`"msg_id": ?"([^"]+)"`).FindStringSubmatch(answer)
	if !strings.Contains(answer, "first") || id == nil {
		t.Fatal(answer)
	}
	if answer := post(t, "http://erp:erp@"+p.addrs[1]+"/zato/pubsub/ack/", exampleSubKey, `{"ack": ["`+id[1]+`"]}`); !strings.Contains(answer, `"acked": 1`) {
		t.Error(answer)
	}
	command("compact", "--server", "http://"+p.addrs[0], "--token", strings.TrimSpace(token))
	if code, log := p.stop(t, syscall.SIGTERM); code != 0 {
		t.Fatal(log)
	}

	p = start(t, dir, anyPort, "-config", example(t))
	if answer := post(t, topic(), "", "fourth"); !strings.HasPrefix(answer, "200 ") {
		t.Error(answer)
	}
	if answer := post(t, queue(), exampleSubKey, ""); strings.Contains(answer, "first") || !strings.Contains(answer, "second") || strings.Contains(answer, "third") || !strings.Contains(answer, "fourth") {
		t.Error(answer)
	}
}
