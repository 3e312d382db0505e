package object

import (
	"cmp"
	"errors"

	"pipit/admin/gate"
	"pipit/broker"
	"pipit/broker/change"
	"pipit/broker/clip"
)

// Clients describes clients.
//
// A client is created with a Password or a PasswordHash. An edit that sets neither leaves the password as it is.
func (o *Objects) Clients() *Noun[Client] {
	return marking(&Noun[Client]{
		o: o, Kind: change.Client, Path: "/clients", Param: "username",
		Parts:    ClientParts,
		Initial:  NewClient,
		List:     o.listClients,
		find:     byName(o.b.Client, clientOf),
		ref:      func(c *Client) change.Ref { return change.Ref{Kind: change.Client, Name: c.Username} },
		Name:     func(c *Client) string { return c.Username },
		Revision: func(c *Client) string { return c.Revision },
		Goes:     o.goesWithClient,
		define:   func(d *broker.Definition, c *Client) { d.Clients = append(d.Clients, c.Client) },
		check:    checkClient,
		fixed:    func(before, c *Client) error { return fixed(broker.ClientFields, &before.Client, &c.Client) },
		diff: func(before, c *Client) FieldChanges {
			return differences(broker.ClientFields, &before.Client, &c.Client)
		},
		Warnings: func(c *Client) *[]string { return &c.Warnings },
	}, func(v *Client) *bool { return &v.Declared })
}

// ClientSorts are what lists of clients can be sorted by.
var ClientSorts = gate.Sorts[broker.ClientInfo]{
	{Key: "username", At: func(c *broker.ClientInfo) gate.Place { return gate.Place{S: c.Username} }},
	{Key: "name", At: func(c *broker.ClientInfo) gate.Place { return gate.Place{S: gate.Key(c.Name, c.Username)} }},
	{Key: "last_seen", At: func(c *broker.ClientInfo) gate.Place { return gate.Place{N: gate.Micros(c.LastSeen), S: c.Username} }},
}

// clientParts are those that lists of clients can be asked for.
var clientParts = []gate.Part[broker.ClientInfo]{
	{Key: "inactive", Label: "Inactive", Has: func(c *broker.ClientInfo) bool { return c.Inactive }},
	{Key: "unseen", Label: "Never seen", Has: func(c *broker.ClientInfo) bool { return c.LastSeen.IsZero() }},
}

func (o *Objects) listClients(q gate.Query) (gate.List[Client], error) {
	found := gate.Contains(q.Search)
	matches := func(c *broker.ClientInfo) bool { return found(c.Username, c.Name) }
	return gate.PageOf(q, o.b.Clients(), ClientSorts, matches, clientOf, clientParts...)
}

// ClientsOf returns those of the clients that exist, in no order.
func (o *Objects) ClientsOf(usernames []string) []Client {
	infos := o.b.ClientsOf(usernames)
	list := make([]Client, len(infos))
	for i := range infos {
		list[i] = clientOf(&infos[i])
	}
	return list
}

// checkClient gives a client the Name that it has without one, and refuses what says no password, or two.
func checkClient(before, c *Client) error {
	if before != nil {
		c.Name = cmp.Or(c.Name, c.Username)
		return onePassword(&c.Client)
	}
	if err := errors.Join(onePassword(&c.Client), c.Validate()); err != nil {
		return err
	}
	if c.Password == "" && c.PasswordHash == "" {
		return gate.Invalid("password", "password of client %q: it is missing", clip.Input(c.Username))
	}
	return nil
}

// onePassword returns an error where there is both a Password and a PasswordHash.
func onePassword(c *broker.Client) error {
	if c.Password != "" && c.PasswordHash != "" {
		return gate.Invalid("password", "client %q: allowed is one of password and password_hash", clip.Input(c.Username))
	}
	return nil
}

func (o *Objects) goesWithClient(c *Client) Deleted {
	d := Deleted{Producers: c.Producers, Webhooks: o.webhooksOf(func(w *broker.WebhookInfo) bool { return w.Client == c.Username })}
	all := o.b.Consumers()
	for i := range all {
		if all[i].Client == c.Username {
			d.Consumers++
			d.Messages += all[i].Backlog
		}
	}
	return d
}

// warnWeak returns what is weak among secrets that were taken, and logs it.
func (o *Objects) warnWeak(d broker.Definition) []string {
	weak := d.Weak()
	for _, w := range weak {
		o.log.Warn(w)
	}
	return weak
}
