package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// meter measures time, the CPU time of the server and of this process, and what was written meanwhile.
type meter struct {
	target         target
	start          time.Time
	server, client time.Duration // CPU times at the start; negative: not known
	writes         writes        // at the start
}

func startMeter(t target) meter {
	return meter{target: t, server: cpuTime(t.pid), client: cpuTime(os.Getpid()), writes: t.disk.writes(t.pid), start: time.Now()}
}

// sample returns the rate of n messages since the start, and what each came to.
func (m meter) sample(n int) sample {
	elapsed := time.Since(m.start)
	wrote := m.target.disk.writes(m.target.pid).since(m.writes, float64(n))
	each := func(before time.Duration, pid int) time.Duration {
		after := cpuTime(pid)
		if before < 0 || after < 0 || n == 0 {
			return -1
		}
		return (after - before) / time.Duration(n)
	}
	return sample{
		rate:      float64(n) / elapsed.Seconds(),
		serverCPU: each(m.server, m.target.pid),
		clientCPU: each(m.client, os.Getpid()),
		wrote:     wrote,
	}
}

// cpuTime returns the CPU time, in user mode and in the kernel, that a process has used. It is
// negative where the system has no /proc.
func cpuTime(pid int) time.Duration {
	const tick = time.Second / 100 // USER_HZ, the same on every Linux
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return -1
	}
	// Fields are counted from behind the name, which may hold anything.
	f := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(f) < 13 {
		return -1
	}
	user, err1 := strconv.ParseInt(string(f[11]), 10, 64)
	system, err2 := strconv.ParseInt(string(f[12]), 10, 64)
	if err1 != nil || err2 != nil {
		return -1
	}
	return time.Duration(user+system) * tick
}

// residentMemory is what a process holds in memory, in bytes.
type residentMemory struct {
	all       float64
	anonymous float64 // without the mapped pages of files
}

// memoryOf reads /proc; ok is false where there is none.
func memoryOf(pid int) (m residentMemory, ok bool) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return m, false
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		kib, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 64)
		switch {
		case err != nil:
		case name == "VmRSS":
			m.all = kib * 1024
		case name == "RssAnon":
			m.anonymous = kib * 1024
		}
	}
	return m, m.all > 0
}
