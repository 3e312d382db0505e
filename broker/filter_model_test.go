package broker_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
	"pipit/broker/property"
	"pipit/broker/store"
)

// filterModel does random operations with a consumer that has a filter, beside one that has none, and knows what waits for
// both. The cursors have so little room for what the filter does not let through that most of it is left out.
type filterModel struct {
	t       *testing.T
	rnd     *rand.Rand
	r       *rig
	faults  *faultyStore
	filter  string
	n       int
	stored  []*filterMessage // by the order of publishing
	waits   map[string]bool  // for the consumer with the filter, by ID
	held    []broker.Message // in flight with it
	checked int
}

type filterMessage struct {
	id, country string
	over        time.Time // when it expires; zero: never
}

// lets tells whether a filter lets a message through.
func (m *filterModel) lets(f *filterMessage) bool {
	return (m.filter == `country = "LV"`) == (f.country == "LV")
}

func (m *filterModel) consumer() broker.Consumer {
	c := filtered("lv", m.filter)
	c.MaxDepth = 1_000_000
	return c
}

func (m *filterModel) publish(n int) {
	p, err := m.r.Publisher(m.r.crm, "/t")
	if err != nil {
		m.t.Fatal(err)
	}
	pubs, messages := make([]broker.Publication, n), make([]*filterMessage, n)
	for i := range pubs {
		m.n++
		f := &filterMessage{country: []string{"LV", "LT", "EE"}[m.rnd.IntN(3)]}
		pubs[i] = broker.Publication{Payload: fmt.Append(nil, m.n), Priority: 5 + m.rnd.IntN(2),
			Attributes: []broker.Attribute{{Name: "country", Value: f.country}}}
		if m.rnd.IntN(3) == 0 {
			pubs[i].Expiration = int64(10 + m.rnd.IntN(60))
			f.over = time.Now().Add(time.Duration(pubs[i].Expiration) * time.Second)
		}
		messages[i] = f
	}
	got, err := p.PublishBatch(pubs)
	if broker.CodeOf(err) == broker.DiskFull {
		return
	}
	if err != nil {
		m.t.Fatal(err)
	}
	for i, f := range messages {
		f.id = got[i].ID
		m.stored = append(m.stored, f)
		if m.lets(f) {
			m.waits[f.id] = true
		}
	}
}

func (m *filterModel) settle() {
	m.rnd.Shuffle(len(m.held), func(i, j int) { m.held[i], m.held[j] = m.held[j], m.held[i] })
	n := m.rnd.IntN(len(m.held) + 1)
	s := broker.Settlement{}
	for i, x := range m.held[:n] {
		if i%4 == 3 {
			s.Reject = append(s.Reject, x.ID)
		} else {
			s.Ack = append(s.Ack, x.ID)
		}
	}
	m.held = m.held[n:]
	if n == 0 {
		return
	}
	if _, err := m.r.sub("/t", "lv").Settle(s); err != nil {
		m.t.Fatal(err)
	}
	for _, id := range s.Ack {
		delete(m.waits, id)
	}
}

func (m *filterModel) do() string {
	switch what := m.rnd.IntN(40); {
	case what < 12:
		m.publish(1 + m.rnd.IntN(60))
		return "publish"
	case what < 16:
		for _, x := range m.r.receive("/t", "lv", broker.ReceiveOptions{Max: 1 + m.rnd.IntN(30), Order: broker.Order(m.rnd.IntN(2))}) {
			m.held = append(m.held, x)
			if !m.waits[x.ID] {
				m.t.Fatalf("%s is delivered", x.ID)
			}
		}
		return "receive"
	case what < 22:
		m.settle()
		return "settle"
	case what < 25 && len(m.stored) > 0:
		var ids []string
		for range 1 + m.rnd.IntN(5) {
			i := m.rnd.IntN(len(m.stored))
			ids = append(ids, m.stored[i].id)
			delete(m.waits, m.stored[i].id)
			m.held = slices.DeleteFunc(m.held, func(x broker.Message) bool { return x.ID == m.stored[i].id })
			if m.stored = slices.Delete(m.stored, i, i+1); len(m.stored) == 0 {
				break
			}
		}
		if _, err := m.r.DeleteMessages(ctx, "/t", ids); err != nil {
			m.t.Fatal(err)
		}
		return "delete"
	case what < 29:
		m.pass(time.Duration(1+m.rnd.IntN(10)) * time.Second)
		return "pass"
	case what < 31:
		m.restart()
		return "restart"
	case what == 31:
		m.seek()
		return "seek"
	case what == 32:
		m.refilter()
		return "refilter"
	case what == 33:
		if _, err := m.r.ClearBacklog(ctx, m.r.id("lv")); err != nil {
			m.t.Fatal(err)
		}
		clear(m.waits)
		m.held = nil
		return "clear"
	case what < 36:
		m.faults.fail(func(*store.Batch) error { return store.ErrNoSpace })
		m.publish(1 + m.rnd.IntN(30))
		s := broker.Settlement{}
		for _, x := range m.held {
			s.Ack = append(s.Ack, x.ID)
		}
		if len(s.Ack) > 0 {
			if _, err := m.r.sub("/t", "lv").Settle(s); broker.CodeOf(err) != broker.DiskFull {
				m.t.Fatal(err)
			}
		}
		m.faults.fail(nil)
		return "disk full"
	default:
		msgs := m.r.receive("/t", "all", broker.ReceiveOptions{Max: 100, Ack: true})
		return fmt.Sprint("other receives ", len(msgs) > 0)
	}
}

