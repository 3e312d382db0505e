// Package db keeps what the broker must not forget in one bbolt file.
//
// The file is a set of flat buckets, but for payload:
//
//	meta      what the file is: magic, format, a random key, the highest object number
//	client    \
//	topic      | the objects, as JSON
//	producer   |
//	consumer   |
//	queue      |
//	webhook   /
//	lane      of each lane (a topic's priority) the tail, and which positions are gone
//	log       the messages, by lane and position
//	cursor    of each queue and lane, which positions it is done with
//	attempt   how often a message was delivered, where that is worth keeping
//	seen      when a producer or consumer was last here
//	expiry    ranges of positions of a lane, by the second in which they expire
//	delayed   messages that wait to become deliverable, by when they are due
//	payload   large payloads, by a number that their messages have; each a bucket with nothing else in it, see apart.go
//	waiting   of each topic, how many of these there are
//	id        messages with an ID of their own, by topic and ID
//	idkeep    the same, by the time until which the ID is remembered
//	document  what other parts of the program keep
//
// All lanes share the bucket log, because each bucket that a commit touches costs it a page at
// least: so a commit to a thousand topics opens as many buckets as one to a single topic.
// A message is appended at the tail of its lane and removed mostly at the head; its value is
// one record with a checksum of its own. Fan-out costs nothing here: consumers are cursors.
//
// What a message needs beside its record is kept small. Its expiry is one entry for a whole
// range of neighbours that expire in the same second, and the range that grows at the tail of
// a lane is remembered in memory, so that the next commit extends it. Its ID follows from
// its place unless the publisher chose one; only then it has entries in id and idkeep.
//
// What is replaced or deleted of secrets does not stay in free pages: see wipe.go.
//
// The keys are drawn in keys.go, the record in record.go, the cursor in cursor.go. Numbers in
// keys are big-endian, so that the order of bytes is the order of numbers.
package db

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"pipit/broker/store"
)

// Format is the version of the layout that this package reads and writes.
const Format = 3

const magic = "pipit"

// Options are how to open a file. The zero value is good.
type Options struct {
	LockTimeout time.Duration // how long to wait while another process has the file; default 1s
	Logger      *slog.Logger  // default: slog.Default()
	MustExist   bool          // refuse a file that is not there or empty, by an error that is fs.ErrNotExist
}

// Store is a store.Store in a bbolt file.
type Store struct {
	bolt *bbolt.DB
	path string
	file fs.FileInfo // of the open file
	data *os.File    // the same, which bbolt closes
	log  *slog.Logger

	// What the committer knows of the file. It belongs to the goroutine in Commit and changes
	// only after a commit went well.
	loaded      bool // the file was found to be good: Close may write to it
	uncertain   bool // the outcome of a commit is not known: nothing is written any more
	lastID      uint32
	consumerKey map[uint32]string        // where the record of a consumer is
	openMu      sync.Mutex               // guards open against readers beside the committer
	open        map[store.Lane]openRange // the expiry range that the next append may extend
	waiting     map[uint32]uint64        // delayed messages of a topic
	work        commit                   // memory that commits reuse
	wipe        wipe

	readers sync.Pool // of *reader

	damaged  sync.Map // places that were logged as damaged
	damagedN atomic.Int32
}

var (
	_ store.Store       = (*Store)(nil)
	_ store.FileChecker = (*Store)(nil)
	_ store.Wiper       = (*Store)(nil)
)

var (
	bucketMeta     = []byte("meta")
	bucketClient   = []byte("client")
	bucketTopic    = []byte("topic")
	bucketProducer = []byte("producer")
	bucketConsumer = []byte("consumer")
	bucketQueue    = []byte("queue")
	bucketWebhook  = []byte("webhook")
	bucketLane     = []byte("lane")
	bucketLog      = []byte("log")
	bucketCursor   = []byte("cursor")
	bucketAttempt  = []byte("attempt")
	bucketSeen     = []byte("seen")
	bucketExpiry   = []byte("expiry")
	bucketDelayed  = []byte("delayed")
	bucketPayload  = []byte("payload")
	bucketWaiting  = []byte("waiting")
	bucketID       = []byte("id")
	bucketIDKeep   = []byte("idkeep")
	bucketDocument = []byte("document")

	buckets = [][]byte{
		bucketMeta, bucketClient, bucketTopic, bucketProducer, bucketConsumer, bucketQueue, bucketWebhook, bucketLane, bucketLog,
		bucketCursor, bucketAttempt, bucketSeen, bucketExpiry, bucketDelayed, bucketPayload, bucketWaiting, bucketID, bucketIDKeep, bucketDocument,
	}

	// bucketSince has the first format whose files always have a bucket, where that is not the first.
	bucketSince = map[string]uint32{string(bucketPayload): 2, string(bucketDocument): 3, string(bucketQueue): 3, string(bucketWebhook): 3}

	keyMagic    = []byte("magic")
	keyFormat   = []byte("format")
	keyKey      = []byte("key")
	keyLastID   = []byte("lastid")
	keyDeclared = []byte("declared")
	keyWipe     = []byte("wipe") // there while free pages may hold secrets that are no more
)

