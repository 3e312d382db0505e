// Package db keeps what the broker must not forget in one bbolt file, with a log in front of it.
//
// A commit of bbolt takes two flushes and copies each page on the way. So a batch is appended to the log (package wal), by
// one flush, and what it changes is kept in memory, in a table of the entries that the file does not have yet (table.go).
// Who reads sees both as one (view.go). Now and then a table is frozen, another one takes its place, and a worker moves it
// into the file, with the number of its last batch in the same transaction; then the log lets go of its batches
// (checkpoint.go). What was published, received and acknowledged before that never touches the file. A start
// applies again what the log has and the file has not (log.go). At a regular stop all is in the file, and there is no log.
//
//	Commit → encode (batch.go) → apply to a fork of the live table (commit.go) → log → publish the fork
//	         a large batch: → bbolt, with the fork, instead of the log
//	worker:  frozen table → bbolt → cut the log
//	View:    live table, over the frozen one, over a transaction of bbolt
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
// The keys are drawn in keys.go, the record in record.go, the cursor in cursor.go, and a batch as a whole
// in batch.go. Numbers in keys are big-endian, so that the order of bytes is the order of numbers.
//
// The package has more than 4,000 lines, since whatever stores, finds, checks and wipes rests on these
// keys and records, and is wrong where one of the others reads them in another way.
package db

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"pipit/broker/store"
	"pipit/db/wal"
)

// Format is the version of the layout that this package reads and writes.
const Format = 3

// formatLog is the format of a file that needs its log: a program that knows of none refuses it. Closing brings it
// back to Format.
const formatLog = 4

// formatReplica is the format of a file that needs the log of a cluster, likewise: see replica.go.
const formatReplica = 5

const magic = "pipit"

// Options are how to open a file. The zero value is good.
type Options struct {
	LockTimeout  time.Duration            // how long to wait while another process has the file; default 1s
	Logger       *slog.Logger             // default: slog.Default()
	Program      string                   // version of the program, kept in the file that it writes for one that finds it too new; may be empty
	LogSize      int64                    // bytes that the log takes at most; default 64 MiB, at least 2 MiB
	CompactWhen  float64                  // the part of the file, of at least 64 MiB, that must be free before it is compacted by itself; 0: never
	SyncInterval time.Duration            // how long a batch that was answered may wait for its flush: a crash loses what does; 0: none waits
	MinFree      int64                    // bytes that the disk must have left; with less, CheckFile's error wraps store.ErrNoSpace
	Flushed      func(took time.Duration) // is told of each flush of the log by who commits, who waits for it; or nil
	Checkpointed func(took time.Duration) // is told of each checkpoint that was made; or nil
	MustExist    bool                     // refuse a file that is not there or empty, by an error that is fs.ErrNotExist

	leave   bool // write nothing to a file that is there, and leave its log where it is
	replica bool // see OpenReplica

	seam
}

// Store is a store.Store in a bbolt file.
type Store struct {
	path    string
	log     *slog.Logger
	program string // of Options
	seam

	flushed, checkpointed func(took time.Duration) // of Options

	// What the committer knows of the file. It belongs to the goroutine in Commit and changes
	// only after a commit went well.
	loaded      bool // the file was found to be good: Close may write to it
	leave       bool // the file and its log are to be left as they are
	lastID      uint32
	consumerKey map[uint32]string        // where the record of a consumer is
	openMu      sync.Mutex               // guards open against readers beside the committer
	open        map[store.Lane]openRange // the expiry range that the next append may extend
	waiting     map[uint32]uint64        // delayed messages of a topic
	heads       map[store.Lane]uint64    // see head
	work        commit                   // memory that commits reuse
	entry       entry

	turn     sync.Mutex // of Commit, and of who freezes the live table
	journal  journal    // nil: nothing was committed since the file was opened
	number   uint64     // of the last entry of the log, or of what is gathered for it
	replica  *replica   // nil: there is a log of its own
	gather   gather
	logSize  int64 // bytes
	freezeAt int64 // the size of a live table that is to be moved into the file
	large    int64 // the size of a batch that goes past the log; see isLarge

	tables   atomic.Pointer[tables]
	tablesMu sync.Mutex // of who replaces tables
	failure  atomic.Pointer[error]
	attached atomic.Bool // there is a journal
	halfMade bool        // what was left of making one is in the way

	fileMu  sync.Mutex // of who writes to the file, or checks its pages
	copying *copying   // nil: the file is not being compacted

	compacting  compacting
	compactWhen float64 // part of the file that is free; 0: only by hand
	compactPart int     // bytes
	minFree     int64   // bytes of the disk

	// The worker's own, or Close's after it.
	worker worker
	mark   mark
	wipe   wipe

	lastMove moment // of a table into the file

	readers sync.Pool // of *reader

	damaged  sync.Map // places that were logged as damaged
	damagedN atomic.Int32
}

