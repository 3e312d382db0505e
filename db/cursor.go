package db

import (
	"encoding/binary"
	"slices"

	"pipit/broker/store"
)

// What a lane and a consumer's queue in it keep:
//
//	lane      tail uvarint | removed uvarint | skipped uvarint
//	cursor    finished uvarint | floor uvarint | spans uvarint | of each span: gap uvarint, length uvarint
//
// The gap is how far a span begins after the end of the one before it (the first: after floor),
// the length is To - From.

func appendCursor(b []byte, c *store.Cursor) []byte {
	floor := max(c.Floor, 1)
	b = binary.AppendUvarint(b, floor)
	b = binary.AppendUvarint(b, uint64(len(c.Spans)))
	end := floor
	for _, s := range c.Spans {
		b = binary.AppendUvarint(b, s.From-end)
		b = binary.AppendUvarint(b, s.To-s.From)
		end = s.To
	}
	return b
}

// parseCursor returns the cursor and what follows it.
func parseCursor(b []byte) (c store.Cursor, rest []byte, ok bool) {
	in := input{b: b}
	c, _ = in.cursor(nil)
	if in.bad {
		return store.Cursor{}, nil, false
	}
	return c, in.b, true
}

// cursor takes a cursor. Its spans are appended to room, which is returned for the
// next one.
func (in *input) cursor(room []store.Span) (c store.Cursor, _ []store.Span) {
	c.Floor = in.uvarint()
	n := in.uvarint()
	if c.Floor == 0 || n > uint64(len(in.b))/2 { // each span is two numbers
		in.bad = true
	}
	if in.bad || n == 0 {
		return c, room
	}
	start := len(room)
	room = slices.Grow(room, int(n)) // #nosec G115 -- at most the bytes that there are
	end, least := c.Floor, uint64(1)
	for range n {
		gap, length := in.uvarint(), in.uvarint()
		from := end + gap
		to := from + length
		if in.bad || gap < least || from < end || to < from {
			in.bad = true
			return c, room
		}
		room = append(room, store.Span{From: from, To: to})
		end, least = to, 2
	}
	c.Spans = room[start:len(room):len(room)]
	return c, room
}

// appendLaneState appends the value of an entry of lane.
func appendLaneState(b []byte, l *store.LaneState) []byte {
	b = binary.AppendUvarint(b, l.Tail)
	b = binary.AppendUvarint(b, l.Removed)
	return binary.AppendUvarint(b, l.Skipped)
}

func parseLaneState(v []byte) (l store.LaneState, ok bool) {
	in := input{b: v}
	l.Tail, l.Removed, l.Skipped = in.uvarint(), in.uvarint(), in.uvarint()
	return l, !in.bad && len(in.b) == 0 && l.Removed <= l.Tail && l.Skipped <= l.Removed
}

// appendCursorState appends the value of an entry of cursor.
func appendCursorState(b []byte, s *store.CursorState) []byte {
	return appendCursor(binary.AppendUvarint(b, s.Finished), &s.Cursor)
}

func parseCursorState(v []byte) (s store.CursorState, ok bool) {
	finished, n := binary.Uvarint(v)
	if n <= 0 {
		return s, false
	}
	c, rest, ok := parseCursor(v[n:])
	return store.CursorState{Cursor: c, Finished: finished}, ok && len(rest) == 0
}
