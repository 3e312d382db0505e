package httpapi

import (
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"pipit/broker"
	"pipit/broker/clip"
)

// params are the query parameters of a request. One that is empty is as one that is not given.
type params map[string]string

// parseParams reads a query. allowed are the parameters that the route knows beside format, which all
// do: another one is an error, so that a slip of the pen is not taken for a default. So is one that is
// given twice. Names that begin with _ are ignored: clients add them so that nobody caches the answer.
func parseParams(query string, allowed ...string) (params, error) {
	if query == "" {
		return nil, nil
	}
	p := params{}
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		name, value, ok := cutPair(pair)
		if !ok {
			return nil, errQuery
		}
		if strings.HasPrefix(name, "_") {
			continue
		}
		if name != "format" && !slices.Contains(allowed, name) {
			return nil, broker.Invalidf("parameter %q: allowed are %s", clip.Input(name), strings.Join(append(slices.Clip(allowed), "format"), ", "))
		}
		if _, twice := p[name]; twice {
			return nil, broker.Invalidf("parameter %q: given 2 times, allowed is once", name)
		}
		p[name] = value
	}
	_, err := p.oneOf("format", "json", "xml")
	return p, err
}

// errQuery does not quote the query, which may hold a secret.
var errQuery = broker.Invalidf("query: not a list of name=value")

// cutPair returns the name and the value of a part of a query. A semicolon is no part of one, since
// others take it for &.
func cutPair(pair string) (name, value string, ok bool) {
	name, value, _ = strings.Cut(pair, "=")
	name, err := url.QueryUnescape(name)
	if err != nil || strings.Contains(pair, ";") {
		return "", "", false
	}
	value, err = url.QueryUnescape(value)
	return name, value, err == nil
}

// wantsXML tells whether a query asks for a reply in XML, whatever else is wrong with it: an error is
// answered in that format, too.
func wantsXML(query string) bool {
	for pair := range strings.SplitSeq(query, "&") {
		if name, value, ok := cutPair(pair); ok && name == "format" {
			return strings.EqualFold(value, "xml")
		}
	}
	return false
}

// given tells whether a parameter is there, with a value.
func (p params) given(name string) bool { return p[name] != "" }

// integer returns a whole number, def where it is not given.
func (p params) integer(name string, def int64) (int64, error) {
	v := p[name]
	if v == "" {
		return def, nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || v[0] == '+' {
		return 0, broker.Invalidf("%s %q: allowed are whole numbers", name, clip.Input(v))
	}
	return n, nil
}

// capped returns a whole number of 1 to most, which any larger one stands for; def where it is not
// given or 0.
func (p params) capped(name string, def, most int64) (int64, error) {
	n, err := strconv.ParseInt(p[name], 10, 64)
	if err == nil || !errors.Is(err, strconv.ErrRange) || n < 0 {
		if n, err = p.integer(name, def); err != nil {
			return 0, err
		}
	}
	switch {
	case n < 0:
		return 0, broker.Invalidf("%s %d: allowed are 1 to %d", name, n, most)
	case n == 0:
		return def, nil
	}
	return min(n, most), nil
}

// flags are what a flag can be, in lower case: what Zato took for a boolean.
var flags = map[string]bool{
	"true": true, "1": true, "yes": true, "on": true, "t": true, "y": true,
	"false": false, "0": false, "no": false, "off": false, "f": false, "n": false,
}

// flag returns true or false, false where it is not given. Upper and lower case are the same.
func (p params) flag(name string) (bool, error) {
	v := p[name]
	on, ok := flags[strings.ToLower(v)]
	if !ok && v != "" {
		return false, broker.Invalidf("%s %q: allowed are true, 1, yes, on, t, y and false, 0, no, off, f, n", name, clip.Input(v))
	}
	return on, nil
}

// oneOf returns one of the allowed values, the first where it is not given. Upper and lower case are
// the same.
func (p params) oneOf(name string, allowed ...string) (string, error) {
	v := p[name]
	if v == "" {
		return allowed[0], nil
	}
	if lower := strings.ToLower(v); slices.Contains(allowed, lower) {
		return lower, nil
	}
	return "", broker.Invalidf("%s %q: allowed are %s", name, clip.Input(v), strings.Join(allowed, ", "))
}
