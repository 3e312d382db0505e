package broker

import (
	"errors"
	"strings"

	"pipit/broker/clip"
	"pipit/broker/login"
)

// Client is somebody who may call: the user of HTTP Basic authentication.
type Client struct {
	Username     string // 1 to 128 characters, no colon, no control characters
	Name         string // display name, what consumers see as a message's producer; Username where empty
	PasswordHash string // bcrypt ($2a$, $2b$ or $2y$) of a cost of 10 to 13
	Active       bool

	// Password, where not empty, replaces PasswordHash; at most 72 bytes, bcrypt's limit.
	// It is never stored.
	Password string `json:"-"`
}

// client is a Client at work. It is replaced, never changed.
type client struct {
	Client
	revision string
}

// Limits of names; that of passwords is login.MaxPassword.
const (
	MaxUsername = 128 // bytes
	MaxName     = 256 // bytes
)

// Validate checks the client's fields. The error joins one for each that is wrong.
func (c *Client) Validate() error {
	var wrong []error
	if c.Username == "" || len(c.Username) > MaxUsername || strings.Contains(c.Username, ":") || !printable(c.Username) {
		wrong = append(wrong, Invalidf("username %q: allowed are 1 to %d bytes without a colon and control characters", clip.Input(c.Username), MaxUsername).of("username"))
	}
	if len(c.Name) > MaxName || !printable(c.Name) {
		wrong = append(wrong, Invalidf("name %q of client %q: allowed are at most %d bytes without control characters", clip.Input(c.Name), c.Username, MaxName).of("name"))
	}
	if len(c.Password) > login.MaxPassword {
		wrong = append(wrong, Invalidf("password of client %q: allowed are at most %d bytes, got %d", c.Username, login.MaxPassword, len(c.Password)).of("password"))
	}
	if c.PasswordHash != "" {
		if err := login.CheckHash(c.PasswordHash); err != nil {
			wrong = append(wrong, Invalidf("password_hash of client %q: %v", c.Username, err).of("password_hash"))
		}
	}
	return errors.Join(wrong...)
}

// ValidateOver is Validate of a client whose hash so far is stored: a hash that stays may be of any cost.
func (c *Client) ValidateOver(stored string) error {
	given := *c
	if given.PasswordHash == stored {
		given.PasswordHash = ""
	}
	return given.Validate()
}

// ValidateNames checks what a Username or Name that exists may have, and a new one may not: see IsHidden. old is
// the client so far, nil where it is new.
func (c *Client) ValidateNames(old *Client) error {
	var wrong []error
	if r, found := hidden(c.Username); found && old == nil {
		wrong = append(wrong, Invalidf("username %q: it holds %s; allowed are characters that show", clip.Input(c.Username), charName(r)).of("username"))
	}
	if r, found := hidden(c.Name); found && (old == nil || old.Name != c.Name) {
		wrong = append(wrong, Invalidf("name %q of client %q: it holds %s; allowed are characters that show", clip.Input(c.Name), c.Username, charName(r)).of("name"))
	}
	return errors.Join(wrong...)
}
