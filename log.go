package main

import (
	"bytes"
	"io"
	"log/slog"

	cli "pipit/admin/command"
	"pipit/config"
)

// newLogger logs to w: as text where a person reads it, as JSON where a program does, unless
// the configuration says which. The level can be set while it is used.
func newLogger(c config.Log, w io.Writer) (*slog.Logger, *slog.LevelVar) {
	if c.Format == "auto" {
		c.Format = "json"
		if isTerminal(w) {
			c.Format = "text"
		}
	}
	if l, ok := w.(*logWriter); ok {
		l.setNotice(func(n int) []byte {
			var line bytes.Buffer
			log, _ := newLogger(c, &line)
			log.Error(droppedMessage, "lines", n) // shown at every level
			return line.Bytes()
		})
	}
	level := &slog.LevelVar{}
	_ = level.UnmarshalText([]byte(c.Level)) // checked with the configuration
	opts := &slog.HandlerOptions{Level: level}
	if c.Format == "text" {
		return slog.New(slog.NewTextHandler(w, opts)), level
	}
	return slog.New(slog.NewJSONHandler(w, opts)), level
}

// isTerminal tells whether a person reads what is written, with a logWriter before it or without.
func isTerminal(w io.Writer) bool {
	if l, ok := w.(*logWriter); ok {
		w = l.to
	}
	_, ok := cli.Terminal(w)
	return ok
}