// Size returns how many bytes of the file are in use or free for reuse, without what the
// file system reserved beyond them.
func (s *Store) Size() int64 {
	var n int64
	_ = s.bolt.View(func(tx *bbolt.Tx) error {
		n = tx.Size()
		return nil
	})
	return n
}

// Path returns the name of the file.
func (s *Store) Path() string { return s.path }

// Close overwrites what is left of secrets that are no more, for a bounded time, writes down which
// pages are free, so that the next start need not look for them, and releases the file. Where a commit's outcome is not known it writes nothing.
func (s *Store) Close() error {
	if s.loaded && !s.uncertain {
		s.finishWiping()
	}
	if s.loaded && !s.uncertain && !s.freelistStored() {
		if err := s.storeFreelist(); err != nil {
			// Nothing is lost: the next start finds the free pages by itself.
			s.log.Warn("the database's list of free pages could not be written", "file", s.path, "error", err)
		}
	}
	if err := s.bolt.Close(); err != nil {
		return fmt.Errorf("closing database %s: %w", s.path, err)
	}
	return nil
}

// Load implements store.Store.
func (s *Store) Load() (img *store.Image, err error) {
	defer func() {
		if err != nil {
			img, err = nil, fmt.Errorf("database %s is damaged: %w", s.path, err)
		}
	}()
	defer guard(&err)()
	img = &store.Image{Delayed: map[uint32]uint64{}}
	wiping := false
	err = s.bolt.View(func(tx *bbolt.Tx) error {
		if err := load(tx, img); err != nil {
			return err
		}
		wiping = tx.Bucket(bucketMeta).Get(keyWipe) != nil
		return s.findOpen(tx)
	})
	if err != nil {
		return nil, err
	}
	if err := s.upgrade(img); err != nil {
		return nil, err
	}
	s.loaded = true
	if wiping {
		s.wipe.restart(s.pages())
	}
	s.lastID = img.LastID
	s.consumerKey = map[uint32]string{}
	for i := range img.Objects {
		if o := &img.Objects[i]; o.Kind == store.Consumer {
			s.consumerKey[o.ID] = o.Key
		}
	}
	s.waiting = make(map[uint32]uint64, len(img.Delayed))
	for t, n := range img.Delayed {
		s.waiting[t] = n
	}
	return img, nil
}

func load(tx *bbolt.Tx, img *store.Image) error {
	meta := tx.Bucket(bucketMeta)
	if n := copy(img.Key[:], meta.Get(keyKey)); n != len(img.Key) {
		return errors.New("meta: no key")
	}
	old := binary.BigEndian.Uint32(meta.Get(keyFormat)) == 1
	if v := meta.Get(keyLastID); len(v) == 4 {
		img.LastID = binary.BigEndian.Uint32(v)
	}
	img.Declared = string(meta.Get(keyDeclared))
	if err := loadObjects(tx, img); err != nil {
		return err
	}
	if old {
		if err := loadFormat1(tx, img); err != nil {
			return err
		}
	} else if err := loadStates(tx, img); err != nil {
		return err
	}
	if err := ends(tx, img); err != nil {
		return err
	}
	if err := each(tx, bucketAttempt, func(k, v []byte) bool {
		p, ok := parsePlace(k)
		n, m := binary.Uvarint(v)
		img.Attempts = append(img.Attempts, store.Attempt{Consumer: p.Topic, Priority: p.Priority, Pos: p.Pos, Count: uint32(n)}) // #nosec G115 -- a larger one is damage: see below
		return ok && m > 0 && m == len(v) && n <= math.MaxUint32
	}); err != nil {
		return err
	}
	if err := each(tx, bucketSeen, func(k, v []byte) bool {
		kind, id, ok := parseSeen(k)
		at, ok2 := parseTime(v)
		img.Seen = append(img.Seen, store.Seen{Kind: kind, ID: id, At: at})
		return ok && ok2
	}); err != nil {
		return err
	}
	if err := each(tx, bucketWaiting, func(k, v []byte) bool {
		n, m := binary.Uvarint(v)
		if len(k) != 4 || m <= 0 {
			return false
		}
		img.Delayed[binary.BigEndian.Uint32(k)] = n
		return true
	}); err != nil {
		return err
	}
	if k, _ := tx.Bucket(bucketDelayed).Cursor().First(); k != nil {
		d, ok := parseDelayed(k)
		if !ok {
			return fmt.Errorf("delayed: key %x", k)
		}
		img.NextDue = microTime(d.due)
	}
	return nil
}

