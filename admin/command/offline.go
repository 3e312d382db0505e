package command

import (
	"bytes"
	"fmt"
	"io"
	"net/http"

	"pipit/admin"
	"pipit/broker"
)

// offline is a database that this process has open, with its admin API.
type offline struct {
	b     *broker.Broker
	admin *admin.Admin
}

// localHost is the name of the server in this process. It has no address.
const localHost = "pipit.invalid"

func (o *offline) close() error {
	o.admin.Close()
	return o.b.Close()
}

// inProcess sends requests to a handler.
type inProcess struct{ h http.Handler }

func (t inProcess) RoundTrip(req *http.Request) (*http.Response, error) {
	r := req.Clone(req.Context()) // as the server sees it
	r.RequestURI = r.URL.RequestURI()
	r.Host = r.URL.Host
	r.RemoteAddr = "127.0.0.1:0"
	if r.Body == nil {
		r.Body = http.NoBody
	}
	a := &answer{header: http.Header{}}
	t.h.ServeHTTP(a, r)
	_ = r.Body.Close()
	if a.status == 0 {
		a.status = http.StatusOK
	}
	return &http.Response{
		Status:        fmt.Sprintf("%d %s", a.status, http.StatusText(a.status)),
		StatusCode:    a.status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        a.header,
		Body:          io.NopCloser(&a.body),
		ContentLength: int64(a.body.Len()),
		Request:       req,
	}, nil
}

// answer is an http.ResponseWriter in memory.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 && status >= 200 {
		a.status = status
	}
}

func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(b)
}
