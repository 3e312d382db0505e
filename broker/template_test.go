package broker_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
	"pipit/broker/browse"
	"pipit/broker/change"
	"pipit/broker/limit"
	"pipit/broker/property"
	"pipit/broker/store"
)

func templateDef(name string, most int64) broker.Topic {
	t := topicDef(name)
	t.AutoCreate, t.MaxTopics = true, most
	return t
}

// defineTemplates makes templates, a producer of all topics, and consumers.
func (r *rig) defineTemplates(templates []broker.Topic, consumers ...broker.Consumer) {
	r.t.Helper()
	_, err := r.Apply(ctx, broker.Definition{
		Clients:   []broker.Client{{Username: "crm", Name: "CRM", PasswordHash: hash}},
		Topics:    templates,
		Producers: []broker.Producer{{Client: "crm", Topic: "**"}},
		Consumers: consumers,
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// send publishes to a topic that may not be there.
func (r *rig) send(topic string) error {
	p, err := r.Publisher(r.crm, topic)
	if err == nil {
		_, err = p.Publish(text(topic))
	}
	return err
}

func (r *rig) names() string {
	var names []string
	for _, t := range r.Topics() {
		names = append(names, t.Name)
	}
	return strings.Join(names, " ")
}

func (r *rig) made(template string) int {
	r.t.Helper()
	t, ok := r.Template(template)
	if !ok {
		r.t.Fatalf("no template %s", template)
	}
	return t.Made
}

// TestTemplate: the first message makes the topic with the settings of the template, consumers of patterns get it, and a
// restart knows all of it.
func TestTemplate(t *testing.T) {
	r := newRig(t, broker.Options{})
	order := templateDef("/order/*", 2)
	order.Expiration, order.MaxDepth, order.Retention = property.Off, 3, time.Hour
	r.defineTemplates([]broker.Topic{order}, consumerDef("/order/*", "k"), consumerDef("/**", "all"), consumerDef("/bill/*", "other"))
	var notes []string
	r.OnMade(func(t *broker.Topic, template, by string, _ bool) broker.Document {
		notes = append(notes, t.Name+" of "+template+" by "+by)
		return broker.Document{Kind: "note", Key: "1", Value: []byte(t.Name)}
	})
	if err := r.send("/order/lv"); err != nil {
		t.Fatal(err)
	}
	r.wantDocument("note", "1", "/order/lv")
	if _, err := r.Publish(ctx, "/order/ee", []byte("/order/ee")); err != nil {
		t.Fatal(err)
	}
	if want := []string{"/order/lv of /order/* by client crm", "/order/ee of /order/* by service"}; !slices.Equal(notes, want) {
		t.Errorf("notes: %q", notes)
	}
	for range 2 {
		got := r.topic("/order/lv")
		want := broker.Topic{Name: "/order/lv", MaxDepth: 3, Expiration: property.Off, DedupWindow: 5 * time.Minute, Retention: time.Hour,
			RetentionBytes: property.Off, MaxTopics: limit.DefaultMaxTopics}
		if got.Topic != want || got.Template != "/order/*" || got.Consumers != 2 {
			t.Errorf("made: %+v", got)
		}
		for _, key := range []string{"k", "all"} {
			if got := payloads(r.receive("", key, broker.ReceiveOptions{})); got != "/order/lv /order/ee " {
				t.Errorf("%s got %q", key, got)
			}
		}
		if n := r.made("/order/*"); n != 2 || r.names() != "/order/ee /order/lv" {
			t.Errorf("%d made, there are %s", n, r.names())
		}
		err := r.send("/order/lt")
		if wantCode(t, err, broker.Full); !strings.Contains(err.Error(), `template "/order/*" has made 2 topics, which is its max_topics`) {
			t.Error(err)
		}
		if r.restart(); r.Totals().Topics != 2 {
			t.Errorf("totals: %+v", r.Totals())
		}
	}
	if q := r.queue("other"); q.Backlog != 0 {
		t.Errorf("other: %+v", q)
	}
	r.deleteTopic("/order/ee")
	r.restart()
	if err := r.send("/order/lt"); err != nil {
		t.Error("one was deleted:", err)
	}
	wantCode(t, r.send("/order/ee"), broker.Full)
}

// TestTemplateNoTopic: a template is nowhere a topic, and what is neither is refused.
func TestTemplateNoTopic(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.defineTemplates([]broker.Topic{templateDef("/order/*", 5), templateDef("/dead/*", 5)}, consumerDef("/order/*", "k"))
	if _, err := r.Browse(ctx, browse.Options{Topic: "/order/*"}); broker.CodeOf(err) != broker.NotFound {
		t.Errorf("browse: %v", err)
	}
	if _, ok := r.Topic("/order/*"); ok || r.HasTopic("/order/*") || len(r.Topics()) > 0 {
		t.Error("it is a topic")
	}
	for name, code := range map[string]broker.Code{
		"/order/*": broker.Invalid, "/order/\u200b": broker.Invalid, "/order/a/b": broker.Denied, "/bill": broker.Denied,
		"/order/" + strings.Repeat("x", limit.MaxTopicName): broker.Invalid,
	} {
		if err := r.send(name); broker.CodeOf(err) != code {
			t.Errorf("publish to %q: %v", name, err)
		}
	}
	if _, err := r.Publish(ctx, "/bill", nil); broker.CodeOf(err) != broker.NotFound {
		t.Errorf("publish to no topic: %v", err)
	}
	if _, err := r.Publisher(&broker.Client{Username: "erp"}, "/order/a"); broker.CodeOf(err) != broker.Denied {
		t.Errorf("publish without a producer: %v", err)
	}
	p, err := r.Publisher(r.crm, "/order/a")
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Publish(broker.Publication{Priority: 99})
	wantCode(t, err, broker.Invalid)
	_, err = p.PublishBatch([]broker.Publication{text("1"), {Priority: 99}})
	wantCode(t, err, broker.Invalid)
	if r.names() != "" {
		t.Errorf("what was refused made %s", r.names())
	}
	r.change(broker.Change{Delete: []change.Ref{{Kind: change.Producer, Name: "crm", Topic: "**"}}})
	_, err = p.Publish(text("late"))
	if wantCode(t, err, broker.Denied); r.names() != "" {
		t.Errorf("a producer that is gone made %s", r.names())
	}
	grave, star := consumerDef("/order/*", "k"), consumerDef("/order/*", "k")
	grave.DeadLetterTopic, star.DeadLetterTopic = "/dead/order", "/dead/*"
	for what, d := range map[string]broker.Definition{
		`"/dead/order" of consumer "crm" of topic "/order/*": no such topic`: {Consumers: []broker.Consumer{grave}},
		`"/dead/*" of consumer "crm" of topic "/order/*": no such topic`:     {Consumers: []broker.Consumer{star}},
		"no pattern": {Webhooks: []broker.Webhook{{Name: "h", Topic: "/order/*", Client: "crm", Verify: broker.VerifyToken, Secret: property.TextsOf("secret secret secret")}}},
	} {
		if _, err := r.Change(ctx, broker.Change{Define: d}); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestTemplateDefine: what a template may be, that it does not become a topic, and what is told of it.
func TestTemplateDefine(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.defineTemplates([]broker.Topic{templateDef("/order/*", 5)})
	r.change(broker.Change{Define: broker.Definition{Topics: []broker.Topic{topicDef("/t")}}})
	many := topicDef("/t")
	many.MaxTopics = 7
	for _, c := range []struct {
		t    broker.Topic
		want string
	}{
		{topicDef("/order/**"), "a new topic has no * in its name, which is for patterns, unless auto_create"},
		{topicDef("/order/*"), `auto_create of topic "/order/*": it is a template for good`},
		{templateDef("/t", 5), "allowed with a pattern for a name"},
		{templateDef("/t*", 5), "allowed in a pattern are"},
		{templateDef("/\u200b/*", 5), "U+200B"},
		{templateDef("/order/*", limit.MaxMaxTopics+1), "allowed are 1 to 1000000"},
		{templateDef("/order/*", property.Off), "allowed are 1 to 1000000"},
		{many, "max_topics 7 of topic \"/t\": allowed with auto_create"},
	} {
		if _, err := r.Change(ctx, broker.Change{Define: broker.Definition{Topics: []broker.Topic{c.t}}}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", c.t.Name, err, c.want)
		}
	}
	before, _ := r.Template("/order/*")
	r.restart()
	after, _ := r.Template("/order/*")
	if before != after || before.Revision == "" {
		t.Errorf("before %+v, after %+v", before, after)
	}
	if done := r.change(broker.Change{Define: r.Definition()}); done.Topics[0].Action != change.Keep || done.Topics[1].Action != change.Keep {
		t.Errorf("defined again: %+v", done.Topics)
	}
	expect := func(revision string) error {
		_, err := r.Change(ctx, broker.Change{DryRun: true, Expect: []change.Expect{{Ref: topicRef("/order/*"), Revision: revision}}})
		return err
	}
	if err := errors.Join(expect("*"), expect(after.Revision)); err != nil {
		t.Error(err)
	}
	wantCode(t, expect(""), broker.Conflict)

	// What it made stays, and counts for the next of its name.
	if err := errors.Join(r.send("/order/a"), r.send("/order/b")); err != nil {
		t.Fatal(err)
	}
	r.change(broker.Change{Define: broker.Definition{Topics: []broker.Topic{templateDef("/order/*", 1)}}})
	wantCode(t, r.send("/order/c"), broker.Full)
	r.deleteTopic("/order/*")
	wantCode(t, r.send("/order/c"), broker.Denied)
	if err := r.send("/order/a"); err != nil || r.names() != "/order/a /order/b /t" {
		t.Errorf("%v, there are %s", err, r.names())
	}
	edited := r.topic("/order/a").Topic
	edited.Expiration = 9
	r.change(broker.Change{Define: broker.Definition{Topics: []broker.Topic{edited}}})
	r.restart()
	r.change(broker.Change{Define: broker.Definition{Topics: []broker.Topic{templateDef("/order/*", 3)}}})
	if n := r.made("/order/*"); n != 2 {
		t.Errorf("%d made", n)
	}
	if err := r.send("/order/c"); err != nil {
		t.Error(err)
	}
	wantCode(t, r.send("/order/d"), broker.Full)
}

// TestTemplateMostSpecific: of several templates that match one makes the topic, the same in any order.
func TestTemplateMostSpecific(t *testing.T) {
	for _, c := range []struct{ name, want, other string }{
		{"/a/b", "/a/*", "/*/b"},
		{"/a/b", "/a/*", "/**"},
		{"/a/b", "/a/*", "/a/*/**"},
		{"/a/b", "/a/**", "/*/*"},
		{"/a/b", "/**/b", "/**"},
		{"/a/b", "/**/*", "/**"},
		{"/a/b", "/*/b", "/*/*"},
		{"/a/b/c", "/a/**/c", "/a/**"},
		{"/a/b", "/**/a/*", "/**/b"}, // the alphabet
	} {
		for _, order := range [][]broker.Topic{{templateDef(c.want, 1), templateDef(c.other, 1)}, {templateDef(c.other, 1), templateDef(c.want, 1)}} {
			r := newRig(t, broker.Options{})
			r.defineTemplates(order)
			if err := r.send(c.name); err != nil || r.topic(c.name).Template != c.want {
				t.Errorf("%s of %s and %s: %v, made by %s", c.name, c.want, c.other, err, r.topic(c.name).Template)
			}
		}
	}
	// One that is not active is an exception from a wider one.
	r := newRig(t, broker.Options{})
	off := templateDef("/a/*", 1)
	off.Inactive = true
	r.defineTemplates([]broker.Topic{templateDef("/**", 5), off})
	wantCode(t, r.send("/a/b"), broker.Denied)
	if err := r.send("/b/b"); err != nil || r.names() != "/b/b" {
		t.Errorf("%v, there are %s", err, r.names())
	}
	off.Inactive = false
	r.change(broker.Change{Define: broker.Definition{Topics: []broker.Topic{off}}})
	if err := r.send("/a/b"); err != nil || r.topic("/a/b").Inactive {
		t.Errorf("%v, made: %+v", err, r.topic("/a/b"))
	}
}

// TestTemplateTogether: of many first messages at once none is lost, each topic is made once, and max_topics is exact.
func TestTemplateTogether(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.defineTemplates([]broker.Topic{templateDef("/order/*", 3)}, consumerDef("/order/*", "k"))
	var mu sync.Mutex
	stored, full, made := 0, 0, map[string]bool{}
	var all sync.WaitGroup
	for i := range 48 {
		all.Go(func() {
			name := fmt.Sprintf("/order/%d", i%6)
			p, err := r.Publisher(r.crm, name)
			if err == nil && i%2 == 0 {
				_, err = p.PublishBatch([]broker.Publication{text("m"), text("n")})
			} else if err == nil {
				_, err = p.Publish(text("m"))
			}
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				made[name] = true
				stored += 2 - i%2
			case broker.CodeOf(err) == broker.Full:
				full++
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got := r.receive("", "k", broker.ReceiveOptions{Max: 1000}); len(got) != stored || len(made) != 3 || full != 24 {
		t.Errorf("received %d of %d, made %v, %d refused", len(got), stored, made, full)
	}
	r.restart()
	if n := r.made("/order/*"); n != 3 || len(r.Topics()) != 3 {
		t.Errorf("%d made, %s", n, r.names())
	}
}

// TestTemplateWait: who waits already gets the first message of a topic that it makes.
func TestTemplateWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		r.defineTemplates([]broker.Topic{templateDef("/order/*", 3)}, consumerDef("/order/**", "k"))
		got := make(chan []broker.Message, 1)
		go func() {
			m, _ := r.sub("", "k").Receive(ctx, broker.ReceiveOptions{Wait: time.Minute})
			got <- m
		}()
		synctest.Wait()
		if err := r.send("/order/a"); err != nil {
			t.Fatal(err)
		}
		if m := <-got; payloads(m) != "/order/a " || m[0].Topic != "/order/a" {
			t.Errorf("%+v", m)
		}
	})
}

// TestTemplateDiskFull: where the topic cannot be stored there is none, and where the message cannot, there is one.
func TestTemplateDiskFull(t *testing.T) {
	r, s := newFaultyRig(t)
	r.defineTemplates([]broker.Topic{templateDef("/order/*", 3)}, consumerDef("/order/**", "k"))
	s.fail(func(b *store.Batch) error {
		if len(b.Define) > 0 {
			return fmt.Errorf("write: %w", store.ErrNoSpace)
		}
		return nil
	})
	wantCode(t, r.send("/order/a"), broker.DiskFull)
	if r.names() != "" || r.made("/order/*") != 0 {
		t.Errorf("there are %s", r.names())
	}
	s.fail(noSpace)
	wantCode(t, r.send("/order/a"), broker.DiskFull)
	if r.names() != "/order/a" || r.made("/order/*") != 1 {
		t.Errorf("there are %s", r.names())
	}
	s.fail(nil)
	if err := r.send("/order/a"); err != nil || payloads(r.receive("", "k", broker.ReceiveOptions{})) != "/order/a " {
		t.Error(err)
	}
}
