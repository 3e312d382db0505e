package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"pipit/broker"
	"pipit/broker/clip"
)

var clientSorts = sorts[broker.ClientInfo]{
	"username":  func(c *broker.ClientInfo) place { return place{S: c.Username} },
	"name":      func(c *broker.ClientInfo) place { return place{S: key(c.Name, c.Username)} },
	"last_seen": func(c *broker.ClientInfo) place { return place{micros(c.LastSeen), c.Username} },
}

// listClients returns a page of the clients. It can be sorted by username, name and last_seen.
func (a *Admin) listClients(q query) (list[Client], error) {
	found := contains(q.Search)
	matches := func(c *broker.ClientInfo) bool { return found(c.Username, c.Name) }
	return pageOf(q, a.b.Clients(), "username", clientSorts, matches, clientOf)
}

// getClient returns a client. The error is NotFound.
func (a *Admin) getClient(username string) (Client, error) {
	info, ok := a.b.Client(username)
	if !ok {
		return Client{}, notFound("No client %q", username)
	}
	return clientOf(&info), nil
}

// createClient creates a client, with a Password or a PasswordHash. The errors are Invalid,
// Conflict (it exists), Unavailable and DiskFull.
func (a *Admin) createClient(ctx context.Context, who actor, c Client) (Client, error) {
	def := c.broker()
	if err := errors.Join(c.checkPassword(), def.Validate()); err != nil {
		return Client{}, err
	}
	if c.Password == "" && c.PasswordHash == "" {
		return Client{}, invalid("password", "password of client %q: it is missing", clip.Input(c.Username))
	}
	ref := broker.Ref{Kind: broker.KindClient, Name: c.Username}
	_, err := a.b.Change(ctx, broker.Change{
		Expect:    []broker.Expect{{Ref: ref}},
		Define:    broker.Definition{Clients: []broker.Client{def}},
		Documents: []broker.Document{a.audit(who, "client.create", c.Username, "")},
	})
	if err != nil {
		return Client{}, err
	}
	made, err := a.getClient(c.Username)
	made.Warnings = a.warnWeak(broker.Definition{Clients: []broker.Client{c.broker()}})
	return made, err
}

// editClient has edit change a client that is in a revision, or in any where that is empty or "*".
// An edit that sets neither Password nor PasswordHash leaves the password as it is. The errors are
// those of edit, NotFound, Conflict (another revision), Invalid, Unavailable and DiskFull.
func (a *Admin) editClient(ctx context.Context, who actor, username, revision string, edit func(*Client) error) (Client, error) {
	var given Client
	err := again(revision, func() error {
		before, err := a.getClient(username)
		if err != nil {
			return err
		}
		if err := checkRevision(revision, before.Revision); err != nil {
			return err
		}
		c := before
		if err := edit(&c); err != nil {
			return err
		}
		if c.Username != username {
			return fixed("username", c.Username, username)
		}
		c.Name = cmp.Or(c.Name, username)
		given = c
		diff := differences(before.ClientDefinition, c.ClientDefinition)
		if len(diff) == 0 {
			return nil
		}
		if err := c.checkPassword(); err != nil {
			return err
		}
		_, err = a.b.Change(ctx, broker.Change{
			Expect:    []broker.Expect{{Ref: broker.Ref{Kind: broker.KindClient, Name: username}, Revision: before.Revision}},
			Define:    broker.Definition{Clients: []broker.Client{c.broker()}},
			Documents: []broker.Document{a.audit(who, editAction(diff), username, diff.String())},
		})
		return err
	})
	if err != nil {
		return Client{}, err
	}
	edited, err := a.getClient(username)
	edited.Warnings = a.warnWeak(broker.Definition{Clients: []broker.Client{given.broker()}})
	return edited, err
}

// editAction is what the audit log calls an edit of a client.
func editAction(diff fieldChanges) string {
	if slices.ContainsFunc(diff, func(c FieldChange) bool { return c.Field == "password" }) {
		return actionPassword
	}
	return "client.edit"
}

