package monitor

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"pipit/admin/text"
	"pipit/broker"
	"pipit/broker/change"
	"pipit/broker/clip"
	"pipit/broker/store"
)

// maxAttention is how many of each code are told one by one; then there is one that tells how many more.
const maxAttention = 20

// What needs attention.
const (
	codeWrite    = "write_failed"
	codeDisk     = "disk_low"
	codeBackup   = "backup_failed"
	codeNodeAway = "node_away"
	codeNodeLag  = "node_behind"
	CodeUnsynced = "unsynced"
	codeTLS      = "certificate_ends"
	codeTopic    = "topic_full"
	codeBacklog  = "backlog_full"
	codeExpired  = "expired"
	CodeAway     = "consumer_away"
	codeInactive = "inactive"
	codeFailing  = "callback_failing"
	codePaused   = "callback_paused"
	codeStuck    = "dead_letters_wait"
	codeWebhook  = "webhook_refused"

	codeRefused     = "refused"
	codeInFlight    = "in_flight_full"
	codeRedelivered = "redelivered"
)

// Codes are those of all that can need attention.
var Codes = []string{
	codeWrite, codeDisk, codeBackup, codeNodeAway, codeNodeLag, codeTLS, CodeUnsynced, codeTopic, codeBacklog, codeExpired, CodeAway, codeInactive, codeFailing, codePaused, codeStuck, codeWebhook,
	codeRefused, codeInFlight, codeRedelivered,
}

// Attention is something that somebody should look at.
type Attention struct {
	Code string `json:"code"`           // stable, for scripts
	Text string `json:"text"`           // a sentence
	Link string `json:"link"`           // path of the page where it can be looked at
	Kind string `json:"kind,omitempty"` // what it is about
	Key  string `json:"key,omitempty"`  // name of the topic, or id of the consumer
}

// Bad tells what does harm already from what will.
func (n Attention) Bad() bool {
	return n.Code == codeWrite || n.Code == codeDisk || n.Code == codeBackup
}

// Severities of what needs attention: worth a call at night, or not.
const (
	Critical = "critical"
	Warning  = "warning"
)

// Severity is Critical where messages or publishers are lost, or soon are, else Warning.
func (n Attention) Severity() string {
	if n.Bad() || n.Code == codeTopic || n.Code == codeBacklog {
		return Critical
	}
	return Warning
}

// Finding is an Attention and whom it is about, by name.
type Finding struct {
	Attention
	Topic, Client string
	Consumer      string // its name, which few have
}

// Situation is what is found by looking at every object.
type Situation struct {
	at        time.Time
	Attention []Attention // the worst first; of many with one code the first ones, and how many more there are
	Findings  []Finding   // each of these, whatever their number
	Rows      []Row       // the same by client, the weightiest first
	Number    int         // of rows, also of those that are none for their number
	Oldest    time.Time   // creation of the oldest message that a consumer is not done with
}

// How old a situation may be: what a page shows at first, and what it shows while it is live.
const (
	SituationFresh = time.Second
	situationLive  = 5 * time.Second
)

// Situation returns a situation that is not older than age. What is returned is not to be changed.
func (m *Monitor) Situation(age time.Duration) Situation {
	m.situationMu.Lock()
	defer m.situationMu.Unlock()
	if now := time.Now(); m.situation.at.IsZero() || now.Sub(m.situation.at) >= age {
		m.situation = m.assess(now)
	}
	return m.situation
}

