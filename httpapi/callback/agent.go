package callback

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/url"
	"sync"
	"time"

	"pipit/broker"
	"pipit/broker/change"
	"pipit/broker/stats"
)

// Of calls that go on beside one that failed.
const (
	downAfter = 10          // failures in a row, or twice the concurrency: then one call at a time tries whether the receiver is back
	jitter    = 0.15        // part of a wait by which it is shorter or longer at the most
	callBytes = 4 << 20     // of payload of one call, unless one message passes it
	againTime = time.Second // until what the broker could not do is tried again
	noTime    = time.Duration(math.MaxInt64)
)

// state is what an agent knows of its consumer beside its attempts. It is kept over a restart. Its times are of this process'
// clock, which goes on evenly when somebody sets the machine's: what shows or stores them makes UTC of them, which is that no more.
type state struct {
	Failures int       `json:",omitempty"` // in a row
	Since    time.Time `json:",omitzero"`  // of the first of them
	Last     time.Time `json:",omitzero"`  // of the last one
	Next     time.Time `json:",omitzero"`  // of the next try
	Error    string    `json:",omitempty"` // of the last one
	Paused   string    `json:",omitempty"` // why the agent has made the consumer inactive
}

// utc is the state as it is shown and stored.
func (st state) utc() state {
	st.Since, st.Last, st.Next = st.Since.UTC(), st.Last.UTC(), st.Next.UTC()
	return st
}

// agent sends one consumer its messages. It is a goroutine that rests while there is nothing to do, and one more for each
// call in the air.
type agent struct {
	s      *Service
	id     uint32
	ctx    context.Context // ends when the consumer is deleted, and with it its calls
	cancel context.CancelFunc
	idle   context.Context // ends when nothing is to be begun any more, too
	poke   chan struct{}   // holds something when the definition may have changed
	ended  chan struct{}   // holds something when a call has ended

	outcomes outcomes

	mu       sync.Mutex
	def      *broker.Consumer // nil: not open since the start
	state    state
	calls    int       // in the air
	again    int       // messages of the call that failed, where the order is kept
	attempts []Attempt // that are not stored yet
}

// run sends messages until the agent is to end.
func (a *agent) run() {
	for a.idle.Err() == nil {
		sub, err := a.s.door.Subscription(a.id)
		if err != nil {
			a.rest(noTime) // a change of definitions ends it
			continue
		}
		if a.begin(sub.Definition()) {
			sub.Undefer()
		}
		if wait := a.pace(); wait > 0 {
			a.rest(wait)
			continue
		}
		switch err := sub.Await(a.idle, a.poke); {
		case err == nil && sub.Definition() == a.def: // else it has changed meanwhile
			a.next(sub)
		case errors.Is(err, context.Canceled):
			<-a.idle.Done() // which the end of the broker comes a moment before
		}
	}
}

// rest waits for a time, a change of the definition or the end of a call.
func (a *agent) rest(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-a.poke:
	case <-a.ended:
	case <-a.idle.Done():
	}
}

// begin takes over a definition. Another one than before begins anew: a URL may be right now, and who makes a consumer
// active that was paused wants it tried. It tells whether it does.
func (a *agent) begin(def *broker.Consumer) (anew bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if anew = a.def != def && (a.def != nil || a.state.Paused != ""); anew {
		a.set(state{})
		a.again = 0
	}
	a.def = def
	return anew
}

// pace returns how long to wait before the next call; noTime: until one has ended.
func (a *agent) pace() time.Duration {
	most := min(a.def.CallbackConcurrency, a.s.slots.share())
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.down(a.state.Failures) {
		most = 1
	}
	switch {
	case a.calls >= most:
		return noTime
	case a.down(a.state.Failures):
		return time.Until(a.state.Next)
	}
	return 0
}

// ordered tells whether the order of messages is kept. The caller holds mu.
func (a *agent) ordered() bool { return a.def.CallbackConcurrency == 1 }

// down tells whether so many failures in a row tell that the receiver is not there, and not that it does not like a message. The
// caller holds mu.
func (a *agent) down(failures int) bool { return failures >= a.tolerated() }

// tolerated is after how many failures in a row a receiver is down. The caller holds mu.
func (a *agent) tolerated() int {
	if a.ordered() {
		return 1
	}
	return max(downAfter, 2*a.def.CallbackConcurrency)
}

