package callback

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
	"pipit/broker/change"
	"pipit/broker/property"
	"pipit/broker/stats"
	"pipit/db"
)

// rig is a broker on a file with a client, a topic and a callback consumer, whose calls a function answers in place of
// the network, so that a test has fake time.
type rig struct {
	t *testing.T
	b *broker.Broker
	s *Service
	r *receiver
}

// receiver answers calls and keeps them.
type receiver struct {
	mu     sync.Mutex
	calls  []received
	answer func(n int, r *http.Request, body string) (*http.Response, error) // n counts from 0
}

type received struct {
	at   time.Time
	head http.Header
	body string
}

func (v *receiver) RoundTrip(r *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(r.Body)
	v.mu.Lock()
	n := len(v.calls)
	v.calls = append(v.calls, received{time.Now(), r.Header, string(body)})
	answer := v.answer
	v.mu.Unlock()
	if answer == nil {
		return answered(200), nil
	}
	return answer(n, r, string(body))
}

func (v *receiver) all() []received {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.calls)
}

func answered(status int, headers ...string) *http.Response {
	h := http.Header{}
	for i := 0; i < len(headers); i += 2 {
		h.Set(headers[i], headers[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader("an answer"))}
}

// always answers every call with a status.
func always(status int) func(int, *http.Request, string) (*http.Response, error) {
	return func(int, *http.Request, string) (*http.Response, error) { return answered(status), nil }
}

func newRig(t *testing.T, change func(*broker.Consumer)) *rig {
	t.Helper()
	store, err := db.Open(filepath.Join(t.TempDir(), "pipit.db"), db.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, r: &receiver{}}
	if r.b, err = broker.Open(store, broker.Options{Logger: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	c := broker.Consumer{Client: "erp", Topic: "/t", DeliveryMode: broker.DeliveryCallback, CallbackURL: "http://erp.example.com/hook"}
	if change != nil {
		change(&c)
	}
	_, err = r.b.Apply(context.Background(), broker.Definition{
		Clients:   []broker.Client{{Username: "erp", PasswordHash: "$2a$10$abcdefghijklmnopqrstuuNRBbRPTN0FMYsnQ6Gww8BEs1Tt1TTUi"}},
		Topics:    []broker.Topic{{Name: "/t", Expiration: property.Off}},
		Consumers: []broker.Consumer{c},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.start()
	t.Cleanup(func() {
		_ = r.s.Stop()
		if err := r.b.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *rig) start() {
	r.t.Helper()
	var err error
	if r.s, err = New(r.b, Options{Logger: slog.New(slog.DiscardHandler), Through: r.r}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) publish(payloads ...string) {
	r.t.Helper()
	for _, p := range payloads {
		if _, err := r.b.Publish(context.Background(), "/t", []byte(p)); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *rig) consumer() broker.ConsumerInfo { return r.b.Consumers()[0] }

// edit changes the consumer.
func (r *rig) edit(change func(*broker.Consumer)) {
	r.t.Helper()
	c := r.consumer().Consumer
	change(&c)
	if _, err := r.b.Change(context.Background(), broker.Change{Define: broker.Definition{Consumers: []broker.Consumer{c}}}); err != nil {
		r.t.Fatal(err)
	}
}

func raw(c *broker.Consumer) { c.CallbackFormat = broker.FormatRaw }

// wantBodies waits until all that can be done now is done, and looks at what was sent.
func (r *rig) wantBodies(want ...string) {
	r.t.Helper()
	synctest.Wait()
	var got []string
	for _, c := range r.r.all() {
		got = append(got, c.body)
	}
	if !slices.Equal(got, want) {
		r.t.Errorf("sent %q, want %q", got, want)
	}
}

// within tells whether a wait is one after d, a part longer or shorter by chance.
func within(got, d time.Duration) bool {
	return got >= time.Duration(float64(d)*(1-jitter)) && got <= time.Duration(float64(d)*(1+jitter))
}

// A message leaves as soon as it is published; 2xx acknowledges it.
func TestSentAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, raw)
		r.r.answer = always(204)
		begin := time.Now()
		r.publish("a")
		r.wantBodies("a")
		if at := r.r.all()[0].at; !at.Equal(begin) {
			t.Errorf("sent after %s", at.Sub(begin))
		}
		if c := r.consumer(); c.Backlog != 0 || c.Acked != 1 || c.Callback != (stats.Callback{}) {
			t.Errorf("%+v", c)
		}
	})
}

// What fails is tried again after the times that the consumer says, the last of them again and again, with the same
// messages and the same webhook-id, and what comes later waits: with the concurrency 1, order is kept.
func TestRetriesKeepOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *broker.Consumer) {
			raw(c)
			c.CallbackRetry = property.DurationsOf(5*time.Second, time.Minute)
		})
		r.r.answer = func(n int, _ *http.Request, _ string) (*http.Response, error) {
			if n < 4 {
				return []*http.Response{answered(500), answered(302, "Location", "http://other.example.com/"), answered(404), nil}[n],
					[]error{nil, nil, nil, errors.New("connection refused")}[n]
			}
			return answered(200), nil
		}
		r.publish("a", "b")
		synctest.Wait()
		if c := r.consumer().Callback; c.Failures != 1 || c.Error != "500 Internal Server Error" || c.Next.Before(time.Now()) {
			t.Errorf("%+v", c)
		}
		time.Sleep(10 * time.Minute)
		r.wantBodies("a", "a", "a", "a", "a", "b")
		calls := r.r.all()
		for i, want := range []time.Duration{5 * time.Second, time.Minute, time.Minute, time.Minute, 0} {
			if got := calls[i+1].at.Sub(calls[i].at); !within(got, want) {
				t.Errorf("try %d came after %s, want about %s", i+1, got, want)
			}
		}
		for i, c := range calls[:5] {
			if c.head.Get("Webhook-Id") != calls[0].head.Get("Webhook-Id") || c.head.Get("X-Zato-Delivery-Count") != fmt.Sprint(i+1) {
				t.Errorf("try %d: %v", i, c.head)
			}
		}
		if calls[1].head.Get("Webhook-Timestamp") == calls[0].head.Get("Webhook-Timestamp") {
			t.Error("the timestamp is not that of the attempt")
		}
		if c := r.consumer(); c.Backlog != 0 || c.Callback != (stats.Callback{}) {
			t.Errorf("%+v", c)
		}
		attempts, err := Attempts(r.s, r.b, r.consumer().ID)
		if err != nil || len(attempts) != 6 || attempts[0].Status != 200 || attempts[5].Status != 500 || string(attempts[5].Answer) != "an answer" || attempts[2].Error != "connection refused" {
			t.Errorf("%+v, %v", attempts, err)
		}
	})
}

