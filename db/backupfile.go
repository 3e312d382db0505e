package db

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"pipit/broker/store"
	"pipit/db/disk"
)

// A backup ends in
//
//	"pipitsum" | SHA-256 of all before that 32
//
// behind its last page, where a database has nothing: it opens as one all the same.
const (
	sumMagic = "pipitsum"
	sumSize  = len(sumMagic) + sha256.Size
)

// ErrNoBackup is what errors about a file wrap that is no backup, or not a whole one.
var ErrNoBackup = errors.New("it does not end in the checksum of a backup: it is none, or is cut short")

// readSum returns the checksum that a backup ends in, and how many bytes are before it.
func readSum(f *os.File) (sum []byte, size int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() || info.Size() <= int64(sumSize) {
		return nil, 0, ErrNoBackup
	}
	end := make([]byte, sumSize)
	size = info.Size() - int64(sumSize)
	if _, err := f.ReadAt(end, size); err != nil {
		return nil, 0, err
	}
	sum, ok := bytes.CutPrefix(end, []byte(sumMagic))
	if !ok {
		return nil, 0, ErrNoBackup
	}
	return sum, size, nil
}

// backup is a file that is to become a backup, under a name that says so.
type backup struct {
	path string
	file *os.File
	done bool
}

// PartSuffix is that of the names of backups that are not whole. They are of no use where nobody writes to them.
const PartSuffix = ".part"

func newBackup(path string) (*backup, error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*"+PartSuffix) // of mode 0600
	if err != nil {
		return nil, err
	}
	return &backup{path: path, file: f}, nil
}

// abandon removes it, unless it is finished.
func (b *backup) abandon() {
	if !b.done {
		_ = b.file.Close()
		_ = os.Remove(b.file.Name())
	}
}

// seal writes the checksum behind the content, which it reads.
func (b *backup) seal(p *pace, progress func(done int64)) error {
	info, err := b.file.Stat()
	if err != nil {
		return err
	}
	sum, err := sumOf(b.file, info.Size(), io.Discard, p, progress)
	if err != nil {
		return err
	}
	_, err = b.file.WriteAt(append([]byte(sumMagic), sum...), info.Size())
	return err
}

// sumOf returns the checksum of the first size bytes of a file, which it writes to w, too.
func sumOf(f io.ReaderAt, size int64, w io.Writer, p *pace, progress func(done int64)) ([]byte, error) {
	h := sha256.New()
	to := io.MultiWriter(h, w)
	in := io.NewSectionReader(f, 0, size)
	for at := int64(0); at < size; at += backupStep {
		n := min(backupStep, size-at)
		if err := p.step(func() error { _, err := io.CopyN(to, in, n); return err }); err != nil {
			return nil, err
		}
		progress(at + n)
	}
	return h.Sum(nil), nil
}

// finish makes it durable under its name.
func (b *backup) finish() error {
	if err := b.file.Sync(); err != nil {
		return err
	}
	if err := b.file.Close(); err != nil {
		return err
	}
	if err := os.Rename(b.file.Name(), b.path); err != nil {
		return err
	}
	b.done = true
	return syncDir(filepath.Dir(b.path))
}

// SaveBackup writes what r has, a backup, to a file at path: only when it is found to be whole and is durable it has that name, in the
// place of an older backup, never of anything else. The error wraps ErrNoBackup where what r has is none.
func SaveBackup(ctx context.Context, path string, r io.Reader) (err error) {
	defer func() {
		if err != nil && ctx.Err() == nil {
			err = fmt.Errorf("backup %s: %w", path, err)
		}
	}()
	if err := replaceable(path); err != nil {
		return err
	}
	b, err := newBackup(path)
	if err != nil {
		return err
	}
	defer b.abandon()
	if _, err := io.Copy(b.file, r); err != nil {
		return err
	}
	if err := verifySum(ctx, b.file, io.Discard, nil); err != nil {
		return err
	}
	return b.finish()
}