var (
	_ store.Store       = (*Store)(nil)
	_ store.FileChecker = (*Store)(nil)
	_ store.Wiper       = (*Store)(nil)
	_ store.Backuper    = (*Store)(nil)
	_ store.Compacter   = (*Store)(nil)
)

// The buckets, in the order in which a checkpoint goes through them.
const (
	bucketMeta = iota
	bucketClient
	bucketTopic
	bucketProducer
	bucketConsumer
	bucketQueue
	bucketWebhook
	bucketLane
	bucketLog
	bucketCursor
	bucketAttempt
	bucketSeen
	bucketExpiry
	bucketDelayed
	bucketPayload
	bucketWaiting
	bucketID
	bucketIDKeep
	bucketDocument
)

var (
	bucketNames = [...][]byte{
		bucketMeta:     []byte("meta"),
		bucketClient:   []byte("client"),
		bucketTopic:    []byte("topic"),
		bucketProducer: []byte("producer"),
		bucketConsumer: []byte("consumer"),
		bucketQueue:    []byte("queue"),
		bucketWebhook:  []byte("webhook"),
		bucketLane:     []byte("lane"),
		bucketLog:      []byte("log"),
		bucketCursor:   []byte("cursor"),
		bucketAttempt:  []byte("attempt"),
		bucketSeen:     []byte("seen"),
		bucketExpiry:   []byte("expiry"),
		bucketDelayed:  []byte("delayed"),
		bucketPayload:  []byte("payload"),
		bucketWaiting:  []byte("waiting"),
		bucketID:       []byte("id"),
		bucketIDKeep:   []byte("idkeep"),
		bucketDocument: []byte("document"),
	}

	// bucketSince has the first format whose files always have a bucket, where that is not the first.
	bucketSince = map[int]uint32{bucketPayload: 2, bucketDocument: 3, bucketQueue: 3, bucketWebhook: 3}

	keyMagic    = []byte("magic")
	keyFormat   = []byte("format")
	keyKey      = []byte("key")
	keyLastID   = []byte("lastid")
	keyDeclared = []byte("declared")
	keyProgram  = []byte("program") // Options.Program of who wrote to it last; there was none before
	keyLog      = []byte("log")     // which log goes with the file, and up to which batch the file has it: see mark
	keyReplica  = []byte("replica") // the same, of a copy of a cluster
	keyWipe     = []byte("wipe")    // there while free pages may hold secrets that are no more
)

// Size returns how many bytes of the file are in use or free for reuse, without what the
// file system reserved beyond them.
func (s *Store) Size() int64 {
	tx, _, err := s.begin()
	if err != nil {
		return 0
	}
	defer tx.Rollback()
	return tx.Size()
}

// Path returns the name of the file.
func (s *Store) Path() string { return s.path }