// deleteClient deletes a client with its producers and consumers, and returns what went with it.
// The errors are NotFound, Conflict, Unavailable and DiskFull.
func (a *Admin) deleteClient(ctx context.Context, who actor, username, revision string) (Deleted, error) {
	return a.delete(ctx, who, "client.delete", broker.Ref{Kind: broker.KindClient, Name: username}, username, revision)
}

// warnWeak returns what is weak among secrets that were taken, and logs it.
func (a *Admin) warnWeak(d broker.Definition) []string {
	weak := d.Weak()
	for _, w := range weak {
		a.log.Warn(w)
	}
	return weak
}

// checkPassword returns an error where there is both a Password and a PasswordHash.
func (d *ClientDefinition) checkPassword() error {
	if d.Password != "" && d.PasswordHash != "" {
		return invalid("password", "client %q: allowed is one of password and password_hash", clip.Input(d.Username))
	}
	return nil
}

// whatGoes returns what goes with an object when it is deleted. key is a username, the name of a
// topic, or the decimal id of a producer or consumer. The error is NotFound.
func (a *Admin) whatGoes(kind broker.Kind, key string) (Deleted, error) {
	var d Deleted
	consumers := func(match func(*broker.ConsumerInfo) bool) {
		all := a.b.Consumers()
		for i := range all {
			if match(&all[i]) {
				d.Consumers++
				d.Messages += all[i].Backlog
			}
		}
	}
	switch kind {
	case broker.KindClient:
		c, err := a.getClient(key)
		if err != nil {
			return d, err
		}
		consumers(func(i *broker.ConsumerInfo) bool { return i.Client == key })
		d.Producers = c.Producers
	case broker.KindTopic:
		t, err := a.getTopic(key)
		if err != nil {
			return d, err
		}
		d = Deleted{t.Producers, t.Consumers, t.Depth + t.Delayed}
	case broker.KindProducer:
		id, err := parseID(kind, key)
		if err != nil {
			return d, err
		}
		_, err = a.getProducer(id)
		return d, err
	case broker.KindConsumer:
		id, err := parseID(kind, key)
		if err != nil {
			return d, err
		}
		c, ok := a.b.Consumer(id)
		if !ok {
			return d, notFound("No consumer %q", key)
		}
		d.Messages = c.Backlog
	default:
		return d, fmt.Errorf("unknown kind %q", kind)
	}
	return d, nil
}

// delete deletes an object that is in a revision, or in any where that is empty or "*". name is
// how the audit log calls it.
func (a *Admin) delete(ctx context.Context, who actor, action string, ref broker.Ref, name, revision string) (Deleted, error) {
	goes, err := a.whatGoes(ref.Kind, refKey(ref))
	if err != nil {
		return Deleted{}, err
	}
	if revision == "" {
		revision = "*"
	}
	_, err = a.b.Change(ctx, broker.Change{
		Expect:    []broker.Expect{{Ref: ref, Revision: revision}},
		Delete:    []broker.Ref{ref},
		Documents: []broker.Document{a.audit(who, action, name, goes.String())},
	})
	if err != nil {
		return Deleted{}, err
	}
	return goes, nil
}

// String is what the audit log says.
func (d Deleted) String() string {
	if d == (Deleted{}) {
		return ""
	}
	return fmt.Sprintf("with %d producers, %d consumers, %d messages", d.Producers, d.Consumers, d.Messages)
}

func notFound(format, name string) *broker.Error {
	return &broker.Error{Code: broker.NotFound, Message: fmt.Sprintf(format, clip.Input(name))}
}

// fixed is the error of an edit that changes what an object is known by.
func fixed(field, to, from string) *broker.Error {
	return invalid(field, "%s %q: it is %q for good", field, clip.Input(to), clip.Input(from))
}
