package access

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"pipit/admin/gate"
	"pipit/broker"
	"pipit/broker/clip"
)

// sessionKind is the kind of the documents of sessions, whose keys are the hashes of their secrets.
const sessionKind = "session"

// How long sessions last where Options do not say.
const (
	DefaultSessionIdle = 30 * time.Minute // without a request
	DefaultSessionLife = 12 * time.Hour   // in any case
)

// Limits of sessions.
const (
	maxSessions   = 100 // of one administrator; the one that was used least recently makes room
	maxAgent      = 200 // bytes of a User-Agent that are kept
	SessionCookie = "pipit_session"
)

// Session is a sign-in of an administrator.
type Session struct {
	ID            string    `json:"id"`
	Administrator string    `json:"administrator"`
	Addr          string    `json:"addr"`            // address that it was begun from
	Agent         string    `json:"agent,omitempty"` // what the browser calls itself
	Created       gate.Time `json:"created"`         // when it began
	LastUsed      gate.Time `json:"last_used"`       // when it was last used
	Expires       gate.Time `json:"expires"`         // when it ends, unless it is used
	Current       bool      `json:"current"`         // it is that of the request
}

// sessionRecord is a session as it is stored.
type sessionRecord struct {
	Administrator string    `json:"administrator"`
	Addr          string    `json:"addr"`
	Agent         string    `json:"agent,omitempty"`
	Created       time.Time `json:"created"`
	Used          time.Time `json:"used"`
}

// session is a session in memory. All but used and stored does not change.
type session struct {
	hash          secretHash
	administrator string
	addr, agent   string
	created       time.Time
	used          atomic.Int64 // unix nanoseconds
	stored        int64        // used as it is stored; guarded by Users.changing
}

// sessions are those that are not over, by their hashes.
type sessions struct {
	mu       sync.RWMutex
	byHash   map[secretHash]*session // guarded by mu
	unstored []broker.Document       // deletions that are still to be stored; guarded by Users.changing
}

func (s *session) lastUsed() time.Time { return time.Unix(0, s.used.Load()) }

// end is when a session is over.
func (u *Users) end(s *session) time.Time {
	o := u.lives.Load()
	idle, life := s.lastUsed().Add(o.idle), s.created.Add(o.life)
	if life.Before(idle) {
		return life
	}
	return idle
}

func (s *session) document() broker.Document {
	return broker.Document{Kind: sessionKind, Key: s.hash.String(), Value: gate.Encode(sessionRecord{
		s.administrator, s.addr, s.agent, s.created.UTC(), s.lastUsed().UTC()})}
}

// cookieName is that of the session's cookie. Browsers see to it that one with the prefix __Host- was
// set by this host, through TLS.
func (u *Users) cookieName(r *http.Request) string {
	if u.reach.Secure(r) {
		return "__Host-" + SessionCookie
	}
	return SessionCookie
}

// cookie is the session's cookie; an empty value takes it away.
func (u *Users) cookie(r *http.Request, value string) *http.Cookie {
	c := &http.Cookie{Name: u.cookieName(r), Value: value, Path: u.reach.PathPrefix + gate.RootPath, HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: u.reach.Secure(r)} // #nosec G124 -- Secure where the request came through TLS
	if c.Secure {
		c.Path = "/" // which __Host- demands
	}
	if value == "" {
		c.MaxAge = -1
	}
	return c
}

// session returns the session of a request, which is thereby used, nil where there is none. It reads
// and writes memory alone.
func (u *Users) session(r *http.Request, now time.Time) *session {
	c, err := r.Cookie(u.cookieName(r))
	if err != nil {
		return nil
	}
	hash := sha256.Sum256([]byte(c.Value))
	u.sessions.mu.RLock()
	s := u.sessions.byHash[hash]
	u.sessions.mu.RUnlock()
	if s == nil || !now.Before(u.end(s)) {
		return nil
	}
	for {
		used := s.used.Load()
		if used >= now.UnixNano() || s.used.CompareAndSwap(used, now.UnixNano()) {
			return s
		}
	}
}

// startSession begins a session of who, commits it with more, and sets its cookie. The session that
// the request came with ends. The caller holds changing.
//
// Where there is no room on the disk, the session is in memory alone: somebody has to be able to
// make room.
func (u *Users) startSession(ctx context.Context, w http.ResponseWriter, r *http.Request, who gate.Actor, more ...broker.Document) error {
	now := time.Now()
	text, hash := newSecret("")
	s := &session{hash: hash, administrator: who.Name, addr: who.Addr, agent: clip.To(r.UserAgent(), maxAgent), created: now}
	s.used.Store(now.UnixNano())
	s.stored = now.UnixNano()

	u.sessions.mu.RLock()
	var own []*session
	before := CallerOf(r.Context()).session
	for _, other := range u.sessions.byHash {
		if other.administrator == who.Name && other != before {
			own = append(own, other)
		}
	}
	u.sessions.mu.RUnlock()
	slices.SortFunc(own, func(x, y *session) int { return cmp.Compare(x.used.Load(), y.used.Load()) })
	end := own[:max(0, len(own)+1-maxSessions)]
	if before != nil {
		end = append(end, before)
	}

	entry := u.trail.Entry(who, "session.start", who.Name, s.agent)
	docs := append(more, s.document(), entry)
	for _, e := range end {
		docs = append(docs, broker.Document{Kind: sessionKind, Key: e.hash.String()})
	}
	if err := u.b.PutDocuments(ctx, docs...); len(more) == 0 && broker.CodeOf(err) == broker.DiskFull {
		u.log.Warn("a session is not stored and ends with the process", "administrator", who.Name, "error", err)
		u.trail.LogUnstored(&entry)
		s.stored = 0
	} else if err != nil {
		return err
	}
	u.sessions.mu.Lock()
	u.sessions.byHash[hash] = s
	for _, e := range end {
		delete(u.sessions.byHash, e.hash)
	}
	u.sessions.mu.Unlock()
	http.SetCookie(w, u.cookie(r, text))
	return nil
}

