package command

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strings"

	"pipit/admin/gate"
)

// errInterrupted is a command that a signal has ended before it was done.
var errInterrupted = errors.New("interrupted")

// fail tells why a command has failed, and returns its exit code.
func fail(ctx context.Context, c *cli, err error, args []string) int {
	if readerGone(err) {
		return exitReaderGone
	}
	if !c.begun { // cobra's own: flags, arguments, names of commands
		err = usageError{groupError(err)}
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = errInterrupted
	}
	code := exitCode(err)
	if c.bareExit && code != exitInterrupted {
		code = exitFailed
	}
	if c.out.json || asksForJSON(args) {
		c.out.printProblem(err, code)
		return code
	}
	for line := range strings.Lines(err.Error()) {
		c.out.notef("%s", strings.TrimSpace(line))
	}
	return code
}

// kinds are the code, title and status of a problem that no server has answered with, by exit code.
var kinds = map[int]struct {
	code, title string
	status      int
}{
	exitFailed:      {"failed", "The command has failed", http.StatusInternalServerError},
	exitUsage:       {"usage", "The command line is not allowed", http.StatusBadRequest},
	exitNotFound:    {"not_found", gate.Titles["not_found"], http.StatusNotFound},
	exitRefused:     {"forbidden", gate.Titles["forbidden"], http.StatusForbidden},
	exitConflict:    {"changed", gate.Titles["changed"], http.StatusConflict},
	exitNotNow:      {"unavailable", gate.Titles["unavailable"], http.StatusServiceUnavailable},
	exitInterrupted: {"interrupted", "The command was interrupted", http.StatusInternalServerError},
}

// printProblem writes an error as problem details: as the server has answered it, or made of what the command knows.
func (o *output) printProblem(err error, code int) {
	kind, known := kinds[code]
	if !known { // of a command of the user's
		kind = kinds[exitFailed]
	}
	p := gate.Problem{Detail: err.Error()}
	var of *problem
	if errors.As(err, &of) {
		p = of.Problem
	}
	p.Code, p.Title, p.Status = cmp.Or(p.Code, kind.code), cmp.Or(p.Title, kind.title), cmp.Or(p.Status, kind.status)
	p.Type = cmp.Or(p.Type, gate.ProblemPrefix+p.Code)
	if text, err := marshal(p); err == nil {
		_, _ = o.stderr.Write(text)
	}
}
