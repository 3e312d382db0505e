package broker

import (
	"context"
	"testing"

	"pipit/broker/change"
	"pipit/broker/login"
)

// The passwords of a change are hashed in turn with logins, and for a dry run or one that is refused not at all.
func TestChangeHashes(t *testing.T) {
	b := &Broker{auth: login.NewAuthenticator()}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	taken := func() (logins []func()) { // all turns that are free
		for {
			done, err := b.Logins().Turn(ended, login.CallerOf(login.Client, "x", "192.0.2.1"))
			if err != nil {
				return logins
			}
			logins = append(logins, done)
		}
	}
	logins := taken()
	if len(logins) == 0 {
		t.Fatal("there are no turns")
	}
	c := Change{Define: Definition{Clients: []Client{{Username: "a", Password: "a"}}}, DryRun: true}
	done, err := b.Change(t.Context(), c)
	if err != nil || done.Clients[0].Action != change.Create || done.Clients[0].After.PasswordHash != "" {
		t.Errorf("%+v, %v", done, err)
	}
	c.DryRun = false
	c.Define.Producers = []Producer{{Client: "a", Topic: "/none"}}
	if _, err := b.Change(t.Context(), c); CodeOf(err) != Invalid {
		t.Error(err)
	}
	c.Define.Producers = nil
	if _, err := b.Change(ended, c); CodeOf(err) != Unavailable {
		t.Error(err)
	}
	all := make(chan []Client)
	clients := []Client{{Username: "a", Password: "a"}, {Username: "b", PasswordHash: "h"}, {Username: "c", Password: "c"}}
	go func() {
		hashed, _, err := b.hashed(t.Context(), clients)
		if err != nil {
			t.Error(err)
		}
		all <- hashed
	}()
	select {
	case <-all:
		t.Error("hashed without a turn")
	default:
	}
	for _, done := range logins {
		done()
	}
	for i, c := range <-all {
		if right := login.CheckPassword(c.PasswordHash, clients[i].Password); c.Password != "" || right != (clients[i].Password != "") {
			t.Errorf("%+v", c)
		}
	}
	if len(taken()) != len(logins) {
		t.Error("a turn is lost")
	}
}
