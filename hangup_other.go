//go:build !unix

package main

import "os"

// hangups are SIGHUPs, of which there are none here.
type hangups struct{ c chan os.Signal }

func notifyHangup() *hangups        { return &hangups{} }
func (h *hangups) stop()            {}
func (h *hangups) ofTerminal() bool { return false }
