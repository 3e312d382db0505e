package cluster

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/hashicorp/raft"

	"pipit/cluster/port"
)

// Of raft's connections.
const (
	transportTimeout = 10 * time.Second // for what is sent at once; a whole database has as many as it needs
	transportPool    = 3                // connections to each node that are kept
	namingTime       = 5 * time.Second  // for saying which node a connection is meant for
)

// NewTransport returns how raft's messages go by a port. addr is where the other nodes reach it, id that of this node. A connection says
// which node it is meant for, and is closed where that is another one.
func NewTransport(p *port.Port, addr, id string, log *slog.Logger) raft.Transport {
	l := &layer{port: p, addr: Address(addr, id), id: id, log: log, named: make(chan net.Conn), closed: make(chan struct{})}
	go l.accept()
	return raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: l, MaxPool: transportPool, Timeout: transportTimeout, Logger: hclogOf(log),
	})
}

// layer is a raft.StreamLayer.
type layer struct {
	port   *port.Port
	addr   raft.ServerAddress
	id     string
	log    *slog.Logger
	named  chan net.Conn
	closed chan struct{}
}

// accept takes connections until the port or the layer is closed.
func (l *layer) accept() {
	defer close(l.closed)
	for {
		c, err := l.port.Listener(port.Engine).Accept()
		if err != nil {
			return
		}
		go func() {
			if err := l.readName(c); err != nil {
				l.log.Warn("a connection of another node was refused", "from", c.RemoteAddr().String(), "error", err)
				_ = c.Close()
				return
			}
			select {
			case l.named <- c:
			case <-l.closed:
				_ = c.Close()
			}
		}()
	}
}

// readName reads which node a connection is meant for.
func (l *layer) readName(c net.Conn) error {
	if err := c.SetReadDeadline(time.Now().Add(namingTime)); err != nil {
		return err
	}
	var head [1]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return err
	}
	id := make([]byte, head[0])
	if _, err := io.ReadFull(c, id); err != nil {
		return err
	}
	if string(id) != l.id {
		return fmt.Errorf("it is meant for node %.99q, and this is %q: its directory was lost, or is another one's", id, l.id)
	}
	return c.SetReadDeadline(time.Time{})
}

// Accept implements net.Listener.
func (l *layer) Accept() (net.Conn, error) {
	select {
	case c := <-l.named:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *layer) Close() error { return l.port.Listener(port.Engine).Close() }

// Addr implements net.Listener.
func (l *layer) Addr() net.Addr { return layerAddr(l.addr) }

type layerAddr string

func (layerAddr) Network() string  { return "tcp" }
func (a layerAddr) String() string { return string(a) }

// Dial implements raft.StreamLayer.
func (l *layer) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	addr, id := SplitAddress(to)
	if len(id) > 255 {
		return nil, fmt.Errorf("%q is no address of a node", to)
	}
	c, err := l.port.Dial(ctx, port.Engine, addr)
	if err != nil {
		return nil, err
	}
	if _, err := c.Write(append([]byte{byte(len(id))}, id...)); err != nil { // #nosec G115 -- bounded above
		_ = c.Close()
		return nil, err
	}
	return c, nil
}
