package admin

import (
	"context"
	"errors"
	"math"
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

const (
	typeProblem   = "application/problem+json"
	problemPrefix = "urn:pipit:problem:"
)

// titles of the problems, by code.
var titles = map[string]string{
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

// refusal is what a code of the broker becomes.
type refusal struct {
	status int
	code   string
}

var refusals = map[broker.Code]refusal{
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

// fieldErrors is an error of one or several fields of a body, or parameters of a query.
type fieldErrors []FieldError

func (e fieldErrors) Error() string {
	s := e[0].Detail
	if len(e) > 1 {
		s += ", and " + strconv.Itoa(len(e)-1) + " more"
	}
	return s
}

// created is an error of making something, for which a Conflict is another problem than of an edit.
type created struct{ error }

func (e created) Unwrap() error { return e.error }

// problemOf returns the problem of an error, and when it makes sense to try again.
func problemOf(err error) (Problem, time.Duration) {
	p := Problem{Status: http.StatusInternalServerError, Code: "internal"}
	var after time.Duration
	var he *httpError
	var fe fieldErrors
	var be *broker.Error
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
	case errors.As(err, &be) && be.Code != broker.Internal: // whose cause is nobody's business but the log's
		r := refusals[be.Code]
		var c created
		if be.Code == broker.Conflict && errors.As(err, &c) {
			r = refusal{http.StatusConflict, "exists"}
		}
		p.Status, p.Code, p.Detail, after = r.status, r.code, be.Message, be.RetryAfter
		if be.Field != "" {
			p.Errors = []FieldError{{Pointer: "/" + be.Field, Detail: be.Message}}
		}
	}
	p.Type, p.Title = problemPrefix+p.Code, titles[p.Code]
	return p, after
}

// problem answers a request of the API with an error.
func (a *Admin) problem(w http.ResponseWriter, _ *http.Request, err error) {
	p, after := problemOf(err)
	b, err := marshal(p)
	if err != nil {
		panic(err) // of a struct of texts: never
	}
	h := w.Header()
	h.Del("ETag")
	h.Del("Location")
	h.Del("Content-Disposition")
	h.Set("Content-Type", typeProblem)
	switch p.Status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="Pipit"`)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		h.Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(after.Seconds())))))
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(b, '\n')) // who has left does not read it
}
