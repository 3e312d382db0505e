//go:build linux

package main

import (
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
)

// state is what is known of a publish.
type state int

const (
	asked   state = iota // no answer yet
	stored               // answered 200
	unknown              // the answer was lost, or said that it is not known
	refused              // answered with an error that said that nothing was stored
)

// message is one that somebody published, until all that are owed it are done with it and the books are settled.
type message struct {
	n               uint64
	topic, kind     string // kind is its attribute, which a filter looks at
	priority, size  int
	own             bool // it has an ID of the publisher's own
	asked, answered time.Time
	epoch           int // in which it was asked
	state           state
	lasts, delay    time.Duration // 0: for good; at once
	going           bool          // its topic is being deleted
	gone            time.Time     // when that was answered
	copies          map[*queue]*standing
	events          []event // the last ones
}

// standing is how a message stands with a queue.
type standing struct {
	delivered     int
	acked, dead   time.Time // when that was known: answered 200; given to the queue of dead letters
	perhaps       bool      // an acknowledgement was sent, and what became of it is not known
	asking        int       // acknowledgements on their way
	rejecting     int       // rejects on their way, which may be late and end the lease of another receiver
	leased        bool
	until         time.Time // the lease ends no earlier
	epoch, faults int       // of the last delivery
}

func (s *standing) done() bool { return !s.acked.IsZero() || !s.dead.IsZero() || s.perhaps }

// event is something that happened to a message.
type event struct {
	at    time.Time
	epoch int
	queue string
	what  string
}

const maxEvents = 24

// queue is a consumer.
type queue struct {
	name, topic string // the name is that of its client, too
	key         string
	filter      string        // the kind that it lets through; empty: all
	timeout     time.Duration // of a lease
	ordered     bool          // one receiver has it, so that the order of deliveries is the order of publishing
	once        bool          // acknowledged with the delivery
	limited     bool          // what fails often goes to the dead letters
	callback    bool
	lettersOf   *queue // it has the dead letters of that one
	id          uint64 // of one that was made by the API

	// Kept by the ledger.
	deleted   time.Time
	waiting   map[uint64]*message // of an ordered one: never delivered
	high      map[lane]*message   // of an ordered one: what was published last of all that was delivered first
	highEpoch int
	acks      int // in this epoch, as answered
	lost      int // acknowledgements of this epoch whose outcome is not known
}

type lane struct {
	topic    string
	priority int
}

// owes reports whether each message like m that is published from now on has to reach q.
func (q *queue) owes(m *message) bool {
	return q.lettersOf == nil && q.takes(m)
}

func (q *queue) takes(m *message) bool {
	if q.lettersOf != nil {
		return q.lettersOf.takes(m)
	}
	matches, _ := path.Match(q.topic, m.topic)
	return matches && (q.filter == "" || q.filter == m.kind)
}

// got is a message as it was delivered.
type got struct {
	n          uint64
	id         string
	whole      bool // the payload is that of number n
	size       int
	priority   int
	deadLetter string // the consumer that it failed for
}

// totals are what the table shows.
type totals struct {
	published, duplicates, refused, unknown           int
	delivered, redelivered, acked, rejected, extended int
	letters, forgotten                                int
}

// ledger has what the program has answered. Whatever it is told it compares with that, and writes what cannot be.
type ledger struct {
	out io.Writer

	mu         sync.Mutex
	last       uint64 // number
	live       map[uint64]*message
	queues     []*queue
	epoch      int            // changes when a process is told to end, and when it has ended
	faults     int            // that have begun or ended so far
	active     int            // that go on
	jumped     int            // epoch in which the clock jumped last
	stored     map[string]int // messages by topic, answered in this epoch
	lostStores map[string]int // of this epoch, whose outcome is not known
	violations int
	totals     totals
}

func newLedger(out io.Writer) *ledger {
	return &ledger{out: out, live: map[uint64]*message{}, stored: map[string]int{}, lostStores: map[string]int{}, jumped: -1}
}

const maxViolations = 50 // that are written

