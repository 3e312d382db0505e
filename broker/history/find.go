package history

import (
	"slices"
	"time"

	"pipit/broker/store"
)

// Bounds of what is found.
const (
	MaxLives  = 100 // messages, the newest
	maxEvents = 500 // of a message, the first
)

// Query says which messages to look for: those of an ID, or else of a correlation ID.
type Query struct {
	ID          string
	Place       store.Place // that an ID of the broker's own tells; zero: it tells none
	Created     uint32      // the last bits of the Unix seconds, with a Place
	Correlation string
}

// Life is what is known of a message.
type Life struct {
	store.Place          // Pos is 0 of one that never had a place
	Topic         string // the name that it had
	Published     bool   // else all that comes of that is not known, as it was too long ago
	ID            string // empty: it follows from the place
	CorrelationID string
	Producer      string
	Size          int64 // bytes of the payload
	Delay         uint32
	Created       time.Time
	Events        []Event // in the order in which they happened
}

// Event is how a message ended, for one consumer or, where Consumer is 0, as a whole.
type Event struct {
	At         time.Time
	Outcome    Outcome
	Consumer   uint32
	Label      string // of the consumer, as a dead letter names it
	Deliveries uint32
	Delivered  time.Time // the last time; zero where it is not known
}

// Find returns what is known of the messages that a query means, the oldest first. view gives looks at the store, of which
// it takes several short ones.
func (l *Log) Find(view func(func(store.Reader) error) error, q Query) ([]Life, error) {
	f := finder{q: q, byPlace: map[store.Place]*Life{}}
	blocks, oldest := l.snapshot()
	f.oldest = oldest
	for len(blocks) > 0 {
		n := 0
		err := view(func(r store.Reader) error {
			for start := time.Now(); n < len(blocks) && (n == 0 || time.Since(start) < 2*time.Millisecond); n++ {
				if err := f.block(r, &blocks[n]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		blocks = blocks[n:]
	}
	lives := make([]Life, len(f.lives))
	for i, life := range f.lives {
		lives[i] = *life
	}
	return lives, nil
}

// snapshot returns the blocks as they are now, and since when events count.
func (l *Log) snapshot() (blocks []block, oldest int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.limits.Keep <= 0 {
		return nil, 0
	}
	blocks = slices.Clone(l.blocks)
	if l.open != nil {
		blocks = append(blocks, l.open.block) // what is appended to the body meanwhile is behind this
	}
	return blocks, time.Now().Add(-l.limits.Keep).UnixMicro()
}

// finder gathers the lives of messages.
type finder struct {
	q       Query
	oldest  int64
	lives   []*Life
	byPlace map[store.Place]*Life
}

// block looks at one. What is damaged of it, or gone from the store meanwhile, is not known.
func (f *finder) block(r store.Reader, b *block) error {
	if b.body != nil {
		_ = readBody(b.first, b.body, f.event)
		return nil
	}
	key := keyOf(b.seq)
	return r.Documents(Kind, key+"\x00", true, func(d store.Document) bool {
		if d.Key == key {
			_ = read(d.Value, f.event)
		}
		return false
	})
}

func (f *finder) event(e *event) {
	if e.at < f.oldest {
		return
	}
	switch e.entry {
	case entryPublished:
		f.published(e)
	case entryFinished:
		f.add(f.at(e), e)
	case entryGone:
		if e.place.Pos > 0 {
			f.add(f.at(e), e)
			return
		}
		for _, life := range f.lives {
			if life.Pos == 0 && life.Place.Topic == e.place.Topic && life.ID == e.id {
				f.add(life, e)
			}
		}
	case entryPassed:
		for _, life := range f.lives {
			if life.Lane == e.place.Lane && life.Pos >= e.place.Pos && life.Pos <= e.to && !life.over() && !life.finished(e.consumer) {
				f.add(life, e)
			}
		}
	case entryEnded:
		for _, life := range f.lives {
			if life.Place.Topic == e.place.Topic && !life.over() {
				f.add(life, e)
			}
		}
	}
}

// means tells whether the query is for a message that was published.
func (f *finder) means(e *event) bool {
	switch {
	case f.q.ID == "":
		return e.correlation != "" && e.correlation == f.q.Correlation
	case e.id != "":
		return e.id == f.q.ID
	}
	return f.q.Place.Pos > 0 && e.place == f.q.Place && uint32(time.UnixMicro(e.created).Unix()) == f.q.Created // #nosec G115 -- its last bits
}

func (f *finder) published(e *event) {
	if !f.means(e) {
		return
	}
	created := time.UnixMicro(e.created).UTC()
	if e.place.Pos > 0 && e.id != "" { // its delay may be over
		for _, life := range f.lives {
			if life.Pos == 0 && life.ID == e.id && life.Lane == e.place.Lane && life.Created.Equal(created) {
				life.Pos = e.place.Pos
				f.byPlace[life.Place] = life
				return
			}
		}
	}
	f.begin(&Life{Place: e.place, Topic: e.topic, Published: true, ID: e.id, CorrelationID: e.correlation,
		Producer: e.producer, Size: e.size, Delay: e.delay, Created: created})
}

func (f *finder) begin(life *Life) {
	if len(f.lives) == MaxLives {
		delete(f.byPlace, f.lives[0].Place)
		f.lives = slices.Delete(f.lives, 0, 1)
	}
	f.lives = append(f.lives, life)
	if life.Pos > 0 {
		f.byPlace[life.Place] = life
	}
}

// at returns the life of a message at a place, nil where that is not one of them.
func (f *finder) at(e *event) *Life {
	if life := f.byPlace[e.place]; life != nil {
		return life
	}
	if f.q.ID == "" || f.q.Place.Pos == 0 || e.place != f.q.Place {
		return nil
	}
	life := &Life{Place: e.place, Topic: e.topic} // it was published too long ago
	f.begin(life)
	return life
}

func (f *finder) add(life *Life, e *event) {
	if life == nil || len(life.Events) >= maxEvents {
		return
	}
	x := Event{At: time.UnixMicro(e.at).UTC(), Outcome: e.outcome, Consumer: e.consumer, Label: e.label, Deliveries: e.deliveries}
	if e.delivered != 0 {
		x.Delivered = time.UnixMicro(e.delivered).UTC()
	}
	life.Events = append(life.Events, x)
}

// finished tells whether a consumer was done with the message.
func (l *Life) finished(consumer uint32) bool {
	return slices.ContainsFunc(l.Events, func(e Event) bool { return e.Consumer == consumer })
}

// over tells whether the message had ended as a whole.
func (l *Life) over() bool {
	return slices.ContainsFunc(l.Events, func(e Event) bool { return e.Consumer == 0 })
}
