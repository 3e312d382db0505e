package db

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sort"
	"strings"

	"pipit/broker/store"
)

// Verify reads the whole file at path, which must be there, and returns what is wrong with it, nil
// where nothing is. It tells progress, unless that is nil, which part of it is done, from 0 to 1; part
// grows. The errors are those of Open and Check.
func Verify(path string, opts Options, progress func(part float64)) error {
	if progress == nil {
		progress = func(float64) {}
	}
	// Three times all pages are read: here, one after another, then by bbolt, which does not say how far
	// it is, and at last the records in them.
	opts.MustExist = true
	opts.leave = true
	s, err := open(path, opts, func(part float64) { progress(part / 3) })
	if err != nil {
		return err
	}
	return errors.Join(s.check(func(part float64) { progress((1 + 2*part) / 3) }), s.Close())
}

// Check reads the whole file and returns what is wrong with it, nil where nothing is.
func (s *Store) Check() error { return s.check(func(float64) {}) }

func (s *Store) check(progress func(part float64)) (err error) {
	defer guard(&err)()
	var found findings
	if !s.loaded {
		if _, err := s.Load(); err != nil {
			return err
		}
	}
	s.fileMu.Lock() // bbolt's check of a page looks at what a transaction changes
	defer s.fileMu.Unlock()
	var v view
	in, err := s.enter(&v)
	if err != nil {
		return err
	}
	defer in.leave()
	for e := range v.base.Check() {
		found.add("%w", e)
	}
	progress(0.5)
	if len(found.list) == 0 { // else bbolt's own errors make ours pointless
		check(&v, &found, func(part float64) { progress((1 + part) / 2) })
	}
	return errors.Join(found.list...)
}

// progressStep is after how many pages or messages progress is told.
const progressStep = 64

// findings are the first errors of a Check.
type findings struct{ list []error }

func (f *findings) add(format string, args ...any) {
	const most = 100
	if len(f.list) < most {
		f.list = append(f.list, fmt.Errorf(format, args...))
	}
}

func check(at *view, found *findings, progress func(part float64)) {
	img := &store.Image{Delayed: map[uint32]uint64{}}
	if err := load(at, img); err != nil {
		found.add("%w", err)
		return
	}
	checkObjects(img, found)
	checkLog(at, img, found, progress)
	checkDelayed(at, img, found)
	checkPayloads(at, found)
	checkIDs(at, found)
	checkDocuments(at, found)
	_ = at.bucket(bucketExpiry).ForEach(func(k, v []byte) error {
		_, first, ok := parseExpiry(k)
		if !ok || len(v) != 8 || first.Pos == 0 || binary.BigEndian.Uint64(v) < first.Pos {
			found.add("expiry: entry %x", k)
		}
		return nil
	})
	progress(1)
}

func checkObjects(img *store.Image, found *findings) {
	ids := map[uint32]string{}
	id := func(id uint32, what string) {
		if other, used := ids[id]; used {
			found.add("%s and %s have the number %d", other, what, id)
		}
		if id > img.LastID {
			found.add("%s has the number %d, above the highest, %d", what, id, img.LastID)
		}
		ids[id] = what
	}
	for i := range img.Objects {
		switch o := &img.Objects[i]; o.Kind {
		case store.Topic:
			id(o.ID, "topic "+o.Key)
		case store.Producer:
			id(o.ID, "producer "+strings.Replace(o.Key, "\x00", " of ", 1))
		}
	}
	for n, c := range consumers(img) {
		id(n, "consumer "+c.String())
		if c.SubKey != c.key {
			found.add("consumer %s is under a sub_key that is not its own", c)
		}
	}
	for n, q := range queuesOf(img) {
		if !strings.HasPrefix(ids[q.Consumer], "consumer ") || !strings.HasPrefix(ids[q.Topic], "topic ") {
			found.add("queue %d: there is no consumer %d or no topic %d", n, q.Consumer, q.Topic)
		}
		id(n, fmt.Sprint("queue ", n))
	}
	for i := range img.Cursors {
		if c := &img.Cursors[i]; ids[c.Consumer] == "" {
			found.add("cursor: there is no consumer or queue %d", c.Consumer)
		}
	}
	for i := range img.Attempts {
		if a := &img.Attempts[i]; ids[a.Consumer] == "" {
			found.add("attempt: there is no consumer or queue %d", a.Consumer)
		}
	}
	for i := range img.Seen {
		if s := &img.Seen[i]; ids[s.ID] == "" {
			found.add("seen: there is no object %d", s.ID)
		}
	}
}

