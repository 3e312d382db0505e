package broker

import (
	"errors"
	"log/slog"
	"testing"
	"time"
)

// While the store is found to be as bad as before, again and again, nobody is told that it is well.
func TestHealthInBetween(t *testing.T) {
	b := newBroker(nil, Options{Logger: slog.New(slog.DiscardHandler)})
	bad := errors.New("bad")
	b.health.note(byChecking, bad)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for end := time.Now().Add(50 * time.Millisecond); time.Now().Before(end); {
			b.health.note(byChecking, bad)
			b.health.note(byReading, nil)
		}
	}()
	for {
		if b.Health() == nil {
			t.Error("it was well in between")
			<-done
			return
		}
		select {
		case <-done:
			return
		default:
		}
	}
}
