package admin

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"pipit/admin/gate"
	"pipit/broker"
	"pipit/broker/clip"
	"pipit/broker/login"
)

// Kinds of the entries of the audit log. Each has a ring of its own, so that who may do less does not wash
// away what who may do more has done: strangers nothing but other strangers, and no number of edits an
// administrator that was made.
const (
	AuditAccess  = "access"  // administrators, tokens, sessions, the set-up
	AuditSecret  = "secret"  // passwords of clients that changed, sub_keys that were shown or changed, exports
	AuditRefusal = "refusal" // of who had no right password, token or set-up key
	AuditEdit    = "edit"    // all else
)

// AuditKinds are all kinds of entries.
var AuditKinds = []string{AuditAccess, AuditSecret, AuditRefusal, AuditEdit}

// auditKindOf returns the kind of the entries of an action.
func auditKindOf(action string) string {
	noun, verb, _ := strings.Cut(action, ".")
	switch {
	case verb == "refused":
		return AuditRefusal
	case noun == "administrator" || noun == "token" || noun == "session" || noun == "setup":
		return AuditAccess
	case action == actionPassword || action == actionRotate || action == actionReveal || action == actionExport:
		return AuditSecret
	default:
		return AuditEdit
	}
}

// Actions on secrets.
const (
	actionPassword = "client.password"
	actionRotate   = "consumer.rotate"
	actionReveal   = "consumer.reveal"
	actionExport   = "export" // has the hashes of passwords and sub_keys
)

// Bounds of the audit log.
const (
	maxEntries   = 10_000 // of a kind; the newest stay
	trimEntries  = 100    // so many more may be there before the oldest leave
	trimBatch    = 500    // entries that one commit removes
	maxAuditText = 1 << 10
)

// Entry is an entry of the audit log: who did what to what. Equal entries within an hour are one.
type Entry struct {
	ID     string `json:"id"`
	At     Time   `json:"at"`               // when; the last time, where there were several
	First  Time   `json:"first,omitzero"`   // the first time, where there were several
	Count  int    `json:"count"`            // how many times
	Kind   string `json:"kind"`             // one of AuditKinds
	Who    string `json:"who,omitempty"`    // an administrator, or token NAME; absent: nobody was signed in
	Via    string `json:"via,omitempty"`    // the door: web, api, or file, which is the command line
	Addr   string `json:"addr,omitempty"`   // IP address; where there were several, the last one: all are of one network
	Action string `json:"action"`           // what was done
	Object string `json:"object,omitempty"` // the name of what it was done to
	Detail string `json:"detail,omitempty"` // more of it, never a secret
}

// entryRecord is an Entry as it is stored, under its ID.
type entryRecord struct {
	At     time.Time `json:"at"`
	First  time.Time `json:"first,omitzero"`
	Count  int       `json:"count,omitempty"` // 0: 1
	Who    string    `json:"who,omitempty"`
	Via    string    `json:"via,omitempty"`
	Addr   string    `json:"addr,omitempty"`
	Action string    `json:"action"`
	Object string    `json:"object,omitempty"`
	Detail string    `json:"detail,omitempty"`
}

func newEntry(now time.Time, who actor, action, object, detail string) entryRecord {
	return entryRecord{
		At:     now.UTC(),
		Who:    clip.To(who.Name, maxAuditText),
		Via:    who.Via,
		Addr:   who.Addr,
		Action: action,
		Object: clip.To(object, maxAuditText),
		Detail: clip.To(detail, maxAuditText),
	}
}

// sameness is what equal entries have in common.
type sameness struct{ who, via, network, action, object, detail string }

func (e *entryRecord) sameness() sameness {
	return sameness{e.Who, e.Via, login.Network(e.Addr), e.Action, e.Object, e.Detail}
}

func (e *entryRecord) count() int { return max(1, e.Count) }

func (e *entryRecord) first() time.Time {
	if e.First.IsZero() {
		return e.At
	}
	return e.First
}

// add makes e stand for an equal entry as well, of which it has the last time.
func (e *entryRecord) add(older *entryRecord) {
	e.Count = e.count() + older.count()
	if first := older.first(); first.Before(e.first()) {
		e.First = first
	}
}

// document is an entry of its own. Its key is the time in nanoseconds and a random number, in 32 digits of
// hex: keys are in the order of time.
func (e *entryRecord) document() broker.Document {
	key := auditKeyAt(e.At)
	rand.Read(key[8:]) // never fails
	return broker.Document{Kind: auditRingOf(auditKindOf(e.Action)), Key: hex.EncodeToString(key[:]), Value: gate.Encode(e)}
}

// auditKeyAt is before the keys of all entries of a time.
func auditKeyAt(t time.Time) (key [16]byte) {
	binary.BigEndian.PutUint64(key[:], uint64(t.UnixNano()))
	return key
}

// auditRingOf returns the kind of the documents of a kind of entries. Edits have what all had once.
func auditRingOf(kind string) string {
	if kind == AuditEdit {
		return "audit"
	}
	return "audit." + kind
}

