package disktest

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"pipit/db/disk"
)

// Recorder is a file system that records what is written, named and flushed below a folder. Writes and flushes may come from
// any number of goroutines; a flush makes durable what had been written when it began. States rebuilds what a power cut could
// have left.
type Recorder struct {
	disk.FS
	root string

	mu     sync.Mutex
	top    *node
	base   []event // what was there before
	events []event
}

// node is a file or a folder that was there at some time. But for now it belongs to States.
type node struct {
	dir bool
	now map[string]*node // of a folder
	at  []byte           // of a file of Foreign: what it has now

	names   map[string]*node // durable ones of a folder
	data    []byte           // durable ones of a file
	pending []int            // events that are not durable
}

type kind int

const (
	link     kind = iota // name is other
	rename               // name becomes to
	unlink               // name is gone
	write                // data at at
	truncate             // to at
	flush                // what came before the event with the number at is durable
	mark
)

// event is something that was done to a node.
type event struct {
	kind     kind
	node     *node
	name, to string
	other    *node
	at       int64
	data     []byte
	mark     any
}

// NewRecorder records what is done through inner below a folder, which is there. What it has is taken for durable.
func NewRecorder(inner disk.FS, root string) (*Recorder, error) {
	r := &Recorder{FS: inner, root: filepath.Clean(root), top: &node{dir: true, now: map[string]*node{}}}
	if err := r.existing(r.root, r.top); err != nil {
		return nil, err
	}
	r.base, r.events = r.events, nil
	return r, nil
}

// existing records what a folder has.
func (r *Recorder) existing(dir string, to *node) error {
	entries, err := r.FS.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		n := r.link(to, e.Name(), e.IsDir())
		if e.IsDir() {
			if err := r.existing(path, n); err != nil {
				return err
			}
			continue
		}
		f, err := r.FS.OpenFile(path, os.O_RDONLY, 0)
		if err != nil {
			return err
		}
		info, err := f.Stat()
		if err == nil && info.Size() > 0 {
			n.at = make([]byte, info.Size())
			_, err = f.ReadAt(n.at, 0)
			r.add(event{kind: write, node: n, data: n.at})
		}
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

// add records an event, with mu held.
func (r *Recorder) add(e event) { r.events = append(r.events, e) }

// link records that a folder has a new name, with mu held.
func (r *Recorder) link(in *node, name string, dir bool) *node {
	n := &node{dir: dir}
	if dir {
		n.now = map[string]*node{}
	}
	in.now[name] = n
	r.add(event{kind: link, node: in, name: name, other: n})
	return n
}

// find returns the folder of a path and the node that is there, with mu held; nil where there is none, or above the root.
func (r *Recorder) find(path string) (in *node, name string, n *node) {
	path = filepath.Clean(path)
	if path == r.root {
		return nil, "", r.top
	}
	dir, name := filepath.Split(path)
	if len(dir) <= len(r.root) {
		return nil, name, nil
	}
	if _, _, in = r.find(dir); in == nil || !in.dir {
		return nil, name, nil
	}
	return in, name, in.now[name]
}

func (r *Recorder) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f, err := r.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	in, base, n := r.find(name)
	if in == nil && n == nil {
		return f, nil // elsewhere
	}
	switch {
	case n == nil:
		n = r.link(in, base, false)
	case flag&os.O_TRUNC != 0:
		r.add(event{kind: truncate, node: n})
	}
	return &recordedFile{f, r, n}, nil
}

func (r *Recorder) Mkdir(name string, perm fs.FileMode) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.FS.Mkdir(name, perm)
	if in, base, _ := r.find(name); err == nil && in != nil {
		r.link(in, base, true)
	}
	return err
}

// Rename is recorded within one folder alone.
func (r *Recorder) Rename(from, to string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	in, name, n := r.find(from)
	into, toName, _ := r.find(to)
	if in != into {
		return &fs.PathError{Op: "rename", Path: from, Err: fmt.Errorf("to another folder, %s: this is not recorded", to)}
	}
	err := r.FS.Rename(from, to)
	if err == nil && n != nil && name != toName {
		in.now[toName] = n
		delete(in.now, name)
		r.add(event{kind: rename, node: in, name: name, to: toName, other: n})
	}
	return err
}

func (r *Recorder) Remove(name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.FS.Remove(name)
	if in, base, n := r.find(name); err == nil && in != nil && n != nil {
		delete(in.now, base)
		r.add(event{kind: unlink, node: in, name: base, other: n})
	}
	return err
}

