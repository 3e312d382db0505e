package main

import (
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func TestListenAll(t *testing.T) {
	all, err := listenAll(t.Context(), "http.listen", []string{"127.0.0.1:0", "127.0.0.1:0", "[::1]:0"}, 10, quiet)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range all {
		defer l.Close()
	}
	if len(all) < 2 || beyondLoopback(all) != "" {
		t.Error(len(all), beyondLoopback(all))
	}
	taken := all[0].Addr().String()
	if _, err := listenAll(t.Context(), "http.listen", []string{"127.0.0.1:0", taken}, 10, quiet); err == nil || !strings.Contains(err.Error(), taken) {
		t.Error(err)
	}
	wide, err := listenAll(t.Context(), "http.listen", []string{"0.0.0.0:0"}, 10, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer wide[0].Close()
	if beyondLoopback(append(all, wide...)) != wide[0].Addr().String() {
		t.Error(beyondLoopback(wide))
	}
}

// One connection more than the limit waits until another is closed, on whichever listener.
func TestMaxConnections(t *testing.T) {
	all, err := listenAll(t.Context(), "http.listen", []string{"127.0.0.1:0", "127.0.0.1:0"}, 1, quiet)
	if err != nil {
		t.Fatal(err)
	}
	dial := func(l net.Listener) {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
	dial(all[0])
	first, err := all[0].Accept()
	if err != nil {
		t.Fatal(err)
	}
	dial(all[1])
	second := make(chan net.Conn)
	go func() {
		c, err := all[1].Accept()
		if err != nil {
			t.Error(err)
		}
		second <- c
	}()
	select {
	case <-second:
		t.Fatal("accepted beyond the limit")
	default:
	}
	first.Close()
	first.Close() // gives one slot back, not two
	c := <-second
	if n := len(all[0].(*limitedListener).slots); n != 1 {
		t.Errorf("%d slots taken", n)
	}

	// Closing a listener ends an Accept that waits for a slot.
	dial(all[0])
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := all[0].Accept(); err == nil {
			t.Error("accepted beyond the limit")
		}
	})
	all[0].Close()
	wg.Wait()
	c.Close()
	all[1].Close()
}

// A connection can be closed in one direction, and what the client still sends arrives.
func TestCloseWrite(t *testing.T) {
	all, err := listenAll(t.Context(), "http.listen", []string{"127.0.0.1:0"}, 1, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer all[0].Close()
	client, err := net.Dial("tcp", all[0].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	c, err := all[0].Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(client); len(b) > 0 || err != nil {
		t.Errorf("%q, %v: want the end", b, err)
	}
	if _, err := client.Write([]byte("rest")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "rest" {
		t.Errorf("%q, %v", b, err)
	}
}