// loadStates reads what lanes and queues keep.
func loadStates(tx *bbolt.Tx, img *store.Image) error {
	if err := each(tx, bucketLane, func(k, v []byte) bool {
		l, ok := parseLane(k)
		s, ok2 := parseLaneState(v)
		s.Lane, s.Head = l, s.Tail+1
		img.Lanes = append(img.Lanes, s)
		return ok && ok2
	}); err != nil {
		return err
	}
	return each(tx, bucketCursor, func(k, v []byte) bool {
		l, ok := parseLane(k)
		s, ok2 := parseCursorState(v)
		s.Consumer, s.Priority = l.Topic, l.Priority
		img.Cursors = append(img.Cursors, s)
		return ok && ok2
	})
}

// ends makes the lanes' heads and tails those of their messages. A publish does not put the state of its
// lane, since the log tells; a removal does, so that the tail is known of an empty lane.
func ends(tx *bbolt.Tx, img *store.Image) error {
	at := make(map[store.Lane]int, len(img.Lanes))
	for i := range img.Lanes {
		at[img.Lanes[i].Lane] = i
	}
	return eachLane(tx, func(head uint64, p store.Place, _ []byte) {
		i, ok := at[p.Lane]
		if !ok {
			img.Lanes = append(img.Lanes, store.LaneState{Lane: p.Lane})
			i = len(img.Lanes) - 1
		}
		img.Lanes[i].Head, img.Lanes[i].Tail = head, max(img.Lanes[i].Tail, p.Pos)
	})
}

// eachLane calls fn with the first position and the last message of each lane that has messages: two
// searches a lane.
// Where the keys are not in order, the file is damaged, and the search would not end.
func eachLane(tx *bbolt.Tx, fn func(head uint64, last store.Place, record []byte)) error {
	cur := tx.Bucket(bucketLog).Cursor()
	var end []byte
	for k, _ := cur.First(); k != nil; k, _ = cur.Seek(end) {
		p, ok := parsePlace(k)
		if !ok || bytes.Compare(k, end) <= 0 {
			return fmt.Errorf("log: key %x", k)
		}
		end = appendPlace(end[:0], p.Lane, math.MaxUint64)
		var v []byte
		if next, _ := cur.Seek(end); next == nil {
			k, v = cur.Last()
		} else {
			k, v = cur.Prev()
		}
		last, ok := parsePlace(k)
		if !ok || last.Lane != p.Lane {
			return fmt.Errorf("log: key %x", k)
		}
		fn(p.Pos, last, v)
	}
	return nil
}

// findOpen finds the expiry ranges that were growing when the file was left.
func (s *Store) findOpen(tx *bbolt.Tx) error {
	var rec store.Record
	dec := decoder{bare: true}
	c := commit{store: s, tx: tx}
	return eachLane(tx, func(_ uint64, p store.Place, v []byte) {
		if dec.decode(v, &rec) != nil {
			return
		}
		if second := expirySecond(&rec); second != 0 {
			if e, ok := c.rangeBefore(p.Lane, second, p.Pos); ok && grew(tx, e, p) {
				s.open[p.Lane] = openRange{second: second, first: e.first, last: p.Pos, stored: e.stored}
			}
		}
	})
}

// grew tells whether a range has grown to a message, since the file got it, by all that are stored between: the
// message may have been in another one, which is to be looked at again later.
func grew(tx *bbolt.Tx, e openRange, p store.Place) bool {
	var rec store.Record
	var dec decoder
	cur := tx.Bucket(bucketLog).Cursor()
	for k, v := cur.Seek(appendPlace(nil, p.Lane, e.stored+1)); k != nil; k, v = cur.Next() {
		if at, ok := parsePlace(k); !ok || at.Lane != p.Lane || at.Pos > p.Pos {
			break
		}
		if dec.fields(v[:max(len(v)-checksumSize, 0)], &rec) == nil && expirySecond(&rec) != e.second {
			return false
		}
	}
	return true
}

// each calls fn with all entries of a bucket, and makes an error of a false.
func each(tx *bbolt.Tx, bucket []byte, fn func(k, v []byte) bool) error {
	return tx.Bucket(bucket).ForEach(func(k, v []byte) error {
		if !fn(k, v) {
			return fmt.Errorf("%s: entry %x", bucket, k)
		}
		return nil
	})
}

// logDamage says once of each place that it cannot be read.
func (s *Store) logDamage(bucket, key []byte, err error) {
	const enough = 1000 // places; then the log has told what there is to tell
	if s.damagedN.Load() >= enough {
		return
	}
	place := fmt.Sprintf("%s/%x", bucket, key)
	if _, known := s.damaged.LoadOrStore(place, true); known {
		return
	}
	s.damagedN.Add(1)
	s.log.Error("a message is damaged and was skipped", "file", s.path, "place", place, "error", err)
}
