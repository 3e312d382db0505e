package broker_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"pipit/broker"
	"pipit/broker/store"
)

// declared is a consumer of /t as a configuration says it: "NAME=KEY", where either may be empty.
func declared(s string) broker.Consumer {
	name, key, _ := strings.Cut(s, "=")
	c := consumerDef("/t", key)
	c.Name = name
	return c
}

// declare is what a start does with a configuration of these consumers.
func (r *rig) declare(consumers ...string) (broker.Applied, error) {
	r.t.Helper()
	d := broker.Definition{
		Clients: []broker.Client{{Username: "crm", Name: "CRM", PasswordHash: hash}},
		Topics:  []broker.Topic{topicDef("/t")},
	}
	for _, s := range consumers {
		d.Consumers = append(d.Consumers, declared(s))
	}
	return r.Apply(ctx, d)
}

// consumers are all of them in the order of their IDs: "NAME=KEY".
func (r *rig) consumers() string {
	list := r.Consumers()
	slices.SortFunc(list, func(x, y broker.ConsumerInfo) int { return int(x.ID) - int(y.ID) })
	var all []string
	for _, c := range list {
		all = append(all, c.Name+"="+c.SubKey)
	}
	return strings.Join(all, " ")
}

// A declared consumer is the same one whatever becomes of its sub_key, and the key of an administrator
// stays until the configuration says another one.
func TestDeclaredConsumers(t *testing.T) {
	type step struct {
		do   string // declare …, rotate KEY (the new key is "#"), create NAME=KEY, forget: the records become those of an old database
		want string // of consumers(); "!" and an error
	}
	for name, steps := range map[string][]step{
		"rotated": {
			{"declare =K", "=K"}, {"rotate K", "=#"}, {"declare =K", "=#"}, {"declare =K", "=#"},
			{"declare =new", "=new"}, {"declare =K", "=K"},
		},
		"rotated, named": {
			{"declare a=K b=L", "a=K b=L"}, {"rotate K", "a=# b=L"}, {"declare b=L a=K", "a=# b=L"}, {"declare a=new b=L", "a=new b=L"},
		},
		"new key": {{"declare =K", "=K"}, {"declare =L", "=L"}, {"declare a=L", "a=L"}, {"declare a=M", "a=M"}},
		"the file says what the administrator made": {
			{"declare =K", "=K"}, {"rotate K", "=#"}, {"declare =#", "=#"}, {"declare =K", "=K"},
		},
		"said nothing meanwhile": {
			{"declare =K", "=K"}, {"rotate K", "=#"}, {"declare =", "=#"}, {"declare =K", "=#"}, {"declare", "=#"}, {"declare =K", "=#"},
		},
		"a key for one without": {{"declare a=K", "a=K"}, {"declare a=", "a=K"}, {"declare a=L", "a=L"}},
		"several without names": {
			{"declare =K =L", "=K =L"}, {"rotate K", "=# =L"}, {"declare =L =K", "=# =L"}, {"declare =K =M", "=# =M"},
			{"declare =K =M =N", "=# =M =N"},
			{"declare =O =P =N", "!which of them have new sub_keys cannot be told: give each a name"},
			{"declare a=K b=M =N", "a=# b=M =N"}, {"declare a=O b=P =N", "a=O b=P =N"},
		},
		"names come and go": {
			{"declare =K", "=K"}, {"declare a=K", "a=K"}, {"declare =K", "=K"}, {"declare a=", "a=K"}, {"declare b=K", "b=K"}, {"declare b=L", "b=L"},
		},
		"a new one with a name": {{"declare =K", "=K"}, {"declare =K a=L", "=K a=L"}, {"declare a=L b=M", "=K a=L b=M"}},
		"swap":                  {{"declare a=K b=L", "a=K b=L"}, {"declare a=L b=K", "a=L b=K"}},
		"an administrator's own": {
			{"declare =K", "=K"}, {"create =X", "=K =X"}, {"declare =K", "=K =X"}, {"declare =L", "=L =X"},
			{"create a=Y", "=L =X a=Y"}, {"declare =L a=Z", "=L =X a=Z"},
			{"declare =L b=X", "=L b=X a=Z"},
		},
		"not of the file yet": {{"declare", ""}, {"create =X", "=X"}, {"declare =K", "=X =K"}},
		"taken": {
			{"declare a=K b=L", "a=K b=L"}, {"declare a=L", "!is that of another consumer"}, {"declare a=K", "a=K b=L"},
		},
		"old database": {{"declare =K =L", "=K =L"}, {"forget", "=K =L"}, {"declare =L a=K", "a=K =L"}},
		"old database, rotated": {
			{"declare =K", "=K"}, {"rotate K", "=#"}, {"forget", "=#"}, {"declare =K", "=#"}, {"declare =L", "=L"},
		},
		"old database, without a key": {{"declare =K", "=K"}, {"forget", "=K"}, {"declare =", "=K"}, {"declare =K", "=K"}, {"declare =L", "=L"}},
		"old database, a name":        {{"declare =K", "=K"}, {"forget", "=K"}, {"declare a=", "a=K"}},
		"old database, several": {
			{"declare =K =L", "=K =L"}, {"forget", "=K =L"}, {"declare =K", "=K =L"}, {"declare =M", "=M =L"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, broker.Options{})
			made := "#"
			for i, s := range steps {
				words := strings.Fields(strings.ReplaceAll(s.do, "#", made))
				ids := len(r.Consumers())
				var err error
				switch words[0] {
				case "declare":
					_, err = r.declare(words[1:]...)
				case "rotate":
					made = r.change(broker.Change{Rotate: []uint32{r.id(words[1])}}).Made[0].SubKey
				case "create":
					c := declared(words[1])
					c.New = true
					r.change(broker.Change{Define: broker.Definition{Consumers: []broker.Consumer{c}}})
				case "forget":
					r.forgetDeclared()
				}
				if want, ok := strings.CutPrefix(s.want, "!"); ok {
					wantCode(t, err, broker.Invalid)
					if !strings.Contains(err.Error(), want) || len(r.Consumers()) != ids {
						t.Fatalf("step %d, %s: %v", i, s.do, err)
					}
					continue
				}
				if err != nil {
					t.Fatalf("step %d, %s: %v", i, s.do, err)
				}
				for _, when := range []string{"at once", "after a restart"} {
					if got := strings.ReplaceAll(r.consumers(), made, "#"); got != s.want {
						t.Fatalf("step %d, %s, %s: got %q, want %q", i, s.do, when, got, s.want)
					}
					for _, c := range r.Consumers() {
						r.sub("/t", c.SubKey)
					}
					r.restart()
				}
			}
		})
	}
}