// A batch that failed is repeated as it was, whatever was published since.
func TestRetryOfABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.r.answer = func(n int, _ *http.Request, _ string) (*http.Response, error) {
			return answered([]int{500, 200, 200}[n]), nil
		}
		if _, err := r.b.Publish(context.Background(), "/t", []byte("a"), broker.WithDelay(1)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		r.publish("b", "c")
		time.Sleep(time.Minute)
		synctest.Wait()
		calls := r.r.all()
		if len(calls) != 3 {
			t.Fatalf("%d calls: %+v", len(calls), calls)
		}
		for i, want := range []int{1, 1, 2} {
			if !strings.Contains(calls[i].body, fmt.Sprintf(`"results_count": %d`, want)) {
				t.Errorf("call %d: %s", i, calls[i].body)
			}
		}
		if calls[0].head.Get("Webhook-Id") != calls[1].head.Get("Webhook-Id") || calls[1].head.Get("Webhook-Id") == calls[2].head.Get("Webhook-Id") {
			t.Errorf("%v\n%v\n%v", calls[0].head, calls[1].head, calls[2].head)
		}
	})
}

// Retry-After lengthens a wait, by an hour at the most, and shortens none.
func TestRetryAfter(t *testing.T) {
	for told, want := range map[string]time.Duration{"1": 10 * time.Second, "60": time.Minute, "86400": time.Hour, "soon": 10 * time.Second, "date": 2 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, func(c *broker.Consumer) { c.CallbackRetry = property.DurationsOf(10 * time.Second) })
			if told == "date" {
				told = time.Now().Add(2 * time.Minute).UTC().Format(http.TimeFormat)
			}
			r.r.answer = func(n int, _ *http.Request, _ string) (*http.Response, error) {
				return answered([]int{503, 200}[n], "Retry-After", told), nil
			}
			r.publish("a")
			time.Sleep(2 * time.Hour)
			synctest.Wait()
			calls := r.r.all()
			if len(calls) != 2 {
				t.Fatalf("%d calls", len(calls))
			}
			if got := calls[1].at.Sub(calls[0].at); want == 10*time.Second && !within(got, want) || want != 10*time.Second && (got < want || got > want+time.Second) {
				t.Errorf("Retry-After %s: tried again after %s", told, got)
			}
		})
	}
}

