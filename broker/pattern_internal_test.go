package broker

import (
	"testing"

	"pipit/broker/store"
)

func TestPatternMatches(t *testing.T) {
	for pattern, want := range map[string]struct{ yes, no []string }{
		"/a/*":      {[]string{"/a/b", "/a/"}, []string{"/a", "/a/b/c", "/b/a", "a/b"}},
		"/a/*/c":    {[]string{"/a/b/c"}, []string{"/a/c", "/a/b/b/c", "/a/b/d"}},
		"/a/**":     {[]string{"/a", "/a/b", "/a/b/c"}, []string{"/b", "a/b", "/ab"}},
		"**":        {[]string{"", "a", "/a", "/a/b"}, nil},
		"/**/c":     {[]string{"/c", "/a/c", "/a/c/c"}, []string{"c", "/a/c/d"}},
		"/**/b/*/d": {[]string{"/b/c/d", "/a/b/b/c/d"}, []string{"/b/d", "/b/b/c/d/e"}},
		"*":         {[]string{"a"}, []string{"/a", "a/b"}},
		"/a/**/**":  {[]string{"/a", "/a/b/c"}, []string{"/b"}},
	} {
		for _, name := range want.yes {
			if !matches(segments(pattern), segments(name)) {
				t.Errorf("%q does not match %q", pattern, name)
			}
		}
		for _, name := range want.no {
			if matches(segments(pattern), segments(name)) {
				t.Errorf("%q matches %q", pattern, name)
			}
		}
	}
	for name, allowed := range map[string]bool{"/a/*": true, "**": true, "/a*/b": false, "/***": false, "/*/": false, "/a/*/**": true} {
		if err := checkPattern(name); (err == nil) != allowed {
			t.Errorf("checkPattern(%q): %v", name, err)
		}
	}
}

// TestRemovedQueueCounts: the sweeper has listed a consumer's queues when a topic of them is deleted.
func TestRemovedQueueCounts(t *testing.T) {
	c := newConsumer(1, nil)
	c.def.Store(&Consumer{})
	to := &topic{id: 2}
	to.def.Store(&Topic{})
	q := newQueue(3, c, to)
	c.addQueue(q)
	for range 2 { // from the second on, deliveries are stored
		q.lease(slot{5, 1}, store.Span{From: 1, To: 1}, "", forever)
		c.unlist(q.leases[slot{5, 1}])
	}
	q.leases[slot{5, 1}].state = settling // in no list
	if len(q.unsaved) != 1 {
		t.Fatal("no count to be stored")
	}
	c.removeQueues(map[*queue]bool{q: true})
	op := &sweepOp{}
	op.counts(q)
	if len(op.attempts) != 0 || c.held.Load() != 0 {
		t.Errorf("%v, %d held", op.attempts, c.held.Load())
	}
}
