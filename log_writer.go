package main

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"time"
)

// Bounds of a logWriter.
const (
	logBuffer    = 1 << 20                // bytes that wait; lines past it are dropped
	logPiece     = 32 << 10               // bytes of one write
	logFirstWait = 10 * time.Millisecond  // before what failed is written again; doubled up to
	logLastWait  = time.Second            // this
	logFlush     = 300 * time.Millisecond // for the rest, when the process ends
)

// logWriter stands between the log and a destination that may be slow, stuck, full or gone: a pipe
// that nobody reads, a stopped terminal, a full disk. Who writes never waits for it and never
// gets an error of it. Lines arrive in their order; what is dropped is counted, and a line in its
// place says how many, as soon as the destination takes lines again.
type logWriter struct {
	to      io.Writer
	closing chan struct{} // closed by Close
	ended   chan struct{} // closed when nothing is written any more

	mu      sync.Mutex
	more    *sync.Cond         // of mu: there is something to do for run
	notice  func(n int) []byte // the line that says that n lines were dropped
	waiting []byte             // complete lines
	size    int                // bytes that wait or are being written
	dropped int                // lines, after those that wait
	closed  bool
}

func newLogWriter(to io.Writer) *logWriter {
	w := &logWriter{to: to, closing: make(chan struct{}), ended: make(chan struct{})}
	w.more = sync.NewCond(&w.mu)
	w.notice = func(n int) []byte { return fmt.Appendf(nil, "pipit: %d %s\n", n, droppedMessage) }
	go w.run()
	return w
}

const droppedMessage = "lines of the log were dropped, as they could not be written fast enough"

// setNotice sets how the line is made that says that n lines were dropped.
func (w *logWriter) setNotice(notice func(n int) []byte) {
	w.mu.Lock()
	w.notice = notice
	w.mu.Unlock()
}

// Write takes complete lines. It never fails.
func (w *logWriter) Write(lines []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.closed:
	case w.dropped > 0 || w.size+len(lines) > logBuffer: // one gap, not one a line
		w.dropped += max(1, bytes.Count(lines, []byte("\n")))
		w.more.Signal()
	default:
		w.waiting = append(w.waiting, lines...)
		w.size += len(lines)
		w.more.Signal()
	}
	return len(lines), nil
}

// Close writes what waits, as far as that is done within limit. What is written later is dropped.
func (w *logWriter) Close(limit time.Duration) {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.closing)
		w.more.Signal()
	}
	w.mu.Unlock()
	select {
	case <-w.ended:
	case <-time.After(limit):
	}
}

// run writes what waits, until Close.
func (w *logWriter) run() {
	defer close(w.ended)
	for batch, ok := w.next(nil); ok; batch, ok = w.next(batch) {
		if !w.pass(batch) {
			return
		}
	}
}

// next waits for lines and returns them, false when there will be none. It takes the space of the
// last ones.
func (w *logWriter) next(last []byte) ([]byte, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.waiting) == 0 && w.dropped == 0 {
		if w.closed {
			return nil, false
		}
		w.more.Wait()
	}
	if len(w.waiting) == 0 {
		w.waiting = append(w.waiting, w.notice(w.dropped)...)
		w.size += len(w.waiting)
		w.dropped = 0
	}
	batch := w.waiting
	w.waiting = last[:0]
	return batch, true
}

// firstOf is what is written at once: whole lines, where one fits, so that a file that is full ends with one.
func firstOf(lines []byte) []byte {
	piece := lines[:min(len(lines), logPiece)]
	if n := bytes.LastIndexByte(piece, '\n'); n >= 0 {
		return piece[:n+1]
	}
	return piece
}

// pass writes lines, and what failed again and again. It returns false where that fails at the end.
func (w *logWriter) pass(lines []byte) bool {
	wait := logFirstWait
	for len(lines) > 0 {
		n, err := w.to.Write(firstOf(lines))
		lines = lines[n:]
		w.mu.Lock()
		w.size -= n
		w.mu.Unlock()
		if err == nil {
			wait = logFirstWait
			continue
		}
		select {
		case <-time.After(wait):
		case <-w.closing:
			return false
		}
		wait = min(2*wait, logLastWait)
	}
	return true
}
