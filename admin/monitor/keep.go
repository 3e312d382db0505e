package monitor

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
	"time"

	"pipit/broker"
	"pipit/broker/limit"
	"pipit/broker/stats"
)

// What the series are made of anew after a start: a document for each step of the last hour and day in which something happened,
// written over when its place comes round again, and the counters of all and the starts. It is written once a minute, where
// anything happened, and at a regular stop: so a crash loses a minute of charts.
//
//	step:  format 1, number, since, 4 counters of all, entries
//	entry: kind, 8 bytes of key, published, delivered, acknowledged, expired, backlog
//
// Numbers are uvarints. An entry takes 14 to 40 bytes, so a step of 20 busy topics and consumers less than 1 KiB, one of the most
// that have series less than 64 KiB, and all steps of these 13 MB.
const (
	keptKind   = "monitor"
	keptFormat = 1
	keptStarts = "starts"
	maxStarts  = 50

	entryMost = 1 + 8 + 5*binary.MaxVarintLen64
)

// Kinds of entries.
const (
	entryAll      = 'a'
	entryTopic    = 't' // its key is a hash of the name
	entryConsumer = 'c' // its ID
)

// keptStep is a step as it is stored.
type keptStep struct {
	number  int64
	since   time.Time // of counters
	counted stats.Counters
	entries []keptEntry
}

type keptEntry struct {
	kind byte
	key  uint64
	point
}

func topicKey(name string) uint64 {
	h := fnv.New64a()
	_, _ = io.WriteString(h, name) // it never fails
	return h.Sum64()
}

// append writes an entry at the end of b.
func (e *keptEntry) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(append(b, e.kind), e.key)
	for _, n := range []float32{e.published, e.delivered, e.acked, e.expired, e.backlog} {
		b = binary.AppendUvarint(b, uint64(max(0, n)))
	}
	return b
}

// encode returns the step as a document, as far as there is room in one.
func (k *keptStep) encode() []byte {
	b := binary.AppendUvarint([]byte{keptFormat}, uint64(k.number)) // #nosec G115 -- since 1970
	b = binary.AppendUvarint(b, uint64(max(0, k.since.Unix())))     // #nosec G115 -- likewise
	for _, n := range []uint64{k.counted.Published, k.counted.Delivered, k.counted.Acked, k.counted.Expired} {
		b = binary.AppendUvarint(b, n)
	}
	for i := range k.entries {
		if len(b)+entryMost > limit.MaxDocumentValue {
			break
		}
		b = k.entries[i].append(b)
	}
	return b
}

// decodeStep reads what encode wrote; not ok: it is something else.
func decodeStep(b []byte) (k keptStep, ok bool) {
	if len(b) == 0 || b[0] != keptFormat {
		return k, false
	}
	b = b[1:]
	next := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			b, ok = nil, false
			return 0
		}
		b = b[n:]
		return v
	}
	ok = true
	k.number, k.since = int64(next()), time.Unix(int64(next()), 0) // #nosec G115 -- a wrong one is no step of the last day
	k.counted = stats.Counters{Published: next(), Delivered: next(), Acked: next(), Expired: next()}
	for ok && len(b) > 8 {
		e := keptEntry{kind: b[0], key: binary.LittleEndian.Uint64(b[1:])}
		b = b[9:]
		for _, f := range []*float32{&e.published, &e.delivered, &e.acked, &e.expired, &e.backlog} {
			*f = float32(next())
		}
		k.entries = append(k.entries, e)
	}
	return k, ok
}

// keep returns the documents of the steps that at is in: of the minute, and of ten where they are over. The caller holds mu.
func (m *Monitor) keep(at time.Time) (docs []broker.Document) {
	put := func(letter byte, step time.Duration, slots int64, pick func(*series) *ring) {
		n := number(at, step)
		if k := m.stepOf(n, pick); len(k.entries) > 0 {
			docs = append(docs, broker.Document{Kind: keptKind, Key: fmt.Sprintf("%c%03d", letter, n%slots), Value: k.encode()})
		}
	}
	put('h', hourStep, hourSlots, func(s *series) *ring { return &s.hour })
	if number(at.Add(hourStep), dayStep) > number(at, dayStep) {
		put('d', dayStep, daySlots, func(s *series) *ring { return &s.day })
	}
	if len(docs) > 0 && !m.startsKept {
		m.startsKept = true
		b := []byte{keptFormat}
		for _, start := range m.starts {
			b = binary.AppendUvarint(b, uint64(max(0, start.Unix()))) // #nosec G115 -- since 1970
		}
		docs = append(docs, broker.Document{Kind: keptKind, Key: keptStarts, Value: b})
	}
	return docs
}

