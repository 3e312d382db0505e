package main

import (
	"bytes"
	"io"
	"log/slog"
	"os"

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

func isTerminal(w any) bool {
	if l, ok := w.(*logWriter); ok {
		w = l.to
	}
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
