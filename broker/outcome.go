package broker

import (
	"fmt"
	"strings"
)

// Changed is what a Change has done, or would do.
type Changed struct {
	// What becomes of the objects that were given, in their order.
	Clients   []Outcome[Client]
	Topics    []Outcome[Topic]
	Producers []Outcome[Producer]
	Consumers []Outcome[Consumer]
	Webhooks  []Outcome[Webhook]

	Deleted []Ref      // what is deleted, dependants included, in no order; producers and consumers by ID
	Gone    Definition // the same as it was defined, with the hashes of passwords and all secrets
	Made    []Consumer // those that were given a SubKey, with it; none by a dry run
	Sealed  []Consumer // those that a CallbackSecret was made for, with it; none by a dry run
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

func outcome[T comparable](before *T, after T) Outcome[T] {
	switch {
	case before == nil:
		return Outcome[T]{Action: Create, After: after}
	case *before == after:
		return Outcome[T]{Action: Keep, Before: after, After: after}
	default:
		return Outcome[T]{Action: Update, Before: *before, After: after}
	}
}

// Fault is what is wrong with one object of a Definition.
type Fault struct {
	Kind  Kind
	Index int // in the list of its kind
	Err   *Error
}

// Faults are all that is wrong with a Definition, up to MaxFaults. As an error they are Invalid, or Conflict where
// the first one is of what is New.
type Faults []Fault

// MaxFaults is how many faults of a Definition are told.
const MaxFaults = 20

func (f Faults) Error() string {
	s := make([]string, len(f))
	for i := range f {
		s[i] = f[i].Err.Error()
	}
	return strings.Join(s, "\n")
}

func (f Faults) Unwrap() []error {
	errs := make([]error, len(f))
	for i := range f {
		errs[i] = f[i].Err
	}
	return errs
}

// fault notes what is wrong with an object: err, which may be joined, or nil. It tells whether anything is.
func (x *definer) fault(kind Kind, index int, err error) bool {
	if err == nil {
		return false
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range joined.Unwrap() {
			x.fault(kind, index, err)
		}
		return true
	}
	e := ErrorOf(err)
	if e == nil {
		panic(fmt.Sprintf("a fault that is no error of the domain: %v", err))
	}
	if len(x.faults) < MaxFaults {
		x.faults = append(x.faults, Fault{kind, index, e})
	}
	return true
}

// checked returns the faults as an error, nil where there are none.
func (x *definer) checked() error {
	if len(x.faults) > 0 {
		return x.faults
	}
	return nil
}