// stepOf is a step of all series, with those in which something happened. The caller holds mu.
func (m *Monitor) stepOf(n int64, pick func(*series) *ring) *keptStep {
	k := &keptStep{number: n, since: m.since, counted: m.counted(m.all.last)}
	add := func(kind byte, key uint64, s *series) {
		r := pick(s)
		if r.points == nil || n < r.first || n > r.last {
			return
		}
		p, waited := *r.at(n), float32(0)
		if n > r.first {
			waited = r.at(n - 1).backlog
		}
		if p.busy() || p.backlog != waited {
			k.entries = append(k.entries, keptEntry{kind, key, p})
		}
	}
	add(entryAll, 0, m.all)
	for name, s := range m.topics.of {
		add(entryTopic, topicKey(name), s)
	}
	for id, s := range m.consumers.of {
		add(entryConsumer, uint64(id), s)
	}
	return k
}

// counted are the counters of all since since: those of this process, and of those before.
func (m *Monitor) counted(c stats.Counters) stats.Counters {
	c.Published += m.before.Published
	c.Delivered += m.before.Delivered
	c.Acked += m.before.Acked
	c.Expired += m.before.Expired
	return c
}

// put stores documents. Where that fails, charts have a gap after the next start, and health tells of it.
func (m *Monitor) put(docs []broker.Document) {
	if len(docs) > 0 {
		_ = m.b.PutDocuments(context.Background(), docs...)
	}
}

// load brings the series to what the processes before have stored. Of what cannot be read there is nothing.
func (m *Monitor) load(began time.Time) {
	docs, err := m.b.Documents(keptKind, "", false, hourSlots+daySlots+1)
	if err != nil {
		return
	}
	names := map[uint64]string{}
	for name := range m.topics.idle {
		names[topicKey(name)] = name
	}
	var hours, days []keptStep
	for _, d := range docs {
		if d.Key == keptStarts {
			m.loadStarts(d.Value, began)
			continue
		}
		step := hourStep
		list := &hours
		if d.Key[0] == 'd' {
			step, list = dayStep, &days
		}
		if k, ok := decodeStep(d.Value); ok && k.number <= number(began, step) && k.number > number(began.Add(-daySlots*dayStep), step) {
			*list = append(*list, k)
		}
	}
	byNumber := func(x, y keptStep) int { return int(x.number - y.number) }
	slices.SortFunc(days, byNumber)
	slices.SortFunc(hours, byNumber)
	whole := int64(0) // the last of the day's steps that is stored
	for _, k := range days {
		whole = k.number
		m.restore(&k, dayStep, names, func(s *series, p point) { s.day.add(k.number, p) })
	}
	for _, k := range hours {
		day := number(time.Unix(0, k.number*int64(hourStep)), dayStep)
		m.restore(&k, hourStep, names, func(s *series, p point) {
			s.hour.add(k.number, p)
			if day > whole {
				s.day.add(day, p)
			}
		})
	}
	if n := len(hours); n > 0 {
		m.before, m.since = hours[n-1].counted, hours[n-1].since
	}
}

func (m *Monitor) restore(k *keptStep, step time.Duration, names map[uint64]string, to func(*series, point)) {
	at := time.Unix(0, k.number*int64(step))
	for _, e := range k.entries {
		var s *series
		switch e.kind {
		case entryAll:
			s = m.all
		case entryTopic:
			if name, ok := names[e.key]; ok {
				s = m.topics.make(name, at)
			}
		case entryConsumer:
			id := uint32(e.key) // #nosec G115 -- it was one
			if _, ok := m.b.Consumer(id); ok {
				s = m.consumers.make(id, at)
			}
		}
		if s != nil {
			s.busy = at
			to(s, e.point)
		}
	}
}

// loadStarts puts the starts of the last day in front of this one.
func (m *Monitor) loadStarts(b []byte, began time.Time) {
	if len(b) == 0 || b[0] != keptFormat {
		return
	}
	var before []time.Time
	for b = b[1:]; len(b) > 0; {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return
		}
		b = b[n:]
		if at := time.Unix(int64(v), 0); at.Before(began) && began.Sub(at) < daySlots*dayStep { // #nosec G115 -- a wrong one is not within a day
			before = append(before, at)
		}
	}
	m.starts = append(before[max(0, len(before)-maxStarts):], m.starts...)
}
