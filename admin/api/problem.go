package api

import (
	"math"
	"net/http"
	"strconv"

	"pipit/admin/gate"
)

const TypeProblem = "application/problem+json"

// WriteProblem answers a request of the API with an error.
func WriteProblem(w http.ResponseWriter, err error) {
	p, after := gate.ProblemOf(err)
	b, err := gate.Marshal(p)
	if err != nil {
		panic(err) // of a struct of texts: never
	}
	h := w.Header()
	h.Del("ETag")
	h.Del("Location")
	h.Del("Content-Disposition")
	h.Set("Content-Type", TypeProblem)
	switch p.Status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="Pipit"`)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		h.Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(after.Seconds())))))
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(b, '\n')) // who has left does not read it
}
