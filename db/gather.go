package db

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"
)

// gather has the batches that are answered before the log has them, where Options.SyncInterval asks for that. They are in the
// live table, and all of them are appended together, as one entry with one flush, when the first has waited for the interval.
// The log has entries whole and in order, or not: so what a crash loses are the last batches, and none that is older than the
// interval and one flush.
//
// Nothing is frozen, and so no checkpoint has it, before the log has it. Whether the log has room is found out before a
// batch is taken, while it can still be refused.
type gather struct {
	store *Store
	every time.Duration // 0: no batch is answered before the log has it
	most  int           // bytes that are gathered

	opened        chan struct{} // tells run that the first batch is waiting
	stop, stopped chan struct{}

	io sync.Mutex // held while an entry is appended; comes before mu

	mu     sync.Mutex
	number uint64 // of the entry
	entry  []byte // that grows; empty: nothing waits
	flying int    // bytes that are being appended
	spare  []byte // for the next entry
	full   error  // why the log has perhaps no room for more
}

// gatherPart of the log is gathered at most.
const gatherPart = 16

var errNotReserved = errors.New("the log was not asked whether it has room")

func (g *gather) init(s *Store, every time.Duration) {
	g.store, g.every, g.most = s, every, int(s.logSize/gatherPart)
	g.opened, g.full = make(chan struct{}, 1), errNotReserved
}

func (g *gather) start() {
	if g.every > 0 {
		g.stop, g.stopped = make(chan struct{}), make(chan struct{})
		go g.run()
	}
}

func (g *gather) end() {
	if g.stop != nil {
		close(g.stop)
		<-g.stopped
		g.stop = nil
	}
}

// run flushes what was gathered in an interval.
func (g *gather) run() {
	defer close(g.stopped)
	for {
		select {
		case <-g.stop:
			return
		case <-g.opened:
		}
		select {
		case <-g.stop:
			return
		case <-time.After(g.every):
		}
		_ = g.flush() // which notes its error
	}
}

// append makes a batch the last one of the log, or of what is to come there. Its errors are those of journal.Append. The caller
// has the turn.
func (g *gather) append(encoded []byte) error {
	s := g.store
	if g.every == 0 || len(encoded) > g.most/2 {
		if err := g.flush(); err != nil {
			return err
		}
		err := s.journal.Append(s.number+1, encoded)
		if err == nil {
			s.number++
			g.mu.Lock()
			g.full = errNotReserved
			g.mu.Unlock()
		}
		return err
	}
	if g.take(encoded) == nil {
		return nil
	}
	if err := g.flush(); err != nil {
		return err
	}
	return g.take(encoded)
}

var errGathered = errors.New("as much is gathered as may be")

// take gathers a batch, where there is room for it.
func (g *gather) take(encoded []byte) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.full != nil:
		return g.full
	case g.flying+len(g.entry)+len(encoded)+1+binary.MaxVarintLen64 > g.most:
		return errGathered
	}
	if len(g.entry) == 0 {
		g.store.number++
		g.number, g.entry = g.store.number, append(g.entry, groupVersion)
		select {
		case g.opened <- struct{}{}:
		default:
		}
	}
	g.entry = append(binary.AppendUvarint(g.entry, uint64(len(encoded))), encoded...)
	return nil
}

// flush has the log take what was gathered, and waits for what is on its way. After an error the store has failed: that was
// answered.
func (g *gather) flush() error {
	if g.every == 0 {
		return nil
	}
	g.io.Lock()
	defer g.io.Unlock()
	s := g.store
	if err := s.failed(); err != nil {
		return err
	}
	g.mu.Lock()
	number, entry := g.number, g.entry
	g.entry, g.flying, g.spare = g.spare[:0], len(entry), nil
	g.mu.Unlock()
	if len(entry) > 0 {
		if err := s.journal.Append(number, entry); err != nil {
			err = fmt.Errorf("database %s: what was answered in the last %v could not be stored: %w", s.path, g.every, err)
			s.fail(err)
			return err
		}
	}
	full := s.journal.Reserve(g.most)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.flying, g.spare, g.full = 0, entry, full
	return nil
}

// empty tells whether the log has all that was answered.
func (g *gather) empty() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.flying+len(g.entry) == 0
}
