// Package disktest has file systems for tests of what is written through package disk: one in memory (Mem), one whose calls
// fail in turn (Fault), and one that records what is written and flushed, and rebuilds what a power cut could have left of
// it (Recorder).
package disktest

import (
	"cmp"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"pipit/db/disk"
)

// Mem is a file system in memory. Files that are open keep what they have when they are renamed or removed.
type Mem struct {
	mu    sync.Mutex
	nodes map[string]*memNode // by clean path
}

type memNode struct {
	mu   sync.RWMutex
	dir  bool
	data []byte
}

// NewMem returns a file system with one folder, and those above it.
func NewMem(folder string) *Mem {
	m := &Mem{nodes: map[string]*memNode{}}
	for dir := filepath.Clean(folder); m.nodes[dir] == nil; dir = filepath.Dir(dir) {
		m.nodes[dir] = &memNode{dir: true}
	}
	return m
}

func (m *Mem) OpenFile(name string, flag int, _ fs.FileMode) (disk.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = filepath.Clean(name)
	n := m.nodes[name]
	switch parent := m.nodes[filepath.Dir(name)]; {
	case n != nil && n.dir || parent != nil && !parent.dir:
		return nil, pathError("open", name, fs.ErrInvalid)
	case n != nil && flag&os.O_EXCL != 0:
		return nil, pathError("open", name, fs.ErrExist)
	case n == nil && (parent == nil || flag&os.O_CREATE == 0):
		return nil, pathError("open", name, fs.ErrNotExist)
	case n == nil:
		n = &memNode{}
		m.nodes[name] = n
	case flag&os.O_TRUNC != 0:
		n.truncate(0)
	}
	return &memFile{node: n, name: filepath.Base(name), readOnly: flag&(os.O_RDWR|os.O_WRONLY) == 0}, nil
}

func (m *Mem) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	from, to = filepath.Clean(from), filepath.Clean(to)
	n, over := m.nodes[from], m.nodes[to]
	switch {
	case n == nil || m.nodes[filepath.Dir(to)] == nil:
		return pathError("rename", from, fs.ErrNotExist)
	case over != nil && (over.dir || n.dir):
		return pathError("rename", to, fs.ErrExist)
	}
	for _, name := range slices.Collect(maps.Keys(m.nodes)) {
		if rest, ok := strings.CutPrefix(name, from); ok && (rest == "" || rest[0] == filepath.Separator) {
			m.nodes[to+rest] = m.nodes[name]
			delete(m.nodes, name)
		}
	}
	return nil
}

func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = filepath.Clean(name)
	if m.nodes[name] == nil {
		return pathError("remove", name, fs.ErrNotExist)
	}
	for other := range m.nodes {
		if filepath.Dir(other) == name && other != name {
			return pathError("remove", name, fs.ErrExist)
		}
	}
	delete(m.nodes, name)
	return nil
}

func (m *Mem) Mkdir(name string, _ fs.FileMode) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = filepath.Clean(name)
	if m.nodes[name] != nil {
		return pathError("mkdir", name, fs.ErrExist)
	}
	if parent := m.nodes[filepath.Dir(name)]; parent == nil || !parent.dir {
		return pathError("mkdir", name, fs.ErrNotExist)
	}
	m.nodes[name] = &memNode{dir: true}
	return nil
}

func (m *Mem) ReadDir(name string) ([]fs.DirEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = filepath.Clean(name)
	if n := m.nodes[name]; n == nil || !n.dir {
		return nil, pathError("open", name, fs.ErrNotExist)
	}
	var entries []fs.DirEntry
	for other, n := range m.nodes {
		if filepath.Dir(other) == name && other != name {
			entries = append(entries, fs.FileInfoToDirEntry(n.info(filepath.Base(other))))
		}
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(a.Name(), b.Name()) })
	return entries, nil
}

func (m *Mem) Stat(name string) (fs.FileInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.nodes[filepath.Clean(name)]
	if n == nil {
		return nil, pathError("stat", name, fs.ErrNotExist)
	}
	return n.info(filepath.Base(name)), nil
}

func (m *Mem) SyncDir(name string) error {
	_, err := m.ReadDir(name)
	return err
}

func pathError(op, path string, err error) error { return &fs.PathError{Op: op, Path: path, Err: err} }

func (n *memNode) truncate(size int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.data = resized(n.data, size)
}

func (n *memNode) info(name string) fs.FileInfo {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return memInfo{name: name, size: int64(len(n.data)), dir: n.dir}
}

// resized returns data cut off or with zeros behind it.
func resized(data []byte, size int64) []byte {
	if grow := size - int64(len(data)); grow > 0 {
		return append(data, make([]byte, grow)...)
	}
	return data[:size]
}

// written returns data with b at at.
func written(data, b []byte, at int64) []byte {
	if end := at + int64(len(b)); end > int64(len(data)) {
		data = resized(data, end)
	}
	copy(data[at:], b)
	return data
}

type memFile struct {
	node     *memNode
	name     string
	readOnly bool
}

func (f *memFile) ReadAt(b []byte, at int64) (int, error) {
	f.node.mu.RLock()
	defer f.node.mu.RUnlock()
	if at >= int64(len(f.node.data)) {
		return 0, io.EOF
	}
	n := copy(b, f.node.data[at:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(b []byte, at int64) (int, error) {
	if f.readOnly {
		return 0, pathError("write", f.name, fs.ErrPermission)
	}
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	f.node.data = written(f.node.data, b, at)
	return len(b), nil
}

func (f *memFile) Truncate(size int64) error {
	if f.readOnly {
		return pathError("truncate", f.name, fs.ErrPermission)
	}
	f.node.truncate(size)
	return nil
}

func (f *memFile) Sync() error                { return nil }
func (f *memFile) Stat() (fs.FileInfo, error) { return f.node.info(f.name), nil }
func (f *memFile) Close() error               { return nil }

type memInfo struct {
	name string
	size int64
	dir  bool
}

func (i memInfo) Name() string       { return i.name }
func (i memInfo) Size() int64        { return i.size }
func (i memInfo) ModTime() time.Time { return time.Time{} }
func (i memInfo) IsDir() bool        { return i.dir }
func (i memInfo) Sys() any           { return nil }
func (i memInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o700
	}
	return 0o600
}
