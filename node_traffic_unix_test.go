//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// trafficConfig has a topic with two queues, which are checked each by itself.
const trafficConfig = `
[log]
format = "json"
[database]
file = "NODE.db"
[[client]]
username = "u"
password = "u"
[[topic]]
name = "/k/a"
expiration = 0
[[producer]]
client = "u"
topic = "/k/a"
[[consumer]]
client = "u"
topic = "/k/a"
name = "one"
sub_key = "one"
ack_timeout = "1s"
[[consumer]]
client = "u"
topic = "/k/a"
name = "two"
sub_key = "two"
ack_timeout = "1s"
`

const trafficLease = time.Second

var trafficQueues = []string{"one", "two"}

// outcome is what is known of a call.
type outcome int

const (
	did     outcome = iota // answered 200
	not                    // answered that nothing was stored
	unknown                // the answer was lost, or said that it is not known
)

// call is one that was made: a publish, or of a queue a receive or an acknowledgement.
type call struct {
	what, queue    string
	numbers        []int // of messages: published, received, or asked to be acknowledged and not answered as not found
	missing        []int // that were answered as not found
	sent, answered time.Time
	outcome        outcome
}

// traffic publishes, receives and acknowledges through all nodes at once, and records what comes of it.
type traffic struct {
	c      *trio
	client *http.Client
	most   int // messages of a receive

	mu    sync.Mutex
	last  int             // number
	ids   map[int]string  // of messages
	calls []call          // in the order of their ends
	good  []call          // attempts to publish that were answered 200
	wrong map[string]bool // answers that nothing here should lead to
	shut  map[string]int  // nodes that are cut off, and for which time: nothing that is sent to them from now on is to be answered 200 meanwhile
	shuts int             // how many such times there were

	stop context.CancelFunc
	done sync.WaitGroup
}

// newTraffic begins, with receives of so many messages at most and pauses. What takes longer than patience is of unknown outcome.
func newTraffic(c *trio, most int, pause, patience time.Duration) *traffic {
	l := &traffic{c: c, most: most, ids: map[int]string{}, wrong: map[string]bool{}, shut: map[string]int{}}
	l.client = &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	c.t.Cleanup(l.client.CloseIdleConnections)
	ctx, cancel := context.WithCancel(c.t.Context())
	l.stop = cancel
	run := func(work func()) {
		l.done.Go(func() {
			for ctx.Err() == nil {
				work()
				time.Sleep(rand.N(pause)) // lint:sleep load
			}
		})
	}
	for range 3 {
		run(func() { l.publish(ctx) })
		for _, queue := range trafficQueues {
			run(func() { l.consume(queue, 5) })
		}
	}
	c.t.Cleanup(l.end)
	return l
}

// end stops it; calls that are on their way come to their end.
func (l *traffic) end() {
	l.stop()
	l.done.Wait()
}

