package broker_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
	"pipit/broker/store"
)

// TestTakenOver: what is refused since another node of a cluster goes on says so, and may be tried again soon; no restart is needed.
func TestTakenOver(t *testing.T) {
	for _, test := range []struct{ err, first, later string }{
		{"not stored", "Another node of the cluster leads by now: nothing was stored or delivered", "Another node of the cluster leads by now: nothing was stored or delivered"},
		{"unknown", "Another node of the cluster leads by now: whether this was stored is not known. Repeat it, a message with the same msg_id", "Another node of the cluster leads by now: nothing was stored or delivered"},
	} {
		t.Run(test.err, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, s := newFaultyRig(t)
				r.define(topicDef("/t"))
				s.fail(func(*store.Batch) error {
					if test.err == "unknown" {
						return store.ErrOver
					}
					return fmt.Errorf("%w: %w", store.ErrNotStored, store.ErrOver)
				})
				for _, says := range []string{test.first, test.later} {
					var e *broker.Error
					if err := r.mayPublish(text("x")); !errors.As(err, &e) || e.Code != broker.Unavailable || e.Message != says || e.RetryAfter != time.Second || e.Reason != "" {
						t.Errorf("%+v: want %q", err, says)
					}
				}
				if err := r.Close(); err != nil && !errors.Is(err, store.ErrOver) { // a node closes its broker in order then
					t.Errorf("close: %v", err)
				}
				s.fail(nil)
				r.open()
			})
		})
	}
}
