package broker_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
	"pipit/broker/limit"
	"pipit/broker/property"
	"pipit/broker/signing"
	"pipit/broker/stats"
)

// callbackDef is a consumer that is sent its messages.
func callbackDef(topic, key string) broker.Consumer {
	c := consumerDef(topic, key)
	c.DeliveryMode, c.CallbackURL = broker.DeliveryCallback, "https://erp.example.com/hooks"
	return c
}

func secretOf(bytes int) string {
	return "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", bytes)))
}

// TestCallbackFields: what the fields of callbacks may be, and which errors say so.
func TestCallbackFields(t *testing.T) {
	url := "allowed is a URL of http or https with a host, at most 2048 bytes, without a user, a fragment and blanks"
	names := "allowed are names of letters, digits and !#$%&'*+-.^_`|~, and values of printable ASCII"
	secret := "allowed is whsec_ and 24 to 64 bytes in base64, or two of these with a blank between"
	headers := func(name, value string) func(*broker.Consumer) {
		return func(c *broker.Consumer) { c.CallbackHeaders = property.TableOf(map[string]string{name: value}) }
	}
	secrets := func(s string) func(*broker.Consumer) { return func(c *broker.Consumer) { c.CallbackSecret = s } }
	urls := func(s string) func(*broker.Consumer) { return func(c *broker.Consumer) { c.CallbackURL = s } }
	const long = "https://h/"
	for i, tt := range []struct {
		change func(*broker.Consumer)
		want   string // empty: it is allowed
	}{
		{func(*broker.Consumer) {}, ""},
		{urls("http://127.0.0.1:8080/x?y=z"), ""},
		{urls(long + strings.Repeat("x", limit.MaxCallbackURL-len(long))), ""},
		{urls(long + strings.Repeat("x", limit.MaxCallbackURL-len(long)+1)), url},
		{urls(""), "callback_url of consumer \"crm\" of topic \"/t\": it is missing, and the delivery_mode callback-url needs it"},
		{urls("ftp://h/"), `callback_url "ftp://h/" of consumer "crm" of topic "/t": ` + url},
		{urls("https:///x"), url},
		{urls("/x"), url},
		{urls("http://h/%zz"), url},
		{urls("https://u:p@h/"), url},
		{urls("https://h/#x"), url},
		{urls("https://h/a b"), url},
		{func(c *broker.Consumer) { c.DeliveryMode, c.CallbackURL = broker.DeliveryPull, "" }, ""},
		{func(c *broker.Consumer) { c.DeliveryMode = "push" }, `delivery_mode "push" of consumer "crm" of topic "/t": allowed are callback-url, pull`},
		{func(c *broker.Consumer) { c.CallbackFormat = "yaml" }, `callback_format "yaml" of consumer "crm" of topic "/t": allowed are cloudevents, json, raw, xml`},
		{func(c *broker.Consumer) { c.CallbackBatch = 1001 }, `callback_batch 1001 of consumer "crm" of topic "/t": allowed are 1 to 1000`},
		{func(c *broker.Consumer) { c.CallbackTimeout = time.Millisecond }, `callback_timeout 1ms of consumer "crm" of topic "/t": allowed are 100ms to 10m`},
		{func(c *broker.Consumer) { c.CallbackConcurrency = 65 }, `callback_concurrency 65 of consumer "crm" of topic "/t": allowed are 1 to 64`},
		{func(c *broker.Consumer) { c.CallbackGiveUp = limit.MaxCallbackGiveUp + 1 }, `callback_give_up 365d1ns of consumer "crm" of topic "/t": allowed are 0s to 365d`},
		{func(c *broker.Consumer) { c.CallbackRetry = property.DurationsOf(time.Second, time.Millisecond) }, "allowed are 10ms to 1d"},
		{headers("Authorization", "Bearer s3cret"), ""},
		{headers("X_!#$%&'*+.^`|~", "a b"), ""},
		{headers("X/Y", "z"), names},
		{headers("X", "ä"), names},
		{headers("Webhook-Id", "z"), "a header that begins with webhook- cannot be set"},
		{headers("x-zato-cid", "z"), "a header that begins with x-zato- cannot be set"},
		{headers("CE-Type", "z"), "a header that begins with ce- cannot be set"},
		{headers("Proxy-Authorization", "z"), "a header that begins with proxy- cannot be set"},
		{headers("HOST", "z"), "this header cannot be set"},
		{headers("Transfer-Encoding", "z"), "this header cannot be set"},
		{secrets(secretOf(24)), ""},
		{secrets(secretOf(64) + " " + secretOf(24)), ""},
		{secrets(secretOf(23)), secret},
		{secrets(secretOf(65)), secret},
		{secrets(strings.TrimPrefix(secretOf(32), "whsec_")), secret},
		{secrets(secretOf(32) + "!"), secret},
		{secrets(secretOf(24) + " " + secretOf(24) + " " + secretOf(24)), secret},
		{secrets(secretOf(24) + " "), secret},
	} {
		c := broker.ConsumerFields.New()
		c.Client, c.Topic, c.Name = "crm", "/t", "n"
		c.DeliveryMode, c.CallbackURL = broker.DeliveryCallback, "https://h/"
		tt.change(&c)
		err := c.Validate()
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%d: %v", i, err)
		case tt.want != "" && (broker.CodeOf(err) != broker.Invalid || !strings.HasSuffix(err.Error(), tt.want)):
			t.Errorf("%d: %v, want %s", i, err, tt.want)
		case err != nil && c.CallbackSecret != "" && strings.Contains(err.Error(), strings.Fields(c.CallbackSecret)[0]):
			t.Errorf("%d: the error shows the secret: %v", i, err)
		}
	}
}

