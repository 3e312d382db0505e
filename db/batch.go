package db

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"pipit/broker/store"
)

// A store.Batch as bytes, for a log that has it before the file does.
//
//	version 1
//	now            uvarint
//	parts          those that are not empty, in the order of their numbers:
//	  part 1         its number
//	  entries        uvarint, how many; of declared there is one, and no number of them
//	  entry …
//	end 1          0
//
// Their entries:
//
//	1 append       lane, pos uvarint, message
//	2 delay        lane, message
//	3 undelay      key
//	4 remove       lane, from uvarint, to uvarint, limit uvarint
//	5 lanes        lane, the value of an entry of lane: see cursor.go
//	6 cursors      lane with the queue in place of the topic, the value of an entry of cursor
//	7 attempts     lane with the queue in place of the topic, pos uvarint, count uvarint
//	8 expiries     at, lane, from uvarint, to uvarint, through uvarint, again
//	9 drop IDs     key
//	10 seen        kind 1, object uvarint, at
//	11 define      kind, key, id uvarint, value
//	12 delete      as define
//	13 declared    the hash
//	14 purge       lane
//	15 put         kind, key, value
//
// A lane is topic uvarint | priority 1. Now is microseconds since 1970; the other times are that and one more, 0 where
// there is none. Keys, kinds and the hash are uvarint length | bytes. A value is flags 1 | uvarint length | bytes: the
// latter two with flagValue alone, else it is nil.
//
// A message is size 4 | the value of an entry of log or delayed, with its payload: see record.go. Where that has
// flagApart, which is of a payload of at least apartSize or of one that a delayed message left to it, it ends before
// the reference, has no checksum, and the reference follows: number uvarint | size uvarint | CRC-32C 4. Its number is
// 0 where the payload is still to get one: then the payload comes behind it.
//
// Batches that were gathered are one entry of the log, each with its length as uvarint before it:
//
//	version 2
//	batch …
const (
	batchVersion = 1
	groupVersion = 2

	partEnd      = 0
	partAppend   = 1
	partDelay    = 2
	partUndelay  = 3
	partRemove   = 4
	partLanes    = 5
	partCursors  = 6
	partAttempts = 7
	partExpiries = 8
	partDropIDs  = 9
	partSeen     = 10
	partDefine   = 11
	partDelete   = 12
	partDeclared = 13
	partPurge    = 14
	partPut      = 15

	flagSecret = 1 << 0
	flagValue  = 1 << 1
)

var (
	errBatch        = errors.New("not a batch")
	errBatchVersion = errors.New("batch of an unknown version")
)

// Bounds of what parts and entries take beside their texts, values and payloads.
const (
	partBound  = 1 + binary.MaxVarintLen64
	entryBound = 6 + 5*binary.MaxVarintLen64 // an entry of expiries takes most: a lane and five numbers
	spanBound  = 2 * binary.MaxVarintLen64
)

// batchBound returns how many bytes the encoding of b takes at most.
func batchBound(b *store.Batch) int {
	n := 1 + binary.MaxVarintLen64 + partPut*partBound + len(b.Declared) + 1
	n += entryBound * (len(b.Append) + len(b.Delay) + len(b.Undelay) + len(b.Remove) + len(b.Lanes) + len(b.Cursors) + len(b.Attempts) +
		len(b.Expiries) + len(b.DropIDs) + len(b.Seen) + len(b.Define) + len(b.Delete) + len(b.Purge) + len(b.Put))
	for _, list := range [...][]*store.Record{b.Append, b.Delay} {
		for _, r := range list {
			if n += recordBound(r); len(r.Payload) >= apartSize {
				n += len(r.Payload)
			}
		}
	}
	for _, key := range b.Undelay {
		n += len(key)
	}
	for i := range b.Cursors {
		n += spanBound * len(b.Cursors[i].Cursor.Spans)
	}
	for i := range b.DropIDs {
		n += len(b.DropIDs[i].Key)
	}
	for _, list := range [...][]store.Object{b.Define, b.Delete} {
		for i := range list {
			n += len(list[i].Kind) + len(list[i].Key) + len(list[i].Value)
		}
	}
	for i := range b.Put {
		n += len(b.Put[i].Kind) + len(b.Put[i].Key) + len(b.Put[i].Value)
	}
	return n
}

