package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"pipit/broker/clip"
	"pipit/broker/login"
	"pipit/broker/property"
)

// Code is the kind of an Error. Each door of the program maps codes to its own statuses.
type Code int

const (
	Internal     Code = iota // a fault of ours; the cause goes to the log only
	Invalid                  // a parameter out of range or of an unknown value
	Unauthorized             // no or wrong credentials, an inactive client
	Denied                   // no permission; the message never says which rule refused
	NotFound                 // no such message in flight, no such object
	TooLarge                 // a payload over the limit
	Full                     // a topic, a backlog or an in-flight limit is reached
	TooMany                  // too many failed logins
	Unavailable              // shutting down, or overloaded
	DiskFull                 // no room on the disk: nothing was stored
	Conflict                 // the object exists already, or is not as the caller knew it
)

// String returns the name of a code, such as "NotFound".
func (c Code) String() string {
	if c < 0 || int(c) >= len(codeNames) {
		return "Code(" + strconv.Itoa(int(c)) + ")"
	}
	return codeNames[c]
}

var codeNames = [...]string{
	Internal: "Internal", Invalid: "Invalid", Unauthorized: "Unauthorized", Denied: "Denied", NotFound: "NotFound", TooLarge: "TooLarge",
	Full: "Full", TooMany: "TooMany", Unavailable: "Unavailable", DiskFull: "DiskFull", Conflict: "Conflict",
}

// Error is an error of the domain.
type Error struct {
	Code       Code
	Message    string        // for the client: names the parameter, the value and what is allowed
	Field      string        // the parameter that is at fault, as the wire spells it; empty where there is none or several
	Value      string        // of Field, as a person writes it; empty where it is secret or missing
	Allowed    string        // what is allowed for Field, where Message says that behind a colon; else empty
	Reason     string        // for the log alone; empty where Message says it all
	RetryAfter time.Duration // when it makes sense to try again; 0 where it does not
	Err        error         // the cause, for the log alone
}

func (e *Error) Error() string {
	s := e.Message
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// ErrorOf returns what err is of the domain, nil where it is nothing of it: an Error, what a field or a parameter may not be, or
// why a password was not accepted.
func ErrorOf(err error) *Error {
	if err == nil {
		return nil // which each request asks, and the targets below would cost it allocations
	}
	var own *Error
	var wrong *property.Error
	var refused *login.Error
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &wrong):
		return &Error{Code: Invalid, Message: wrong.Message, Field: wrong.Field, Value: wrong.Value, Allowed: wrong.Allowed}
	case errors.As(err, &refused):
		return loginError(refused)
	}
	return nil
}

// CodeOf returns the code of err, Internal where it is not an Error.
func CodeOf(err error) Code {
	if e := ErrorOf(err); e != nil {
		return e.Code
	}
	return Internal
}

// ours returns an error of a package below as an Error, or several joined as such; any other as it is.
func ours(err error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		list := slices.Clone(joined.Unwrap())
		for i := range list {
			list[i] = ours(list[i])
		}
		return errors.Join(list...)
	}
	if e := ErrorOf(err); e != nil {
		return e
	}
	return err
}

// Invalidf makes an Invalid error.
func Invalidf(format string, args ...any) *Error {
	return &Error{Code: Invalid, Message: fmt.Sprintf(format, args...)}
}

// denied says the same to every client, so that nobody learns what exists; the reason is for the log.
func denied(format string, args ...any) *Error {
	return &Error{Code: Denied, Message: "Permission denied", Reason: fmt.Sprintf(format, args...)}
}

// of names the parameter that is at fault.
func (e *Error) of(field string) *Error {
	e.Field = field
	return e
}

// wrongValue is the error of a field's value. subject is how the message calls both.
func wrongValue(field, value, subject string, allowed any) *Error {
	e := Invalidf("%s: %v", subject, allowed).of(field)
	e.Value, e.Allowed = value, fmt.Sprint(allowed)
	return e
}

// wrongText is wrongValue of a text, of what of calls.
func wrongText(field, value, of string, allowed any) *Error {
	shown := strconv.Quote(clip.Input(value))
	return wrongValue(field, shown, field+" "+shown+of, allowed)
}

// callerLeft is the error of a caller whose context ended.
func callerLeft(ctx context.Context) error {
	return &Error{Code: Unavailable, Message: "The request ended", RetryAfter: time.Second, Err: context.Cause(ctx)}
}

var (
	errNobody   = &Error{Code: Unauthorized, Message: "No client has signed in"}
	errClosed   = &Error{Code: Unavailable, Message: "Shutting down", RetryAfter: 5 * time.Second}
	errOverload = &Error{Code: Unavailable, Message: "Overloaded, try again", RetryAfter: time.Second}
)

func tooLargeMessage(got, most int64) string {
	return fmt.Sprintf("payload of %d bytes: allowed are at most %d", got, most)
}
