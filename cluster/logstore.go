package cluster

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"pipit/broker/store"
	"pipit/db/disk"
	"pipit/db/wal"
)

// logStore is raft's log, over a log of package wal: what raft appends at once is a record (record.go), which is one entry there, behind one
// flush. In memory is which record has which of raft's entries. A record whose first entry is not behind the last one that is there takes the place of all from that on, and so
// nothing is written when raft takes back what its leader has not: were it found again after a crash, raft would be where it was before.
//
// Raft says when the log may be cut off; how much then goes is decided here: all but the newest half of its size, and never an entry that the file
// does not have, or that a copy needs to which a file is being sent. Where it begins is in a small file beside, with what raft calls stable: stable.go.
type logStore struct {
	limit   int64
	durable func() uint64 // the index up to which the file has everything
	fail    func(error)
	log     *slog.Logger
	large   chan struct{} // tells that there are more bytes than limit, or an entry that cannot be read
	stable  *stable
	wal     *wal.Log

	turn    sync.Mutex // of who appends; comes before mu
	buf     []byte     // of a record
	cutting sync.Mutex // of who has it begin elsewhere; comes before mu

	reading sync.Mutex // of who reads what is not in recent
	decoded decoded    // the record that was read last

	mu      sync.Mutex
	next    uint64 // the number of the next record; it changes with turn held, too
	begin   logBegin
	records []record
	total   int64                // bytes of the records
	recent  [recentLogs]raft.Log // what was appended last, by its index modulo their number
	holds   map[*uint64]bool     // indexes from which on entries are kept
}

// record is which entries are in one.
type record struct {
	number uint64 // in the wal
	first  uint64 // index of its first entry
	count  int    // of its entries that count: those behind may have been taken back
	size   int64  // in bytes
}

func (r *record) end() uint64 { return r.first + uint64(r.count) } // #nosec G115 -- small

type decoded struct {
	number uint64
	first  uint64
	logs   []raft.Log
}

const (
	// recentLogs is how many entries are kept in memory, for those who follow closely.
	recentLogs = maxAppend

	// recordSize is how many bytes of entries a record has at most, but for a single one.
	recordSize = 2 << 20

	// waitSizes is how many times its limit the log has when a leader begins to wait for the file to take in what is in it. Behind that there is room for
	// what is on its way then: the largest batch, which cannot be applied before all of it is there, and as much again as the limit.
	waitSizes = 3

	minSegment, maxSegment = 1 << 20, 16 << 20
)

// logOptions are those of the wal in a directory. Its segments are made as they are needed, and have an eighth of room for what frames and ends of segments take.
func logOptions(o *Options, id [16]byte) wal.Options {
	room := (waitSizes+1)*o.LogSize + 2*maxChunks*chunkSize
	return wal.Options{FS: o.fs(), Dir: filepath.Join(o.Dir, "log"), ID: id, Readable: true, Logger: o.Logger,
		Size: room / 8 * 9, SegmentSize: min(max(o.LogSize/4, minSegment), maxSegment) &^ (minSegment - 1)}
}

func stablePath(dir string) string { return filepath.Join(dir, "raft.db") }

