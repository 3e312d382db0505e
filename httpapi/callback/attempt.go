package callback

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"pipit/broker"
)

// MaxAttempts is how many attempts of a consumer are kept.
const MaxAttempts = 100

// Attempt is one call that was made.
type Attempt struct {
	Time       time.Time
	Duration   time.Duration
	Status     int    `json:",omitempty"` // of the answer; 0: there was none
	Error      string `json:",omitempty"` // why it has failed; empty: it has not
	Answer     []byte `json:",omitempty"` // the first KiB of the body that was answered
	Messages   int    // how many were sent
	Bytes      int64  // of the body that was sent
	WebhookID  string // the header webhook-id
	Deliveries int    // how often the messages had been sent, this time counted; of several, the most
	Test       bool   `json:",omitempty"` // somebody made it by hand
}

// Attempts are kept as documents, which hold blockSize of them each, so that one that is added writes little. The key of
// a block is that of its consumer and the number of the block, and the last ones are kept.
const (
	kindAttempts = "callback.attempts"
	blockSize    = 25
	maxBlocks    = MaxAttempts/blockSize + 1
)

func blockKey(id uint32, block uint64) string { return fmt.Sprintf("%08x/%012x", id, block) }

// remember adds an attempt to those that are not stored yet, of which there are MaxAttempts at most.
func remember(recent []Attempt, one Attempt) []Attempt {
	if len(recent) >= MaxAttempts {
		recent = append(recent[:0], recent[1:]...)
	}
	return append(recent, one)
}

// block reads a document of attempts. One that cannot be read, of another version, has none.
func block(d *broker.Document, id uint32) (number uint64, list []Attempt, ok bool) {
	tail, ok := strings.CutPrefix(d.Key, fmt.Sprintf("%08x/", id))
	if !ok {
		return 0, nil, false
	}
	number, err := strconv.ParseUint(tail, 16, 64)
	if json.Unmarshal(d.Value, &list) != nil {
		list = nil
	}
	return number, list, err == nil
}

// stored returns the documents that hold recent attempts behind those that are stored already.
func stored(b *broker.Broker, id uint32, recent []Attempt) (docs []broker.Document, err error) {
	last, err := b.Documents(kindAttempts, fmt.Sprintf("%08x0", id), true, 1) // 0 comes behind the slash
	if err != nil || len(recent) == 0 {
		return nil, err
	}
	var number uint64
	var list []Attempt
	if len(last) > 0 {
		number, list, _ = block(&last[0], id)
	}
	for len(recent) > 0 {
		if len(list) >= blockSize {
			number, list = number+1, nil
			if number >= maxBlocks {
				docs = append(docs, broker.Document{Kind: kindAttempts, Key: blockKey(id, number-maxBlocks)})
			}
		}
		n := min(blockSize-len(list), len(recent))
		list, recent = append(list, recent[:n]...), recent[n:]
		value, err := json.Marshal(list)
		if err != nil {
			return nil, err
		}
		docs = append(docs, broker.Document{Kind: kindAttempts, Key: blockKey(id, number), Value: value})
	}
	return docs, nil
}

// Attempts returns the last attempts of a consumer, the latest first: those that are stored and, where s is not nil, those
// that it has made since. The error is that of the store.
func Attempts(s *Service, b *broker.Broker, id uint32) ([]Attempt, error) {
	var recent []Attempt
	if s != nil {
		s.flushing.Lock()
		defer s.flushing.Unlock()
		if a := s.agent(id); a != nil {
			a.mu.Lock()
			recent = slices.Clone(a.attempts)
			a.mu.Unlock()
		}
	}
	docs, err := b.Documents(kindAttempts, fmt.Sprintf("%08x/", id), false, 2*maxBlocks)
	if err != nil {
		return nil, err
	}
	var all []Attempt
	for i := range docs {
		_, list, ok := block(&docs[i], id)
		if !ok {
			break // of the next consumer
		}
		all = append(all, list...)
	}
	all = append(all, recent...)
	slices.Reverse(all)
	return all[:min(len(all), MaxAttempts)], nil
}

// flushBytes is about how much one commit of attempts writes.
const flushBytes = 1 << 20

// flush stores what is known of attempts and states and is not stored yet. What cannot be stored is kept, up to MaxAttempts
// of each consumer, for the next flush.
func (s *Service) flush(ctx context.Context) {
	s.flushing.Lock()
	defer s.flushing.Unlock()
	s.mu.Lock()
	dirty := s.dirty
	s.dirty = map[*agent]bool{}
	s.mu.Unlock()
	var docs []broker.Document
	size := 0
	taken := map[*agent][]Attempt{} // that docs hold
	put := func() {
		if len(docs) == 0 {
			return
		}
		if err := s.b.PutDocuments(ctx, docs...); err != nil {
			s.log.Warn("attempts of callbacks cannot be stored, it is tried again", "err", err)
			for a, recent := range taken {
				a.keep(recent)
			}
		}
		docs, size = nil, 0
		clear(taken)
	}
	for a := range dirty {
		recent, state := a.unsaved()
		more, err := stored(s.b, a.id, recent)
		if err != nil {
			s.log.Warn("attempts of callbacks cannot be read, it is tried again", "err", err)
			a.keep(recent)
			continue
		}
		taken[a] = recent
		for _, d := range append(more, state) {
			docs, size = append(docs, d), size+len(d.Value)
		}
		if size > flushBytes {
			put()
		}
	}
	put()
}