// appendBatch appends the encoding of b. What Commit
// writes into Removals, the Head of a LaneState and what is shorter than a microsecond are left out, too.
func appendBatch(buf []byte, b *store.Batch) []byte {
	buf = append(buf, batchVersion)
	buf = binary.AppendUvarint(buf, micros(b.Now))
	buf = appendPart(buf, partAppend, b.Append, appendAppended)
	buf = appendPart(buf, partDelay, b.Delay, appendDelayedMessage)
	buf = appendPart(buf, partUndelay, b.Undelay, appendString)
	buf = appendPart(buf, partRemove, b.Remove, appendRemoval)
	buf = appendPart(buf, partLanes, b.Lanes, appendLaneEntry)
	buf = appendPart(buf, partCursors, b.Cursors, appendCursorEntry)
	buf = appendPart(buf, partAttempts, b.Attempts, appendAttempt)
	buf = appendPart(buf, partExpiries, b.Expiries, appendExpired)
	buf = appendPart(buf, partDropIDs, b.DropIDs, func(buf []byte, s store.StaleID) []byte { return appendString(buf, s.Key) })
	buf = appendPart(buf, partSeen, b.Seen, appendSeenEntry)
	buf = appendPart(buf, partDefine, b.Define, appendObject)
	buf = appendPart(buf, partDelete, b.Delete, appendObject)
	if b.Declared != "" {
		buf = appendString(append(buf, partDeclared), b.Declared)
	}
	buf = appendPart(buf, partPurge, b.Purge, appendShortLane)
	buf = appendPart(buf, partPut, b.Put, appendDocumentEntry)
	return append(buf, partEnd)
}

// appendPart appends the entries of a part, nothing where there are none.
func appendPart[T any](buf []byte, part byte, list []T, entry func([]byte, T) []byte) []byte {
	if len(list) == 0 {
		return buf
	}
	buf = binary.AppendUvarint(append(buf, part), uint64(len(list)))
	for _, v := range list {
		buf = entry(buf, v)
	}
	return buf
}

func appendAppended(b []byte, r *store.Record) []byte {
	return appendMessage(binary.AppendUvarint(appendShortLane(b, r.Lane), r.Pos), r)
}

func appendDelayedMessage(b []byte, r *store.Record) []byte {
	return appendMessage(appendShortLane(b, r.Lane), r)
}

func appendMessage(b []byte, r *store.Record) []byte {
	large := len(r.Payload) >= apartSize
	moves := len(r.Payload) == 0 && r.Apart.Number != 0
	b = append(b, 0, 0, 0, 0)
	start := len(b)
	b = appendFields(b, r, large || moves)
	if !large && !moves {
		b = appendChecksum(append(b, r.Payload...), start)
	}
	binary.BigEndian.PutUint32(b[start-4:], uint32(len(b)-start)) // #nosec G115 -- without a large payload
	switch {
	case large:
		b = append(appendRef(b, refOf(r.Payload)), r.Payload...)
	case moves:
		b = appendRef(b, r.Apart)
	}
	return b
}

func appendRemoval(b []byte, r store.Removal) []byte {
	b = appendSpan(appendShortLane(b, r.Lane), r.Range)
	return binary.AppendUvarint(b, uint64(max(r.Limit, 0))) // #nosec G115 -- not negative
}

func appendLaneEntry(b []byte, l store.LaneState) []byte {
	return appendLaneState(appendShortLane(b, l.Lane), &l)
}

func appendCursorEntry(b []byte, s store.CursorState) []byte {
	return appendCursorState(appendShortLane(b, store.Lane{Topic: s.Consumer, Priority: s.Priority}), &s)
}

func appendAttempt(b []byte, a store.Attempt) []byte {
	b = appendShortLane(b, store.Lane{Topic: a.Consumer, Priority: a.Priority})
	return binary.AppendUvarint(binary.AppendUvarint(b, a.Pos), uint64(a.Count))
}

func appendExpired(b []byte, x store.Expired) []byte {
	b = appendSpan(appendShortLane(appendTime(b, x.At), x.Lane), x.Range)
	return appendTime(binary.AppendUvarint(b, x.Through), x.Again)
}

func appendSeenEntry(b []byte, s store.Seen) []byte {
	return appendTime(binary.AppendUvarint(append(b, byte(s.Kind)), uint64(s.ID)), s.At)
}

func appendObject(b []byte, o store.Object) []byte {
	b = appendString(appendString(b, string(o.Kind)), o.Key)
	return appendValue(binary.AppendUvarint(b, uint64(o.ID)), o.Value, o.Secret)
}

func appendDocumentEntry(b []byte, d store.Document) []byte {
	return appendValue(appendString(appendString(b, d.Kind), d.Key), d.Value, d.Secret)
}

func appendValue(b, value []byte, secret bool) []byte {
	flags := byte(0)
	if secret {
		flags = flagSecret
	}
	if value == nil {
		return append(b, flags)
	}
	return append(binary.AppendUvarint(append(b, flags|flagValue), uint64(len(value))), value...)
}

// appendShortLane appends a lane in less bytes than in a key, where its order does not count.
func appendShortLane(b []byte, l store.Lane) []byte {
	return append(binary.AppendUvarint(b, uint64(l.Topic)), l.Priority)
}

func appendSpan(b []byte, s store.Span) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, s.From), s.To)
}

