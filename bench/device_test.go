package main

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func TestMountedFrom(t *testing.T) {
	const mounts = `21 26 0:20 / /proc rw,relatime - proc proc rw
26 1 254:0 / / rw,relatime - ext4 /dev/vda rw
27 26 8:1 / /srv rw,relatime - ext4 /dev/sda1 rw
28 26 8:17 / /srv rw,relatime - xfs /dev/sdb1 rw
29 26 8:2 / /srv/data rw,relatime - ext4 /dev/sda2 rw

short
`
	for dir, want := range map[string]string{
		"/":             "254:0",
		"/home/a":       "254:0",
		"/srvother":     "254:0",
		"/srv":          "8:17",
		"/srv/datafile": "8:17",
		"/srv/data/a/b": "8:2",
	} {
		if got := mountedFrom(mounts, dir); got != want {
			t.Errorf("%s: %q, want %q", dir, got, want)
		}
	}
	if got := mountedFrom("", "/"); got != "" {
		t.Errorf("of nothing: %q", got)
	}
}

func TestWrites(t *testing.T) {
	dir := t.TempDir()
	stat := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	part := stat("part", " 10 0 80 5 20 0 400 9 0 7 14 0 0 0 0 0 0\n")
	whole := stat("whole", " 10 0 80 5 20 0 500 9 0 7 14 0 0 0 0 33 4\n")
	before := writes{bytes: 400*512 - 1000, flushes: 13}
	d := device{name: "part", written: part, flushed: whole}
	if got := d.writes(0).since(before, 10); got != (writes{bytes: 100, flushes: 2}) {
		t.Errorf("got %+v", got)
	} else if got.String() != "0.10 KB in 2.00 flushes" {
		t.Error(got)
	}

	// Where something is not known, nothing is made of it.
	d = device{written: stat("old", " 10 0 80 5 20 0 400\n"), flushed: filepath.Join(dir, "none")}
	if got := d.writes(0); got != (writes{bytes: 400 * 512, flushes: -1}) {
		t.Errorf("got %+v", got)
	}
	if got := d.writes(0).since(before, 10); got.flushes != -1 || got.String() != "0.10 KB" {
		t.Errorf("got %+v", got)
	}
	if got := d.writes(0).since(before, 0); got != (writes{bytes: -1, flushes: -1}) || got.String() != "" {
		t.Errorf("of no messages: %+v", got)
	}

	// Without a device it is the process' own count.
	if got := (device{}).writes(os.Getpid()); runtime.GOOS == "linux" && got.bytes < 0 || got.flushes != -1 {
		t.Errorf("of this process: %+v", got)
	}
}
