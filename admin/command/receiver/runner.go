package receiver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"pipit/broker"
)

// Bounds of running a command for each message.
const (
	receiveWait = 50 * time.Second // of one request, less than what a proxy commonly allows

	firstExtension = 500 * time.Millisecond // after a run began: half of the shortest ack_timeout
	lease          = 60                     // seconds that a message then stays in flight for
	nextExtension  = lease * time.Second / 4

	firstDelay = 5 * time.Second // before a message is delivered again that was delivered once; it doubles each time
	lastDelay  = 15 * time.Minute

	firstBreath = 100 * time.Millisecond // before the next run where one has failed; it doubles each time
	lastBreath  = 5 * time.Second

	settleEnd = 10 * time.Second // for telling the server of a run, from when it is to end
)

// Runner runs a command for each message of a queue.
type Runner struct {
	Queue        Queue
	Command      Command
	Concurrency  int                              // runs at a time, 1 or more; 1 keeps the order
	DeadLetterOn []int                            // exit codes for which a message is rejected for good
	NotNow       func(error) bool                 // tells whether an error of the queue is of what passes, so that it is asked again
	Note         func(format string, args ...any) // tells a person something; it is not called twice at a time

	mu     sync.Mutex      // also of Note
	inHand map[string]bool // IDs of the messages for which it runs
	failed int             // runs since the latest that has not
	fault  error           // what no further message can be handled for

	stop context.CancelFunc // ends receiving
	over chan struct{}      // closed when that has ended
}

// Run receives until ctx ends, most messages came (0: no bound), or something is wrong that does not pass. Runs are those of
// the context runs.
func (r *Runner) Run(ctx, runs context.Context, most int) error {
	ctx, r.stop = context.WithCancel(ctx)
	defer r.stop()
	defer context.AfterFunc(ctx, r.noteLast)()
	var running sync.WaitGroup
	r.inHand, r.over = map[string]bool{}, make(chan struct{})
	slots, p := make(chan struct{}, r.Concurrency), Pauses{}
	for got := 0; most == 0 || got < most; {
		bound := r.Concurrency
		if most > 0 {
			bound = min(bound, most-got)
		}
		free := r.take(ctx, slots, bound)
		if free == 0 {
			break
		}
		msgs, err := r.Queue.Receive(ctx, free, receiveWait)
		started := 0
		for i := range msgs {
			if !r.begin(ctx, msgs[i].Metadata.ID) {
				continue
			}
			started++
			running.Go(func() {
				err := r.handle(ctx, runs, &msgs[i])
				if err != nil {
					r.fail(err)
				}
				Sleep(ctx, r.breath())
				<-slots
			})
		}
		for range free - started {
			<-slots
		}
		got += started
		switch {
		case ctx.Err() != nil:
		case err == nil:
			p = Pauses{}
		case !r.NotNow(err):
			r.fail(err)
		default:
			pause := p.Next()
			r.notef("%v: asking again in %s", err, pause)
			Sleep(ctx, pause)
		}
	}
	close(r.over)
	running.Wait()
	return r.fault
}

// fail ends receiving because of an error.
func (r *Runner) fail(err error) {
	r.mu.Lock()
	r.fault = cmp.Or(r.fault, err)
	r.mu.Unlock()
	r.stop()
}

// noteLast tells a person why it does not end yet.
func (r *Runner) noteLast() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.inHand); n > 0 {
		r.Note("ends when what runs has ended (%d); a second signal ends that at once", n)
	}
}

// take takes as many slots as are free, at most so many. It waits for the first one; where ctx ends there is none.
func (r *Runner) take(ctx context.Context, slots chan<- struct{}, most int) int {
	if ctx.Err() != nil {
		return 0
	}
	select {
	case slots <- struct{}{}:
	case <-ctx.Done():
		return 0
	}
	for n := 1; ; n++ {
		if n == most {
			return n
		}
		select {
		case slots <- struct{}{}:
		default:
			return n
		}
	}
}

// begin tells whether a message is to be handled: not where that goes on already, as after a restart of the server, which does not know.
func (r *Runner) begin(ctx context.Context, id string) bool {
	r.mu.Lock()
	again := r.inHand[id]
	r.inHand[id] = true
	r.mu.Unlock()
	if again {
		_, _ = r.Queue.Settle(ctx, extension(id)) // else the run's own does it
	}
	return !again
}

// letGo has a message handled that is delivered from now on.
func (r *Runner) letGo(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.inHand, id)
}

// breath returns for how long to wait after a run: a command that fails at once each time would otherwise be run as fast
// as the machine can.
func (r *Runner) breath() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed == 0 {
		return 0
	}
	return doubled(firstBreath, lastBreath, r.failed)
}

