package command

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"strings"

	"pipit/admin"
	"pipit/broker"
)

// offline is a database that this process has open, with its admin API.
type offline struct {
	b     *broker.Broker
	admin *admin.Admin
}

// connectFile opens a database and lets c.api speak to its API.
func (c *cli) connectFile(file string) error {
	b, err := c.openFile(file, "")
	if err != nil {
		return err
	}
	a, err := admin.New(b, admin.Options{Version: c.Version, MaxPayload: MaxPayload, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return errors.Join(err, b.Close())
	}
	c.offline = &offline{b, a}
	c.api = &api{server: "http://" + localHost, http: newHTTPClient(inProcess{a.Local()})}
	return nil
}

// localHost is the name of the server in this process. It has no address.
const localHost = "pipit.invalid"

// openFile opens a database, with errors that say what to do. why says why it is that one where the
// user has not named it. One that --create makes goes again in close, unless keep is called before.
func (c *cli) openFile(file, why string) (*broker.Broker, error) {
	b, err := c.Open(file, false)
	if !errors.Is(err, fs.ErrNotExist) {
		return b, openError(err)
	}
	if c.create {
		_, was := os.Lstat(file)
		if b, err = c.Open(file, true); err == nil && errors.Is(was, fs.ErrNotExist) {
			c.made = file
		}
		return b, openError(err)
	}
	var ways []string
	if why != "" {
		err = fmt.Errorf("%w, %s", err, why)
		ways = append(ways, "--file names another")
	}
	if c.creates {
		ways = append(ways, "--create makes it")
	}
	if ways != nil {
		err = fmt.Errorf("%w: %s", err, strings.Join(ways, ", "))
	}
	return nil, openError(err)
}

func openError(err error) error {
	switch {
	case errors.Is(err, broker.ErrInUse):
		return fmt.Errorf("%w: where that is a server, use --server", err)
	case errors.Is(err, fs.ErrNotExist):
		return errNotFound{err}
	}
	return err
}

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