// assess looks at every object.
func (m *Monitor) assess(now time.Time) Situation {
	topics, consumers := m.b.Topics(), m.b.Consumers()
	found := Situation{at: now}
	ages := m.oldest(consumers)
	for i := range consumers {
		if at, ok := ages[consumers[i].ID]; ok && consumers[i].Backlog > 0 && (found.Oldest.IsZero() || at.Before(found.Oldest)) {
			found.Oldest = at
		}
	}
	n := &notices{Thresholds: *m.limits.Load(), list: []Attention{}, counts: map[string]int{}}
	if err := m.b.Health(); err != nil {
		n.add(codeWrite, "Messages cannot be stored: "+Reason(err), "/admin/system", "", "")
	}
	st := m.b.StoreStats()
	n.disk(st)
	n.unsynced(st)
	if m.Backups != nil {
		if err := m.Backups(); err != nil {
			n.add(codeBackup, "The backup that was due failed: "+Reason(err), "/admin/system/backups", "", "")
		}
	}
	if m.Cluster != nil {
		n.cluster(m.Cluster.Known().Nodes, now.Sub(m.began))
	}
	if m.CertificateEnds != nil {
		n.certificate(m.CertificateEnds(), now)
	}
	refusals := m.Refusals(RefusalFilter{})
	m.denied(n, consumers, refusals, now)
	m.inFlight(n, consumers, refusals, now)
	m.redelivered(n, consumers)
	n.full(topics, consumers)
	n.expired(topics, m.expired(topics))
	off := Off(m.b.Clients())
	n.stuck(consumers, m.b.Topic)
	n.callbacks(consumers, now)
	n.away(off, topics, consumers, now)
	n.inactive(off, topics, consumers)
	webhooks := m.b.Webhooks()
	n.webhooks(webhooks, m.refusedLately(webhooks))
	found.Attention = n.done()
	for i := range found.Attention {
		found.Attention[i].Link = m.prefix + found.Attention[i].Link
	}
	found.Findings = n.all
	for i := range found.Findings {
		found.Findings[i].Link = m.prefix + found.Findings[i].Link
	}
	found.Rows, found.Number = n.doneRows()
	for i := range found.Rows {
		r := &found.Rows[i]
		if r.Link = m.prefix + r.Link; r.MoreLink != "" {
			r.MoreLink = m.prefix + r.MoreLink
		}
	}
	return found
}

// Reason is an error of the broker's health in one line.
func Reason(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n") // what follows is a stack
	return clip.To(line, 300)
}

// notices gathers what needs attention.
type notices struct {
	Thresholds
	all    []Finding
	list   []Attention
	counts map[string]int // by code
	rows   map[string]*Row
}

// add adds one that is of no client.
func (n *notices) add(code, sentence, link, kind, key string) {
	n.put(Finding{Attention: Attention{code, text.Shown(sentence), link, kind, key}}, 0)
}

// put adds one to the row of its client, and to the list, unless that has enough of its code. messages are at stake.
func (n *notices) put(f Finding, messages int64) {
	x := f.Attention
	n.row(x, f.Client, messages)
	n.all = append(n.all, f)
	n.counts[x.Code]++
	if n.counts[x.Code] <= maxAttention {
		n.list = append(n.list, x)
	}
}

func (n *notices) topic(code, sentence, name string, messages int64) {
	n.put(Finding{Attention: Attention{code, text.Shown(sentence), topicLink(name), string(change.Topic), name}, Topic: name}, messages)
}

func (n *notices) consumer(code, sentence string, c *broker.ConsumerInfo) {
	key := strconv.FormatUint(uint64(c.ID), 10)
	n.put(Finding{Attention{code, text.Shown(sentence), consumerLink(c.ID), string(change.Consumer), key}, c.Topic, c.Client, c.Name}, c.Backlog)
}

// done returns the list, with how many more there are.
func (n *notices) done() []Attention {
	more := []struct{ code, text, link string }{
		{codeTopic, "%s more topics are nearly full", "/admin/topics?part=full&sort=depth&desc=1"},
		{codeBacklog, "%s more backlogs are nearly full", "/admin/consumers?part=full&sort=backlog&desc=1"},
		{codeExpired, "In %s more topics messages expired unread in the last hour", "/admin/topics"},
		{CodeAway, "%s more consumers are away while messages wait for them", "/admin/consumers?part=away&sort=backlog&desc=1"},
		{codeStuck, "Dead letters of %s more consumers wait for their dead-letter topics", "/admin/consumers?sort=backlog&desc=1"},
		{codePaused, "%s more consumers are paused, to which nothing can be sent", "/admin/consumers?sort=backlog&desc=1"},
		{codeFailing, "%s more consumers do not take what is sent to them", "/admin/consumers?sort=backlog&desc=1"},
		{codeInactive, "%s more inactive topics and consumers have messages waiting", "/admin/consumers?sort=backlog&desc=1"},
		{codeRefused, "Requests of %s more clients are refused", "/admin/clients"},
		{codeInFlight, "%s more consumers are given no more until they acknowledge", "/admin/consumers?sort=in_flight&desc=1"},
		{codeRedelivered, "%s more consumers were given a message again and again", "/admin/consumers?sort=backlog&desc=1"},
		{codeWebhook, "Calls of %s more webhooks in the last hour could not be verified", "/admin/webhooks"},
	}
	for _, m := range more {
		if left := n.counts[m.code] - maxAttention; left > 0 {
			n.list = append(n.list, Attention{Code: m.code, Text: fmt.Sprintf(m.text, text.Number(left)), Link: m.link})
		}
	}
	return n.list
}

