package broker

import (
	"context"
	"runtime"
	"time"
)

// Limits of failed logins, each within FailureWindow of the first one. Past it, what was counted is
// refused for the rest of the window.
const (
	MaxFailures          = 10  // wrong passwords of one name from one network
	MaxFailuresOfNetwork = 100 // wrong passwords of all names of a kind from one network
	FailureWindow        = time.Minute
)

// knownFor is how long a name that has logged in from a network is known there.
const knownFor = 30 * 24 * time.Hour

// LoginKind is a kind of names that log in. Kinds have nothing in common: neither what is counted, nor
// who waits, nor the slow hashes that may run at once.
type LoginKind uint8

const (
	ClientLogin        LoginKind = iota // at the wire protocol
	AdministratorLogin                  // at the admin

	loginKinds = iota
)

// Logins is what all doors ask before they check a password: it counts failures, and gives out
// the slow hashes that may run at once. Its methods may be called from any goroutine.
//
// A name that has logged in from a network within 30 days is known there, as long as the process
// runs and not more than 16,384 others were since: failures of other names from that network, which may be a
// whole office behind one address, do not refuse it, and it does not wait in line with them. Its own failures
// count as everybody's.
type Logins struct {
	names, networks *Throttle // failures
	known           *Throttle // names that have logged in, by network: counted once
	turns           [loginKinds]*turns
}

// Login is who tries to log in: a name, and the network that it comes from. It is a digest, so that the
// memory of one does not depend on what a caller sends.
type Login struct {
	kind          LoginKind
	name, network ThrottleKey
}

func newLogins() *Logins {
	return &Logins{
		names:    NewThrottle(MaxFailures, FailureWindow),
		networks: NewThrottle(MaxFailuresOfNetwork, FailureWindow),
		known:    NewThrottle(1, knownFor),
		turns:    [loginKinds]*turns{ClientLogin: newTurns(max(1, runtime.GOMAXPROCS(0)/2)), AdministratorLogin: newTurns(1)},
	}
}

// LoginOf is the login of a name from an IP address.
func LoginOf(kind LoginKind, name, addr string) Login {
	k, from := string([]byte{byte(kind)}), Network(addr)
	return Login{kind, ThrottleKeyOf(k, name, from), ThrottleKeyOf(k, from)}
}

// Check returns TooMany while a login is refused.
func (l *Logins) Check(who Login, now time.Time) error {
	if !l.known.counts(who.name, now) {
		if err := l.networks.Check(who.network, now); err != nil {
			return err
		}
	}
	return l.names.Check(who.name, now)
}

// Begin waits for the turn of a login to have its password checked, which ends with done: before it, the
// caller calls Failed or Succeeded. The errors are TooMany, and those of Turn.
func (l *Logins) Begin(ctx context.Context, who Login) (done func(), err error) {
	if err := l.Check(who, time.Now()); err != nil {
		return nil, err
	}
	if done, err = l.Turn(ctx, who); err != nil {
		return nil, err
	}
	if err := l.Check(who, time.Now()); err != nil { // others may have failed while this one waited
		done()
		return nil, err
	}
	return done, nil
}

// Turn waits for the turn to run a slow hash, which ends with done. The error is Unavailable, where too many
// wait or ctx ends first.
func (l *Logins) Turn(ctx context.Context, who Login) (done func(), err error) {
	if l.known.counts(who.name, time.Now()) {
		return l.turns[who.kind].take(ctx, who.name, true)
	}
	return l.turns[who.kind].take(ctx, who.network, false)
}

// Failed counts a wrong password.
func (l *Logins) Failed(who Login, now time.Time) {
	l.networks.Add(who.network, now)
	l.names.Add(who.name, now)
}

// Succeeded makes a name known in its network.
func (l *Logins) Succeeded(who Login, now time.Time) { l.known.renew(who.name, now) }
