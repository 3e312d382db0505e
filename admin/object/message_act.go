package object

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"pipit/admin/gate"
	"pipit/broker"
	"pipit/broker/browse"
	"pipit/broker/clip"
	"pipit/broker/limit"
)

// What can be done to several messages.
const (
	ActDelete  = "delete"  // for all consumers
	ActRelease = "release" // made deliverable at once
	ActCopy    = "copy"    // published again
	ActRedrive = "redrive" // moved back to the consumers for which they failed
)

// Acts are all of them.
var Acts = []string{ActDelete, ActRelease, ActCopy, ActRedrive}

// actTime is for how long a request acts on messages, and counts them, at most; what is left is for the next one.
const actTime = 2 * time.Second

// copiesAtOnce is after how many copies, each a commit of its own, the time is looked at.
const copiesAtOnce = 100

// MessageRef says which message is meant.
type MessageRef struct{ Topic, ID string }

// Acted is what was done to messages, or would be.
type Acted struct {
	Messages int    // how many there were of them
	Left     int    // dead letters that stay, see broker.Redriven
	LeftWhy  error  // of the first of these
	Next     string // where the next request goes on; empty: nothing is left
}

// Act does something to messages; in flight or deferred, they are released for one consumer (0: for all). Those that are gone
// are left out. The errors are those of DeleteMessages, broker.Release, Publish and Redrive. What is counted was done also
// where there is an error.
func Act(ctx context.Context, o *Objects, who gate.Actor, act string, consumer uint32, refs []MessageRef) (done Acted, err error) {
	x := &acting{o: o, who: who, act: act, consumer: consumer}
	if err := x.check(); err != nil {
		return done, err
	}
	err = x.do(ctx, refs)
	return x.done, x.told(err)
}

// ActOnAll does something to all messages that match, whatever Limit, Cursor and Payload are, for some seconds at most, or
// counts them alone. It goes on where next says, which is Acted.Next of the request before. The errors are those of Act and
// Browse.
func ActOnAll(ctx context.Context, o *Objects, who gate.Actor, act string, match browse.Options, next string, count bool) (Acted, error) {
	x := &acting{o: o, who: who, act: act, consumer: match.Consumer, why: matching(&match)}
	if err := x.check(); err != nil {
		return x.done, err
	}
	start := time.Now()
	before, cursor, ok := parseNext(next)
	switch {
	case !ok:
		return x.done, gate.Invalid("next", "next %q: not that of a request before", clip.Input(next))
	case next == "":
		before = start
	}
	match.Limit, match.Cursor, match.Payload = browse.Max, cursor, 0
	if act == ActCopy && !count {
		match.Limit = copiesAtOnce
		if match.State != browse.Delayed && (match.Until.IsZero() || match.Until.After(before)) { // copies are not copied again
			if match.Until = before; !match.Since.Before(before) {
				return x.done, nil // since is in the future
			}
		}
	}
	for {
		page, err := o.b.Browse(ctx, match)
		if err != nil {
			return x.done, x.told(err)
		}
		refs := make([]MessageRef, len(page.Messages))
		for i := range page.Messages {
			refs[i] = MessageRef{page.Messages[i].Topic, page.Messages[i].ID}
		}
		if count {
			x.done.Messages += len(refs)
		} else if err := x.do(ctx, refs); err != nil {
			return x.done, x.told(err)
		}
		match.Cursor = page.Next
		switch {
		case page.Next == "":
			return x.done, nil
		case time.Since(start) >= actTime:
			x.done.Next = nextOf(before, page.Next)
			return x.done, nil
		}
	}
}

// acting is something that is done to messages.
type acting struct {
	o        *Objects
	who      gate.Actor
	act      string
	consumer uint32
	why      string // for the audit log
	done     Acted
}

func (x *acting) check() error {
	if !slices.Contains(Acts, x.act) {
		return gate.Invalid("action", "action %q: allowed are %s", clip.Input(x.act), strings.Join(Acts, ", "))
	}
	return nil
}