// pass lets time pass, and expire what is over.
func (m *filterModel) pass(d time.Duration) {
	time.Sleep(d)
	now := time.Now()
	m.stored = slices.DeleteFunc(m.stored, func(f *filterMessage) bool {
		gone := !f.over.IsZero() && f.over.Before(now.Add(-2*time.Second))
		if gone {
			delete(m.waits, f.id)
			m.held = slices.DeleteFunc(m.held, func(x broker.Message) bool { return x.ID == f.id })
		}
		return gone
	})
}

func (m *filterModel) restart() {
	m.r.restart()
	m.faults = m.r.faulty()
	m.held = nil
	m.pass(3 * time.Second) // what is left out is looked at again
}

func (m *filterModel) seek() {
	to := broker.Seek{Oldest: m.rnd.IntN(3) > 0}
	if to.Newest = !to.Oldest; to.Newest {
		clear(m.waits)
		m.held = nil
	} else {
		for _, f := range m.stored {
			if m.lets(f) {
				m.waits[f.id] = true
			}
		}
	}
	if _, err := m.r.sub("/t", "lv").Seek(ctx, to); err != nil {
		m.t.Fatal(err)
	}
}

// refilter gives the consumer another filter, which no message fits that waited for the one before.
func (m *filterModel) refilter() {
	if m.filter == `country = "LV"` {
		m.filter = `country != "LV"`
	} else {
		m.filter = `country = "LV"`
	}
	if _, err := m.r.ClearBacklog(ctx, m.r.id("lv")); err != nil { // what was left out may wait again otherwise
		m.t.Fatal(err)
	}
	clear(m.waits)
	m.held = nil
	m.r.define(m.topic(), m.consumer(), consumerDef("/t", "all"))
}

func (m *filterModel) topic() broker.Topic {
	t := topicDef("/t")
	t.Retention, t.Expiration = time.Hour, property.Off
	return t
}

// check compares the backlog, and now and then what is delivered.
func (m *filterModel) check(did string) {
	m.t.Helper()
	info, _ := m.r.Consumer(m.r.id("lv"))
	now := time.Now()
	least, most := int64(0), int64(len(m.waits))
	for _, f := range m.stored {
		if m.waits[f.id] && (f.over.IsZero() || f.over.After(now)) {
			least++
		}
	}
	if least == most {
		m.checked++
	}
	if info.Backlog < least || info.Backlog > most {
		m.t.Fatalf("after %s: %d wait, want %d to %d", did, info.Backlog, least, most)
	}
}

// TestFilterModel: a backlog is exact after each operation, whatever is left out of a cursor.
func TestFilterModel(t *testing.T) {
	for _, room := range [][2]int{{1, 3}, {5, 50}} {
		synctest.Test(t, func(t *testing.T) {
			rnd := newRand(t, 1)
			m := &filterModel{t: t, rnd: rnd, r: newRig(t, broker.Options{}.Sifting(room[0], room[1])), filter: `country = "LV"`, waits: map[string]bool{}}
			m.r.define(m.topic(), m.consumer(), consumerDef("/t", "all"))
			m.faults = m.r.faulty()
			did := map[string]int{}
			for range 100 {
				what := m.do()
				did[what]++
				synctest.Wait()
				m.check(what)
			}
			if len(did) < 10 || m.checked < 30 {
				t.Errorf("only %v, %d checks were exact", did, m.checked)
			}
			m.pass(40 * time.Second) // all leases end
			rest := maps.Clone(m.waits)
			for {
				msgs := m.r.receive("/t", "lv", broker.ReceiveOptions{Ack: true})
				for _, x := range msgs {
					if !rest[x.ID] {
						t.Errorf("%s is delivered", x.ID)
					}
					delete(rest, x.ID)
				}
				if len(msgs) == 0 {
					break
				}
			}
			for _, f := range m.stored {
				if f.over.IsZero() && rest[f.id] {
					t.Errorf("%s is not delivered", f.id)
				}
			}
		})
	}
}
