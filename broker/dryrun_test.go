package broker_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pipit/broker"
	"pipit/broker/change"
	"pipit/broker/limit"
	"pipit/broker/login"
	"pipit/broker/property"
)

// TestDryRun makes random changes, right and wrong ones, first as dry runs: both tell the same, a dry run
// leaves everything as it is, and the objects are then as was told.
func TestDryRun(t *testing.T) {
	r := newRig(t, broker.Options{})
	g := changeMaker{newRand(t, 22), nil}
	for _, password := range []string{"right", "wrong"} {
		h, err := login.HashPassword(password)
		if err != nil {
			t.Fatal(err)
		}
		g.hashes = append(g.hashes, h)
	}
	done, refused := 0, 0
	for step := range 400 {
		c := g.change(r)
		before := r.Definition()
		c.DryRun = true
		would, dryErr := r.Change(ctx, c)
		if after := r.Definition(); fmt.Sprint(before) != fmt.Sprint(after) {
			t.Fatalf("step %d: a dry run of %+v made %+v of %+v", step, c, after, before)
		}
		if len(would.Made) > 0 {
			t.Fatalf("step %d: a dry run made %+v", step, would.Made)
		}
		c.DryRun = false
		did, err := r.Change(ctx, c)
		if fmt.Sprint(err) != fmt.Sprint(dryErr) || broker.CodeOf(err) != broker.CodeOf(dryErr) {
			t.Fatalf("step %d: %+v: %v, the dry run: %v", step, c, err, dryErr)
		}
		if err != nil {
			refused++
			if after := r.Definition(); fmt.Sprint(before) != fmt.Sprint(after) {
				t.Fatalf("step %d: refused, %+v made %+v of %+v", step, c, after, before)
			}
			continue
		}
		done++
		samePasswords(t, r, &would, &did)
		if a, b := told(&would), told(&did); a != b {
			t.Fatalf("step %d: %+v\nwould: %s\ndid:   %s", step, c, a, b)
		}
		wantDone(t, r, &did)
	}
	if done < 50 || refused < 50 {
		t.Errorf("%d done and %d refused of random changes", done, refused)
	}
}

// told is what a change tells of itself, but for the sub_keys that it made.
func told(c *broker.Changed) string {
	deleted := slices.Clone(c.Deleted)
	slices.SortFunc(deleted, func(a, b change.Ref) int { return strings.Compare(a.String(), b.String()) })
	consumers := slices.Clone(c.Consumers)
	for i := range consumers {
		if key := &consumers[i].After.SubKey; slices.ContainsFunc(c.Made, func(made broker.Consumer) bool { return made.SubKey == *key }) {
			*key = ""
		}
	}
	return fmt.Sprintf("%+v %+v %+v %+v %+v %v", c.Clients, c.Topics, c.Producers, consumers, c.Webhooks, deleted)
}

// samePasswords checks the outcomes of clients that were given a password, and takes them out: a dry run takes
// each for a new one.
func samePasswords(t *testing.T, r *rig, would, did *broker.Changed) {
	t.Helper()
	for i := range would.Clients {
		w, d := &would.Clients[i], &did.Clients[i]
		if w.After.Password == "" {
			continue
		}
		want := w.Action
		if login.CheckPassword(w.Before.PasswordHash, w.After.Password) && w.Before.Name == w.After.Name && w.Before.Inactive == w.After.Inactive {
			want = change.Keep
		}
		if d.Action != want || d.After.Password != "" || !login.CheckPassword(d.After.PasswordHash, w.After.Password) || w.Action == change.Keep {
			t.Fatalf("would: %+v, did: %+v", w, d)
		}
		*w, *d = change.Outcome[broker.Client]{}, change.Outcome[broker.Client]{}
	}
}