// checkLog compares the messages with what the lanes and the consumers' queues say of them.
func checkLog(at *view, img *store.Image, found *findings, progress func(part float64)) {
	lanes := map[store.Lane]*store.LaneState{}
	var all uint64
	for i := range img.Lanes {
		l := &img.Lanes[i]
		all += l.Tail - l.Removed
		lanes[l.Lane] = l
	}
	queues := newQueues(img)
	stored := map[store.Lane]uint64{}
	var positions []uint64 // of the messages of a lane
	var lane store.Lane
	var rec store.Record
	var dec decoder
	var done uint64
	_ = at.bucket(bucketLog).ForEach(func(k, v []byte) error {
		if done++; done%progressStep == 0 && done < all {
			progress(float64(done) / float64(all))
		}
		p, ok := parsePlace(k)
		if !ok {
			found.add("log: key %x", k)
			return nil
		}
		if err := at.decode(&dec, v, &rec); err != nil {
			found.add("log: message %d of priority %d of topic %d: %w", p.Pos, p.Priority, p.Topic, err)
		}
		if lanes[p.Lane] == nil || p.Pos == 0 { // load finds a lane for every message
			found.add("log: message %d of priority %d of topic %d is in no lane", p.Pos, p.Priority, p.Topic)
			return nil
		}
		if p.Lane != lane {
			queues.check(lanes[lane], positions, found)
			lane, positions = p.Lane, positions[:0]
		}
		positions = append(positions, p.Pos)
		stored[p.Lane]++
		if rec.ID != "" {
			key := appendID(nil, idKey{place: p, id: rec.ID})
			if at.bucket(bucketID).Get(key) == nil {
				found.add("id: message %d of priority %d of topic %d is not found by its ID", p.Pos, p.Priority, p.Topic)
			}
		}
		return nil
	})
	queues.check(lanes[lane], positions, found)
	for key, l := range lanes {
		if l.Removed > l.Tail || l.Tail-l.Removed != stored[key] {
			found.add("lane: priority %d of topic %d has %d messages, but its tail is %d and %d were removed", l.Priority, l.Topic, stored[key], l.Tail, l.Removed)
		}
		if stored[key] == 0 {
			queues.check(l, nil, found)
		}
	}
}

// queues are the consumers' cursors, by topic.
type queues struct {
	of     map[uint32][]uint32 // the consumers of a topic
	states map[store.Lane]*store.CursorState
	name   map[uint32]string
}

func newQueues(img *store.Image) queues {
	q := queues{map[uint32][]uint32{}, map[store.Lane]*store.CursorState{}, map[uint32]string{}}
	for id, c := range consumers(img) {
		q.of[c.topic] = append(q.of[c.topic], id)
		q.name[id] = c.String()
	}
	for id, of := range queuesOf(img) {
		q.of[of.Topic] = append(q.of[of.Topic], id)
		q.name[id] = fmt.Sprintf("%s (queue %d)", q.name[of.Consumer], id)
	}
	for i := range img.Cursors {
		c := &img.Cursors[i]
		q.states[store.Lane{Topic: c.Consumer, Priority: c.Priority}] = c
	}
	return q
}

