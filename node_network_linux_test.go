package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// network is what lies between nodes, each of which is reached by a proxy. What is held up on a connection arrives when it is let go on, as from TCP.
type network struct {
	t *testing.T

	mu      sync.Mutex
	change  *sync.Cond
	pids    map[int]string // of nodes
	blocked map[way]bool
	delay   time.Duration // at most, of each piece by itself
	links   map[*link]bool
	over    bool
}

// way is a direction between two nodes.
type way struct{ from, to string }

// link is a connection that one node has made to another.
type link struct {
	way
	conns [2]net.Conn
}

func newNetwork(t *testing.T) *network {
	w := &network{t: t, pids: map[int]string{}, blocked: map[way]bool{}, links: map[*link]bool{}}
	w.change = sync.NewCond(&w.mu)
	t.Cleanup(func() {
		w.mu.Lock()
		w.over = true
		w.change.Broadcast()
		w.mu.Unlock()
		w.drop()
	})
	return w
}

// started is for trio: it tells connections of different nodes apart.
func (w *network) started(name string, pid int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pids[pid] = name
}

// reached is for newTrioOf.
func (w *network) reached(name, addr string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go w.connect(c, name, addr)
		}
	}()
	return l.Addr().String()
}

func (w *network) connect(c net.Conn, name, addr string) {
	from := w.whose(c)
	there, err := net.Dial("tcp", addr)
	if err != nil || from == "" {
		c.Close()
		if err == nil {
			there.Close()
		}
		return
	}
	k := &link{way{from, name}, [2]net.Conn{c, there}}
	w.mu.Lock()
	w.links[k] = true
	w.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { w.pass(there, c, k.way) })
	both.Go(func() { w.pass(c, there, way{name, from}) })
	both.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.links, k)
}

// whose returns which node has the other end of a connection; empty: none that is known.
func (w *network) whose(c net.Conn) string {
	here, there := c.LocalAddr().(*net.TCPAddr), c.RemoteAddr().(*net.TCPAddr)
	inode := ""
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		panic(err)
	}
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) > 9 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", there.Port)) && strings.HasSuffix(f[2], fmt.Sprintf(":%04X", here.Port)) {
			inode = "socket:[" + f[9] + "]"
		}
	}
	for deadline := time.Now().Add(5 * time.Second); inode != "" && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) { // lint:sleep the process has begun, and is not known yet
		w.mu.Lock()
		pids := make(map[int]string, len(w.pids))
		for pid, name := range w.pids {
			pids[pid] = name
		}
		w.mu.Unlock()
		for pid, name := range pids {
			files, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/fd/*")
			if slices.ContainsFunc(files, func(f string) bool { s, _ := os.Readlink(f); return s == inode }) {
				return name
			}
		}
	}
	return ""
}

// pass passes bytes on, as the network is at the time.
func (w *network) pass(to, from net.Conn, by way) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		w.mu.Lock()
		delay := w.delay
		w.mu.Unlock()
		if delay > 0 {
			time.Sleep(rand.N(delay)) // lint:sleep a slow network
		}
		w.mu.Lock()
		for w.blocked[by] && !w.over {
			w.change.Wait()
		}
		w.mu.Unlock()
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// cut holds up what a node sends to the others, and what they send to it.
func (w *network) cut(name string, out, in bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range nodeNames {
		if n != name {
			w.blocked[way{name, n}], w.blocked[way{n, name}] = out, in
		}
	}
}

// heal lets everything go on.
func (w *network) heal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.blocked)
	w.delay = 0
	w.change.Broadcast()
}

// slow delays each piece by so much at most, so that connections overtake each other.
func (w *network) slow(most time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.delay = most
}

// drop ends all connections, which are made anew then.
func (w *network) drop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for k := range w.links {
		for _, c := range k.conns {
			c.Close()
		}
	}
}