// wantDone checks that the objects are as was told.
func wantDone(t *testing.T, r *rig, did *broker.Changed) {
	t.Helper()
	have := r.Definition()
	for _, o := range did.Clients {
		if o.After != (broker.Client{}) && !slices.Contains(have.Clients, o.After) {
			t.Fatalf("no %+v in %+v", o, have.Clients)
		}
	}
	for _, o := range did.Topics {
		if !slices.Contains(have.Topics, o.After) {
			t.Fatalf("no %+v in %+v", o, have.Topics)
		}
	}
	for _, o := range did.Producers {
		if !slices.Contains(have.Producers, o.After) {
			t.Fatalf("no %+v in %+v", o, have.Producers)
		}
	}
	for _, o := range did.Webhooks {
		if !slices.Contains(have.Webhooks, o.After) {
			t.Fatalf("no %+v in %+v", o, have.Webhooks)
		}
	}
	for _, c := range slices.Clone(did.Made) {
		if !slices.ContainsFunc(have.Consumers, func(h broker.Consumer) bool {
			return h.SubKey == c.SubKey && h.Client == c.Client && h.Topic == c.Topic
		}) {
			t.Fatalf("no %+v in %+v", c, have.Consumers)
		}
	}
	for _, o := range did.Consumers {
		if !slices.ContainsFunc(have.Consumers, func(h broker.Consumer) bool {
			if o.After.SubKey == "" { // made
				h.SubKey = ""
			}
			return h == o.After
		}) {
			t.Fatalf("no %+v in %+v", o, have.Consumers)
		}
	}
	for _, ref := range did.Deleted {
		var there bool
		switch ref.Kind {
		case change.Client:
			_, there = r.Client(ref.Name)
		case change.Topic:
			_, there = r.Topic(ref.Name)
		case change.Producer:
			_, there = r.Producer(ref.ID)
		case change.Consumer:
			_, there = r.Consumer(ref.ID)
		case change.Webhook:
			_, there = r.Webhook(ref.Name)
		}
		if there {
			t.Fatalf("%v is still there", ref)
		}
	}
}

// changeMaker makes random changes of few names, so that they meet.
type changeMaker struct {
	*rand.Rand
	hashes []string
}

func (g *changeMaker) one(n int) bool { return g.IntN(n) == 0 }

func (g *changeMaker) pick(of ...string) string { return of[g.IntN(len(of))] }

func (g *changeMaker) username() string  { return fmt.Sprint("c", g.IntN(4)) }
func (g *changeMaker) topicName() string { return fmt.Sprint("/t", g.IntN(3)) }

func (g *changeMaker) change(r *rig) broker.Change {
	var c broker.Change
	for range g.IntN(3) {
		c.Define.Clients = append(c.Define.Clients, g.client())
	}
	for range g.IntN(3) {
		t := topicDef(g.topicName())
		t.Inactive, t.MaxDepth = g.one(2), int64(1+g.IntN(3))
		if g.one(25) {
			t.MaxDepth, t.Expiration = property.Off, -1
		}
		c.Define.Topics = append(c.Define.Topics, t)
	}
	for range g.IntN(3) {
		c.Define.Producers = append(c.Define.Producers, broker.Producer{Client: g.username(), Topic: g.topicName(), Inactive: g.one(2), LastSeen: time.Unix(1, 0)})
	}
	for range g.IntN(4) {
		q := consumerDef(g.topicName(), g.pick("", "", "k0", "k1", "k2", "k3"))
		q.Client, q.Name, q.MaxInFlight, q.New = g.username(), g.pick("", "", "n0", "n1"), 1+g.IntN(2), g.one(4)
		if g.one(2) {
			q.Start = broker.StartOldest
		}
		if g.one(25) {
			q.MaxDepth = property.Off
		}
		c.Define.Consumers = append(c.Define.Consumers, q)
	}
	for range g.IntN(5) / 3 {
		w := broker.Webhook{Name: g.pick("w0", "w1", "w2"), Client: g.username(), Topic: g.topicName(), Verify: g.pick(broker.VerifyToken, broker.VerifyNone), Inactive: g.one(2)}
		if w.Verify == broker.VerifyNone {
			w.AllowFrom = property.TextsOf("192.0.2.0/24")
		} else if !g.one(4) { // else it keeps that which there is, or is refused
			w.Secret = property.TextsOf(g.pick("s0", "s1"))
		}
		c.Define.Webhooks = append(c.Define.Webhooks, w)
	}
	if all := r.Webhooks(); len(all) > 0 && g.one(16) {
		c.Delete = append(c.Delete, webhookRef(all[g.IntN(len(all))].Name))
	}
	if g.one(4) {
		c.Delete = append(c.Delete, []change.Ref{
			{Kind: change.Client, Name: g.username()}, {Kind: change.Topic, Name: g.topicName()},
			{Kind: change.Producer, Name: g.username(), Topic: g.topicName()},
		}[g.IntN(3)])
	}
	if all := r.Consumers(); len(all) > 0 {
		q := all[g.IntN(len(all))]
		if g.one(8) {
			c.Delete = append(c.Delete, change.Ref{Kind: change.Consumer, ID: q.ID})
		}
		if g.one(8) {
			c.Rotate = append(c.Rotate, q.ID)
			if g.one(2) { // and given too
				given := q.Consumer
				given.MaxInFlight = 1 + g.IntN(2)
				c.Define.Consumers = append(c.Define.Consumers, given)
			}
		}
		if g.one(8) {
			c.Expect = append(c.Expect, change.Expect{Ref: change.Ref{Kind: change.Consumer, ID: q.ID}, Revision: g.pick(q.Revision, "*", "other")})
		}
	}
	return c
}