// 410 makes the consumer inactive; its messages stay, and somebody who makes it active again has it tried at once.
func TestGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, raw)
		r.r.answer = always(410)
		r.publish("a", "b")
		time.Sleep(time.Hour)
		r.wantBodies("a")
		c := r.consumer()
		if !c.Inactive || c.Backlog != 2 || !strings.Contains(c.Callback.Paused, "410") {
			t.Errorf("%+v", c)
		}
		_ = r.s.Stop() // what is known outlives the service
		r.start()
		if again := r.consumer(); again.Callback.Paused != c.Callback.Paused {
			t.Errorf("%+v", again.Callback)
		}
		r.r.answer = always(200)
		r.edit(func(c *broker.Consumer) { c.Inactive = false })
		r.wantBodies("a", "a", "b")
		if c := r.consumer(); c.Callback != (stats.Callback{}) || c.Backlog != 0 {
			t.Errorf("%+v", c)
		}
	})
}

// After callback_give_up of nothing but failures a consumer is paused; with 0 it never is. A success between begins anew.
func TestGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var noted string
		r := newRig(t, func(c *broker.Consumer) {
			c.CallbackGiveUp = 3 * time.Minute
			c.CallbackRetry = property.DurationsOf(5*time.Second, 10*time.Second)
		})
		r.s.OnPause(func(c *broker.Consumer, why string) broker.Document {
			noted = c.Client + " " + why
			return broker.Document{Kind: "note", Key: "1", Value: []byte(noted)}
		})
		begin := time.Now()
		r.r.answer = func(n int, _ *http.Request, _ string) (*http.Response, error) {
			if at := time.Since(begin); at > 2*time.Minute && at < 4*time.Minute {
				return answered(200), nil
			}
			return answered(503), nil
		}
		r.publish("a")
		time.Sleep(4 * time.Minute)
		synctest.Wait()
		if c := r.consumer(); c.Backlog != 0 || c.Inactive {
			t.Fatalf("%+v", c)
		}
		r.publish("b")
		time.Sleep(2*time.Minute + 50*time.Second)
		synctest.Wait()
		if c := r.consumer(); c.Inactive || c.Callback.Failures < 4 {
			t.Fatalf("%+v", c)
		}
		time.Sleep(30 * time.Second)
		synctest.Wait()
		c := r.consumer()
		if !c.Inactive || c.Backlog != 1 || !strings.HasPrefix(c.Callback.Paused, "nothing but failures since ") || !strings.HasSuffix(noted, c.Callback.Paused) {
			t.Errorf("%+v, noted %q", c, noted)
		}
		n := len(r.r.all())
		time.Sleep(20 * time.Minute)
		if synctest.Wait(); len(r.r.all()) != n {
			t.Error("it is called while it is paused")
		}
		if a, err := r.s.Test(context.Background(), c.ID); err != nil || a.Status != 503 || !a.Test || r.consumer().Callback.Paused == "" {
			t.Errorf("%+v, %v", a, err)
		}
		r.edit(func(c *broker.Consumer) { c.Inactive, c.CallbackGiveUp = false, property.Off })
		time.Sleep(20 * time.Minute)
		if synctest.Wait(); r.consumer().Inactive || len(r.r.all()) < n+90 {
			t.Errorf("%d calls, %+v", len(r.r.all())-n, r.consumer())
		}
	})
}

