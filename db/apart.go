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

// referenceBound is how many bytes the reference to a payload takes at most, with the record's checksum.
const referenceBound = 2*binary.MaxVarintLen64 + 2*checksumSize

// keyPayload is the only key of a payload's bucket.
var keyPayload = []byte{0}

// payload returns the payload that ref stands for, without a look at its checksum.
func (v *view) payload(ref store.PayloadRef) ([]byte, error) {
	var key [8]byte
	binary.BigEndian.PutUint64(key[:], ref.Number)
	p := v.bucket(bucketPayload).Get(key[:])
	if uint64(len(p)) != uint64(ref.Size) {
		return nil, errPayload
	}
	return p, nil
}

// decode sets all fields of r but its place, and checks all of the message.
func (v *view) decode(d *decoder, value []byte, r *store.Record) error {
	if err := d.decode(value, r); err != nil || r.Apart.Number == 0 {
		return err
	}
	payload, err := v.payload(r.Apart)
	if err != nil {
		return err
	}
	if crc32.Checksum(payload, castagnoli) != r.Apart.Sum {
		return errRecordChecksum
	}
	r.Payload = payload
	return nil
}

// setApart returns the value of a message. Where its payload is to be kept apart, it is put; what a
// delayed message leaves behind in the same commit is taken over.
func (c *commit) setApart(m *message) ([]byte, error) {
	n := m.apart.Number
	switch {
	case n != 0:
		if ref, ok := c.loose[n]; !ok || ref != m.apart {
			return nil, fmt.Errorf("payload %d is not there any more", n)
		}
		delete(c.loose, n)
	case m.payload == nil:
		return m.value, nil
	default:
		b := c.bucket(bucketPayload)
		n = b.NextSequence()
		c.key = binary.BigEndian.AppendUint64(c.key[:0], n)
		b.PutNew(c.key, m.payload)
	}
	start := c.room(len(m.value) + referenceBound)
	c.arena = m.refer(n, c.arena)
	return c.value(start), nil
}

// refOf returns the reference to a payload, but for its number.
func refOf(payload []byte) store.PayloadRef {
	return store.PayloadRef{Size: uint32(len(payload)), Sum: crc32.Checksum(payload, castagnoli)} // #nosec G115 -- max_payload is below 4 GiB
}

// dropApart deletes a payload that is kept apart; 0 is none.
func (c *commit) dropApart(n uint64) {
	if n == 0 {
		return
	}
	c.key = binary.BigEndian.AppendUint64(c.key[:0], n)
	c.bucket(bucketPayload).Delete(c.key)
}

// dropLoose deletes the payloads of delayed messages that are deleted and not moved.
func (c *commit) dropLoose() {
	for n := range c.loose {
		c.dropApart(n)
	}
	clear(c.loose)
}

// writePayload puts or deletes a payload in the file.
func writePayload(all *bbolt.Bucket, key, payload []byte) error {
	if payload == nil {
		if all.Bucket(key) == nil { // damaged: the message goes all the same
			return nil
		}
		return all.DeleteBucket(key)
	}
	own, err := all.CreateBucket(key)
	if err != nil {
		return err
	}
	return own.Put(keyPayload, payload)
}