// check compares the backlogs of a lane with its messages, whose positions are ascending.
func (q queues) check(l *store.LaneState, positions []uint64, found *findings) {
	if l == nil {
		return
	}
	for _, id := range q.of[l.Topic] {
		s := q.states[store.Lane{Topic: id, Priority: l.Priority}]
		if s == nil {
			s = &store.CursorState{}
		}
		backlog := uint64(0)
		for _, pos := range positions[sort.Search(len(positions), func(i int) bool { return positions[i] >= s.Cursor.Floor }):] {
			if !s.Cursor.Has(pos) {
				backlog++
			}
		}
		if counted := l.Tail - l.Skipped - s.Finished; counted != backlog {
			found.add("cursor: consumer %s has %d messages of priority %d waiting, but %d are counted", q.name[id], backlog, l.Priority, int64(counted)) // #nosec G115 -- below zero is what there is to show
		}
	}
}

func checkDelayed(at *view, img *store.Image, found *findings) {
	counts := map[uint32]uint64{}
	var rec store.Record
	var dec decoder
	_ = at.bucket(bucketDelayed).ForEach(func(k, v []byte) error {
		d, ok := parseDelayed(k)
		if !ok {
			found.add("delayed: key %x", k)
			return nil
		}
		counts[d.lane.Topic]++
		if err := at.decode(&dec, v, &rec); err != nil {
			found.add("delayed: message %d of topic %d: %w", d.n, d.lane.Topic, err)
		} else if rec.ID != "" {
			key := appendID(nil, idKey{place: store.Place{Lane: d.lane}, id: rec.ID, n: d.n})
			if at.bucket(bucketID).Get(key) == nil {
				found.add("id: delayed message %d of topic %d is not found by its ID", d.n, d.lane.Topic)
			}
		}
		return nil
	})
	for t, n := range counts {
		if img.Delayed[t] != n {
			found.add("waiting: topic %d has %d delayed messages instead of %d", t, n, img.Delayed[t])
		}
	}
	for t, n := range img.Delayed {
		if counts[t] == 0 {
			found.add("waiting: topic %d has no delayed messages instead of %d", t, n)
		}
	}
}

// checkIDs makes sure that every remembered ID will be forgotten: its message is stored, or it
// stands in idkeep.
func checkIDs(at *view, found *findings) {
	kept := map[string]bool{}
	_ = at.bucket(bucketIDKeep).ForEach(func(k, _ []byte) error {
		if _, _, ok := parseIDKeep(k); !ok {
			found.add("idkeep: key %x", k)
			return nil
		}
		kept[string(k[8:])] = true
		return nil
	})
	log, delayed := at.bucket(bucketLog), at.bucket(bucketDelayed)
	_ = at.bucket(bucketID).ForEach(func(k, v []byte) error {
		p, ok := parseID(k)
		switch {
		case !ok || len(v) != 8 && (p.place.Pos != 0 || len(v) != 16):
			found.add("id: entry %x", k)
		case kept[string(k)]:
		case p.place.Pos != 0 && log.Get(appendPlace(nil, p.place.Lane, p.place.Pos)) != nil:
		case p.place.Pos == 0 && len(v) == 16 && delayed.Get(appendDelayed(nil, delayedKey{binary.BigEndian.Uint64(v[8:]), p.n, p.place.Lane})) != nil:
		default:
			found.add("id: nothing will forget the entry %x", k)
		}
		return nil
	})
}

// checkPayloads makes sure that each payload that is kept apart is that of one message.
func checkPayloads(at *view, found *findings) {
	owners := map[uint64]int{}
	var rec store.Record
	var dec decoder
	for _, name := range []int{bucketLog, bucketDelayed} {
		_ = at.bucket(name).ForEach(func(_, v []byte) error {
			if dec.decode(v, &rec) == nil && rec.Apart.Number != 0 {
				owners[rec.Apart.Number]++
			}
			return nil
		})
	}
	_ = at.bucket(bucketPayload).ForEach(func(k, v []byte) error {
		if len(k) != 8 {
			found.add("payload: entry %x", k)
		} else if n := binary.BigEndian.Uint64(k); owners[n] != 1 {
			found.add("payload: %d messages have the payload %d", owners[n], n)
		}
		return nil
	})
}