// A consumer whose tries are further apart than callback_give_up is paused by the second one. One that had nothing to send
// for so long begins anew.
func TestGiveUpBetweenTries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *broker.Consumer) {
			c.CallbackGiveUp = time.Minute
			c.CallbackRetry = property.DurationsOf(10 * time.Minute)
			c.MaxDeliveries = 1
		})
		r.r.answer = always(503)
		for range 2 {
			r.publish("a")
			time.Sleep(time.Hour)
			synctest.Wait()
		}
		if c := r.consumer(); c.Inactive || c.Callback.Failures != 2 {
			t.Fatalf("%+v", c)
		}
		r.edit(func(c *broker.Consumer) { c.MaxDeliveries = 0 })
		r.publish("b")
		time.Sleep(15 * time.Minute)
		synctest.Wait()
		if c := r.consumer(); !c.Inactive || c.Backlog != 1 || len(r.r.all()) != 4 {
			t.Errorf("%+v after %d calls", c, len(r.r.all()))
		}
	})
}

// A change of the URL counts for a call that waits for its turn, too.
func TestRedefinedInLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, raw)
		r.s.slots.adjust(1)
		r.s.slots.acquire(t.Context(), false)
		r.publish("a")
		synctest.Wait()
		r.edit(func(c *broker.Consumer) { c.CallbackURL = "http://new.example.com/" })
		r.r.answer = func(_ int, req *http.Request, _ string) (*http.Response, error) {
			if req.URL.Host != "new.example.com" {
				t.Errorf("sent to %s", req.URL)
			}
			return answered(200), nil
		}
		r.s.slots.release(false)
		r.wantBodies("a")
	})
}

// With a concurrency, too, messages that wait for their next try do so no longer when the URL is changed, the consumer is made
// active again, or a test call is answered as it should be.
func TestTriedAnew(t *testing.T) {
	for what, mend := range map[string]func(r *rig){
		"url": func(r *rig) { r.edit(func(c *broker.Consumer) { c.CallbackURL = "http://new.example.com/" }) },
		"active": func(r *rig) {
			r.edit(func(c *broker.Consumer) { c.Inactive = true })
			synctest.Wait()
			r.edit(func(c *broker.Consumer) { c.Inactive = false })
		},
		"test call": func(r *rig) {
			if _, err := r.s.Test(r.t.Context(), r.consumer().ID); err != nil {
				r.t.Error(err)
			}
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, func(c *broker.Consumer) {
				raw(c)
				c.CallbackConcurrency = 2
				c.CallbackRetry = property.DurationsOf(time.Hour)
			})
			r.r.answer = func(n int, _ *http.Request, _ string) (*http.Response, error) {
				return answered([]int{500, 500, 200, 200, 200}[n]), nil
			}
			r.publish("a", "b")
			synctest.Wait()
			mend(r)
			if synctest.Wait(); r.consumer().Backlog != 0 {
				t.Errorf("%s: %+v", what, r.consumer())
			}
		})
	}
}

// With a concurrency a message that fails is in nobody's way; where nothing but failures come, one call at a time tries.
func TestConcurrent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *broker.Consumer) {
			raw(c)
			c.CallbackConcurrency = 3
			c.CallbackRetry = property.DurationsOf(time.Minute)
		})
		r.r.answer = func(_ int, _ *http.Request, body string) (*http.Response, error) {
			if time.Sleep(time.Second); strings.HasPrefix(body, "bad") {
				return answered(400), nil
			}
			return answered(200), nil
		}
		r.publish("bad 1", "bad 2", "bad 3", "bad 4", "good 1", "good 2")
		time.Sleep(2500 * time.Millisecond)
		synctest.Wait()
		if c := r.consumer(); c.Backlog != 4 || c.Acked != 2 || len(r.r.all()) != 6 {
			t.Errorf("%+v after %d calls", c, len(r.r.all()))
		}
		time.Sleep(time.Minute + 15*time.Second)
		if synctest.Wait(); len(r.r.all()) != 10 {
			t.Errorf("%d calls", len(r.r.all()))
		}
		for i := range 200 {
			r.publish(fmt.Sprint("bad ", i))
		}
		n := len(r.r.all())
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if more := len(r.r.all()) - n; more < 10 || more > 24 {
			t.Errorf("a receiver that is down got %d calls in 10 minutes", more)
		}
	})
}

