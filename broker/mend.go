package broker

import (
	"math/rand/v2"

	"pipit/broker/store"
)

// A queue's cursor has a span for whatever was settled above the first message that was not. Positions
// between two spans without any message are no reason to have two: mending finds such places in the
// log and joins the spans. Most are joined as messages are settled, by lease.Span; this is for messages
// that were removed between others that had been settled by then.

// maxMend bounds the places that a pass of the sweeper looks at.
const maxMend = 500

// mending joins the spans of a queue's cursor in a lane.
type mending struct {
	q    *queue
	prio int
	gaps []store.Span // between spans; then those of them without a message
}

// fray tells the sweeper of a cursor that has spans, unless it has as many as the last mending left. For
// the committer, which holds mu.
func (q *queue) fray(prio int) {
	if n := len(q.done[prio].Spans); n > 0 && n != q.mended[prio] {
		q.frayed.Store(true)
	}
}

// tear lists what may be mended of a queue's cursors.
func (o *sweepOp) tear(q *queue) {
	if !q.frayed.Load() {
		return
	}
	q.of.mu.Lock()
	defer q.of.mu.Unlock()
	q.frayed.Store(false)
	for prio := range q.done {
		d := &q.done[prio]
		n := len(d.Spans)
		if n == 0 {
			continue
		}
		m := mending{q: q, prio: prio}
		for i := range min(n, maxMend) {
			if n > maxMend { // any of them: those that cannot be joined would be in the way of the others
				i = rand.IntN(n) // #nosec G404 -- which of many is looked at: no secret
			}
			from := d.Lowest()
			if i > 0 {
				from = d.Spans[i-1].To + 1
			}
			m.gaps = append(m.gaps, store.Span{From: from, To: d.Spans[i].From - 1})
		}
		o.mended = append(o.mended, m)
	}
}

// findGaps lists what may be mended of the consumers' cursors, and keeps of that the places that have no message. None will ever be there.
func (o *sweepOp) findGaps(consumers []*consumer) error {
	for _, c := range consumers {
		for _, q := range c.list() {
			o.tear(q)
		}
	}
	if len(o.mended) == 0 {
		return nil
	}
	return o.b.store.View(func(r store.Reader) error {
		looks := 0
		for i := range o.mended {
			m := &o.mended[i]
			empty := m.gaps[:0]
			for _, s := range m.gaps {
				if looks++; looks > maxMend {
					m.q.frayed.Store(true) // the next pass goes on
					break
				}
				there := false
				err := r.Stored(laneRef{m.q.topic, m.prio}.key(), s, func(uint64) bool {
					there = true
					return false
				})
				if err != nil {
					return err
				}
				if !there {
					empty = append(empty, s)
				}
			}
			m.gaps = empty
		}
		return nil
	})
}

// mend joins the spans.
func (o *sweepOp) mend(d *draft) {
	for _, m := range o.mended {
		if m.q.gone.Load() {
			continue
		}
		if len(m.gaps) > 0 {
			w := d.progress(m.q, m.prio)
			for _, s := range m.gaps {
				d.cover(m.q, m.prio, s.From, s.To)
			}
			d.touchLane(m.q.topic, m.prio).settled = true
			m.q.mended[m.prio] = len(w.Spans)
		} else {
			m.q.mended[m.prio] = len(m.q.doneNow(m.prio).Spans)
		}
	}
}