// changeSessions calls commit with what deletes the documents of the sessions that end, and when it
// has succeeded, ends them. Nobody else changes administrators, sessions or tokens meanwhile.
func (u *Users) changeSessions(ends func(*session) bool, commit func(ended []broker.Document) error) error {
	u.changing.Lock()
	defer u.changing.Unlock()
	var (
		end  []*session
		docs []broker.Document
	)
	u.sessions.mu.RLock()
	for _, s := range u.sessions.byHash {
		if ends(s) {
			end = append(end, s)
			docs = append(docs, broker.Document{Kind: sessionKind, Key: s.hash.String()})
		}
	}
	u.sessions.mu.RUnlock()
	if err := commit(docs); err != nil {
		return err
	}
	u.sessions.mu.Lock()
	for _, s := range end {
		delete(u.sessions.byHash, s.hash)
	}
	u.sessions.mu.Unlock()
	return nil
}

// ClearCookie takes the session's cookie away.
func (u *Users) ClearCookie(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, u.cookie(r, ""))
}

// SignOut ends the session of a request and takes its cookie away.
func (u *Users) SignOut(w http.ResponseWriter, r *http.Request) error {
	u.ClearCookie(w, r)
	who := CallerOf(r.Context())
	if who.session == nil {
		return nil
	}
	return u.EndSession(r.Context(), who.Actor, who.SessionID())
}

// commitEnd stores that sessions end. They do so even where that fails, for now or for good.
func (u *Users) commitEnd(ctx context.Context, ended []broker.Document, entry broker.Document) {
	ctx = context.WithoutCancel(ctx)
	err := u.b.PutDocuments(ctx, append(ended, entry)...)
	if err == nil {
		return
	}
	if broker.CodeOf(err) == broker.DiskFull { // deleting alone takes no room
		err = u.b.PutDocuments(ctx, ended...)
	}
	if err != nil {
		u.sessions.unstored = append(u.sessions.unstored, ended...)
	}
	u.log.Warn("the end of sessions was not stored, or not the audit entry of it", "error", err)
	u.trail.LogUnstored(&entry)
}

// EndSession ends a session. The error is NotFound.
func (u *Users) EndSession(ctx context.Context, who gate.Actor, id string) error {
	var found *session
	return u.changeSessions(func(s *session) bool {
		if s.hash.id() != id {
			return false
		}
		found = s
		return true
	}, func(ended []broker.Document) error {
		if found == nil {
			return &broker.Error{Code: broker.NotFound, Message: fmt.Sprintf("There is no session %q", clip.Input(id))}
		}
		u.commitEnd(ctx, ended, u.trail.Entry(who, "session.end", found.administrator, found.addr))
		return nil
	})
}

// EndSessions ends all sessions of an administrator, or, where name is empty, of all of them. It
// returns how many.
func (u *Users) EndSessions(ctx context.Context, who gate.Actor, name string) (n int, err error) {
	err = u.changeSessions(func(s *session) bool { return name == "" || s.administrator == name }, func(ended []broker.Document) error {
		if n = len(ended); n > 0 {
			u.commitEnd(ctx, ended, u.trail.Entry(who, "session.end_all", name, fmt.Sprintf("%d sessions", n)))
		}
		return nil
	})
	return n, err
}

// Sessions returns the sessions that are not over, those that were used last first. That of who asks
// is told from the others.
func (u *Users) Sessions(who Caller) []Session {
	now := time.Now()
	all := []Session{}
	u.sessions.mu.RLock()
	for _, s := range u.sessions.byHash {
		if end := u.end(s); now.Before(end) {
			all = append(all, Session{s.hash.id(), s.administrator, s.addr, s.agent, gate.TimeOf(s.created), gate.TimeOf(s.lastUsed()), gate.TimeOf(end), s == who.session})
		}
	}
	u.sessions.mu.RUnlock()
	slices.SortFunc(all, func(x, y Session) int {
		return cmp.Or(y.LastUsed.Compare(x.LastUsed.Time), cmp.Compare(x.ID, y.ID))
	})
	return all
}

// sessionDocuments returns what deletes the stored sessions of an administrator.
func sessionDocuments(b *broker.Broker, name string) ([]broker.Document, error) {
	var docs []broker.Document
	err := gate.EachDocument(b, sessionKind, func(d broker.Document) error {
		var r sessionRecord
		if err := json.Unmarshal(d.Value, &r); err != nil || r.Administrator == name {
			docs = append(docs, broker.Document{Kind: d.Kind, Key: d.Key})
		}
		return nil
	})
	return docs, err
}

// StillSignedIn tells whether the session of a request that lasts is not over. Watching does not
// count as using it.
func (u *Users) StillSignedIn(r *http.Request) bool {
	s := CallerOf(r.Context()).session
	if s == nil {
		return gate.IsLocal(r)
	}
	u.sessions.mu.RLock()
	defer u.sessions.mu.RUnlock()
	return u.sessions.byHash[s.hash] == s && time.Now().Before(u.end(s))
}
