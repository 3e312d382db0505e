package history

import (
	"time"

	"pipit/broker/store"
)

// Recorder takes in what one commit has come to. It holds the log's lock: who has one does nothing else, and ends it.
type Recorder struct {
	l   *Log
	now int64
}

// Begin returns a recorder of what happened at now. It is false where nothing is kept.
func (l *Log) Begin(now time.Time) (r Recorder, ok bool) {
	if !l.on.Load() {
		return r, false
	}
	l.mu.Lock()
	if l.limits.Keep <= 0 {
		l.mu.Unlock()
		return r, false
	}
	return Recorder{l, now.UnixMicro()}, true
}

// End lets go of the log.
func (r Recorder) End() { r.l.mu.Unlock() }

// writer returns the block that takes the next entry.
func (r Recorder) writer() *writer {
	l := r.l
	if w := l.open; w != nil && (len(w.body) >= blockSize || (w.messages+1)*perBlock > l.limits.Messages || time.Duration(r.now-w.first)*time.Microsecond > l.limits.Keep/perBlock) {
		l.gathered += len(w.body)
		l.seal()
		l.trim(time.UnixMicro(r.now))
	}
	if l.open == nil {
		l.open = newWriter(l.seq, r.now)
		l.seq++
	}
	l.open.at(r.now)
	return l.open
}

// Published records a message of a topic that has its place, or, at position 0, waits for its delay: then it is recorded
// again when it has one.
func (r Recorder) Published(t Topic, rec *store.Record) { r.writer().publish(t, rec) }

// Finished records how a consumer was done with a message of its queue, after so many deliveries, the last of them at
// delivered: the zero time where that is not known.
func (r Recorder) Finished(queue uint32, q Queue, o Outcome, priority uint8, pos uint64, deliveries uint32, delivered time.Time) {
	var at int64
	if !delivered.IsZero() {
		at = delivered.UnixMicro()
	}
	r.writer().finish(queue, q, o, priority, pos, deliveries, at)
}

// Gone records how a message ended as a whole. One that waited for its delay has position 0, and an ID of its own.
func (r Recorder) Gone(t Topic, o Outcome, p store.Place, id string) { r.writer().gone(t, o, p, id) }

// Passed records how a consumer was done with all messages of a range that it was not done with before.
func (r Recorder) Passed(queue uint32, q Queue, o Outcome, priority uint8, s store.Span) {
	r.writer().pass(queue, q, o, priority, s)
}

// Ended records how all messages of a topic ended.
func (r Recorder) Ended(topic uint32, t Topic, o Outcome) { r.writer().end(topic, t, o) }
