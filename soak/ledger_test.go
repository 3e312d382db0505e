//go:build linux

package main

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// books are a ledger with a queue, to which a story is told.
type books struct {
	*ledger
	out  strings.Builder
	q    *queue
	from *queue // whose dead letters q2 has
	dead *queue
}

func newBooks() *books {
	b := &books{}
	b.ledger = newLedger(&b.out)
	b.q = &queue{name: "q", topic: "/s/a", timeout: 10 * time.Second, ordered: true}
	b.from = &queue{name: "from", topic: "/s/b", timeout: 10 * time.Second, limited: true}
	b.dead = &queue{name: "dead", topic: "/dead", timeout: 10 * time.Second, lettersOf: b.from}
	for _, q := range []*queue{b.q, b.from, b.dead} {
		b.add(q)
	}
	return b
}

// publish publishes a message, which is answered so a second later.
func (b *books) publish(topic string, priority int, s state) *message {
	m := &message{topic: topic, priority: priority, size: 100}
	b.publishThis(m, s)
	return m
}

func (b *books) publishThis(m *message, s state) {
	b.ask([]*message{m})
	time.Sleep(time.Second)
	b.answer([]*message{m}, s, false, false, b.now(), "")
	time.Sleep(time.Second)
}

// give delivers messages in one reply to a request of now.
func (b *books) give(q *queue, list ...*message) {
	var in []got
	for _, m := range list {
		g := got{n: m.n, whole: true, size: m.size, priority: m.priority}
		if q == b.dead {
			g.deadLetter = b.from.name
		}
		in = append(in, g)
	}
	sent := time.Now()
	time.Sleep(time.Millisecond)
	b.deliver(q, in, sent, b.now())
	time.Sleep(time.Second)
}

func (b *books) ack(q *queue, m *message) {
	b.letGo(q, []uint64{m.n}, true)
	b.acked(q, []uint64{m.n}, time.Now(), b.now())
	time.Sleep(time.Second)
}

