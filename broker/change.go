package broker

import (
	"context"
	"slices"
	"time"

	"pipit/broker/change"
	"pipit/broker/login"
	"pipit/broker/store"
)

// Change is a set of changes that become durable in one commit: all or nothing.
type Change struct {
	Expect    []change.Expect
	Define    Definition   // objects that are created or brought to what is given
	Rotate    []uint32     // consumers that get a new SubKey, with all that they have
	Delete    []change.Ref // with what depends on them: see Broker.Change
	Documents []Document   // put with it, or deleted where Value is nil

	Overlap    time.Duration // for how long the SubKeys that Rotate replaces are good yet: 0, at once refused, to MaxOverlap
	EndOverlap []uint32      // consumers whose OldKey is refused from now on; Invalid where there is none

	// Note, where not nil, makes further Documents, which tell what is done. It is not called where
	// nothing is, and neither by a dry run.
	Note func(*Changed) []Document

	// DryRun leaves everything as it is: the answer is what would be done, and the errors are those that
	// it would be refused with. No password is hashed for it.
	DryRun bool
}

// Change makes all of a Change, or nothing. Deleting a client deletes its producers, consumers and
// webhooks; deleting a topic its producers, consumers, webhooks and messages; deleting a consumer its queue.
// Requests under way of what is deleted end as if it had not existed. Messages leave the disk in
// the background. The errors are Faults, Invalid, NotFound (an object that is expected or to be deleted
// does not exist), Conflict (an object exists that was not expected to, or its Revision is another
// one; of what is New), Unavailable and DiskFull.
//
// Passwords are hashed in turn with the slow hashes of logins, until ctx ends.
func (b *Broker) Change(ctx context.Context, c Change) (Changed, error) {
	if err := checkDocuments(c.Documents); err != nil {
		return Changed{}, err
	}
	var trusted []login.Credential
	if !c.DryRun && slices.ContainsFunc(c.Define.Clients, func(c Client) bool { return c.Password != "" }) {
		// It takes long: it holds up no other change, and is not done for one that is refused.
		if _, err := b.dryRun(ctx, &c); err != nil {
			return Changed{}, err
		}
		var err error
		if c.Define.Clients, trusted, err = b.hashed(ctx, c.Define.Clients); err != nil {
			return Changed{}, err
		}
	}
	if c.DryRun {
		return b.dryRun(ctx, &c)
	}
	b.defining.Lock()
	defer b.defining.Unlock()
	x, err := b.prepared(ctx, &c)
	if err != nil {
		return Changed{}, err
	}
	docs := c.Documents
	if c.Note != nil && x.changes() {
		docs = append(slices.Clip(docs), c.Note(&x.done)...)
		if err := checkDocuments(docs); err != nil {
			return Changed{}, err
		}
	}
	if !x.changes() && len(docs) == 0 {
		return x.done, nil
	}
	x.trusted = trusted
	return x.done, x.commit(docs)
}

// dryRun returns what a Change would do.
func (b *Broker) dryRun(ctx context.Context, c *Change) (Changed, error) {
	b.defining.Lock()
	defer b.defining.Unlock()
	x, err := b.prepared(ctx, c)
	if err != nil {
		return Changed{}, err
	}
	made := map[string]bool{} // the change will make others
	for i := range x.done.Made {
		made[x.done.Made[i].SubKey] = true
	}
	for i := range x.done.Consumers {
		after := &x.done.Consumers[i].After
		if made[after.SubKey] {
			after.SubKey = ""
		}
		if x.sealed[x.done.Consumers[i].ID] {
			after.CallbackSecret = ""
		}
	}
	x.done.Made, x.done.Sealed = nil, nil
	return x.done, nil
}

// prepared returns the records of a Change. The caller holds defining.
func (b *Broker) prepared(ctx context.Context, c *Change) (*definer, error) {
	x := &definer{b: b, lastID: b.lastID}
	for _, e := range c.Expect {
		if err := x.expect(e); err != nil {
			return nil, err
		}
	}
	return x, x.prepare(ctx, c)
}

// commit commits what was prepared. The caller holds defining.
func (x *definer) commit(docs []Document) error {
	b := x.b
	op := &changeOp{b: b, x: x, docs: docs, places: map[startAt]*place{}}
	defer op.leave()
	if err := op.findPlaces(); err != nil {
		return err
	}
	for op.again = true; op.again; {
		if err := b.commits.doAlone(op); err != nil {
			return err
		}
	}
	b.lastID = x.lastID
	if x.out.declared != "" {
		b.declared = x.out.declared
	}
	for _, c := range x.trusted {
		if !b.clients[c.Name].Inactive {
			b.auth.Trust(c.Name, c.Password, c.Hash)
		}
	}
	return nil
}

