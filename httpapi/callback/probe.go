package callback

import (
	"context"
	"crypto/rand"
	"time"

	"pipit/broker"
	"pipit/broker/limit"
)

// maxProbes is how many calls by hand are in the air at a time.
const maxProbes = 8

// Test sends a consumer a message that nobody has published, once, also where it is not active, and returns what came of
// it. It changes nothing but the attempts, but for this: where it is answered as it should be, a try that waits for its
// time is not waited for. The errors are NotFound, Invalid (its messages are not sent) and Unavailable.
func (s *Service) Test(ctx context.Context, id uint32) (Attempt, error) {
	info, ok := s.b.Consumer(id)
	if !ok {
		return Attempt{}, &broker.Error{Code: broker.NotFound, Message: "No such consumer"}
	}
	a := s.agent(id)
	if a == nil && s.idle.Err() == nil {
		s.follow() // it may have been made a moment ago
		a = s.agent(id)
	}
	if a == nil || info.DeliveryMode != broker.DeliveryCallback {
		return Attempt{}, broker.Invalidf("consumer %d: its delivery_mode is %s, and a test call is for %s alone", id, info.DeliveryMode, broker.DeliveryCallback)
	}
	if s.probes.Add(1) > maxProbes || s.idle.Err() != nil {
		s.probes.Add(-1)
		return Attempt{}, &broker.Error{Code: broker.Unavailable, RetryAfter: time.Second, Message: "Too many test calls at a time, try again"}
	}
	defer s.probes.Add(-1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	ans := s.call(ctx, &info.Consumer, []broker.Message{testMessage(info.Topic)}, true)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.note(&ans); ans.ok() && a.state.Failures > 0 && a.state.Paused == "" {
		a.state.Next = time.Time{}
		signal(a.poke)
		if sub, err := s.door.Subscription(id); err == nil {
			sub.Undefer()
		}
	}
	return ans.Attempt, nil
}

// testMessage is what a test sends.
func testMessage(topic string) broker.Message {
	return broker.Message{
		ID: "test_" + rand.Text(), Topic: topic, Created: time.Now().UTC().Truncate(time.Microsecond), Producer: "Pipit",
		Priority: limit.DefaultPriority, MIMEType: typeJSON, DeliveryCount: 1, Payload: []byte(`{"test": true}`),
	}
}
