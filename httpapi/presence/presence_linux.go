package presence

import (
	"net"

	"golang.org/x/sys/unix"
)

// awaitLoss waits until a connection is reset, or its deadline for reading. It does not wait where
// the other side can still send, but for TLS, whose own end comes earlier: then the request was ended by somebody
// else than the client.
func awaitLoss(c *net.TCPConn, tls bool) {
	rc, err := c.SyscallConn()
	if err != nil {
		return
	}
	// A reset wakes who waits for something to read, as the end of what is sent did before.
	_ = rc.Read(func(fd uintptr) bool {
		_, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK)
		open := err == unix.EAGAIN
		return open && !tls || reset(fd)
	})
}

// lost tells whether a connection was reset.
func lost(c *net.TCPConn) bool {
	is := true
	if rc, err := c.SyscallConn(); err == nil {
		_ = rc.Control(func(fd uintptr) { is = reset(fd) })
	}
	return is
}

// reset tells whether a socket's connection is no more. Reading from it does not: it says so once,
// and that was net/http, and looks like the end of what was sent then.
func reset(fd uintptr) bool {
	_, err := unix.Getpeername(int(fd))
	return err != nil
}

// underWay tells whether something that was sent has not arrived at the other side's system.
func underWay(c *net.TCPConn) bool {
	n := 0
	if rc, err := c.SyscallConn(); err == nil {
		_ = rc.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	}
	return n > 0
}