// With a concurrency a message that failed waits as long as the consumer says, and not up to the next second.
func TestShortWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *broker.Consumer) {
			raw(c)
			c.CallbackConcurrency = 2
			c.CallbackRetry = property.DurationsOf(100 * time.Millisecond)
		})
		r.r.answer = func(n int, _ *http.Request, _ string) (*http.Response, error) {
			return answered([]int{500, 500, 200}[n]), nil
		}
		r.publish("a")
		time.Sleep(time.Minute)
		r.wantBodies("a", "a", "a")
		calls := r.r.all()
		for i := range calls[1:] {
			if got := calls[i+1].at.Sub(calls[i].at); !within(got, 100*time.Millisecond) {
				t.Errorf("try %d came after %s", i+1, got)
			}
		}
	})
}

// A change of the URL counts at once, and ends the wait that the former one earned. A consumer that receives from then on
// has what was in the air at once.
func TestRedefined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, raw)
		r.r.answer = func(_ int, req *http.Request, _ string) (*http.Response, error) {
			switch req.URL.Path {
			case "/new":
				return answered(200), nil
			case "/slow":
				<-req.Context().Done()
				return nil, req.Context().Err()
			}
			return answered(500), nil
		}
		r.publish("a")
		synctest.Wait()
		r.edit(func(c *broker.Consumer) { c.CallbackURL = "http://erp.example.com/new" })
		r.wantBodies("a", "a")
		if c := r.consumer(); c.Backlog != 0 || c.Callback != (stats.Callback{}) {
			t.Errorf("%+v", c)
		}
		r.edit(func(c *broker.Consumer) { c.CallbackURL = "http://erp.example.com/slow" })
		r.publish("b")
		synctest.Wait()
		client := &broker.Client{Username: "erp"}
		if _, err := r.b.Subscription(client, "/t", r.consumer().SubKey); broker.CodeOf(err) != broker.Denied {
			t.Errorf("a consumer that is sent its messages may receive them: %v", err)
		}
		r.edit(func(c *broker.Consumer) { c.DeliveryMode = broker.DeliveryPull })
		synctest.Wait()
		sub, err := r.b.Subscription(client, "/t", r.consumer().SubKey)
		if err != nil {
			t.Fatal(err)
		}
		msgs, err := sub.Receive(context.Background(), broker.ReceiveOptions{})
		if err != nil || len(msgs) != 1 || string(msgs[0].Payload) != "b" || msgs[0].DeliveryCount != 2 {
			t.Errorf("%+v, %v", msgs, err)
		}
	})
}

// The last hundred attempts are kept, also over a restart, and go with their consumer.
func TestAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, raw)
		id := r.consumer().ID
		for i := range 260 {
			r.publish(fmt.Sprint(i))
			if i%40 == 0 {
				time.Sleep(flushEvery)
			}
			if i == 200 {
				synctest.Wait()
				_ = r.s.Stop()
				r.start()
			}
		}
		synctest.Wait()
		for _, when := range []string{"running", "stopped"} {
			list, err := Attempts(r.s, r.b, id)
			if err != nil || len(list) != MaxAttempts {
				t.Fatalf("%s: %d, %v", when, len(list), err)
			}
			for i, a := range list {
				if a.Bytes != 3 || a.Messages != 1 || a.Status != 200 || i > 0 && a.Time.After(list[i-1].Time) {
					t.Fatalf("%s: attempt %d: %+v", when, i, a)
				}
			}
			if list[0].WebhookID != r.r.all()[259].head.Get("Webhook-Id") || list[99].WebhookID != r.r.all()[160].head.Get("Webhook-Id") {
				t.Errorf("%s: these are not the last ones", when)
			}
			if when == "running" {
				_ = r.s.Stop()
			}
		}
		r.start()
		if _, err := r.b.Change(context.Background(), broker.Change{Delete: []change.Ref{{Kind: change.Consumer, ID: id}}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for _, kind := range []string{kindAttempts, kindState} {
			if docs, err := r.b.Documents(kind, "", false, 10); err != nil || len(docs) != 0 {
				t.Errorf("%d of %s stay, %v", len(docs), kind, err)
			}
		}
	})
}

