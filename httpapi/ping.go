package httpapi

import (
	"net/http"
	"time"

	"pipit/broker"
)

// ping answers whoever asks, while the process serves.
func (s *server) ping(x *call, _ *http.Request, _ string) error {
	d := x.document(make([]byte, 0, 256), "")
	d.object("zato_ping_response", func() { d.text("pong", "zato") })
	d.object("zato_env", func() {
		d.text("details", "")
		d.text("result", "ZATO_OK")
		d.text("cid", x.ID[0])
	})
	x.send(http.StatusOK, &d)
	return nil
}

// Paths that tell supervisors and load balancers, without credentials, whether the process serves, and whether requests are to be
// sent to it.
const (
	AlivePath = "/healthz"
	ReadyPath = "/readyz"
)

// IsProbe tells whether a path is one of these.
func IsProbe(path string) bool { return path == AlivePath || path == ReadyPath }

func (s *server) alive(x *call, _ *http.Request, _ string) error { return x.ok() }

// ready is health, and 503 from Drain on.
func (s *server) ready(x *call, r *http.Request, rest string) error {
	if s.leaves.Load() {
		return &broker.Error{Code: broker.Unavailable, Message: "The server is about to stop", RetryAfter: 5 * time.Second}
	}
	return s.health(x, r, rest)
}

// health tells whoever asks whether messages can be stored: 503 from when that failed until the broker
// has found out that they can. Why is for the log.
func (s *server) health(x *call, _ *http.Request, _ string) error {
	if err := s.b.Health(); err != nil {
		return &broker.Error{Code: broker.Unavailable, Message: "Messages cannot be stored",
			RetryAfter: 5 * time.Second, Err: err}
	}
	if d := s.b.StoreStats().Unsynced; d > 0 {
		return x.okBut("Answers come before the flush: a crash loses up to " + d.String() + " of them")
	}
	return x.ok()
}
