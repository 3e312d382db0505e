package db

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"pipit/broker/store"
)

// An explicit ID is known while its message is stored, and until the message's KeepID. The
// entry in id is deleted by whichever ends last: the removal of the message, or the dropping
// of its entry in idkeep.

// putID makes the message findable by its ID. n and due are of a delayed message.
func (c *commit) putID(r *store.Record, n, due uint64) {
	k := idKey{place: r.Place, id: r.ID, n: n}
	if n != 0 {
		k.place.Pos = 0
	}
	start := c.room(16)
	c.arena = binary.BigEndian.AppendUint64(c.arena, micros(r.Created))
	if n != 0 {
		c.arena = binary.BigEndian.AppendUint64(c.arena, due)
	}
	c.key = appendID(c.key[:0], k)
	c.bucket(bucketID).PutNew(c.key, c.value(start))
	if r.KeepID.IsZero() {
		return
	}
	c.key = appendID(binary.BigEndian.AppendUint64(c.key[:0], micros(r.KeepID)), k)
	c.bucket(bucketIDKeep).PutNew(c.key, nil)
}

// remembered tells whether the entry in idkeep is there that will forget an ID. The time does not tell:
// the clock may have gone back since the entry was dropped.
func (c *commit) remembered(k idKey, until time.Time) bool {
	if until.IsZero() {
		return false
	}
	c.key3 = appendID(binary.BigEndian.AppendUint64(c.key3[:0], micros(until)), k)
	return c.bucket(bucketIDKeep).Has(c.key3)
}

// deleteID undoes putID of a delayed message.
func (c *commit) deleteID(r *store.Record, n uint64) {
	k := idKey{place: r.Place, id: r.ID, n: n}
	c.key = appendID(c.key[:0], k)
	c.bucket(bucketID).Delete(c.key)
	if r.KeepID.IsZero() {
		return
	}
	c.key = appendID(binary.BigEndian.AppendUint64(c.key[:0], micros(r.KeepID)), k)
	c.bucket(bucketIDKeep).Delete(c.key)
}

// dropID ends the memory of an ID, by the key of its entry in idkeep.
func (c *commit) dropID(key string) error {
	keep := []byte(key)
	_, k, ok := parseIDKeep(keep)
	if !ok {
		return fmt.Errorf("not the key of a remembered ID: %x", key)
	}
	c.bucket(bucketIDKeep).Delete(keep)
	id := c.bucket(bucketID)
	v := id.Get(keep[8:])
	if v == nil {
		return nil
	}
	var stored bool
	if k.place.Pos != 0 {
		c.key = appendPlace(c.key[:0], k.place.Lane, k.place.Pos)
		stored = c.bucket(bucketLog).Has(c.key)
	} else if len(v) == 16 {
		c.key = appendDelayed(c.key[:0], delayedKey{binary.BigEndian.Uint64(v[8:]), k.n, k.place.Lane})
		stored = c.bucket(bucketDelayed).Has(c.key)
	}
	if !stored {
		id.Delete(keep[8:])
	}
	return nil
}

// FindID implements store.Reader.
func (r *reader) FindID(topic uint32, id string) (list []store.Sighting, err error) {
	defer r.caught(&err)
	r.key = appendIDPrefix(r.key[:0], topic, id)
	cur := r.bucket(bucketID).Cursor()
	for k, v := cur.Seek(r.key); bytes.HasPrefix(k, r.key); k, v = cur.Next() {
		p, ok := parseID(k)
		if !ok || len(v) < 8 {
			r.store.logDamage(bucketID, k, errRecordShort)
			continue
		}
		s := store.Sighting{Place: p.place, Created: microTime(binary.BigEndian.Uint64(v))}
		if p.place.Pos == 0 && len(v) == 16 {
			key := appendDelayed(nil, delayedKey{binary.BigEndian.Uint64(v[8:]), p.n, p.place.Lane})
			if r.bucket(bucketDelayed).Has(key) { // else it was deleted, and its ID is still known
				s.Key = string(key)
			}
		}
		list = append(list, s)
	}
	slices.SortStableFunc(list, func(a, b store.Sighting) int { return a.Created.Compare(b.Created) })
	return list, nil
}

// StaleIDs implements store.Reader.
func (r *reader) StaleIDs(now time.Time, limit int) (list []store.StaleID, err error) {
	defer r.caught(&err)
	until := micros(now)
	cur := r.bucket(bucketIDKeep).Cursor()
	for k, _ := cur.First(); k != nil && len(list) < limit; k, _ = cur.Next() {
		if len(k) < 8 || binary.BigEndian.Uint64(k) > until {
			break
		}
		if _, _, ok := parseIDKeep(k); !ok {
			r.store.logDamage(bucketIDKeep, k, errRecordShort)
			continue
		}
		list = append(list, store.StaleID{Key: string(k)})
	}
	return list, nil
}
