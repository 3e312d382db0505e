package db

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"iter"

	"go.etcd.io/bbolt"

	"pipit/broker/store"
)

// The objects are JSON, one bucket a kind, under the name that is theirs alone: see store.ObjectKind.

// objectBuckets are the buckets of the kinds of objects, in the order in which they are loaded.
var objectBuckets = []struct {
	kind   store.ObjectKind
	bucket []byte
}{
	{store.Client, bucketClient},
	{store.Topic, bucketTopic},
	{store.Producer, bucketProducer},
	{store.Consumer, bucketConsumer},
	{store.Queue, bucketQueue},
	{store.Webhook, bucketWebhook},
}

func objectBucket(kind store.ObjectKind) ([]byte, error) {
	for _, o := range objectBuckets {
		if o.kind == kind {
			return o.bucket, nil
		}
	}
	return nil, fmt.Errorf("object of unknown kind %q", kind)
}

// define puts objects.
func (c *commit) define(objects []store.Object) error {
	for i := range objects {
		if err := c.defineObject(&objects[i]); err != nil {
			return err
		}
	}
	if c.lastID > c.store.lastID {
		return c.bucket(&c.meta, bucketMeta).Put(keyLastID, binary.BigEndian.AppendUint32(nil, c.lastID))
	}
	return nil
}

func (c *commit) defineObject(o *store.Object) error {
	name, err := objectBucket(o.Kind)
	if err != nil {
		return err
	}
	c.lastID = max(c.lastID, o.ID)
	b := c.tx.Bucket(name)
	c.secret = c.secret || o.Secret && b.Get([]byte(o.Key)) != nil
	if o.Kind == store.Consumer {
		if err := c.leaveKey(b, o); err != nil {
			return err
		}
	}
	if err := b.Put([]byte(o.Key), o.Value); err != nil {
		return fmt.Errorf("%s %q: %w", o.Kind, o.Key, err)
	}
	return nil
}

// leaveKey drops the entry under the key that a consumer had before.
func (c *commit) leaveKey(b *bbolt.Bucket, o *store.Object) error {
	old, moved := c.moved[o.ID]
	if !moved {
		old = c.store.consumerKey[o.ID]
	}
	c.move(o.ID, o.Key)
	if old == "" || old == o.Key {
		return nil
	}
	c.secret = c.secret || o.Secret
	// Two consumers may swap their keys in one commit: leave what is another's by now.
	if v := b.Get([]byte(old)); v == nil || objectID(v) != o.ID {
		return nil
	}
	return b.Delete([]byte(old))
}

// move notes which key a consumer has now, none where it is empty.
func (c *commit) move(id uint32, key string) {
	if c.moved == nil {
		c.moved = map[uint32]string{}
	}
	c.moved[id] = key
}

// objectID returns the number in the value of an object, 0 where there is none.
func objectID(value []byte) uint32 {
	var has struct{ ID uint32 }
	_ = json.Unmarshal(value, &has)
	return has.ID
}

// declare puts the hash over the passwords that the configuration declares.
func (c *commit) declare(hash string) error {
	meta := c.bucket(&c.meta, bucketMeta)
	c.secret = c.secret || meta.Get(keyDeclared) != nil
	return meta.Put(keyDeclared, []byte(hash))
}

// forget deletes objects and what is kept of them. The messages of a topic, and the state of its
// lanes, stay until they are removed and purged.
func (c *commit) forget(objects []store.Object) error {
	for i := range objects {
		if err := c.forgetObject(&objects[i]); err != nil {
			return err
		}
	}
	return nil
}

func (c *commit) forgetObject(o *store.Object) error {
	name, err := objectBucket(o.Kind)
	if err != nil {
		return err
	}
	c.secret = c.secret || o.Secret
	if err := c.tx.Bucket(name).Delete([]byte(o.Key)); err != nil {
		return err
	}
	switch o.Kind {
	case store.Producer:
		return c.bucket(&c.seen, bucketSeen).Delete(appendSeen(nil, store.SeenProducer, o.ID))
	case store.Consumer:
		c.move(o.ID, "")
		if err := c.bucket(&c.seen, bucketSeen).Delete(appendSeen(nil, store.SeenConsumer, o.ID)); err != nil {
			return err
		}
		return c.forgetQueue(o.ID)
	case store.Queue:
		return c.forgetQueue(o.ID)
	}
	return nil
}

// forgetQueue deletes what is kept of a queue, that of a consumer of one topic or another.
func (c *commit) forgetQueue(id uint32) error {
	prefix := binary.BigEndian.AppendUint32(nil, id)
	if err := deleteAll(c.bucket(&c.cursor, bucketCursor), prefix); err != nil {
		return err
	}
	return deleteAll(c.bucket(&c.attempt, bucketAttempt), prefix)
}

// deleteAll deletes the entries whose keys begin with prefix.
func deleteAll(b *bbolt.Bucket, prefix []byte) error {
	var keys [][]byte
	cur := b.Cursor()
	for k, _ := cur.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = cur.Next() {
		keys = append(keys, bytes.Clone(k))
	}
	for _, k := range keys {
		if err := b.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// purge deletes what is kept of lanes beside messages.
func (c *commit) purge(lanes []store.Lane) error {
	for _, l := range lanes {
		c.ranges[l] = openRange{}
		c.key = appendLane(c.key[:0], l)
		if err := c.bucket(&c.lane, bucketLane).Delete(c.key); err != nil {
			return err
		}
	}
	return nil
}

// loadObjects reads the objects, a kind after the other.
func loadObjects(tx *bbolt.Tx, img *store.Image) error {
	for _, of := range objectBuckets {
		b := tx.Bucket(of.bucket)
		if b == nil { // of a kind that the format of the file did not have yet
			continue
		}
		err := b.ForEach(func(k, v []byte) error {
			var has struct{ ID uint32 }
			if err := json.Unmarshal(v, &has); err != nil {
				return fmt.Errorf("%s %q: %w", of.kind, k, err)
			}
			img.Objects = append(img.Objects, store.Object{Kind: of.kind, Key: string(k), ID: has.ID, Value: bytes.Clone(v)})
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// queue is one of several of a consumer.
type queue struct{ Consumer, Topic uint32 }

// queuesOf returns the queues of consumers of several topics, by number.
func queuesOf(img *store.Image) map[uint32]queue {
	queues := map[uint32]queue{}
	for i := range img.Objects {
		if o := &img.Objects[i]; o.Kind == store.Queue {
			var q queue
			_ = json.Unmarshal(o.Value, &q) // as far as it is one: see checkObjects
			queues[o.ID] = q
		}
	}
	return queues
}

// consumer is what is looked at of one where the file is checked or brought to a newer format.
type consumer struct {
	Client, Topic, SubKey string // of its value

	key   string // under which it is
	topic uint32
}

func (c consumer) String() string { return c.Client + " of " + c.Topic }

// consumers goes through the consumers, by number.
func consumers(img *store.Image) iter.Seq2[uint32, consumer] {
	return func(yield func(uint32, consumer) bool) {
		topics := map[string]uint32{}
		for i := range img.Objects { // topics come before consumers
			switch o := &img.Objects[i]; o.Kind {
			case store.Topic:
				topics[o.Key] = o.ID
			case store.Consumer:
				c := consumer{key: o.Key}
				_ = json.Unmarshal(o.Value, &c) // it was one already, for its number
				c.topic = topics[c.Topic]
				if !yield(o.ID, c) {
					return
				}
			}
		}
	}
}
