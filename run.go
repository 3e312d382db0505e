package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	cli "pipit/admin/command"
)

// version is that of the last entry in CHANGELOG.md. A release sets it, so that it is a variable.
var version = "0.1.0"

// run is the program. It returns the exit code.
func run(ctx context.Context, args, env []string, stdin io.Reader, stdout, stderr io.Writer) int {
	log := newLogWriter(stderr)
	defer log.Close(logFlush)
	return cli.Run(ctx, commandLine(env, stdin, stdout, stderr, log), args)
}

// versionLine names the version, the commit where the build knows it, and the Go release.
func versionLine() string {
	return fmt.Sprintf("pipit %s %s %s/%s", built(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// built is the version, and the commit where the build knows it.
func built() string {
	line := version
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				line += " " + s.Value[:min(12, len(s.Value))]
			}
		}
	}
	return line
}
