package callback

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"
)

// rerun runs the test again, alone and in a process of its own with another environment.
func rerun(t *testing.T, env ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$") // #nosec G204 G702 -- this test
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// names is a server of names by which every one has the address that it is told.
type names struct {
	conn net.PacketConn
	addr atomic.Pointer[netip.Addr]
}

func newNames(t *testing.T) *names {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	n := &names{conn: conn}
	go n.serve()
	return n
}

func (n *names) set(addr string) {
	a := netip.MustParseAddr(addr)
	n.addr.Store(&a)
}

func (n *names) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", n.conn.LocalAddr().String())
	}}
}

// serve answers questions for an A record, and all others with none (RFC 1035, section 4).
func (n *names) serve() {
	buf := make([]byte, 1500)
	for {
		size, from, err := n.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		end := 12
		for end < size && buf[end] != 0 {
			end += int(buf[end]) + 1
		}
		end += 5 // the root, the type and the class
		if end > size {
			continue
		}
		reply := append([]byte(nil), buf[:end]...)
		binary.BigEndian.PutUint16(reply[2:], 0x8180) // an answer, recursion
		clear(reply[6:12])
		if binary.BigEndian.Uint16(reply[end-4:]) == 1 {
			binary.BigEndian.PutUint16(reply[6:], 1)
			ip := n.addr.Load().As4()
			reply = append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
			reply = append(reply, ip[:]...)
		}
		_, _ = n.conn.WriteTo(reply, from)
	}
}
