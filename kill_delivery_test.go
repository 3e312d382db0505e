package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

var killRounds = flag.Int("kill-rounds", 2, "how often TestKillDelivery kills the program")

// killLedger is what the program has answered, by consumer and the number of a message.
type killLedger struct {
	mu        sync.Mutex
	published map[int]bool // answered 200
	acked     map[string]map[int]bool
	perhaps   map[string]map[int]bool // the answer to the acknowledgement was lost
}

func (l *killLedger) note(in map[string]map[int]bool, key string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if in[key] == nil {
		in[key] = map[int]bool{}
	}
	in[key][n] = true
}

// killMessages are those of an answer or a callback, the IDs of their numbers.
func killMessages(body []byte) (list []int, ids map[int]string) {
	var doc struct {
		Results []struct {
			Payload  string
			Metadata struct {
				MsgID string `json:"msg_id"`
			}
		}
	}
	ids = map[int]string{}
	if json.Unmarshal(body, &doc) != nil {
		return nil, nil
	}
	for _, r := range doc.Results {
		n := 0
		fmt.Sscan(r.Payload, &n)
		list, ids[n] = append(list, n), r.Metadata.MsgID
	}
	return list, ids
}

// killCall makes a call; it is not ok where the program is gone.
func killCall(url, key, body string) (answer []byte, ok bool) {
	req, _ := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	req.Header.Set("X-Zato-PubSub-Key", key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, false
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	return answer, err == nil && resp.StatusCode == http.StatusOK
}

const killConfig = `
[[client]]
username = "u"
password = "u"
%s
[[producer]]
client = "u"
topic = "/k/*"
[[consumer]]
client = "u"
topic = "/k/a"
name = "calls"
delivery_mode = "callback-url"
callback_url = "%s"
callback_batch = 20
callback_retry = ["20ms"]
`

// TestKillDelivery kills the program again and again while it sends callbacks, moves what failed or expired, drops what is too much and serves
// a pattern. What was answered is acknowledged, a dead letter, dropped or waits in the end, for each consumer, and nothing is two of these.
func TestKillDelivery(t *testing.T) {
	l := &killLedger{published: map[int]bool{}, acked: map[string]map[int]bool{}, perhaps: map[string]map[int]bool{}}
	calls := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || rand.IntN(8) == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		list, _ := killMessages(body)
		for _, n := range list {
			l.note(l.acked, "calls", n)
		}
	}))
	defer calls.Close()
	topics := ""
	for _, name := range []string{"/k/a", "/k/b", "/dead/limit", "/dead/expiring"} {
		topics += fmt.Sprintf("[[topic]]\nname = %q\nexpiration = 0\n", name)
	}
	config := fmt.Sprintf(killConfig, topics, calls.URL)
	for _, c := range [][3]string{
		{"limit", "/k/a", "max_deliveries = 2\nack_timeout = \"1s\"\ndead_letter_topic = \"/dead/limit\""},
		{"newest", "/k/a", "max_depth = 60\noverflow = \"drop-oldest\""},
		{"expiring", "/k/a", "on_expiry = \"dead-letter\"\ndead_letter_topic = \"/dead/expiring\""},
		{"pattern", "/k/*", ""}, {"letters1", "/dead/limit", ""}, {"letters2", "/dead/expiring", ""},
	} {
		config += fmt.Sprintf("[[consumer]]\nclient = \"u\"\nname = %[1]q\nsub_key = %[1]q\ntopic = %[2]q\n%[3]s\n", c[0], c[1], c[2])
	}
	file, dir, env := writeConfig(t, config), t.TempDir(), []string{"PIPIT_HTTP_LISTEN=127.0.0.1:0", "PIPIT_DATABASE_LOG_SIZE=8MiB"}
	rounds := *killRounds
	if testing.Short() {
		rounds = 1
	}
	for round := range rounds {
		p := start(t, dir, env, "-config", file)
		l.work("http://u:u@"+p.addrs[0]+"/zato/pubsub/", round, func() { p.cmd.Process.Kill() })
		<-p.ended
	}
	p := start(t, dir, env, "-config", file)
	l.judge(t, "http://u:u@"+p.addrs[0]+"/zato/pubsub/")
}

