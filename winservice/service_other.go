//go:build !windows

package winservice

import (
	"context"
	"io"
)

// Is tells whether the process is the service.
func Is() bool { return false }

// Run runs a program as the service where the process is that, and tells so: then code is its exit code.
func Run(func(context.Context, io.Writer) int, func()) (code int, is bool) { return 0, false }

// Install makes the service, of this program with a configuration, which begins with the machine.
func Install(string) error { return ErrElsewhere }

// Uninstall removes it, when it is stopped. Its database stays.
func Uninstall() error { return ErrElsewhere }

// Start starts it.
func Start() error { return ErrElsewhere }

// Stop stops it, and returns when it has, which takes as long as its drain.
func Stop(context.Context) error { return ErrElsewhere }
