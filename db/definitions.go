package db

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"go.etcd.io/bbolt"

	"pipit/broker"
)

// The objects are JSON, one bucket a kind, under the name that is theirs alone:
//
//	client     username
//	topic      name
//	producer   username | 0 | topic name
//	consumer   sub_key

func producerKey(p *broker.ProducerRecord) string { return p.Client + "\x00" + p.Topic }

// define puts the objects of d and returns the highest number among them.
func (c *commit) define(d *broker.Definitions) error {
	for i := range d.Clients {
		if c.isOldHash(&d.Clients[i]) {
			c.secret = true
		}
		if err := c.putObject(bucketClient, d.Clients[i].Username, &d.Clients[i]); err != nil {
			return err
		}
	}
	for i := range d.Topics {
		t := &d.Topics[i]
		c.lastID = max(c.lastID, t.ID)
		if err := c.putObject(bucketTopic, t.Name, t); err != nil {
			return err
		}
	}
	for i := range d.Producers {
		p := &d.Producers[i]
		c.lastID = max(c.lastID, p.ID)
		if err := c.putObject(bucketProducer, producerKey(p), p); err != nil {
			return err
		}
	}
	for i := range d.Consumers {
		if err := c.defineConsumer(&d.Consumers[i]); err != nil {
			return err
		}
	}
	meta := c.bucket(&c.meta, bucketMeta)
	if c.lastID > c.store.lastID {
		if err := meta.Put(keyLastID, binary.BigEndian.AppendUint32(nil, c.lastID)); err != nil {
			return err
		}
	}
	if d.Declared != "" {
		c.secret = c.secret || meta.Get(keyDeclared) != nil
		return meta.Put(keyDeclared, []byte(d.Declared))
	}
	return nil
}

// isOldHash tells whether there is another password hash of a client.
func (c *commit) isOldHash(r *broker.ClientRecord) bool {
	var old broker.ClientRecord
	v := c.tx.Bucket(bucketClient).Get([]byte(r.Username))
	return v != nil && (json.Unmarshal(v, &old) != nil || old.PasswordHash != r.PasswordHash)
}

// defineConsumer also drops the entry under the sub_key that the consumer had before.
func (c *commit) defineConsumer(r *broker.ConsumerRecord) error {
	c.lastID = max(c.lastID, r.ID)
	old, moved := c.moved[r.ID]
	if !moved {
		old = c.store.consumerKey[r.ID]
	}
	if old != "" && old != r.SubKey {
		c.secret = true
		b := c.tx.Bucket(bucketConsumer)
		// Two consumers may swap their keys in one commit: leave what is another's by now.
		var there broker.ConsumerRecord
		if json.Unmarshal(b.Get([]byte(old)), &there) == nil && there.ID == r.ID {
			if err := b.Delete([]byte(old)); err != nil {
				return err
			}
		}
	}
	if c.moved == nil {
		c.moved = map[uint32]string{}
	}
	c.moved[r.ID] = r.SubKey
	return c.putObject(bucketConsumer, r.SubKey, r)
}

// forget deletes objects and what is kept of them. The messages of a topic, and the state of its
// lanes, stay until they are removed and purged.
func (c *commit) forget(d *broker.Deletions) error {
	c.secret = c.secret || len(d.Clients)+len(d.Consumers) > 0
	for _, name := range d.Clients {
		if err := c.tx.Bucket(bucketClient).Delete([]byte(name)); err != nil {
			return err
		}
	}
	for i := range d.Topics {
		if err := c.tx.Bucket(bucketTopic).Delete([]byte(d.Topics[i].Name)); err != nil {
			return err
		}
	}
	for i := range d.Producers {
		p := &d.Producers[i]
		if err := c.tx.Bucket(bucketProducer).Delete([]byte(producerKey(p))); err != nil {
			return err
		}
		if err := c.bucket(&c.seen, bucketSeen).Delete(appendSeen(nil, broker.SeenProducer, p.ID)); err != nil {
			return err
		}
	}
	for i := range d.Consumers {
		if err := c.forgetConsumer(&d.Consumers[i]); err != nil {
			return err
		}
	}
	return nil
}

func (c *commit) forgetConsumer(r *broker.ConsumerRecord) error {
	if err := c.tx.Bucket(bucketConsumer).Delete([]byte(r.SubKey)); err != nil {
		return err
	}
	if c.moved == nil {
		c.moved = map[uint32]string{}
	}
	c.moved[r.ID] = ""
	if err := c.bucket(&c.seen, bucketSeen).Delete(appendSeen(nil, broker.SeenConsumer, r.ID)); err != nil {
		return err
	}
	prefix := binary.BigEndian.AppendUint32(nil, r.ID)
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
func (c *commit) purge(lanes []broker.Lane) error {
	for _, l := range lanes {
		c.ranges[l] = openRange{}
		c.key = appendLane(c.key[:0], l)
		if err := c.bucket(&c.lane, bucketLane).Delete(c.key); err != nil {
			return err
		}
	}
	return nil
}

func (c *commit) putObject(bucket []byte, key string, object any) error {
	v, err := json.Marshal(object)
	if err != nil {
		return fmt.Errorf("%s %q: %w", bucket, key, err)
	}
	if err := c.tx.Bucket(bucket).Put([]byte(key), v); err != nil {
		return fmt.Errorf("%s %q: %w", bucket, key, err)
	}
	return nil
}

func loadDefinitions(tx *bbolt.Tx, img *broker.Image) error {
	if err := loadObjects(tx, bucketClient, &img.Clients); err != nil {
		return err
	}
	if err := loadObjects(tx, bucketTopic, &img.Topics); err != nil {
		return err
	}
	if err := loadObjects(tx, bucketProducer, &img.Producers); err != nil {
		return err
	}
	return loadObjects(tx, bucketConsumer, &img.Consumers)
}

func loadObjects[T any](tx *bbolt.Tx, bucket []byte, list *[]T) error {
	return tx.Bucket(bucket).ForEach(func(k, v []byte) error {
		var object T
		if err := json.Unmarshal(v, &object); err != nil {
			return fmt.Errorf("%s %q: %w", bucket, k, err)
		}
		*list = append(*list, object)
		return nil
	})
}
