package broker

import (
	"crypto/rand"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"pipit/broker/store"
)

// How it is watched whether messages can be stored.
const (
	watchEvery = 2 * time.Second
	probeRest  = 10 // times as long as a probe took, there is none: it holds up the commits
	probeLeast = 64 << 10
	probeMost  = 1 << 20
	probeKind  = "probe" // of its document
)

// source is how something that is wrong with the store was found. The first ones tell the most.
type source int

const (
	byChecking source = iota // CheckFile
	byWriting                // a commit
	byReading                // the sweeper
	sources
)

var sourceNames = [sources]string{"checking the file", "writing", "reading"}

// health is whether messages can be stored.
type health struct {
	b       *Broker
	failed  atomic.Bool           // what the store holds is uncertain: no more writes
	fatal   chan struct{}         // closed when failed is set
	first   atomic.Pointer[error] // the first of causes that is not nil
	mu      sync.Mutex
	causes  [sources]error // guarded by mu
	payload int            // bytes of the largest that was refused since writing failed; guarded by mu
}

// Health returns nil, or why messages cannot be stored: what a write ran into, until a write of the
// size of a publish proves that they can be stored again; or that the file is gone, or cannot be read.
func (b *Broker) Health() error {
	if err := b.health.first.Load(); err != nil {
		return *err
	}
	return nil
}

// Alive returns once the committer has had a turn: nil, or why nothing is stored any more. It writes nothing, and where commits
// hang it hangs, too, which is what a watchdog is to find out.
func (k keeper) Alive() error { return k.b.commits.do(documentOp(nil), 0) }

// Failed is closed when it is not known any more what the store holds: its last write may have
// failed or not. Nothing is stored or delivered from then on, and Close does not write. The program
// is to end and start again, which finds out. Health tells the cause.
func (b *Broker) Failed() <-chan struct{} { return b.health.fatal }

// note takes note of what was found, nil where all is well, and logs it where that is new.
func (h *health) note(by source, err error) {
	h.mu.Lock()
	old := h.causes[by]
	h.causes[by] = err
	if by == byWriting && err == nil {
		h.payload = 0
	}
	var first *error
	for _, cause := range h.causes {
		if cause != nil {
			first = &cause
			break
		}
	}
	h.first.Store(first) // at once: in between, all would seem to be well
	h.mu.Unlock()
	switch {
	case err == nil && old != nil:
		h.b.log.Info("the database is well again", "by", sourceNames[by])
	case err == nil || old != nil && old.Error() == err.Error():
	case errors.Is(err, store.ErrOver):
		h.b.log.Info("the database is gone on with elsewhere", "by", sourceNames[by], "reason", err)
	default:
		h.b.log.Error("the database cannot be relied on", "by", sourceNames[by], "error", err)
	}
}

// commitFailed takes note of a commit that failed, and returns what to answer its tasks.
func (h *health) commitFailed(err error, batch *store.Batch) *Error {
	h.mu.Lock()
	for _, list := range [][]*store.Record{batch.Append, batch.Delay} {
		for _, r := range list {
			h.payload = max(h.payload, len(r.Payload))
		}
	}
	h.mu.Unlock()
	switch {
	case errors.Is(err, store.ErrNoSpace):
		h.note(byWriting, err)
		return diskFull(err)
	case errors.Is(err, store.ErrNotStored) && errors.Is(err, store.ErrOver):
		h.note(byWriting, err)
		return &Error{Code: Unavailable, Message: errTakenOver.Message, RetryAfter: takenOver, Err: err}
	case errors.Is(err, store.ErrNotStored):
		h.note(byWriting, err)
		return &Error{Code: Unavailable, Message: "The database cannot be written: nothing was stored", RetryAfter: restartTime, Err: err}
	default:
		h.fail(err)
		return uncertain(err)
	}
}

// restartTime is after which a client may try again where the program has to be started again, or a
// disk to come back.
const restartTime = 5 * time.Second

// takenOver is after which a client may try again what another node goes on with.
const takenOver = time.Second

func uncertain(err error) *Error {
	if errors.Is(err, store.ErrOver) {
		return &Error{Code: Unavailable, Message: "Another node of the cluster leads by now: whether this was stored is not known. Repeat it, a message with the same msg_id",
			RetryAfter: takenOver, Err: err}
	}
	return &Error{Code: Unavailable, Message: "The database failed: whether this was stored is not known. Repeat it, a message with the same msg_id",
		RetryAfter: restartTime, Err: err}
}

