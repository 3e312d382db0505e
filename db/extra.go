package db

import (
	"encoding/binary"
	"math"

	"pipit/broker/store"
)

// Which parts an Extra has; all others are empty.
const (
	extraCorrelation = 1 << 0
	extraReplyTo     = 1 << 1
	extraAttributes  = 1 << 2
	extraDeadLetter  = 1 << 3
	extraAll         = extraCorrelation | extraReplyTo | extraAttributes | extraDeadLetter
)

// extraBound returns how many bytes an Extra takes at most.
func extraBound(x *store.Extra) int {
	n := binary.MaxVarintLen64 + 1 + 3*binary.MaxVarintLen64 + len(x.CorrelationID) + len(x.ReplyTo)
	for i := range x.Attributes {
		n += 2*binary.MaxVarintLen64 + len(x.Attributes[i].Name) + len(x.Attributes[i].Value)
	}
	if d := x.DeadLetter; d != nil {
		n += 5*binary.MaxVarintLen64 + 8 + len(d.Topic) + len(d.Consumer) + len(d.Reason)
	}
	return n
}

// appendExtra appends an Extra with its length before it:
//
//	parts 1        which of these there are
//	correlation    uvarint length, bytes
//	reply to       uvarint length, bytes
//	attributes     uvarint number, of each: name uvarint length, bytes | value uvarint length, bytes
//	dead letter    topic, consumer, reason: uvarint length, bytes | count uvarint | number uvarint | at 8, microseconds, big-endian
func appendExtra(b []byte, x *store.Extra) []byte {
	var room [512]byte
	v := append(room[:0], 0)
	if x.CorrelationID != "" {
		v[0] |= extraCorrelation
		v = appendString(v, x.CorrelationID)
	}
	if x.ReplyTo != "" {
		v[0] |= extraReplyTo
		v = appendString(v, x.ReplyTo)
	}
	if len(x.Attributes) > 0 {
		v[0] |= extraAttributes
		v = binary.AppendUvarint(v, uint64(len(x.Attributes)))
		for i := range x.Attributes {
			v = appendString(appendString(v, x.Attributes[i].Name), x.Attributes[i].Value)
		}
	}
	if d := x.DeadLetter; d != nil {
		v[0] |= extraDeadLetter
		v = appendString(appendString(appendString(v, d.Topic), d.Consumer), d.Reason)
		v = binary.AppendUvarint(v, uint64(d.Count))
		v = binary.AppendUvarint(v, uint64(d.Number))
		v = binary.BigEndian.AppendUint64(v, micros(d.At))
	}
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

// extraSize returns what an Extra counts for in Record.Size, and allocates nothing.
func (in *input) extraSize() (n int64) {
	parts := in.byte()
	if parts&extraCorrelation != 0 {
		n += int64(len(in.bytes()))
	}
	if parts&extraReplyTo != 0 {
		n += int64(len(in.bytes()))
	}
	if parts&extraAttributes != 0 {
		for i := in.uvarint(); i > 0 && !in.bad; i-- {
			n += int64(len(in.bytes())) + int64(len(in.bytes()))
		}
	}
	return n
}

// extra takes an Extra. It allocates by what is there, whatever number that names.
func (in *input) extra() *store.Extra {
	if len(in.b) == 0 || in.b[0]&^extraAll != 0 {
		in.bad = true
		return nil
	}
	parts := in.b[0]
	in.b = in.b[1:]
	x := &store.Extra{}
	if parts&extraCorrelation != 0 {
		x.CorrelationID = string(in.bytes())
	}
	if parts&extraReplyTo != 0 {
		x.ReplyTo = string(in.bytes())
	}
	if parts&extraAttributes != 0 {
		n := in.uvarint()
		if n == 0 || n > uint64(len(in.b))/2 { // each is two lengths at least
			in.bad = true
			return nil
		}
		x.Attributes = make([]store.Attribute, n)
		for i := range x.Attributes {
			x.Attributes[i] = store.Attribute{Name: string(in.bytes()), Value: string(in.bytes())}
		}
	}
	if parts&extraDeadLetter != 0 {
		d := &store.DeadLetter{Topic: string(in.bytes()), Consumer: string(in.bytes()), Reason: string(in.bytes()), Count: in.uint32(), Number: in.uint32()}
		if in.bad || len(in.b) < 8 {
			in.bad = true
			return nil
		}
		at := min(binary.BigEndian.Uint64(in.b), math.MaxInt64)
		d.At, in.b = microTime(at), in.b[8:]
		x.DeadLetter = d
	}
	return x
}
