// Package login checks names and passwords, for all doors of the program alike.
//
// A password is kept as a bcrypt hash, which takes about 50 ms of a core to be compared with: that is what a guess costs, and
// what a flood of them would take from everybody else. So the Limiter bounds both. It refuses a name, and a
// network, that has failed too often within a minute; and it gives out the few slow hashes that may run at once in
// turn, so that whoever comes from a quiet network does not wait behind a busy one. The Authenticator of the clients, who send
// their password with every request, remembers which pairs were right: they cost no slow hash, and never wait.
//
// It knows names and hashes, and nothing of where they are stored.
package login

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

// Kind is a kind of names that log in. Kinds have nothing in common: neither what is counted, nor
// who waits, nor the slow hashes that may run at once.
type Kind uint8

const (
	Client        Kind = iota // at the wire protocol
	Administrator             // at the admin

	kinds = iota
)

// Limiter is what all doors ask before they check a password: it counts failures, and gives out
// the slow hashes that may run at once. Its methods may be called from any goroutine.
//
// A name that has logged in from a network within 30 days is known there, as long as the process
// runs and not more than 16,384 others were since: failures of other names from that network, which may be a
// whole office behind one address, do not refuse it, and it does not wait in line with them. Its own failures
// count as everybody's.
type Limiter struct {
	names, networks *throttle // failures
	known           *throttle // names that have logged in, by network: counted once
	turns           [kinds]*turns
}

// Caller is who tries to log in: a name, and the network that it comes from. It is made of digests, so that the
// memory of one does not depend on what it sends.
type Caller struct {
	kind          Kind
	name, network digest
}

func newLimiter() *Limiter {
	return &Limiter{
		names:    newThrottle(MaxFailures, FailureWindow),
		networks: newThrottle(MaxFailuresOfNetwork, FailureWindow),
		known:    newThrottle(1, knownFor),
		turns:    [kinds]*turns{Client: newTurns(max(1, runtime.GOMAXPROCS(0)/2)), Administrator: newTurns(1)},
	}
}

// CallerOf is a name that comes from an IP address.
func CallerOf(kind Kind, name, addr string) Caller {
	k, from := string([]byte{byte(kind)}), Network(addr)
	return Caller{kind, digestOf(k, name, from), digestOf(k, from)}
}

// Check returns TooMany while a caller is refused.
func (l *Limiter) Check(who Caller, now time.Time) error {
	if !l.known.counts(who.name, now) {
		if err := l.networks.check(who.network, now); err != nil {
			return err
		}
	}
	return l.names.check(who.name, now)
}

// Begin waits for the turn of a caller to have its password checked, which ends with done: before it, the
// caller calls Failed or Succeeded. The errors are TooMany, and those of Turn.
func (l *Limiter) Begin(ctx context.Context, who Caller) (done func(), err error) {
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
func (l *Limiter) Turn(ctx context.Context, who Caller) (done func(), err error) {
	if l.known.counts(who.name, time.Now()) {
		return l.turns[who.kind].take(ctx, who.name, true)
	}
	return l.turns[who.kind].take(ctx, who.network, false)
}

// Failed counts a wrong password.
func (l *Limiter) Failed(who Caller, now time.Time) {
	l.networks.add(who.network, now)
	l.names.add(who.name, now)
}

// Succeeded makes a name known in its network.
func (l *Limiter) Succeeded(who Caller, now time.Time) { l.known.renew(who.name, now) }
