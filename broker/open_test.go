package broker_test

import (
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"pipit/broker"
	"pipit/broker/limit"
	"pipit/broker/store"
	"pipit/cluster/clustertest"
	"pipit/db"
	"pipit/db/disk"
	"pipit/db/disk/disktest"
)

var ctx = context.Background()

// rig is a broker over a real file, which is checked when the test ends.
type rig struct {
	*broker.Broker
	t       testing.TB
	path    string
	opts    broker.Options
	db      db.Options
	store   rigStore
	nodes   *clustertest.Cluster // nil: the file is that of one machine
	changed int                  // how often it was
	worker  *worker              // of the store
	crm     *broker.Client
}

// rigStore is a store as the rig has it open.
type rigStore interface {
	store.Store
	store.Compacter
	Check() error
}

var onCluster = flag.Bool("cluster", false, "have the brokers of the tests on the leader of three nodes, where leaders and nodes change")

func newRig(t testing.TB, opts broker.Options) *rig {
	t.Helper()
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	r := &rig{t: t, path: filepath.Join(t.TempDir(), "pipit.db"), opts: opts, worker: &worker{}}
	with := db.Seam{Met: r.worker.meet, FS: disktest.Unflushed{FS: disk.OS}}
	if _, measured := t.(*testing.B); measured {
		with.FS = disk.OS
	}
	r.db = db.Options{Logger: opts.Logger}.With(with)
	r.open()
	t.Cleanup(r.close)
	return r
}

func (r *rig) open() {
	r.t.Helper()
	r.store = r.openStore()
	var err error
	if r.Broker, err = broker.Open(r.store, r.opts); err != nil {
		r.store.Close()
		r.t.Fatal(err)
	}
	r.crm = &broker.Client{Username: "crm", Name: "CRM"}
}

func (r *rig) openStore() rigStore {
	r.t.Helper()
	if *onCluster {
		if r.nodes == nil {
			r.nodes = clustertest.New(r.t, clustertest.Options{Path: r.path, DB: db.Options{Logger: r.opts.Logger}.With(db.Seam{FS: disktest.Unflushed{FS: disk.OS}}), FS: disktest.Unflushed{FS: disk.OS}})
		}
		r.nodes.Start()
		return r.nodes.Store()
	}
	s, err := db.Open(r.path, r.db)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// onFile ends a test, where it runs on a cluster, that is about a file.
func (r *rig) onFile(why string) {
	if *onCluster {
		r.t.Skip(why)
	}
}

// close ends the broker and checks the file that it leaves.
func (r *rig) close() {
	r.t.Helper()
	r.worker.goOn("")
	if err := r.Close(); err != nil {
		r.t.Fatal(err)
	}
	if r.nodes != nil {
		r.nodes.Stop()
	}
	file, err := db.Open(r.path, db.Options{})
	if err != nil {
		r.t.Fatal(err)
	}
	defer file.Close()
	if err := file.Check(); err != nil {
		r.t.Errorf("check: %v", err)
	}
}

func (r *rig) restart() {
	r.t.Helper()
	r.shut()
	r.open()
}

// shut ends the broker before open opens it again, where the file is not looked at meanwhile.
func (r *rig) shut() {
	r.t.Helper()
	if r.nodes == nil {
		r.close()
		return
	}
	if err := r.Close(); err != nil {
		r.t.Fatal(err)
	}
	r.upset()
}

// upset has something happen to the node that leads, one after another.
func (r *rig) upset() {
	r.t.Helper()
	r.nodes.Change(clustertest.Changes[r.changed%len(clustertest.Changes)])
	r.nodes.Check()
	r.changed++
}

// hash has the form of a bcrypt hash; nobody logs in with it.
const hash = "$2a$10$1EZWiwz7X8y0eKc8EWmkHOF8jhP0a7cZsDdUDzFbQIxQVEvzN7S7q"

func topicDef(name string) broker.Topic {
	return broker.Topic{Name: name, MaxDepth: limit.DefaultMaxDepth, Expiration: 60, DedupWindow: 5 * time.Minute}
}

func consumerDef(topic, key string) broker.Consumer {
	return broker.Consumer{Client: "crm", Topic: topic, Name: key, SubKey: key, MaxDepth: limit.DefaultMaxDepth,
		MaxInFlight: limit.DefaultMaxInFlight, AckTimeout: 30 * time.Second}
}

// define makes a topic, its producer and its consumers.
func (r *rig) define(t broker.Topic, consumers ...broker.Consumer) {
	r.t.Helper()
	_, err := r.Apply(ctx, broker.Definition{
		Clients:   []broker.Client{{Username: "crm", Name: "CRM", PasswordHash: hash}},
		Topics:    []broker.Topic{t},
		Producers: []broker.Producer{{Client: "crm", Topic: t.Name}},
		Consumers: consumers,
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) publish(topic string, pub broker.Publication) string {
	r.t.Helper()
	p, err := r.Publisher(r.crm, topic)
	if err != nil {
		r.t.Fatal(err)
	}
	rc, err := p.Publish(pub)
	if err != nil {
		r.t.Fatal(err)
	}
	return rc.ID
}

func (r *rig) sub(topic, key string) broker.Subscription {
	r.t.Helper()
	s, err := r.Subscription(r.crm, topic, key)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

func (r *rig) receive(topic, key string, o broker.ReceiveOptions) []broker.Message {
	r.t.Helper()
	msgs, err := r.sub(topic, key).Receive(ctx, o)
	if err != nil {
		r.t.Fatal(err)
	}
	return msgs
}

func payloads(msgs []broker.Message) (s string) {
	for _, m := range msgs {
		s += string(m.Payload) + " "
	}
	return s
}

func wantCode(t *testing.T, err error, code broker.Code) {
	t.Helper()
	var e *broker.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Fatalf("error %v, want code %d", err, code)
	}
}

// Limits can change while the broker runs.
func TestAdjust(t *testing.T) {
	r := newRig(t, broker.Options{MaxPayload: 4, MaxPending: 8})
	r.define(topicDef("/t"), consumerDef("/t", "a"))
	wantCode(t, r.mayPublish(text("12345")), broker.TooLarge)
	release, err := r.Reserve(8)
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Reserve(1)
	wantCode(t, err, broker.Unavailable)
	r.Adjust(broker.Options{MaxPayload: 5, MaxPending: 9})
	if _, err = r.Reserve(1); err != nil {
		t.Error(err)
	}
	release()
	if err := r.mayPublish(text("12345")); err != nil {
		t.Error(err)
	}
	r.Adjust(broker.Options{})
	if err := r.mayPublish(broker.Publication{Payload: make([]byte, limit.DefaultMaxPayload)}); err != nil {
		t.Error(err)
	}
}

// The broker on a cluster of three, whose leader changes at each restart. All tests but the few that look into the file run so by go test ./broker -cluster.
func TestOnCluster(t *testing.T) {
	tests := "TestDeliveryCountKept|TestMaxDeliveriesOverRestarts"
	if !testing.Short() {
		tests += "|TestModel|TestModelFailures"
	}
	if !*onCluster {
		clustertest.Again(t, tests, "-seed=1")
	}
}
