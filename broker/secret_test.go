package broker_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
	"pipit/broker/property"
	"pipit/broker/store"
)

// revisions are those of a client, a topic, a producer and a consumer.
func (r *rig) revisions() map[string]string {
	all := map[string]string{"topic": r.topic("/t").Revision}
	for _, c := range r.Clients() {
		all["client"] = c.Revision
	}
	for _, p := range r.Producers() {
		all["producer"] = p.Revision
	}
	for _, c := range r.Consumers() {
		all["consumer"] = c.Revision
	}
	return all
}

// A revision is shown to who may not see the sub_key or the password hash that it is made of. The same
// definition has another one in another database, so that nobody can try keys against it.
func TestRevisionsAreKeyed(t *testing.T) {
	one, two := newRig(t, broker.Options{}), newRig(t, broker.Options{})
	for _, r := range []*rig{one, two} {
		r.define(topicDef("/t"), consumerDef("/t", "guess"))
	}
	before, other := one.revisions(), two.revisions()
	for kind, revision := range before {
		if revision == "" || revision == other[kind] {
			t.Errorf("%s: %q and %q in another database", kind, revision, other[kind])
		}
	}
	img, _, _, _ := one.image()
	text := objectsOf(img, store.Consumer)[0].Value
	if sum := sha256.Sum256(text); hex.EncodeToString(sum[:8]) == before["consumer"] {
		t.Errorf("the revision %s of a consumer is the digest of its record %s", before["consumer"], text)
	}
	one.restart()
	for kind, revision := range one.revisions() {
		if revision != before[kind] {
			t.Errorf("%s: %q became %q by a restart", kind, before[kind], revision)
		}
	}
}

// A rotated sub_key leaves the file while the broker runs: the sweeper sees to it.
func TestSweeperWipes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		r.onFile("when nodes wipe goes by their own clock")
		r.define(topicDef("/t"), consumerDef("/t", "a-leaked-key"))
		for range 10 {
			r.publish("/t", text("x"))
		}
		// The name is the consumer's, not the key.
		c := consumerDef("/t", "a-leaked-key")
		c.Name = "a name"
		r.change(broker.Change{Define: broker.Definition{Consumers: []broker.Consumer{c}}})
		count := func() int {
			return strings.Count(onDisk(t, r.path), "a-leaked-key")
		}
		if count() == 0 {
			t.Error("the test tests nothing: the key is not on the disk")
		}
		r.change(broker.Change{Rotate: []uint32{r.id("a-leaked-key")}})
		time.Sleep(3 * broker.SweepEvery)
		if n := count(); n > 0 {
			t.Errorf("the rotated key is in the file %d times", n)
		}
	})
}

// So do a former secret and former headers of callbacks.
func TestSweeperWipesCallbackSecrets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		r.onFile("when nodes wipe goes by their own clock")
		c := consumerDef("/t", "key")
		c.DeliveryMode, c.CallbackURL = broker.DeliveryCallback, "http://127.0.0.1/"
		c.CallbackHeaders = property.TableOf(map[string]string{"Authorization": "a-leaked-token"})
		r.define(topicDef("/t"), c)
		former := r.queue("key").CallbackSecret
		count := func() (n int) {
			disk := onDisk(t, r.path)
			return strings.Count(disk, former) + strings.Count(disk, "a-leaked-token")
		}
		if count() == 0 {
			t.Error("the test tests nothing: the secrets are not in the file")
		}
		c = r.queue("key").Consumer
		c.CallbackHeaders, c.CallbackSecret = property.Table{}, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwAAAA"
		r.change(broker.Change{Define: broker.Definition{Consumers: []broker.Consumer{c}}})
		time.Sleep(3 * broker.SweepEvery)
		if n := count(); n > 0 {
			t.Errorf("former secrets are in the file %d times", n)
		}
	})
}

// onDisk returns what a database and its log have.
func onDisk(t *testing.T, path string) string {
	t.Helper()
	files, err := filepath.Glob(path + "-log/*.log")
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for _, name := range append(files, path) {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	return string(all)
}