// ask sends a request to a node.
func (l *traffic) ask(node, key, path, body string) (status int, answer []byte, sent time.Time) {
	req, err := http.NewRequest(http.MethodPost, "http://"+l.c.addrs[node]+"/zato/pubsub/"+path, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	req.SetBasicAuth("u", "u")
	req.Header.Set("X-Zato-PubSub-Key", key)
	l.mu.Lock()
	shut := l.shut[node]
	l.mu.Unlock()
	sent = time.Now()
	rsp, err := l.client.Do(req)
	if err != nil {
		return 0, nil, sent
	}
	defer rsp.Body.Close()
	if answer, err = io.ReadAll(rsp.Body); err != nil {
		return 0, nil, sent
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch rsp.StatusCode {
	case http.StatusOK:
		if shut != 0 && l.shut[node] == shut {
			l.wrong[fmt.Sprintf("%s is cut off, and answered %s, sent at %s, at %s with 200 %.200s", node, path, sent.Format(clock), time.Now().Format(clock), answer)] = true
		}
	case http.StatusServiceUnavailable:
	default:
		l.wrong[fmt.Sprintf("%s: %d %s", path, rsp.StatusCode, answer)] = true
	}
	return rsp.StatusCode, answer, sent
}

// became is what is known of a call by its answer.
func became(status int, answer []byte) outcome {
	switch {
	case status == http.StatusOK:
		return did
	case status == 0 || bytes.Contains(answer, []byte("known")):
		return unknown
	}
	return not
}

func anyNode() string { return nodeNames[rand.IntN(len(nodeNames))] }

func (l *traffic) record(c call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, c)
}

// publish publishes one message, three of four again and again until what became of it is known.
func (l *traffic) publish(ctx context.Context) {
	l.mu.Lock()
	l.last++
	n := l.last
	l.mu.Unlock()
	p := call{what: "publish", numbers: []int{n}, sent: time.Now()}
	path := fmt.Sprintf("topic//k/a/?msg_id=%d", n)
	perhaps := false
	for {
		status, answer, sent := l.ask(anyNode(), "", path, fmt.Sprint(n))
		now := time.Now()
		p.outcome = became(status, answer)
		perhaps = perhaps || p.outcome == unknown
		if perhaps && p.outcome == not {
			p.outcome = unknown // of the first time
		}
		if p.outcome == did {
			l.mu.Lock()
			l.good = append(l.good, call{sent: sent, answered: now})
			l.mu.Unlock()
		}
		if p.answered = now; p.outcome == did || n%4 == 0 || ctx.Err() != nil {
			break
		}
		time.Sleep(5 * time.Millisecond) // lint:sleep load
	}
	l.record(p)
}

// receive receives from a queue once.
func (l *traffic) receive(queue string, most int) (numbers []int) {
	status, answer, sent := l.ask(anyNode(), queue, fmt.Sprintf("msg//k/a/?max=%d&wait=%d", most, rand.IntN(2)), "")
	c := call{what: "receive", queue: queue, sent: sent, answered: time.Now(), outcome: unknown}
	if status == http.StatusOK {
		var ids map[int]string
		c.outcome = did
		c.numbers, ids = killMessages(answer)
		l.mu.Lock()
		maps.Copy(l.ids, ids)
		l.mu.Unlock()
	}
	l.record(c)
	return c.numbers
}

// acknowledge does that once.
func (l *traffic) acknowledge(queue string, numbers []int) {
	var ids []string
	byID := map[string]int{}
	l.mu.Lock()
	for _, n := range numbers {
		ids = append(ids, l.ids[n])
		byID[l.ids[n]] = n
	}
	l.mu.Unlock()
	body, err := json.Marshal(map[string]any{"ack": ids})
	if err != nil {
		panic(err)
	}
	status, answer, sent := l.ask(anyNode(), queue, "ack/", string(body))
	c := call{what: "acknowledge", queue: queue, sent: sent, answered: time.Now(), outcome: became(status, answer)}
	var said struct {
		NotFound []string `json:"not_found"`
	}
	if c.outcome == did && json.Unmarshal(answer, &said) != nil {
		c.outcome = unknown
	}
	for id, n := range byID {
		if slices.Contains(said.NotFound, id) {
			c.missing = append(c.missing, n)
		} else {
			c.numbers = append(c.numbers, n)
		}
	}
	l.record(c)
}

// consume receives once, and acknowledges all but one of so many; what it keeps comes again when its lease is over.
func (l *traffic) consume(queue string, keeps int) {
	var list []int
	for _, n := range l.receive(queue, l.most) {
		if rand.IntN(keeps) > 0 {
			list = append(list, n)
		}
	}
	if len(list) > 0 {
		l.acknowledge(queue, list)
	}
}

// next waits until a publish that is sent after a moment is answered 200, and returns when that was.
func (l *traffic) next(after time.Time) time.Time {
	l.c.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) { // lint:sleep other processes
		l.mu.Lock()
		var first time.Time
		for _, c := range slices.Backward(l.good) {
			if c.answered.Before(after) {
				break
			}
			if c.sent.After(after) {
				first = c.answered
			}
		}
		l.mu.Unlock()
		if !first.IsZero() {
			return first
		}
	}
	l.c.t.Fatalf("nothing was published for a minute")
	return time.Time{}
}

// gap returns the longest time between two moments in which no publish was answered 200.
func (l *traffic) gap(from, to time.Time) (longest time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := from
	for _, c := range l.good {
		if c.answered.After(last) && !c.answered.After(to) {
			longest, last = max(longest, c.answered.Sub(last)), c.answered
		}
	}
	return longest
}

