package wal

import (
	"encoding/binary"
	"hash/crc32"
	"math"
)

// An entry is one frame, or several that have its number. All is big-endian; a frame begins at a multiple of 8.
//
//	length 4       of the payload, at most 512 KiB
//	checksum 4     CRC-32C of all that follows, the padding left out
//	generation 8   of the log's ID, so that nothing else is taken for a frame: whoever publishes does not know it
//	number 8       of the entry: neither 0 nor the highest there is
//	chunk 2        which frame of the entry this is, from 0
//	chunks 2       how many it has
//	run 4          higher with each Replay and after each Append that failed: chunks of one entry have the same, so that
//	               those of an entry that was cut off do not complete another one with its number
//	payload
//	padding        zeros, to a multiple of 8
const (
	frameHead  = 32
	maxPayload = 512 << 10
	align      = 8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frame is the head of one.
type frame struct {
	length        int
	number        uint64
	chunk, chunks uint16
	run           uint32
}

// size returns how many bytes the frame has in the segment.
func (f *frame) size() int64 { return frameSize(f.length) }

func frameSize(payload int) int64 { return frameHead + (int64(payload)+align-1)/align*align }

// appendFrame appends a whole frame.
func appendFrame(b []byte, generation uint64, f frame, payload []byte) []byte {
	start := len(b)
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload))) // #nosec G115 -- at most maxPayload
	b = append(b, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint64(b, generation)
	b = binary.BigEndian.AppendUint64(b, f.number)
	b = binary.BigEndian.AppendUint16(b, f.chunk)
	b = binary.BigEndian.AppendUint16(b, f.chunks)
	b = binary.BigEndian.AppendUint32(b, f.run)
	b = append(b, payload...)
	binary.BigEndian.PutUint32(b[start+4:], checksum(b[start:], len(payload)))
	return append(b, make([]byte, -len(payload)&(align-1))...)
}

// parseHead reads the head of a frame without its checksum; ok tells whether it can be one of this generation.
func parseHead(b []byte, generation uint64) (f frame, ok bool) {
	if len(b) < frameHead || binary.BigEndian.Uint64(b[8:]) != generation {
		return f, false
	}
	length := binary.BigEndian.Uint32(b)
	f.number = binary.BigEndian.Uint64(b[16:])
	f.chunk, f.chunks = binary.BigEndian.Uint16(b[24:]), binary.BigEndian.Uint16(b[26:])
	f.run = binary.BigEndian.Uint32(b[28:])
	if length > maxPayload || f.number == 0 || f.number == math.MaxUint64 || f.chunk >= f.chunks {
		return f, false
	}
	f.length = int(length)
	return f, f.size() <= int64(len(b))
}

// checked tells whether the frame that begins b has its checksum.
func (f *frame) checked(b []byte) bool {
	return checksum(b, f.length) == binary.BigEndian.Uint32(b[4:])
}

// checksum returns the checksum that the frame that begins b is to have.
func checksum(b []byte, length int) uint32 { return crc32.Checksum(b[8:frameHead+length], castagnoli) }
