package backup

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
)

// world is a service whose backups are written by write, in a bubble.
type world struct {
	*Service
	t   *testing.T
	dir string

	mu  sync.Mutex
	err error // of the next backups
}

// fail has the next backups end with err; nil: they go well again.
func (w *world) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
}

func (w *world) failing() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

func inBubble(t *testing.T, o Options, test func(w *world)) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "backups")
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, dir: dir}
		o.Directory, o.Logger = dir, slog.New(slog.DiscardHandler)
		w.Service = Start(func(_ context.Context, path string) error {
			if err := w.failing(); err != nil {
				return err
			}
			return os.WriteFile(path, []byte("a backup"), 0o600)
		}, o)
		synctest.Wait()
		test(w)
		if err := w.Stop(); err != nil {
			t.Error(err)
		}
	})
}

// after lets time go by.
func (w *world) after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// want compares the backups that are there, the newest first, with how old they are to be.
func (w *world) want(ages ...time.Duration) {
	w.t.Helper()
	list, err := w.List()
	if err != nil {
		w.t.Fatal(err)
	}
	var got []time.Duration
	for _, b := range list {
		got = append(got, time.Since(b.At))
	}
	if len(got) != len(ages) {
		w.t.Fatalf("backups %v old, instead of %v", got, ages)
	}
	for i := range ages {
		if got[i] != ages[i] {
			w.t.Fatalf("backups %v old, instead of %v", got, ages)
		}
	}
}

func TestSchedule(t *testing.T) {
	inBubble(t, Options{Every: time.Hour, Keep: 2}, func(w *world) {
		w.want(0)
		w.after(time.Hour - time.Second)
		w.want(time.Hour - time.Second)
		w.after(time.Second)
		w.want(0, time.Hour)
		if due := time.Until(w.Due()); due != time.Hour {
			t.Error("the next is due in", due)
		}
		w.after(time.Hour)
		w.want(0, time.Hour) // two are kept
		w.after(30 * time.Minute)
		if _, err := w.Make(w.t.Context()); err != nil {
			t.Fatal(err)
		}
		w.want(0, 30*time.Minute)
		w.Adjust(Options{Directory: w.dir, Every: 2 * time.Hour, Keep: 3})
		w.after(time.Hour + 59*time.Minute)
		w.want(119*time.Minute, 149*time.Minute)
		w.after(time.Minute)
		w.want(0, 2*time.Hour, 150*time.Minute)
		w.Adjust(Options{Directory: w.dir})
		w.after(100 * time.Hour)
		if !w.Due().IsZero() {
			t.Error("a backup is due of no schedule")
		}
		w.want(100*time.Hour, 102*time.Hour, 102*time.Hour+30*time.Minute)
	})
}

func TestScheduleGoesOnAfterFailures(t *testing.T) {
	inBubble(t, Options{Every: time.Hour}, func(w *world) {
		w.fail(errors.New("no room"))
		w.after(time.Hour)
		if f := w.Failure(); f == nil || f.Err.Error() != "no room" || !f.At.Equal(time.Now()) {
			t.Fatalf("the failure is %+v", f)
		}
		w.want(time.Hour)
		w.after(retryTime)
		if f := w.Failure(); f == nil || !f.At.Equal(time.Now()) {
			t.Fatalf("it was not tried again: %+v", f)
		}
		w.fail(nil)
		w.after(retryTime)
		w.want(0, time.Hour+2*retryTime)
		if f := w.Failure(); f != nil {
			t.Errorf("it is still told of %+v", f)
		}
	})
}

// A start looks at what is there: it is not a reason for a backup.
func TestScheduleOverRestarts(t *testing.T) {
	inBubble(t, Options{}, func(w *world) {
		w.want()
		if _, err := w.Make(w.t.Context()); err != nil {
			t.Fatal(err)
		}
		left := filepath.Join(w.dir, "pipit-19990101T000000Z.backup.1.part")
		other := filepath.Join(w.dir, "other.part")
		for _, name := range []string{left, other} {
			if err := os.WriteFile(name, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		w.after(20 * time.Minute)
		again := Start(w.write, Options{Directory: w.dir, Every: time.Hour, Logger: w.log})
		synctest.Wait()
		w.want(20 * time.Minute)
		if _, err := os.Stat(left); err == nil {
			t.Error("what a process left that was killed is still there")
		}
		if _, err := os.Stat(other); err != nil {
			t.Error("a file of others was removed")
		}
		w.after(40 * time.Minute)
		w.want(0, time.Hour)
		if err := again.Stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestNames(t *testing.T) {
	inBubble(t, Options{Keep: 5}, func(w *world) {
		a, err := w.Make(w.t.Context())
		if err != nil {
			t.Fatal(err)
		}
		b, err := w.Make(w.t.Context()) // within the same second
		if err != nil || b.Name == a.Name {
			t.Fatalf("%q, then %q: %v", a.Name, b.Name, err)
		}
		secret := filepath.Join(filepath.Dir(w.dir), "pipit-19990101T000000Z.backup")
		if err := os.WriteFile(secret, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"", ".", "none", "pipit-19990101T000000Z.backup", "../pipit-19990101T000000Z.backup", secret, a.Name + "/", "pipit-19990101T000000Z.backup.1.part"} {
			if _, _, err := w.Open(name); broker.CodeOf(err) != broker.NotFound {
				t.Errorf("open %q: %v", name, err)
			}
			if err := w.Delete(name); broker.CodeOf(err) != broker.NotFound {
				t.Errorf("delete %q: %v", name, err)
			}
		}
		if err := w.Delete(a.Name); err != nil {
			t.Error(err)
		}
		f, got, err := w.Open(b.Name)
		if err != nil || got != b {
			t.Errorf("%+v instead of %+v: %v", got, b, err)
		}
		if f != nil {
			_ = f.Close()
		}
	})
}

func TestStopBreaksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := Start(func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() }, Options{Directory: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
		failed := make(chan error, 1)
		go func() { _, err := s.Make(t.Context()); failed <- err }()
		synctest.Wait()
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
		if err := <-failed; err == nil {
			t.Error("it was not broken off")
		}
		if _, err := s.Make(t.Context()); broker.CodeOf(err) != broker.Unavailable {
			t.Error(err)
		}
	})
}

// A clock that was ahead has left backups of the future, which are older than what is made now: they neither have that leave nor are
// they a reason to make it again and again.
func TestBackupsOfTheFuture(t *testing.T) {
	inBubble(t, Options{Keep: 2}, func(w *world) {
		if err := os.Mkdir(w.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		ahead := []time.Duration{48 * time.Hour, 24 * time.Hour}
		for _, d := range ahead {
			if err := os.WriteFile(filepath.Join(w.dir, prefix+time.Now().UTC().Add(d).Format(timeFormat)+suffix), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		made, err := w.Make(w.t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if f, _, err := w.Open(made.Name); err != nil {
			t.Error("what was made just now is gone:", err)
		} else {
			f.Close()
		}
		w.want(-48*time.Hour, 0)
		w.Adjust(Options{Directory: w.dir, Every: time.Hour, Keep: 2})
		w.after(59 * time.Minute)
		w.want(-48*time.Hour+59*time.Minute, 59*time.Minute)
		w.after(time.Minute)
		w.want(0, time.Hour)
		w.after(time.Hour)
		w.want(0, time.Hour)
	})
}
