package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	cli "pipit/admin/command"
	"pipit/broker/login"
)

// version is that of the last entry in CHANGELOG.md.
const version = "0.1.0"

// run is the program. It returns the exit code: 0 also where ctx ended it, 2 for bad flags, else 1;
// those of commands are package command's.
func run(ctx context.Context, args, env []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if !cli.Handles(args) || args[0] == "serve" { // the broker, which its log must not hold up
		log := newLogWriter(stderr)
		defer log.Close(logFlush)
		stderr = log
	}
	if cli.Handles(args) {
		return cli.Run(ctx, commandLine(env, stdin, stdout, stderr), args)
	}
	flags := flag.NewFlagSet("pipit", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintf(stderr, "Usage: pipit [FLAG…], which runs the broker, or pipit COMMAND …\n\nFlags:\n")
		flags.PrintDefaults()
		fmt.Fprintf(stderr, "\nCommands, see pipit help:\n%s", cli.Summary())
	}
	file := flags.String("config", "", "read the configuration from `FILE`; config.example.toml lists every key")
	check := flags.Bool("check-config", false, "name all that a start would refuse, and exit")
	show := flags.Bool("version", false, "print the version and exit")
	hash := flags.Bool("hash-password", false, "ask for a password, or read it from a line of standard input, print what password_hash takes, and exit")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "pipit: unexpected argument %q: see pipit -help\n", flags.Arg(0))
		return 2
	}
	err := func() error {
		switch {
		case *show:
			fmt.Fprintln(stdout, versionLine())
			return nil
		case *hash:
			return hashPassword(ctx, commandLine(env, stdin, stdout, stderr))
		}
		if *check {
			return checkConfig(ctx, *file, env, stdout, stderr)
		}
		return runBroker(ctx, *file, env, stderr)
	}()
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			fmt.Fprintf(stderr, "pipit: %s\n", strings.TrimSpace(line))
		}
		return 1
	}
	return 0
}

// versionLine names the version, the commit where the build knows it, and the Go release.
func versionLine() string {
	line := "pipit " + version
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				line += " " + s.Value[:min(12, len(s.Value))]
			}
		}
	}
	return fmt.Sprintf("%s %s %s/%s", line, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// hashPassword prints the hash of a password that it asks for, or reads from standard input.
func hashPassword(ctx context.Context, p cli.Program) error {
	password, err := p.Secret(ctx, "password", true)
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted")
	}
	if err != nil {
		return err
	}
	hash, err := login.HashPassword(password)
	if err != nil {
		return err
	}
	fmt.Fprintln(p.Stdout, hash)
	if weak := login.WeakPassword("", password); weak != "" {
		fmt.Fprintln(p.Stderr, "pipit: warning: the password is weak: "+weak)
	}
	return nil
}

// tune sets the runtime up for this program, where the environment does not say otherwise.
func tune() {
	if os.Getenv("GOGC") == "" {
		// What lives is small, a few megabytes, and every request allocates a little that dies with
		// it: the default would collect many times a second to save memory that nobody misses.
		debug.SetGCPercent(400)
	}
	if os.Getenv("GOMAXPROCS") == "" {
		// The committer spends its life in fsync. One processor more than there are cores lets
		// it come back from there without a queue of requests before it.
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
}
