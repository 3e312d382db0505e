package main

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

var clusterFaults = flag.Int("cluster-faults", 0, "how many faults TestClusterNetwork has, with the usual heartbeat; 0: four, with a shorter one")

// TestClusterNetwork cuts nodes off, in one direction or both, has their network slow and their connections ended, and a leader stopped, while messages go through
// all of them: the majority goes on, who is cut off says nothing with 200, and what was answered is what a queue could have answered.
func TestClusterNetwork(t *testing.T) {
	rounds, env := *clusterFaults, []string(nil)
	if rounds == 0 {
		rounds, env = 4, []string{quickly}
	}
	w := newNetwork(t)
	c := layTrio(t, trafficConfig, w.reached, append(env, "PIPIT_CLUSTER_FORWARD_WAIT=500ms")...)
	c.started, c.lag = w.started, 100
	c.begin()
	leader := c.whole("a")
	l := newTraffic(c, 1, 30*time.Millisecond, 3*time.Second)
	for i := range rounds {
		name := leader
		if i >= 4 && rand.IntN(2) == 0 {
			name = other(leader)
		}
		began := time.Now()
		what := []string{"cut off", "ended", "is not heard", "stopped", "does not hear", "slow", "cut off"}[i%7]
		switch what {
		case "cut off", "does not hear", "is not heard":
			w.cut(name, what != "does not hear", what != "is not heard")
			l.shutOff(name, true)
		case "slow":
			w.slow(30 * time.Millisecond)
		case "ended":
			w.drop()
		case "stopped":
			c.signal(name, syscall.SIGSTOP)
		}
		next := l.next(began)
		pause := time.Second
		if len(env) > 0 {
			pause /= 2
		}
		time.Sleep(pause) // lint:sleep how long the fault lasts
		if what == "stopped" {
			c.signal(name, syscall.SIGCONT)
		}
		l.shutOff(name, false)
		w.heal()
		t.Logf("%s, which leads: %v, %s: a publish was answered after %v", name, name == leader, what, next.Sub(began).Round(time.Millisecond))
		leader = c.whole(name)
	}
	if lost := l.drain(); len(lost) > 0 {
		t.Errorf("lost: %v", lost)
	}
	l.judge(t)
	l.linearizable(t)
	if out, err := c.command("cluster", "status", "--verify", "--config", "b.toml"); err != nil {
		t.Errorf("the copies are not the same: %v\n%s", err, out)
	}
}

func (c *trio) signal(name string, s syscall.Signal) {
	c.t.Helper()
	if err := c.nodes[name].cmd.Process.Signal(s); err != nil {
		c.t.Fatal(err)
	}
}

// shutOff says whether a node is cut off: nothing that is sent to it meanwhile is to be answered 200 before that ends. What was sent the time before may be.
func (l *traffic) shutOff(name string, off bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if delete(l.shut, name); off {
		l.shuts++
		l.shut[name] = l.shuts
	}
}

// entry is a message in a queue of the model.
type entry struct {
	published call
	delivered call // last; sent is zero: never
}

// queueState is what a queue has, by number. It is not changed.
type queueState map[int]entry

// operation is a call as the model takes it.
type operation struct {
	call
	lost int // receives at about the same time whose replies never came: each may have taken a message
}

func (o operation) String() string {
	return fmt.Sprintf("%s %v, not found %v, %s to %s, outcome %d, %d receives lost", o.what, o.numbers, o.missing, o.sent.Format(clock), o.answered.Format(clock), o.outcome, o.lost)
}

// queueModel is one queue, which is told of calls that were answered, and of publishes and acknowledgements that may have been. A message that
// was delivered may come again when its lease may be over: it lasts, but to a change of the leader.
func queueModel(changes []time.Time) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return queueState{} },
		Step: func(state, input, _ any) (bool, any) {
			s, o := maps.Clone(state.(queueState)), input.(operation)
			ok := s.step(&o, changes)
			return ok, s
		},
		Equal: func(a, b any) bool {
			return maps.EqualFunc(a.(queueState), b.(queueState), func(x, y entry) bool { return x.delivered.sent.Equal(y.delivered.sent) })
		},
	}
}

