package main

import (
	"compress/gzip"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/deb" // a format
	_ "github.com/goreleaser/nfpm/v2/rpm" // likewise
)

//go:embed nfpm.yaml
var recipe string

// packages makes the packages of one architecture.
func (r *release) packages(arch, program string) error {
	if err := r.compressed("man", ".1"); err != nil {
		return err
	}
	config, err := r.recipe(arch, program)
	if err != nil {
		return err
	}
	config.MTime = r.time
	for _, format := range []string{"deb", "rpm"} {
		info, err := config.Get(format)
		if err != nil {
			return err
		}
		for _, c := range info.Contents {
			if c.FileInfo == nil {
				return fmt.Errorf("nfpm.yaml: %s has no mode", c.Destination)
			}
			c.FileInfo.MTime, c.FileInfo.Owner, c.FileInfo.Group = r.time, "root", "root"
		}
		script := filepath.Join(r.source, "deploy", "package", format)
		info.Scripts = nfpm.Scripts{PostInstall: script + ".postinst", PreRemove: script + ".prerm", PostRemove: script + ".postrm"}
		info.RPM.BuildHost = "localhost"
		info = nfpm.WithDefaults(info)
		packager, err := nfpm.Get(format)
		if err != nil {
			return err
		}
		name := packager.ConventionalFileName(info)
		if err := r.write(name, func(f *os.File) error { return packager.Package(info, f) }); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// recipe is what the packages of one architecture are made by.
func (r *release) recipe(arch, program string) (nfpm.Config, error) {
	values := map[string]string{"VERSION": r.version, "ARCH": arch, "PROGRAM": program, "SOURCE": r.source, "STAGE": r.stage, "MAINTAINER": r.maintainer}
	return nfpm.ParseWithEnvMapping(strings.NewReader(recipe), func(name string) string { return values[name] })
}

// compressed has a folder of the stage beside it, with .gz behind its name, of its files with an ending.
func (r *release) compressed(folder, ending string) error {
	to := filepath.Join(r.stage, folder+".gz")
	if err := os.Mkdir(to, 0o755); errors.Is(err, fs.ErrExist) { // #nosec G301 -- to be published
		return nil // of another architecture
	} else if err != nil {
		return err
	}
	names, err := filepath.Glob(filepath.Join(r.stage, folder, "*"+ending))
	if err != nil || len(names) == 0 {
		return errors.Join(err, fmt.Errorf("no %s in %s", ending, folder))
	}
	for _, name := range names {
		content, err := os.ReadFile(name) // #nosec G304 -- our own
		if err != nil {
			return err
		}
		f, err := os.Create(filepath.Join(to, filepath.Base(name)+".gz")) // #nosec G304 -- our own
		if err != nil {
			return err
		}
		z, err := gzip.NewWriterLevel(f, gzip.BestCompression)
		if err == nil {
			_, err = z.Write(content)
			err = errors.Join(err, z.Close())
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}