// verifySum compares the checksum of a backup with its content, which it writes to w.
func verifySum(ctx context.Context, f *os.File, w io.Writer, progress func(part float64)) error {
	want, size, err := readSum(f)
	if err != nil {
		return err
	}
	sum, err := sumOf(f, size, w, &pace{ctx: ctx}, func(done int64) {
		if progress != nil {
			progress(float64(done) / float64(size))
		}
	})
	if err != nil {
		return err
	}
	if !bytes.Equal(sum, want) {
		return fmt.Errorf("it is damaged: its content has the checksum %x instead of %x", sum, want)
	}
	return nil
}

// Restore makes a backup the database at path, which no process may have open: then the error wraps store.ErrInUse. Before that it
// compares the backup with its checksum and verifies it as Verify does. The database that was there, and its log, are kept under the name that
// it returns, empty where there was none; the log under the same with -log. progress, where not nil, is told which part is done, from 0 to 1.
func Restore(ctx context.Context, from, path string, opts Options, progress func(part float64)) (kept string, err error) {
	opts = opts.withDefaults()
	if progress == nil {
		progress = func(float64) {}
	}
	unlock, err := lockOut(path, opts.LockTimeout)
	if err != nil {
		return "", err
	}
	defer func() { unlock() }()
	b, err := newBackup(path)
	if err != nil {
		return "", openError(path, err)
	}
	defer b.abandon()
	if err := disk.Own(b.file, path, filepath.Dir(path)); err != nil {
		return "", err
	}
	if err := b.take(ctx, from, func(part float64) { progress(part / 2) }); err != nil {
		return "", err
	}
	if err := Verify(b.file.Name(), opts, func(part float64) { progress((1 + part) / 2) }); err != nil {
		return "", fmt.Errorf("backup %s: %w", from, err)
	}
	if runtime.GOOS == "windows" { // which renames no open file
		unlock()
		unlock = func() {}
	}
	if kept, err = setAside(path, time.Now()); err != nil {
		return "", err
	}
	return kept, b.finish()
}

// take copies the content of a backup, without its checksum, which it compares.
func (b *backup) take(ctx context.Context, from string, progress func(part float64)) error {
	f, err := os.Open(from) // #nosec G304 -- whoever restores it names it
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil {
		if err := roomFor(b.path, info.Size()); err != nil {
			return fmt.Errorf("database %s: %w", b.path, err)
		}
	}
	if err := verifySum(ctx, f, b.file, progress); err != nil && ctx.Err() == nil {
		return fmt.Errorf("backup %s: %w", from, err)
	} else if err != nil {
		return err
	}
	return b.file.Sync()
}

// lockOut keeps others from opening the database at path, where there is one, also a damaged one as far as that can be.
func lockOut(path string, timeout time.Duration) (unlock func(), err error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return func() {}, nil
	}
	if err != nil {
		return nil, openError(path, err)
	}
	bolt, err := openLocked(path, timeout)
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return nil, fmt.Errorf("database %s is %w", path, store.ErrInUse)
	case err != nil:
		return func() {}, nil // it is damaged, which may be why it is replaced
	}
	return func() { _ = bolt.Close() }, nil
}

func openLocked(path string, timeout time.Duration) (bolt *bbolt.DB, err error) {
	defer guard(&err)()
	return bbolt.Open(path, 0, &bbolt.Options{ReadOnly: true, Timeout: timeout})
}

// setAside gives the database at path and its log other names, so that neither is without the other where that is cut short.
func setAside(path string, now time.Time) (kept string, err error) {
	kept = path + "-replaced-" + now.UTC().Format("20060102T150405.000Z")
	rename := func(from, to string) (done bool, err error) {
		err = os.Rename(from, to)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return err == nil, errors.Join(err, syncDir(filepath.Dir(path)))
	}
	linked := os.Link(path, kept) == nil // the database takes the name over when it is replaced
	logged, err := rename(logDir(path), logDir(kept))
	if err != nil {
		return "", err
	}
	if !linked {
		if linked, err = rename(path, kept); err != nil {
			return "", err
		}
	}
	if !linked && !logged {
		return "", nil
	}
	return kept, nil
}
