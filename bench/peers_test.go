package main

import (
	"bufio"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// bench in a directory of the test.
func newBench(t *testing.T) *bench {
	dir := t.TempDir()
	return &bench{dir: dir, disk: deviceOf(dir), progress: io.Discard, options: options{rounds: 1, seconds: 50 * time.Millisecond}}
}

// The client of Redis stays in step with whatever is replied.
func TestRedisReplies(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	asked := make(chan string, 1)
	replies := []string{"+PONG\r\n", "$15\r\n1526919030474-0\r\n", ":7\r\n", "$0\r\n\r\n", "-ERR no\r\n", "$-1\r\n", "$5\r\nab\r\nc\r\n", "\r\n"}
	go func() {
		defer server.Close()
		r := bufio.NewReader(server)
		for _, reply := range replies {
			var command strings.Builder
			for range 5 { // lines of a command of two words
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				command.WriteString(line)
			}
			asked <- command.String()
			_, _ = io.WriteString(server, reply)
		}
	}()
	c := &conn{Conn: client, r: bufio.NewReader(client)}
	for i, want := range []string{"PONG", "1526919030474-0", "7", "", `error: answered "-ERR no"`, `error: not a string: "$-1"`, "ab\r\nc", "error: an empty reply", "error: EOF"} {
		done := make(chan string, 1)
		go func() {
			got, err := c.redis(redisCommand("ECHO", "žē"))
			if err != nil {
				done <- "error: " + err.Error()
				return
			}
			done <- string(got)
		}()
		if i < len(replies) {
			if got := <-asked; got != "*2\r\n$4\r\nECHO\r\n$4\r\nžē\r\n" {
				t.Fatalf("asked %q", got)
			}
		}
		if got := <-done; got != want && i < len(replies) {
			t.Fatalf("%d: got %q, want %q", i, got, want)
		} else if i == len(replies) && !strings.HasPrefix(got, "error: ") {
			t.Fatalf("after the end: %q", got)
		}
	}
}

// Redis stores what the bench has it add, flushed, and leaves nothing behind.
func TestRedis(t *testing.T) {
	program, err := exec.LookPath(redisProgram)
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	b := newBench(t)
	redis, stop, err := b.startRedis(t.Context(), program)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	add := redisCommand("XADD", "s", "*", "payload", "x")
	s, err := load(t.Context(), redis, 4, 1, b.seconds, add)
	if err != nil || s.rate <= 0 || s.latency.p50 <= 0 {
		t.Errorf("got %+v, %v", s, err)
	}
	c, err := dial(t.Context(), redis.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if n, err := c.redis(redisCommand("XLEN", "s")); err != nil || string(n) == "0" {
		t.Errorf("it has %s, %v", n, err)
	}
	for setting, want := range map[string]string{"aof_enabled": "1", "rdb_saves": "0"} {
		if info, err := c.redis(redisCommand("INFO", "persistence")); err != nil || !strings.Contains(string(info), setting+":"+want+"\r\n") {
			t.Errorf("%s is not %s: %s, %v", setting, want, info, err)
		}
	}
	if _, err := load(t.Context(), redis, 1, 1, b.seconds, redisCommand("XADD", "s")); err == nil || !strings.Contains(err.Error(), "wrong number of arguments") {
		t.Errorf("a command that is refused: %v", err)
	}
	stop()
	if left, err := os.ReadDir(b.dir); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestPeersWithoutRedis(t *testing.T) {
	t.Setenv("PATH", "")
	b := newBench(t)
	b.scenario = "peers-1"
	if err := peers(1, goal{})(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if len(b.report.rows) != 0 || len(b.report.notes) != 1 || b.report.notes[0] != "peers-1: skipped: redis-server is not installed" {
		t.Errorf("reported %+v", b.report)
	}
}
