package broker_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pipit/broker"
	"pipit/broker/limit"
	"pipit/broker/property"
	"pipit/db"
)

// killEnv makes TestKill the child that is to be killed: the file, the round and a seed.
const killEnv = "PIPIT_TEST_KILL"

const (
	killPublishers = 4
	killReceivers  = 2 // of each consumer
	killSpan       = 1_000_000
)

var killKeys = []string{"a", "b"}

func killDefinition() broker.Definition {
	topic := topicDef("/t")
	topic.Expiration, topic.DedupWindow = property.Off, 24*time.Hour
	d := broker.Definition{
		Clients:   []broker.Client{{Username: "crm", Name: "CRM", PasswordHash: hash}},
		Topics:    []broker.Topic{topic},
		Producers: []broker.Producer{{Client: "crm", Topic: "/t"}},
	}
	for _, key := range killKeys {
		c := consumerDef("/t", key)
		c.AckTimeout = time.Hour
		c.MaxInFlight = limit.MaxMaxInFlight
		d.Consumers = append(d.Consumers, c)
	}
	return d
}

// killBook is what the parent knows from the lines of all children. A line is a letter and
// what it is about:
//
//	B number...      about to publish; with an odd number, under its own ID
//	P number...      published
//	A key number...  about to acknowledge
//	D key number...  acknowledged
//	E text           something went wrong
type killBook struct {
	begun     map[int]bool // published, perhaps
	published map[int]bool
	ackBegun  map[string]map[int]bool
	acked     map[string]map[int]bool
}

func (b *killBook) read(t *testing.T, line string) {
	f := strings.Fields(line)
	numbers := func(m map[int]bool, list []string) {
		for _, s := range list {
			n, err := strconv.Atoi(s)
			if err != nil {
				t.Fatalf("line %q: %v", line, err)
			}
			m[n] = true
		}
	}
	switch f[0] {
	case "B":
		numbers(b.begun, f[1:])
	case "P":
		numbers(b.published, f[1:])
	case "A":
		numbers(b.ackBegun[f[1]], f[2:])
	case "D":
		numbers(b.acked[f[1]], f[2:])
	default:
		t.Fatalf("child: %s", line)
	}
}

// TestKill kills a process that publishes, receives, acknowledges and rejects, in the midst of it, and
// looks at the file that it leaves, again and again: nothing that was answered is missing, unless
// it was acknowledged; nothing whose acknowledgement was answered comes back.
func TestKill(t *testing.T) {
	if args := os.Getenv(killEnv); args != "" {
		killChild(args)
		return
	}
	rounds := 15
	if testing.Short() {
		rounds = 4
	}
	rnd := newRand(t, uint64(time.Now().UnixNano()))
	path := filepath.Join(t.TempDir(), "pipit.db")
	book := &killBook{begun: map[int]bool{}, published: map[int]bool{}, ackBegun: map[string]map[int]bool{}, acked: map[string]map[int]bool{}}
	for _, key := range killKeys {
		book.ackBegun[key], book.acked[key] = map[int]bool{}, map[int]bool{}
	}
	for round := 1; round <= rounds; round++ {
		lines := rnd.IntN(1500)
		if rnd.IntN(4) == 0 {
			lines = rnd.IntN(5) // while it starts
		}
		runKilled(t, book, fmt.Sprintf("%d %d %s", round, rnd.Uint64(), path), lines)
		book.inspect(t, path, rnd)
		if t.Failed() {
			t.Fatalf("in round %d, after %d lines", round, lines)
		}
	}
	for _, key := range killKeys {
		if len(book.acked[key]) == 0 || len(book.published) < 100 {
			t.Errorf("too little happened: %d published, %d acknowledged", len(book.published), len(book.acked[key]))
		}
	}
	t.Logf("%d published, %d and %d acknowledged", len(book.published), len(book.acked["a"]), len(book.acked["b"]))
}

// runKilled runs a child, kills it after so many lines, and takes note of all that it had written.
func runKilled(t *testing.T, book *killBook, args string, lines int) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^TestKill$")
	cmd.Env = append(os.Environ(), killEnv+"="+args)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(out)
	for killed := false; ; lines-- {
		if lines <= 0 && !killed {
			killed = true
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		line, err := in.ReadString('\n')
		if err == io.EOF {
			if !killed {
				t.Error("the child ended by itself")
			}
			break // what follows the last newline was not written to its end
		}
		if err != nil {
			t.Fatal(err)
		}
		book.read(t, line)
	}
	_ = cmd.Wait() // killed: that is its error
}

