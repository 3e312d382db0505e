// Command pipit is REST publish/subscribe in one process: topics, producers, consumers and messages
// in one file.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	_ "golang.org/x/crypto/x509roots/fallback" // for an image without files, from which receivers with HTTPS are called as well

	"pipit/winservice"
)

func main() {
	// A reader of our output that went away is an error of a write, which who writes handles, and
	// not the end of the process.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	program := func(ctx context.Context, stderr io.Writer) int {
		return run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, stderr)
	}
	if code, is := winservice.Run(program, askReload); is {
		os.Exit(code)
	}
	os.Exit(program(ctx, os.Stderr))
}
