package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// entry is a file of an archive.
type entry struct {
	name string // within, with slashes
	file string // on the disk
	mode os.FileMode
}

// files are those of an archive, in a fixed order.
func (r *release) files(goos, program string) []entry {
	list := []entry{{filepath.Base(program), program, 0o755}}
	for _, name := range []string{"LICENSE", "README.md", "CHANGELOG.md", "SECURITY.md", "config.example.toml"} {
		list = append(list, entry{name, filepath.Join(r.source, name), 0o644})
	}
	folders := map[string]string{"completion": filepath.Join(r.stage, "completion")}
	if goos != "windows" {
		folders["man/man1"] = filepath.Join(r.stage, "man")
	}
	if goos == "linux" {
		folders["systemd"] = filepath.Join(r.source, "deploy", "systemd")
	}
	for within, folder := range folders {
		names, _ := filepath.Glob(filepath.Join(folder, "*")) // the pattern is good
		for _, file := range names {
			list = append(list, entry{path.Join(within, filepath.Base(file)), file, 0o644})
		}
	}
	slices.SortFunc(list, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return list
}

func tarball(w io.Writer, base string, files []entry, at time.Time) error {
	z := gzip.NewWriter(w)
	t := tar.NewWriter(z)
	for _, e := range files {
		content, err := os.ReadFile(e.file)
		if err != nil {
			return err
		}
		h := tar.Header{Name: path.Join(base, e.name), Mode: int64(e.mode), Size: int64(len(content)), ModTime: at, Format: tar.FormatUSTAR}
		if err := t.WriteHeader(&h); err != nil {
			return err
		}
		if _, err := t.Write(content); err != nil {
			return err
		}
	}
	if err := t.Close(); err != nil {
		return err
	}
	return z.Close()
}

func zipped(w io.Writer, base string, files []entry, at time.Time) error {
	z := zip.NewWriter(w)
	for _, e := range files {
		content, err := os.ReadFile(e.file)
		if err != nil {
			return err
		}
		h := zip.FileHeader{Name: path.Join(base, e.name), Method: zip.Deflate, Modified: at}
		h.SetMode(e.mode)
		f, err := z.CreateHeader(&h)
		if err != nil {
			return err
		}
		if _, err := f.Write(content); err != nil {
			return err
		}
	}
	return z.Close()
}

// checksums writes SHA256SUMS, which sha256sum -c reads.
func (r *release) checksums() error {
	names, err := os.ReadDir(r.out) // by name
	if err != nil {
		return err
	}
	var lines strings.Builder
	for _, name := range names {
		content, err := os.ReadFile(filepath.Join(r.out, name.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&lines, "%x  %s\n", sha256.Sum256(content), name.Name())
	}
	return r.write("SHA256SUMS", func(f *os.File) error { _, err := f.WriteString(lines.String()); return err })
}
