package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// callbackConfig declares a topic whose messages are sent to a URL.
func callbackConfig(url, more string) string {
	return `
[callbacks]
deny = ["203.0.113.0/24"]
[[client]]
username = "crm"
password = "crm"
[[client]]
username = "erp"
password = "erp"
[[topic]]
name = "/orders"
expiration = 0
[[topic]]
name = "/dead"
expiration = 0
[[producer]]
client = "crm"
topic = "/orders"
[[consumer]]
client = "erp"
topic = "/dead"
sub_key = "key-of-the-dead"
[[consumer]]
client = "erp"
topic = "/orders"
sub_key = "key-of-the-orders"
delivery_mode = "callback-url"
callback_url = "` + url + `"
callback_retry = ["10ms"]
` + more
}

// webhookServer is a receiver.
func webhookServer(t *testing.T, answer func(w http.ResponseWriter, r *http.Request, body string)) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the sender was killed
		}
		answer(w, r, string(body))
	}))
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s
}

// A message goes through the whole program: published by one client, sent to another one's URL, over a restart in the midst
// of it and a reload that says another URL. Its sub_key opens nothing.
func TestCallbacksOverHTTP(t *testing.T) {
	type call struct{ path, head, body string }
	calls, held := make(chan call, 100), make(chan struct{})
	s := webhookServer(t, func(_ http.ResponseWriter, r *http.Request, body string) {
		calls <- call{r.URL.Path, r.Header.Get("Webhook-Id") + r.UserAgent(), body}
		if r.URL.Path == "/hang" {
			select {
			case <-held:
			case <-r.Context().Done():
			}
		}
	})
	dir := t.TempDir()
	file := filepath.Join(dir, "pipit.toml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(callbackConfig(s.URL+"/first", ""))
	p := start(t, dir, anyPort, "-config", file)
	p.line(t, `^pipit: client "erp" is sent messages of "/orders" signed with the new callback_secret whsec_\S{44} `)
	crm := "http://crm:crm@" + p.addrs[0] + "/zato/pubsub/topic//orders"
	id := published.FindStringSubmatch(post(t, crm, "", "one"))[1]
	got := <-calls
	if got.path != "/first" || got.head != id+"Pipit/"+version || !strings.Contains(got.body, `"results_count": 1, "results": [{"payload": "one", "metadata": {"msg_id": "`+id+`"`) {
		t.Errorf("%+v", got)
	}
	erp := "http://erp:erp@" + p.addrs[0] + "/zato/pubsub/"
	for _, path := range []string{"msg//orders", "ack/"} {
		if a := post(t, erp+path, "key-of-the-orders", `{"ack": ["`+id+`"]}`); !strings.HasPrefix(a, "403 ") || strings.Contains(a, "callback") {
			t.Error(path, a)
		}
		p.line(t, `its delivery_mode is callback-url`)
	}

	p.reload(t, file, callbackConfig(s.URL+"/hang", ""), "configuration loaded again")
	post(t, crm, "", "two")
	if got := <-calls; got.path != "/hang" {
		t.Errorf("%+v", got)
	}
	post(t, crm, "", "three")
	if err := p.cmd.Process.Kill(); err != nil { // the call is in the air
		t.Fatal(err)
	}
	<-p.ended
	close(held)
	p = start(t, dir, anyPort, "-config", file)
	if got := <-calls; got.path != "/hang" || !strings.Contains(got.body, `"results_count": 2`) || !strings.Contains(got.body, `"payload": "two"`) {
		t.Errorf("after the crash: %+v", got)
	}
	p.reload(t, file, callbackConfig("http://203.0.113.7:1/", ""), "configuration loaded again")
	post(t, "http://crm:crm@"+p.addrs[0]+"/zato/pubsub/topic//orders", "", "four")
	p.line(t, `a callback has failed.*203\.0\.113\.7 is not called: callbacks\.deny has 203\.0\.113\.0/24`)
	p.reload(t, file, strings.Replace(callbackConfig(s.URL+"/last", ""), "203.0.113.0/24", "203.0.112.0/24", 1), "configuration loaded again")
	if got := <-calls; got.path != "/last" || !strings.Contains(got.body, `"payload": "four"`) {
		t.Errorf("%+v", got)
	}
	if code, log := p.stop(t, syscall.SIGTERM); code != 0 || strings.Contains(log, "whsec_") {
		t.Error(code, log)
	}
	if len(calls) > 0 {
		t.Errorf("more was sent: %+v", <-calls)
	}
}

// killedBook is what the receiver and the publisher know, over all runs of the program.
type killedBook struct {
	mu        sync.Mutex
	published map[int]bool // answered
	taken     map[int]int  // how often 200 was answered
	hungUp    map[int]bool
	room      *sync.Cond // for changes
}

func (b *killedBook) answer(w http.ResponseWriter, _ *http.Request, body string) {
	n, _ := strconv.Atoi(body)
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case n%10 == 3: // it is never taken
		w.WriteHeader(http.StatusInternalServerError)
	case n%7 == 2 && !b.hungUp[n]:
		b.hungUp[n] = true
		if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
			conn.Close()
		}
	default:
		b.taken[n]++
		b.room.Broadcast()
	}
}

