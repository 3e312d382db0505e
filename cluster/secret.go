package cluster

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/hashicorp/raft"
)

// What was secret and is replaced or deleted is to leave the disk, as far as a node's own log goes, too. So after such a batch the log is cut off behind it, what it has then is
// appended once more, and all before is overwritten with zeros. A node that was away gets the leader's file then.

// secrets is what the log still has of them.
type secrets struct {
	path string // says up to which entry, over a restart

	begun uint64 // up to which entry the log is being wiped, since it was opened; it belongs to wipeLog

	mu      sync.Mutex // of the file, too
	through uint64     // entry; 0: nothing
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
	s.mu.Lock() // before it is written: done may be about to remove what was noted before
	defer s.mu.Unlock()
	if err := writeJSON(s.path, secretsKept{through}); err != nil {
		return err
	}
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
	if e.secrets.begun != through {
		e.logs.wal.StartWipe()
		e.secrets.begun = through
	}
	return e.logs.wipe()
}