func TestWebhookKeys(t *testing.T) {
	keys, err := signing.Keys(secretOf(24) + " " + secretOf(33))
	if err != nil || len(keys) != 2 || string(keys[0]) != strings.Repeat("k", 24) || string(keys[1]) != strings.Repeat("k", 33) {
		t.Errorf("%q %v", keys, err)
	}
	if keys, err := signing.Keys(""); err == nil {
		t.Errorf("keys of nothing: %q", keys)
	}
}

// TestCallbackSecret: one is made for who is sent messages and has none, told once, kept where none is given, and replaced
// by one that is.
func TestCallbackSecret(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.define(topicDef("/t"), consumerDef("/t", "a"))
	define := func(c broker.Consumer) (sealed []broker.Consumer) {
		t.Helper()
		return r.change(broker.Change{Define: broker.Definition{Consumers: []broker.Consumer{c}}}).Sealed
	}
	if s := r.queue("a").CallbackSecret; s != "" {
		t.Errorf("who receives has the secret %q", s)
	}
	sealed := define(callbackDef("/t", "a"))
	if len(sealed) != 1 || sealed[0].SubKey != "a" || sealed[0].CallbackSecret != r.queue("a").CallbackSecret {
		t.Fatalf("told: %+v", sealed)
	}
	made := sealed[0].CallbackSecret
	if keys, err := signing.Keys(made); err != nil || len(keys) != 1 || len(keys[0]) != 32 {
		t.Errorf("made: %q %v", made, err)
	}
	moved := callbackDef("/t", "a")
	moved.CallbackURL = "https://elsewhere.example.com/"
	if sealed := define(moved); len(sealed) != 0 || r.queue("a").CallbackSecret != made || r.queue("a").CallbackURL != moved.CallbackURL {
		t.Errorf("told again: %+v, kept: %+v", sealed, r.queue("a"))
	}
	r.restart()
	if s := r.queue("a").CallbackSecret; s != made {
		t.Errorf("after a restart: %q, want %q", s, made)
	}
	moved.CallbackSecret = secretOf(24) + " " + made
	if sealed := define(moved); len(sealed) != 0 || r.queue("a").CallbackSecret != moved.CallbackSecret {
		t.Errorf("given: %+v, told %+v", r.queue("a"), sealed)
	}
	if sealed := define(consumerDef("/t", "a")); len(sealed) != 0 || r.queue("a").CallbackSecret != moved.CallbackSecret {
		t.Errorf("as it receives for a while: %+v, told %+v", r.queue("a"), sealed)
	}

	other := r.change(broker.Change{DryRun: true, Define: broker.Definition{Consumers: []broker.Consumer{callbackDef("/t", "b")}}})
	if len(other.Sealed) != 0 || len(other.Consumers) != 1 || other.Consumers[0].After.CallbackSecret != "" {
		t.Errorf("a dry run: %+v", other)
	}
}

