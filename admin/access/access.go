// Package access is who may use the administration: administrators and how they sign in, their sessions, the link that makes the
// first of them, and the tokens that scripts come with.
//
// All of it are documents in the broker's file. What every request needs of them, sessions and tokens, is in memory as well,
// by the hashes of their secrets: the secrets themselves are kept nowhere. A request writes nothing; when a session or token was
// used last is stored now and then.
package access

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"pipit/admin/audit"
	"pipit/admin/gate"
	"pipit/broker"
	"pipit/broker/clip"
	"pipit/broker/login"
)

// Users are those who may use the administration of a broker, and what they have begun: administrators, the link
// that makes the first of them, sessions and tokens. Its methods may be called from any goroutine.
type Users struct {
	b       *broker.Broker
	log     *slog.Logger
	trail   *audit.Log
	reach   *gate.Reach
	foreign *http.CrossOriginProtection
	lives   atomic.Pointer[lives]

	changing  sync.Mutex  // held from reading administrators, sessions or tokens to having changed them, also in memory
	setUpDone atomic.Bool // there is an administrator
	setup     setup
	sessions  sessions
	tokens    tokens
}

// lives are how long sessions last.
type lives struct {
	idle time.Duration // without a request
	life time.Duration // in any case
}

// New takes those of a broker into memory. Adjust is to be called before the first request, and Close after
// the last.
func New(b *broker.Broker, log *slog.Logger, trail *audit.Log, reach *gate.Reach) (*Users, error) {
	u := &Users{b: b, log: log, trail: trail, reach: reach, foreign: http.NewCrossOriginProtection()}
	if origin := reach.ConfiguredOrigin(); origin != "" {
		if err := u.foreign.AddTrustedOrigin(origin); err != nil {
			return nil, err
		}
	}
	return u, u.load()
}

// Adjust says how long sessions last from now on, those that have begun, too.
func (u *Users) Adjust(idle, life time.Duration) { u.lives.Store(&lives{idle, life}) }

// SessionLives returns how long sessions last without a request, and in any case.
func (u *Users) SessionLives() (idle, life time.Duration) {
	l := u.lives.Load()
	return l.idle, l.life
}

// Close ends the set-up link, and stores what only memory has. Requests must have ended.
func (u *Users) Close() {
	u.setup.close()
	u.Flush(time.Now())
}

// load takes into memory what every request needs.
func (u *Users) load() error {
	u.sessions.byHash = map[secretHash]*session{}
	u.tokens.byHash = map[secretHash]*token{}
	return errors.Join(
		u.loadTokens(),
		gate.EachDocument(u.b, sessionKind, func(d broker.Document) error {
			var r sessionRecord
			hash, ok := parseSecretHash(d.Key)
			if err := json.Unmarshal(d.Value, &r); err != nil || !ok {
				u.log.Error("a session cannot be read", "key", clip.Input(d.Key), "error", err)
				return nil
			}
			s := &session{hash: hash, administrator: r.Administrator, addr: r.Addr, agent: r.Agent, created: r.Created, stored: r.Used.UnixNano()}
			s.used.Store(s.stored)
			u.sessions.byHash[hash] = s
			u.b.Logins().Succeeded(login.CallerOf(login.Administrator, s.administrator, s.addr), time.Now())
			return nil
		}),
	)
}

// Flush stores when sessions and tokens were used last, and removes the sessions that are over.
func (u *Users) Flush(now time.Time) {
	u.changing.Lock()
	defer u.changing.Unlock()
	var (
		docs  = slices.Clone(u.sessions.unstored)
		over  []*session
		after []func() // what changes in memory when docs are stored
	)
	u.sessions.mu.RLock()
	for _, s := range u.sessions.byHash {
		if used := s.used.Load(); !now.Before(u.end(s)) {
			over = append(over, s)
			docs = append(docs, broker.Document{Kind: sessionKind, Key: s.hash.String()})
		} else if used != s.stored {
			docs = append(docs, s.document())
			after = append(after, func() { s.stored = used })
		}
	}
	u.sessions.mu.RUnlock()
	u.tokens.mu.RLock()
	for _, t := range u.tokens.byHash {
		if used := t.used.Load(); used != t.stored {
			docs = append(docs, t.document(t.owner))
			after = append(after, func() { t.stored = used })
		}
	}
	u.tokens.mu.RUnlock()
	if len(docs) == 0 {
		return
	}
	if err := u.b.PutDocuments(context.Background(), docs...); err != nil {
		u.log.Warn("when sessions and tokens were used last was not stored", "error", err)
		return
	}
	for _, f := range after {
		f()
	}
	u.sessions.unstored = nil
	u.sessions.mu.Lock()
	for _, s := range over {
		delete(u.sessions.byHash, s.hash)
	}
	u.sessions.mu.Unlock()
}