// next takes messages and begins to send them.
func (a *agent) next(sub broker.Subscription) {
	a.mu.Lock()
	def, failing, most := a.def, a.state.Failures > 0, a.again
	a.mu.Unlock()
	switch {
	case single(def.CallbackFormat):
		most = 1
	case most == 0:
		most = def.CallbackBatch
	}
	if !a.s.slots.acquire(a.idle, failing) {
		return
	}
	if sub.Definition() != def { // it has changed while others had all slots
		a.s.slots.release(failing)
		return
	}
	bytes := 0
	msgs, err := sub.Receive(a.idle, broker.ReceiveOptions{Max: most, Hold: true, Room: func(payload int) bool {
		if bytes > 0 && bytes+payload > callBytes {
			return false
		}
		bytes += payload
		return true
	}})
	if len(msgs) > 0 && a.idle.Err() != nil {
		sub.Release(msgs)
		msgs = nil
	}
	if len(msgs) == 0 {
		a.s.slots.release(failing)
		if err != nil && broker.CodeOf(err) != broker.Denied {
			a.rest(againTime) // as much is in flight as may be, or the store is not well
		}
		return
	}
	a.mu.Lock()
	a.calls++
	a.mu.Unlock()
	a.s.calls.Go(func() {
		defer func() {
			a.mu.Lock()
			a.calls--
			a.mu.Unlock()
			signal(a.ended)
		}()
		ans := a.s.call(a.ctx, def, msgs, false)
		a.outcomes.count(&ans)
		a.s.slots.release(failing)
		switch {
		case a.ctx.Err() == nil || ans.ok():
			a.settle(sub, def, msgs, &ans)
		case a.s.ctx.Err() == nil: // the consumer receives them from now on, if there is one
			_, _ = sub.Settle(rejection(msgs)) // it may be no more
		}
	})
}

// settle does to messages what their receiver answered.
func (a *agent) settle(sub broker.Subscription, def *broker.Consumer, msgs []broker.Message, ans *answer) {
	st := rejection(msgs)
	if ans.ok() {
		a.commit(sub, broker.Settlement{Ack: st.Reject})
		a.succeeded(def, ans)
		return
	}
	wait := a.failed(def, ans, len(msgs))
	if def.CallbackConcurrency > 1 { // others go on meanwhile
		st.Wait = wait
	}
	a.commit(sub, st)
}

func rejection(msgs []broker.Message) (st broker.Settlement) {
	st.Reject = make([]string, len(msgs))
	for i := range msgs {
		st.Reject[i] = msgs[i].ID
	}
	return st
}

// commit settles messages, which goes on until it is on disk: what the receiver has is not to be sent again where that can
// be helped.
func (a *agent) commit(sub broker.Subscription, st broker.Settlement) {
	for {
		_, err := sub.Settle(st)
		if err == nil || broker.CodeOf(err) == broker.Denied { // then the consumer was deleted
			return
		}
		a.s.log.Warn("what a callback was answered cannot be stored, it is tried again", "consumer", a.id, "err", err)
		select {
		case <-time.After(againTime):
		case <-a.ctx.Done():
			return
		case <-a.s.b.Failed():
			return
		}
	}
}

// succeeded notes that the receiver is there.
func (a *agent) succeeded(def *broker.Consumer, ans *answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.note(ans)
	if n := a.state.Failures; n > 0 {
		a.s.log.Info("callbacks are answered again", who(a.id, def, "failures", n, "since", a.state.Since.UTC())...)
		a.set(state{})
	}
	a.again = 0
}

// failed notes a failure, and returns how long the messages are to wait. It pauses the consumer where it is time.
func (a *agent) failed(def *broker.Consumer, ans *answer, messages int) time.Duration {
	a.mu.Lock()
	a.note(ans)
	if a.def != def { // it is sent to another place from now on
		a.mu.Unlock()
		return 0
	}
	now, st := time.Now(), a.state
	giveUp := max(def.CallbackGiveUp, 0) // Off: never
	idle := st.Last
	if st.Next.After(idle) {
		idle = st.Next
	}
	if st.Failures == 0 || giveUp > 0 && now.Add(-ans.Duration).Sub(idle) > giveUp {
		st.Since = now // there was nothing to send for long, and what failed before tells nothing of that time
	}
	st.Failures++
	st.Last, st.Error = now, ans.Error
	step := ans.Deliveries
	if a.ordered() {
		step = st.Failures
	} else if a.down(st.Failures) {
		step = st.Failures - a.tolerated() + 1
	}
	wait := max(backOff(def.CallbackRetry.List(), step), ans.wait)
	st.Next = now.Add(wait)
	why := ""
	switch {
	case ans.gone():
		why = "the receiver answered 410 Gone: it wants no more"
	case giveUp > 0 && now.Sub(st.Since) >= giveUp:
		why = fmt.Sprintf("nothing but failures since %s: %s", st.Since.UTC().Format(time.RFC3339), st.Error)
	}
	first := st.Failures == 1
	if a.set(st); a.ordered() {
		a.again = messages
	}
	log := a.s.log.Debug
	if first {
		log = a.s.log.Warn
	}
	log("a callback has failed", who(a.id, def, "err", st.Error, "next", st.Next.UTC())...)
	a.mu.Unlock()
	if why != "" {
		a.pause(def, why)
	}
	return wait
}

