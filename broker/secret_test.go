package broker_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"testing"

	"pipit/broker"
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
	text, err := json.Marshal(&img.Consumers[0])
	if err != nil {
		t.Fatal(err)
	}
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