// Close brings everything into the file, overwrites what is left of secrets that are no more, for a bounded time, writes down which
// pages are free, so that the next start need not look for them, and releases the file; the log is gone then. Where a
// commit's outcome is not known it writes nothing.
func (s *Store) Close() error {
	s.stopWorker()
	s.compacting.close()
	writes := s.loaded && s.failed() == nil && s.writes()
	var err error
	if writes && s.journal != nil {
		err = s.finish()
	}
	closed := s.journal != nil && writes && err == nil
	if writes {
		s.finishWiping()
	}
	if writes && !freelistStored(s) {
		if err := s.file().storeFreelist(); err != nil {
			// Nothing is lost: the next start finds the free pages by itself.
			s.log.Warn("the database's list of free pages could not be written", "file", s.path, "error", err)
		}
		s.wrote()
	}
	if s.journal != nil {
		err = errors.Join(err, s.journal.Close())
	}
	if closed {
		err = errors.Join(err, wal.Remove(s.fs, logDir(s.path)))
	}
	if err = errors.Join(err, closeFiles(s)); err != nil {
		return fmt.Errorf("closing database %s: %w", s.path, err)
	}
	return nil
}

// writes tells whether the file may be written.
func (s *Store) writes() bool { return !s.leave && !s.bolt().IsReadOnly() }

// Load implements store.Store.
func (s *Store) Load() (img *store.Image, err error) {
	defer func() {
		if err != nil {
			img, err = nil, fmt.Errorf("database %s is damaged: %w", s.path, err)
		}
	}()
	defer guard(&err)()
	if img, err = s.image(); err != nil || s.loaded {
		return img, err
	}
	if err := s.upgrade(img); err != nil {
		return nil, err
	}
	s.know(img)
	if err := s.replica.begin(s); err != nil {
		return nil, err
	}
	if s.journal != nil {
		if err := s.replay(); err != nil {
			return nil, err
		}
		if img, err = s.image(); err != nil {
			return nil, err
		}
	}
	s.loaded = true
	if s.journal != nil && s.writes() {
		s.startWorker()
	}
	return img, nil
}

// image reads what there is at this moment.
func (s *Store) image() (*store.Image, error) {
	img := &store.Image{Delayed: map[uint32]uint64{}}
	var v view
	in, err := s.enter(&v)
	if err != nil {
		return nil, err
	}
	defer in.leave()
	if err := load(&v, img); err != nil || s.loaded {
		return img, err
	}
	if v.bucket(bucketMeta).Has(keyWipe) {
		s.wipe.restart(int(v.base.Size()) / s.file().page)
	}
	return img, s.findOpen(&v)
}

// know takes what a commit has to know from an image.
func (s *Store) know(img *store.Image) {
	s.lastID = img.LastID
	s.consumerKey = map[uint32]string{}
	for i := range img.Objects {
		if o := &img.Objects[i]; o.Kind == store.Consumer {
			s.consumerKey[o.ID] = o.Key
		}
	}
	s.heads = make(map[store.Lane]uint64, len(img.Lanes))
	for i := range img.Lanes {
		s.heads[img.Lanes[i].Lane] = img.Lanes[i].Head
	}
	s.waiting = make(map[uint32]uint64, len(img.Delayed))
	for t, n := range img.Delayed {
		s.waiting[t] = n
	}
}

func load(at *view, img *store.Image) error {
	meta := at.bucket(bucketMeta)
	if n := copy(img.Key[:], meta.Get(keyKey)); n != len(img.Key) {
		return errors.New("meta: no key")
	}
	old := binary.BigEndian.Uint32(meta.Get(keyFormat)) == 1
	if v := meta.Get(keyLastID); len(v) == 4 {
		img.LastID = binary.BigEndian.Uint32(v)
	}
	img.Declared = string(meta.Get(keyDeclared))
	if err := loadObjects(at, img); err != nil {
		return err
	}
	if old {
		if err := loadFormat1(at, img); err != nil {
			return err
		}
	} else if err := loadStates(at, img); err != nil {
		return err
	}
	if err := ends(at, img); err != nil {
		return err
	}
	if err := each(at, bucketAttempt, func(k, v []byte) bool {
		p, ok := parsePlace(k)
		n, m := binary.Uvarint(v)
		img.Attempts = append(img.Attempts, store.Attempt{Consumer: p.Topic, Priority: p.Priority, Pos: p.Pos, Count: uint32(n)}) // #nosec G115 -- a larger one is damage: see below
		return ok && m > 0 && m == len(v) && n <= math.MaxUint32
	}); err != nil {
		return err
	}
	if err := each(at, bucketSeen, func(k, v []byte) bool {
		kind, id, ok := parseSeen(k)
		at, ok2 := parseTime(v)
		img.Seen = append(img.Seen, store.Seen{Kind: kind, ID: id, At: at})
		return ok && ok2
	}); err != nil {
		return err
	}
	if err := each(at, bucketWaiting, func(k, v []byte) bool {
		n, m := binary.Uvarint(v)
		if len(k) != 4 || m <= 0 {
			return false
		}
		img.Delayed[binary.BigEndian.Uint32(k)] = n
		return true
	}); err != nil {
		return err
	}
	if k, _ := at.bucket(bucketDelayed).Cursor().First(); k != nil {
		d, ok := parseDelayed(k)
		if !ok {
			return fmt.Errorf("delayed: key %x", k)
		}
		img.NextDue = microTime(d.due)
	}
	return nil
}

