package object

import (
	"cmp"
	"context"
	"fmt"
	"strconv"

	"pipit/admin/audit"
	"pipit/admin/gate"
	"pipit/broker"
	"pipit/broker/change"
	"pipit/broker/clip"
)

// Noun is a kind of object: a client, a topic, a producer, a consumer or a webhook. Its fields say what tells it from the
// other kinds; its methods are what can be done to an object of any of them, for the API and the pages alike.
type Noun[T any] struct {
	o        *Objects
	Kind     change.Kind
	Path     string   // of the list, under that of the API and of the pages
	Param    string   // of the path of one
	Filters  []string // parameters of the list, beside those of every list
	Parts    []string // keys of those that a list can be asked for
	Initial  func() T // what holds where a new one says nothing
	List     func(gate.Query) (gate.List[T], error)
	find     func(key string) (T, bool) // by its key in paths; without what complete adds
	complete func([]T) error            // adds what only the store knows, or nil
	ref      func(*T) change.Ref
	Name     func(*T) string // how the audit log and the pages call it
	Revision func(*T) string
	Goes     func(*T) Deleted // with it, when it is deleted

	define   func(*broker.Definition, *T)     // adds it to a definition
	check    func(before, v *T) error         // fills in and checks what the broker does not, or nil; before is nil where v is new
	fixed    func(before, v *T) error         // refuses to change what one is known by
	diff     func(before, v *T) FieldChanges  // what an edit changes
	number   func(v *T, made *broker.Changed) // sets the ID of what was made, or nil: it has none
	Warnings func(*T) *[]string               // about its secrets, or nil: it has none

	Mask     func(*T)      // takes away what the scope read does not see, or nil
	Declared func(*T) bool // the configuration file has it

	Reveal func(ctx context.Context, v *T) // notes that who asks was shown what Mask takes away, of one or, where v is nil, of a list; or nil
}

// Key is the key of an object in paths.
func (n *Noun[T]) Key(v *T) string { return refKey(n.ref(v)) }

// Get returns an object by its key in paths. The error is NotFound, or that of the store.
func (n *Noun[T]) Get(key string) (T, error) {
	v, err := n.LookUp(key)
	if err != nil || n.complete == nil {
		return v, err
	}
	one := []T{v}
	err = n.complete(one)
	return one[0], err
}

// LookUp is Get without what only the store knows.
func (n *Noun[T]) LookUp(key string) (T, error) {
	v, ok := n.find(key)
	if !ok {
		return v, NotFound(string(n.Kind), key)
	}
	return v, nil
}

// Create makes an object. The errors are Invalid, Conflict (it exists), Unavailable and DiskFull.
func (n *Noun[T]) Create(ctx context.Context, who gate.Actor, v T) (none T, err error) {
	if n.check != nil {
		if err := n.check(nil, &v); err != nil {
			return none, err
		}
	}
	c := broker.Change{Documents: []broker.Document{n.o.trail.Entry(who, n.action("create"), n.Name(&v), "")}}
	if ref := n.ref(&v); ref != (change.Ref{Kind: n.Kind}) {
		c.Expect = []change.Expect{{Ref: ref}}
	}
	n.define(&c.Define, &v)
	done, err := n.o.b.Change(ctx, c)
	if err != nil {
		return none, err
	}
	weak := n.o.warnWeak(c.Define)
	if n.number != nil {
		n.number(&v, &done)
	}
	made, ok := n.find(n.Key(&v))
	if !ok { // deleted since
		return none, NotFound(string(n.Kind), n.Name(&v))
	}
	if n.Warnings != nil {
		*n.Warnings(&made) = weak
	}
	return made, nil
}

// Edit has an edit change an object that is in a revision, or in any where that is empty or "*", and returns
// what it made of it, with the secrets that it gave. Without a secret it leaves that as it is. The errors are
// those of the edit, NotFound, Conflict (another revision), Invalid, Unavailable and DiskFull.
func (n *Noun[T]) Edit(ctx context.Context, who gate.Actor, key, revision string, edit func(*T) error) (v T, err error) {
	err = retryConflicts(revision, func() error {
		before, err := n.LookUp(key)
		if err != nil {
			return err
		}
		if err := checkRevision(revision, n.Revision(&before)); err != nil {
			return err
		}
		v = before
		if err := edit(&v); err != nil {
			return err
		}
		if err := n.fixed(&before, &v); err != nil {
			return err
		}
		if n.check != nil {
			if err := n.check(&before, &v); err != nil {
				return err
			}
		}
		diff := n.diff(&before, &v)
		if len(diff) == 0 {
			return nil
		}
		c := broker.Change{
			Expect:    []change.Expect{{Ref: n.ref(&before), Revision: n.Revision(&before)}},
			Documents: []broker.Document{n.o.trail.Entry(who, editAction(n.Kind, diff), n.Name(&v), diff.String())},
		}
		n.define(&c.Define, &v)
		if _, err = n.o.b.Change(ctx, c); err == nil && n.Warnings != nil && diff.hasSecret() {
			*n.Warnings(&v) = n.o.warnWeak(c.Define)
		}
		return err
	})
	return v, err
}

