package db

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"time"

	"pipit/broker/store"
)

// A message as the value of an entry of log or delayed; its lane and position are in the key.
//
//	head 1         version << 4 | flags
//	created 8      microseconds, big-endian
//	expiration     uvarint, seconds
//	delay          uvarint, seconds        with flagDelay
//	producer       uvarint length, bytes
//	mime type      uvarint length, bytes   nothing means text/plain
//	id             uvarint length, bytes   with flagID
//	keep           varint, microseconds    with flagKeep: how long after created the ID is remembered
//	extra          uvarint length, bytes   in version 2 alone: see appendExtra
//	payload        all that is left; with flagApart: number uvarint | size uvarint | CRC-32C 4 of what is in bucket payload
//	checksum 4     CRC-32C of all before it, big-endian
const (
	recordVersion = 1 // without Extra
	recordExtra   = 2 // with it

	flagID    = 1 << 0
	flagDelay = 1 << 1
	flagKeep  = 1 << 2
	flagApart = 1 << 3
	flagsAll  = flagID | flagDelay | flagKeep | flagApart

	checksumSize = 4

	plainMIMEType = "text/plain" // what a record with none has
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)

	errRecordShort    = errors.New("record is cut off")
	errRecordVersion  = errors.New("record of an unknown version")
	errRecordChecksum = errors.New("record with a wrong checksum")
	errRecordExtra    = errors.New("record with an extra part that is none")
	errPayload        = errors.New("record without its payload")
)

// recordBound returns how many bytes the record of r takes at most.
func recordBound(r *store.Record) int {
	n := 1 + 8 + 8*binary.MaxVarintLen64 + len(r.Producer) + len(r.MIMEType) + len(r.ID) + 2*checksumSize
	if len(r.Payload) < apartSize {
		n += len(r.Payload)
	}
	if r.Extra != nil {
		n += extraBound(r.Extra)
	}
	return n
}

// appendRecord appends the value of r, whose payload is kept apart where that has a number.
func appendRecord(b []byte, r *store.Record, apart store.PayloadRef) []byte {
	start := len(b)
	b = appendFields(b, r, apart.Number != 0)
	if apart.Number != 0 {
		b = appendRef(b, apart)
	} else {
		b = append(b, r.Payload...)
	}
	return appendChecksum(b, start)
}

// appendFields appends what comes before the payload, or before the reference to one that is kept apart.
func appendFields(b []byte, r *store.Record, apart bool) []byte {
	head := byte(recordVersion << 4)
	if r.Extra != nil {
		head = recordExtra << 4
	}
	if r.ID != "" {
		head |= flagID
		if !r.KeepID.IsZero() {
			head |= flagKeep
		}
	}
	if r.Delay != 0 {
		head |= flagDelay
	}
	if apart {
		head |= flagApart
	}
	b = append(b, head)
	created := r.Created.UnixMicro()
	b = binary.BigEndian.AppendUint64(b, uint64(created))
	b = binary.AppendUvarint(b, uint64(r.Expiration))
	if head&flagDelay != 0 {
		b = binary.AppendUvarint(b, uint64(r.Delay))
	}
	b = appendString(b, r.Producer)
	mime := r.MIMEType
	if mime == plainMIMEType {
		mime = ""
	}
	b = appendString(b, mime)
	if head&flagID != 0 {
		b = appendString(b, r.ID)
	}
	if head&flagKeep != 0 {
		b = binary.AppendVarint(b, r.KeepID.UnixMicro()-created)
	}
	if r.Extra != nil {
		b = appendExtra(b, r.Extra)
	}
	return b
}

// appendRef appends the reference to a payload that is kept apart.
func appendRef(b []byte, ref store.PayloadRef) []byte {
	b = binary.AppendUvarint(binary.AppendUvarint(b, ref.Number), uint64(ref.Size))
	return binary.BigEndian.AppendUint32(b, ref.Sum)
}

