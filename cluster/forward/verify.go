package forward

import (
	"context"
	"net/http"
)

// answer has a request answered here. The reply waits until this node has made sure that it leads still: what it says may follow from what
// is in memory, and where another node leads meanwhile, that is not so any more. It asks before the first byte, and of a stream before
// each piece. It is false where a request that only reads could not be answered here: another node may have its answer.
func (f *Forward) answer(here Here, door string, w http.ResponseWriter, r *http.Request) (done bool) {
	h := here.Door(door)
	if h == nil {
		f.opts.Refuse(w, r, false)
		return true
	}
	v := &verifying{ResponseWriter: w, f: f, here: here, r: r, status: http.StatusOK}
	h.ServeHTTP(v, r)
	if v.begin(); v.lost && !v.refused {
		panic(http.ErrAbortHandler) // what was begun is not to look whole
	}
	return !v.refused || !reads(r)
}

// verifying is a ResponseWriter that asks first.
type verifying struct {
	http.ResponseWriter
	f       *Forward
	here    Here
	r       *http.Request
	status  int
	begun   bool // the status is sent, or on its way
	lost    bool // this node does not lead any more, or cannot tell
	refused bool // the reply says so, instead of the handler's, or is that of another node
}

// Unwrap is for http.ResponseController.
func (v *verifying) Unwrap() http.ResponseWriter { return v.ResponseWriter }

// WriteHeader implements http.ResponseWriter. The status goes out with what follows.
func (v *verifying) WriteHeader(status int) {
	switch {
	case status < 200: // a 100 Continue promises nothing
		v.ResponseWriter.WriteHeader(status)
	case !v.begun:
		v.status = status
	}
}

// begin sends the status, or a refusal.
func (v *verifying) begin() {
	if v.begun {
		return
	}
	v.begun = true
	if v.verify() {
		v.ResponseWriter.WriteHeader(v.status)
		return
	}
	v.refused = true
	clear(v.Header())
	if !reads(v.r) {
		v.f.opts.Refuse(v.ResponseWriter, v.r, true)
	}
}

// Write implements http.ResponseWriter.
func (v *verifying) Write(b []byte) (int, error) {
	switch {
	case !v.begun:
		v.begin()
	case !v.refused:
		v.verify()
	}
	switch {
	case v.refused:
		return len(b), nil // it was answered in other words
	case v.lost:
		return 0, http.ErrAbortHandler
	}
	return v.ResponseWriter.Write(b)
}

// FlushError is for http.ResponseController.
func (v *verifying) FlushError() error {
	v.begin()
	return http.NewResponseController(v.ResponseWriter).Flush()
}

// Flush implements http.Flusher.
func (v *verifying) Flush() { _ = v.FlushError() }

func (v *verifying) verify() bool {
	if !v.lost {
		v.lost = v.here.Verify(context.WithoutCancel(v.r.Context())) != nil
	}
	return !v.lost
}
