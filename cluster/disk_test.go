package cluster

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"

	"pipit/db/disk"
)

// disks are those of the nodes, which fail when told.
type disks struct {
	mu    sync.Mutex
	write map[string]error // what a write comes to, by the name of the node; nil: it is done
	flush map[string]error
}

func (d *disks) of(name string) disk.FS { return failing{disk.OS, d, name} }

// set has all writes and flushes of a node fail, or none.
func (d *disks) set(name string, write, flush error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.write[name], d.flush[name] = write, flush
}

type failing struct {
	disk.FS
	disks *disks
	name  string
}

type failingFile struct {
	disk.File
	of failing
}

func (f failing) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	file, err := f.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return failingFile{file, f}, nil
}

func (f failingFile) fails(how map[string]error) error {
	f.of.disks.mu.Lock()
	defer f.of.disks.mu.Unlock()
	return how[f.of.name]
}

func (f failingFile) WriteAt(b []byte, at int64) (int, error) {
	if err := f.fails(f.of.disks.write); err != nil {
		return 0, err
	}
	return f.File.WriteAt(b, at)
}

func (f failingFile) Sync() error {
	if err := f.fails(f.of.disks.flush); err != nil {
		return err
	}
	return f.File.Sync()
}

// newOnDisks is a cluster whose node a leads.
func newOnDisks(t *testing.T) (*random, *disks) {
	d := &disks{write: map[string]error{}, flush: map[string]error{}}
	c := newThree(t, small, func(c *three) { c.fs = d.of })
	c.commit(3, 100)
	c.moveTo("a")
	return &random{three: c, rnd: rand.New(rand.NewPCG(1, 0))}, d
}

// A node whose disk is full keeps the others from nothing, and goes on when there is room again. One that leads then leads no more.
func TestDiskFull(t *testing.T) {
	for what, name := range map[string]string{"follower": "c", "leader": "a"} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, d := newOnDisks(t)
				d.set(name, syscall.ENOSPC, nil)
				before := r.tail
				for r.tail < before+50 {
					r.commits()
				}
				if lead := r.nodeOf(r.leader()).name; lead == name {
					t.Errorf("%s leads, whose disk is full", name)
				}
				if m, err := r.nodes[name].copy.Applied(); err != nil || m.Number > before+1 {
					t.Errorf("the full disk has taken batch %d: %v", m.Number, err)
				}
				d.set(name, nil, nil)
				r.commits()
				r.check()
			})
		})
	}
}

// A flush that fails ends the node whose disk it is of, and no other one.
func TestFlushFails(t *testing.T) {
	for what, name := range map[string]string{"follower": "c", "leader": "a"} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, d := newOnDisks(t)
				d.set(name, nil, syscall.EIO)
				before := r.tail
				for r.tail < before+50 {
					r.commits()
				}
				n := r.nodes[name]
				r.until("it ends", func() bool { return n.failed() != nil })
				if err := n.failed(); !errors.Is(err, syscall.EIO) {
					t.Error(err)
				}
				r.stop(name)
				d.set(name, nil, nil)
				r.start(name)
				r.commits()
				r.check()
			})
		})
	}
}
