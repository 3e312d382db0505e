package broker

import (
	"errors"
	"fmt"
	"strings"

	"pipit/broker/limit"
	"pipit/broker/login"
	"pipit/broker/property"
)

// Client is somebody who may call: the user of HTTP Basic authentication.
type Client struct {
	Username     string         // 1 to 128 characters, no colon, no control characters
	Name         string         // display name, what consumers see as a message's producer; Username where empty
	PasswordHash string         // bcrypt ($2a$, $2b$ or $2y$) of a cost of 10 to 13
	Inactive     bool           `json:"-"`         // it cannot log in
	CanSubscribe property.Texts `json:",omitzero"` // names of topics, and patterns, of which it may make consumers by itself: see Subscriber

	// What its requests over the wire may take. Zero: as much as there is.
	PublishRate     int64         `json:",omitempty"` // messages a second that it publishes
	PublishByteRate property.Size `json:",omitempty"` // bytes of bodies a second that it publishes
	ReceiveRate     int64         `json:",omitempty"` // messages a second that it receives
	ReceiveByteRate property.Size `json:",omitempty"` // bytes of payload a second that it receives
	MaxWaiting      int64         `json:",omitempty"` // long polls and streams at a time

	// Password, where not empty, replaces PasswordHash; at most 72 bytes, bcrypt's limit.
	// It is never stored.
	Password string `json:"-"`
}

// client is a Client at work. It is replaced, never changed.
type client struct {
	Client
	revision string
}

// clientFields are the properties of a client.
var clientFields = property.Fields[Client]{
	{
		Name: "username", At: func(c *Client) any { return &c.Username },
		Max: limit.MaxUsername, Check: checkUsername, Pattern: `^[^:\x00-\x1f\x7f-\x9f]+$`, Required: true, Fixed: true, Subject: "username",
		Label: "Username", Hint: "For HTTP Basic authentication", Example: "crm",
		Help: "user name of HTTP Basic authentication: no colon, no control characters",
	},
	{
		Name: "name", At: func(c *Client) any { return &c.Name },
		Max: limit.MaxName, Check: checkClientName, Pattern: `^[^\x00-\x1f\x7f-\x9f]*$`,
		Label: "Name", Hint: "What consumers see as the producer of a message. Empty: the username", Example: "CRM",
		Help: "what consumers see as the `NAME` of the producer (default the username)",
	},
	{
		Name: "is_active", At: func(c *Client) any { return (*property.Opposite)(&c.Inactive) },
		Default: true,
		Label:   "Active", Hint: "An inactive client cannot log in",
		Help: "whether it may log in",
	},
	{
		Name: "can_subscribe", At: func(c *Client) any { return &c.CanSubscribe },
		Max: limit.MaxTopicName, Check: checkPattern,
		Label: "May subscribe to", Hint: "Topics of which it may make consumers by itself, or patterns such as /news/**, one a line",
		Help: "topics of which it may make, look at and delete consumers of its own over the protocol, or patterns: * stands for one segment between slashes, ** for any number of them",
	},
	{
		Name: "publish_rate", At: func(c *Client) any { return &c.PublishRate },
		Min: 0, Max: limit.MaxRate, Unit: "messages a second",
		Label: "Publish rate", Hint: "Messages a second that it may publish. Past it, it gets 429. 0: as many as it can",
		Help: "`messages` a second that it may publish; 0: as many as it can",
	},
	{
		Name: "publish_byte_rate", At: func(c *Client) any { return &c.PublishByteRate },
		Min: 0, Max: limit.MaxByteRate,
		Label: "Publish bytes", Hint: "Bytes a second that it may publish: 512KiB, 4MiB. Past it, it gets 429. 0: as many as it can",
		Help: "bytes a second that it may publish; 0: as many as it can",
	},
	{
		Name: "receive_rate", At: func(c *Client) any { return &c.ReceiveRate },
		Min: 0, Max: limit.MaxRate, Unit: "messages a second",
		Label: "Receive rate", Hint: "Messages a second that it may fetch. Past it, it gets 429, and its streams wait. 0: as many as it can",
		Help: "`messages` a second that it may receive by fetches and streams; 0: as many as it can",
	},
	{
		Name: "receive_byte_rate", At: func(c *Client) any { return &c.ReceiveByteRate },
		Min: 0, Max: limit.MaxByteRate,
		Label: "Receive bytes", Hint: "Bytes a second that it may fetch. Past it, it gets 429, and its streams wait. 0: as many as it can",
		Help: "bytes of payload a second that it may receive by fetches and streams; 0: as many as it can",
	},
	{
		Name: "max_waiting", At: func(c *Client) any { return &c.MaxWaiting },
		Min: 0, Max: limit.MaxMaxWaiting,
		Label: "Max waiting", Hint: "Long polls and streams that it may have at a time. Past it, it gets 429. 0: any number",
		Help: "long polls and streams that it may have at a time; 0: any number",
	},
	{
		Name: "password", At: func(c *Client) any { return &c.Password },
		Max: login.MaxPassword, Check: checkPassword, Secret: true,
		Label: "Password", Hint: "At most 72 bytes",
		Help: "a new password, at most 72 bytes; it is never answered",
	},
	{
		Name: "password_hash", At: func(c *Client) any { return &c.PasswordHash },
		Max: int64(login.HashLength), Check: checkGivenHash, Pattern: `^(\$2[aby]\$1[0-3]\$[./A-Za-z0-9]{53})?$`, Secret: true,
		Help: "a bcrypt hash in place of a password, of cost 10 to 13; it is answered by an export alone",
	},
}

func checkUsername(s string) error {
	if s == "" || len(s) > limit.MaxUsername || strings.Contains(s, ":") || !property.Printable(s) {
		return fmt.Errorf("allowed are 1 to %d bytes without a colon and control characters", limit.MaxUsername)
	}
	return nil
}

func checkClientName(s string) error {
	if len(s) > limit.MaxName || !property.Printable(s) {
		return fmt.Errorf("allowed are at most %d bytes without control characters", limit.MaxName)
	}
	return nil
}

func checkPassword(s string) error {
	if len(s) > login.MaxPassword {
		return fmt.Errorf("allowed are at most %d bytes, got %d", login.MaxPassword, len(s))
	}
	return nil
}

func checkGivenHash(s string) error {
	if s == "" {
		return nil
	}
	return login.CheckHash(s)
}

// Validate checks the client's fields. The error joins one for each that is wrong.
func (c *Client) Validate() error {
	return ours(ClientFields.Validate(c, fmt.Sprintf("client %q", c.Username)))
}

// validateOver is Validate of a client whose hash so far is stored: a hash that stays may be of any cost.
func (c *Client) validateOver(stored string) error {
	given := *c
	if given.PasswordHash == stored {
		given.PasswordHash = ""
	}
	return given.Validate()
}

// validateNames checks what a Username or Name that exists may have, and a new one may not: see IsHidden. old is
// the client so far, nil where it is new.
func (c *Client) validateNames(old *Client) error {
	var wrong []error
	if err := property.CheckShown(c.Username); err != nil && old == nil {
		wrong = append(wrong, wrongText("username", c.Username, "", err))
	}
	if err := property.CheckShown(c.Name); err != nil && (old == nil || old.Name != c.Name) {
		wrong = append(wrong, wrongText("name", c.Name, fmt.Sprintf(" of client %q", c.Username), err))
	}
	return errors.Join(wrong...)
}