// changeOp stores a Change, in a commit of its own.
type changeOp struct {
	b     *Broker
	x     *definer
	docs  []Document
	begin []store.CursorState // where new consumers begin
	again bool                // the commit was spent on what has to be removed before

	places map[startAt]*place // of new consumers that begin at a time
}

type startAt struct {
	t    *topic
	time time.Time
}

// findPlaces finds where those of the new consumers begin that begin at a time.
func (o *changeOp) findPlaces() error {
	for _, q := range o.newQueues() {
		at := startAt{q.t, q.begins.Time}
		if at.time.IsZero() || o.places[at] != nil {
			continue
		}
		p, err := o.b.commits.place(context.Background(), at.t, Seek{Time: at.time})
		if err != nil {
			return err
		}
		o.places[at] = p
	}
	return nil
}

func (o *changeOp) leave() {
	for _, p := range o.places {
		o.b.commits.leave(p)
	}
}

func (o *changeOp) plan(d *draft) error {
	if o.again = !o.lastConsumers(d); o.again {
		return nil
	}
	out := &o.x.out
	d.batch.Define, d.batch.Declared = out.objects(o.b), out.declared
	d.batch.Delete = o.x.drop.objects(o.b)
	d.batch.Put = append(d.batch.Put, o.docs...)
	o.begin = o.begin[:0]
	first := map[*topic]bool{}
	for _, q := range o.newQueues() {
		t, oldest, at := q.t, q.begins.Oldest, o.places[startAt{q.t, q.begins.Time}]
		if len(o.left(t)) == 0 && !first[t] {
			first[t], oldest = true, at == nil
		}
		if at != nil && at.torn() {
			return errBusy
		}
		for prio := range t.lanes {
			l := &t.lanes[prio]
			switch {
			case l.next == 0:
			case at != nil:
				w := at.progress(prio)
				o.begin = append(o.begin, store.CursorState{Consumer: q.id, Priority: uint8(prio), Cursor: w.Cursor, Finished: w.finished})
			case oldest: // what is removed is finished
				o.begin = append(o.begin, store.CursorState{Consumer: q.id, Priority: uint8(prio), Cursor: store.Cursor{Floor: 1}, Finished: l.removed - l.nextSkipped})
			default:
				o.begin = append(o.begin, store.CursorState{Consumer: q.id, Priority: uint8(prio), Cursor: store.Cursor{Floor: l.next + 1}, Finished: l.next - l.nextSkipped})
			}
		}
	}
	d.batch.Cursors = append(d.batch.Cursors, o.begin...)
	return nil
}

// queueToBe is a new queue of a topic that exists.
type queueToBe struct {
	id     uint32
	t      *topic
	begins Seek // by its consumer's own wish; zero: it has none
}

// newQueues returns those of new consumers: a new topic has nothing yet.
func (o *changeOp) newQueues() (list []queueToBe) {
	for _, c := range o.x.out.consumers {
		begins, isNew := o.x.created[c.ID]
		if t := literal(o.b, c.Topic); isNew && t != nil {
			list = append(list, queueToBe{c.ID, t, begins})
		}
	}
	for _, q := range o.x.out.queues {
		if t := o.b.topicIDs[q.Topic]; t != nil {
			list = append(list, queueToBe{q.ID, t, o.x.created[q.Consumer]})
		}
	}
	return list
}

// left returns the queues of a topic that are not deleted.
func (o *changeOp) left(t *topic) []*queue {
	if len(o.x.drop.queues) == 0 {
		return t.list()
	}
	var left []*queue
	for _, q := range t.list() {
		if !o.x.drop.queues[q] {
			left = append(left, q)
		}
	}
	return left
}

// lastConsumers removes, from the topics that keep no consumer, what all of them are done with out
// of order: what stays waits for the next consumer. It tells whether that was all: one commit
// removes only so much.
func (o *changeOp) lastConsumers(d *draft) bool {
	done := map[*topic]bool{}
	for q := range o.x.drop.queues {
		t := q.topic
		if done[t] || o.x.drop.topics[t.def.Load().Name] {
			continue
		}
		done[t] = true
		if len(o.left(t)) > 0 {
			continue
		}
		for prio := range t.lanes {
			n := len(d.batch.Remove)
			d.trim(laneRef{t, prio})
			if more := d.removeDone(laneRef{t, prio}); more || len(d.batch.Remove) > n {
				return false
			}
		}
	}
	return true
}

