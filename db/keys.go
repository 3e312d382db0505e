package db

import (
	"bytes"
	"encoding/binary"
	"strings"
	"time"

	"pipit/broker/store"
)

// Keys. Every number is big-endian; a time is microseconds since 1970 unless it says seconds.
//
//	lane      topic 4 | priority 1
//	log       topic 4 | priority 1 | pos 8
//	cursor    queue 4 | priority 1
//	attempt   queue 4 | priority 1 | pos 8
//	seen      kind 1 | object 4
//	expiry    second 8 | topic 4 | priority 1 | first 8               value: last 8
//	delayed   due 8 | n 8 | topic 4 | priority 1                      value: record
//	payload   number 8                                                a bucket, see apart.go
//	waiting   topic 4                                                 value: uvarint
//	id        topic 4 | ID | 0 | pos 8 | priority 1 | [n 8]           value: created 8 | [due 8]
//	idkeep    keep-until 8 | topic 4 | ID | 0 | pos 8 | priority 1 | [n 8]   value: nothing
//	document  kind | 0 | key                                          value: as it was given
//
// The number of a consumer of one topic is that of its queue. n numbers the delayed messages. In id and idkeep it is there while the message is delayed;
// pos is 0 then. An ID and a kind have no byte 0.
const (
	laneSize    = 5
	placeSize   = laneSize + 8
	expirySize  = 8 + placeSize
	delayedSize = 16 + laneSize
)

func appendLane(b []byte, l store.Lane) []byte {
	return append(binary.BigEndian.AppendUint32(b, l.Topic), l.Priority)
}

func parseLane(b []byte) (store.Lane, bool) {
	if len(b) != laneSize {
		return store.Lane{}, false
	}
	return store.Lane{Topic: binary.BigEndian.Uint32(b), Priority: b[4]}, true
}

func appendPlace(b []byte, l store.Lane, pos uint64) []byte {
	return binary.BigEndian.AppendUint64(appendLane(b, l), pos)
}

func parsePlace(b []byte) (p store.Place, ok bool) {
	if len(b) != placeSize {
		return p, false
	}
	p.Lane, _ = parseLane(b[:laneSize])
	p.Pos = binary.BigEndian.Uint64(b[laneSize:])
	return p, true
}

func appendSeen(b []byte, kind store.SeenKind, id uint32) []byte {
	return binary.BigEndian.AppendUint32(append(b, byte(kind)), id)
}

func parseSeen(b []byte) (store.SeenKind, uint32, bool) {
	if len(b) != 5 {
		return 0, 0, false
	}
	return store.SeenKind(b[0]), binary.BigEndian.Uint32(b[1:]), true
}

func appendExpiry(b []byte, second uint64, l store.Lane, first uint64) []byte {
	return appendPlace(binary.BigEndian.AppendUint64(b, second), l, first)
}

func parseExpiry(k []byte) (second uint64, first store.Place, ok bool) {
	if len(k) != expirySize {
		return 0, first, false
	}
	first, ok = parsePlace(k[8:])
	return binary.BigEndian.Uint64(k), first, ok
}

// delayedKey is a key of the bucket delayed.
type delayedKey struct {
	due, n uint64
	lane   store.Lane
}

func appendDelayed(b []byte, d delayedKey) []byte {
	b = binary.BigEndian.AppendUint64(b, d.due)
	return appendLane(binary.BigEndian.AppendUint64(b, d.n), d.lane)
}

func parseDelayed(k []byte) (d delayedKey, ok bool) {
	if len(k) != delayedSize {
		return d, false
	}
	d.due, d.n = binary.BigEndian.Uint64(k), binary.BigEndian.Uint64(k[8:])
	d.lane, ok = parseLane(k[16:])
	return d, ok
}

// idKey is a key of the bucket id.
type idKey struct {
	place store.Place
	id    string
	n     uint64 // where Pos is 0
}

// appendIDPrefix appends what the keys of all messages of the same ID begin with.
func appendIDPrefix(b []byte, topic uint32, id string) []byte {
	return append(append(binary.BigEndian.AppendUint32(b, topic), id...), 0)
}

func appendID(b []byte, k idKey) []byte {
	b = appendIDPrefix(b, k.place.Topic, k.id)
	b = append(binary.BigEndian.AppendUint64(b, k.place.Pos), k.place.Priority)
	if k.place.Pos == 0 {
		b = binary.BigEndian.AppendUint64(b, k.n)
	}
	return b
}

func parseID(b []byte) (k idKey, ok bool) {
	if len(b) < 4 {
		return k, false
	}
	i := bytes.IndexByte(b[4:], 0)
	if i < 0 {
		return k, false
	}
	k.place.Topic = binary.BigEndian.Uint32(b)
	k.id = string(b[4 : 4+i])
	b = b[4+i+1:]
	if len(b) < 9 {
		return k, false
	}
	k.place.Pos, k.place.Priority = binary.BigEndian.Uint64(b), b[8]
	b = b[9:]
	if k.place.Pos == 0 && len(b) == 8 {
		k.n = binary.BigEndian.Uint64(b)
		return k, true
	}
	return k, k.place.Pos != 0 && len(b) == 0
}

func parseIDKeep(b []byte) (keep uint64, k idKey, ok bool) {
	if len(b) < 8 {
		return 0, k, false
	}
	k, ok = parseID(b[8:])
	return binary.BigEndian.Uint64(b), k, ok
}

func appendDocument(b []byte, kind, key string) []byte {
	return append(append(append(b, kind...), 0), key...)
}

func parseDocument(k []byte) (kind, key string, ok bool) {
	return strings.Cut(string(k), "\x00")
}

// micros returns the microseconds of t as keys have them. Times before 1970 count as 1970.
func micros(t time.Time) uint64 { return uint64(max(t.UnixMicro(), 0)) }

func microTime(n uint64) time.Time { return time.UnixMicro(int64(n)).UTC() } // #nosec G115 -- made by micros

// expirySecond returns the whole second in which r has expired, 0 where it does not.
func expirySecond(r *store.Record) uint64 {
	if r.Expiration == 0 {
		return 0
	}
	return (micros(r.Created)+999_999)/1_000_000 + uint64(r.Delay) + uint64(r.Expiration)
}

func parseTime(v []byte) (time.Time, bool) {
	if len(v) != 8 {
		return time.Time{}, false
	}
	return microTime(binary.BigEndian.Uint64(v)), true
}
