//go:build unix

package receiver

import (
	"context"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// shell returns a command, not started, that has a process group of its own.
func shell(line string) *exec.Cmd {
	cmd := exec.Command("/bin/sh", "-c", line) // #nosec G204 -- it is what the user wants run
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

func exitCode(s *os.ProcessState) int {
	if w, ok := s.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return 128 + int(w.Signal())
	}
	return s.ExitCode()
}

// endGroup ends a process group: by SIGTERM, and once Grace has passed or ctx ends, by SIGKILL. Its leader is waited for by somebody
// else, and while any of it is left no other group has its number.
func endGroup(ctx context.Context, leader *os.Process) {
	if syscall.Kill(-leader.Pid, syscall.SIGTERM) != nil {
		return
	}
	check := time.NewTicker(groupCheck)
	defer check.Stop()
	for end := time.After(Grace); ; {
		select {
		case <-check.C:
			if syscall.Kill(-leader.Pid, 0) == syscall.ESRCH {
				return
			}
		case <-end:
			killGroup(leader)
			return
		case <-ctx.Done():
			killGroup(leader)
			return
		}
	}
}

// killGroup kills a process group.
func killGroup(leader *os.Process) { _ = syscall.Kill(-leader.Pid, syscall.SIGKILL) }
