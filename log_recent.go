package main

import (
	"bytes"
	"sync"
)

// Bounds of recentLines.
const (
	recentMost  = 1000    // lines
	recentBytes = 1 << 20 // of all of them
	recentLine  = 8 << 10 // bytes of one; what is longer is cut
)

// recentLines are the last lines of the log, for who looks for a fault.
type recentLines struct {
	mu    sync.Mutex
	lines [][]byte
	size  int
}

// Write takes one line. It never fails.
func (l *recentLines) Write(line []byte) (int, error) {
	kept := bytes.Clone(line[:min(len(line), recentLine)])
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, kept)
	l.size += len(kept)
	for len(l.lines) > recentMost || l.size > recentBytes {
		l.size -= len(l.lines[0])
		l.lines[0] = nil
		l.lines = l.lines[1:]
	}
	return len(line), nil
}

// text is all of them.
func (l *recentLines) text() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Join(l.lines, nil)
}