func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(b, 0)
	}
	return binary.AppendUvarint(b, micros(t)+1)
}

// entry is a batch that was encoded. Its byte slices point into the encoded bytes; the memory of its lists is used
// again by the next parse.
type entry struct {
	now           uint64 // microseconds
	append, delay []message
	undelay       []string
	remove        []store.Removal
	lanes         []store.LaneState
	cursors       []store.CursorState
	attempts      []store.Attempt
	expiries      []store.Expired
	dropIDs       []store.StaleID
	seen          []store.Seen
	define        []store.Object
	delete        []store.Object
	declared      string
	purge         []store.Lane
	put           []store.Document // none has Committed

	in    input
	spans []store.Span // of the cursors
	kinds decoder      // remembers those of objects and documents
}

// message is one to be appended or delayed. Its value is what the bucket log or delayed has of it, unless its payload
// is kept apart: then it is what refer begins with.
type message struct {
	store.Place                  // Pos 0: delayed
	value       []byte           // not checked: whoever reads the record does
	payload     []byte           // to be kept apart; nil where it is in value, or kept apart already
	apart       store.PayloadRef // Number 0: with payload, the one that it gets is missing; else there is none
}

// isApart tells whether the payload is, or is to be, kept apart: then refer makes the value.
func (m *message) isApart() bool { return m.value[0]&flagApart != 0 }

// refer appends the value that a message has whose payload is kept apart under a number.
func (m *message) refer(number uint64, buf []byte) []byte {
	start := len(buf)
	ref := m.apart
	ref.Number = number
	return appendChecksum(appendRef(append(buf, m.value...), ref), start)
}

// parse sets all of e to the batch that b is the encoding of. It takes memory by what b has, whatever numbers that names.
// After an error, which wraps errBatch or errBatchVersion, e is empty.
func (e *entry) parse(b []byte) error {
	e.reset()
	if len(b) > 0 && b[0] != batchVersion {
		return fmt.Errorf("%w: %d", errBatchVersion, b[0])
	}
	e.in.b = b
	_ = e.in.byte()
	e.now = e.in.micros()
	part := byte(partEnd)
	for !e.in.bad {
		before := part
		if part = e.in.byte(); part == partEnd {
			break
		}
		if part <= before {
			e.in.bad = true
			break
		}
		e.part(part)
	}
	bad := e.in.bad || len(e.in.b) > 0
	e.in = input{}
	if bad {
		e.reset()
		return fmt.Errorf("%w: part %d", errBatch, part)
	}
	return nil
}

// eachBatch calls fn with the batches of an entry of the log.
func eachBatch(b []byte, fn func(batch []byte) error) error {
	if len(b) == 0 || b[0] != groupVersion {
		return fn(b)
	}
	in := input{b: b[1:]}
	for len(in.b) > 0 {
		batch := in.bytes()
		if in.bad {
			return fmt.Errorf("%w: gathered", errBatch)
		}
		if err := fn(batch); err != nil {
			return err
		}
	}
	return nil
}

// part takes the entries of a part.
func (e *entry) part(part byte) {
	switch part {
	case partAppend:
		e.append = takeList(e, e.append, (*entry).takeAppended)
	case partDelay:
		e.delay = takeList(e, e.delay, (*entry).takeDelayed)
	case partUndelay:
		e.undelay = takeList(e, e.undelay, func(e *entry, key *string) { *key = string(e.in.bytes()) })
	case partRemove:
		e.remove = takeList(e, e.remove, (*entry).takeRemoval)
	case partLanes:
		e.lanes = takeList(e, e.lanes, (*entry).takeLane)
	case partCursors:
		e.cursors = takeList(e, e.cursors, (*entry).takeCursor)
	case partAttempts:
		e.attempts = takeList(e, e.attempts, (*entry).takeAttempt)
	case partExpiries:
		e.expiries = takeList(e, e.expiries, (*entry).takeExpired)
	case partDropIDs:
		e.dropIDs = takeList(e, e.dropIDs, func(e *entry, s *store.StaleID) { s.Key = string(e.in.bytes()) })
	case partSeen:
		e.seen = takeList(e, e.seen, (*entry).takeSeen)
	case partDefine:
		e.define = takeList(e, e.define, (*entry).takeObject)
	case partDelete:
		e.delete = takeList(e, e.delete, (*entry).takeObject)
	case partDeclared:
		if e.declared = string(e.in.bytes()); e.declared == "" {
			e.in.bad = true
		}
	case partPurge:
		e.purge = takeList(e, e.purge, func(e *entry, l *store.Lane) { *l = e.in.lane() })
	case partPut:
		e.put = takeList(e, e.put, (*entry).takeDocument)
	default:
		e.in.bad = true
	}
}

