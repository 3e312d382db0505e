// Package backup makes backups of what a broker has, or a node's copy, into a folder: when they are due, and when somebody asks for one. It lists them, and the
// oldest leave.
//
// A backup is a file that has its name when it is whole; what is in it is the store's affair. One is made at a time.
package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"pipit/broker"
	"pipit/broker/clip"
)

// Options configure a Service.
type Options struct {
	Directory string        // the folder of the backups, made when it is needed
	Every     time.Duration // from one backup to the next; 0: only when somebody asks for one
	Keep      int           // how many backups are kept; default DefaultKeep
	Logger    *slog.Logger  // default slog.Default()
}

// Bounds of Options.
const (
	DefaultKeep = 7
	MaxKeep     = 10_000
	LeastEvery  = time.Minute
	MostEvery   = 366 * 24 * time.Hour
)

// retryTime is after which a backup that was due and failed is tried again, at the latest.
const retryTime = 10 * time.Minute

// Names of the files: with their time, in the order of which they stand. No other file is touched.
const (
	prefix     = "pipit-"
	timeFormat = "20060102T150405Z"
	suffix     = ".backup"
	partSuffix = ".part" // of one that is not whole; the store's
)

// Backup is a backup that is there.
type Backup struct {
	Name string    // of the file
	At   time.Time // when it was begun: all that was answered before is in it
	Size int64     // bytes
}

// Failure is why the last backup failed.
type Failure struct {
	At  time.Time
	Err error
}

// Service makes backups. Its methods may be called from any goroutine.
type Service struct {
	write  func(ctx context.Context, path string) error
	log    *slog.Logger
	making chan struct{} // has a value while a backup is made
	ctx    context.Context
	cancel context.CancelFunc
	loop   sync.WaitGroup
	wake   chan struct{}

	mu      sync.Mutex
	options Options
	failure *Failure
}

// New returns a service that makes backups when they are due. The caller stops it before it closes the broker.
func New(b *broker.Broker, o Options) *Service {
	return Start(func(ctx context.Context, path string) error { return b.Backup(ctx, path, nil) }, o)
}

// Start is New, of what writes a backup to a path, which is free. Errors of it that a client is told are of broker.Error.
func Start(write func(ctx context.Context, path string) error, o Options) *Service {
	s := &Service{write: write, log: o.Logger, making: make(chan struct{}, 1), wake: make(chan struct{}, 1)}
	if s.log == nil {
		s.log = slog.Default()
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.Adjust(o)
	s.clear()
	s.loop.Go(s.run)
	return s
}

// Adjust takes over other options.
func (s *Service) Adjust(o Options) {
	o.Keep = cmp.Or(o.Keep, DefaultKeep)
	s.mu.Lock()
	s.options = o
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Options returns the options in force.
func (s *Service) Options() Options {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.options
}

// Stop breaks off what is being made, and waits for its end.
func (s *Service) Stop() error {
	s.cancel()
	s.loop.Wait()
	s.making <- struct{}{}
	return nil
}

// Failure returns why the last backup that was due failed, nil where none has since one went well.
func (s *Service) Failure() *Failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}

// clear removes what a process left that was killed. Only names of this package are touched.
func (s *Service) clear() {
	dir := s.Options().Directory
	entries, _ := os.ReadDir(dir) // where there is none, nothing is left
	for _, e := range entries {
		if n := e.Name(); strings.HasPrefix(n, prefix) && strings.HasSuffix(n, partSuffix) {
			_ = os.Remove(filepath.Join(dir, n))
		}
	}
}

// run makes backups when they are due.
func (s *Service) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.wake:
		case <-timer.C:
		}
		timer.Stop()
		wait, on := s.due()
		if on && wait <= 0 {
			if _, err := s.Make(s.ctx); err != nil && s.ctx.Err() == nil {
				s.log.Error("the backup that was due failed", "dir", s.Options().Directory, "error", err)
				s.fail(err)
			}
			wait, on = s.due()
		}
		if on {
			timer.Reset(max(wait, 0))
		}
	}
}

func (s *Service) fail(err error) {
	s.mu.Lock()
	s.failure = &Failure{time.Now(), err}
	s.mu.Unlock()
}

// Due returns when the next backup is made, zero where none is.
func (s *Service) Due() time.Time {
	wait, on := s.due()
	if !on {
		return time.Time{}
	}
	return time.Now().Add(max(wait, 0))
}

// due tells how long it is to the next backup, and whether there is to be one.
func (s *Service) due() (wait time.Duration, on bool) {
	o := s.Options()
	if o.Every <= 0 {
		return 0, false
	}
	now := time.Now()
	if list, err := s.List(); err == nil {
		if i := slices.IndexFunc(list, func(b Backup) bool { return !b.ofFuture(now) }); i >= 0 {
			wait = o.Every - now.Sub(list[i].At)
		}
	}
	if f := s.Failure(); f != nil {
		wait = max(wait, min(o.Every, retryTime)-now.Sub(f.At))
	}
	return wait, true
}

// Make makes a backup in the folder, after one that is being made, and has the oldest leave that are too many.
func (s *Service) Make(ctx context.Context) (Backup, error) {
	ctx, done, err := s.begin(ctx)
	if err != nil {
		return Backup{}, err
	}
	defer done()
	o := s.Options()
	if err := os.MkdirAll(o.Directory, 0o700); err != nil {
		return Backup{}, unwritable(err)
	}
	at, name := s.name(o.Directory)
	path := filepath.Join(o.Directory, name)
	if err := s.write(ctx, path); err != nil {
		return Backup{}, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return Backup{}, unwritable(err)
	}
	s.mu.Lock()
	s.failure = nil
	s.mu.Unlock()
	s.log.Info("a backup is made", "file", path, "bytes", info.Size(), "took", time.Since(at).Round(time.Millisecond))
	made := Backup{name, at, info.Size()}
	s.trim(made)
	return made, nil
}

