package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// device is the disk that has a directory. The zero value is one that was not found.
//
// A process' own count, /proc/PID/io, is of pages that it made dirty, whole folios of them: of a log that is written a few
// kilobytes at a time it may say a hundred times what reaches the disk. The device's is true, but it counts what others write, too.
type device struct {
	name    string
	written string // file with the count of sectors
	flushed string // file with the count of flushes: a partition has none of its own
}

// writes are counts that grow. They are negative where they are not known.
type writes struct {
	bytes   float64
	flushes float64
}

// deviceOf finds the device that has a directory, where the system tells.
func deviceOf(dir string) device {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return device{}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return device{}
	}
	number := mountedFrom(string(mounts), dir)
	sys, err := filepath.EvalSymlinks("/sys/dev/block/" + number)
	if number == "" || err != nil {
		return device{}
	}
	d := device{name: filepath.Base(sys), written: filepath.Join(sys, "stat"), flushed: filepath.Join(sys, "stat")}
	if _, err := os.Stat(filepath.Join(sys, "partition")); err == nil {
		d.flushed = filepath.Join(filepath.Dir(sys), "stat")
	}
	return d
}

// mountedFrom returns the number, as "254:0", of the device that a directory is on, empty where it is not found.
func mountedFrom(mountinfo, dir string) (number string) {
	longest := -1
	for line := range strings.Lines(mountinfo) {
		f := strings.Fields(line)
		if len(f) < 5 {
			continue
		}
		// The last of those mounted in one place hides the others.
		at := strings.TrimSuffix(f[4], "/")
		if len(at) >= longest && strings.HasPrefix(dir+"/", at+"/") {
			longest, number = len(at), f[2]
		}
	}
	return number
}

// writes reads the counts. Where the device was not found they are those of a process.
func (d device) writes(pid int) writes {
	if d.written == "" {
		return writes{bytes: processWrites(pid), flushes: -1}
	}
	const sector = 512 // bytes, whatever the device's own are
	w := writes{bytes: blockStat(d.written, 6), flushes: blockStat(d.flushed, 15)}
	if w.bytes > 0 {
		w.bytes *= sector
	}
	return w
}

// blockStat returns a field of a device's stat, counted from 0.
func blockStat(file string, field int) float64 {
	text, err := os.ReadFile(file) // #nosec G304 -- a file of /sys
	if err != nil {
		return -1
	}
	f := strings.Fields(string(text))
	if len(f) <= field {
		return -1
	}
	n, err := strconv.ParseFloat(f[field], 64)
	if err != nil {
		return -1
	}
	return n
}

func processWrites(pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return -1
	}
	_, rest, found := bytes.Cut(text, []byte("\nwrite_bytes: "))
	value, _, _ := bytes.Cut(rest, []byte("\n"))
	n, err := strconv.ParseFloat(string(value), 64)
	if !found || err != nil {
		return -1
	}
	return n
}

// since returns how much each of n things came to.
func (w writes) since(before writes, n float64) writes {
	each := func(after, before float64) float64 {
		if after < 0 || before < 0 || n == 0 {
			return -1
		}
		return (after - before) / n
	}
	return writes{bytes: each(w.bytes, before.bytes), flushes: each(w.flushes, before.flushes)}
}

func (w writes) String() string {
	var parts []string
	if w.bytes >= 0 {
		parts = append(parts, kilobytes(w.bytes))
	}
	if w.flushes >= 0 {
		parts = append(parts, fmt.Sprintf("%.2f flushes", w.flushes))
	}
	return strings.Join(parts, " in ")
}

// noteOthers says what was written to the disk in a second in which this command did nothing.
func (b *bench) noteOthers(ctx context.Context) error {
	if b.disk.name == "" {
		return nil
	}
	before, start := b.disk.writes(0), time.Now()
	if err := pause(ctx, time.Second); err != nil {
		return err
	}
	w := b.disk.writes(0).since(before, time.Since(start).Seconds())
	b.report.note("%s: before it began others wrote to the disk, %s: %s a second", b.scenario, b.disk.name, w)
	return nil
}
