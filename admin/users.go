package admin

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

// newUsers takes those of a broker into memory. adjust is to be called before the first request, and close after
// the last.
func newUsers(b *broker.Broker, log *slog.Logger, trail *audit.Log, reach *gate.Reach) (*Users, error) {
	u := &Users{b: b, log: log, trail: trail, reach: reach, foreign: http.NewCrossOriginProtection()}
	if origin := reach.ConfiguredOrigin(); origin != "" {
		if err := u.foreign.AddTrustedOrigin(origin); err != nil {
			return nil, err
		}
	}
	return u, u.load()
}

// adjust says how long sessions last from now on, those that have begun, too.
func (u *Users) adjust(idle, life time.Duration) { u.lives.Store(&lives{idle, life}) }

// close ends the set-up link, and stores what only memory has.
func (u *Users) close() {
	u.setup.close()
	u.flush(time.Now())
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

// flush stores when sessions and tokens were used last, and removes the sessions that are over.
func (u *Users) flush(now time.Time) {
	u.changing.Lock()
	defer u.changing.Unlock()
	var (
		docs  = slices.Clone(u.sessions.gone)
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
	u.sessions.gone = nil
	u.sessions.mu.Lock()
	for _, s := range over {
		delete(u.sessions.byHash, s.hash)
	}
	u.sessions.mu.Unlock()
}