func unwritable(err error) error {
	return &broker.Error{Code: broker.Unavailable, Message: "The folder of the backups cannot be used: " + err.Error()}
}

// begin waits until nobody else makes a backup. What it returns ends with ctx and with the service.
func (s *Service) begin(ctx context.Context) (_ context.Context, done func(), err error) {
	if s.ctx.Err() != nil {
		return nil, nil, errStopped
	}
	select {
	case s.making <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	case <-s.ctx.Done():
		return nil, nil, errStopped
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.ctx, cancel)
	return ctx, func() { stop(); cancel(); <-s.making }, nil
}

var errStopped = &broker.Error{Code: broker.Unavailable, Message: "Shutting down", RetryAfter: 5 * time.Second}

// name returns the time of a backup that begins now, and a name of it that is free.
func (s *Service) name(dir string) (at time.Time, name string) {
	for at = time.Now().UTC().Truncate(time.Second); ; at = at.Add(time.Second) {
		name = prefix + at.Format(timeFormat) + suffix
		if _, err := os.Lstat(filepath.Join(dir, name)); errors.Is(err, fs.ErrNotExist) {
			return at, name
		}
	}
}

// parse returns the time in the name of a backup.
func parse(name string) (at time.Time, ok bool) {
	text, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return at, false
	}
	if text, ok = strings.CutSuffix(text, suffix); !ok {
		return at, false
	}
	at, err := time.Parse(timeFormat, text)
	return at, err == nil
}

// List returns the backups, the newest first.
func (s *Service) List() ([]Backup, error) {
	entries, err := os.ReadDir(s.Options().Directory)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, unwritable(err)
	}
	list := []Backup{}
	for _, e := range entries {
		at, ok := parse(e.Name())
		if !ok {
			continue
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			list = append(list, Backup{e.Name(), at, info.Size()})
		}
	}
	slices.SortFunc(list, func(x, y Backup) int { return y.At.Compare(x.At) })
	return list, nil
}

// ofFuture reports whether its time is one that a clock told that was ahead: it is older than all that were made since that was put right.
// Those of one second have times of the next ones.
func (b Backup) ofFuture(now time.Time) bool { return b.At.After(now.Add(time.Minute)) }

// trim removes the oldest that are too many. The one that was made just now always stays.
func (s *Service) trim(made Backup) {
	list, err := s.List()
	if err != nil {
		return
	}
	list = slices.DeleteFunc(list, func(b Backup) bool { return b.Name == made.Name })
	slices.SortStableFunc(list, func(x, y Backup) int {
		switch fx, fy := x.ofFuture(made.At), y.ofFuture(made.At); {
		case fx == fy:
			return 0
		case fx:
			return 1
		default:
			return -1
		}
	})
	for _, b := range list[min(len(list), max(s.Options().Keep, 1)-1):] {
		if err := s.remove(b.Name); err != nil {
			s.log.Warn("an old backup could not be removed", "file", b.Name, "error", err)
		}
	}
}

func (s *Service) remove(name string) error {
	return os.Remove(filepath.Join(s.Options().Directory, name))
}

// Open opens a backup of the list. The error is a NotFound where there is none of that name.
func (s *Service) Open(name string) (*os.File, Backup, error) {
	at, ok := parse(name)
	if !ok {
		return nil, Backup{}, none(name)
	}
	f, err := os.Open(filepath.Join(s.Options().Directory, name)) // #nosec G304 -- a name that parse takes has no folder in it
	if errors.Is(err, fs.ErrNotExist) {
		return nil, Backup{}, none(name)
	}
	if err != nil {
		return nil, Backup{}, unwritable(err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, Backup{}, errors.Join(unwritable(err), f.Close())
	}
	return f, Backup{name, at, info.Size()}, nil
}

func none(name string) error {
	return &broker.Error{Code: broker.NotFound, Message: fmt.Sprintf("No backup %q", clip.Input(name))}
}

// Delete removes a backup of the list.
func (s *Service) Delete(name string) error {
	if _, ok := parse(name); !ok {
		return none(name)
	}
	err := s.remove(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return none(name)
	case err != nil:
		return unwritable(err)
	}
	return nil
}

// Stream makes a backup that is not kept, and calls fn with it.
func (s *Service) Stream(ctx context.Context, fn func(f *os.File, b Backup) error) error {
	f, b, err := s.passing(ctx)
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	return fn(f, b)
}

// passing makes a backup under a name that clear removes.
func (s *Service) passing(ctx context.Context) (*os.File, Backup, error) {
	ctx, done, err := s.begin(ctx)
	if err != nil {
		return nil, Backup{}, err
	}
	defer done()
	dir := s.Options().Directory
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, Backup{}, unwritable(err)
	}
	at, name := s.name(dir)
	path := filepath.Join(dir, fmt.Sprintf("%s.%d%s", name, time.Now().Nanosecond(), partSuffix))
	if err := s.write(ctx, path); err != nil {
		return nil, Backup{}, err
	}
	f, err := os.Open(path) // #nosec G304 -- made here
	if err != nil {
		return nil, Backup{}, unwritable(err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, Backup{}, errors.Join(unwritable(err), f.Close(), os.Remove(path))
	}
	return f, Backup{name, at, info.Size()}, nil
}
