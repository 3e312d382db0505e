package httpapi

import (
	"net/http"
	"time"

	"pipit/broker"
)

// ping answers whoever asks, while the process serves.
func (s *server) ping(x *exchange, _ *http.Request, _ string) error {
	b := append(make([]byte, 0, 160), `{"zato_ping_response": {"pong": "zato"}, "zato_env": {"details": "", "result": "ZATO_OK", "cid": `...)
	b = append(appendString(b, x.cid[0]), "}}"...)
	_ = x.reply(http.StatusOK, typeJSON, b)
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