// work publishes, receives and acknowledges until kill has ended the program in the midst of it.
func (l *killLedger) work(url string, round int, kill func()) {
	var wg sync.WaitGroup
	ballast := strings.Repeat("x", 20_000) // so that what is in the log is moved into the file again and again
	for i := range 2 {
		wg.Go(func() {
			for n := (round*2+i)*100_000 + 1; ; n++ {
				query := ""
				if n%3 == 0 {
					query = "?expiration=1"
				}
				if _, ok := killCall(url+"topic//k/"+[]string{"a", "b"}[min(n%5, 4)/4]+"/"+query, "", fmt.Sprint(n, ballast)); !ok {
					return
				}
				l.mu.Lock()
				l.published[n] = true
				enough := len(l.published) >= (round+1)*200
				l.mu.Unlock()
				if enough {
					kill()
				}
			}
		})
	}
	for _, key := range []string{"limit", "newest", "expiring", "pattern"} {
		wg.Go(func() {
			for l.receive(url, key) {
			}
		})
	}
	wg.Wait()
}

// receive receives once, and acknowledges and rejects.
func (l *killLedger) receive(url, key string) bool {
	topic := map[bool]string{true: "*", false: "a"}[key == "pattern"]
	body, ok := killCall(url+"msg//k/"+topic+"/?max=7&wait=1", key, "")
	list, ids := killMessages(body)
	var ack, reject []string
	numbers := map[string]int{}
	for _, n := range list {
		switch numbers[ids[n]] = n; rand.IntN(5) {
		case 0:
			reject = append(reject, ids[n])
		case 1: // it stays in flight
		default:
			ack = append(ack, ids[n])
		}
	}
	if !ok || len(ack)+len(reject) == 0 {
		return ok
	}
	st, _ := json.Marshal(map[string]any{"ack": append([]string{}, ack...), "reject": append([]string{}, reject...)})
	answer, ok := killCall(url+"ack/", key, string(st))
	var done struct {
		NotFound []string `json:"not_found"`
	}
	in := l.perhaps
	if ok = ok && json.Unmarshal(answer, &done) == nil; ok {
		in = l.acked
	}
	missing := map[string]bool{}
	for _, id := range done.NotFound {
		missing[id] = true
	}
	for _, id := range ack {
		if !missing[id] {
			l.note(in, key, numbers[id])
		}
	}
	return ok
}

// drainKilled receives and acknowledges all that a consumer has.
func drainKilled(t *testing.T, url, topic, key string, into map[int]int) {
	t.Helper()
	for {
		body, ok := killCall(url+"msg/"+topic+"/?max=1000&ack=true", key, "")
		list, _ := killMessages(body)
		if !ok {
			t.Fatalf("%s: %s", key, body)
		}
		for _, n := range list {
			into[n]++
		}
		if len(list) == 0 {
			return
		}
	}
}

// judge looks at where each message is, until none is missing.
func (l *killLedger) judge(t *testing.T, url string) {
	waits, letters := map[string]map[int]int{}, map[string]map[int]int{}
	for _, key := range []string{"limit", "newest", "expiring", "pattern"} {
		waits[key], letters[key] = map[int]int{}, map[int]int{}
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) { // lint:sleep leases of a process that was killed end by its clock
		for _, key := range []string{"limit", "newest", "expiring"} {
			drainKilled(t, url, "/k/a", key, waits[key])
		}
		drainKilled(t, url, "/k/*", "pattern", waits["pattern"])
		drainKilled(t, url, "/dead/limit", "letters1", letters["limit"])
		drainKilled(t, url, "/dead/expiring", "letters2", letters["expiring"])
		lost := l.lost(waits, letters)
		if len(lost) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("lost: %v", lost)
		}
	}
	for key := range waits {
		dropped := 0
		for n := range l.published {
			places := waits[key][n] + letters[key][n]
			if l.acked[key][n] {
				places++
			}
			if places > 1 {
				t.Errorf("%s: message %d waited %d times, is %d letters, acknowledged %t", key, n, waits[key][n], letters[key][n], l.acked[key][n])
			}
			if places == 0 {
				dropped++
			}
		}
		t.Logf("%s: of %d published, %d acknowledged, %d waited, %d are letters, %d neither", key, len(l.published), len(l.acked[key]), len(waits[key]), len(letters[key]), dropped)
	}
	if n := len(waits["newest"]); n > 60 {
		t.Errorf("newest: %d messages wait past max_depth 60", n)
	}
}

// lost returns what of the messages that were answered is nowhere, though it may not have expired or been dropped.
func (l *killLedger) lost(waits, letters map[string]map[int]int) (lost []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := range l.published {
		onA := min(n%5, 4)/4 == 0
		for _, key := range []string{"calls", "limit", "expiring", "pattern"} {
			mayExpire := n%3 == 0 && key != "expiring"
			there := l.acked[key][n] || l.perhaps[key][n] || waits[key][n]+letters[key][n] > 0
			if !there && !mayExpire && (onA || key == "pattern") {
				lost = append(lost, fmt.Sprint(key, " ", n))
			}
		}
	}
	return lost
}
