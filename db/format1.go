package db

import (
	"bytes"
	"encoding/binary"

	"go.etcd.io/bbolt"

	"pipit/broker/store"
)

// Format 1 kept, in the buckets lane and cursor, the positions that were gone and those that a
// consumer had settled, which counted by themselves:
//
//	lane      tail uvarint | cursor
//	cursor    cursor: floor uvarint | spans uvarint | of each span: gap uvarint, length uvarint

// loadFormat1 is loadStates for a file of format 1. It makes what format 2 keeps of it.
func loadFormat1(at *view, img *store.Image) error {
	gone := map[store.Lane]*store.Cursor{}
	err := each(at, bucketLane, func(k, v []byte) bool {
		l, ok := parseLane(k)
		tail, n := binary.Uvarint(v)
		if !ok || n <= 0 {
			return false
		}
		c, rest, ok := parseCursor(v[n:])
		gone[l] = &c
		img.Lanes = append(img.Lanes, store.LaneState{Lane: l, Tail: tail, Head: tail + 1, Removed: c.Count()})
		return ok && len(rest) == 0
	})
	if err != nil {
		return err
	}
	own := map[store.Lane]*store.Cursor{}
	err = each(at, bucketCursor, func(k, v []byte) bool {
		l, ok := parseLane(k)
		c, rest, ok2 := parseCursor(v)
		own[l] = &c
		return ok && ok2 && len(rest) == 0
	})
	if err != nil {
		return err
	}
	none := &store.Cursor{}
	for id, of := range consumers(img) {
		for p := uint8(1); p <= 9; p++ {
			g, c := gone[store.Lane{Topic: of.topic, Priority: p}], own[store.Lane{Topic: id, Priority: p}]
			if g == nil && c == nil {
				continue
			}
			if g == nil {
				g = none
			}
			if c == nil {
				c = none
			}
			s := joined(c, g)
			s.Consumer, s.Priority = id, p
			img.Cursors = append(img.Cursors, s)
		}
	}
	return nil
}

// joined is the state of a queue that settled own in a lane where the positions of gone are gone.
func joined(own, gone *store.Cursor) store.CursorState {
	all := own.Clone()
	if gone.Floor > 1 {
		all.Add(1, gone.Floor-1)
	}
	for _, s := range gone.Spans {
		all.Add(s.From, s.To)
	}
	state := store.CursorState{Cursor: store.Cursor{Floor: all.Floor}, Finished: all.Count()}
	for _, s := range all.Spans { // those in which nothing was settled follow from the log
		settled := true
		own.Missing(s.From, s.To, func(m store.Span) { settled = settled && m != s })
		if settled {
			state.Cursor.Spans = append(state.Cursor.Spans, s)
		}
	}
	return state
}

// upgradeFormat1 writes what loadFormat1 has made.
func upgradeFormat1(tx *bbolt.Tx, img *store.Image) error {
	for i := range img.Lanes {
		l := &img.Lanes[i]
		if err := tx.Bucket(bucketNames[bucketLane]).Put(appendLane(nil, l.Lane), appendLaneState(nil, l)); err != nil {
			return err
		}
	}
	kept := map[string]bool{}
	for i := range img.Cursors {
		c := &img.Cursors[i]
		key := appendLane(nil, store.Lane{Topic: c.Consumer, Priority: c.Priority})
		kept[string(key)] = true
		if err := tx.Bucket(bucketNames[bucketCursor]).Put(key, appendCursorState(nil, c)); err != nil {
			return err
		}
	}
	var stale [][]byte // of consumers that are no more
	_ = tx.Bucket(bucketNames[bucketCursor]).ForEach(func(k, _ []byte) error {
		if !kept[string(k)] {
			stale = append(stale, bytes.Clone(k))
		}
		return nil
	})
	for _, k := range stale {
		if err := tx.Bucket(bucketNames[bucketCursor]).Delete(k); err != nil {
			return err
		}
	}
	return nil
}
