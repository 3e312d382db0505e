package cluster

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
)

// An entry of the log is a chunk of a batch:
//
//	version 1      of all that follows and of the encoding of batches; the leader writes none that not all nodes read
//	group          uvarint: 0, for when there are several
//	term           uvarint, in which its proposer leads
//	previous       uvarint, the number of the batch before it
//	chunk, chunks  uvarint each: which of how many; of 0 chunks, without a batch: 0 begins a term, 1 has all copies make a digest
//	bytes          of the batch as package db encodes it
//
// A raft log knows nothing of who proposed what: it appends whatever it is given to the term that it is in by then. So it is the entry
// that says for which term and behind which batch it was meant, and all copies skip it alike where that does not fit.
type entry struct {
	version        byte // 0: the oldest
	term, previous uint64
	chunk, chunks  uint32
	bytes          []byte
}

const (
	// oldestEntry and newestEntry are the versions that this program reads, and may write.
	oldestEntry = 1
	newestEntry = 1

	// chunkSize is how many bytes of a batch an entry has at most: a raft log takes several times the memory of its largest entries.
	chunkSize = 512 << 10

	// maxChunks bounds what a batch takes of memory while its chunks come.
	maxChunks = 128

	// chunkDigest is the chunk of an entry without a batch that asks for a digest.
	chunkDigest = 1

	entryHead = 1 + 5*binary.MaxVarintLen64
)

var (
	errEntry        = errors.New("not an entry of this cluster's log")
	errEntryVersion = errors.New("an entry of a version that this Pipit does not read: another one wrote it, most likely a newer one")
)

// append appends the encoding of e.
func (e *entry) append(b []byte) []byte {
	b = append(b, max(e.version, oldestEntry))
	for _, n := range [...]uint64{0, e.term, e.previous, uint64(e.chunk), uint64(e.chunks)} {
		b = binary.AppendUvarint(b, n)
	}
	return append(b, e.bytes...)
}

// parse sets e to what b is the encoding of, whose memory it keeps, where its version is none newer than newest. The error wraps errEntry or
// errEntryVersion.
func (e *entry) parse(b []byte, newest byte) error {
	*e = entry{}
	if len(b) == 0 {
		return errEntry
	}
	version := b[0]
	if version < oldestEntry || version > newest {
		return fmt.Errorf("%w (version %d; this one reads %d to %d)", errEntryVersion, version, oldestEntry, newest)
	}
	b = b[1:]
	var n [5]uint64
	for i := range n {
		size := 0
		if n[i], size = binary.Uvarint(b); size <= 0 {
			return errEntry
		}
		b = b[size:]
	}
	group, chunk, chunks := n[0], n[3], n[4]
	switch {
	case group != 0:
		return fmt.Errorf("%w: it is of group %d", errEntryVersion, group)
	case chunks > math.MaxUint32 || chunks > 0 && chunk >= chunks || chunks == 0 && chunk > chunkDigest || chunks == 0 && len(b) > 0:
		return errEntry
	}
	*e = entry{version: version, term: n[1], previous: n[2], chunk: uint32(chunk), chunks: uint32(chunks), bytes: b} // #nosec G115 -- checked above
	return nil
}

// chunksOf returns how many chunks a batch has.
func chunksOf(batch []byte) int { return max((len(batch)+chunkSize-1)/chunkSize, 1) }

// chunkOf returns the bytes of a chunk.
func chunkOf(batch []byte, chunk int) []byte {
	return batch[chunk*chunkSize : min((chunk+1)*chunkSize, len(batch))]
}

// parts collects the chunks of a batch.
type parts struct {
	term, previous uint64
	next, chunks   uint32 // no chunks: nothing is there
	bytes          []byte
	own            []byte // nil: the chunks are in bytes; else they are those that this has, so far
}

// take takes the next chunk, and returns the batch when it has all of it. ok is false where the chunk does not follow: then nothing is there
// any more. own is the batch that this node has proposed as this one, nil where it is not known to have: it is not collected once more.
func (p *parts) take(e *entry, own []byte) (batch []byte, ok bool) {
	if e.chunk == 0 {
		*p = parts{term: e.term, previous: e.previous, chunks: e.chunks, own: own}
	}
	if p.chunks == 0 || e.chunks != p.chunks || e.chunk != p.next || e.term != p.term || e.previous != p.previous || e.chunks > maxChunks {
		*p = parts{}
		return nil, false
	}
	p.next++
	if p.own != nil && (int(p.chunks) != chunksOf(p.own) || !bytes.Equal(e.bytes, chunkOf(p.own, int(e.chunk)))) {
		p.bytes, p.own = slices.Clone(p.own[:min(int(e.chunk)*chunkSize, len(p.own))]), nil
	}
	switch {
	case p.own != nil:
		if p.next < p.chunks {
			return nil, true
		}
		batch = p.own
	case e.chunks == 1:
		batch = e.bytes
	case p.next < p.chunks:
		p.bytes = append(p.bytes, e.bytes...)
		return nil, true
	default:
		batch = append(p.bytes, e.bytes...)
		batch = batch[:len(batch):len(batch)]
	}
	*p = parts{}
	return batch, true
}
