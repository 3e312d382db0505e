//go:build linux

package main

import "time"

// letGo takes note, before it is said, that messages are to be in flight no more; ack: to be acknowledged, else to be given back.
func (l *ledger) letGo(q *queue, list []uint64, ack bool) {
	l.each(q, list, func(m *message, c *standing) {
		c.leased = false
		if ack {
			c.asking++
		} else {
			c.rejecting++
		}
	})
}

// letWent takes note that a reject was answered, or that its answer was lost.
func (l *ledger) letWent(q *queue, list []uint64) {
	l.each(q, list, func(_ *message, c *standing) {
		c.rejecting--
		c.leased = false
	})
}

// each calls f for what is known of messages.
func (l *ledger) each(q *queue, list []uint64, f func(*message, *standing)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range list {
		if m := l.live[n]; m != nil && m.copies[q] != nil {
			f(m, m.copies[q])
		}
	}
}

// taken enters that a callback is answered with 2xx now.
func (l *ledger) taken(q *queue, list []uint64) {
	l.each(q, list, func(m *message, c *standing) {
		c.asking--
		l.note(m, q, "callback answered with 200")
		l.totals.acked++
		c.acked = time.Now()
	})
}

// failed enters that a callback is not answered with 2xx now.
func (l *ledger) failed(q *queue, list []uint64) {
	l.each(q, list, func(_ *message, c *standing) { c.leased = false })
}

// late enters that a callback is answered with 2xx when its time is over. A program that was paused meanwhile may take that in time.
func (l *ledger) late(q *queue, list []uint64) {
	l.each(q, list, func(m *message, c *standing) {
		c.leased = false
		l.note(m, q, "callback answered late with 200")
		if c.faults != l.faults {
			c.perhaps = true
		}
	})
}

// acked enters the answer to an acknowledgement.
func (l *ledger) acked(q *queue, list []uint64, sent time.Time, epoch int) {
	l.each(q, list, func(m *message, c *standing) {
		c.asking--
		l.note(m, q, "acknowledged")
		l.totals.acked++
		if !c.dead.IsZero() && c.dead.Before(sent) {
			l.violate(m, "%s could acknowledge what had become a dead letter at %s", q.name, clockTime(c.dead))
		}
		if c.acked.IsZero() {
			c.acked = time.Now()
		}
		switch {
		case epoch != l.epoch:
		case m.lasts > 0: // where it had expired before, it counts as that
			q.lost++
		default:
			q.acks++
		}
	})
}

// notAcked enters an acknowledgement that failed: its outcome is not known where perhaps.
func (l *ledger) notAcked(q *queue, list []uint64, perhaps bool, epoch int, why string) {
	l.each(q, list, func(m *message, c *standing) {
		c.asking--
		l.note(m, q, "acknowledgement failed: "+why)
		if perhaps {
			c.perhaps = true
			if epoch == l.epoch {
				q.lost++
			}
		}
	})
}

// notFound enters an acknowledgement that was answered with 404: somebody else has to have finished the message.
func (l *ledger) notFound(q *queue, list []uint64) {
	l.each(q, list, func(m *message, c *standing) {
		c.asking--
		l.note(m, q, "acknowledgement: not found")
		if !c.done() && c.asking == 0 && m.lasts == 0 && !m.going && !q.limited && q.deleted.IsZero() {
			l.violate(m, "%s cannot acknowledge what it was given", q.name)
		}
	})
}

// rejected and extended enter what was answered to these.
func (l *ledger) rejected(q *queue, list []uint64, what string) {
	l.each(q, list, func(m *message, _ *standing) {
		l.totals.rejected++
		l.note(m, q, what)
	})
}

func (l *ledger) extended(q *queue, n uint64, until time.Time, epoch int) {
	l.each(q, []uint64{n}, func(m *message, c *standing) {
		l.totals.extended++
		l.note(m, q, "extended until "+clockTime(until))
		switch {
		case !c.leased || c.epoch != epoch:
		case time.Now().After(c.until): // its lease may have ended before, and this be that of another receiver
			c.leased = false
		default:
			c.until = until
		}
	})
}