func (g *changeMaker) client() broker.Client {
	c := broker.Client{Username: g.username(), Name: g.pick("", "A"), Inactive: g.one(2)}
	switch g.IntN(12) {
	case 0:
	case 1:
		c.PasswordHash = "none"
	case 2:
		c.Password = "right"
	case 3:
		c.Username = "a:b"
	default:
		c.PasswordHash = g.hashes[g.IntN(2)]
	}
	return c
}

// All that is wrong with a definition is told, where it stands.
func TestFaults(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.define(topicDef("/here")) // and the client crm
	bad := topicDef("/bad")
	bad.MaxDepth, bad.Expiration = property.Off, -1
	d := broker.Definition{
		Clients:   []broker.Client{{Username: "new"}, {Username: "a:b", PasswordHash: "x"}},
		Topics:    []broker.Topic{topicDef("/t"), bad, topicDef("/t")},
		Producers: []broker.Producer{{Client: "new", Topic: "/bad"}, {Client: "none", Topic: "/t"}},
		Consumers: []broker.Consumer{consumerDef("/none", "c d"), consumerDef("/t", "a b")},
	}
	want := []string{"client 0 password_hash", "client 1 username", "client 1 password_hash", "topic 1 max_depth", "topic 1 expiration",
		"topic 2 name", "producer 1 client", "consumer 0 topic", "consumer 0 sub_key", "consumer 1 sub_key"}
	_, err := r.Change(ctx, broker.Change{Define: d, DryRun: true})
	faults, ok := err.(broker.Faults)
	if !ok {
		t.Fatal(err)
	}
	var got []string
	for _, f := range faults {
		got = append(got, fmt.Sprint(f.Kind, " ", f.Index, " ", f.Err.Field))
	}
	if !slices.Equal(got, want) || broker.CodeOf(err) != broker.Invalid || strings.Count(err.Error(), "\n") != len(want)-1 {
		t.Errorf("%q: %v", got, err)
	}
	d.Topics = slices.Repeat([]broker.Topic{bad}, 30)
	if _, err := r.Change(ctx, broker.Change{Define: d}); len(err.(broker.Faults)) != limit.MaxFaults {
		t.Error(err)
	}
}

// A note is put with what it is about, and where nothing changes there is none.
func TestNote(t *testing.T) {
	r := newRig(t, broker.Options{})
	put := func(name string, dryRun bool) {
		t.Helper()
		c := broker.Change{Define: broker.Definition{Topics: []broker.Topic{topicDef("/t")}}, DryRun: dryRun, Note: func(done *broker.Changed) []broker.Document {
			return []broker.Document{{Kind: "k", Key: name, Value: []byte(done.Topics[0].Action)}}
		}}
		if _, err := r.Change(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	put("dry", true)
	put("first", false)
	put("second", false)
	r.wantDocument("k", "dry", "")
	r.wantDocument("k", "first", "create")
	r.wantDocument("k", "second", "")
}
