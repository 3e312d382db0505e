package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pipit/config"
)

// gated is a destination that takes nothing until it is open, and fails with err, if that is set.
type gated struct {
	open chan struct{}
	mu   sync.Mutex
	err  error
	got  bytes.Buffer
}

func (g *gated) Write(b []byte) (int, error) {
	<-g.open
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		n, _ := g.got.Write(b[:len(b)/2])
		return n, g.err
	}
	return g.got.Write(b)
}

func (g *gated) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.err = err
}

func (g *gated) lines() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return strings.Split(strings.TrimSuffix(g.got.String(), "\n"), "\n")
}

// What a stuck destination does not take is kept up to the bound; the rest is counted, in its place.
func TestLogWriterDrops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := &gated{open: make(chan struct{})}
		w := newLogWriter(to)
		log, _ := newLogger(config.Log{Level: "error", Format: "json"}, w)
		line := strings.Repeat("x", 999) + "\n"
		const many = 2 * logBuffer / 1000
		for range many {
			if n, err := w.Write([]byte(line)); n != len(line) || err != nil {
				t.Fatal(n, err)
			}
		}
		log.Error("one more")
		close(to.open)
		synctest.Wait()
		log.Error("it flows")
		w.Close(logFlush)
		lines := to.lines()
		kept := logBuffer / 1000
		if len(lines) != kept+2 || lines[0]+"\n" != line || lines[kept-1]+"\n" != line {
			t.Fatalf("%d lines, want %d", len(lines), kept+2)
		}
		var notice struct {
			Level, Msg string
			Lines      int
		}
		if err := json.Unmarshal([]byte(lines[kept]), &notice); err != nil || notice.Lines != many+1-kept || notice.Level != "ERROR" || notice.Msg != droppedMessage {
			t.Error(lines[kept], err)
		}
		if !strings.Contains(lines[kept+1], "it flows") {
			t.Error(lines[kept+1])
		}
	})
}

// What failed, in part even, is written again when that is possible.
func TestLogWriterFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := &gated{open: make(chan struct{})}
		close(to.open)
		to.fail(errors.New("full"))
		w := newLogWriter(to)
		var want []string
		for i := range 20 {
			want = append(want, fmt.Sprint("line ", i))
			fmt.Fprintln(w, want[i])
			time.Sleep(time.Second) // lint:sleep fake time: so much passes between two lines
		}
		to.fail(nil)
		time.Sleep(2 * logLastWait) // lint:sleep fake time
		if got := to.lines(); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%q", got)
		}
		to.fail(errors.New("full"))
		fmt.Fprintln(w, "lost")
		w.Close(logFlush) // returns
		fmt.Fprintln(w, "late")
	})
}

// A destination that is stuck does not hold up the end.
func TestLogWriterCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := &gated{open: make(chan struct{})}
		w := newLogWriter(to)
		fmt.Fprintln(w, "line")
		begun := time.Now()
		w.Close(logFlush)
		if d := time.Since(begun); d != logFlush { // fake time
			t.Error(d)
		}
		close(to.open)
	})
}
