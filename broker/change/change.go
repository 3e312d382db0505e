// Package change is how a broker.Change names objects, and what it tells of what has become of them.
package change

import (
	"fmt"

	"pipit/broker/clip"
)

// Kind is a kind of object.
type Kind string

const (
	Client   Kind = "client"
	Topic    Kind = "topic"
	Producer Kind = "producer"
	Consumer Kind = "consumer"
	Webhook  Kind = "webhook"
)

// Ref names an object: a client by Name, its username; a topic and a webhook by Name; a producer by ID, or by
// Name, its client's username, and Topic; a consumer by ID.
type Ref struct {
	Kind  Kind
	Name  string
	Topic string
	ID    uint32
}

// String returns the object's name for a message.
func (r Ref) String() string {
	switch {
	case r.Kind == Producer && r.ID == 0:
		return fmt.Sprintf("producer %q of topic %q", clip.Input(r.Name), clip.Input(r.Topic))
	case r.Kind == Producer || r.Kind == Consumer:
		return fmt.Sprintf("%s %d", r.Kind, r.ID)
	}
	return fmt.Sprintf("%s %q", r.Kind, clip.Input(r.Name))
}

// Expect is the state of an object for which a Change is meant. With another it is refused, so that
// two who edit the same object do not overwrite each other.
type Expect struct {
	Ref
	Revision string // as in the object's Info; "*": the object exists; empty: it does not
}

// Action is what becomes of an object.
type Action string

const (
	Create Action = "create"
	Update Action = "update"
	Keep   Action = "keep" // it is as it was given
)

// Outcome is what becomes of an object that was given. In the end a client has a PasswordHash and no
// Password; a dry run, which hashes none, leaves it in After, and takes each for another one. A consumer that is rotated
// too is updated: After has the new SubKey, and none by a dry run.
type Outcome[T any] struct {
	Action        Action
	ID            uint32 // of a producer or consumer; by a dry run, one that is created gets another when it is made
	Before, After T      // Before is zero where it is created
}

func OutcomeOf[T comparable](before *T, after T) Outcome[T] {
	switch {
	case before == nil:
		return Outcome[T]{Action: Create, After: after}
	case *before == after:
		return Outcome[T]{Action: Keep, Before: after, After: after}
	default:
		return Outcome[T]{Action: Update, Before: *before, After: after}
	}
}
