package metrics

import (
	"cmp"
	"slices"
	"time"

	dto "github.com/prometheus/client_model/go"
)

// ledger adds up what objects count, by group, so that the sum of a group never falls though its objects come and go. A limited
// number of groups is shown, those whose objects are looked at first; what others count goes to the rest.
type ledger struct {
	objects map[uint32]*entry
	groups  map[labels]*group
	rest    *group
	turn    uint64
	left    int // groups that can be shown yet at this look
}

// labels name a group.
type labels struct{ topic, client string }

// counts are what an object counts. They never fall.
type counts [7]uint64

// entry is an object.
type entry struct {
	own *group
	counts
	turn uint64
}

// group is one that has objects.
type group struct {
	of labels
	counts
	turn  uint64                      // of the last look that one of its objects had
	shown uint64                      // of the last look at which it was shown
	pairs map[string][]*dto.LabelPair // as series have them, by what they have beside the labels

	// Of this look.
	held   [4]int64
	oldest time.Time
}

func newLedger(rest labels) ledger {
	return ledger{objects: map[uint32]*entry{}, groups: map[labels]*group{}, rest: newGroup(rest)}
}

func newGroup(of labels) *group { return &group{of: of, pairs: map[string][]*dto.LabelPair{}} }

// begin begins a look at all objects, which shows so many groups.
func (l *ledger) begin(limit int) {
	l.turn++
	l.left = limit
	l.rest.held, l.rest.oldest = [4]int64{}, time.Time{}
}

// add looks at an object. What it has counted since the last time goes to the group that is returned: its own, or the rest.
func (l *ledger) add(id uint32, of labels, now counts) *group {
	e := l.objects[id]
	if e == nil {
		own := l.groups[of]
		if own == nil {
			own = newGroup(of)
			l.groups[of] = own
		}
		e = &entry{own: own}
		l.objects[id] = e
	}
	g := e.own
	if g.turn != l.turn {
		g.turn, g.held, g.oldest = l.turn, [4]int64{}, time.Time{}
		if l.left > 0 {
			l.left--
			g.shown = l.turn
		}
	}
	if g.shown != l.turn {
		g = l.rest
		g.turn = l.turn
	}
	for i, n := range now {
		if n < e.counts[i] { // who counts has begun anew
			e.counts[i] = 0
		}
		g.counts[i] += n - e.counts[i]
	}
	e.counts, e.turn = now, l.turn
	return g
}

// end forgets the objects that were not looked at, and the groups that have none. It returns those that are shown, and the
// rest where it ever had any, in the order that their series are to have, which saves sorting all of these.
func (l *ledger) end() []*group {
	for id, e := range l.objects {
		if e.turn != l.turn {
			delete(l.objects, id)
		}
	}
	var shown []*group
	for of, g := range l.groups {
		switch {
		case g.turn != l.turn:
			delete(l.groups, of)
		case g.shown == l.turn:
			shown = append(shown, g)
		}
	}
	if l.rest.turn > 0 {
		shown = append(shown, l.rest)
	}
	slices.SortFunc(shown, func(x, y *group) int {
		return cmp.Or(cmp.Compare(x.of.client, y.of.client), cmp.Compare(x.of.topic, y.of.topic))
	})
	return shown
}

// with are the labels of the group's series, in their order, and one more where it has a name, which comes between client and topic.
func (g *group) with(name, value string) []*dto.LabelPair {
	if p := g.pairs[value]; p != nil {
		return p
	}
	var list []string
	if g.of.client != "" {
		list = append(list, "client", g.of.client)
	}
	if name != "" {
		list = append(list, name, value)
	}
	if g.of.topic != "" {
		list = append(list, "topic", g.of.topic)
	}
	g.pairs[value] = pairs(list...)
	return g.pairs[value]
}
