package db

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pipit/broker/store"
)

// changes makes random batches, of all that a batch can have.
type changes struct {
	rnd     *rand.Rand
	now     time.Time
	large   int // bytes of the largest payloads
	tails   map[store.Lane]uint64
	removed map[store.Lane]uint64
	lanes   []store.Lane
	lastID  uint32
	keys    map[uint32]string // of consumers
	version int
}

func newChanges(rnd *rand.Rand, large int) *changes {
	return &changes{rnd: rnd, now: t0, large: large, tails: map[store.Lane]uint64{}, removed: map[store.Lane]uint64{}, lanes: []store.Lane{laneA, laneB, laneC}, lastID: 2, keys: map[uint32]string{}}
}

// clone returns what makes the same, of other chances.
func (g *changes) clone() *changes {
	c := *g
	c.tails, c.removed, c.keys, c.lanes = maps.Clone(g.tails), maps.Clone(g.removed), maps.Clone(g.keys), slices.Clone(g.lanes)
	return &c
}

// first returns a batch that comes before all others.
func (g *changes) first() *store.Batch {
	return &store.Batch{Now: g.now, Define: []store.Object{objectOf(store.Topic, "/one", 1), objectOf(store.Topic, "/two", 2)}}
}

// next returns a batch, which goes with what a store has.
func (g *changes) next(t testing.TB, s *Store) *store.Batch {
	f := &fixture{Store: s, t: t}
	g.now = g.now.Add(time.Duration(g.rnd.IntN(2500)) * time.Millisecond)
	b := &store.Batch{Now: g.now}
	parts := []func(*store.Batch, *fixture){g.appends, g.appends, g.removals, g.removals, g.removals, g.delays, g.dues, g.expiries, g.objects, g.states, g.documents, g.topics}
	for range 1 + g.rnd.IntN(3) {
		i := g.rnd.IntN(len(parts))
		parts[i](b, f)
		parts[i] = func(*store.Batch, *fixture) {} // each once: they go with what the store has
	}
	for _, r := range b.Remove {
		if !slices.ContainsFunc(b.Lanes, func(l store.LaneState) bool { return l.Lane == r.Lane }) {
			b.Lanes = append(b.Lanes, store.LaneState{Lane: r.Lane, Tail: g.tails[r.Lane], Removed: g.removed[r.Lane]})
		}
	}
	return b
}

// done takes in what the removals of a batch came to.
func (g *changes) done(b *store.Batch) {
	for _, r := range b.Remove {
		g.removed[r.Lane] += uint64(r.Removed)
	}
}

func (g *changes) lane() store.Lane { return g.lanes[g.rnd.IntN(len(g.lanes))] }

func (g *changes) record(l store.Lane) *store.Record {
	r := &store.Record{Place: store.Place{Lane: l}, Created: g.now.Truncate(time.Microsecond), Expiration: uint32(g.rnd.IntN(4) * 5), Producer: "CRM", MIMEType: "text/plain"}
	size := g.rnd.IntN(300)
	switch g.rnd.IntN(40) {
	case 0:
		size = g.large/2 + g.rnd.IntN(g.large/2)
	case 1, 2:
		size = apartSize - 100 + g.rnd.IntN(2000)
	case 3, 4, 5:
		size = g.rnd.IntN(8000)
	}
	r.Payload = bytes.Repeat([]byte{byte(g.rnd.Uint32())}, size)
	if g.rnd.IntN(3) == 0 {
		r.ID = fmt.Sprint("id", g.rnd.IntN(30))
		if g.rnd.IntN(2) == 0 {
			r.KeepID = g.now.Add(time.Duration(g.rnd.IntN(20)) * time.Second)
		}
	}
	return r
}

func (g *changes) appends(b *store.Batch, _ *fixture) {
	for range 1 + g.rnd.IntN(8) {
		g.append(b, g.record(g.lane()))
	}
}

func (g *changes) append(b *store.Batch, r *store.Record) {
	g.tails[r.Lane]++
	r.Pos = g.tails[r.Lane]
	b.Append = append(b.Append, r)
}

func (g *changes) removals(b *store.Batch, f *fixture) {
	for _, l := range g.lanes {
		head := f.positions(l, 1, false)
		if len(head) == 0 || g.rnd.IntN(3) == 0 {
			continue
		}
		from := head[g.rnd.IntN(len(head))]
		if g.rnd.IntN(3) > 0 {
			from = head[0]
		}
		b.Remove = append(b.Remove, store.Removal{Lane: l, Range: store.Span{From: from, To: min(from+g.rnd.Uint64N(20), g.tails[l])}, Limit: g.rnd.IntN(10)})
	}
}

func (g *changes) delays(b *store.Batch, _ *fixture) {
	for range 1 + g.rnd.IntN(4) {
		r := g.record(g.lanes[g.rnd.IntN(3)])
		r.Delay = uint32(1 + g.rnd.IntN(15))
		b.Delay = append(b.Delay, r)
	}
}

func (g *changes) dues(b *store.Batch, f *fixture) {
	list, _ := f.due(g.now, 5)
	for _, d := range list {
		b.Undelay = append(b.Undelay, d.Key)
		if g.rnd.IntN(4) > 0 {
			r := *d.Record
			g.append(b, &r)
		}
	}
}