// violate writes what cannot be, and what happened to the message; the caller holds mu.
func (l *ledger) violate(m *message, format string, args ...any) {
	l.violations++
	if l.violations > maxViolations {
		return
	}
	fmt.Fprintf(l.out, "%s VIOLATION %d: %s\n", clockTime(time.Now()), l.violations, fmt.Sprintf(format, args...))
	if m == nil {
		return
	}
	fmt.Fprintf(l.out, "    message %d of %s, priority %d, %d bytes, own ID %t, expiration %s, delay %s, state %d, asked %s in epoch %d, answered %s; now epoch %d\n",
		m.n, m.topic, m.priority, m.size, m.own, m.lasts, m.delay, m.state, clockTime(m.asked), m.epoch, clockTime(m.answered), l.epoch)
	for _, e := range m.events {
		fmt.Fprintf(l.out, "    %s epoch %d %s %s\n", clockTime(e.at), e.epoch, e.queue, e.what)
	}
}

// wrong is violate of no message.
func (l *ledger) wrong(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.violate(nil, format, args...)
}

func clockTime(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format("15:04:05.000")
}

func (l *ledger) note(m *message, q *queue, what string) {
	name := ""
	if q != nil {
		name = q.name
	}
	if len(m.events) == maxEvents {
		m.events = slices.Delete(m.events, 1, 2) // the first one tells how it began
	}
	m.events = append(m.events, event{time.Now(), l.epoch, name, what})
}

// nextEpoch is called when a process is told to end, and when it has ended: what was asked in an epoch was not
// served by a process of a later one.
func (l *ledger) nextEpoch() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epoch++
	clear(l.stored)
	clear(l.lostStores)
	for _, q := range l.queues {
		q.acks, q.lost = 0, 0
	}
}

// fault is called when something is done to the process, and its result when that is over: what became of callbacks in the
// air is not known then.
func (l *ledger) fault() (over func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults++
	l.active++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.faults++
		l.active--
	}
}

func (l *ledger) clockJumped() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults++
	l.jumped = l.epoch
}

func (l *ledger) now() (epoch int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.epoch
}

// add has a queue owed what is published from now on.
func (l *ledger) add(q *queue) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if q.ordered {
		q.waiting, q.high = map[uint64]*message{}, map[lane]*message{}
	}
	l.queues = append(l.queues, q)
}

// remove takes note that a queue is to be deleted: it is owed nothing any more.
func (l *ledger) remove(q *queue) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queues = slices.DeleteFunc(l.queues, func(other *queue) bool { return other == q })
	for _, m := range l.live {
		delete(m.copies, q)
	}
}

// removed takes note that a deletion was answered.
func (l *ledger) removed(q *queue) {
	l.mu.Lock()
	defer l.mu.Unlock()
	q.deleted = time.Now()
}

// removeTopic takes note that a topic is to be deleted, with its messages; done, that this was answered.
func (l *ledger) removeTopic(topic string, done bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.live {
		if m.topic != topic {
			continue
		}
		m.going = true
		if done {
			m.gone = time.Now()
			l.note(m, nil, "its topic is deleted")
		}
	}
}

// ask enters messages that are about to be published.
func (l *ledger) ask(list []*message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for _, m := range list {
		l.last++
		m.n, m.asked, m.epoch, m.copies = l.last, now, l.epoch, map[*queue]*standing{}
		l.live[m.n] = m
		for _, q := range l.queues {
			if q.owes(m) {
				m.copies[q] = &standing{}
				if q.ordered {
					q.waiting[m.n] = m
				}
			}
		}
	}
}

// answer enters what became of a publish. epoch is that in which it was asked, this time.
// again says that it was asked before; duplicate, that it was answered as one that is stored already.
func (l *ledger) answer(list []*message, s state, again, duplicate bool, epoch int, why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range list {
		before := m.state
		switch {
		case s == refused && before == unknown: // of a repetition, which says nothing of the first time
		default:
			m.state = s
		}
		l.note(m, nil, "publish: "+why)
		if s == stored && duplicate {
			l.totals.duplicates++
		}
		switch {
		case epoch != l.epoch:
		case s == stored && !again:
			l.stored[m.topic]++
		case s == stored, s == unknown:
			l.lostStores[m.topic]++
		}
		switch m.state {
		case stored:
			m.answered = time.Now()
			l.totals.published++
		case unknown:
			if before != unknown {
				l.totals.unknown++
			}
		case refused:
			l.totals.refused++
			for q, c := range m.copies {
				if c.delivered > 0 {
					l.violate(m, "%s was given a message whose publish was refused", q.name)
				}
			}
			for _, q := range l.queues {
				delete(q.waiting, m.n)
			}
		}
	}
}

