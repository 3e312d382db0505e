package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
)

// What was secret and is replaced or deleted is to leave the disk, as far as a node's own log goes, too. So after such a batch the log is cut off behind it, and its
// file is written anew; the old one is overwritten with zeros. A node that was away gets the leader's file then.

// secrets is what the log still has of them.
type secrets struct {
	path string // says up to which entry, over a restart

	mu      sync.Mutex
	through uint64 // entry; 0: nothing
}

type secretsKept struct{ Through uint64 }

func (e *Engine) openSecrets() error {
	e.secrets.path = filepath.Join(e.opts.Dir, "wipe")
	var kept secretsKept
	if err := readJSON(e.secrets.path, &kept); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	e.secrets.through = kept.Through
	return nil
}

// note has the log wiped up to an entry.
func (s *secrets) note(through uint64) error {
	if err := writeJSON(s.path, secretsKept{through}); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.through = through
	return nil
}

func (s *secrets) left() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.through
}

// done takes note that the log has nothing up to an entry.
func (s *secrets) done(through uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.through != through {
		return nil
	}
	s.through = 0
	return os.Remove(s.path)
}

// Wiping returns how much is left to do on this node until nothing is on its disk of secrets that are no more, 0 where nothing is.
func (e *Engine) Wiping() int {
	n := e.opts.Store.Wiping()
	if e.secrets.left() > 0 {
		n++
	}
	return n
}

// wipeLog wipes the log when there is reason to.
func (e *Engine) wipeLog() {
	warned := false
	for e.pause(e.opts.Heartbeat) {
		through := e.secrets.left()
		if through == 0 {
			continue
		}
		err := e.wipeThrough(through)
		if err == nil {
			err = e.secrets.done(through)
		}
		if err != nil && !errors.Is(err, errWipeLater) && !warned && !e.done() {
			e.log.Warn("the cluster's log may hold secrets that are no more, and could not be overwritten: it is tried again", "error", err)
		}
		warned = err != nil && !errors.Is(err, errWipeLater)
	}
}

var errWipeLater = errors.New("what is there is still needed")

// wipeThrough has the log hold nothing up to an entry. Behind it there has to be one, which others are asked for that follow.
func (e *Engine) wipeThrough(through uint64) error {
	last, err := e.logs.LastIndex()
	if err != nil {
		return err
	}
	if last <= through {
		if e.raft.State() == raft.Leader {
			err = e.await1(e.raft.Barrier(enqueue))
		}
		return errors.Join(err, errWipeLater) // the others get it meanwhile
	}
	if meta := e.snaps.last(); meta == nil || meta.Index < through || !meta.Whole {
		if err := e.await1(e.raft.Snapshot()); err != nil {
			return err
		}
		if meta = e.snaps.last(); meta == nil || meta.Index < through || !meta.Whole {
			return errWipeLater
		}
	}
	if e.logs.held(through) {
		return errWipeLater
	}
	if err := e.logs.drop(through); err != nil {
		return err
	}
	return e.logs.rewrite()
}

// held tells whether entries up to an index are kept for a copy to which a file is being sent.
func (s *logStore) held(through uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for from := range s.holds {
		if *from <= through {
			return true
		}
	}
	return false
}

// stableKeys are what raft keeps beside its log.
var stableKeys = [...]string{"CurrentTerm", "LastVoteTerm", "LastVoteCand"}

// rewrite makes another file of what the log has, puts it in the place of the old one, and overwrites that.
func (s *logStore) rewrite() error {
	s.io.Lock()
	defer s.io.Unlock()
	path := s.path + ".part"
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	to, err := openBoltAt(path)
	if err != nil {
		return err
	}
	if err := copyLog(s.bolt, to); err != nil {
		return errors.Join(err, to.Close(), os.Remove(path))
	}
	old, err := os.OpenFile(s.path, os.O_WRONLY, 0)
	if err != nil {
		return errors.Join(err, to.Close(), os.Remove(path))
	}
	err = errors.Join(s.bolt.Close(), os.Rename(path, s.path), syncDir(filepath.Dir(path)))
	s.bolt = to
	if err != nil { // it is not known which one the next start will find
		err = fmt.Errorf("the cluster's log could not be replaced: %w", err)
		s.fail(err)
		return errors.Join(err, old.Close())
	}
	return errors.Join(zero(old), old.Close())
}

func copyLog(from, to *raftboltdb.BoltStore) error {
	for _, key := range stableKeys {
		v, err := from.Get([]byte(key))
		if errors.Is(err, raftboltdb.ErrKeyNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if err := to.Set([]byte(key), v); err != nil {
			return err
		}
	}
	first, err := from.FirstIndex()
	if err != nil || first == 0 {
		return err
	}
	last, err := from.LastIndex()
	if err != nil {
		return err
	}
	for first <= last {
		var part []*raft.Log
		for size := 0; first <= last && size < 4*chunkSize; first++ {
			l := &raft.Log{}
			if err := from.GetLog(first, l); errors.Is(err, raft.ErrLogNotFound) { // before a file that was received
				continue
			} else if err != nil {
				return err
			}
			part = append(part, l)
			size += len(l.Data) + entryBeside
		}
		if err := to.StoreLogs(part); err != nil {
			return err
		}
	}
	return nil
}

// zero overwrites a file.
func zero(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	zeros := make([]byte, chunkSize)
	for at := int64(0); at < info.Size(); at += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), info.Size()-at)], at); err != nil {
			return err
		}
	}
	return f.Sync()
}
