package db

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"pipit/broker/store"
	"pipit/db/disk"
	"pipit/db/page"
	"pipit/db/wal"
)

const defaultLockTimeout = time.Second

// pageSize of a new file. A commit costs by the number of pages that it writes here and there:
// larger ones are fewer, and beyond 8 KiB the bytes begin to count.
const pageSize = 8 << 10

// Open opens the file at path, and makes it where there is none. A file that is not ours, is
// of a newer format, is damaged or is used by another process is left as it is.
func Open(path string, opts Options) (*Store, error) { return open(path, opts, nil) }

// open is Open. With progress it looks at all pages of a file of any size, and tells which part is done.
func open(path string, opts Options, progress func(part float64)) (*Store, error) {
	opts = opts.withDefaults()
	isNew, err := inspect(path, opts, progress)
	if err != nil {
		return nil, err
	}
	if isNew && opts.MustExist {
		return nil, noDatabase{path}
	}
	bolt, data, err := openBolt(path, pageSize, opts.LockTimeout)
	if err != nil {
		return nil, err
	}
	f, err := newFile(bolt, data)
	switch {
	case err != nil:
		err = openError(path, err)
	case replaced(path, f): // by who had it until now: compacting does
		err = openError(path, berrors.ErrTimeout)
	case !opts.leave:
		if err := removeUnfinished(opts.fs, path); err != nil {
			opts.Logger.Warn("what is left of compacting the database could not be removed", "file", path, "error", err)
		}
	}
	if err != nil {
		_ = bolt.Close()
		return nil, err
	}
	s := newStore(f, path, opts)
	if isNew {
		if err := s.create(); err != nil {
			_ = bolt.Close()
			return nil, fmt.Errorf("database %s cannot be written: %w", path, err)
		}
	}
	if err := s.attach(); err != nil {
		_ = bolt.Close()
		return nil, err
	}
	return s, nil
}

func (o Options) withDefaults() Options {
	if o.LockTimeout <= 0 {
		o.LockTimeout = defaultLockTimeout
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.LogSize <= 0 {
		o.LogSize = wal.DefaultSize
	}
	if o.fs == nil {
		o.fs = disk.OS
	}
	return o
}

func newStore(f *file, path string, opts Options) *Store {
	s := &Store{
		path:     path,
		log:      opts.Logger,
		program:  opts.Program,
		seam:     opts.seam,
		open:     map[store.Lane]openRange{},
		waiting:  map[uint32]uint64{},
		logSize:  opts.LogSize,
		freezeAt: cmp.Or(opts.freeze, opts.LogSize/8),
		large:    cmp.Or(opts.large, largeBatch),
		leave:    opts.leave,

		flushed:      opts.Flushed,
		checkpointed: opts.Checkpointed,

		compactWhen: opts.CompactWhen,
		compactPart: cmp.Or(opts.copyPart, compactPart),
		minFree:     opts.MinFree,
	}
	if opts.replica {
		s.replica = &replica{}
	}
	s.worker.moved.L = &s.tablesMu
	s.compacting.store = s
	s.gather.init(s, opts.SyncInterval)
	s.tables.Store(&tables{live: &table{}, file: f})
	return s
}

// openBolt opens the file, and returns it beside what bbolt makes of it.
func openBolt(path string, page int, timeout time.Duration) (bolt *bbolt.DB, file *os.File, err error) {
	defer func() {
		if err != nil {
			if errors.As(err, new(*fault)) && file != nil {
				_ = file.Close() // bbolt panicked with the file open and locked
			}
			err = openError(path, err)
		}
	}()
	defer guard(&err)()
	o := &bbolt.Options{
		Timeout:        timeout,
		PageSize:       page, // a file that is there keeps its own
		FreelistType:   bbolt.FreelistMapType,
		NoFreelistSync: true, // of opening alone, so that it writes nothing; see skipFreelist
		OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
			var err error
			file, err = disk.Open(name, flag, mode)
			return file, err
		},
	}
	if runtime.GOOS != "windows" && ^uint(0)>>32 != 0 {
		o.InitialMmapSize = mapSize(path)
	}
	bolt, err = bbolt.Open(path, 0o600, o)
	if errors.Is(err, syscall.ENOMEM) { // a limit of the process
		o.InitialMmapSize = 0
		bolt, err = bbolt.Open(path, 0o600, o)
	}
	return bolt, file, err
}

