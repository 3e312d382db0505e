package httpapi

import (
	"net/http"
	"time"

	"pipit/broker"
)

// ping answers whoever asks, while the process serves.
func (s *server) ping(x *exchange, _ *http.Request, _ string) error {
	d := x.document(make([]byte, 0, 256), "")
	d.object("zato_ping_response", func() { d.text("pong", "zato") })
	d.object("zato_env", func() {
		d.text("details", "")
		d.text("result", "ZATO_OK")
		d.text("cid", x.cid[0])
	})
	x.send(http.StatusOK, &d)
	return nil
}

// health tells whoever asks whether messages can be stored: 503 after a write that failed, until
// one goes well.
func (s *server) health(x *exchange, _ *http.Request, _ string) error {
	if err := s.b.Health(); err != nil {
		return &broker.Error{Code: broker.Unavailable, Message: "Nothing can be stored: the last write failed",
			RetryAfter: 5 * time.Second, Err: err}
	}
	return x.ok()
}
