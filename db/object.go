package db

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"iter"

	"pipit/broker/store"
)

// The objects are JSON, one bucket a kind, under the name that is theirs alone: see store.ObjectKind.

// objectBuckets are the buckets of the kinds of objects, in the order in which they are loaded.
var objectBuckets = []struct {
	kind   store.ObjectKind
	bucket int
}{
	{store.Client, bucketClient},
	{store.Topic, bucketTopic},
	{store.Producer, bucketProducer},
	{store.Consumer, bucketConsumer},
	{store.Queue, bucketQueue},
	{store.Webhook, bucketWebhook},
}

func objectBucket(kind store.ObjectKind) (int, error) {
	for _, o := range objectBuckets {
		if o.kind == kind {
			return o.bucket, nil
		}
	}
	return 0, fmt.Errorf("object of unknown kind %q", kind)
}

// define puts objects.
func (c *commit) define(objects []store.Object) {
	for i := range objects {
		c.defineObject(&objects[i])
	}
	if c.lastID > c.store.lastID {
		c.bucket(bucketMeta).Put(keyLastID, binary.BigEndian.AppendUint32(nil, c.lastID))
	}
}

func (c *commit) defineObject(o *store.Object) {
	no, err := objectBucket(o.Kind)
	if err != nil {
		c.view.fail(err)
		return
	}
	c.lastID = max(c.lastID, o.ID)
	b := c.bucket(no)
	c.secret = c.secret || o.Secret && b.Has([]byte(o.Key))
	if o.Kind == store.Consumer {
		c.leaveKey(b, o)
	}
	b.Put([]byte(o.Key), o.Value)
}

// leaveKey drops the entry under the key that a consumer had before.
func (c *commit) leaveKey(b *bucket, o *store.Object) {
	old, moved := c.moved[o.ID]
	if !moved {
		old = c.store.consumerKey[o.ID]
	}
	c.move(o.ID, o.Key)
	if old == "" || old == o.Key {
		return
	}
	c.secret = c.secret || o.Secret
	// Two consumers may swap their keys in one commit: leave what is another's by now.
	if v := b.Get([]byte(old)); v != nil && objectID(v) == o.ID {
		b.Delete([]byte(old))
	}
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
func (c *commit) declare(hash string) {
	meta := c.bucket(bucketMeta)
	c.secret = c.secret || meta.Has(keyDeclared)
	meta.Put(keyDeclared, []byte(hash))
}

// forget deletes objects and what is kept of them. The messages of a topic, and the state of its
// lanes, stay until they are removed and purged.
func (c *commit) forget(objects []store.Object) {
	for i := range objects {
		c.forgetObject(&objects[i])
	}
}

func (c *commit) forgetObject(o *store.Object) {
	no, err := objectBucket(o.Kind)
	if err != nil {
		c.view.fail(err)
		return
	}
	c.secret = c.secret || o.Secret
	c.bucket(no).Delete([]byte(o.Key))
	switch o.Kind {
	case store.Producer:
		c.bucket(bucketSeen).Delete(appendSeen(nil, store.SeenProducer, o.ID))
	case store.Consumer:
		c.move(o.ID, "")
		c.bucket(bucketSeen).Delete(appendSeen(nil, store.SeenConsumer, o.ID))
		c.forgetQueue(o.ID)
	case store.Queue:
		c.forgetQueue(o.ID)
	}
}

// forgetQueue deletes what is kept of a queue, that of a consumer of one topic or another.
func (c *commit) forgetQueue(id uint32) {
	prefix := binary.BigEndian.AppendUint32(nil, id)
	deleteAll(c.bucket(bucketCursor), prefix)
	deleteAll(c.bucket(bucketAttempt), prefix)
}

// deleteAll deletes the entries whose keys begin with prefix.
func deleteAll(b *bucket, prefix []byte) {
	var keys [][]byte
	cur := b.Cursor()
	for k, _ := cur.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = cur.Next() {
		keys = append(keys, bytes.Clone(k))
	}
	for _, k := range keys {
		b.Delete(k)
	}
}

// purge deletes what is kept of lanes beside messages.
func (c *commit) purge(lanes []store.Lane) {
	for _, l := range lanes {
		c.ranges[l] = openRange{}
		c.heads[l] = 0
		c.key = appendLane(c.key[:0], l)
		c.bucket(bucketLane).Delete(c.key)
	}
}

// loadObjects reads the objects, a kind after the other.
func loadObjects(at *view, img *store.Image) error {
	for _, of := range objectBuckets {
		err := at.bucket(of.bucket).ForEach(func(k, v []byte) error {
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