func (s queueState) step(o *operation, changes []time.Time) bool {
	switch o.what {
	case "publish":
		s[o.numbers[0]] = entry{published: o.call}
	case "acknowledge":
		for _, n := range o.missing { // it is finished with
			if _, there := s[n]; there {
				return false
			}
		}
		for _, n := range o.numbers {
			if _, there := s[n]; !there && o.outcome == did {
				return false
			}
			delete(s, n)
		}
	case "receive":
		for _, n := range o.numbers {
			if !s.deliver(n, o, changes) {
				return false
			}
		}
		return len(o.numbers) > 0 || s.before(nil) <= o.lost
	}
	return true
}

func (s queueState) deliver(n int, o *operation, changes []time.Time) bool {
	e, there := s[n]
	if !there {
		return false
	}
	if first := e.delivered.sent.IsZero(); first && s.before(&e) > o.lost {
		return false
	} else if !first && inHands([]call{e.delivered, o.call}, call{}, changes) != nil {
		return false
	}
	e.delivered = o.call
	s[n] = e
	return true
}

// before returns how many messages wait for certain that were published before another one, nil: in all.
func (s queueState) before(other *entry) (n int) {
	for _, e := range s {
		if e.delivered.sent.IsZero() && (other == nil || e.published.answered.Before(other.published.sent)) {
			n++
		}
	}
	return n
}

// linearizable looks at whether each queue could have answered as it did, had it done one thing at a time.
func (l *traffic) linearizable(t *testing.T) {
	t.Helper()
	model := queueModel(l.c.changes())
	for _, queue := range trafficQueues {
		history := l.history(queue)
		began := time.Now()
		result, info := porcupine.CheckOperationsVerbose(model, history, time.Minute)
		t.Logf("queue %s: %d calls were looked at in %v: %s", queue, len(history), time.Since(began).Round(time.Millisecond), result)
		if result == porcupine.Ok {
			continue
		}
		t.Errorf("queue %s: %s", queue, result)
		for _, longest := range info.PartialLinearizationsOperations() {
			if len(longest) == 0 {
				continue
			}
			last := slices.MaxFunc(longest, func(a, b []porcupine.Operation) int { return len(a) - len(b) })
			for _, o := range last[max(0, len(last)-5):] {
				t.Log(o.Input)
			}
		}
	}
}

// history returns the calls of a queue. What is known of an outcome from later ones bounds when a call can have taken effect, and leaves less to be tried.
func (l *traffic) history(queue string) (list []porcupine.Operation) {
	last, first, gone := map[int]time.Time{}, map[int]time.Time{}, map[int]bool{} // when a message was received last, asked for; first; that it was acknowledged
	missed := map[int]time.Time{}                                                 // when the last answer came that there is none
	var lost []call
	for _, c := range l.calls {
		if c.queue == queue && c.what == "acknowledge" && c.outcome == did {
			for _, n := range c.missing {
				if missed[n].Before(c.answered) {
					missed[n] = c.answered
				}
			}
		}
		for _, n := range c.numbers {
			switch {
			case c.queue != queue:
			case c.what == "receive":
				if last[n].Before(c.sent) {
					last[n] = c.sent
				}
				if first[n].IsZero() || c.answered.Before(first[n]) {
					first[n] = c.answered
				}
			case c.what == "acknowledge" && c.outcome == did:
				gone[n] = true
			}
		}
		if c.queue == queue && c.what == "receive" && c.outcome != did {
			lost = append(lost, c)
		}
	}
	add := func(c call, from, to time.Time) {
		o := operation{call: c}
		if c.what == "receive" {
			for _, r := range lost {
				if r.sent.Before(c.answered) && c.sent.Before(r.answered.Add(2*trafficLease)) {
					o.lost++
				}
			}
		}
		list = append(list, porcupine.Operation{ClientId: len(list), Input: o, Call: from.UnixNano(), Return: to.UnixNano()})
	}
	for _, c := range l.calls {
		switch {
		case c.queue != "" && c.queue != queue:
		case c.outcome == did && c.what == "publish" && !first[c.numbers[0]].IsZero() && first[c.numbers[0]].Before(c.answered):
			add(c, c.sent, first[c.numbers[0]])
		case c.outcome == did:
			add(c, c.sent, c.answered)
		case c.what == "publish":
			if came := first[c.numbers[0]]; !came.IsZero() {
				c.answered = came
				add(c, c.sent, came)
			}
		case c.what == "acknowledge" && c.outcome == unknown:
			for _, n := range c.numbers {
				// What was delivered, and of which nobody hears again, is there or not: no other call tells.
				if from := last[n]; !gone[n] && !missed[n].IsZero() {
					if c.sent.After(from) {
						from = c.sent
					}
					one := c
					one.numbers, one.missing = []int{n}, nil
					if from.Before(missed[n]) {
						add(one, from, missed[n])
					}
				}
			}
		}
	}
	return list
}