// handle runs the command for a message and tells the server what came of it. An error is of what keeps further ones from being handled.
func (r *Runner) handle(ctx, runs context.Context, d *Delivery) error {
	payload, err := d.Bytes()
	if err != nil {
		return err
	}
	vars, err := d.Metadata.vars()
	if err != nil {
		return err
	}
	release := r.hold(d.Metadata.ID)
	code, err := r.Command.Run(runs, payload, vars)
	release()
	r.count(code == 0 && err == nil)

	what, st := r.verdict(&d.Metadata, code, err)
	if what != "" {
		r.notef("message %s of topic %s, delivery %d: %s", d.Metadata.ID, d.Metadata.Topic, d.Metadata.DeliveryCount, what)
	}
	if errors.Is(err, ErrStart) && st.DeadLetter == nil {
		r.fail(&UnrunnableError{Code: code, cause: fmt.Errorf("%s: %w", r.Command.Line, err)})
	}
	if ctx.Err() != nil {
		<-r.over // what is given back is not for ourselves
	}
	if len(st.Ack) > 0 {
		defer r.letGo(d.Metadata.ID)
	} else {
		r.letGo(d.Metadata.ID) // it may be delivered again before the server's answer is here
	}
	return r.tell(ctx, d.Metadata.ID, st)
}

// verdict says what a run means for its message, and in words, empty where all is well.
func (r *Runner) verdict(m *Metadata, code int, err error) (string, broker.Settlement) {
	ids := []string{m.ID}
	after := fmt.Sprintf("exit code %d", code)
	switch {
	case slices.Contains(r.DeadLetterOn, code):
		return after + ", rejected for good", broker.Settlement{DeadLetter: ids}
	case errors.Is(err, ErrStart):
		return "given back", broker.Settlement{Reject: ids}
	case errors.Is(err, ErrTimeout):
		after = fmt.Sprintf("not done after %s", r.Command.Timeout)
	case err != nil:
		return fmt.Sprintf("%v, given back", err), broker.Settlement{Reject: ids}
	case code == 0:
		return "", broker.Settlement{Ack: ids}
	case code != tempFail:
		return after + ", rejected", broker.Settlement{Reject: ids}
	}
	delay := doubled(firstDelay, lastDelay, m.DeliveryCount)
	return fmt.Sprintf("%s, to be delivered again in %s", after, delay), broker.Settlement{Reject: ids, Delay: int64(delay / time.Second)}
}

// doubled is first at the time 1, twice that at 2, and so on up to last.
func doubled(first, last time.Duration, times int) time.Duration {
	d := first
	for i := 1; i < times && d < last; i++ {
		d *= 2
	}
	return min(d, last)
}

// hold keeps a message in flight until release is called. It does not have to know the consumer's ack_timeout: after the first half second, the least half of
// one that there can be, it is by leases of its own.
func (r *Runner) hold(id string) (release func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var held sync.WaitGroup
	held.Go(func() {
		for pause := firstExtension; Sleep(ctx, pause); pause = nextExtension {
			// A message that is missing may be delivered again, as after a restart of the server, and is then to be held yet.
			_, err := r.Queue.Settle(ctx, extension(id))
			for err != nil && r.NotNow(err) && Sleep(ctx, firstPause) {
				_, err = r.Queue.Settle(ctx, extension(id))
			}
			if err != nil { // what is wrong is told when it is settled
				return
			}
		}
	})
	return func() {
		cancel()
		held.Wait()
	}
}

func extension(id string) broker.Settlement {
	return broker.Settlement{Extend: []broker.Extension{{ID: id, Seconds: lease}}}
}

// tell settles a message, and asks again where the server is not there: until it is, or for settleEnd once ctx has ended.
func (r *Runner) tell(ctx context.Context, id string, st broker.Settlement) error {
	until, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(settleEnd, cancel) })()
	for p := (Pauses{}); ; {
		missing, err := r.Queue.Settle(until, st)
		if err == nil {
			if len(missing) > 0 {
				r.notef("message %s: not settled, since it is there no more, expired or deleted", id)
			}
			return nil
		}
		if until.Err() == nil && r.NotNow(err) {
			pause := p.Next()
			r.notef("message %s: %v: telling it again in %s", id, err, pause)
			if Sleep(until, pause) {
				continue
			}
		}
		return fmt.Errorf("message %s: not settled, so that it is delivered again: %w", id, err)
	}
}

// count counts runs that fail one after the other.
func (r *Runner) count(well bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed++; well {
		r.failed = 0
	}
}

func (r *Runner) notef(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Note(format, args...)
}
