// Command release makes what is published of a version: static programs for each system in archives, packages of Debian and of RPM,
// a list of what each program is made of, and checksums. It stands in a module of its own, since the program itself is to know nothing
// of what packs it.
//
// The same commit gives the same bytes, in any folder and at any time, with the same release of Go: times are the commit's, and what
// the environment could change of a build is set here.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/mail"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// targets are the systems that a release is for.
var targets = []string{"linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64", "windows/amd64", "windows/arm64"}

// release is one that is being made.
type release struct {
	source  string // the folder of the program's go.mod
	out     string // empty at first
	stage   string // a folder for what is not published
	version string // such as 1.2.3
	time    time.Time
	targets []string

	maintainer string // of the packages, as in the header of a mail: NAME <ADDRESS>
}

// unset is a maintainer that is none, since packages have to have one.
const unset = "Unset Maintainer <unset@localhost>"

func main() {
	r := release{}
	flag.StringVar(&r.source, "source", "..", "the `FOLDER` of the sources, a clean working tree of git")
	flag.StringVar(&r.out, "out", "../dist", "the `FOLDER` to write to; made where there is none, and else to be empty")
	flag.StringVar(&r.version, "version", "", "the `VERSION`, such as 1.2.3 (default: what the sources say)")
	only := flag.String("targets", strings.Join(targets, ","), "the `SYSTEMS` to build for, as GOOS/GOARCH")
	flag.StringVar(&r.maintainer, "maintainer", unset, "who packages tell to ask, as `NAME <ADDRESS>`")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	r.targets = strings.Split(*only, ",")
	if err := r.make(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func (r *release) make(ctx context.Context) (err error) {
	for _, target := range r.targets {
		if goos, arch, ok := strings.Cut(target, "/"); !ok || goos == "" || arch == "" {
			return fmt.Errorf("-targets %q: allowed are systems such as linux/amd64, with commas in between", target)
		}
	}
	if who, err := mail.ParseAddress(r.maintainer); err != nil || who.Name == "" || strings.ContainsAny(r.maintainer, "\r\n") {
		return fmt.Errorf("-maintainer %q: allowed is NAME <ADDRESS>, such as Ann Lee <ann@example.org>", r.maintainer)
	}
	for _, dir := range []*string{&r.source, &r.out} {
		if *dir, err = filepath.Abs(*dir); err != nil {
			return err
		}
	}
	if changed, err := r.git(ctx, "status", "--porcelain"); err != nil {
		return err
	} else if changed != "" {
		return fmt.Errorf("-source %s: allowed is a clean working tree, as a release is of a commit:\n%s", r.source, changed)
	}
	seconds, err := r.git(ctx, "log", "-1", "--format=%ct")
	if err != nil {
		return err
	}
	unix, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return err
	}
	r.time = time.Unix(unix, 0).UTC()
	if err := os.MkdirAll(r.out, 0o755); err != nil { // #nosec G301 -- to be published
		return err
	}
	if there, err := os.ReadDir(r.out); err != nil {
		return err
	} else if len(there) > 0 {
		return fmt.Errorf("-out %s: the folder is to be empty", r.out)
	}
	if r.stage, err = os.MkdirTemp("", "pipit-release-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(r.stage)) }()
	if err := r.describe(ctx); err != nil {
		return err
	}
	for _, target := range r.targets {
		fmt.Println(target)
		if err := r.target(ctx, target); err != nil {
			return fmt.Errorf("%s: %w", target, err)
		}
	}
	return r.checksums()
}

// describe has the program write its pages of man and its completions, and say its version where no flag does.
func (r *release) describe(ctx context.Context) error {
	program := filepath.Join(r.stage, "self")
	if err := r.build(ctx, runtime.GOOS, runtime.GOARCH, program); err != nil {
		return err
	}
	if r.version == "" {
		line, err := exec.CommandContext(ctx, program, "--version").Output() // #nosec G204 -- just built
		if fields := strings.Fields(string(line)); err == nil && len(fields) > 1 {
			r.version = fields[1]
		} else {
			return fmt.Errorf("%s --version: %s %w", program, line, err)
		}
	}
	man := filepath.Join(r.stage, "man")
	if err := os.MkdirAll(filepath.Join(r.stage, "completion"), 0o755); err != nil { // #nosec G301 -- to be published
		return err
	}
	if err := os.Mkdir(man, 0o755); err != nil { // #nosec G301 -- to be published
		return err
	}
	if out, err := exec.CommandContext(ctx, program, "help", "--man", man).CombinedOutput(); err != nil { // #nosec G204 -- just built
		return fmt.Errorf("pages of man: %w: %s", err, out)
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		text, err := exec.CommandContext(ctx, program, "completion", shell).Output() // #nosec G204 -- just built
		if err != nil {
			return fmt.Errorf("completion %s: %w", shell, err)
		}
		if err := os.WriteFile(filepath.Join(r.stage, "completion", "pipit."+shell), text, 0o644); err != nil { // #nosec G306 -- to be published
			return err
		}
	}
	return nil
}

// build builds the program, for which nothing of the environment counts but where Go keeps its caches and modules.
func (r *release) build(ctx context.Context, goos, arch, file string) error {
	stamp := ""
	if r.version != "" {
		stamp = " -X main.version=" + r.version
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-mod=readonly", "-trimpath", "-buildvcs=true", "-ldflags=-s -w -buildid="+stamp, "-o", file, ".") // #nosec G204 -- the maintainer's own
	cmd.Dir = r.source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+goos, "GOARCH="+arch, "GOAMD64=v1", "GOARM64=v8.0", "GOFLAGS=", "GOEXPERIMENT=", "GOFIPS140=off", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

func (r *release) git(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...) // #nosec G204 -- our own
	cmd.Dir = r.source
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("-source %s: git %s: %w", r.source, args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}

// target makes all that is for one system.
func (r *release) target(ctx context.Context, target string) error {
	goos, arch, _ := strings.Cut(target, "/")
	name := "pipit"
	if goos == "windows" {
		name += ".exe"
	}
	program := filepath.Join(r.stage, goos+"_"+arch, name)
	if err := r.build(ctx, goos, arch, program); err != nil {
		return err
	}
	base := fmt.Sprintf("pipit_%s_%s_%s", r.version, goos, arch)
	files := r.files(goos, program)
	pack, ending := tarball, ".tar.gz"
	if goos == "windows" {
		pack, ending = zipped, ".zip"
	}
	if err := r.write(base+ending, func(f *os.File) error { return pack(f, base, files, r.time) }); err != nil {
		return err
	}
	if err := r.write(base+".cdx.json", func(f *os.File) error { return bill(f, program, r.version, r.time) }); err != nil {
		return err
	}
	if goos != "linux" {
		return nil
	}
	return r.packages(arch, program)
}

// write makes a file of the release.
func (r *release) write(name string, fill func(*os.File) error) error {
	f, err := os.OpenFile(filepath.Join(r.out, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644) // #nosec G302 G304 -- to be published
	if err != nil {
		return err
	}
	return errors.Join(fill(f), f.Close())
}