// TestQueueModel has the model tell histories that a queue cannot have from those that it can.
func TestQueueModel(t *testing.T) {
	begin := time.Now()
	at := func(from, to int) call {
		return call{sent: begin.Add(time.Duration(from) * time.Millisecond), answered: begin.Add(time.Duration(to) * time.Millisecond)}
	}
	published := func(c call, o outcome, n int) call {
		c.what, c.outcome, c.numbers = "publish", o, []int{n}
		return c
	}
	received := func(c call, o outcome, n ...int) call {
		c.what, c.queue, c.outcome, c.numbers = "receive", "one", o, n
		return c
	}
	acked := func(c call, o outcome, n int) call {
		c.what, c.queue, c.outcome, c.numbers = "acknowledge", "one", o, []int{n}
		return c
	}
	gone := func(c call, n int) call {
		c = acked(c, did, 0)
		c.numbers, c.missing = nil, []int{n}
		return c
	}
	p1, p2, r1 := published(at(0, 10), did, 1), published(at(20, 30), did, 2), received(at(40, 50), did, 1)
	for _, test := range []struct {
		what    string
		can     bool
		changed int // when another node led; 0: none
		calls   []call
	}{
		{"in order", true, 0, []call{p1, p2, r1, received(at(60, 70), did, 2)}},
		{"out of order", false, 0, []call{p1, p2, received(at(40, 50), did, 2)}},
		{"out of order, published at once", true, 0, []call{p1, published(at(5, 15), did, 2), received(at(40, 50), did, 2)}},
		{"out of order, and a reply was lost", true, 0, []call{p1, p2, received(at(31, 39), unknown), received(at(40, 50), did, 2)}},
		{"nothing, though one waits", false, 0, []call{p1, received(at(40, 50), did)}},
		{"nothing, and it is published meanwhile", true, 0, []call{p1, received(at(5, 50), did)}},
		{"never published", false, 0, []call{p1, received(at(40, 50), did, 2)}},
		{"perhaps published", true, 0, []call{published(at(0, 10), unknown, 1), r1}},
		{"perhaps published, and not", true, 0, []call{published(at(0, 10), unknown, 1), received(at(40, 50), did)}},
		{"in two hands", false, 0, []call{p1, r1, received(at(60, 70), did, 1)}},
		{"in two hands, of two leaders", true, 300, []call{p1, r1, received(at(600, 700), did, 1)}},
		{"again after its lease", true, 0, []call{p1, r1, received(at(1030, 1060), did, 1)}},
		{"acknowledged", true, 0, []call{p1, r1, acked(at(60, 70), did, 1), received(at(80, 90), did)}},
		{"again after its acknowledgement", false, 300, []call{p1, r1, acked(at(60, 70), did, 1), received(at(600, 700), did, 1)}},
		{"perhaps acknowledged, and again", true, 300, []call{p1, r1, acked(at(60, 70), unknown, 1), received(at(600, 700), did, 1)}},
		{"perhaps acknowledged, and finished with", true, 0, []call{p1, r1, acked(at(60, 70), unknown, 1), gone(at(80, 90), 1)}},
		{"finished with by nobody", false, 0, []call{p1, r1, gone(at(80, 90), 1)}},
		{"acknowledged twice", false, 0, []call{p1, r1, acked(at(60, 70), did, 1), acked(at(80, 90), did, 1)}},
	} {
		var changes []time.Time
		if test.changed > 0 {
			changes = append(changes, begin.Add(time.Duration(test.changed)*time.Millisecond))
		}
		l := &traffic{calls: test.calls}
		if can := porcupine.CheckOperations(queueModel(changes), l.history("one")); can != test.can {
			t.Errorf("%s: %v", test.what, can)
		}
	}
}
