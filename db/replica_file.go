package db

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// Snapshot is a copy that is still read: the file of one moment, with zeros where it has free pages, and behind it a checksum as behind a
// backup. Applying goes on meanwhile; the file grows by what it changes.
type Snapshot struct {
	Mark ReplicaMark // of what it has
	Size int64       // bytes, with the checksum

	snap    *snapshot
	reading *atomic.Int64
	pipe    *io.PipeReader
	done    chan struct{}
}

// Snapshot begins a copy of what the file has. It is to be closed.
func (r *Replica) Snapshot() (*Snapshot, error) {
	s := r.Store
	reading := s.wipe.enter()
	snap, err := takeSnapshot(s)
	if err != nil {
		reading.Add(-1)
		return nil, err
	}
	n := &Snapshot{snap: snap, reading: reading, Size: snap.tx.Size() + int64(sumSize), done: make(chan struct{})}
	if n.Mark, err = parseReplicaMark(snap.tx.Bucket(bucketNames[bucketMeta]).Get(keyReplica)); err != nil {
		n.end()
		return nil, err
	}
	pipe, to := io.Pipe()
	n.pipe = pipe
	go func() {
		defer close(n.done)
		_ = to.CloseWithError(n.writeTo(to))
	}()
	return n, nil
}

func (n *Snapshot) end() {
	abandon(n.snap.tx)
	n.reading.Add(-1)
}

func (n *Snapshot) writeTo(w io.Writer) (err error) {
	defer guard(&err)()
	sum := sha256.New()
	z := &zeroing{to: io.MultiWriter(w, sum), snap: n.snap}
	if _, err := n.snap.tx.WriteTo(z); err != nil {
		return err
	}
	_, err = w.Write(sealOf(sum))
	return err
}

func sealOf(sum hash.Hash) []byte { return sum.Sum([]byte(sumMagic)) }

// Read implements io.Reader.
func (n *Snapshot) Read(b []byte) (int, error) { return n.pipe.Read(b) }

// Close ends it, also where not all was read.
func (n *Snapshot) Close() error {
	err := n.pipe.Close()
	<-n.done
	n.end()
	return err
}

// zeroing passes on the pages of a snapshot, with zeros in the place of those that are free: they may hold what is left of secrets.
type zeroing struct {
	to   io.Writer
	snap *snapshot
	at   int64
	buf  []byte
}

func (z *zeroing) Write(b []byte) (int, error) {
	z.buf = append(z.buf[:0], b...)
	for from := 0; from < len(b); {
		page := (z.at + int64(from)) / z.snap.pageSize
		to := min(int((page+1)*z.snap.pageSize-z.at), len(b))
		if z.snap.isFree(page) {
			clear(z.buf[from:to])
		}
		from = to
	}
	n, err := z.to.Write(z.buf)
	z.at += int64(n)
	return n, err
}

// unseal compares a file with the checksum at its end, which it cuts off.
func unseal(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0) // #nosec G304 -- what the cluster received
	if err != nil {
		return err
	}
	defer f.Close()
	if err := verifySum(context.Background(), f, io.Discard, nil); err != nil {
		return err
	}
	_, size, err := readSum(f)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Sync())
}

// Install puts a file that was made by Snapshot in the place of the database's own. It must lie in the same folder as that, and is
// gone then. It is compared with its checksum before anything changes. Where unchanged is true, the error left everything as it was; else the
// Replica is only to be closed.
func (r *Replica) Install(path string) (unchanged bool, err error) {
	s := r.Store
	if !canReplace {
		return true, errors.New("this system does not let a file be replaced that is open")
	}
	s.turn.Lock()
	defer s.turn.Unlock()
	f, m, err := openInstalled(s, path)
	if err != nil {
		return true, fmt.Errorf("database %s: what was sent to take its place: %w", s.path, err)
	}
	s.stopWorker() // which may be about to move a table that is of no use then
	if err := install(s, f, m, path); err != nil {
		err = fmt.Errorf("database %s: putting another file in its place: %w", s.path, err)
		s.fail(err)
		return false, err
	}
	return false, nil
}

// openInstalled opens a file that is to take the place of the database's own.
func openInstalled(s *Store, path string) (f *file, m mark, err error) {
	if err := unseal(path); err != nil {
		return nil, m, err
	}
	if _, err := inspect(path, Options{LockTimeout: time.Second, Program: s.program}, nil); err != nil {
		return nil, m, err
	}
	bolt, data, err := openBolt(path, s.file().page, time.Second)
	if err != nil {
		return nil, m, err
	}
	if f, err = newFile(bolt, data); err == nil {
		err = sameOwner(data, s.file().info)
	}
	if err == nil {
		var st state
		if st, err = readState(bolt); err == nil {
			s.fileMu.Lock() // the worker goes on
			own := s.mark.replica
			s.fileMu.Unlock()
			m, err = st.mark, own.takes(st.mark.replica)
		}
	}
	if err != nil {
		return nil, m, errors.Join(err, bolt.Close())
	}
	return f, m, nil
}

// takes tells whether a copy may become one that has another mark.
func (m ReplicaMark) takes(other ReplicaMark) error {
	switch {
	case other.Cluster == (ClusterID{}):
		return errors.New("it is no copy of a cluster")
	case m.Cluster != (ClusterID{}) && m.Cluster != other.Cluster:
		return errors.New("it is a copy of another cluster")
	}
	return nil
}

// install is Install when the file is open. The worker is stopped.
func install(s *Store, f *file, m mark, path string) (err error) {
	s.fileMu.Lock()
	s.compacting.end(errors.New("another file takes the place of the database's"))
	err = putInPlace(s, f, path)
	s.fileMu.Unlock()
	if err != nil {
		return err
	}
	s.mark, s.loaded = m, false
	s.wipe.left.Store(0)
	s.openMu.Lock()
	clear(s.open)
	s.openMu.Unlock()
	if _, err = s.Load(); err != nil {
		return err
	}
	s.tablesMu.Lock()
	defer s.tablesMu.Unlock()
	s.worker.tried(nil) // of a table that is of no use any more
	return nil
}

// putInPlace renames the file, and has all see it. The caller has fileMu.
func putInPlace(s *Store, f *file, path string) error {
	old := s.file()
	target, err := filepath.EvalSymlinks(s.path)
	if err != nil {
		return errors.Join(err, f.bolt.Close())
	}
	rest, err := s.fs.OpenFile(target, os.O_RDWR, 0)
	if err != nil {
		return errors.Join(err, f.bolt.Close())
	}
	if err := s.fs.Rename(path, target); err != nil {
		return errors.Join(err, f.bolt.Close())
	}
	err = s.fs.SyncDir(filepath.Dir(target))
	setTables(s, &tables{live: &table{}, file: f})
	s.worker.retired = append(s.worker.retired, &file{bolt: old.bolt, rest: rest})
	return err
}
