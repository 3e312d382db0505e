package api

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"pipit/admin/gate"
	"pipit/admin/object"
	"pipit/broker"
	"pipit/broker/clip"
	"pipit/broker/property"
)

// checkBody refuses a request whose body is not of one of the types and says so.
func checkBody(r *http.Request, types ...string) error {
	if given := r.Header.Get("Content-Type"); given != "" {
		media, with, err := mime.ParseMediaType(given)
		charset := with["charset"]
		if err != nil || !slices.Contains(types, media) || charset != "" && !strings.EqualFold(charset, "utf-8") {
			return gate.Refuse(http.StatusUnsupportedMediaType, "unsupported_type",
				fmt.Sprintf("Content-Type %q: allowed are %s in UTF-8", clip.Input(given), strings.Join(types, ", ")))
		}
	}
	if enc := r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return gate.Refuse(http.StatusUnsupportedMediaType, "unsupported_type", fmt.Sprintf("Content-Encoding %q: allowed is none", clip.Input(enc)))
	}
	return nil
}

// readBody returns the body of a request, which is of one of the types or says none.
func readBody(r *http.Request, types ...string) ([]byte, error) {
	if err := checkBody(r, types...); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r.Body)
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return nil, err
		}
		return nil, gate.Malformed("body: it broke off")
	}
	return b, nil
}

// readNode reads a body of JSON. The route has no parameters of a query.
func readNode(r *http.Request, types ...string) (object.Node, error) {
	if err := noQuery(r); err != nil {
		return object.Node{}, err
	}
	body, err := readBody(r, types...)
	if err != nil {
		return object.Node{}, err
	}
	return object.Parse(body)
}

// readObject reads the body of a request into a struct, to which v points, and byDefault to another.
func readObject(r *http.Request, v, byDefault any, types ...string) error {
	in, err := readNode(r, types...)
	if err != nil {
		return err
	}
	return in.Object(v, byDefault)
}

const (
	TypeJSON  = "application/json"
	TypePatch = "application/merge-patch+json"
)

// values are the parameters of a query.
type values map[string]string

// parseQuery reads the query of a request. allowed are the parameters that the route knows: another
// one is an error, so that a slip of the pen is not taken for a default. So is one that is given twice.
func parseQuery(r *http.Request, allowed ...string) (values, error) {
	given, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, gate.Malformed("query: not a list of name=value")
	}
	v := values{}
	for name, list := range given {
		if !slices.Contains(allowed, name) {
			known := "none"
			if len(allowed) > 0 {
				known = strings.Join(allowed, ", ")
			}
			return nil, badParameter(name, "parameter %q: allowed are %s", clip.Input(name), known)
		}
		if err := once(name, list); err != nil {
			return nil, err
		}
		v[name] = list[0]
	}
	return v, nil
}

func badParameter(name, format string, args ...any) error {
	return gate.FieldErrors{{Parameter: clip.Input(name), Detail: fmt.Sprintf(format, args...)}}
}

// elsewhere stands in a path for a name that the query has, since some proxies decode %2F or merge slashes.
const elsewhere = "-"

// queryNames are the parameters of the query that can hold a name of the path, by that of the route.
var queryNames = map[string]string{"username": "username", "name": "name", "topic": "name", "msg_id": "msg_id"}

// NamesFromQuery takes the names that are elsewhere from the query, and returns the request without them.
// Where the query has none, the path means what it says.
func NamesFromQuery(p gate.Params, r *http.Request) (*http.Request, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return r, nil // for the handler to refuse
	}
	taken := false
	for at, value := range p {
		list, given := q[queryNames[at]]
		if !given || value != elsewhere {
			continue
		}
		if err := once(queryNames[at], list); err != nil {
			return nil, err
		}
		p[at], taken = list[0], true
		delete(q, queryNames[at])
	}
	if !taken {
		return r, nil
	}
	r = r.Clone(r.Context())
	r.URL.RawQuery = q.Encode()
	return r, nil
}

// once returns an error where a parameter is given several times.
func once(name string, values []string) error {
	if len(values) > 1 {
		return badParameter(name, "parameter %q: given %d times, allowed is once", name, len(values))
	}
	return nil
}

// integer returns a whole number within bounds, def where it is not given.
func (v values) integer(name string, def, least, most int64) (int64, error) {
	s, given := v[name]
	if !given {
		return def, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < least || n > most || s[0] == '+' {
		return 0, badParameter(name, "%s %q: allowed are %d to %d", name, clip.Input(s), least, most)
	}
	return n, nil
}

// limit returns how many items are asked for.
func (v values) limit() (int64, error) {
	return v.integer("limit", gate.DefaultLimit, 1, gate.MaxLimit)
}

// limitAlone is that of a request that may have nothing else in its query.
func limitAlone(r *http.Request) (int64, error) {
	v, err := parseQuery(r, "limit")
	if err != nil {
		return 0, err
	}
	return v.limit()
}

// duration returns a duration, 0 where it is not given.
func (v values) duration(name string) (time.Duration, error) {
	s, given := v[name]
	d, ok := property.ParseDuration(s)
	if given && !ok {
		return 0, badParameter(name, "%s %q: allowed are durations such as 30s, 1h30m, 7d", name, clip.Input(s))
	}
	return d, nil
}

// flag returns true or false, false where it is not given.
func (v values) flag(name string) (bool, error) {
	switch s, given := v[name]; {
	case !given || s == "false":
		return false, nil
	case s == "true":
		return true, nil
	default:
		return false, badParameter(name, "%s %q: allowed are true, false", name, clip.Input(s))
	}
}

// consumer returns the id of a consumer, 0 where it is not given.
func (v values) consumer() (uint32, error) {
	s, given := v["consumer"]
	id, ok := object.ParseID(s)
	if given && !ok {
		return 0, badParameter("consumer", "consumer %q: allowed is the id of a consumer", clip.Input(s))
	}
	return id, nil
}

// time returns a time, the zero time where it is not given.
func (v values) time(name string) (time.Time, error) {
	s, given := v[name]
	if !given {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, badParameter(name, "%s %q: allowed is a time such as 2026-01-31T12:00:00Z", name, clip.Input(s))
	}
	return t, nil
}

// ofParameters makes the error of a field one of a parameter, for what came in a query.
func ofParameters(err error) error {
	if e := broker.ErrorOf(err); e != nil && e.Code == broker.Invalid && e.Field != "" {
		return badParameter(e.Field, "%s", e.Message)
	}
	return err
}
