package db

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"go.etcd.io/bbolt"

	"pipit/broker/store"
)

// apartSize is from how many bytes on a payload is kept apart from its message. A page of bbolt has two
// entries at the least, and is written as a whole where one of them comes or goes: next to each other,
// large payloads would be written two to five times. Each has a bucket of its own instead, with nothing else
// on its pages, and moves from one place to another without being written again.
const apartSize = 32 << 10

// keyPayload is the only key of a payload's bucket.
var keyPayload = []byte{0}

// payloads finds payloads that are kept apart, in one transaction.
type payloads struct {
	bucket *bbolt.Bucket // opened when first needed
	key    [8]byte
}

// of returns the payload that ref stands for, without a look at its checksum.
func (p *payloads) of(tx *bbolt.Tx, ref store.PayloadRef) ([]byte, error) {
	if p.bucket == nil {
		if p.bucket = tx.Bucket(bucketPayload); p.bucket == nil {
			return nil, errPayload
		}
	}
	binary.BigEndian.PutUint64(p.key[:], ref.Number)
	own := p.bucket.Bucket(p.key[:])
	if own == nil {
		return nil, errPayload
	}
	v := own.Get(keyPayload)
	if uint64(len(v)) != uint64(ref.Size) {
		return nil, errPayload
	}
	return v, nil
}

// decode sets all fields of r but its place, and checks all of the message.
func (p *payloads) decode(tx *bbolt.Tx, d *decoder, v []byte, r *store.Record) error {
	if err := d.decode(v, r); err != nil || r.Apart.Number == 0 {
		return err
	}
	payload, err := p.of(tx, r.Apart)
	if err != nil {
		return err
	}
	if crc32.Checksum(payload, castagnoli) != r.Apart.Sum {
		return errRecordChecksum
	}
	r.Payload = payload
	return nil
}

// setApart returns the reference under which a record is to be put, none where its payload goes with it. What a
// delayed message leaves behind in the same commit is taken over; else the payload is put.
func (c *commit) setApart(r *store.Record) (ref store.PayloadRef, err error) {
	if n := r.Apart.Number; n != 0 {
		if ref, ok := c.loose[n]; ok {
			delete(c.loose, n)
			return ref, nil
		}
		if len(r.Payload) != int(r.Apart.Size) {
			return ref, fmt.Errorf("payload %d is not there any more", n)
		}
	}
	if len(r.Payload) < apartSize {
		return ref, nil
	}
	all := c.bucket(&c.payload, bucketPayload)
	all.FillPercent = 1 // keys come in order
	n, err := all.NextSequence()
	if err != nil {
		return ref, err
	}
	own, err := all.CreateBucket(binary.BigEndian.AppendUint64(nil, n))
	if err != nil {
		return ref, err
	}
	ref = store.PayloadRef{Number: n, Size: uint32(len(r.Payload)), Sum: crc32.Checksum(r.Payload, castagnoli)} // #nosec G115 -- max_payload is below 4 GiB
	return ref, own.Put(keyPayload, r.Payload)
}

// dropApart deletes a payload that is kept apart; 0 is none.
func (c *commit) dropApart(n uint64) error {
	if n == 0 {
		return nil
	}
	key := binary.BigEndian.AppendUint64(nil, n)
	all := c.bucket(&c.payload, bucketPayload)
	if all.Bucket(key) == nil { // damaged: the message goes all the same
		return nil
	}
	return all.DeleteBucket(key)
}

// dropLoose deletes the payloads of delayed messages that are deleted and not moved.
func (c *commit) dropLoose() error {
	for n := range c.loose {
		if err := c.dropApart(n); err != nil {
			return err
		}
	}
	clear(c.loose)
	return nil
}