// drain has everything received and acknowledged that was published, and returns what never came.
func (l *traffic) drain() (lost []string) {
	l.end()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		quiet := true
		for _, queue := range trafficQueues {
			if list := l.receive(queue, 1000); len(list) > 0 {
				quiet = false
				l.acknowledge(queue, list)
			}
		}
		if lost = l.missing(); len(lost) == 0 && quiet {
			break
		}
	}
	return lost
}

// missing returns what was published, and has not been acknowledged.
func (l *traffic) missing() (lost []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, queue := range trafficQueues {
		gone := map[int]bool{}
		for _, c := range l.calls {
			if c.what == "acknowledge" && c.queue == queue && c.outcome != not {
				for _, n := range c.numbers {
					gone[n] = true
				}
			}
		}
		for _, c := range l.calls {
			if c.what == "publish" && c.outcome == did && !gone[c.numbers[0]] {
				lost = append(lost, fmt.Sprint(c.numbers[0], " of ", queue))
			}
		}
	}
	return lost
}

var leadsLine = regexp.MustCompile(`(?m)^.*"this node leads the cluster".*$`)

// changes are the moments at which a node began to lead, by the logs of all processes that there were.
func (c *trio) changes() (list []time.Time) {
	for _, p := range c.past {
		for _, line := range leadsLine.FindAllString(p.lines(), -1) {
			var entry struct{ Time time.Time }
			if err := json.Unmarshal([]byte(line), &entry); err != nil {
				c.t.Errorf("%v: %s", err, line)
			}
			list = append(list, entry.Time)
		}
	}
	slices.SortFunc(list, time.Time.Compare)
	return list
}

// judge compares what was answered: nothing acknowledged comes again, nothing is in two hands at once, and nothing comes whose publish was refused.
func (l *traffic) judge(t *testing.T) {
	t.Helper()
	for what := range l.wrong {
		t.Error(what)
	}
	changes := l.c.changes()
	published := map[int]outcome{}
	for _, c := range l.calls {
		if c.what == "publish" {
			published[c.numbers[0]] = c.outcome
		}
	}
	for _, queue := range trafficQueues {
		hands, gone := map[int][]call{}, map[int]call{} // by message: who had it, and who acknowledged it first
		for _, c := range l.calls {
			for _, n := range c.numbers {
				switch {
				case c.queue != queue:
				case c.what == "receive":
					hands[n] = append(hands[n], c)
				case c.what == "acknowledge" && c.outcome == did && gone[n].sent.IsZero():
					gone[n] = c
				}
			}
		}
		for n, list := range hands {
			if o, ok := published[n]; !ok || o == not {
				t.Errorf("%s was given message %d, whose publish was refused", queue, n)
			}
			if err := inHands(list, gone[n], changes); err != nil {
				t.Errorf("%s was given message %d: %v", queue, n, err)
			}
		}
	}
}

// inHands looks at the deliveries of a message to a queue, and the first acknowledgement that was answered.
func inHands(list []call, gone call, changes []time.Time) error {
	at := func(c call) string {
		return c.sent.Format(clock) + " to " + c.answered.Format(clock)
	}
	for i, b := range list {
		if !gone.sent.IsZero() && b.sent.After(gone.answered) {
			return fmt.Errorf("at %s, it was acknowledged at %s", at(b), at(gone))
		}
		for _, a := range list[:i] {
			end := b.answered
			if a.answered.After(end) {
				end = a.answered
			}
			begin := a.sent
			if b.sent.Before(begin) {
				begin = b.sent
			}
			ended := slices.ContainsFunc(changes, func(c time.Time) bool { return c.After(begin.Add(-logDelay)) && c.Before(end.Add(logDelay)) })
			if !ended && b.answered.Before(a.sent.Add(trafficLease)) && a.answered.Before(b.sent.Add(trafficLease)) {
				return errors.New("at " + at(a) + ", and at " + at(b))
			}
		}
	}
	return nil
}

const clock = "15:04:05.000"

// logDelay is by how much the time of a line in a log may be off.
const logDelay = 50 * time.Millisecond
