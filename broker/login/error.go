package login

import (
	"context"
	"errors"
	"time"
)

// Code is the kind of an Error.
type Code int

const (
	Invalid      Code = iota + 1 // a password that nobody can have
	Unauthorized                 // a wrong name or password, or an inactive account
	TooMany                      // too many failures
	Unavailable                  // too many wait, or the context ended
)

// Error is why somebody was not let in.
type Error struct {
	Code       Code
	Message    string        // for the caller: it does not tell which names there are
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

// CodeOf returns the code of err, 0 where it is not an Error.
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

func unauthorized(reason string) error {
	return &Error{Code: Unauthorized, Message: "Invalid credentials", Reason: reason}
}

// callerLeft is the error of a caller whose context ended.
func callerLeft(ctx context.Context) error {
	return &Error{Code: Unavailable, Message: "The request ended", RetryAfter: time.Second, Err: context.Cause(ctx)}
}
