package broker

import (
	"context"
	"slices"

	"pipit/broker/login"
)

// Authenticate returns the client of a username and password. addr is the caller's IP address:
// failures are counted by Logins. The errors are Unauthorized, TooMany and Unavailable.
func (b *Broker) Authenticate(ctx context.Context, username, password, addr string) (*Client, error) {
	for {
		c, account := b.client(username), login.Account{Name: username}
		if c != nil {
			account = c.account()
		}
		waited, err := b.auth.Authenticate(ctx, account, password, addr)
		if err != nil {
			return nil, ours(err)
		}
		if !waited {
			return c, nil
		}
		// Now the pair is remembered, unless the client has changed meanwhile.
	}
}

// ClientNow returns the client of a username as it is now, nil where there is none. It is not to be changed.
func (l lister) ClientNow(username string) *Client { return l.b.client(username) }

func (b *Broker) client(username string) *Client {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if c := b.clients[username]; c != nil {
		return &c.Client
	}
	return nil
}

func (c *Client) account() login.Account {
	return login.Account{Name: c.Username, Hash: c.PasswordHash, Active: !c.Inactive}
}

// Logins is what all doors to the broker ask before they check a password. Its errors are those of package login: see ErrorOf.
func (b *Broker) Logins() *login.Limiter { return b.auth.Limiter() }

// loginError is an error of package login as an Error.
func loginError(e *login.Error) *Error {
	own := &Error{Message: e.Message, Reason: e.Reason, RetryAfter: e.RetryAfter, Err: e.Err}
	switch e.Code {
	case login.Invalid:
		own.Code, own.Field = Invalid, "password"
	case login.Unauthorized:
		own.Code = Unauthorized
	case login.TooMany:
		own.Code = TooMany
	case login.Unavailable:
		own.Code = Unavailable
	}
	return own
}

// credentials are those of the clients that have a Password, with the PasswordHash that each has so far.
func (b *Broker) credentials(clients []Client) (all []login.Credential) {
	for i := range clients {
		if c := &clients[i]; c.Password != "" {
			stored := ""
			if old := b.client(c.Username); old != nil {
				stored = old.PasswordHash
			}
			all = append(all, login.Credential{Name: c.Username, Password: c.Password, Hash: stored})
		}
	}
	return all
}

// setHashes gives each client that has a Password the PasswordHash of it, in its place. These are the clients
// that all was made of, in their order.
func setHashes(clients []Client, all []login.Credential) {
	for i := range clients {
		if c := &clients[i]; c.Password != "" {
			c.Password, c.PasswordHash, all = "", all[0].Hash, all[1:]
		}
	}
}

// hashed returns clients with a PasswordHash in place of each Password, and the credentials of those that had
// one. They are hashed in turn with logins. The error is Unavailable, where ctx ends first.
func (b *Broker) hashed(ctx context.Context, clients []Client) ([]Client, []login.Credential, error) {
	all := b.credentials(clients)
	if err := b.Logins().HashAll(ctx, all); err != nil {
		return nil, nil, ours(err)
	}
	clients = slices.Clone(clients)
	setHashes(clients, all)
	return clients, all, nil
}
