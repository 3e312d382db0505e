package httpapi

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"pipit/broker"
)

// params are the query parameters of a request.
type params map[string]string

// parseParams reads a query. allowed are the parameters that the route knows: another one is an
// error, so that a slip of the pen is not taken for a default. So is one that is given twice.
func parseParams(query string, allowed ...string) (params, error) {
	if query == "" {
		return nil, nil
	}
	p := params{}
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		if strings.Contains(pair, ";") { // which others take for &
			return nil, errQuery
		}
		name, value, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if err != nil {
			return nil, errQuery
		}
		if value, err = url.QueryUnescape(value); err != nil {
			return nil, errQuery
		}
		if !slices.Contains(allowed, name) {
			return nil, broker.Invalidf("parameter %q: allowed are %s", clip(name), strings.Join(allowed, ", "))
		}
		if _, twice := p[name]; twice {
			return nil, broker.Invalidf("parameter %q: given 2 times, allowed is once", name)
		}
		p[name] = value
	}
	return p, nil
}

// errQuery does not quote the query, which may hold a secret.
var errQuery = broker.Invalidf("query: not a list of name=value")

// integer returns a whole number, def where it is not given.
func (p params) integer(name string, def int64) (int64, error) {
	v, given := p[name]
	if !given {
		return def, nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || v[0] == '+' {
		return 0, broker.Invalidf("%s %q: allowed are whole numbers", name, clip(v))
	}
	return n, nil
}

// flag returns true or false, false where it is not given.
func (p params) flag(name string) (bool, error) {
	switch v, given := p[name]; {
	case !given || v == "false":
		return false, nil
	case v == "true":
		return true, nil
	default:
		return false, broker.Invalidf("%s %q: allowed are true, false", name, clip(v))
	}
}

// oneOf returns one of the allowed values, the first where it is not given.
func (p params) oneOf(name string, allowed ...string) (string, error) {
	v, given := p[name]
	if !given {
		return allowed[0], nil
	}
	if !slices.Contains(allowed, v) {
		return "", broker.Invalidf("%s %q: allowed are %s", name, clip(v), strings.Join(allowed, ", "))
	}
	return v, nil
}
