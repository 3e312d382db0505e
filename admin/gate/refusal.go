package gate

import (
	"fmt"
	"net/http"
)

// Refusal is an error that only HTTP knows.
type Refusal struct {
	status  int
	code    string // of the problem
	message string // for the caller
}

// Refuse returns an error with a status, the code of its problem, and what the caller is told.
func Refuse(status int, code, message string) error { return &Refusal{status, code, message} }

func (e *Refusal) Error() string { return e.message }

var (
	ErrNoRoute  = &Refusal{http.StatusNotFound, "not_found", "There is nothing here"}
	ErrNoPage   = &Refusal{http.StatusNotFound, "not_set_up", notSetUp} // what the pages answer before the set-up
	ErrNotSetUp = &Refusal{http.StatusForbidden, "not_set_up", notSetUp}
	ErrNoSignIn = &Refusal{http.StatusUnauthorized, "unauthorized", "Sign in, or send a token that is valid: Authorization: Bearer pipit_…"}
	ErrForeign  = &Refusal{http.StatusForbidden, "cross_origin", "The request comes from a page of another origin"}
)

const notSetUp = "Pipit is not set up: open the link that it printed at its start, or run: pipit admin create NAME"

// Malformed refuses a request that cannot be read.
func Malformed(format string, args ...any) error {
	return Refuse(http.StatusBadRequest, "malformed", fmt.Sprintf(format, args...))
}
