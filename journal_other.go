//go:build !linux

package main

// journaled is false: there is no systemd.
func journaled([]string) bool { return false }