// backOff is how long to wait after a number of failures, with a part by chance, so that many do not come at once.
func backOff(list []time.Duration, failures int) time.Duration {
	wait := list[min(max(failures, 1), len(list))-1]
	return time.Duration(float64(wait) * (1 - jitter + 2*jitter*rand.Float64())) // #nosec G404 -- nobody gains by knowing it
}

// pause makes the consumer inactive, for a reason that people are told.
func (a *agent) pause(def *broker.Consumer, why string) {
	a.mu.Lock()
	st := a.state
	a.mu.Unlock()
	st.Paused, st.Next = why, time.Time{}
	for {
		info, ok := a.s.b.Consumer(a.id)
		if !ok || info.Inactive || info.CallbackURL != def.CallbackURL || info.DeliveryMode != def.DeliveryMode {
			return // somebody was faster
		}
		c := info.Consumer
		c.Inactive = true
		docs := []broker.Document{a.document(st)}
		if note := a.s.onPause.Load(); note != nil {
			docs = append(docs, (*note)(&c, why))
		}
		_, err := a.s.b.Change(a.ctx, broker.Change{
			Expect:    []change.Expect{{Ref: change.Ref{Kind: change.Consumer, ID: a.id}, Revision: info.Revision}},
			Define:    broker.Definition{Consumers: []broker.Consumer{c}},
			Documents: docs,
		})
		if broker.CodeOf(err) == broker.Conflict {
			continue
		}
		if err != nil {
			a.s.log.Error("a consumer cannot be paused", who(a.id, def, "why", why, "err", err)...)
			return // the next failure tries it again
		}
		break
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.set(st)
	a.s.log.Warn("the consumer is paused, its messages wait until somebody makes it active again", who(a.id, def, "why", why)...)
}

// note keeps an attempt. The caller holds mu.
func (a *agent) note(ans *answer) {
	a.attempts = remember(a.attempts, ans.Attempt)
	a.s.touch(a)
}

// set changes the state, and tells the broker. The caller holds mu.
func (a *agent) set(st state) {
	a.state = st
	a.report()
	a.s.touch(a)
}

// report tells the broker how the consumer fares. The caller holds mu.
func (a *agent) report() {
	st := a.state.utc()
	a.s.door.Report(a.id, stats.Callback{Failures: st.Failures, Since: st.Since, Next: st.Next, Error: st.Error, Paused: st.Paused})
}

// unsaved takes the attempts that are not stored, and the document of the state.
func (a *agent) unsaved() ([]Attempt, broker.Document) {
	a.mu.Lock()
	defer a.mu.Unlock()
	recent := a.attempts
	a.attempts = nil
	return recent, a.document(a.state)
}

// keep takes back attempts that could not be stored, which come before those that were made since.
func (a *agent) keep(recent []Attempt) {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := append(recent, a.attempts...)
	a.attempts = all[max(len(all)-MaxAttempts, 0):]
	a.s.touch(a)
}

// document is the state as it is stored.
func (a *agent) document(st state) broker.Document {
	value, _ := json.Marshal(st.utc()) // of texts, times and a number
	return broker.Document{Kind: kindState, Key: stateKey(a.id), Value: value}
}

// who is what a line of the log tells of a consumer, beside what it is about.
func who(id uint32, def *broker.Consumer, rest ...any) []any {
	host := ""
	if u, err := url.Parse(def.CallbackURL); err == nil {
		host = u.Scheme + "://" + u.Host // the rest may hold a secret
	}
	return append([]any{"consumer", id, "client", def.Client, "topic", def.Topic, "to", host}, rest...)
}
