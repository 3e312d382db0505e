package command

import (
	"cmp"
	"errors"
	"io/fs"
	"net/http"
	"runtime"
	"strings"
	"syscall"

	"pipit/admin/command/receiver"
	"pipit/admin/gate"
	"pipit/broker"
	"pipit/broker/store"
)

// Exit codes, as the help of pipit and docs/administration.md list them.
const (
	exitOK       = 0
	exitFailed   = 1
	exitUsage    = 2
	exitNotFound = 3
	exitRefused  = 4
	exitConflict = 5
	exitNotNow   = 6

	exitInterrupted = 128 + 2 // as of a process that SIGINT ended
)

// exitReaderGone is of a command whose standard output nobody reads any more, as after "| head". It says
// nothing and has not printed all: a shell sees what it sees of a process that SIGPIPE ended.
const exitReaderGone = 128 + 13

// readerGone tells whether an error is that of standard output, a pipe that nobody reads any more. Those
// of network connections are no errors of files.
func readerGone(err error) bool {
	var p *fs.PathError
	var errno syscall.Errno
	if !errors.As(err, &p) || p.Op != "write" || !errors.As(p, &errno) {
		return false
	}
	if runtime.GOOS == "windows" {
		return errno == 109 || errno == 232 // ERROR_BROKEN_PIPE, ERROR_NO_DATA
	}
	return errno == syscall.EPIPE
}

// usageError is a command line that cannot be understood.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// connectError is a server that could not be reached, or did not answer.
type connectError struct{ error }

func (e connectError) Unwrap() error { return e.error }

// errNotFound is something that the API has not been asked for by its key.
type errNotFound struct{ error }

func (e errNotFound) Unwrap() error { return e.error }

// problem is an error that a server answers.
type problem struct{ gate.Problem }

// refused makes one of what is not a problem of the API.
func refused(status int, detail string) *problem {
	return &problem{gate.Problem{Status: status, Detail: detail}}
}

func (p *problem) Error() string {
	var lines []string
	for _, e := range p.Errors {
		line := e.Detail
		if strings.Count(e.Pointer, "/") > 1 { // within a document
			line = e.Pointer + ": " + line
		}
		lines = append(lines, line)
	}
	switch {
	case lines != nil:
		return strings.Join(lines, "\n")
	case p.Detail != "":
		return p.Detail
	}
	return cmp.Or(p.Title, http.StatusText(p.Status))
}

func exitCode(err error) int {
	var p *problem
	b := broker.ErrorOf(err)
	var u *receiver.UnrunnableError
	switch {
	case errors.As(err, &u):
		return u.Code
	case errors.Is(err, errInterrupted):
		return exitInterrupted
	case errors.As(err, new(usageError)):
		return exitUsage
	case errors.As(err, new(errNotFound)), errors.Is(err, fs.ErrNotExist):
		return exitNotFound
	case errors.As(err, new(connectError)), errors.Is(err, store.ErrInUse):
		return exitNotNow
	case errors.As(err, &p):
		if strings.HasSuffix(p.Detail, ": no such client") || strings.HasSuffix(p.Detail, ": no such topic") {
			return exitNotFound // which the API takes for a wrong value of what names it
		}
		return statusCode(p.Status)
	case b != nil:
		switch b.Code {
		case broker.Invalid, broker.TooLarge:
			return exitUsage
		case broker.NotFound:
			return exitNotFound
		case broker.Unauthorized, broker.Denied:
			return exitRefused
		case broker.Conflict:
			return exitConflict
		case broker.Full, broker.TooMany, broker.Unavailable, broker.DiskFull:
			return exitNotNow
		}
	}
	return exitFailed
}

// statusCode is the exit code of an answer's status.
func statusCode(status int) int {
	switch status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType:
		return exitUsage
	case http.StatusNotFound:
		return exitNotFound
	case http.StatusUnauthorized, http.StatusForbidden:
		return exitRefused
	case http.StatusConflict, http.StatusPreconditionFailed:
		return exitConflict
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable,
		http.StatusGatewayTimeout, http.StatusInsufficientStorage:
		return exitNotNow
	}
	return exitFailed
}
