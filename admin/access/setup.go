package access

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"net/url"
	"sync"
	"time"

	"pipit/admin/gate"
	"pipit/broker"
	"pipit/broker/login"
)

// setupLife is how long the set-up link is valid.
const setupLife = 30 * time.Minute

// setup is the state of the set-up link. Memory has a hash of its key alone.
type setup struct {
	mu    sync.Mutex
	hash  secretHash  // zero: there is no link
	until time.Time   // when it runs out
	timer *time.Timer // tells so
}

// SetupURLs returns a link to create the first administrator with, once, within half an hour, at each
// address that the pages are reached by; none, where there is an administrator already. Links that were
// returned before are no longer valid. They are secret.
func (u *Users) SetupURLs() []string {
	if u.IsSetUp() {
		return nil
	}
	key, hash := newSecret("")
	s := &u.setup
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil {
		s.timer.Stop()
	}
	s.hash, s.until = hash, time.Now().Add(setupLife)
	s.timer = time.AfterFunc(setupLife, func() {
		if !u.IsSetUp() {
			u.log.Warn("the set-up link has run out: restart for another one, or stop and run: pipit admin create NAME")
		}
	})
	addresses := u.reach.Addresses
	if origin := u.reach.ConfiguredOrigin(); origin != "" {
		addresses = []string{origin}
	}
	var links []string
	for _, address := range addresses {
		links = append(links, address+u.reach.PathPrefix+gate.SetupPath+"?"+url.Values{"key": {key}}.Encode())
	}
	return links
}

// close ends the link.
func (s *setup) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hash = secretHash{}
	if s.timer != nil {
		s.timer.Stop()
	}
}

// CheckSetupKey returns nil for the key of the set-up link. The errors are gate.ErrNoPage, and NotFound for
// the right key when the link has run out. Nobody can guess the key, so wrong ones are not counted: any page that
// a browser shows can have it send some.
func (u *Users) CheckSetupKey(ctx context.Context, who gate.Actor, key string) error {
	s := &u.setup
	s.mu.Lock()
	hash, until := s.hash, s.until
	s.mu.Unlock()
	given := sha256.Sum256([]byte(key))
	if key == "" || hash == (secretHash{}) || subtle.ConstantTimeCompare(given[:], hash[:]) != 1 {
		if key != "" {
			u.trail.Note(ctx, who, "setup.refused", "")
		}
		return gate.ErrNoPage
	}
	if !time.Now().Before(until) {
		return &broker.Error{Code: broker.NotFound, Message: "The link has run out: restart Pipit for another one, or stop it and run: pipit admin create NAME"}
	}
	return nil
}

// SetUp creates the first administrator and begins a session of it, whose cookie it sets. The errors
// are those of CheckSetupKey and CreateAdministrator.
func (u *Users) SetUp(ctx context.Context, w http.ResponseWriter, r *http.Request, key, name, password string) error {
	who := gate.Actor{Via: gate.Web, Addr: u.reach.Addr(r)}
	if err := u.CheckSetupKey(ctx, who, key); err != nil {
		return err
	}
	hash, err := u.newHash(ctx, Caller{Actor: who}, name, password, "")
	if err != nil {
		return err
	}
	who.Name = name
	u.changing.Lock()
	defer u.changing.Unlock()
	if u.IsSetUp() {
		return gate.ErrNoRoute
	}
	if err := u.CheckSetupKey(ctx, who, key); err != nil { // it may have run out, or done its service
		return err
	}
	if err := createAdministrator(ctx, u.b, name, hash, u.trail.Entry(who, "administrator.create", name, "the first one, by the set-up link")); err != nil {
		return err
	}
	u.setup.close()
	u.b.Logins().Succeeded(login.CallerOf(login.Administrator, name, who.Addr), time.Now())
	return u.startSession(ctx, w, r, who)
}