// mapSize is how much of a file is mapped. It is address space, not memory: where the file grows beyond it, that waits for all
// readers to end, of which a backup takes long.
func mapSize(path string) int {
	const more = 16 << 30
	info, err := os.Stat(path)
	if err != nil {
		return more
	}
	return int(info.Size()) + more
}

// create makes the buckets of a new file.
func (s *Store) create() error {
	s.bolt().NoFreelistSync = false
	err := s.bolt().Update(func(tx *bbolt.Tx) error {
		for _, name := range bucketNames {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		meta := tx.Bucket(bucketNames[bucketMeta])
		key := make([]byte, 16)
		rand.Read(key) // never fails
		for _, e := range []struct{ k, v []byte }{
			{keyMagic, []byte(magic)},
			{keyFormat, binary.BigEndian.AppendUint32(nil, Format)},
			{keyKey, key},
			{keyProgram, []byte(s.program)},
		} {
			if err := meta.Put(e.k, e.v); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(s.path))
}

// noDatabase is an error about a file that is not there, or is empty.
type noDatabase struct{ path string }

func (e noDatabase) Error() string {
	if _, err := os.Stat(e.path); err == nil {
		return fmt.Sprintf("there is no database in %s: the file is empty", e.path)
	}
	return "there is no database " + e.path
}

func (noDatabase) Is(target error) bool { return target == fs.ErrNotExist }

// openError says what an error at opening means.
func openError(path string, err error) error {
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return fmt.Errorf("database %s is %w", path, store.ErrInUse)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("database %s cannot be made: there is no directory %s", path, filepath.Dir(path))
	case errors.Is(err, fs.ErrPermission), isReadOnly(err):
		return fmt.Errorf("database %s cannot be written: %w", path, err)
	case errors.Is(err, page.ErrForeign), errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrVersionMismatch):
		return fmt.Errorf("%s is not a Pipit database", path)
	case errors.Is(err, page.ErrNoHead), errors.Is(err, berrors.ErrChecksum), errors.As(err, new(*fault)):
		return fmt.Errorf("database %s is damaged: %w", path, err)
	}
	return fmt.Errorf("database %s: %w", path, err)
}

// inspect looks at a file without changing it, and tells whether it is to be made.
func inspect(path string, opts Options, progress func(part float64)) (isNew bool, err error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, openError(path, err)
	}
	if !info.Mode().IsRegular() {
		return false, fmt.Errorf("%s is not a Pipit database: it is not a regular file", path)
	}
	if info.Size() > 0 {
		h, err := readHead(path)
		if err != nil {
			return false, err
		}
		if info.Size() < 2*h.PageSize { // bbolt refuses it in its own words
			return false, checkPages(path, &h, progress)
		}
		isNew, err = inspectBolt(path, opts, progress)
		if err != nil {
			return false, err
		}
	} else {
		isNew = true
	}
	// Not all users are refused by the file's mode, but it is what the owner wants.
	if info.Mode().Perm()&0o222 == 0 {
		return false, fmt.Errorf("database %s cannot be written: the file is read-only", path)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0) // #nosec G304 -- the database, as the configuration names it
	if err != nil {
		return false, openError(path, err)
	}
	return isNew, f.Close()
}

