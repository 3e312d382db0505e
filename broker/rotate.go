package broker

import (
	"context"
	"slices"
	"time"

	"pipit/broker/change"
	"pipit/broker/clip"
	"pipit/broker/limit"
	"pipit/broker/property"
)

// OldKey is a SubKey whose place another one has taken, and which opens the queue all the same for a while.
type OldKey struct {
	SubKey string
	Until  time.Time // UTC, in whole seconds
}

// rotations gives consumers new SubKeys. The old ones stay good for overlap.
func (x *definer) rotations(ids []uint32, overlap time.Duration) error {
	if overlap < 0 || overlap > limit.MaxOverlap {
		return Invalidf("overlap %s: allowed are 0s to %s", property.FormatDuration(overlap), property.FormatDuration(limit.MaxOverlap)).of("overlap")
	}
	now := time.Now()
	listed := map[uint32]bool{}
	for _, id := range ids {
		if listed[id] {
			continue
		}
		listed[id] = true
		r, err := x.rotated(id)
		if err != nil {
			return err
		}
		old := x.b.consumers[id].subKey() // what else is given with it nobody has
		r.Old, r.Replaced = OldKey{}, x.b.key.subKey(old)
		if overlap > 0 {
			r.Old = OldKey{old, now.Add(overlap + time.Second - 1).UTC().Truncate(time.Second)}
		}
		r.SubKey = randomID(now)
		x.done.Made = append(x.done.Made, r.Consumer)
		x.updated(r)
	}
	return nil
}

// overlapsEnded has consumers be opened by their SubKey alone.
func (x *definer) overlapsEnded(ids []uint32) error {
	for _, id := range ids {
		c := x.b.consumers[id]
		if c != nil && c.def.Load().Old == (OldKey{}) {
			return Invalidf("consumer %d has no old sub_key that is valid", id)
		}
		r, err := x.rotated(id)
		if err != nil {
			return err
		}
		r.Old = OldKey{}
		x.updated(r)
	}
	return nil
}

// rotated returns the record of a consumer whose keys are to be changed, for that.
func (x *definer) rotated(id uint32) (*consumerRecord, error) {
	c := x.b.consumers[id]
	switch {
	case c == nil:
		return nil, noObject(change.Ref{Kind: change.Consumer, ID: id})
	case x.drop.consumers[id] != nil:
		return nil, Invalidf("consumer %d is given both a new sub_key and deleted", id)
	}
	i := slices.IndexFunc(x.out.consumers, func(r consumerRecord) bool { return r.ID == id })
	if i < 0 {
		i = len(x.out.consumers)
		x.out.consumers = append(x.out.consumers, c.record())
	}
	return &x.out.consumers[i], nil
}

// updated tells of a consumer that is given too that it is changed.
func (x *definer) updated(r *consumerRecord) {
	if i := slices.IndexFunc(x.done.Consumers, func(o change.Outcome[Consumer]) bool { return o.ID == r.ID }); i >= 0 {
		o := &x.done.Consumers[i]
		o.Action, o.After = change.Update, r.Consumer
	}
}

// oldKey sets the old sub_key of a consumer that is given, and what is remembered of a replaced one. What does not say one
// leaves it, unless it says another SubKey. before is zero where the consumer is new.
func (x *definer) oldKey(r *consumerRecord, before *Consumer) {
	if r.Old == (OldKey{}) && r.SubKey == before.SubKey {
		r.Old = before.Old
	}
	if before.SubKey != "" && r.SubKey != before.SubKey {
		r.Replaced = x.b.key.subKey(before.SubKey)
	}
	if !r.Old.goodAt(time.Now()) || r.Old.SubKey == r.SubKey || x.b.bySubKey[r.Old.SubKey] != nil && r.Old.SubKey != before.SubKey {
		r.Old = OldKey{}
	}
}

func (k *OldKey) goodAt(now time.Time) bool { return k.SubKey != "" && now.Before(k.Until) }

// oldKeys are the consumers that others than their SubKeys mean. They are guarded by Broker.mu.
type oldKeys struct {
	good map[string]*consumer // by OldKey
	gone map[string]*consumer // by the digest of the last one that was replaced: so that who comes with it is told of
}

// leave forgets the keys of a consumer.
func (o *oldKeys) leave(c *consumer, old OldKey) {
	if o.good[old.SubKey] == c {
		delete(o.good, old.SubKey)
	}
	if o.gone[c.replaced] == c {
		delete(o.gone, c.replaced)
	}
}

// enter takes in the keys of a consumer.
func (o *oldKeys) enter(c *consumer, r *consumerRecord) {
	c.replaced = r.Replaced
	if r.Old.SubKey != "" {
		o.good[r.Old.SubKey] = c
	}
	if r.Replaced != "" {
		o.gone[r.Replaced] = c
	}
}

// keyed returns the consumer that a sub_key opens, and whether it is an old one. The caller holds Broker.mu.
func keyed(b *Broker, subKey string) (c *consumer, old bool) {
	if c = b.bySubKey[subKey]; c == nil && len(b.oldKeys.good) > 0 {
		c = b.oldKeys.good[subKey]
		old = c != nil
	}
	return c, old
}

// replaced returns the consumer that a sub_key opened before another one took its place, nil where it is that of none. The
// caller holds Broker.mu.
func replaced(b *Broker, subKey string) *consumer {
	if subKey == "" || len(b.oldKeys.gone) == 0 {
		return nil
	}
	return b.oldKeys.gone[b.key.subKey(subKey)]
}

// refusedKey is the error for a client that comes with a sub_key that opens nothing. The caller holds Broker.mu.
func refusedKey(b *Broker, username, subKey string) error {
	if c := replaced(b, subKey); c != nil && c.def.Load().Client == username {
		return denied("an old sub_key, in whose place consumer %d of topic %q has another one", c.id, clip.Input(c.def.Load().Topic))
	}
	return denied("unknown sub_key")
}

// endOverlaps lets go of old sub_keys whose time is over, which leave the disk so. They are refused before, too.
func endOverlaps(b *Broker, now time.Time) {
	var over []uint32
	b.mu.RLock()
	for _, c := range b.oldKeys.good {
		if old := c.def.Load().Old; !old.goodAt(now) {
			over = append(over, c.id)
		}
	}
	b.mu.RUnlock()
	if len(over) == 0 || !b.defining.TryLock() { // else the next pass does
		return
	}
	defer b.defining.Unlock()
	x, err := b.prepared(context.Background(), &Change{EndOverlap: over})
	if err == nil {
		err = x.commit(nil)
	}
	if err != nil {
		b.log.Debug("old sub_keys whose time is over stay on the disk for now", "error", err)
	}
}