// loadStates reads what lanes and queues keep.
func loadStates(at *view, img *store.Image) error {
	if err := each(at, bucketLane, func(k, v []byte) bool {
		l, ok := parseLane(k)
		s, ok2 := parseLaneState(v)
		s.Lane, s.Head = l, s.Tail+1
		img.Lanes = append(img.Lanes, s)
		return ok && ok2
	}); err != nil {
		return err
	}
	return each(at, bucketCursor, func(k, v []byte) bool {
		l, ok := parseLane(k)
		s, ok2 := parseCursorState(v)
		s.Consumer, s.Priority = l.Topic, l.Priority
		img.Cursors = append(img.Cursors, s)
		return ok && ok2
	})
}

// ends makes the lanes' heads and tails those of their messages. A publish does not put the state of its
// lane, since the log tells; a removal does, so that the tail is known of an empty lane.
func ends(at *view, img *store.Image) error {
	index := make(map[store.Lane]int, len(img.Lanes))
	for i := range img.Lanes {
		index[img.Lanes[i].Lane] = i
	}
	return eachLane(at, func(head uint64, p store.Place, _ []byte) {
		i, ok := index[p.Lane]
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
func eachLane(at *view, fn func(head uint64, last store.Place, record []byte)) error {
	cur := at.bucket(bucketLog).Cursor()
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
func (s *Store) findOpen(at *view) error {
	var rec store.Record
	dec := decoder{bare: true}
	c := commit{store: s, view: *at}
	return eachLane(at, func(_ uint64, p store.Place, v []byte) {
		if dec.decode(v, &rec) != nil {
			return
		}
		if second := expirySecond(&rec); second != 0 {
			if e, ok := c.rangeBefore(p.Lane, second, p.Pos); ok && grew(at, e, p) {
				s.openMu.Lock()
				s.open[p.Lane] = openRange{second: second, first: e.first, last: max(p.Pos, e.stored), stored: e.stored}
				s.openMu.Unlock()
			}
		}
	})
}

// grew tells whether a range has grown to a message, since the file got it, by all that are stored between: the
// message may have been in another one, which is to be looked at again later.
func grew(at *view, e openRange, p store.Place) bool {
	var rec store.Record
	var dec decoder
	cur := at.bucket(bucketLog).Cursor()
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
func each(at *view, no int, fn func(k, v []byte) bool) error {
	return at.bucket(no).ForEach(func(k, v []byte) error {
		if !fn(k, v) {
			return fmt.Errorf("%s: entry %x", bucketNames[no], k)
		}
		return nil
	})
}

// logDamage says once of each place that it cannot be read.
func (s *Store) logDamage(no int, key []byte, err error) {
	const enough = 1000 // places; then the log has told what there is to tell
	if s.damagedN.Load() >= enough {
		return
	}
	place := fmt.Sprintf("%s/%x", bucketNames[no], key)
	if _, known := s.damaged.LoadOrStore(place, true); known {
		return
	}
	s.damagedN.Add(1)
	s.log.Error("a message is damaged and was skipped", "file", s.path, "place", place, "error", err)
}