func (n *notices) disk(st store.Stats) {
	if st.DiskTotal <= 0 || st.DiskFree < 0 {
		return
	}
	room := st.DiskFree + max(0, st.Free) // what the file has free for reuse is room as well
	if room < min(n.DiskFree, st.DiskTotal/2) || room < st.DiskTotal/100*n.DiskPercent {
		n.add(codeDisk, fmt.Sprintf("The disk is nearly full: %s of %s are free, and %s within the database. Clear a backlog, or make room on the disk",
			text.Size(st.DiskFree), text.Size(st.DiskTotal), text.Size(max(0, st.Free))), "/admin/system", "", "")
	}
}

// certificate finds one of TLS that ends soon.
func (n *notices) certificate(ends, now time.Time) {
	at := ends.UTC().Format("2006-01-02 15:04 UTC")
	switch left := ends.Sub(now); {
	case left <= 0:
		n.add(codeTLS, "The certificate of tls_cert has ended, on "+at+": clients refuse it", "/admin/system", "", "")
	case left < n.Certificate:
		n.add(codeTLS, fmt.Sprintf("The certificate of tls_cert ends in %s, on %s", text.Duration(left), at), "/admin/system", "", "")
	}
}

func (n *notices) unsynced(st store.Stats) {
	if st.Unsynced > 0 {
		n.add(CodeUnsynced, fmt.Sprintf("Answers come before the flush (sync = \"interval\"): a crash loses up to %v of them", st.Unsynced), "/admin/system", "", "")
	}
}

func (n *notices) full(topics []broker.TopicInfo, consumers []broker.ConsumerInfo) {
	for i := range topics {
		t := &topics[i]
		if depth := t.Depth + t.Delayed; n.NearlyFull(depth, t.MaxDepth) {
			n.topic(codeTopic, fmt.Sprintf("Topic %s is %d %% full: %s of at most %s messages", t.Name, text.Percent(depth, t.MaxDepth), text.Number(depth), text.Number(t.MaxDepth)), t.Name, depth)
		} else if n.nearlyFullOfBytes(t) {
			n.topic(codeTopic, fmt.Sprintf("Topic %s is %d %% full: %s of at most %s", t.Name, text.Percent(t.Bytes, int64(t.MaxBytes)), text.Size(t.Bytes), text.Size(int64(t.MaxBytes))), t.Name, depth)
		}
	}
	for i := range consumers {
		c := &consumers[i]
		if n.NearlyFull(c.Backlog, c.MaxDepth) {
			n.consumer(codeBacklog, fmt.Sprintf("The backlog of %s in %s is %d %% full: %s of at most %s messages", c.Client, c.Topic, text.Percent(c.Backlog, c.MaxDepth), text.Number(c.Backlog), text.Number(c.MaxDepth)), c)
		}
	}
}

func (n *notices) expired(topics []broker.TopicInfo, expired map[string]int64) {
	for i := range topics {
		if name := topics[i].Name; expired[name] > 0 {
			n.topic(codeExpired, fmt.Sprintf("%s expired unread in %s in the last hour", text.Count(expired[name], "message", "messages"), name), name, expired[name])
		}
	}
}

// stuck finds consumers whose messages failed for good and cannot be moved to their dead-letter topic.
func (n *notices) stuck(consumers []broker.ConsumerInfo, topic func(string) (broker.TopicInfo, bool)) {
	for i := range consumers {
		if c := &consumers[i]; c.Failed > 0 {
			n.consumer(codeStuck, fmt.Sprintf("%s of %s failed for good in %s and cannot be moved to the dead-letter topic %s, which %s",
				text.Count(c.Failed, "message", "messages"), c.Client, c.Topic, c.DeadLetterTopic, WhyStuck(topic(c.DeadLetterTopic))), c)
		}
	}
}

