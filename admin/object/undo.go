package object

import (
	"context"
	"crypto/rand"
	"slices"
	"sync"
	"time"

	"pipit/admin/gate"
	"pipit/broker"
	"pipit/broker/change"
)

// Of deletions that can be taken back.
const (
	UndoTime = 10 * time.Minute
	maxUndos = 20 // past it the oldest leaves
)

// Undo is a deletion that can be taken back, as far as definitions go: messages are gone.
type Undo struct {
	Key  string // that nobody guesses
	Kind change.Kind
	Name string
	At   time.Time
	By   string // who has deleted it

	define broker.Definition
}

// undos are the last ones, the oldest first, in memory alone: they hold secrets.
type undos struct {
	mu   sync.Mutex
	list []Undo
}

func (u *undos) add(x Undo) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.list) >= maxUndos {
		u.list = slices.Delete(slices.Clone(u.list), 0, 1)
	}
	u.list = append(u.list, x)
	time.AfterFunc(UndoTime, func() { u.drop(x.Key) })
}

func (u *undos) drop(key string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.list = slices.DeleteFunc(slices.Clone(u.list), func(x Undo) bool { return x.Key == key })
}

// Undos returns the deletions that can be taken back, the latest first.
func (o *Objects) Undos() []Undo {
	o.undos.mu.Lock()
	defer o.undos.mu.Unlock()
	list := slices.Clone(o.undos.list)
	slices.Reverse(list)
	return list
}

// Undoable returns the deletion of a key, nil where it cannot be taken back.
func (o *Objects) Undoable(key string) *Undo {
	for _, x := range o.Undos() {
		if x.Key == key {
			return &x
		}
	}
	return nil
}

// Until is when it cannot be taken back any more.
func (x *Undo) Until() time.Time { return x.At.Add(UndoTime) }

// keepUndo keeps what a deletion has taken; nil: its process ends before anybody could take it back.
func (o *Objects) keepUndo(who gate.Actor, kind change.Kind, name string, gone broker.Definition) *Undo {
	if who.Via == gate.File {
		return nil
	}
	for i := range gone.Consumers {
		gone.Consumers[i].New = true // else another one that was made meanwhile would be changed
	}
	x := Undo{rand.Text(), kind, name, time.Now(), who.Name, gone}
	o.undos.add(x)
	return &x
}

// TakeBack makes what a deletion has taken anew, with the same names, passwords and keys, without messages. The errors are
// NotFound (it is too late), Conflict (something of it exists again), Faults (something that it needs is gone), Unavailable and
// DiskFull.
func (o *Objects) TakeBack(ctx context.Context, who gate.Actor, key string) (Undo, broker.Changed, error) {
	x := o.Undoable(key)
	if x == nil {
		return Undo{}, broker.Changed{}, &broker.Error{Code: broker.NotFound, Message: "The deletion cannot be taken back any more: that is possible for ten minutes"}
	}
	c := broker.Change{Define: x.define, Documents: []broker.Document{o.trail.Entry(who, string(x.Kind)+".restore", x.Name, "as before it was deleted, without messages")}}
	for i := range x.define.Clients {
		c.Expect = append(c.Expect, change.Expect{Ref: change.Ref{Kind: change.Client, Name: x.define.Clients[i].Username}})
	}
	for i := range x.define.Topics {
		c.Expect = append(c.Expect, change.Expect{Ref: change.Ref{Kind: change.Topic, Name: x.define.Topics[i].Name}})
	}
	for i := range x.define.Webhooks {
		c.Expect = append(c.Expect, change.Expect{Ref: change.Ref{Kind: change.Webhook, Name: x.define.Webhooks[i].Name}})
	}
	for i := range x.define.Producers {
		p := &x.define.Producers[i]
		c.Expect = append(c.Expect, change.Expect{Ref: change.Ref{Kind: change.Producer, Name: p.Client, Topic: p.Topic}})
	}
	done, err := o.b.Change(ctx, c)
	if err == nil {
		o.undos.drop(key)
	}
	return *x, done, err
}
