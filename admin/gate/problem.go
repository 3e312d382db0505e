package gate

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"pipit/broker"
)

// Problem is what the API answers where it refuses: problem details of RFC 9457.
type Problem struct {
	Type   string       `json:"type"`  // urn:pipit:problem: and the code
	Title  string       `json:"title"` // the same for each code
	Status int          `json:"status"`
	Detail string       `json:"detail,omitempty"` // names the parameter, its value and what is allowed
	Code   string       `json:"code"`             // stable, for scripts
	Errors []FieldError `json:"errors,omitempty"` // where fields or parameters are at fault
}

// FieldError is what is wrong with one field or parameter.
type FieldError struct {
	Pointer   string `json:"pointer,omitempty"`   // JSON pointer of a field of the body
	Parameter string `json:"parameter,omitempty"` // of the query
	Detail    string `json:"detail"`
}

const ProblemPrefix = "urn:pipit:problem:"

// Titles of the problems, by code.
var Titles = map[string]string{
	"malformed":          "The request cannot be read",
	"invalid":            "A value is not allowed",
	"unauthorized":       "Credentials are missing or not valid",
	"forbidden":          "The credentials do not allow this",
	"cross_origin":       "The request comes from another origin",
	"misdirected":        "The request is for another server",
	"not_set_up":         "Pipit is not set up",
	"not_found":          "There is no such thing",
	"method_not_allowed": "The method is not allowed here",
	"exists":             "It exists already",
	"last_administrator": "It is the last administrator",
	"changed":            "It was changed in the meantime",
	"inactive":           "It is not active",
	"too_large":          "The body is too large",
	"unsupported_type":   "The type of the body is not supported",
	"full":               "There is no room for more messages",
	"too_many":           "Too many attempts",
	"unavailable":        "Not now",
	"disk_full":          "The disk is full",
	"internal":           "Internal error",
}

// answer is what a code of the broker becomes.
type answer struct {
	status int
	code   string
}

var answers = map[broker.Code]answer{
	broker.Internal:     {http.StatusInternalServerError, "internal"},
	broker.Invalid:      {http.StatusUnprocessableEntity, "invalid"},
	broker.Unauthorized: {http.StatusUnauthorized, "unauthorized"},
	broker.Denied:       {http.StatusConflict, "inactive"},
	broker.NotFound:     {http.StatusNotFound, "not_found"},
	broker.TooLarge:     {http.StatusRequestEntityTooLarge, "too_large"},
	broker.Full:         {http.StatusTooManyRequests, "full"},
	broker.TooMany:      {http.StatusTooManyRequests, "too_many"},
	broker.Unavailable:  {http.StatusServiceUnavailable, "unavailable"},
	broker.DiskFull:     {http.StatusInsufficientStorage, "disk_full"},
	broker.Conflict:     {http.StatusPreconditionFailed, "changed"},
}

// FieldErrors is an error of one or several fields of a body, or parameters of a query.
type FieldErrors []FieldError

func (e FieldErrors) Error() string {
	s := e[0].Detail
	if len(e) > 1 {
		s += ", and " + strconv.Itoa(len(e)-1) + " more"
	}
	return s
}

// Created makes err one of making something, for which a Conflict is another problem than of an edit.
func Created(err error) error { return creation{err} }

type creation struct{ error }

func (e creation) Unwrap() error { return e.error }

// ProblemOf returns the problem of an error, and when it makes sense to try again.
func ProblemOf(err error) (Problem, time.Duration) {
	p := Problem{Status: http.StatusInternalServerError, Code: "internal"}
	var after time.Duration
	var he *Refusal
	var fe FieldErrors
	be := broker.ErrorOf(err)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &he):
		p.Status, p.Code, p.Detail = he.status, he.code, he.message
	case errors.As(err, &fe):
		p.Status, p.Code, p.Detail, p.Errors = http.StatusUnprocessableEntity, "invalid", fe.Error(), fe
	case errors.As(err, &large):
		p.Status, p.Code = http.StatusRequestEntityTooLarge, "too_large"
		p.Detail = "body: allowed are at most " + strconv.FormatInt(large.Limit, 10) + " bytes"
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		p.Status, p.Code, p.Detail = http.StatusServiceUnavailable, "unavailable", "The request ended"
	case be != nil && be.Code != broker.Internal: // whose cause is nobody's business but the log's
		r := answers[be.Code]
		var c creation
		if be.Code == broker.Conflict && errors.As(err, &c) {
			r = answer{http.StatusConflict, "exists"}
		}
		p.Status, p.Code, p.Detail, after = r.status, r.code, be.Message, be.RetryAfter
		if be.Field != "" {
			p.Errors = []FieldError{{Pointer: "/" + be.Field, Detail: be.Message}}
		}
	}
	p.Type, p.Title = ProblemPrefix+p.Code, Titles[p.Code]
	return p, after
}

// Invalid makes an Invalid error of a parameter.
func Invalid(field, format string, args ...any) *broker.Error {
	err := broker.Invalidf(format, args...)
	err.Field = field
	return err
}