// removeLog removes the log in a directory, where there is one.
func removeLog(o *Options) error {
	if err := os.Remove(stablePath(o.Dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return wal.Remove(o.fs(), logOptions(o, [16]byte{}).Dir)
}

// openLogStore opens the log in a directory, and makes it where it is not there.
func openLogStore(o *Options, fail func(error)) (s *logStore, err error) {
	s = &logStore{limit: o.LogSize, durable: o.Store.Durable, fail: fail, log: o.Logger, large: make(chan struct{}, 1), holds: map[*uint64]bool{}}
	if s.stable, err = openStable(stablePath(o.Dir)); err != nil {
		return nil, err
	}
	if err := s.open(o); err != nil {
		err = fmt.Errorf("the cluster's log in %s: %w", o.Dir, err)
		if s.wal != nil {
			err = errors.Join(err, s.wal.Close())
		}
		return nil, errors.Join(err, s.stable.close())
	}
	s.look()
	return s, nil
}

func (s *logStore) open(o *Options) error {
	begin, ok, err := s.stable.begin()
	switch {
	case err != nil:
	case ok:
		s.wal, err = wal.Open(logOptions(o, begin.ID))
	default:
		begin, err = s.create(o)
	}
	if err != nil {
		return err
	}
	s.begin, s.next = begin, begin.Cut+1
	return s.wal.Replay(begin.Cut, func(number uint64, b []byte) error {
		s.next = number + 1
		logs, err := parseRecord(b)
		if err == nil {
			s.add(record{number, logs[0].Index, len(logs), int64(len(b))})
		}
		return err
	})
}

// create makes a log. What one that was cut short has left goes.
func (s *logStore) create(o *Options) (begin logBegin, err error) {
	rand.Read(begin.ID[:]) // never fails
	w := logOptions(o, begin.ID)
	if err := wal.Remove(o.fs(), w.Dir); err != nil {
		return begin, err
	}
	if s.wal, err = wal.Create(w); err != nil {
		return begin, err
	}
	return begin, s.stable.setBegin(begin)
}

// add takes in a record. The caller has mu, or is alone.
func (s *logStore) add(r record) {
	if s.begin.clip(&r); r.count == 0 {
		return
	}
	switch last := s.last(); {
	case last > 0 && r.first > last+1: // it comes behind a file that was received
		s.records, s.total = nil, 0
	default:
		s.takeBack(r.first)
	}
	s.records = append(s.records, r)
	s.total += r.size
}

// takeBack forgets the entries from an index on. The caller has mu, or is alone.
func (s *logStore) takeBack(from uint64) {
	for n := len(s.records) - 1; n >= 0; n-- {
		r := &s.records[n]
		if r.first < from {
			r.count = int(min(r.end(), from) - r.first) // #nosec G115 -- small
			return
		}
		s.total -= r.size
		s.records = s.records[:n]
	}
}

// begins returns the index of the first entry that is there, 0 where there is none. The caller has mu.
func (s *logStore) begins() uint64 {
	if len(s.records) == 0 {
		return 0
	}
	return s.records[0].first
}

// last returns the index of the last entry that is there, 0 where there is none. The caller has mu, or is alone.
func (s *logStore) last() uint64 {
	if len(s.records) == 0 {
		return 0
	}
	return s.records[len(s.records)-1].end() - 1
}

// look tells who cuts the log off where it is too large.
func (s *logStore) look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total > s.limit {
		s.cutOff()
	}
}

// cutOff has the file take everything, and the log cut off.
func (s *logStore) cutOff() {
	select {
	case s.large <- struct{}{}:
	default: // it is to be already
	}
}

// FirstIndex implements raft.LogStore.
func (s *logStore) FirstIndex() (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begins(), nil
}

// LastIndex implements raft.LogStore.
func (s *logStore) LastIndex() (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last(), nil
}

// GetLog implements raft.LogStore. An entry whose record cannot be read is not there for raft as soon as the file has it: who needs it is sent the file.
func (s *logStore) GetLog(index uint64, l *raft.Log) error {
	err := s.entry(index, l)
	if err == nil || errors.Is(err, raft.ErrLogNotFound) {
		return err
	}
	s.log.Error("an entry of the cluster's log cannot be read: a node that needs it is to be sent the file", "error", err)
	if s.durable() >= index {
		return raft.ErrLogNotFound
	}
	s.cutOff()
	time.Sleep(openAgain)
	return err
}

// entry sets l to an entry. The error is raft.ErrLogNotFound where there is none, else what is wrong with its record.
func (s *logStore) entry(index uint64, l *raft.Log) error {
	number, done := s.find(index, l)
	switch {
	case done:
		return nil
	case number == 0:
		return raft.ErrLogNotFound
	}
	s.reading.Lock()
	defer s.reading.Unlock()
	if s.decoded.number != number {
		d, err := s.read(number)
		if errors.Is(err, wal.ErrNotThere) { // cut off meanwhile
			return raft.ErrLogNotFound
		} else if err != nil {
			return fmt.Errorf("the cluster's log: entry %d: %w", index, err)
		}
		s.decoded = d
	}
	*l = s.decoded.logs[index-s.decoded.first]
	return nil
}

// find sets l to an entry where that is in memory, and is done then; else it returns the number of its record, 0 where there is none.
func (s *logStore) find(index uint64, l *raft.Log) (number uint64, done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.records) == 0 || index < s.begins() || index > s.last() {
		return 0, false
	}
	if recent := &s.recent[index%recentLogs]; recent.Index == index {
		*l = *recent
		return 0, true
	}
	n, _ := slices.BinarySearchFunc(s.records, index, func(r record, index uint64) int { return cmp.Compare(r.end()-1, index) })
	return s.records[n].number, false
}

