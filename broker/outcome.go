package broker

import (
	"fmt"
	"strings"

	"pipit/broker/change"
	"pipit/broker/limit"
)

// Changed is what a Change has done, or would do.
type Changed struct {
	// What becomes of the objects that were given, in their order.
	Clients   []change.Outcome[Client]
	Topics    []change.Outcome[Topic]
	Producers []change.Outcome[Producer]
	Consumers []change.Outcome[Consumer]
	Webhooks  []change.Outcome[Webhook]

	Deleted []change.Ref // what is deleted, dependants included, in no order; producers and consumers by ID
	Gone    Definition   // the same as it was defined, with the hashes of passwords and all secrets
	Made    []Consumer   // those that were given a SubKey, with it; none by a dry run
	Sealed  []Consumer   // those that a CallbackSecret was made for, with it; none by a dry run
}

// Fault is what is wrong with one object of a Definition.
type Fault struct {
	Kind  change.Kind
	Index int // in the list of its kind
	Err   *Error
}

// Faults are all that is wrong with a Definition, up to MaxFaults. As an error they are Invalid, or Conflict where
// the first one is of what is New.
type Faults []Fault

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
func (x *definer) fault(kind change.Kind, index int, err error) bool {
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
	if len(x.faults) < limit.MaxFaults {
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