func (o *changeOp) applied(time.Time) {
	if o.again {
		return
	}
	b := o.b
	b.mu.Lock()
	defer b.mu.Unlock()
	b.install(&o.x.out)
	o.begins()
	o.forget()
	o.wake()
	select {
	case b.redefined <- struct{}{}:
	default:
	}
}

// begins puts new consumers where they begin.
func (o *changeOp) begins() {
	begin := map[uint32][]store.CursorState{}
	for _, s := range o.begin {
		begin[s.Consumer] = append(begin[s.Consumer], s)
	}
	for id := range o.x.created {
		c := o.b.consumers[id]
		c.mu.Lock()
		for _, q := range c.list() {
			for _, s := range begin[q.id] {
				q.done[s.Priority] = progress{s.Cursor, s.Finished}
			}
			for p := range q.done {
				q.begin(p)
			}
		}
		c.mu.Unlock()
	}
}

// forget takes what is deleted out of the maps. The caller holds Broker.mu.
func (o *changeOp) forget() {
	b, d := o.b, &o.x.drop
	for name := range d.clients {
		b.auth.Replace(b.clients[name].account(), login.Account{Name: name})
		delete(b.clients, name)
	}
	for id, p := range d.producers {
		p.deleted.Store(true)
		p.seen.over.Store(true)
		delete(b.producers, id)
		def := p.def.Load()
		delete(producersOf(b, def.Topic), def.Client)
		if p.topic == nil {
			revoke(b, p, def.Client)
			leavePattern(b, def.Topic)
		}
	}
	topics := map[*topic]bool{}
	for id, c := range d.consumers {
		c.deleted.Store(true)
		c.seen.over.Store(true)
		delete(b.consumers, id)
		delete(b.callbacks, id)
		def := c.def.Load()
		delete(b.bySubKey, def.SubKey)
		b.oldKeys.leave(c, def.Old)
		if p := b.patterns[def.Topic]; p != nil && c.merge != nil {
			p.consumers = slices.DeleteFunc(slices.Clone(p.consumers), func(o *consumer) bool { return o == c })
			leavePattern(b, def.Topic)
		}
	}
	left := map[*consumer]map[*queue]bool{} // consumers of patterns that stay
	for q := range d.queues {
		topics[q.topic] = true
		q.of.mu.Lock()
		q.gone.Store(true)
		q.of.mu.Unlock()
		if !q.of.deleted.Load() {
			if left[q.of] == nil {
				left[q.of] = map[*queue]bool{}
			}
			left[q.of][q] = true
		}
	}
	for c, gone := range left {
		c.removeQueues(gone)
		c.room, c.freed = 0, true
	}
	for t := range topics {
		t.setList(slices.DeleteFunc(slices.Clone(t.list()), func(q *queue) bool { return d.queues[q] }))
		t.room = 0
		for prio := range t.lanes {
			// What only the deleted ones still needed is for the sweeper.
			if t.lanes[prio].stored() > 0 {
				b.commits.draft.markRagged(laneRef{t, prio})
			}
		}
	}
	for name := range d.webhooks {
		delete(b.webhooks.byName, name)
	}
	o.recordDeleted()
	for name := range d.topics {
		t := b.topics[name]
		t.deleted.Store(true)
		delete(b.topics, name)
		delete(b.topicIDs, t.id)
		for _, g := range b.grants {
			g.found.Delete(t)
		}
		b.orphans[t.id] = t
		b.past.Add(t.counters.read())
		if t.template != "" {
			b.templates.made[t.template]--
		}
	}
	for name := range d.templates {
		delete(b.templates.byName, name)
	}
}

// wake lets the requests that wait find out whether they may go on. The caller holds Broker.mu.
func (o *changeOp) wake() {
	d := &o.x.out
	for _, c := range o.x.drop.consumers {
		c.end()
	}
	for q := range o.x.drop.queues {
		if q.merged != nil {
			q.of.end()
		}
	}
	for _, r := range d.consumers {
		o.b.consumers[r.ID].end()
	}
	if len(d.clients)+len(d.topics) == 0 {
		return
	}
	clients, topics := map[string]bool{}, map[string]bool{}
	for i := range d.clients {
		clients[d.clients[i].Username] = true
	}
	for i := range d.topics {
		if !d.topics[i].AutoCreate {
			topics[d.topics[i].Name] = true
		}
	}
	for _, c := range o.b.consumers {
		if def := c.def.Load(); clients[def.Client] || topics[def.Topic] {
			c.end()
		}
	}
	for name := range topics {
		for _, q := range o.b.topics[name].ofPatterns() {
			q.of.end()
		}
	}
}

func (o *changeOp) failed()       {}
func (o *changeOp) appends() bool { return false }
