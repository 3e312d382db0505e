package command

import (
	"context"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// taken waits until the reader of a pipe has taken all that was written, for a few seconds at most. It returns an error
// as of a write where the reader has ended and left some of it.
func taken(ctx context.Context, w io.Writer) error {
	f, ok := w.(*os.File)
	if !ok {
		return nil
	}
	fd := int(f.Fd())
	for end, pause := time.Now().Add(takeTime), time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		left, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
		if err != nil || left == 0 || time.Now().After(end) {
			return nil
		}
		p := []unix.PollFd{{Fd: int32(fd)}} // #nosec G115 -- a file descriptor
		if n, err := unix.Poll(p, 0); err == nil && n > 0 && p[0].Revents&unix.POLLERR != 0 {
			return &fs.PathError{Op: "write", Path: f.Name(), Err: syscall.EPIPE}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}