// forgetDeclared makes the file's consumers those of a Pipit that knew neither names nor what was declared.
func (r *rig) forgetDeclared() {
	r.t.Helper()
	r.onFile("it changes the file of one machine")
	if err := r.Close(); err != nil {
		r.t.Fatal(err)
	}
	file, err := bbolt.Open(r.path, 0o600, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	err = file.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte("consumer"))
		old := map[string][]byte{}
		err := b.ForEach(func(k, v []byte) error {
			var fields map[string]any
			if err := json.Unmarshal(v, &fields); err != nil {
				return err
			}
			delete(fields, "Name")
			delete(fields, "Declared")
			old[string(k)], _ = json.Marshal(fields)
			return nil
		})
		for k, v := range old {
			if err == nil {
				err = b.Put([]byte(k), v)
			}
		}
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		r.t.Fatal(err)
	}
	r.open()
}

// What a consumer has stays with it when its key or name changes, and nothing is written where nothing has changed.
func TestDeclaredBacklog(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.define(topicDef("/t"))
	for i, s := range []string{"=K", "=L", "a=L", "a=M"} {
		if _, err := r.declare(s); err != nil {
			t.Fatal(err)
		}
		before := r.Consumers()[0]
		if _, err := r.declare(s); err != nil {
			t.Fatal(err)
		}
		if after := r.Consumers()[0]; after.Revision != before.Revision {
			t.Errorf("%s: %+v became %+v", s, before, after)
		}
		if before.Backlog != int64(i) {
			t.Errorf("%s: backlog %d, want %d", s, before.Backlog, i)
		}
		r.publish("/t", text("x"))
	}
}