// TestLedger tells the ledger of what a program may do, and of what it may not, by what it says of that.
func TestLedger(t *testing.T) {
	for name, c := range map[string]struct {
		says  string // empty: nothing
		story func(*books)
	}{
		"delivered and acknowledged": {"", func(b *books) { m := b.publish("/s/a", 5, stored); b.give(b.q, m); b.ack(b.q, m); b.settle() }},
		"again after its lease": {"", func(b *books) {
			m := b.publish("/s/a", 5, stored)
			b.give(b.q, m)
			time.Sleep(10 * time.Second)
			b.give(b.q, m)
		}},
		"again after a kill": {"", func(b *books) { m := b.publish("/s/a", 5, stored); b.give(b.q, m); b.nextEpoch(); b.give(b.q, m) }},
		"a late reject ends the lease of another": {"", func(b *books) {
			m := b.publish("/s/a", 5, stored)
			b.give(b.q, m)
			time.Sleep(10 * time.Second)
			b.letGo(b.q, []uint64{m.n}, false)
			b.give(b.q, m)
			b.letWent(b.q, []uint64{m.n})
			b.give(b.q, m)
		}},
		"a late extension is of the lease of another": {"", func(b *books) {
			m := b.publish("/s/a", 5, stored)
			b.give(b.q, m)
			time.Sleep(10 * time.Second)
			b.extended(b.q, m.n, time.Now().Add(time.Second), b.now())
			b.give(b.q, m)
		}},
		"a reject of before ends no lease": {"that is in flight", func(b *books) {
			m := b.publish("/s/a", 5, stored)
			b.give(b.q, m)
			b.letGo(b.q, []uint64{m.n}, false)
			b.letWent(b.q, []uint64{m.n})
			b.give(b.q, m)
			b.give(b.q, m)
		}},
		"a dead letter": {"", func(b *books) {
			m := b.publish("/s/b", 5, stored)
			b.give(b.from, m)
			b.give(b.dead, m)
			b.ack(b.dead, m)
			b.settle()
		}},
		"unknown and not there": {"", func(b *books) { b.publish("/s/a", 5, unknown); b.settle() }},
		"lost":                  {"never got it", func(b *books) { b.publish("/s/a", 5, stored); b.settle() }},
		"never acknowledged":    {"never got it", func(b *books) { b.give(b.q, b.publish("/s/a", 5, stored)); b.settle() }},
		"acknowledged and back": {"that it had acknowledged", func(b *books) { m := b.publish("/s/a", 5, stored); b.give(b.q, m); b.ack(b.q, m); b.give(b.q, m) }},
		"… over a kill": {"that it had acknowledged", func(b *books) {
			m := b.publish("/s/a", 5, stored)
			b.give(b.q, m)
			b.ack(b.q, m)
			b.nextEpoch()
			b.give(b.q, m)
		}},
		"back after the books": {"or everybody was done with", func(b *books) {
			m := b.publish("/s/a", 5, stored)
			b.give(b.q, m)
			b.ack(b.q, m)
			b.settle()
			b.give(b.q, m)
		}},
		"refused and stored": {"whose publish was refused", func(b *books) { b.give(b.q, b.publish("/s/a", 5, refused)) }},
		"in flight twice":    {"that is in flight", func(b *books) { m := b.publish("/s/a", 5, stored); b.give(b.q, m); b.give(b.q, m) }},
		"in flight though given": {"that is in flight", func(b *books) {
			m := b.publish("/s/a", 5, stored)
			b.give(b.q, m)
			b.extended(b.q, m.n, time.Now().Add(time.Hour), b.now())
			time.Sleep(10 * time.Second)
			b.give(b.q, m)
		}},
		"out of order": {"before it, which was published after", func(b *books) {
			first, second := b.publish("/s/a", 5, stored), b.publish("/s/a", 5, stored)
			b.give(b.q, second)
			b.give(b.q, first)
		}},
		"lower first": {"while this waited", func(b *books) { low, _ := b.publish("/s/a", 1, stored), b.publish("/s/a", 9, stored); b.give(b.q, low) }},
		"lower first in one reply": {"behind priority", func(b *books) {
			low, high := b.publish("/s/a", 1, stored), b.publish("/s/a", 9, stored)
			b.give(b.q, low, high)
		}},
		"of another topic": {"none of its own", func(b *books) { b.give(b.q, b.publish("/s/b", 5, stored)) }},
		"another payload": {"another payload", func(b *books) {
			m := b.publish("/s/a", 5, stored)
			m.size++
			other := *m
			m.size--
			b.give(b.q, &other)
		}},
		"acknowledged and dead": {"that from had acknowledged", func(b *books) {
			m := b.publish("/s/b", 5, stored)
			b.give(b.from, m)
			b.ack(b.from, m)
			b.give(b.dead, m)
		}},
		"dead and back": {"had become a dead letter", func(b *books) {
			m := b.publish("/s/b", 5, stored)
			b.give(b.from, m)
			b.give(b.dead, m)
			b.give(b.from, m)
		}},
		"not to be acknowledged": {"cannot acknowledge", func(b *books) {
			m := b.publish("/s/a", 5, stored)
			b.give(b.q, m)
			b.letGo(b.q, []uint64{m.n}, true)
			b.notFound(b.q, []uint64{m.n})
		}},
		"too early": {"before its delay", func(b *books) {
			m := &message{topic: "/s/a", delay: time.Hour, size: 100}
			b.publishThis(m, stored)
			b.give(b.q, m)
		}},
		"expired": {"has expired", func(b *books) {
			m := &message{topic: "/s/a", lasts: time.Second, size: 100}
			b.publishThis(m, stored)
			time.Sleep(time.Second)
			b.give(b.q, m)
		}},
		"of a deleted topic": {"of a topic that is deleted", func(b *books) {
			m := b.publish("/s/a", 5, stored)
			b.removeTopic("/s/a", true)
			time.Sleep(time.Second)
			b.give(b.q, m)
		}},
		"deleted with its topic": {"", func(b *books) { b.publish("/s/a", 5, stored); b.removeTopic("/s/a", true); b.settle() }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBooks()
				c.story(b)
				text := b.out.String()
				if n := b.broken(); (n > 0) != (c.says != "") || !strings.Contains(text, c.says) {
					t.Errorf("%d violations, expected is %q:\n%s", n, c.says, text)
				}
			})
		})
	}
}
