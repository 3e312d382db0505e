//go:build !linux

package main

import "pipit/winservice"

// journaled tells whether standard error is the event log of Windows.
func journaled([]string) bool { return winservice.Is() }
