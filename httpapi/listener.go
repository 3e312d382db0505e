package httpapi

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"pipit/httpapi/exchange"
	"pipit/httpapi/refused"
)

// Listener returns l with connections on which the answers that net/http gives by itself, to what it
// cannot read as a request and so hands to no handler, have the form of all other errors, and are
// logged. Over TLS it sees what is not TLS alone: the rest is sealed before it gets here.
func Listener(l net.Listener, log *slog.Logger) net.Listener {
	return &listener{l, log, refused.New(log)}
}

type listener struct {
	net.Listener
	log      *slog.Logger
	refusals *refused.Lines
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, listener: l}, nil
}

// conn is a connection whose server may be net/http.
type conn struct {
	net.Conn
	listener *listener

	mu    sync.Mutex
	wrote bool      // something, since something was read
	head  [256]byte // how what was read begins since something was written
	n     int       // of head
}

// NetConn is for who looks at the connection itself.
func (c *conn) NetConn() net.Conn { return c.Conn }

// CloseWrite is for net/http, which ends a reply this way before it closes.
func (c *conn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return errors.ErrUnsupported
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.mu.Lock()
		if c.wrote {
			c.wrote, c.n = false, 0
		}
		c.n += copy(c.head[c.n:], b[:n])
		c.mu.Unlock()
	}
	return n, err
}

// errorAt is where a reply has the first digit of its status.
const errorAt = len("HTTP/1.1 ")

// Write gives an answer of net/http its form. It comes in one piece, as the first after something was
// read; a reply of a handler cannot look like it, as it has a date.
func (c *conn) Write(b []byte) (int, error) {
	c.mu.Lock()
	first := !c.wrote
	c.wrote = true
	var refused []byte
	if first && len(b) > errorAt && bytes.HasPrefix(b, []byte("HTTP/1.")) && b[errorAt] >= '4' {
		refused = c.refusal(b)
	}
	c.mu.Unlock()
	if refused == nil {
		return c.Conn.Write(b)
	}
	if _, err := c.Conn.Write(refused); err != nil {
		return 0, err
	}
	return len(b), nil
}

// refusal returns what is sent instead of an answer of net/http, nil where b is none. The caller holds
// mu.
func (c *conn) refusal(b []byte) []byte {
	header, text, _ := strings.Cut(string(b[:min(len(b), 1<<10)]), "\r\n\r\n")
	_, line, _ := strings.Cut(header, " ")
	status, err := strconv.Atoi(line[:min(len(line), 3)])
	if err != nil || strings.Contains(header, "\r\nDate: ") && status != http.StatusExpectationFailed {
		return nil
	}
	line = strconv.Itoa(status) + " " + http.StatusText(status)
	text = strings.TrimSpace(strings.TrimPrefix(text, line+": ")) // without more to say it is line
	method, path, details := c.request()
	switch {
	case status == http.StatusRequestHeaderFieldsTooLarge:
		details = "Header: allowed are at most " + strconv.Itoa(maxHeader) + " bytes"
	case status == http.StatusExpectationFailed:
		details = "Header Expect: allowed is 100-continue"
	case status != http.StatusBadRequest || details == "":
		details = text
	}
	now := time.Now()
	cid := exchange.NewID(now)
	if remote := c.RemoteAddr().String(); c.listener.refusals.Allow("", remote) {
		c.listener.log.Warn("refused", "cid", cid, "method", method, "path", path, "remote", remote, "status", status,
			"details", details, "reason", "not a request that can be read: "+text)
	}
	d := newDocument(nil, false, "ZATO_ERROR")
	d.text("details", details)
	body := d.whole()
	head := "HTTP/1.1 " + line + "\r\nContent-Type: " + typeJSON[0] + "\r\nX-Content-Type-Options: " + noSniff[0] + "\r\nCache-Control: " + noStore[0] + "\r\n" + headerCID + ": " + cid + "\r\nDate: " + now.UTC().Format(http.TimeFormat) +
		"\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\nConnection: close\r\n\r\n"
	return append([]byte(head), body...)
}

// request finds out what is wrong with what was read. Only where its first line is one of HTTP, what
// the line says is fit for the log.
func (c *conn) request() (method, path, wrong string) {
	head := string(c.head[:c.n])
	if strings.HasPrefix(head, "\x16\x03") {
		return "", "", "TLS where plain HTTP is spoken"
	}
	line, _, whole := strings.Cut(head, "\n")
	method, rest, _ := strings.Cut(line, " ")
	target, version, ok := strings.Cut(rest, " ")
	if method == "" || strings.Trim(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" || whole && !(ok && strings.HasPrefix(version, "HTTP/")) {
		return "", "", "The first line of a request is METHOD PATH HTTP/1.1"
	}
	path, _, _ = strings.Cut(target, "?")
	if _, err := url.ParseRequestURI(target); err != nil && ok {
		wrong = "The path of a request is percent-encoded: % stands before two hexadecimal digits"
	}
	return method, path, wrong
}