// auditDocument is an entry of who acts without an Admin.
func auditDocument(now time.Time, who actor, action, object, detail string) broker.Document {
	e := newEntry(now, who, action, object, detail)
	return e.document()
}

// trail is the state of the audit log.
type trail struct {
	rings map[string]*auditRing // by kind of entries; the map does not change
	last  atomic.Int64          // time of the last entry, in nanoseconds: no two have the same

	mu     sync.Mutex
	repeat map[sameness]entryRecord // what was noted, with how often since it was stored: 0 or more; guarded by mu
}

// auditRing is what memory has of the entries of a kind.
type auditRing struct {
	documents string       // their kind
	entries   atomic.Int64 // that are stored
	more      atomic.Bool  // some were stored since merge
	merged    time.Time    // when that was; of who keeps the log
}

func newTrail() *trail {
	t := &trail{rings: map[string]*auditRing{}, repeat: map[sameness]entryRecord{}}
	for _, kind := range AuditKinds {
		t.rings[kind] = &auditRing{documents: auditRingOf(kind), merged: time.Now()}
	}
	return t
}

// now is the time of a new entry.
func (t *trail) now() time.Time {
	for {
		last := t.last.Load()
		n := max(time.Now().UnixNano(), last+1)
		if t.last.CompareAndSwap(last, n) {
			return time.Unix(0, n)
		}
	}
}

// audit makes the document of an audit entry, to be committed with what it tells of. action is
// such as "topic.create", object the name of what it concerns, detail a short text without secrets.
// Once it is stored, the log of the server has it, too.
func (a *Admin) audit(who actor, action, object, detail string) broker.Document {
	e := newEntry(a.trail.now(), who, action, object, detail)
	return a.auditDocument(&e)
}

func (a *Admin) auditDocument(e *entryRecord) broker.Document {
	d := e.document()
	d.Committed = func() {
		r := a.trail.rings[auditKindOf(e.Action)]
		r.entries.Add(1)
		r.more.Store(true)
		a.logEntry(e)
	}
	return d
}

// logEntry writes an entry to the log of the server.
func (a *Admin) logEntry(e *entryRecord) {
	attrs := append(make([]slog.Attr, 0, 7), slog.String("action", e.Action))
	for _, at := range []struct{ key, value string }{
		{"object", e.Object}, {"detail", e.Detail}, {"actor", e.Who}, {"via", e.Via}, {"remote", e.Addr},
	} {
		if at.value != "" {
			attrs = append(attrs, slog.String(at.key, at.value))
		}
	}
	if n := e.count(); n > 1 {
		attrs = append(attrs, slog.Int("count", n), slog.Time("first", e.first()))
	}
	a.log.LogAttrs(context.Background(), slog.LevelInfo, "audit", attrs...)
}

// listAudit returns the entries, the newest first. Of the query, Limit and Cursor count, which is the
// ID of the entry before, and Kind, one of AuditKinds; empty: all.
func (a *Admin) listAudit(q query) (list[Entry], error) {
	limit := cmp.Or(q.Limit, defaultLimit)
	if limit < 1 || limit > maxLimit {
		return list[Entry]{}, invalid("limit", "limit %d: allowed are 1 to %d", limit, maxLimit)
	}
	if _, err := hex.DecodeString(q.Cursor); err != nil {
		return list[Entry]{}, invalid("cursor", "cursor %q: allowed is the next of a page", clip.Input(q.Cursor))
	}
	kinds := AuditKinds
	if q.Kind != "" {
		if kinds = []string{q.Kind}; a.trail.rings[q.Kind] == nil {
			return list[Entry]{}, invalid("kind", "kind %q: allowed are %s", clip.Input(q.Kind), strings.Join(AuditKinds, ", "))
		}
	}
	a.storeRepeated()
	out := list[Entry]{Items: []Entry{}}
	var docs []broker.Document
	for _, kind := range kinds {
		r := a.trail.rings[kind]
		out.Total += int(r.entries.Load())
		more, err := a.b.Documents(r.documents, q.Cursor, true, limit+1)
		if err != nil {
			return list[Entry]{}, err
		}
		docs = append(docs, more...)
	}
	slices.SortFunc(docs, func(x, y broker.Document) int { return strings.Compare(y.Key, x.Key) })
	if len(docs) > limit {
		docs = docs[:limit]
		out.Next = docs[limit-1].Key
	}
	for _, d := range docs {
		e, err := readEntry(&d)
		if err != nil {
			return list[Entry]{}, err
		}
		out.Items = append(out.Items, Entry{d.Key, timeOf(e.At), timeOf(e.First), e.count(), auditKindOf(e.Action), e.Who, e.Via, e.Addr, e.Action, e.Object, e.Detail})
	}
	return out, nil
}

func readEntry(d *broker.Document) (e entryRecord, err error) {
	if err := json.Unmarshal(d.Value, &e); err != nil {
		return e, fmt.Errorf("audit entry %q: %w", d.Key, err)
	}
	return e, nil
}
