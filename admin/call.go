package admin

import (
	"log/slog"

	"pipit/admin/gate"
	"pipit/httpapi/exchange"
)

// call is a request of the pages or of the API.
type call struct {
	exchange.Exchange
	who    gate.Actor
	route  string // the pattern of its path
	prefix string // in front of the paths that go out
}

// Begin is for exchange.Side.
func (x *call) Begin() {
	if to := x.Header().Get("Location"); to != "" {
		x.Header().Set("Location", x.prefix+to)
	}
}

// Caller is for exchange.Side.
func (x *call) Caller() string { return x.who.Name }

// Attrs is for exchange.Side.
func (x *call) Attrs(a []slog.Attr) []slog.Attr {
	if x.who.Name != "" {
		a = append(a, slog.String("actor", x.who.Name))
	}
	return a
}