// TestCallbackDoor: who is sent messages does not receive them, and who sends them needs no key.
func TestCallbackDoor(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.define(topicDef("/t"), consumerDef("/t", "pull"), callbackDef("/t", "a"))
	cs := r.Broker.Callbacks()
	a := r.id("a")
	if list := cs.List(); len(list) != 1 || list[a] == nil || list[a].SubKey != "a" {
		t.Errorf("%v", list)
	}
	_, err := r.Subscription(r.crm, "/t", "a")
	if wantCode(t, err, broker.Denied); !strings.HasSuffix(err.Error(), `consumer "crm" of topic "/t" is sent its messages: its delivery_mode is callback-url`) {
		t.Error(err)
	}
	id := r.publish("/t", text("x"))
	s, err := cs.Subscription(a)
	if err != nil || s.Definition().CallbackURL != "https://erp.example.com/hooks" {
		t.Fatal(err)
	}
	m, err := s.Receive(ctx, broker.ReceiveOptions{})
	if err != nil || payloads(m) != "x " {
		t.Fatalf("%q %v", payloads(m), err)
	}
	if q := r.queue("a"); q.InFlight != 1 || !q.LastSeen.IsZero() {
		t.Errorf("the program itself was seen: %+v", q)
	}
	if done, err := s.Settle(broker.Settlement{Ack: []string{id}}); err != nil || done.Acked != 1 {
		t.Errorf("%+v %v", done, err)
	}

	state := stats.Callback{Failures: 3, Since: time.Now(), Next: time.Now().Add(time.Minute), Error: "no route", Paused: "gave up"}
	cs.Report(a, state)
	cs.Report(a+100, state) // deleted meanwhile
	if got := r.queue("a").Callback; got != state {
		t.Errorf("%+v, want %+v", got, state)
	}

	denied := func(id uint32, want string) {
		t.Helper()
		_, err := cs.Subscription(id)
		if broker.CodeOf(err) != broker.Denied || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	denied(r.id("pull"), fmt.Sprintf("consumer %d is not sent its messages", r.id("pull")))
	client, topic, consumer := broker.Client{Username: "crm", Name: "CRM", PasswordHash: hash}, topicDef("/t"), callbackDef("/t", "a")
	for _, tt := range []struct {
		inactive *bool
		want     string
	}{
		{&client.Inactive, `client "crm" is not active`},
		{&topic.Inactive, `topic "/t" is not active`},
		{&consumer.Inactive, `consumer "crm" of topic "/t" is not active`},
	} {
		define := func() {
			r.change(broker.Change{Define: broker.Definition{Clients: []broker.Client{client}, Topics: []broker.Topic{topic}, Consumers: []broker.Consumer{consumer}}})
		}
		*tt.inactive = true
		define()
		denied(a, tt.want)
		if len(cs.List()) != 1 {
			t.Errorf("with %s it is in no list", tt.want)
		}
		*tt.inactive = false
		define()
		if _, err := cs.Subscription(a); err != nil {
			t.Error(err)
		}
	}
	r.deleteConsumer("a")
	denied(a, fmt.Sprintf("consumer %d is not sent its messages", a))
	if list := cs.List(); len(list) != 0 {
		t.Errorf("%v", list)
	}
}

// await is an Await under way, and what it came to.
func await(ctx context.Context, s *broker.Subscription) <-chan error {
	done := make(chan error, 1)
	go func() { done <- s.Await(ctx, nil) }()
	synctest.Wait()
	return done
}

// TestAwait: it ends when there is something, and takes nothing; of one topic and of a pattern.
func TestAwait(t *testing.T) {
	for _, topic := range []string{"/t", "/*"} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, broker.Options{})
			r.definePattern(callbackDef(topic, "a"), "/t", "/u")
			s, err := r.Broker.Callbacks().Subscription(r.id("a"))
			if err != nil {
				t.Fatal(err)
			}
			want := func(done <-chan error, after time.Duration, what string) {
				t.Helper()
				start := time.Now()
				err := <-done
				if took := time.Since(start).Round(time.Second); err != nil || took != after {
					t.Errorf("%s: after %s, %v, want %s", what, took, err, after)
				}
			}
			waits := await(ctx, &s)
			if q := r.queue("a"); q.Waiting != 1 {
				t.Errorf("waiting: %+v", q)
			}
			id := r.publish("/t", broker.Publication{Payload: []byte("x"), Expiration: 600})
			want(waits, 0, "a message")
			want(await(ctx, &s), 0, "it is there already")
			receive := func() {
				t.Helper()
				if m, err := s.Receive(ctx, broker.ReceiveOptions{}); err != nil || payloads(m) != "x " {
					t.Fatalf("received: %q %v", payloads(m), err)
				}
			}
			receive()
			want(await(ctx, &s), 30*time.Second, "the ack timeout")
			receive()
			if _, err := s.Settle(broker.Settlement{Reject: []string{id}, Delay: 7}); err != nil {
				t.Fatal(err)
			}
			want(await(ctx, &s), 7*time.Second, "the delay of a reject")
			receive()
			r.publish("/t", broker.Publication{Payload: []byte("y"), Delay: 9, Expiration: 600})
			want(await(ctx, &s), 9*time.Second, "the delay of a message")
		})
	}
}

