package storetest

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"time"

	"pipit/broker/store"
)

// model makes random changes, with restarts, to a store and to a map.
func model(f *fixture) {
	seed := uint64(time.Now().UnixNano()) // #nosec G115 -- any number
	f.t.Logf("seed %d", seed)
	m := &modelRun{fixture: f, rnd: rand.New(rand.NewPCG(seed, 0)), now: t0, lanes: []store.Lane{laneA, laneB, laneC}, messages: map[store.Place]store.Record{}} // #nosec G404 -- to be repeated
	for step := range 200 {
		m.now = m.now.Add(time.Duration(m.rnd.IntN(1400)) * time.Millisecond)
		m.step()
		if step%50 == 49 {
			f.reopen()
		}
		if step%20 == 19 {
			m.compare()
		}
		if f.t.Failed() {
			f.t.Fatalf("step %d", step)
		}
	}
}

type modelRun struct {
	*fixture
	rnd      *rand.Rand
	now      time.Time
	lanes    []store.Lane
	messages map[store.Place]store.Record
}

func (m *modelRun) step() {
	b := &store.Batch{Now: m.now}
	for range m.rnd.IntN(20) {
		r := m.message(m.lanes[m.rnd.IntN(3)], expiresIn(uint32(m.rnd.IntN(4)*5))) // #nosec G115 -- small
		r.Created = m.now.Truncate(time.Microsecond)
		r.Payload = make([]byte, m.rnd.IntN(3000))
		if m.rnd.IntN(10) == 0 {
			r.Payload = make([]byte, 30_000+m.rnd.IntN(5000))
		}
		if m.rnd.IntN(3) == 0 {
			r.ID = fmt.Sprint("id", m.rnd.IntN(50))
			if m.rnd.IntN(2) == 0 {
				r.KeepID = m.now.Add(time.Duration(m.rnd.IntN(20)) * time.Second)
			}
		}
		b.Append = append(b.Append, r)
		m.messages[r.Place] = copyOf(r)
	}
	for range m.rnd.IntN(4) {
		l := m.lanes[m.rnd.IntN(3)]
		from := 1 + m.rnd.Uint64N(m.tails[l]+1)
		m.remove(b, l, from, min(from+m.rnd.Uint64N(10), m.tails[l]))
	}
	for _, e := range m.expired(m.now) {
		through := e.Range.From + m.rnd.Uint64N(e.Range.To-e.Range.From+1)
		b.Expiries = append(b.Expiries, store.Expired{Expiry: e, Through: through})
		m.remove(b, e.Lane, e.Range.From, through)
	}
	b.DropIDs = m.stale(m.now)
	m.commit(b)
}

func (m *modelRun) remove(b *store.Batch, l store.Lane, from, to uint64) {
	if to < from {
		return
	}
	b.Remove = append(b.Remove, removal(l, from, to))
	for pos := from; pos <= to; pos++ {
		delete(m.messages, store.Place{Lane: l, Pos: pos})
	}
}

// compare compares all messages, and what is known of their IDs and their ends.
func (m *modelRun) compare() {
	expire := m.covered(m.now.Add(time.Hour))
	n := 0
	for _, l := range m.lanes {
		for _, r := range m.scan(l, 1, false) {
			n++
			if want := m.messages[r.Place]; !reflect.DeepEqual(r, want) {
				m.t.Errorf("got %+v, want %+v", r, want)
			}
			if r.Expiration > 0 && !expire[fmt.Sprintf("%d/%d/%d", r.Topic, r.Priority, r.Pos)] {
				m.t.Errorf("%v does not expire", r.Place)
			}
			if r.ID != "" && !m.finds(&r) {
				m.t.Errorf("%v is not found by its ID %s", r.Place, r.ID)
			}
		}
	}
	if n != len(m.messages) {
		m.t.Errorf("%d messages, want %d", n, len(m.messages))
	}
}

func (m *modelRun) finds(r *store.Record) bool {
	var list []string
	for _, s := range read(m.fixture, func(v store.Reader) ([]store.Sighting, error) { return v.FindID(r.Topic, r.ID) }) {
		list = append(list, fmt.Sprint(s.Priority, s.Pos))
	}
	return strings.Contains(" "+strings.Join(list, ", ")+",", " "+fmt.Sprint(r.Priority, r.Pos)+",")
}
