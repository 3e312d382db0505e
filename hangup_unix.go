//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// hangups are SIGHUPs: somebody asks for the configuration to be loaded again, or the terminal was
// closed, which ends a program.
type hangups struct {
	c        chan os.Signal
	terminal bool // there was one, whose end is to end the process
}

func notifyHangup() *hangups {
	h := &hangups{make(chan os.Signal, 1), hasTerminal() && !signal.Ignored(syscall.SIGHUP)} // nohup has it ignored
	signal.Notify(h.c, syscall.SIGHUP)
	return h
}

func askReload() {} // who asks here sends the signal

func (h *hangups) stop() { signal.Stop(h.c) }

// ofTerminal tells whether the last one is that of the terminal.
func (h *hangups) ofTerminal() bool { return h.terminal && !hasTerminal() }

// hasTerminal tells whether the process belongs to a terminal that is open.
func hasTerminal() bool {
	f, err := os.OpenFile("/dev/tty", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	_ = f.Close()
	return true
}