// A sub_key that an administrator replaced is in no record of the consumer, but for its digest.
func TestDeclaredKeyIsDigest(t *testing.T) {
	r := newRig(t, broker.Options{})
	if _, err := r.declare("=leaked-key"); err != nil {
		t.Fatal(err)
	}
	r.change(broker.Change{Rotate: []uint32{r.id("leaked-key")}})
	if _, err := r.declare("=leaked-key"); err != nil {
		t.Fatal(err)
	}
	img, _, _, _ := r.image()
	consumers := objectsOf(img, store.Consumer)
	if len(consumers) != 1 || !regexp.MustCompile(`"Declared":"[0-9a-f]{32}"`).Match(consumers[0].Value) {
		t.Fatalf("%+v", consumers)
	}
	if bytes.Contains(consumers[0].Value, []byte("leaked-key")) {
		t.Errorf("%s", consumers[0].Value)
	}
}

// Where nobody knows whether the configuration or an administrator changed the key, a line says which holds.
func TestDeclaredKeptIsLogged(t *testing.T) {
	r := newRig(t, broker.Options{})
	if _, err := r.declare("=K"); err != nil {
		t.Fatal(err)
	}
	r.forgetDeclared()
	var log strings.Builder
	r.opts.Logger = slog.New(slog.NewTextHandler(&log, nil))
	r.restart()
	for range 2 {
		if _, err := r.declare("=another"); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(log.String(), "keeps the sub_key"); n != 1 || strings.Contains(log.String(), "another") || r.consumers() != "=K" {
		t.Errorf("%d times, has %s:\n%s", n, r.consumers(), log.String())
	}
}

// Consumers that were not given, of a client and topic that were, are told.
func TestBeside(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.define(topicDef("/u"), consumerDef("/u", "elsewhere"))
	applied, err := r.declare("=K", "a=L")
	if err != nil || applied.Beside != nil {
		t.Fatalf("%+v, %v", applied, err)
	}
	r.change(broker.Change{Define: broker.Definition{Consumers: []broker.Consumer{declared("=X")}}})
	want := []uint32{r.id("L"), r.id("X")}
	if applied, err = r.declare("=K"); err != nil || !slices.Equal(applied.Beside, want) {
		t.Errorf("%+v, %v, want %v", applied, err, want)
	}
	if applied, err = r.declare(); err != nil || len(applied.Beside) != 3 {
		t.Errorf("%+v, %v", applied, err)
	}
	applied, err = r.Apply(ctx, broker.Definition{Consumers: []broker.Consumer{declared("=K")}})
	if err != nil || !slices.Equal(applied.Beside, want) {
		t.Errorf("%+v, %v, want %v", applied, err, want)
	}
}

func TestConsumerName(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.define(topicDef("/t"), declared("a=K"))
	create := func(s string) error {
		c := declared(s)
		c.New = true
		_, err := r.Change(ctx, broker.Change{Define: broker.Definition{Consumers: []broker.Consumer{c}}})
		return err
	}
	for _, name := range []string{strings.Repeat("x", 65), " a", "a ", "a\n", "\x00", "\xff"} {
		wantCode(t, create(name+"=L"), broker.Invalid)
	}
	wantCode(t, create("a=L"), broker.Conflict)
	wantCode(t, create("a="), broker.Conflict)
	wantCode(t, create("b=K"), broker.Conflict)
	if err := create(strings.Repeat("ž", 64) + "=L"); err != nil {
		t.Error(err)
	}
	_, err := r.declare("a=K", "a=M")
	wantCode(t, err, broker.Invalid)
	_, err = r.declare("=", "=")
	wantCode(t, err, broker.Invalid)
	// Without a sub_key a Change finds one by its name.
	c := declared("a=")
	c.MaxDepth = 7
	r.change(broker.Change{Define: broker.Definition{Consumers: []broker.Consumer{c}}})
	if q := r.queue("K"); q.MaxDepth != 7 || len(r.Consumers()) != 2 {
		t.Errorf("%+v", r.Consumers())
	}
}