// Attempts that could not be stored are stored the next time, in their order, the latest ones where there are too many.
func TestAttemptsAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, raw)
		id := r.consumer().ID
		fails, cancel := context.WithCancel(t.Context())
		cancel()
		for i := range MaxAttempts + 20 {
			r.publish(fmt.Sprint(i))
			synctest.Wait()
			if i%30 == 0 {
				r.s.flush(fails)
			}
		}
		r.s.flush(fails)
		r.s.flush(t.Context())
		list, err := Attempts(nil, r.b, id) // what is stored
		if err != nil || len(list) != MaxAttempts {
			t.Fatalf("%d, %v", len(list), err)
		}
		calls := r.r.all()
		for i, a := range list {
			if a.WebhookID != calls[len(calls)-1-i].head.Get("Webhook-Id") {
				t.Fatalf("attempt %d is another one", i)
			}
		}
	})
}

// Calls in the air are waited for when the program ends, and what is not answered by then is sent again after the next
// start.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *broker.Consumer) { raw(c); c.CallbackTimeout = time.Minute })
		r.r.answer = func(n int, req *http.Request, _ string) (*http.Response, error) {
			select {
			case <-time.After([]time.Duration{5 * time.Second, time.Minute, 0, 0}[n]):
				return answered(200), nil
			case <-req.Context().Done():
				return nil, req.Context().Err()
			}
		}
		r.publish("a", "b", "c")
		synctest.Wait()
		begin := time.Now()
		_ = r.s.Stop()
		if took := time.Since(begin); took != 5*time.Second || r.consumer().Acked != 1 {
			t.Errorf("stopped after %s, %+v", took, r.consumer())
		}
		r.start()
		synctest.Wait()
		begin = time.Now()
		_ = r.s.Stop()
		if took := time.Since(begin); took != endTime || r.consumer().Acked != 1 {
			t.Errorf("stopped after %s, %+v", took, r.consumer())
		}
		r.wantBodies("a", "b")
	})
}

// A consumer of a pattern is sent the messages of all topics that match, also of one that is made later.
func TestPattern(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *broker.Consumer) { raw(c); c.Topic = "/orders/**" })
		for _, name := range []string{"/orders/a", "/orders/b/c", "/other"} {
			if _, err := r.b.Change(t.Context(), broker.Change{Define: broker.Definition{Topics: []broker.Topic{{Name: name}}}}); err != nil {
				t.Fatal(err)
			}
			if _, err := r.b.Publish(t.Context(), name, []byte("in "+name)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		r.wantBodies("in /orders/a", "in /orders/b/c")
		if c := r.consumer(); c.Backlog != 0 || c.Acked != 2 || r.r.all()[1].head.Get("X-Zato-Topic") != "/orders/b/c" {
			t.Errorf("%+v", c)
		}
	})
}

// The next try comes when its time is over, also where somebody sets the machine's clock back meanwhile: it goes by the clock
// of the process, of which the bubbles of other tests have none.
func TestRetryGoesByProcessClock(t *testing.T) {
	r := newRig(t, nil)
	r.r.mu.Lock()
	r.r.answer = always(500)
	r.r.mu.Unlock()
	r.publish("one")
	var st state
	for end := time.Now().Add(20 * time.Second); st.Failures == 0 && time.Now().Before(end); time.Sleep(time.Millisecond) { // lint:sleep until the call was answered
		if a := r.s.agent(r.consumer().ID); a != nil {
			a.mu.Lock()
			st = a.state
			a.mu.Unlock()
		}
	}
	for name, at := range map[string]time.Time{"Next": st.Next, "Since": st.Since, "Last": st.Last} {
		if !strings.Contains(at.String(), " m=") {
			t.Errorf("%s is %s: a time without a reading of the process' clock", name, at)
		}
	}
	if shown := st.utc(); strings.Contains(fmt.Sprint(shown), " m=") || shown.Next.Location() != time.UTC {
		t.Errorf("shown is %+v", shown)
	}
}
