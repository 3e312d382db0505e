package alert

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"pipit/broker"
)

// MaxSent is how many messages are kept.
const MaxSent = 200

// Sent is a message, with all of the tries that it took.
type Sent struct {
	Number   uint64
	Time     time.Time // of the last try
	Receiver string
	Target   string
	Firing   int    // things that it told of
	Resolved int    // that were over
	Test     bool   `json:",omitempty"`
	Tries    int    // 1 for the first
	Status   int    `json:",omitempty"` // of an answer by HTTP
	Answer   string `json:",omitempty"` // what the receiver said
	Error    string `json:",omitempty"` // why the last try failed; empty: it has not
	Took     time.Duration
}

// Documents: each message has one, whose place comes round again; what was told is in as many as it needs.
const (
	kindSent   = "alert.sent"
	kindFiring = "alert.firing"
	partBytes  = 48 << 10
)

const keyReceivers = "receivers"

// keptReceiver is what is kept of a receiver.
type keptReceiver struct {
	ID   string
	Last time.Time
}

// remember adds a message, or a try to the one before that failed. The caller holds mu.
func (s *Service) remember(name string, to sender, m *message, done outcome, failures int) {
	one := Sent{
		Time: time.Now().UTC(), Receiver: name, Target: to.target(), Firing: m.firing(), Resolved: len(m.over), Test: m.test, Tries: 1,
		Status: done.status, Answer: done.answer, Error: done.err, Took: done.took,
	}
	if n := len(s.sent); n > 0 {
		one.Number = s.sent[n-1].Number + 1
	}
	for i := len(s.sent) - 1; failures > 0 && i >= 0; i-- {
		if x := &s.sent[i]; x.Receiver == name && !x.Test {
			if x.Error != "" {
				one.Number, one.Tries = x.Number, failures+1
				*x = one
				s.unsaved[one.Number] = true
				return
			}
			break
		}
	}
	s.sent = append(s.sent, one)
	s.sent = s.sent[max(0, len(s.sent)-MaxSent):]
	s.unsaved[one.Number] = true
}

// load takes over what was stored. What cannot be read is nothing.
func (s *Service) load() error {
	docs, err := s.b.Documents(kindSent, "", false, MaxSent)
	if err != nil {
		return err
	}
	for _, d := range docs {
		var one Sent
		if json.Unmarshal(d.Value, &one) == nil {
			s.sent = append(s.sent, one)
		}
	}
	slices.SortFunc(s.sent, func(x, y Sent) int { return cmp.Compare(x.Number, y.Number) })
	if docs, err = s.b.Documents(kindFiring, "", false, 1000); err != nil {
		return err
	}
	for _, d := range docs {
		s.stored[d.Key] = sumOf(d.Value)
		if d.Key == keyReceivers {
			kept := map[string]keptReceiver{}
			_ = json.Unmarshal(d.Value, &kept)
			for _, r := range s.receivers {
				r.id, r.last = kept[r.name].ID, kept[r.name].Last
				if r.last.After(s.started) { // the clock was ahead
					r.last = s.started
				}
			}
			continue
		}
		var list []alert
		_ = json.Unmarshal(d.Value, &list)
		for _, a := range list {
			again := newAlert(a.Subject, a.Begun)
			again.Summary, again.Link, again.Told, again.restored = a.Summary, a.Link, a.Told, true
			s.alerts[a.Subject] = again
		}
	}
	return nil
}

func sumOf(b []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(b)
	return h.Sum64()
}

// keep stores what there is to store, beside everybody.
func (s *Service) keep() {
	for {
		select {
		case <-s.store:
			s.put(s.ctx)
		case <-s.ctx.Done():
			return
		}
	}
}

// put stores what is not stored: where it fails, the next time.
func (s *Service) put(ctx context.Context) {
	s.mu.Lock()
	docs, sums, numbers := s.documents()
	s.mu.Unlock()
	if len(docs) == 0 {
		return
	}
	err := s.b.PutDocuments(ctx, docs...)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		for _, n := range numbers {
			s.unsaved[n] = true
		}
		if ctx.Err() == nil {
			s.log.Warn("what alerts were sent cannot be stored, it is tried again", "error", err)
		}
		return
	}
	s.stored = sums
}

// documents are what has changed since it was stored, and what is stored when they are. The caller holds mu.
func (s *Service) documents() (docs []broker.Document, sums map[string]uint64, numbers []uint64) {
	if s.active() == 0 { // nor is it known what the server has to tell whose database this is
		return nil, nil, nil
	}
	for _, one := range s.sent {
		if s.unsaved[one.Number] {
			numbers = append(numbers, one.Number)
			docs = append(docs, document(kindSent, fmt.Sprintf("%03d", one.Number%MaxSent), encode(one)))
		}
	}
	clear(s.unsaved)
	sums = map[string]uint64{}
	add := func(key string, value []byte) {
		if sums[key] = sumOf(value); sums[key] != s.stored[key] {
			docs = append(docs, document(kindFiring, key, value))
		}
	}
	kept := map[string]keptReceiver{}
	for _, r := range s.receivers {
		if r.to != nil {
			kept[r.name] = keptReceiver{r.id, r.last.UTC()}
		}
	}
	add(keyReceivers, encode(kept))
	var told []*alert
	for _, a := range s.alerts {
		if a.Told != 0 {
			told = append(told, a)
		}
	}
	slices.SortFunc(told, func(x, y *alert) int {
		return cmp.Or(x.Begun.Compare(y.Begun), strings.Compare(x.fingerprint, y.fingerprint))
	})
	part, parts := []byte("["), 0
	flush := func() {
		if len(part) > 1 {
			add(fmt.Sprintf("%04d", parts), append(part, ']'))
			part, parts = []byte("["), parts+1
		}
	}
	for _, a := range told {
		one := encode(a)
		if len(part)+len(one) > partBytes {
			flush()
		}
		if len(part) > 1 {
			part = append(part, ',')
		}
		part = append(part, one...)
	}
	flush()
	for key := range s.stored {
		if _, there := sums[key]; !there {
			docs = append(docs, document(kindFiring, key, nil))
		}
	}
	return docs, sums, numbers
}

func document(kind, key string, value []byte) broker.Document {
	return broker.Document{Kind: kind, Key: key, Value: value}
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // of texts, numbers and times: never
	}
	return b
}