func (g *changes) expiries(b *store.Batch, f *fixture) {
	for _, e := range f.expired(g.now) {
		x := store.Expired{Expiry: e, Through: e.Range.From + g.rnd.Uint64N(e.Range.To-e.Range.From+1)}
		if g.rnd.IntN(4) == 0 {
			x.Again = g.now.Add(5 * time.Second).Truncate(time.Second)
		}
		b.Expiries = append(b.Expiries, x)
		b.Remove = append(b.Remove, store.Removal{Lane: e.Lane, Range: store.Span{From: e.Range.From, To: x.Through}})
	}
	b.DropIDs = f.stale(g.now)
}

// objects makes consumers, gives them other keys, and deletes them.
func (g *changes) objects(b *store.Batch, _ *fixture) {
	g.version++
	switch id := g.consumer(); {
	case id == 0 || len(g.keys) < 3:
		g.lastID++
		id = g.lastID
		fallthrough
	case g.rnd.IntN(2) == 0:
		g.keys[id] = secretOf(int(id), g.version)
		b.Define = append(b.Define, objectOf(store.Consumer, g.keys[id], id))
	default:
		b.Delete = append(b.Delete, objectOf(store.Consumer, g.keys[id], id))
		delete(g.keys, id)
	}
}

// consumer returns one that there is, 0 where there is none.
func (g *changes) consumer() uint32 {
	var ids []uint32
	for id := range g.keys {
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		return 0
	}
	slices.Sort(ids)
	return ids[g.rnd.IntN(len(ids))]
}

func (g *changes) states(b *store.Batch, _ *fixture) {
	id := g.consumer()
	if id == 0 {
		return
	}
	for p := range uint8(3) {
		floor := g.rnd.Uint64N(100)
		b.Cursors = append(b.Cursors, store.CursorState{Consumer: id, Priority: p + 1, Cursor: store.Cursor{Floor: floor, Spans: []store.Span{{From: floor + 2, To: floor + 3}}}, Finished: floor + 1})
		b.Attempts = append(b.Attempts, store.Attempt{Consumer: id, Priority: p + 1, Pos: 1 + g.rnd.Uint64N(3), Count: uint32(g.rnd.IntN(3))})
	}
	b.Seen = append(b.Seen, store.Seen{Kind: store.SeenConsumer, ID: id, At: g.now})
}

func (g *changes) documents(b *store.Batch, _ *fixture) {
	for range 1 + g.rnd.IntN(3) {
		d := store.Document{Kind: "kind", Key: fmt.Sprint(g.rnd.IntN(6)), Value: bytes.Repeat([]byte{'x'}, g.rnd.IntN(2000)), Secret: g.rnd.IntN(4) == 0}
		if g.rnd.IntN(3) == 0 {
			d.Value = nil
		}
		b.Put = append(b.Put, d)
	}
	if g.rnd.IntN(4) == 0 {
		b.Declared = fmt.Sprint("declared ", g.rnd.Uint32())
	}
}

// topics makes a topic, or deletes it with all that it has.
func (g *changes) topics(b *store.Batch, _ *fixture) {
	if len(g.lanes) == 3 {
		g.lastID++
		b.Define = append(b.Define, objectOf(store.Topic, fmt.Sprint("/topic", g.lastID), g.lastID))
		g.lanes = append(g.lanes, store.Lane{Topic: g.lastID, Priority: 5})
		return
	}
	l := g.lanes[3]
	if len(b.Append)+len(b.Remove) > 0 {
		return
	}
	b.Remove = append(b.Remove, store.Removal{Lane: l, Range: store.Span{From: 1, To: max(g.tails[l], 1)}})
	b.Purge = append(b.Purge, l)
	b.Delete = append(b.Delete, objectOf(store.Topic, fmt.Sprint("/topic", l.Topic), l.Topic))
	g.lanes = g.lanes[:3:3]
}

// copyOf returns a batch of the same changes, whose removals are its own.
func copyOf(b *store.Batch) *store.Batch {
	c := *b
	c.Remove = slices.Clone(b.Remove)
	c.Append = slices.Clone(b.Append)
	return &c
}

var contentSeed = maphash.MakeSeed()

// content writes down all that a store has, but for what says how it keeps it.
func content(s *Store) (string, error) {
	var out strings.Builder
	var at view
	in, err := s.enter(&at)
	if err != nil {
		return "", err
	}
	defer in.leave()
	for no, name := range bucketNames {
		err := at.bucket(no).ForEach(func(k, v []byte) error {
			if no == bucketMeta && slices.ContainsFunc(append(ownKeys[:], keyKey), func(key []byte) bool { return bytes.Equal(k, key) }) {
				return nil
			}
			if no == bucketPayload {
				v = at.bucket(no).Get(k)
			}
			if len(v) > 64 {
				fmt.Fprintf(&out, "%s %x %d bytes, %x\n", name, k, len(v), maphash.Bytes(contentSeed, v))
			} else {
				fmt.Fprintf(&out, "%s %x %x\n", name, k, v)
			}
			return nil
		})
		if err != nil {
			return "", err
		}
	}
	return out.String(), nil
}

func mustContent(t testing.TB, s *Store) string {
	t.Helper()
	c, err := content(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// difference tells how two contents differ.
func difference(got, want string) string {
	var out strings.Builder
	lines := func(s string) []string { return strings.Split(strings.TrimSuffix(s, "\n"), "\n") }
	for _, l := range lines(got) {
		if !slices.Contains(lines(want), l) {
			fmt.Fprintf(&out, "+ %s\n", l)
		}
	}
	for _, l := range lines(want) {
		if !slices.Contains(lines(got), l) {
			fmt.Fprintf(&out, "- %s\n", l)
		}
	}
	return out.String()
}
