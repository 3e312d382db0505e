//go:build unix

package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var clusterStopped = flag.Duration("cluster-stopped", 0, "how long TestClusterStoppedLeader has the leader stopped, at least, with the usual heartbeat; 0: until another one leads, after a shorter one")

// stopConfig has a second topic, whose consumer waits.
const stopConfig = trafficConfig + `
[[topic]]
name = "/k/b"
expiration = 0
[[producer]]
client = "u"
topic = "/k/b"
[[consumer]]
client = "u"
topic = "/k/b"
name = "three"
sub_key = "three"
`

// reply is what came of a request; status 0: nothing.
type reply struct {
	status int
	text   string
}

// send sends a request to a node, with a password of the protocol or a token of administrators.
func (c *trio) send(name, method, path, key, token, body string) (r reply) {
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.addrs[name]+path, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	req.SetBasicAuth("u", "u")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", "application/json")
	}
	if strings.HasSuffix(path, "batch=true") {
		req.Header.Set("Content-Type", "application/x-ndjson")
	}
	req.Header.Set("X-Zato-PubSub-Key", key)
	rsp, err := client.Do(req)
	if err != nil {
		return r
	}
	defer rsp.Body.Close()
	text, err := io.ReadAll(rsp.Body)
	if r.text = string(text); err == nil || strings.HasPrefix(rsp.Header.Get("Content-Type"), "text/event-stream") {
		r.status = rsp.StatusCode
	}
	return r
}

// sleeper is a leader that is stopped, and those who ask it.
type sleeper struct {
	*trio
	leader, token string
	asking        sync.WaitGroup
	mu            sync.Mutex
	got           map[string][]reply // by what was asked
}

// ask sends n requests to it, which wait for their replies; the number of each stands for N.
func (s *sleeper) ask(what string, n int, method, path, key, body string) {
	token := ""
	if strings.HasPrefix(path, "/admin/") {
		token = s.token
	}
	for i := range n {
		s.asking.Go(func() {
			insert := strings.NewReplacer("NUMBER", fmt.Sprint(i))
			r := s.send(s.leader, method, insert.Replace(path), key, token, insert.Replace(body))
			s.mu.Lock()
			defer s.mu.Unlock()
			s.got[what] = append(s.got[what], r)
		})
	}
}

func (s *sleeper) answered(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.got[what])
}

// must sends a request that another node has to answer with 2xx.
func (s *sleeper) must(name, method, path, key, token, body string) string {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		r := s.send(name, method, path, key, token, body)
		switch {
		case r.status/100 == 2:
			return r.text
		case r.status != 503 || time.Now().After(deadline):
			s.t.Fatalf("%s %s at %s: %d %s", method, path, name, r.status, r.text)
		}
	}
}

// sleep has it stopped, and calls do before it goes on.
func (s *sleeper) sleep(do func()) {
	p := s.nodes[s.leader].cmd.Process
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		s.t.Fatal(err)
	}
	began := time.Now()
	do()
	time.Sleep(*clusterStopped - time.Since(began)) // lint:sleep how long it is stopped is what is tested
	if err := p.Signal(syscall.SIGCONT); err != nil {
		s.t.Fatal(err)
	}
}

const queueB = "/zato/pubsub/msg//k/b/"