// read reads a record.
func (s *logStore) read(number uint64) (d decoded, err error) {
	b, err := s.wal.Read(number, nil)
	if err != nil {
		return d, err
	}
	d.number = number
	d.logs, err = parseRecord(b)
	if err == nil {
		d.first = d.logs[0].Index
	}
	return d, err
}

// StoreLog implements raft.LogStore.
func (s *logStore) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore. An error that leaves it uncertain what is on the disk ends the node.
func (s *logStore) StoreLogs(logs []*raft.Log) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	for len(logs) > 0 {
		n, size := 0, 0
		for n < len(logs) && (n == 0 || size+len(logs[n].Data) <= recordSize) {
			size += len(logs[n].Data)
			n++
		}
		if err := s.append(logs[:n]); err != nil {
			return err
		}
		logs = logs[n:]
	}
	s.look()
	return nil
}

// append appends a record. The caller has turn.
func (s *logStore) append(logs []*raft.Log) error {
	s.buf = appendRecord(s.buf[:0], logs)
	if err := s.wal.Append(s.next, s.buf); err != nil {
		err = fmt.Errorf("the cluster's log could not be written: %w", err)
		if errors.Is(err, wal.ErrUncertain) {
			s.fail(err)
		}
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(record{s.next, logs[0].Index, len(logs), int64(len(s.buf))})
	s.next++
	for _, l := range logs {
		s.recent[l.Index%recentLogs] = *l
	}
	return nil
}

// hold keeps the entries from an index on until it is released.
func (s *logStore) hold(from uint64) (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holds[&from] = true
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.holds, &from)
	}
}

// held tells whether entries up to an index are kept for a copy to which a file is being sent.
func (s *logStore) held(through uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for from := range s.holds {
		if *from <= through {
			return true
		}
	}
	return false
}