// do acts on messages, topic by topic, in the order in which they are given.
func (x *acting) do(ctx context.Context, refs []MessageRef) error {
	for len(refs) > 0 {
		n := 1
		for n < len(refs) && n < limit.MaxSettle && refs[n].Topic == refs[0].Topic {
			n++
		}
		ids := make([]string, n)
		for i := range ids {
			ids[i] = refs[i].ID
		}
		if err := x.part(ctx, refs[0].Topic, ids); err != nil {
			return err
		}
		refs = refs[n:]
	}
	return nil
}

// part acts on messages of a topic.
func (x *acting) part(ctx context.Context, topic string, ids []string) (err error) {
	n := 0
	switch x.act {
	case ActDelete:
		n, err = x.o.deleteMessages(ctx, x.who, topic, ids, x.why)
	case ActRelease:
		n, err = broker.Release{IDs: ids, Consumer: x.consumer}.Run(ctx, x.o.b, topic, x.o.trail.Entry(x.who, "message.release", topic, which(ids)+x.why))
	case ActCopy:
		n, err = x.copy(ctx, topic, ids)
	case ActRedrive:
		var done broker.Redriven
		done, err = broker.Redrive{IDs: ids}.Run(ctx, x.o.b, topic, x.o.trail.Entry(x.who, "message.redrive", topic, which(ids)+x.why))
		if n = done.Moved; err != nil && done.LeftWhy != nil && errors.Is(err, done.LeftWhy) {
			err = nil // others can go
		}
		x.done.Left += done.Left
		if x.done.LeftWhy == nil {
			x.done.LeftWhy = done.LeftWhy
		}
	}
	x.done.Messages += n
	return err
}

// CopyMessage publishes a copy of a message of a topic, which says who has published it, as all that an administrator publishes,
// and returns its ID. The errors are those of Message and Publish.
func CopyMessage(ctx context.Context, o *Objects, who gate.Actor, topic, id string) (string, error) {
	m, _, err := o.Message(topic, id)
	if err != nil {
		return "", err
	}
	return o.Publish(ctx, who, topic, Publication{Payload: m.Payload, MIMEType: m.MIMEType, Priority: m.Priority, Expiration: m.Expiration,
		CorrelationID: m.CorrelationID, ReplyTo: m.ReplyTo, Attributes: m.Attributes})
}

// copy publishes copies of messages of a topic.
func (x *acting) copy(ctx context.Context, topic string, ids []string) (n int, err error) {
	for _, id := range ids {
		switch _, err := CopyMessage(ctx, x.o, x.who, topic, id); {
		case broker.CodeOf(err) == broker.NotFound:
			continue
		case err != nil:
			return n, err
		}
		n++
	}
	return n, nil
}

// told is an error that says how many messages it was done to before.
func (x *acting) told(err error) error {
	if known := broker.ErrorOf(err); known != nil && x.done.Messages > 0 {
		told := *known
		told.Message += fmt.Sprintf("; it was done to %d messages before", x.done.Messages)
		return &told
	}
	return err
}

// matching says for the audit log what messages had to match.
func matching(o *browse.Options) string {
	s := " that matched"
	if o.Consumer != 0 {
		s += fmt.Sprintf(", consumer %d", o.Consumer)
	}
	if o.State != "" {
		s += ", state " + clip.Input(string(o.State))
	}
	if o.Priority != 0 {
		s += fmt.Sprintf(", priority %d", o.Priority)
	}
	if !o.Since.IsZero() {
		s += ", since " + o.Since.UTC().Format(time.RFC3339)
	}
	if !o.Until.IsZero() {
		s += ", until " + o.Until.UTC().Format(time.RFC3339)
	}
	if o.Text != "" {
		s += fmt.Sprintf(", text %q", clip.Input(o.Text))
	}
	return s
}

// nextOf is where the next request goes on, and when the first one began.
func nextOf(before time.Time, cursor string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(before.UnixMicro(), 10) + "." + cursor))
}

func parseNext(s string) (before time.Time, cursor string, ok bool) {
	if s == "" {
		return time.Time{}, "", true
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	at, cursor, ok := strings.Cut(string(b), ".")
	micros, err2 := strconv.ParseInt(at, 10, 64)
	if err != nil || err2 != nil || !ok {
		return time.Time{}, "", false
	}
	return time.UnixMicro(micros), cursor, true
}