// TestAwaitEnds: with what it waits for, with the caller, and with the process.
func TestAwaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		r.define(topicDef("/t"), callbackDef("/t", "a"))
		cs := r.Broker.Callbacks()
		a := r.id("a")
		open := func() *broker.Subscription {
			t.Helper()
			s, err := cs.Subscription(a)
			if err != nil {
				t.Fatal(err)
			}
			return &s
		}
		define := func(change func(*broker.Consumer)) {
			c := callbackDef("/t", "a")
			change(&c)
			r.change(broker.Change{Define: broker.Definition{Consumers: []broker.Consumer{c}}})
		}
		waits := await(ctx, open())
		for len(cs.Changed()) > 0 {
			<-cs.Changed()
		}
		define(func(c *broker.Consumer) { c.CallbackURL = "https://elsewhere.example.com/" })
		if now := open().Definition(); len(cs.Changed()) != 1 || now.CallbackURL != "https://elsewhere.example.com/" {
			t.Errorf("nobody is told of %+v", now)
		}
		synctest.Wait()
		if len(waits) > 0 {
			t.Errorf("another address ends it: %v", <-waits)
		}
		define(func(c *broker.Consumer) { c.Inactive = true }) // as one is paused
		wantCode(t, <-waits, broker.Denied)

		define(func(*broker.Consumer) {})
		waits = await(ctx, open())
		define(func(c *broker.Consumer) { c.DeliveryMode = broker.DeliveryPull })
		wantCode(t, <-waits, broker.Denied)
		if m := r.receive("/t", "a", broker.ReceiveOptions{}); len(m) != 0 {
			t.Errorf("%q", payloads(m))
		}

		define(func(*broker.Consumer) {})
		leaving, leave := context.WithTimeout(ctx, time.Minute)
		defer leave()
		if err := <-await(leaving, open()); err != context.DeadlineExceeded {
			t.Error(err)
		}
		waits = await(ctx, open())
		if q := r.queue("a"); q.Waiting != 1 {
			t.Errorf("%+v", q)
		}
		r.Drain()
		if err := <-waits; err != context.Canceled {
			t.Error(err)
		}
		if q := r.queue("a"); q.Waiting != 0 {
			t.Errorf("%+v", q)
		}
	})
}

// TestCallbackOutlivesRestart: what is sent its messages is so after a restart, with all that its calls need.
func TestCallbackOutlivesRestart(t *testing.T) {
	r := newRig(t, broker.Options{})
	c := callbackDef("/t", "a")
	c.CallbackFormat, c.CallbackBatch, c.CallbackTimeout, c.CallbackConcurrency = broker.FormatRaw, 7, time.Second, 3
	c.CallbackHeaders = property.TableOf(map[string]string{"Authorization": "Bearer x", "X-A": "b: c"})
	c.CallbackRetry, c.CallbackGiveUp = property.DurationsOf(time.Second, time.Minute), property.Off
	r.define(topicDef("/t"), c)
	before := r.queue("a").Consumer
	r.restart()
	after := r.queue("a").Consumer
	if after.CallbackFormat != c.CallbackFormat || after.CallbackBatch != 7 || after.CallbackTimeout != time.Second || after.CallbackConcurrency != 3 ||
		after.CallbackHeaders.Map()["X-A"] != "b: c" || !slices.Equal(after.CallbackRetry.List(), []time.Duration{time.Second, time.Minute}) ||
		after.CallbackGiveUp != property.Off || after != before {
		t.Errorf("%+v, was %+v", after, before)
	}
	if list := r.Broker.Callbacks().List(); len(list) != 1 {
		t.Errorf("%v", list)
	}
}