// A leader that was stopped answers none of the requests with 200 that waited at it, once it is awake: another one has led meanwhile. A publish that was on
// its way when it was stopped, and requests that came while it was, it may answer with 200 where that is so: where the message is in the
// queue, and where the other leader has answered, to which they were passed on.
func TestClusterStoppedLeader(t *testing.T) {
	var env []string
	if *clusterStopped == 0 {
		env = []string{quickly}
	}
	s := &sleeper{trio: layTrio(t, stopConfig, direct, env...), got: map[string][]reply{}}
	for _, args := range [][]string{{"admin", "create", "ann", "--create"}, {"token", "create", "t", "--scope", "admin", "--expires", "never"}} {
		cmd := program(t, s.dir, nil, append(args, "--database", "a.db")...)
		cmd.Stdin = strings.NewReader("sleeping over what waits\n")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		s.token = strings.TrimSpace(string(out))
	}
	s.begin()
	s.leader = s.whole("a")
	awake := other(s.leader)

	const publishA, publishB, ack = "/zato/pubsub/topic//k/a/?msg_id=", "/zato/pubsub/topic//k/b/?msg_id=", "/zato/pubsub/ack/"
	for i := range 25 {
		s.must(awake, "POST", publishA+fmt.Sprint("before-", i), "", "", fmt.Sprint("before-", i))
	}
	s.must(awake, "POST", "/zato/pubsub/msg//k/a/?max=25", "two", "", "") // are in flight
	s.ask("long poll", 200, "POST", queueB+"?wait=60", "three", "")
	s.ask("stream", 100, "GET", queueB, "three", "")
	s.until(300)
	s.ask("publish on its way", 40, "POST", publishA+"way-NUMBER", "", "way-NUMBER")
	for s.answered("publish on its way") == 0 {
		time.Sleep(time.Millisecond) // lint:sleep another process
	}

	const markers = 400
	s.sleep(func() {
		s.ask("publish", 100, "POST", publishA+"late-NUMBER", "", "late-NUMBER")
		s.ask("receive", 100, "POST", queueB+"?max=1", "three", "")
		s.ask("acknowledge", 25, "POST", ack, "two", `{"ack": ["before-NUMBER"]}`)
		s.ask("admin", 75, "GET", "/admin/api/v1/topics", "", "")

		// All of that is answered otherwise by who leads meanwhile.
		var batch strings.Builder
		for i := range markers {
			fmt.Fprintf(&batch, "{\"payload\": \"marker-%d\", \"msg_id\": \"marker-%[1]d\"}\n", i)
		}
		s.must(awake, "POST", "/zato/pubsub/topic//k/b/?batch=true", "", "", batch.String())
		var ids []string
		for i := range 25 {
			ids = append(ids, fmt.Sprint("before-", i))
		}
		s.must(awake, "POST", "/zato/pubsub/msg//k/a/?max=25", "two", "", "")
		text, err := json.Marshal(map[string]any{"ack": ids})
		if err != nil {
			t.Fatal(err)
		}
		s.must(awake, "POST", ack, "two", "", string(text))
		s.must(awake, "POST", "/admin/api/v1/topics", "", s.token, `{"name": "/k/meanwhile"}`)
	})
	s.asking.Wait()
	s.judge(awake)
}

// until waits until so many long polls and streams wait for a message at the leader: one that it has not read yet when it is stopped is passed on when it wakes, and answered.
func (s *sleeper) until(want int) {
	s.t.Helper()
	waiting := 0
	for deadline := time.Now().Add(time.Minute); waiting < want; time.Sleep(20 * time.Millisecond) { // lint:sleep another process
		var list struct{ Items []struct{ Waiting int } }
		if err := json.Unmarshal([]byte(s.must(s.leader, "GET", "/admin/api/v1/consumers", "", s.token, "")), &list); err != nil {
			s.t.Fatal(err)
		}
		waiting = 0
		for _, c := range list.Items {
			waiting += c.Waiting
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%d wait for a message", waiting)
		}
	}
}

// judge looks at what it has answered.
func (s *sleeper) judge(awake string) {
	s.whole(awake)
	there := s.must(awake, "POST", "/zato/pubsub/msg//k/a/?max=1000", "one", "", "")
	for _, what := range []string{"publish on its way", "publish", "receive", "acknowledge", "admin", "long poll", "stream"} {
		count := map[int]int{}
		for _, r := range s.got[what] {
			count[r.status]++
			if r.status != 200 {
				continue
			}
			true200 := false
			switch what {
			case "publish on its way", "publish":
				var said struct {
					MsgID string `json:"msg_id"`
				}
				true200 = json.Unmarshal([]byte(r.text), &said) == nil && strings.Contains(there, `"`+said.MsgID+`"`)
			case "receive":
				true200 = strings.Contains(r.text, "marker-")
			case "acknowledge":
				true200 = strings.Contains(r.text, `"acked": 0`)
			case "admin":
				true200 = strings.Contains(r.text, "/k/meanwhile")
			case "stream": // its status was there before
				true200 = !strings.Contains(r.text, "data:")
			}
			if !true200 {
				s.t.Errorf("%s: the leader that was stopped answered 200 %s", what, r.text)
			}
		}
		s.t.Logf("%-20s answered with: %v", what, count)
		if what == "long poll" && count[503] != len(s.got[what]) {
			s.t.Errorf("%s: %v", what, count)
		}
	}
}