// appendChecksum ends a value that began at start.
func appendChecksum(b []byte, start int) []byte {
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// decoder turns values into records. It remembers a few strings, so that what repeats from
// message to message is not allocated again.
type decoder struct {
	strings [16]string
	bare    bool  // for a caller that does not want Extra: it is left out
	without int64 // of a bare one: what that would count for in Record.Size
}

// decode sets all fields of r but its place. The payload is part of v, or nil where it is kept apart.
func (d *decoder) decode(v []byte, r *store.Record) error {
	if len(v) < checksumSize {
		return errRecordShort
	}
	if !whole(v) {
		return errRecordChecksum
	}
	return d.fields(v[:len(v)-checksumSize], r)
}

// whole tells whether a value has the checksum that it should.
func whole(v []byte) bool {
	n := len(v) - checksumSize
	return n >= 0 && crc32.Checksum(v[:n], castagnoli) == binary.BigEndian.Uint32(v[n:])
}

// fields is decode without a look at the checksum, for a caller that does not want the payload.
func (d *decoder) fields(body []byte, r *store.Record) error {
	if len(body) < 1+8 {
		return errRecordShort
	}
	head := body[0]
	version := head >> 4
	if version != recordVersion && version != recordExtra || head&0xf&^flagsAll != 0 {
		return errRecordVersion
	}
	created := int64(binary.BigEndian.Uint64(body[1:])) // #nosec G115 -- the bits of what was an int64
	in := input{b: body[9:]}
	r.Created = time.UnixMicro(created).UTC()
	r.Expiration = in.uint32()
	r.Delay = 0
	if head&flagDelay != 0 {
		r.Delay = in.uint32()
	}
	r.Producer = d.intern(in.bytes())
	if mime := in.bytes(); len(mime) == 0 {
		r.MIMEType = plainMIMEType
	} else {
		r.MIMEType = d.intern(mime)
	}
	r.ID, r.KeepID = "", time.Time{}
	if head&flagID != 0 {
		r.ID = string(in.bytes())
	}
	if head&flagKeep != 0 {
		r.KeepID = time.UnixMicro(created + in.varint()).UTC()
	}
	r.Extra, d.without = nil, 0
	if version == recordExtra {
		x := input{b: in.bytes()}
		if d.bare {
			d.without = x.extraSize()
		} else if !in.bad {
			if r.Extra = x.extra(); x.bad || len(x.b) > 0 {
				return errRecordExtra
			}
		}
	}
	r.Apart = store.PayloadRef{}
	if head&flagApart != 0 {
		if r.Apart = in.ref(); r.Apart.Number == 0 || len(in.b) > 0 {
			return errRecordShort
		}
		in.b = nil
	}
	if in.bad {
		return errRecordShort
	}
	r.Payload = in.b
	return nil
}

func (d *decoder) intern(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	slot := &d.strings[(len(b)+int(b[0])+int(b[len(b)-1])*7)%len(d.strings)]
	if *slot != string(b) {
		*slot = string(b)
	}
	return *slot
}

// input takes values off the front of b, and remembers when there was none.
type input struct {
	b   []byte
	bad bool
}

func (in *input) byte() byte {
	if b := in.take(1); b != nil {
		return b[0]
	}
	return 0
}

// fixed32 takes a number of four bytes.
func (in *input) fixed32() uint32 {
	if b := in.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// ref takes what appendRef appended.
func (in *input) ref() store.PayloadRef {
	return store.PayloadRef{Number: in.uvarint(), Size: in.uint32(), Sum: in.fixed32()}
}

func (in *input) uvarint() uint64 {
	n, m := binary.Uvarint(in.b)
	if m <= 0 {
		in.b, in.bad = nil, true
		return 0
	}
	in.b = in.b[m:]
	return n
}

func (in *input) varint() int64 {
	n, m := binary.Varint(in.b)
	if m <= 0 {
		in.b, in.bad = nil, true
		return 0
	}
	in.b = in.b[m:]
	return n
}

func (in *input) uint32() uint32 {
	n := in.uvarint()
	if n > math.MaxUint32 {
		in.bad = true
		return 0
	}
	return uint32(n)
}

func (in *input) bytes() []byte { return in.take(in.uvarint()) }

// take takes n bytes, nil where there are less.
func (in *input) take(n uint64) []byte {
	if n > uint64(len(in.b)) {
		in.b, in.bad = nil, true
		return nil
	}
	b := in.b[:n:n]
	in.b = in.b[n:]
	return b
}