// DeleteRange implements raft.LogStore. Behind what the file has it takes back what the leader has not; else it cuts the log off.
func (s *logStore) DeleteRange(from, to uint64) error {
	durable := s.durable()
	if from <= durable {
		return s.drop(min(to, s.cut(durable)))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if to >= s.last() {
		s.takeBack(from)
		s.recent = [recentLogs]raft.Log{}
	}
	return nil
}

// drop lets go of all up to an index. None of it is to be found again: of what is before a file that was received, another leader may have written other entries.
func (s *logStore) drop(through uint64) error {
	s.cutting.Lock()
	defer s.cutting.Unlock()
	s.mu.Lock()
	begin := s.begin
	begin.Cut, begin.First, begin.Last = s.next-1, through+1, s.next-1
	for i := range s.records {
		if s.records[i].end() > through+1 {
			begin.Cut = s.records[i].number - 1
			break
		}
	}
	needless := through == 0 || begin.Cut == s.begin.Cut && (len(s.records) == 0 || s.begins() > through)
	s.mu.Unlock()
	if needless {
		return nil
	}
	return s.beginAt(begin)
}

// beginAt has the log begin elsewhere. The caller has cutting.
func (s *logStore) beginAt(begin logBegin) error {
	if err := s.stable.setBegin(begin); err != nil { // before the wal writes over any of it
		return fmt.Errorf("the cluster's log could not be cut off: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for n < len(s.records) && s.records[n].number <= begin.Cut {
		s.total -= s.records[n].size
		n++
	}
	s.records = append(s.records[:0], s.records[n:]...)
	if len(s.records) > 0 {
		begin.clip(&s.records[0])
	}
	s.begin = begin
	s.recent = [recentLogs]raft.Log{}
	return s.wal.Cut(begin.Cut)
}

// cut returns the index up to which the log may be cut off. The entry of the file's own place stays: raft asks for its term.
func (s *logStore) cut(durable uint64) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	left, to := s.total, s.begins()
	for i := range s.records {
		if left <= s.limit/2 {
			break
		}
		left -= s.records[i].size
		to = s.records[i].end()
	}
	for from := range s.holds {
		to = min(to, *from)
	}
	return max(min(to, durable), 1) - 1
}

// stats returns how many bytes of entries the file does not have, how many there are, and how many there are at most but for these.
func (s *logStore) stats() (used, size, most int64) {
	durable := s.durable()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.records) - 1; i >= 0 && s.records[i].end() > durable+1; i-- {
		used += s.records[i].size
	}
	return used, s.total, s.limit
}

// awaitRoom waits while there is more than the file has had time to take, so that the log never is full, and returns an error where it lasts too long.
func (s *logStore) awaitRoom(done <-chan struct{}) error {
	for waited := time.Duration(0); ; waited += roomLook {
		s.mu.Lock()
		total := s.total
		s.mu.Unlock()
		switch {
		case total <= waitSizes*s.limit+maxChunks*chunkSize:
			return nil
		case waited >= roomWait:
			return fmt.Errorf("%w: the cluster's log has %d bytes that the file could not take yet", store.ErrNoSpace, total)
		}
		select {
		case <-done:
			return nil // and the next one finds out
		case <-time.After(roomLook):
		}
	}
}

const (
	roomWait = 10 * time.Second
	roomLook = 20 * time.Millisecond
)

// keepSize is how many bytes of entries keep appends once more.
const keepSize = 4 << 20

// keep appends all entries that there are once more, as one record, so that nothing before it is needed. It does not where these are too many: then there is
// so much traffic that they are cut off soon.
func (s *logStore) keep() (kept bool, err error) {
	s.turn.Lock()
	defer s.turn.Unlock()
	s.cutting.Lock()
	defer s.cutting.Unlock()
	s.mu.Lock()
	first, last, total := s.begins(), s.last(), s.total
	s.mu.Unlock()
	if first == 0 || total > keepSize {
		return false, nil
	}
	logs := make([]*raft.Log, 0, last-first+1)
	for i := first; i <= last; i++ {
		l := &raft.Log{}
		if err := s.entry(i, l); err != nil {
			return false, err
		}
		logs = append(logs, l)
	}
	if err := s.append(logs); err != nil {
		return false, err
	}
	begin := s.begin
	begin.Cut = s.next - 2
	return true, s.beginAt(begin)
}

// wipe overwrites what was there when wal.StartWipe was called, and errWipeLater where some of it is still needed.
func (s *logStore) wipe() error {
	if kept, err := s.keep(); err != nil {
		return err
	} else if !kept {
		return errWipeLater
	}
	for before := int64(-1); ; {
		left, err := s.wal.WipeStep()
		switch {
		case err != nil || left == 0:
			return err
		case left == before:
			return errWipeLater
		}
		before = left
	}
}

func (s *logStore) close() error { return errors.Join(s.wal.Close(), s.stable.close()) }

// fs returns the file system of the log.
func (o *Options) fs() disk.FS {
	if o.FS != nil {
		return o.FS
	}
	return disk.OS
}

var _ raft.LogStore = (*logStore)(nil)