// WhyStuck tells what is wrong with a dead-letter topic that takes no dead letters, as the end of a sentence.
func WhyStuck(t broker.TopicInfo, there bool) string {
	switch {
	case !there:
		return "does not exist"
	case t.Inactive:
		return "is inactive"
	}
	return "has no room"
}

// callbacks finds consumers that do not take what is sent to them.
func (n *notices) callbacks(consumers []broker.ConsumerInfo, now time.Time) {
	for i := range consumers {
		c := &consumers[i]
		switch {
		case c.DeliveryMode != broker.DeliveryCallback:
		case paused(c):
			n.consumer(codePaused, fmt.Sprintf("Nothing is sent to %s from %s any more: %s. %s for it", c.Client, c.Topic, c.Callback.Paused, wait(c.Backlog)), c)
		case !c.Inactive && c.Callback.Failures > 0 && now.Sub(c.Callback.Since) > n.Failing:
			n.consumer(codeFailing, fmt.Sprintf("%s has not taken what is sent from %s for %s: %s. %s for it", c.Client, c.Topic, text.Duration(now.Sub(c.Callback.Since)), c.Callback.Error, wait(c.Backlog)), c)
		}
	}
}

// paused tells whether a consumer is inactive since nothing could be sent to it.
func paused(c *broker.ConsumerInfo) bool { return c.Inactive && c.Callback.Paused != "" }

// LastPublished is when something was last published to each topic.
func LastPublished(topics []broker.TopicInfo) map[string]time.Time {
	published := make(map[string]time.Time, len(topics))
	for i := range topics {
		published[topics[i].Name] = topics[i].LastPublish
	}
	return published
}

// Off are the clients that are inactive.
func Off(clients []broker.ClientInfo) map[string]bool {
	off := map[string]bool{}
	for i := range clients {
		if clients[i].Inactive {
			off[clients[i].Username] = true
		}
	}
	return off
}

// away finds consumers that are.
func (n *notices) away(off map[string]bool, topics []broker.TopicInfo, consumers []broker.ConsumerInfo, now time.Time) {
	isAway := n.IsAway(off, sync.OnceValue(func() map[string]time.Time { return LastPublished(topics) }), now)
	for i := range consumers {
		c := &consumers[i]
		switch {
		case !isAway(c):
		case c.LastSeen.IsZero():
			n.consumer(CodeAway, fmt.Sprintf("%s has never fetched from %s, where %s for it", c.Client, c.Topic, wait(c.Backlog)), c)
		default:
			n.consumer(CodeAway, fmt.Sprintf("%s has not fetched from %s for %s, where %s for it", c.Client, c.Topic, text.Duration(now.Sub(c.LastSeen)), wait(c.Backlog)), c)
		}
	}
}

func (n *notices) inactive(off map[string]bool, topics []broker.TopicInfo, consumers []broker.ConsumerInfo) {
	for i := range topics {
		if t := &topics[i]; t.Inactive && t.Depth > 0 {
			n.topic(codeInactive, fmt.Sprintf("Topic %s is inactive, and %s in it", t.Name, wait(t.Depth)), t.Name, t.Depth)
		}
	}
	for i := range consumers {
		c := &consumers[i]
		switch {
		case c.Backlog == 0 || paused(c):
		case c.Inactive:
			n.consumer(codeInactive, fmt.Sprintf("The consumer %s of %s is inactive, and %s for it", c.Client, c.Topic, wait(c.Backlog)), c)
		case off[c.Client]:
			n.consumer(codeInactive, fmt.Sprintf("The client %s is inactive, and %s for it in %s", c.Client, wait(c.Backlog), c.Topic), c)
		}
	}
}

func wait(n int64) string {
	if n == 1 {
		return "1 message waits"
	}
	return text.Number(n) + " messages wait"
}

// topicLink is the path of a topic's page.
func topicLink(name string) string { return "/admin/topics/" + text.Segment(name) }
