package broker

import (
	"context"
	"log/slog"
	"slices"

	"pipit/broker/login"
	"pipit/broker/store"
)

// Rehearse returns the error with which Apply would refuse a Definition over what a store holds, nil
// where it would not. Nothing is stored, and no password is hashed.
func (d Definition) Rehearse(image *store.Image) error {
	b := newBroker(nil, Options{Logger: slog.New(slog.DiscardHandler)})
	b.key, b.lastID, b.declared = image.Key, image.LastID, image.Declared
	objects, err := decode(image)
	if err != nil {
		return err
	}
	b.install(objects)
	d.Clients = slices.Clone(d.Clients)
	for i := range d.Clients {
		if c := &d.Clients[i]; c.Password != "" && len(c.Password) <= login.MaxPassword {
			c.Password, c.PasswordHash = "", login.UnknownPassword()
		}
	}
	x := &definer{b: b, lastID: b.lastID, declare: true}
	return x.prepare(context.Background(), &Change{Define: d})
}
