package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pipit/admin"
	"pipit/broker"
	"pipit/broker/limit"
	"pipit/db"
)

// openTerminal returns both ends of a pseudo-terminal of a width.
func openTerminal(t *testing.T, columns uint16) (computer, terminal *os.File) {
	t.Helper()
	computer, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no pseudo-terminal:", err)
	}
	t.Cleanup(func() { computer.Close() })
	fd := int(computer.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	if err := unix.IoctlSetWinsize(int(terminal.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}); err != nil {
		t.Fatal(err)
	}
	return computer, terminal
}

// serveAPI serves the admin API of a broker, to everybody.
func serveAPI(t *testing.T) (*broker.Broker, string) {
	t.Helper()
	store, err := db.Open(filepath.Join(t.TempDir(), "pipit.db"), db.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := broker.Open(store, broker.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	a, err := admin.New(b, admin.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	s := httptest.NewServer(a.Local())
	t.Cleanup(s.Close)
	return b, s.URL
}

// What a person sees: tables as wide as the terminal, a sign of life over many pages, and nothing
// that controls the terminal.
func TestTerminal(t *testing.T) {
	b, url := serveAPI(t)
	const topics = 2500 // three pages
	long := "/" + strings.Repeat("long/", 30) + "end"
	d := broker.Definition{Topics: []broker.Topic{{Name: long, MaxDepth: 5000}}}
	for i := range topics {
		d.Topics = append(d.Topics, broker.Topic{Name: fmt.Sprintf("/t/%d", i), MaxDepth: 1})
	}
	d.Clients = []broker.Client{{Username: "c", Password: "p"}}
	d.Consumers = []broker.Consumer{{Client: "c", Topic: long, MaxDepth: 5000, MaxInFlight: 1, AckTimeout: limit.DefaultAckTimeout}}
	if _, err := b.Apply(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	const messages = 1100 // two pages
	var publishers sync.WaitGroup
	for range messages {
		publishers.Go(func() {
			if _, err := b.Publish(t.Context(), long, []byte("\x1b[31mred\x07\n")); err != nil {
				t.Error(err)
			}
		})
	}
	publishers.Wait()

	computer, terminal := openTerminal(t, 100)
	run := func(args ...string) (seen string) {
		t.Helper()
		var shown bytes.Buffer
		read := make(chan struct{})
		const end = "THE END"
		go func() {
			defer close(read)
			buf := make([]byte, 4096)
			for !strings.Contains(shown.String(), end) {
				n, err := computer.Read(buf)
				if err != nil {
					return
				}
				shown.Write(buf[:n])
			}
		}()
		p := Program{Stdin: strings.NewReader(""), Stdout: terminal, Stderr: terminal}
		if code := Run(context.Background(), p, append(args, "--server", url)); code != exitOK {
			t.Errorf("%q: exit code %d", args, code)
		}
		io.WriteString(terminal, end)
		<-read
		return shown.String()
	}

	list := run("topic", "list")
	if n := strings.Count(list, "/t/"); n != topics {
		t.Errorf("%d topics listed", n)
	}
	line, _, _ := strings.Cut(list[strings.Index(list, "/long"):], "\r\n")
	if n := len([]rune(line)); n > 100 || n < 80 || !strings.Contains(line, "…") || !strings.Contains(line, "/end ") {
		t.Errorf("%d columns: %s", n, line)
	}

	seen := run("messages", "list", long, "--limit", "0")
	if n := strings.Count(seen, `\x1b[31mred\a\n`); n != messages {
		t.Errorf("%d messages listed", n)
	}
	if !regexp.MustCompile(`looking at messages +[0-9]+% \|`).MatchString(seen) {
		t.Error("no bar, though it is known how many there are")
	}
	_, rows, _ := strings.Cut(seen, "MSG_ID")
	if strings.ContainsAny(rows, "\x1b\a") {
		t.Error("a payload controls the terminal")
	}
	if seen := run("messages", "list", long, "--text", "red"); !strings.Contains(seen, "looking at messages") || strings.Contains(seen, "%") {
		t.Errorf("how many a filter finds is not known: %q", seen[:min(len(seen), 100)])
	}
	if seen := run("export", filepath.Join(t.TempDir(), "definitions.json")); !regexp.MustCompile(`exporting +[0-9]+% \|`).MatchString(seen) {
		t.Errorf("no bar of an export: %q", seen)
	}
}

// A bar goes along with the work, and leaves nothing behind, also when the work fails.
func TestProgress(t *testing.T) {
	for _, columns := range []uint16{100, 40} {
		computer, terminal := openTerminal(t, columns)
		half, read := make(chan struct{}), make(chan string)
		go func() {
			var shown []byte
			saw := false
			buf := make([]byte, 4096)
			for !bytes.Contains(shown, []byte("THE END")) {
				n, err := computer.Read(buf)
				if err != nil {
					break
				}
				shown = append(shown, buf[:n]...)
				if !saw && bytes.Contains(shown, []byte(" 50% |")) {
					saw = true
					close(half)
				}
			}
			if !saw {
				close(half)
			}
			read <- string(shown)
		}()
		p := Program{Stdin: strings.NewReader(""), Stdout: terminal, Stderr: terminal}
		p.Verify = func(_ string, progress func(float64)) error {
			progress(0.5)
			select {
			case <-half:
			case <-time.After(time.Minute):
			}
			return errors.New("it is broken")
		}
		if code := Run(t.Context(), p, []string{"check", "/a/database/with/a/long/name.db"}); code == exitOK {
			t.Error("exit code 0")
		}
		io.WriteString(terminal, "THE END")
		seen := <-read
		if !strings.Contains(seen, " 50% |") {
			t.Errorf("the bar never showed half: %q", seen)
		}
		for _, line := range strings.FieldsFunc(seen, func(r rune) bool { return r == '\r' || r == '\n' }) {
			if n := len([]rune(line)); strings.Contains(line, "%") && n > int(columns) {
				t.Errorf("%d columns where there are %d: %q", n, columns, line)
			}
		}
		_, after, _ := strings.Cut(seen, " 50% |")
		if wiped, _, _ := strings.Cut(after, "it is broken"); !strings.Contains(wiped, "\r"+strings.Repeat(" ", 20)) {
			t.Errorf("the bar is still there: %q", seen)
		}
	}
}
