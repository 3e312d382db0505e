package broker

import (
	"context"
	"slices"
	"time"

	"pipit/broker/limit"
	"pipit/broker/store"
)

// Publisher is a client's door to a topic. It is a small value, made for one request; the zero one leads nowhere.
type Publisher struct {
	b        *Broker
	topic    *topic
	producer *producer // nil: the program itself publishes
	name     string
	unmade   *unmade // the topic that Publish is to make, where topic is nil
}

// Publisher returns the door through which a client publishes to a topic. The error is Unauthorized where the client is nil, Denied
// where the client or topic does not exist or is not active, or the client is no active producer of it. A topic that
// a template would make (see Topic.AutoCreate) is made by the first message; the error is Full where the template has
// made as many as it may, Invalid where no topic can have the name.
func (b *Broker) Publisher(c *Client, topicName string) (Publisher, error) {
	if c == nil {
		return Publisher{}, errNobody
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	t := b.topics[topicName]
	switch {
	case c.Inactive:
		return Publisher{}, denied("client %q is not active", c.Username)
	case t == nil:
		return publisherOfNew(b, c, topicName)
	case t.def.Load().Inactive:
		return Publisher{}, denied("topic %q is not active", topicName)
	}
	p := t.producers[c.Username]
	if p == nil {
		p = grantedTo(b, c.Username, t)
	}
	switch {
	case p == nil:
		return Publisher{}, denied("client %q is no producer of topic %q", c.Username, topicName)
	case p.def.Load().Inactive:
		return Publisher{}, denied("producer %q of topic %q is not active", c.Username, topicName)
	}
	return Publisher{b, t, p, c.Name, nil}, nil
}

// PublishOption changes a default of Broker.Publish.
type PublishOption func(*Publication)

// WithPriority sets the priority, 1 to 9.
func WithPriority(n int) PublishOption { return func(p *Publication) { p.Priority = n } }

// WithExpiration sets after how many seconds the message expires.
func WithExpiration(seconds int64) PublishOption {
	return func(p *Publication) { p.Expiration = seconds }
}

// WithMIMEType sets the MIME type.
func WithMIMEType(s string) PublishOption { return func(p *Publication) { p.MIMEType = s } }

// WithID sets the message's own ID, by which a repeated publish is recognised.
func WithID(id string) PublishOption { return func(p *Publication) { p.ID = id } }

// WithDelay sets how many seconds pass before the message can be delivered.
func WithDelay(seconds int64) PublishOption { return func(p *Publication) { p.Delay = seconds } }

// WithDeliverAt sets before when the message cannot be delivered, instead of a delay.
func WithDeliverAt(t time.Time) PublishOption { return func(p *Publication) { p.DeliverAt = t } }

// WithCorrelationID sets what consumers connect the message with.
func WithCorrelationID(id string) PublishOption {
	return func(p *Publication) { p.CorrelationID = id }
}

// WithReplyTo sets where an answer to the message is expected.
func WithReplyTo(s string) PublishOption { return func(p *Publication) { p.ReplyTo = s } }

// WithAttributes adds attributes.
func WithAttributes(list ...Attribute) PublishOption {
	return func(p *Publication) { p.Attributes = append(slices.Clip(p.Attributes), list...) }
}

// WithProducer sets the display name of the producer, at most 256 bytes, instead of Options.ServiceName.
func WithProducer(name string) PublishOption { return func(p *Publication) { p.producer = name } }

// Publish publishes a message on behalf of the program that embeds the broker, which needs no
// client for it, and returns its ID when it is on disk for every consumer. Defaults are those of
// Publication. A topic that a template would make is made. The errors are Invalid, TooLarge, NotFound (no such
// topic), Denied (it, or the template, is not active), Full, Unavailable and DiskFull. Where ctx has ended, which is looked at
// before anything is done, it is Unavailable, and wraps the cause of that.
func (b *Broker) Publish(ctx context.Context, topicName string, payload []byte, opts ...PublishOption) (msgID string, err error) {
	if ctx.Err() != nil {
		return "", callerLeft(ctx)
	}
	pub := Publication{Payload: payload}
	for _, o := range opts {
		o(&pub)
	}
	b.mu.RLock()
	t := b.topics[topicName]
	if t == nil {
		_, err = templateOf(b, topicName)
	}
	b.mu.RUnlock()
	if err != nil {
		return "", err
	}
	if t != nil && t.def.Load().Inactive {
		return "", denied("topic %q is not active", topicName)
	}
	release, err := b.Reserve(int64(len(payload)))
	if err != nil {
		return "", err
	}
	defer release()
	name := b.opts.ServiceName
	if pub.producer != "" {
		name = pub.producer
	}
	door := Publisher{b: b, topic: t, name: name}
	if t == nil {
		door.unmade = &unmade{topicName, name}
	}
	r, err := door.Publish(pub)
	return r.ID, err
}

// CheckPublication returns the error, Invalid or TooLarge, that publishing pub would be refused
// with for its own sake.
func (b *Broker) CheckPublication(pub *Publication) error {
	p := *pub
	return p.validate(b.maxPayload.Load(), time.Now())
}

// Publish stores a message and returns when it is on disk for every consumer of the topic. It
// does not end early: the message's fate is known when it returns. The errors are
// Invalid, TooLarge, Denied (the topic or the producer was deleted or deactivated meanwhile), Full,
// Unavailable and DiskFull; after any of them no message is stored, though a topic may be there that was made for it.
func (p Publisher) Publish(pub Publication) (Receipt, error) {
	now := time.Now()
	if err := pub.validate(p.b.maxPayload.Load(), now); err != nil {
		return Receipt{}, err
	}
	if p.topic == nil {
		var err error
		if p, err = p.make(); err != nil {
			return Receipt{}, err
		}
	}
	op := p.b.newPublishOp()
	op.reset(p, 1)
	r := op.add()
	p.record(r, &pub, now)
	op.bytes = int64(len(pub.Payload) + extraSize(r))
	err := p.b.commits.wait(&op.task)
	var receipt Receipt
	if err == nil {
		p.markSeen(now)
		receipt = op.receipt(p.b, 0)
	}
	op.release()
	return receipt, err
}

// PublishBatch publishes messages in one commit: all of them are stored or, with an error, none. At
// most MaxBatch. It does not end early either.
func (p Publisher) PublishBatch(pubs []Publication) ([]Receipt, error) {
	if len(pubs) == 0 || len(pubs) > limit.MaxBatch {
		return nil, Invalidf("batch of %d messages: allowed are 1 to %d", len(pubs), limit.MaxBatch)
	}
	now := time.Now()
	for i := range pubs {
		if err := pubs[i].validate(p.b.maxPayload.Load(), now); err != nil {
			return nil, err
		}
	}
	if p.topic == nil {
		var err error
		if p, err = p.make(); err != nil {
			return nil, err
		}
	}
	op := p.b.newPublishOp()
	op.reset(p, len(pubs))
	defer op.release()
	for i := range pubs {
		r := op.add()
		p.record(r, &pubs[i], now)
		op.bytes += int64(len(pubs[i].Payload) + extraSize(r))
	}
	if err := p.b.commits.wait(&op.task); err != nil {
		return nil, err
	}
	p.markSeen(now)
	receipts := make([]Receipt, len(pubs))
	for i := range receipts {
		receipts[i] = op.receipt(p.b, i)
	}
	return receipts, nil
}

func (p Publisher) markSeen(now time.Time) {
	p.topic.lastPublish.Store(now.UnixMicro())
	if p.producer != nil {
		p.producer.seen.set(now)
	}
}

// record makes the record of a valid publication.
func (p Publisher) record(r *store.Record, pub *Publication, now time.Time) {
	def := p.topic.def.Load()
	*r = store.Record{
		Place:      store.Place{Lane: store.Lane{Topic: p.topic.id, Priority: uint8(pub.Priority)}}, // #nosec G115 -- a priority is 1 to 9
		ID:         pub.ID,
		Created:    created(now),
		Delay:      uint32(pub.delay(now)), // #nosec G115 -- validate has bounded it
		Expiration: uint32(pub.Expiration), // #nosec G115 -- validate has bounded it
		Producer:   p.name,
		MIMEType:   pub.MIMEType,
		Payload:    pub.Payload,
		Extra:      pub.extra(),
	}
	if pub.Expiration == 0 {
		r.Expiration = uint32(max(0, def.Expiration)) // #nosec G115 -- validate has bounded it
	}
	if r.ID != "" && def.DedupWindow > 0 {
		r.KeepID = r.Created.Add(def.DedupWindow)
	}
	if r.ID == "" && r.Delay > 0 {
		r.ID = randomID(now) // it has no place yet from which an ID could follow
	}
}

// publishOp stores messages of one topic.
type publishOp struct {
	task
	b        *Broker
	topic    *topic
	producer *producer // nil: the program itself publishes
	records  []store.Record
	same     []bool // records that are duplicates; nil: none
	stored   int    // how many of the records are stored: the others are the same as before
}

// newPublishOp returns an operation to be reset. Each broker has its own pool, since a channel made
// in a synctest bubble cannot leave it.
func (b *Broker) newPublishOp() *publishOp {
	if op, ok := b.publishOps.Get().(*publishOp); ok {
		return op
	}
	op := &publishOp{records: make([]store.Record, 0, 1)}
	op.task = task{op: op, done: make(chan struct{}, 1)}
	return op
}

func (o *publishOp) reset(p Publisher, n int) {
	o.b, o.topic, o.producer, o.same, o.err, o.bytes, o.client = p.b, p.topic, p.producer, nil, nil, 0, ""
	if p.producer != nil {
		o.client = p.producer.def.Load().Client
	}
	if cap(o.records) < n {
		o.records = make([]store.Record, 0, n)
	}
}

func (o *publishOp) add() *store.Record {
	o.records = o.records[:len(o.records)+1]
	return &o.records[len(o.records)-1]
}

func (o *publishOp) release() {
	clear(o.records)
	o.records = o.records[:0]
	b := o.b
	o.b, o.topic, o.producer, o.same = nil, nil, nil, nil
	if cap(o.records) <= 64 {
		b.publishOps.Put(o)
	}
}

func (o *publishOp) receipt(b *Broker, i int) Receipt {
	r := &o.records[i]
	if r.ID != "" {
		return Receipt{ID: r.ID, Duplicate: o.same != nil && o.same[i]}
	}
	return Receipt{ID: b.ids.encode(r.Place, r.Created)}
}

var (
	errTopicGone    = denied("the topic is not there or not active any more")
	errProducerGone = denied("the producer is not there or not active any more")
)

func (o *publishOp) plan(d *draft) (err error) {
	t := o.topic
	if t.deleted.Load() || t.def.Load().Inactive {
		return errTopicGone
	}
	if q := o.producer; q != nil && (q.deleted.Load() || q.def.Load().Inactive) {
		return errProducerGone
	}
	if o.stored, err = o.findDuplicates(d); err != nil {
		return err
	}
	if err := o.fitsBytes(); err != nil {
		return err
	}
	if err := d.fits(t, int64(o.stored)); err != nil {
		return err
	}
	if len(t.yielding) > 0 {
		if err := d.makeRoom(t, o.ready, true); err != nil {
			return err
		}
	}
	for i := range o.records {
		r := &o.records[i]
		if o.same != nil && o.same[i] {
			continue
		}
		if !r.KeepID.IsZero() {
			d.ids[idKey{t.id, r.ID}] = struct{}{}
		}
		if r.Delay > 0 {
			d.putOff(t, r)
			continue
		}
		d.append(t, r)
	}
	return nil
}

// fitsBytes returns an error where the messages are past MaxBytes of their topic. Until it is known what that stores, which takes
// the sweeper a while after a start, everything fits.
func (o *publishOp) fitsBytes() error {
	most := int64(o.topic.def.Load().MaxBytes)
	if most == 0 {
		return nil
	}
	var n int64
	for i := range o.records {
		if o.same == nil || !o.same[i] {
			n += o.records[i].Size()
		}
	}
	if n > most {
		e := Invalidf("%d bytes with 64 for each message: allowed by max_bytes of the topic are %d", n, most)
		e.Code = TooLarge
		return e
	}
	if stored, known := o.topic.weight(&o.b.putOffs); known && n > most-stored {
		return errFullBytes
	}
	return nil
}

// ready returns how many of the messages that are stored and do not wait for a delay a filter lets through, nil any.
func (o *publishOp) ready(f *filter) (n int64) {
	for i := range o.records {
		if o.records[i].Delay == 0 && (o.same == nil || !o.same[i]) && (f == nil || f.match(&o.records[i])) {
			n++
		}
	}
	return n
}

// findDuplicates marks the records whose own ID the topic got within its dedup window already, and
// returns how many are left.
func (o *publishOp) findDuplicates(d *draft) (int, error) {
	stored := len(o.records)
	o.same = nil
	var own []int
	for i := range o.records {
		if !o.records[i].KeepID.IsZero() {
			own = append(own, i)
		}
	}
	if own == nil {
		return stored, nil
	}
	o.same = make([]bool, len(o.records))
	within := make(map[string]struct{}, len(own))
	window := max(0, o.topic.def.Load().DedupWindow)
	err := d.b.store.View(func(r store.Reader) error {
		for _, i := range own {
			id := o.records[i].ID
			_, duplicate := d.ids[idKey{o.topic.id, id}]
			if _, twice := within[id]; twice {
				duplicate = true
			}
			if place, second, ok := d.b.ids.decode(id); ok && place.Topic == o.topic.id &&
				d.now.Before(time.Unix(second, 0).Add(window)) {
				duplicate = true // the client repeats an ID that the broker has made
			}
			if !duplicate {
				sightings, err := r.FindID(o.topic.id, id)
				if err != nil {
					return err
				}
				for _, s := range sightings {
					duplicate = duplicate || d.now.Before(s.Created.Add(window))
				}
			}
			within[id] = struct{}{}
			if duplicate {
				o.same[i] = true
				stored--
			}
		}
		return nil
	})
	return stored, err
}

func (o *publishOp) applied(time.Time) {
	o.topic.counters.published.Add(uint64(o.stored)) // #nosec G115 -- a count
	if o.producer != nil {
		o.producer.published.Add(uint64(o.stored)) // #nosec G115 -- a count
	}
	for i := range o.records {
		if r := &o.records[i]; r.Delay > 0 {
			o.b.sweeper.soonerDue(r.Due())
		}
	}
}
func (o *publishOp) failed()       {}
func (o *publishOp) appends() bool { return true }
