package httpapi

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"pipit/broker"
)

// params are the query parameters of a request, each at most once.
type params map[string]string

// parseParams reads a query. allowed are the parameters that the route knows: another one is an
// error, so that a slip of the pen is not taken for a default.
func parseParams(query string, allowed ...string) (params, error) {
	if query == "" {
		return nil, nil
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, broker.Invalidf("query: not a list of name=value") // not quoted: it may hold a key
	}
	p := make(params, len(values))
	for name, v := range values {
		if !slices.Contains(allowed, name) {
			return nil, broker.Invalidf("parameter %q: allowed are %s", clip(name), strings.Join(allowed, ", "))
		}
		if len(v) > 1 {
			return nil, broker.Invalidf("parameter %q: given %d times, allowed is once", name, len(v))
		}
		p[name] = v[0]
	}
	return p, nil
}

// integer returns a whole number, def where it is not given.
func (p params) integer(name string, def int64) (int64, error) {
	s, ok := p[name]
	if !ok {
		return def, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || s[0] == '+' {
		return 0, broker.Invalidf("%s %q: allowed are whole numbers", name, clip(s))
	}
	return n, nil
}

// flag returns true or false, false where it is not given.
func (p params) flag(name string) (bool, error) {
	switch s, ok := p[name]; {
	case !ok || s == "false":
		return false, nil
	case s == "true":
		return true, nil
	default:
		return false, broker.Invalidf("%s %q: allowed are true, false", name, clip(s))
	}
}

// oneOf returns one of the allowed values, the first where it is not given.
func (p params) oneOf(name string, allowed ...string) (string, error) {
	s, ok := p[name]
	if !ok {
		return allowed[0], nil
	}
	if !slices.Contains(allowed, s) {
		return "", broker.Invalidf("%s %q: allowed are %s", name, clip(s), strings.Join(allowed, ", "))
	}
	return s, nil
}