// takeList appends the entries of a part, of which there is one at least, to list.
func takeList[T any](e *entry, list []T, take func(*entry, *T)) []T {
	n := e.in.uvarint()
	if n == 0 {
		e.in.bad = true
	}
	for ; n > 0 && !e.in.bad; n-- {
		var v T
		list = append(list, v)
		take(e, &list[len(list)-1])
	}
	return list
}

func (e *entry) takeAppended(m *message) {
	m.Lane, m.Pos = e.in.lane(), e.in.uvarint()
	m.take(&e.in)
}

func (e *entry) takeDelayed(m *message) {
	m.Lane = e.in.lane()
	m.take(&e.in)
}

// take takes what appendMessage appended.
func (m *message) take(in *input) {
	m.value = in.take(uint64(in.fixed32()))
	if len(m.value) == 0 {
		in.bad = true
		return
	}
	if !m.isApart() {
		return
	}
	if m.apart = in.ref(); m.apart.Number != 0 {
		return
	}
	if m.payload = in.take(uint64(m.apart.Size)); len(m.payload) == 0 {
		in.bad = true
	}
}

func (e *entry) takeRemoval(r *store.Removal) {
	r.Lane, r.Range = e.in.lane(), e.in.span()
	limit := e.in.uvarint()
	if limit > math.MaxInt {
		e.in.bad = true
		return
	}
	r.Limit = int(limit)
}

func (e *entry) takeLane(l *store.LaneState) {
	l.Lane = e.in.lane()
	l.Tail, l.Removed, l.Skipped = e.in.uvarint(), e.in.uvarint(), e.in.uvarint()
}

func (e *entry) takeCursor(s *store.CursorState) {
	queue := e.in.lane()
	s.Consumer, s.Priority = queue.Topic, queue.Priority
	s.Finished = e.in.uvarint()
	s.Cursor, e.spans = e.in.cursor(e.spans)
}

func (e *entry) takeAttempt(a *store.Attempt) {
	queue := e.in.lane()
	a.Consumer, a.Priority = queue.Topic, queue.Priority
	a.Pos, a.Count = e.in.uvarint(), e.in.uint32()
}

func (e *entry) takeExpired(x *store.Expired) {
	x.At, x.Lane, x.Range = e.in.time(), e.in.lane(), e.in.span()
	x.Through, x.Again = e.in.uvarint(), e.in.time()
}

func (e *entry) takeSeen(s *store.Seen) {
	s.Kind, s.ID, s.At = store.SeenKind(e.in.byte()), e.in.uint32(), e.in.time()
}

func (e *entry) takeObject(o *store.Object) {
	o.Kind, o.Key = store.ObjectKind(e.kinds.intern(e.in.bytes())), string(e.in.bytes())
	o.ID = e.in.uint32()
	o.Value, o.Secret = e.in.value()
}

func (e *entry) takeDocument(d *store.Document) {
	d.Kind, d.Key = e.kinds.intern(e.in.bytes()), string(e.in.bytes())
	d.Value, d.Secret = e.in.value()
}

func (in *input) lane() store.Lane {
	return store.Lane{Topic: in.uint32(), Priority: in.byte()}
}

func (in *input) span() store.Span {
	return store.Span{From: in.uvarint(), To: in.uvarint()}
}

// micros takes microseconds since 1970.
func (in *input) micros() uint64 {
	n := in.uvarint()
	if n > math.MaxInt64 {
		in.bad = true
		return 0
	}
	return n
}

// time takes what appendTime appended.
func (in *input) time() time.Time {
	n := in.uvarint()
	if n > math.MaxInt64+1 {
		in.bad = true
	}
	if in.bad || n == 0 {
		return time.Time{}
	}
	return microTime(n - 1)
}

// value takes what appendValue appended.
func (in *input) value() (v []byte, secret bool) {
	flags := in.byte()
	if flags&^(flagSecret|flagValue) != 0 {
		in.bad = true
	}
	if flags&flagValue != 0 {
		v = in.bytes()
	}
	return v, flags&flagSecret != 0
}

// reset empties e. It keeps the memory of its lists, unless they were large, and nothing that they point to.
func (e *entry) reset() {
	*e = entry{
		append: emptied(e.append), delay: emptied(e.delay), undelay: emptied(e.undelay), remove: emptied(e.remove),
		lanes: emptied(e.lanes), cursors: emptied(e.cursors), attempts: emptied(e.attempts), expiries: emptied(e.expiries),
		dropIDs: emptied(e.dropIDs), seen: emptied(e.seen), define: emptied(e.define), delete: emptied(e.delete),
		purge: emptied(e.purge), put: emptied(e.put), spans: emptied(e.spans), kinds: e.kinds,
	}
}

// emptied returns the memory of a list, which is cleared; none where it is too much to keep.
func emptied[T any](list []T) []T {
	if cap(list) > keepList {
		return nil
	}
	clear(list)
	return list[:0]
}