// A program that is killed while it sends loses nothing that it has answered: each message is taken by its receiver, or,
// where that never takes it, in the dead-letter topic, and not in both. What comes twice is what was in the air when it was
// killed.
func TestKilledWhileItSends(t *testing.T) {
	b := &killedBook{published: map[int]bool{}, taken: map[int]int{}, hungUp: map[int]bool{}}
	b.room = sync.NewCond(&b.mu)
	s := webhookServer(t, b.answer)
	dir := t.TempDir()
	file := filepath.Join(dir, "pipit.toml")
	if err := os.WriteFile(file, []byte(callbackConfig(s.URL, "callback_format = \"raw\"\nmax_deliveries = 3\ndead_letter_topic = \"/dead\"\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	const kills = 3
	n := 0
	var p *process
	for round := 0; round <= kills; round++ {
		p = start(t, dir, append([]string{"PIPIT_ADMIN_ENABLED=false"}, anyPort...), "-config", file)
		topic := "http://crm:crm@" + p.addrs[0] + "/zato/pubsub/topic//orders"
		for end := n + 60; n < end; n++ {
			if a := post(t, topic+"?msg_id=m"+strconv.Itoa(n), "", strconv.Itoa(n)); !strings.HasPrefix(a, "200 ") {
				t.Fatal(a)
			}
			b.published[n] = true
		}
		if round == kills {
			break
		}
		b.mu.Lock()
		for target := len(b.taken) + 10; len(b.taken) < target; { // so that it is sending
			b.room.Wait()
		}
		b.mu.Unlock()
		if err := p.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-p.ended
	}
	b.mu.Lock()
	lost := func() (missing int) {
		for n := range b.published {
			if b.taken[n] == 0 && n%10 != 3 {
				missing++
			}
		}
		return missing
	}
	for lost() > 0 {
		b.room.Wait()
	}
	twice := 0
	for n, times := range b.taken {
		if twice += times - 1; n%10 == 3 {
			t.Errorf("%d was taken", n)
		}
	}
	b.mu.Unlock()
	if twice > kills {
		t.Errorf("%d messages came again after %d kills", twice, kills)
	}
	dead := map[string]int{}
	for end := time.Now().Add(20 * time.Second); len(dead) < n/10 && time.Now().Before(end); {
		a := post(t, "http://erp:erp@"+p.addrs[0]+"/zato/pubsub/msg//dead?wait=5&ack=true", "key-of-the-dead", "")
		var reply struct{ Results []struct{ Payload string } }
		if err := json.Unmarshal([]byte(strings.TrimPrefix(a, "200 ")), &reply); err != nil {
			t.Fatal(err, a)
		}
		for _, r := range reply.Results {
			dead[r.Payload]++
		}
	}
	for i := 3; i < n; i += 10 {
		if dead[fmt.Sprint(i)] != 1 {
			t.Errorf("%d is in the dead-letter topic %d times", i, dead[fmt.Sprint(i)])
		}
	}
	if len(dead) != n/10 {
		t.Errorf("%d dead letters: %v", len(dead), dead)
	}
	if code, log := p.stop(t, syscall.SIGTERM); code != 0 {
		t.Error(code, log)
	}
}