// EditAll has an edit change objects, all in one commit, and returns how many it changed. Those that are gone it leaves out. The
// errors are those of Edit but NotFound.
func (n *Noun[T]) EditAll(ctx context.Context, who gate.Actor, keys []string, edit func(*T)) (changed int, err error) {
	err = retryConflicts("", func() error {
		changed = 0
		var c broker.Change
		for _, key := range keys {
			before, ok := n.find(key)
			if !ok {
				continue
			}
			v := before
			edit(&v)
			diff := n.diff(&before, &v)
			if len(diff) == 0 {
				continue
			}
			changed++
			c.Expect = append(c.Expect, change.Expect{Ref: n.ref(&before), Revision: n.Revision(&before)})
			c.Documents = append(c.Documents, n.o.trail.Entry(who, editAction(n.Kind, diff), n.Name(&v), diff.String()))
			n.define(&c.Define, &v)
		}
		_, err := n.o.b.Change(ctx, c)
		if broker.CodeOf(err) == broker.NotFound { // one was deleted since it was looked up
			err = &broker.Error{Code: broker.Conflict, Message: err.Error()}
		}
		return err
	})
	return changed, err
}

// Delete deletes an object that is in a revision, or in any where that is empty or "*", and returns it and what
// went with it, and how it is taken back, nil where it cannot be. The errors are NotFound, Conflict (another revision),
// Unavailable and DiskFull.
func (n *Noun[T]) Delete(ctx context.Context, who gate.Actor, key, revision string) (with Deleted, undo *Undo, err error) {
	v, err := n.LookUp(key)
	if err != nil {
		return Deleted{}, nil, err
	}
	with = n.Goes(&v)
	done, err := n.o.b.Change(ctx, broker.Change{
		Expect:    []change.Expect{{Ref: n.ref(&v), Revision: cmp.Or(revision, "*")}},
		Delete:    []change.Ref{n.ref(&v)},
		Documents: []broker.Document{n.o.trail.Entry(who, n.action("delete"), n.Name(&v), with.String())},
	})
	if err != nil {
		return Deleted{}, nil, err
	}
	return with, n.o.keepUndo(who, n.Kind, n.Name(&v), done.Gone), nil
}

// action is how the audit log calls what is done to one.
func (n *Noun[T]) action(verb string) string { return string(n.Kind) + "." + verb }

// editAction is how the audit log calls an edit: of a secret, whatever else it changes, by a name of its own.
func editAction(kind change.Kind, diff FieldChanges) string {
	switch {
	case !diff.hasSecret():
		return string(kind) + ".edit"
	case kind == change.Client:
		return audit.Password
	}
	return string(kind) + "." + audit.SecretEdit
}

// String is what the audit log says.
func (d Deleted) String() string {
	if d == (Deleted{}) {
		return ""
	}
	s := fmt.Sprintf("with %d producers, %d consumers, %d messages", d.Producers, d.Consumers, d.Messages)
	if d.Webhooks > 0 {
		s += fmt.Sprintf(", %d webhooks", d.Webhooks)
	}
	return s
}

func NotFound(what, name string) *broker.Error {
	return &broker.Error{Code: broker.NotFound, Message: fmt.Sprintf("No %s %q", what, clip.Input(name))}
}

// byName and byID find an object of the broker by its key in paths.
func byName[I, T any](get func(string) (I, bool), of func(*I) T) func(string) (T, bool) {
	return func(key string) (v T, ok bool) {
		info, ok := get(key)
		if ok {
			v = of(&info)
		}
		return v, ok
	}
}

func byID[I, T any](get func(uint32) (I, bool), of func(*I) T) func(string) (T, bool) {
	return byName(func(key string) (none I, ok bool) {
		id, ok := ParseID(key)
		if !ok {
			return none, false
		}
		return get(id)
	}, of)
}

// ParseID reads the id of a producer or consumer. What is none belongs to nobody.
func ParseID(s string) (uint32, bool) {
	id, err := strconv.ParseUint(s, 10, 32)
	return uint32(id), err == nil && id != 0 && strconv.FormatUint(id, 10) == s
}

// refKey is the key of an object in a path.
func refKey(r change.Ref) string {
	if r.ID != 0 {
		return strconv.FormatUint(uint64(r.ID), 10)
	}
	return r.Name
}

// retries is how often an edit that is not meant for a certain revision begins again, because
// another one came between.
const retries = 10

// retryConflicts runs step until it does not end in a Conflict. An edit for a certain revision is not
// repeated.
func retryConflicts(revision string, step func() error) error {
	for i := 0; ; i++ {
		err := step()
		if broker.CodeOf(err) != broker.Conflict || revision != "" && revision != "*" || i == retries {
			return err
		}
	}
}

// checkRevision tells whether an object is in the revision that an edit is meant for; empty or
// "*" is any.
func checkRevision(wanted, is string) error {
	if wanted == "" || wanted == "*" || wanted == is {
		return nil
	}
	return &broker.Error{Code: broker.Conflict, Message: "It was changed in the meantime: its revision is " + is + " now"}
}
