package receiver

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// shell returns a command, not started, that Ctrl-C on the console does not reach.
func shell(line string) *exec.Cmd {
	cmd := exec.Command("cmd")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		CmdLine:       `cmd /s /c "` + line + `"`, // which it reads by rules of its own
		CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP,
	}
	return cmd
}

func exitCode(s *os.ProcessState) int { return s.ExitCode() }

// endGroup ends a process and all that it has started, at once: Windows asks nobody.
func endGroup(_ context.Context, leader *os.Process) { killGroup(leader) }

func killGroup(leader *os.Process) {
	_ = exec.Command("taskkill", "/T", "/F", "/PID", strconv.Itoa(leader.Pid)).Run() // #nosec G204 -- a number
	_ = leader.Kill()
}