// deliver enters what a queue was given in one reply to a request that was sent then.
func (l *ledger) deliver(q *queue, list []got, sent time.Time, epoch int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, least, first := time.Now(), 10, true
	if q.highEpoch != epoch {
		clear(q.high)
		q.highEpoch = epoch
	}
	for _, g := range list {
		m := l.live[g.n]
		if m == nil {
			l.violate(nil, "%s was given message %d (msg_id %s), which nobody published, or everybody was done with", q.name, g.n, g.id)
			continue
		}
		l.note(m, q, fmt.Sprintf("delivered, request of %s in epoch %d", clockTime(sent), epoch))
		l.totals.delivered++
		c := m.copies[q]
		if c == nil {
			c = &standing{}
			m.copies[q] = c
		}
		l.suits(q, m, g, sent)
		l.mayCome(q, m, c, now, sent, epoch)
		if c.delivered == 0 && q.ordered && epoch == l.epoch {
			l.inOrder(q, m)
		}
		if !q.callback && g.priority > least && !first {
			l.violate(m, "%s was given priority %d behind priority %d in one reply", q.name, g.priority, least)
		}
		least, first = min(least, g.priority), false
		if c.delivered++; c.delivered > 1 {
			l.totals.redelivered++
		}
		c.leased, c.until, c.epoch, c.faults = c.rejecting == 0, sent.Add(q.timeout), epoch, l.faults
		if l.active > 0 {
			c.faults = -1
		}
		if q.callback {
			c.acked = time.Time{} // the answer before was lost
		}
		if q.once {
			c.acked, c.leased = now, false
		}
		if from := q.lettersOf; from != nil {
			l.letter(q, from, m, c)
		}
		delete(q.waiting, m.n)
	}
	if q.ordered && !q.callback && len(list) > 0 && epoch == l.epoch {
		l.noneHigher(q, least, sent)
	}
}

// suits looks at a message by itself; the caller holds mu.
func (l *ledger) suits(q *queue, m *message, g got, sent time.Time) {
	switch {
	case m.state == refused:
		l.violate(m, "%s was given a message whose publish was refused", q.name)
	case !q.takes(m):
		l.violate(m, "%s, of %s and kind %q, was given what is none of its own", q.name, q.topic, q.filter)
	case !g.whole || g.size != m.size:
		l.violate(m, "%s was given another payload, of %d bytes", q.name, g.size)
	case g.priority != m.priority:
		l.violate(m, "%s was given it with priority %d", q.name, g.priority)
	case m.own && g.id != ownID(m.n):
		l.violate(m, "%s was given it with the ID %s", q.name, g.id)
	case !m.gone.IsZero() && sent.After(m.gone):
		l.violate(m, "%s was given a message of a topic that is deleted", q.name)
	case !q.deleted.IsZero() && sent.After(q.deleted):
		l.violate(m, "%s was given a message although it is deleted", q.name)
	case (q.lettersOf != nil) != (g.deadLetter != ""):
		l.violate(m, "%s was given it as the dead letter of %q", q.name, g.deadLetter)
	}
}

