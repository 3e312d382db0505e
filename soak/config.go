//go:build linux

package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

const (
	publisher = "publisher" // username of who publishes; those of consumers are the names of their queues
	churner   = "churner"   // … and of who has the queues that come and go
	password  = "soaked in random load"
	deadTopic = "/dead/limited"
)

var topics = []string{"/s/a", "/s/b", "/s/c"}

// newQueues are the consumers that are always there.
func newQueues() []*queue {
	limited := &queue{name: "limited", topic: "/s/b", timeout: 2 * time.Second, limited: true}
	list := []*queue{
		{name: "plain", topic: "/s/a", timeout: 5 * time.Second},
		{name: "ordered", topic: "/s/a", timeout: 30 * time.Second, ordered: true},
		{name: "slow", topic: "/s/b", timeout: 2 * time.Second},
		limited,
		{name: "letters", topic: deadTopic, timeout: 10 * time.Second, lettersOf: limited},
		{name: "pattern", topic: "/s/*", timeout: 10 * time.Second},
		{name: "wide", topic: "/x/*", timeout: 10 * time.Second},
		{name: "filter", topic: "/s/c", timeout: 10 * time.Second, filter: "odd"},
		{name: "once", topic: "/s/c", timeout: 10 * time.Second, once: true},
		{name: "calls", topic: "/s/a", timeout: callTimeout, callback: true, ordered: true},
		{name: "calls-4", topic: "/s/c", timeout: callTimeout, callback: true},
	}
	for _, q := range list {
		q.key = "key-of-the-queue-" + q.name
	}
	return list
}

const callTimeout = 2 * time.Second

// limits are what a reload changes.
type limits struct {
	maxPending, maxReplies int // MiB
	historyMessages        int
	calls                  int
	level                  string
}

var usualLimits = limits{maxPending: 256, maxReplies: 256, historyMessages: 10_000, calls: 64, level: "info"}

// configuration declares it all. Where receiver is empty, callbacks are off.
func configuration(queues []*queue, receiver string, l limits) string {
	var b strings.Builder
	fmt.Fprintf(&b, `[http]
listen = ["127.0.0.1:0"]
max_pending = "%dMiB"
max_replies = "%dMiB"
[database]
file = "pipit.db"
log_size = "16MiB"
[backup]
directory = "backups"
keep = 2
[history]
keep = "10m"
max_messages = %d
[callbacks]
max_concurrency = %d
[log]
format = "json"
level = %q
`, l.maxPending, l.maxReplies, l.historyMessages, l.calls, l.level)
	for _, name := range append([]string{publisher, churner}, names(queues)...) {
		fmt.Fprintf(&b, "[[client]]\nusername = %q\npassword = %q\n", name, password)
	}
	for _, name := range append([]string{deadTopic}, topics...) {
		fmt.Fprintf(&b, "[[topic]]\nname = %q\nexpiration = 0\ndedup_window = \"30d\"\n", name)
	}
	for _, name := range []string{"/s/*", "/x/*"} {
		fmt.Fprintf(&b, "[[producer]]\nclient = %q\ntopic = %q\n", publisher, name)
	}
	for _, q := range queues {
		fmt.Fprintf(&b, "[[consumer]]\nclient = %q\ntopic = %q\nsub_key = %q\nack_timeout = %q\n", q.name, q.topic, q.key, q.timeout)
		if q.filter != "" {
			fmt.Fprintf(&b, "filter = 'kind = %q'\n", q.filter)
		}
		if q.limited {
			fmt.Fprintf(&b, "max_deliveries = 3\nretry_backoff = [\"0s\", \"1s\"]\ndead_letter_topic = %q\n", deadTopic)
		}
		if q.callback {
			fmt.Fprintf(&b, "delivery_mode = \"callback-url\"\ncallback_url = \"%s/%s\"\ncallback_timeout = %q\ncallback_retry = [\"20ms\", \"100ms\", \"500ms\"]\n",
				cmp.Or(receiver, "http://127.0.0.1:9"), q.name, callTimeout)
			if q.ordered {
				fmt.Fprint(&b, "callback_batch = 20\n")
			} else {
				fmt.Fprint(&b, "callback_format = \"raw\"\ncallback_concurrency = 4\n")
			}
			fmt.Fprintf(&b, "is_active = %t\n", receiver != "")
		}
	}
	return b.String()
}

func names(queues []*queue) (list []string) {
	for _, q := range queues {
		list = append(list, q.name)
	}
	return list
}