// errFailed is the answer to everything after a write whose outcome is not known.
var errFailed = &Error{Code: Unavailable, Message: "The database failed: nothing was stored or delivered", Reason: "a restart is needed", RetryAfter: restartTime}

// errTakenOver is that answer where another node of a cluster goes on.
var errTakenOver = &Error{Code: Unavailable, Message: "Another node of the cluster leads by now: nothing was stored or delivered", RetryAfter: takenOver, Err: store.ErrOver}

// refusal is one of these two.
func (h *health) refusal() *Error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if errors.Is(h.causes[byWriting], store.ErrOver) {
		return errTakenOver
	}
	return errFailed
}

// fail ends all writing and delivering: it is not known what the store holds.
func (h *health) fail(err error) {
	if h.failed.CompareAndSwap(false, true) {
		h.note(byWriting, err)
		close(h.fatal)
		h.b.Drain()
	}
}

// abandon answers the tasks of a commit that panicked, in which case anything may be stored.
func (c *commits) abandon(tasks []*task) {
	err := errors.New("a commit panicked")
	c.b.health.fail(err)
	for _, t := range tasks {
		if !t.answered {
			t.answered, t.err = true, uncertain(err)
			t.done <- struct{}{}
		}
	}
}

// admit refuses a publish that would be lost, while the file that is written is not the one that the next start will
// open, and one for which the disk has hardly any room: what makes room needs some, too.
func (h *health) admit(op operation) error {
	if h.first.Load() == nil {
		return nil
	}
	if _, ok := op.(*publishOp); !ok {
		return nil
	}
	h.mu.Lock()
	err := h.causes[byChecking]
	h.mu.Unlock()
	switch {
	case errors.Is(err, store.ErrNoSpace):
		return diskFull(err)
	case !errors.Is(err, store.ErrLost):
		return nil
	}
	return &Error{Code: Unavailable, Message: "The database file is gone: nothing was stored", RetryAfter: restartTime, Err: err}
}

// watchLoop looks every few seconds whether messages can be stored, and what the clock does.
func (h *health) watchLoop() {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	var next time.Time // of a probe
	for {
		select {
		case <-h.b.closing:
			return
		case <-tick.C:
		}
		now := time.Now()
		h.b.clock.observe(h.b.wall(now), h.b.since(now))
		h.checkFile()
		if n := h.probeSize(); n > 0 && !now.Before(next) {
			if h.probe(n) == nil {
				h.note(byWriting, nil)
			}
			end := time.Now()
			next = end.Add(probeRest * end.Sub(now))
		}
	}
}

// checkFile looks whether the file is the one that the next start will open, and the disk has the room that it is to have.
func (h *health) checkFile() {
	s, ok := h.b.store.(store.FileChecker)
	if !ok {
		return
	}
	err := s.CheckFile()
	if errors.Is(err, store.ErrFailed) {
		h.fail(err)
	}
	h.note(byChecking, err)
}

// probeSize returns how many bytes to write to find out whether messages can be stored again: as many
// as the publish had that could not be. It returns 0 where nothing is to be found out, or the
// disk has no room for it anyway.
func (h *health) probeSize() int {
	h.mu.Lock()
	err, n := h.causes[byWriting], h.payload
	h.mu.Unlock()
	if err == nil || h.failed.Load() {
		return 0
	}
	n = min(max(n, probeLeast), probeMost)
	if st := h.b.store.Stats(); errors.Is(err, store.ErrNoSpace) && st.DiskFree >= 0 && st.DiskFree+st.Free+st.LogSize-st.LogUsed < int64(n) {
		return 0
	}
	return n
}

// probe stores n bytes in one piece, as a publish would, and removes them.
func (h *health) probe(n int) error {
	d := Document{Kind: probeKind, Key: probeKind, Value: make([]byte, n)}
	rand.Read(d.Value) // such that no file system makes less of it; never fails
	// In commits of their own: nobody is refused together with a probe.
	if err := h.b.commits.doAlone(documentOp{d}); err != nil {
		return err
	}
	d.Value = nil
	return h.b.commits.doAlone(documentOp{d})
}