// inspect opens the file that a killed child has left.
func (b *killBook) inspect(t *testing.T, path string, rnd *rand.Rand) {
	store, err := db.Open(path, db.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Check(); err != nil {
		t.Errorf("check: %v", err)
	}
	br, err := broker.Open(store, broker.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := br.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := br.Apply(ctx, killDefinition()); err != nil {
		t.Fatal(err)
	}
	crm := &broker.Client{Username: "crm", Name: "CRM"}
	p, err := br.Publisher(crm, "/t")
	if err != nil {
		t.Fatal(err)
	}
	// Who lost the answer to a publish under its own ID repeats it. It is stored once.
	for n := range b.begun {
		if !killOwn(n) || b.published[n] && rnd.IntN(10) > 0 {
			continue
		}
		rc, err := p.Publish(killPublication(n))
		if err != nil || b.published[n] && !rc.Duplicate {
			t.Fatalf("repeated publish %d: %+v %v, published before: %t", n, rc, err, b.published[n])
		}
		b.published[n] = true
	}
	for _, key := range killKeys {
		s, err := br.Subscription(crm, "/t", key)
		if err != nil {
			t.Fatal(err)
		}
		got := map[int]bool{}
		last := map[int]int{} // by publisher and priority
		var ack []string
		var acked []int
		for {
			msgs, err := s.Receive(ctx, broker.ReceiveOptions{Max: limit.MaxReceive})
			if err != nil {
				t.Fatal(err)
			}
			if len(msgs) == 0 {
				break
			}
			for _, m := range msgs {
				n, err := strconv.Atoi(string(m.Payload))
				if err != nil || !b.begun[n] || m.Priority != killPublication(n).Priority {
					t.Errorf("%s: got message %q of priority %d, which nobody has published", key, m.Payload, m.Priority)
				}
				if got[n] {
					t.Errorf("%s: message %d is there twice", key, n)
				}
				if b.acked[key][n] {
					t.Errorf("%s: message %d is back, although it is acknowledged", key, n)
				}
				lane := killPublisher(n)*10 + m.Priority
				if n < last[lane] && !killOwn(n) { // a repeated one comes late
					t.Errorf("%s: message %d comes after %d", key, n, last[lane])
				}
				last[lane] = max(last[lane], n)
				got[n] = true
				if rnd.IntN(2) == 0 && len(ack) < limit.MaxSettle {
					ack, acked = append(ack, m.ID), append(acked, n)
				}
			}
		}
		for n := range b.published {
			if !got[n] && !b.ackBegun[key][n] {
				t.Errorf("%s: message %d is lost", key, n)
			}
		}
		if len(ack) > 0 {
			done, err := s.Settle(broker.Settlement{Ack: ack})
			if err != nil || done.Acked != len(ack) {
				t.Fatalf("settle: %d of %d, %v", done.Acked, len(ack), err)
			}
			for _, n := range acked {
				b.ackBegun[key][n], b.acked[key][n] = true, true
			}
		}
	}
}

// A number is round, publisher and how many before it; every other one is published under its own ID.
func killNumber(round, publisher, i int) int { return (round*10+publisher)*killSpan + i }
func killPublisher(n int) int                { return n / killSpan % 10 }
func killOwn(n int) bool                     { return n%2 == 1 }

func killPublication(n int) broker.Publication {
	p := broker.Publication{Payload: []byte(strconv.Itoa(n)), Priority: 4 + n%3}
	if killOwn(n) {
		p.ID = fmt.Sprint("own-", n)
	}
	return p
}

// killChild works until it is killed. Each line is one write to a pipe.
func killChild(args string) {
	say := func(format string, args ...any) {
		if _, err := os.Stdout.WriteString(fmt.Sprintf(format, args...) + "\n"); err != nil {
			os.Exit(1) // the parent is gone
		}
	}
	check := func(err error) {
		if err != nil {
			say("E %v", err)
			os.Exit(1)
		}
	}
	var round int
	var seed uint64
	var path string
	_, err := fmt.Sscan(args, &round, &seed, &path)
	check(err)
	// Everything happens all the time: the log is full, its segments change, tables are moved, the file is compacted.
	store, err := db.Open(path, db.Options{LogSize: 256 << 10, Logger: slog.New(slog.DiscardHandler)}.With(db.Seam{SegmentSize: 32 << 10, Large: 8 << 10, CopyPart: 64 << 10}))
	check(err)
	b, err := broker.Open(store, broker.Options{})
	check(err)
	_, err = b.Apply(ctx, killDefinition())
	check(err)
	crm := &broker.Client{Username: "crm", Name: "CRM"}
	var wg sync.WaitGroup
	wg.Go(func() {
		for runtime.GOOS != "windows" { // where an open file cannot be replaced
			check(store.Compact(ctx))
		}
	})
	for i := range killPublishers {
		rnd := rand.New(rand.NewPCG(seed, uint64(i)))
		wg.Go(func() {
			p, err := b.Publisher(crm, "/t")
			check(err)
			for n := killNumber(round, i, 0); ; {
				var pubs []broker.Publication
				list := ""
				for range 1 + rnd.IntN(5) {
					pubs = append(pubs, killPublication(n))
					list += fmt.Sprint(" ", n)
					n++
				}
				say("B%s", list)
				if len(pubs) == 1 {
					_, err = p.Publish(pubs[0])
				} else {
					_, err = p.PublishBatch(pubs)
				}
				check(err)
				say("P%s", list)
			}
		})
	}
	for _, key := range killKeys {
		for i := range killReceivers {
			rnd := rand.New(rand.NewPCG(seed, uint64(100+i)))
			wg.Go(func() {
				s, err := b.Subscription(crm, "/t", key)
				check(err)
				for {
					msgs, err := s.Receive(ctx, broker.ReceiveOptions{Max: 1 + rnd.IntN(30), Wait: time.Minute})
					check(err)
					rnd.Shuffle(len(msgs), func(i, j int) { msgs[i], msgs[j] = msgs[j], msgs[i] })
					var st broker.Settlement
					list := ""
					for _, m := range msgs {
						switch rnd.IntN(8) {
						case 0:
							st.Reject = append(st.Reject, m.ID)
						case 1: // it stays in flight
						default:
							st.Ack = append(st.Ack, m.ID)
							list += " " + string(m.Payload)
						}
					}
					if len(st.Ack)+len(st.Reject) == 0 {
						continue
					}
					say("A %s%s", key, list)
					done, err := s.Settle(st)
					check(err)
					if done.Acked != len(st.Ack) || done.Rejected != len(st.Reject) {
						check(fmt.Errorf("settled %+v of %d and %d", done, len(st.Ack), len(st.Reject)))
					}
					say("D %s%s", key, list)
				}
			})
		}
	}
	wg.Wait()
}
