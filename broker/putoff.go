package broker

import (
	"sync/atomic"
	"time"

	"pipit/broker/store"
)

// A message that waits for its delay counts for the depth of its topic, and for its bytes. How many wait the store tells at a start; what
// they come to is found out in the background, where a topic's bytes are bounded: the sweeper has the committer look at a few of
// all delayed messages at a time, in the order of their keys, which begin with the time at which they are due.

// putOffs is how far that has come. It is the committer's own, but for known.
type putOffs struct {
	after string // the last key that was looked at
	due   int64  // when its message is due, in unix microseconds
	known atomic.Bool
}

// sized tells whether the bytes of all delayed messages of the topic are known. For the committer.
func (t *topic) sized(p *putOffs) bool { return t.nextDelayed == 0 || p.known.Load() }

// putOff notes a message that waits for its delay. A later one of the same microsecond comes behind the others, so that it will be looked at.
func (d *draft) putOff(t *topic, r *store.Record) {
	d.touch(t)
	d.batch.Delay = append(d.batch.Delay, r)
	t.nextDelayed++
	if p := &d.b.putOffs; p.known.Load() || r.Due().UnixMicro() < p.due {
		t.nextDelayedBytes += r.Size()
	}
}

// takeBack removes a message, of so many bytes, that waits for its delay.
func (d *draft) takeBack(t *topic, key string, bytes int64) {
	d.touch(t)
	d.batch.Undelay = append(d.batch.Undelay, key)
	t.nextDelayed--
	if p := &d.b.putOffs; p.known.Load() || key <= p.after {
		t.nextDelayedBytes -= bytes
	}
}

// Bounds of one look at delayed messages, during which nothing is committed.
const (
	putOffKeys = 2000
	putOffTime = 2 * time.Millisecond
)

// putOffOp looks at some delayed messages. It is alone in its commit, and stores nothing.
type putOffOp struct {
	b     *Broker
	bytes map[uint32]int64 // by topic
	after string
	due   int64
	ends  bool
}

func (o *putOffOp) plan(d *draft) error {
	o.bytes, o.after, o.due, o.ends = map[uint32]int64{}, o.b.putOffs.after, o.b.putOffs.due, true
	start, looked := time.Now(), 0
	err := o.b.store.View(func(r store.Reader) error {
		return r.ScanDelayed(o.after, func(m store.Delayed) bool {
			o.bytes[m.Record.Topic] += m.Record.Size()
			o.after, o.due = m.Key, m.Record.Due().UnixMicro()
			looked++
			o.ends = looked < putOffKeys && (looked%16 > 0 || time.Since(start) < putOffTime)
			return o.ends
		})
	})
	if err != nil {
		return err
	}
	o.b.mu.RLock()
	defer o.b.mu.RUnlock()
	for id, n := range o.bytes {
		if t := o.b.topicIDs[id]; t != nil { // else it is deleted, and nobody asks
			d.touch(t)
			t.nextDelayedBytes += n
		}
	}
	return nil
}

func (o *putOffOp) applied(time.Time) {
	p := &o.b.putOffs
	p.after, p.due = o.after, o.due
	p.known.Store(o.ends)
}

func (o *putOffOp) failed()       {}
func (o *putOffOp) appends() bool { return false }

// weighPutOff goes on finding out what delayed messages come to, and tells whether there is more to do.
func (s *sweeper) weighPutOff(t *topic) (more bool, err error) {
	if s.b.putOffs.known.Load() || !t.def.Load().weighs() || t.delayed.Load() == 0 {
		return false, nil
	}
	err = s.b.commits.doAlone(&putOffOp{b: s.b})
	return !s.b.putOffs.known.Load(), err
}