func (r *Recorder) SyncDir(name string) error {
	r.mu.Lock()
	_, _, n := r.find(name)
	upTo := len(r.events)
	r.mu.Unlock()
	return r.flushed(n, upTo, r.FS.SyncDir(name))
}

// flushed records a flush that began when there were so many events.
func (r *Recorder) flushed(n *node, upTo int, err error) error {
	if err == nil && n != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.add(event{kind: flush, node: n, at: int64(upTo)})
	}
	return err
}

// Mark records that something has come about, of which a test wants to know in each state whether it was before the cut.
func (r *Recorder) Mark(v any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.add(event{kind: mark, mark: v})
}

// Phase tells whether a page of a file is written in a phase of a commit.
type Phase func(page int) bool

// Bolt returns the phases of a commit of bbolt: the pages, a flush, the two that say which of them count, a flush.
func Bolt() []Phase {
	return []Phase{
		func(page int) bool { return page > 1 },
		func(page int) bool { return page <= 1 },
	}
}

// Foreign records what something that does not write through the Recorder did to a file below the folder in one commit: what
// the file had before and after it, as the pages that differ, phase after phase, each with a flush behind it; a change of the
// size is of the first one. A file that is not known is durable, as it was before, from now on. The bytes are kept, and must
// not be changed.
func (r *Recorder) Foreign(path string, pageSize int, before, after []byte, phases ...Phase) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	in, name, n := r.find(path)
	if in != nil && n == nil {
		n = r.link(in, name, false)
		n.at = before
		r.add(event{kind: write, node: n, data: before})
		r.flush(n)
		r.flush(in)
	}
	if err := r.changed(path, n, before, after); err != nil {
		return err
	}
	for _, phase := range phases {
		r.pages(n, pageSize, before, after, phase)
		r.flush(n)
	}
	return nil
}

// Unflushed records what something that does not write through the Recorder did to a file that is known, as the pages that
// differ, none of which is durable before Flushed. The bytes are kept, and must not be changed.
func (r *Recorder) Unflushed(path string, pageSize int, before, after []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, _, n := r.find(path)
	if err := r.changed(path, n, before, after); err != nil {
		return err
	}
	r.pages(n, pageSize, before, after, func(int) bool { return true })
	return nil
}

// Flushed records that all that is in a file is durable.
func (r *Recorder) Flushed(path string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, _, n := r.find(path)
	if n == nil {
		return &fs.PathError{Op: "record", Path: path, Err: fs.ErrNotExist}
	}
	r.flush(n)
	return nil
}

func (r *Recorder) flush(n *node) { r.add(event{kind: flush, node: n, at: int64(len(r.events))}) }

// changed records that a file has other bytes, and of them its size, with mu held.
func (r *Recorder) changed(path string, n *node, before, after []byte) error {
	switch {
	case n == nil:
		return &fs.PathError{Op: "record", Path: path, Err: fs.ErrNotExist}
	case !bytes.Equal(n.at, before):
		return &fs.PathError{Op: "record", Path: path, Err: fmt.Errorf("it was changed and that was not recorded")}
	}
	n.at = after
	if len(before) != len(after) {
		r.add(event{kind: truncate, node: n, at: int64(len(after))})
	}
	return nil
}

// pages records the pages of a phase that differ, with mu held.
func (r *Recorder) pages(n *node, size int, before, after []byte, phase Phase) {
	for page := 0; page*size < len(after); page++ {
		from, to := page*size, min((page+1)*size, len(after))
		var old []byte
		if from < len(before) {
			old = before[from:min(to, len(before))]
		}
		if phase(page) && !bytes.Equal(old, after[from:to]) {
			r.add(event{kind: write, node: n, at: int64(from), data: after[from:to]})
		}
	}
}

type recordedFile struct {
	disk.File
	recorder *Recorder
	node     *node
}

func (f *recordedFile) WriteAt(b []byte, at int64) (int, error) {
	n, err := f.File.WriteAt(b, at)
	if n > 0 {
		f.recorder.mu.Lock()
		defer f.recorder.mu.Unlock()
		f.recorder.add(event{kind: write, node: f.node, at: at, data: bytes.Clone(b[:n])})
	}
	return n, err
}

func (f *recordedFile) Truncate(size int64) error {
	err := f.File.Truncate(size)
	if err == nil {
		f.recorder.mu.Lock()
		defer f.recorder.mu.Unlock()
		f.recorder.add(event{kind: truncate, node: f.node, at: size})
	}
	return err
}

func (f *recordedFile) Sync() error {
	f.recorder.mu.Lock()
	upTo := len(f.recorder.events)
	f.recorder.mu.Unlock()
	return f.recorder.flushed(f.node, upTo, f.File.Sync())
}
