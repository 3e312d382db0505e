//go:build !unix

package main

import "os"

// hangups are SIGHUPs, of which there are none here: the service of Windows asks in their place.
type hangups struct{ c chan os.Signal }

var asked = make(chan os.Signal, 1)

func askReload() {
	select {
	case asked <- os.Interrupt:
	default: // somebody did already
	}
}

func notifyHangup() *hangups        { return &hangups{asked} }
func (h *hangups) stop()            {}
func (h *hangups) ofTerminal() bool { return false }