// mayCome looks at whether it may come now; the caller holds mu.
func (l *ledger) mayCome(q *queue, m *message, c *standing, now, sent time.Time, epoch int) {
	steady := l.jumped != l.epoch && m.epoch == l.epoch && epoch == l.epoch // the clock is what it was
	switch {
	case !c.acked.IsZero() && (q.once || sent.After(c.acked)) && (!q.callback || c.faults == l.faults):
		l.violate(m, "%s was given a message again that it had acknowledged at %s", q.name, clockTime(c.acked))
	case !c.dead.IsZero() && sent.After(c.dead):
		l.violate(m, "%s was given a message that had become a dead letter at %s", q.name, clockTime(c.dead))
	case c.leased && c.epoch == epoch && now.Before(c.until) && (!q.callback || c.faults == l.faults):
		l.violate(m, "%s was given a message that is in flight until %s", q.name, clockTime(c.until))
	case steady && m.state == stored && m.lasts > 0 && q.lettersOf == nil && sent.After(m.answered.Add(m.delay+m.lasts)):
		l.violate(m, "%s was given a message that has expired", q.name)
	case steady && now.Before(m.asked.Add(m.delay)):
		l.violate(m, "%s was given a message before its delay was over", q.name)
	}
}

// inOrder looks at whether a message that comes for the first time comes behind all that were published before; the
// caller holds mu.
func (l *ledger) inOrder(q *queue, m *message) {
	if m.delay > 0 {
		return
	}
	at := lane{m.topic, m.priority}
	high := q.high[at]
	if high != nil && m.state == stored && m.answered.Before(high.asked) {
		l.violate(m, "%s was given message %d before it, which was published after it was answered, at %s", q.name, high.n, clockTime(high.asked))
	}
	if high == nil || m.asked.After(high.asked) {
		q.high[at] = m
	}
}

// noneHigher looks at whether something of a higher priority was left out of a reply; the caller holds mu.
func (l *ledger) noneHigher(q *queue, least int, sent time.Time) {
	for _, m := range q.waiting {
		if m.priority > least && m.state == stored && m.answered.Before(sent) && m.delay == 0 && m.lasts == 0 && !m.going {
			l.violate(m, "%s was given priority %d, while this waited", q.name, least)
		}
	}
}

// letter takes note of a dead letter; the caller holds mu.
func (l *ledger) letter(q, from *queue, m *message, c *standing) {
	if c.delivered > 1 {
		return
	}
	l.totals.letters++
	of := m.copies[from]
	switch {
	case of == nil:
		l.violate(m, "%s was given a dead letter that was never %s's", q.name, from.name)
	case !of.acked.IsZero():
		l.violate(m, "%s was given a dead letter that %s had acknowledged at %s", q.name, from.name, clockTime(of.acked))
	default:
		of.dead = time.Now()
	}
}

// owed returns what is not done with yet.
func (l *ledger) owed() (n int, some []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.live {
		for q := range m.copies {
			if l.isOwed(q, m) {
				if n++; n <= 10 {
					some = append(some, fmt.Sprintf("%d of %s", m.n, q.name))
				}
			}
		}
	}
	return n, some
}

// isOwed reports whether a message has to reach a queue yet; the caller holds mu.
func (l *ledger) isOwed(q *queue, m *message) bool {
	return m.state == stored && m.lasts == 0 && !m.going && !q.once && q.deleted.IsZero() && !m.copies[q].done()
}

// settle ends the books of all messages: what is owed yet is lost, and whatever comes from now on of those that it forgets must not.
func (l *ledger) settle() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for n, m := range l.live {
		for q := range m.copies {
			if l.isOwed(q, m) {
				l.violate(m, "%s never got it, or never could acknowledge it", q.name)
			}
		}
		delete(l.live, n)
		l.totals.forgotten++
	}
	for _, q := range l.queues {
		clear(q.waiting)
		clear(q.high)
	}
}

// table writes the totals.
func (t totals) String() string {
	var b strings.Builder
	for _, row := range []struct {
		what string
		n    int
	}{
		{"messages published", t.published}, {"  repetitions answered as such", t.duplicates}, {"  refused", t.refused}, {"  answer lost or not known", t.unknown},
		{"deliveries", t.delivered}, {"  repeated", t.redelivered}, {"acknowledged", t.acked}, {"rejected", t.rejected}, {"extended", t.extended},
		{"dead letters", t.letters}, {"books closed of messages", t.forgotten},
	} {
		fmt.Fprintf(&b, "%-40s %d\n", row.what, row.n)
	}
	return b.String()
}

// broken returns how many violations there are.
func (l *ledger) broken() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.violations
}
