package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// A record is what raft appended at once:
//
//	version 1      1
//	first          uvarint, the index of the first entry
//	count          uvarint, of entries, whose indexes follow on one another; of each
//	  term         uvarint
//	  type 1
//	  appended     varint, when, in nanoseconds of Unix time; 0: unknown
//	  data, extensions  the length of each as uvarint, and the bytes

const recordVersion = 1

var errRecord = errors.New("not a record of the cluster's log")

func appendRecord(b []byte, logs []*raft.Log) []byte {
	b = append(b, recordVersion)
	b = binary.AppendUvarint(b, logs[0].Index)
	b = binary.AppendUvarint(b, uint64(len(logs)))
	for _, l := range logs {
		b = binary.AppendUvarint(b, l.Term)
		b = append(b, byte(l.Type))
		var at int64
		if !l.AppendedAt.IsZero() {
			at = l.AppendedAt.UnixNano()
		}
		b = binary.AppendVarint(b, at)
		for _, part := range [...][]byte{l.Data, l.Extensions} {
			b = binary.AppendUvarint(b, uint64(len(part)))
			b = append(b, part...)
		}
	}
	return b
}

// parseRecord returns the entries of a record, whose memory they keep. The error wraps errRecord.
func parseRecord(b []byte) ([]raft.Log, error) {
	if len(b) == 0 || b[0] != recordVersion {
		return nil, fmt.Errorf("%w of version %d", errRecord, recordVersion)
	}
	r := reader{b: b[1:]}
	first, count := r.uvarint(), r.uvarint()
	if first == 0 || count == 0 || count > uint64(len(b)) || first+count < first {
		return nil, errRecord
	}
	logs := make([]raft.Log, count)
	for i := range logs {
		l := &logs[i]
		l.Index, l.Term, l.Type = first+uint64(i), r.uvarint(), raft.LogType(r.byte()) // #nosec G115 -- an index
		if at := r.varint(); at != 0 {
			l.AppendedAt = time.Unix(0, at)
		}
		l.Data, l.Extensions = r.bytes(), r.bytes()
	}
	if r.failed || len(r.b) > 0 {
		return nil, errRecord
	}
	return logs, nil
}

// reader reads what append of binary wrote.
type reader struct {
	b      []byte
	failed bool
}

func (r *reader) skip(n int) {
	if n <= 0 || n > len(r.b) {
		r.failed, r.b = true, nil
		return
	}
	r.b = r.b[n:]
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	r.skip(n)
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	r.skip(n)
	return v
}

func (r *reader) byte() (b byte) {
	if len(r.b) > 0 {
		b = r.b[0]
	}
	r.skip(1)
	return b
}

// bytes returns nil where there are none.
func (r *reader) bytes() []byte {
	n := r.uvarint()
	if n == 0 {
		return nil
	}
	if n > uint64(len(r.b)) {
		r.failed, r.b = true, nil
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}