// inspectBolt looks into a file that bbolt wrote.
func inspectBolt(path string, opts Options, progress func(part float64)) (isNew bool, err error) {
	var bolt *bbolt.DB
	defer func() {
		if bolt != nil {
			_ = bolt.Close()
		}
		if errors.As(err, new(*fault)) {
			err = fmt.Errorf("database %s is damaged: %w", path, err)
		}
	}()
	defer guard(&err)()
	bolt, err = bbolt.Open(path, 0, &bbolt.Options{ReadOnly: true, Timeout: opts.LockTimeout})
	if err != nil {
		return false, openError(path, err)
	}
	// Once more: now nobody writes.
	h, err := readHead(path)
	if err != nil {
		return false, err
	}
	if err := checkPages(path, &h, progress); err != nil {
		return false, err
	}
	err = bolt.View(func(tx *bbolt.Tx) error {
		k, _ := tx.Cursor().First()
		if k == nil {
			isNew = true // making it was cut short
			return nil
		}
		meta := tx.Bucket(bucketNames[bucketMeta])
		if meta == nil || string(meta.Get(keyMagic)) != magic {
			return fmt.Errorf("%s is not a Pipit database: it is another program's", path)
		}
		v := meta.Get(keyFormat)
		if len(v) != 4 {
			return fmt.Errorf("database %s is damaged: it has no format", path)
		}
		f := binary.BigEndian.Uint32(v)
		if f > formatReplica {
			return tooNewError{path, f, string(meta.Get(keyProgram)), opts.Program}
		}
		for no, name := range bucketNames {
			if since := bucketSince[no]; tx.Bucket(name) == nil && f >= since {
				return fmt.Errorf("database %s is damaged: it has no bucket %s", path, name)
			}
		}
		return nil
	})
	return isNew, err
}

// tooNewError is an error about a file of a format that only a later program knows.
type tooNewError struct {
	path         string
	format       uint32
	writer, self string // versions; empty: not known
}

func (e tooNewError) Error() string {
	writer, self := "a newer Pipit", "this program"
	if e.writer != "" {
		writer += ", " + e.writer
	}
	if e.self != "" {
		self = "Pipit " + e.self
	}
	return fmt.Sprintf("database %s was written by %s: it has format %d, and %s opens up to %d; start the newer program, or restore a backup of before the upgrade",
		e.path, writer, e.format, self, formatReplica)
}

// readHead returns what the newest valid meta page of the file says.
func readHead(path string) (h page.Head, err error) {
	f, err := os.Open(path) // #nosec G304 -- the database, as the configuration names it
	if err != nil {
		return h, openError(path, err)
	}
	defer f.Close()
	if h, err = page.ReadHead(f); err != nil {
		return h, openError(path, err)
	}
	return h, nil
}

// checkPages looks at the file's pages: at all of them where opening it means to go through them or progress is to be told of that.
func checkPages(path string, h *page.Head, progress func(part float64)) error {
	f, err := os.Open(path) // #nosec G304 -- the database, as the configuration names it
	if err != nil {
		return openError(path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return openError(path, err)
	}
	// Without a list of free pages bbolt looks at all pages, in a goroutine of its own, where a panic
	// ends the process. With one, looking at all of a large file would take too long; then the list of
	// buckets and that of free pages are what it has to be able to trust.
	deep := progress != nil || !h.HasFreelist() || h.HighWater <= walkAlways
	if err := h.Check(f, info.Size(), deep, progress); err != nil {
		return fmt.Errorf("database %s is damaged: %w", path, err)
	}
	return nil
}

// walkAlways is how many pages a file may have to be looked at as a whole at every start, for which
// it takes some 6 µs a page.
const walkAlways = 1 << 13

// fault is a panic of bbolt, or of the memory map, over a damaged file.
type fault struct{ cause any }

func (f *fault) Error() string { return fmt.Sprint(f.cause) }

// guard makes an error of a panic, also of one for a page that the file does not have. Use it as
//
//	defer guard(&err)()
func guard(err *error) func() {
	old := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(old)
		if p := recover(); p != nil {
			*err = &fault{p}
		}
	}
}
