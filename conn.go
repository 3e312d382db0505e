package main

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// watchAfter is how long a handler may take before its connection is watched for a client that
// leaves. Publishes are answered sooner, nearly all of them.
const watchAfter = 20 * time.Millisecond

// conn is an accepted connection. It spares the system what net/http asks for with every request
// and hardly ever needs, which together takes a tenth of the time of a publish:
//
//   - Deadlines are put off many times for each time that one passes. The connection keeps the one
//     it has until a call is about to pass it, and a call that it ends too early is made again.
//   - While a handler runs, net/http reads one byte to see whether the client leaves. That read
//     begins watchAfter late. Under TLS, where records are read whole, it does not.
type conn struct {
	net.Conn
	closed func()
	once   sync.Once

	mu          sync.Mutex
	read, write deadline
	watching    bool          // a read of one byte waits for its time
	wake        chan struct{} // ends that wait
	timer       *time.Timer   // of that wait
}

// deadline is that of reading or of writing. The zero time is none.
type deadline struct {
	want  time.Time // what the caller has set
	set   time.Time // what the connection has
	calls int       // that are at the connection
}

// newConn returns c as a conn, which calls closed when it is closed first.
func newConn(c net.Conn, closed func()) *conn {
	return &conn{Conn: c, closed: closed, wake: make(chan struct{}, 1)}
}

func (c *conn) Read(p []byte) (int, error) {
	if len(p) == 1 && !c.watch() {
		return 0, os.ErrDeadlineExceeded
	}
	for {
		c.begin(&c.read, c.Conn.SetReadDeadline)
		n, err := c.Conn.Read(p)
		if !c.end(&c.read, err) {
			return n, err
		}
	}
}

func (c *conn) Write(p []byte) (n int, err error) {
	for {
		c.begin(&c.write, c.Conn.SetWriteDeadline)
		m, err := c.Conn.Write(p[n:])
		n += m
		if !c.end(&c.write, err) {
			return n, err
		}
	}
}

// CloseWrite ends what is written and goes on reading, so that a reply to a request that was not
// read to its end arrives.
func (c *conn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return errors.ErrUnsupported
}

func (c *conn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.closed)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endWatch()
	return err
}

func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.read.put(t, c.Conn.SetReadDeadline)
	c.endWatch()
	return err
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.write.put(t, c.Conn.SetWriteDeadline)
}

// put notes a deadline. Only calls that would end too late need it at once.
func (d *deadline) put(t time.Time, set func(time.Time) error) error {
	d.want = t
	if d.calls == 0 || !earlier(t, d.set) {
		return nil
	}
	d.set = t
	return set(t)
}

// begin comes before a call at the connection. It sets the deadline that the call needs.
func (c *conn) begin(d *deadline, set func(time.Time) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d.calls++
	if earlier(d.want, d.set) || past(d.set) && !past(d.want) {
		d.set = d.want
		_ = set(d.want) // where it fails, so does the call
	}
}

// end comes after the call. It tells whether the call is to be made again.
func (c *conn) end(d *deadline, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	d.calls--
	return err != nil && errors.Is(err, os.ErrDeadlineExceeded) && !past(d.want)
}

// watch waits until it is time to read the one byte. It returns false where the deadline passed.
func (c *conn) watch() bool {
	c.mu.Lock()
	if past(c.read.want) {
		c.mu.Unlock()
		return false
	}
	if c.timer == nil {
		c.timer = time.NewTimer(watchAfter)
	} else {
		c.timer.Reset(watchAfter)
	}
	c.watching = true
	c.mu.Unlock()
	select {
	case <-c.wake:
	case <-c.timer.C:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watching = false
	c.timer.Stop()
	select {
	case <-c.wake: // it came with the time
	default:
	}
	return !past(c.read.want)
}

func (c *conn) endWatch() {
	if c.watching {
		c.watching = false
		c.wake <- struct{}{}
	}
}

// earlier tells whether a deadline is before another.
func earlier(t, other time.Time) bool {
	return !t.IsZero() && (other.IsZero() || t.Before(other))
}

// past tells whether a deadline has passed.
func past(t time.Time) bool { return !t.IsZero() && !t.After(time.Now()) }
