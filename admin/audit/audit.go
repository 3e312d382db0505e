// Package audit is the log of who did what: a ring of entries for each kind of them, in the broker's own file. An
// entry is a document, to be committed with what it tells of. Equal entries within an hour become one with a
// count, and the oldest leave. It knows nothing of what is done, but for the kinds of actions.
package audit

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
	Access  = "access"  // administrators, tokens, sessions, the set-up
	Secret  = "secret"  // secrets of clients, consumers and webhooks that changed or were shown, exports, backups
	Refusal = "refusal" // of who had no right password, token or set-up key
	Edit    = "edit"    // all else
)

// Kinds are all kinds of entries.
var Kinds = []string{Access, Secret, Refusal, Edit}

// kindOf returns the kind of the entries of an action. Entries are stored without it, and those of former versions in one ring.
func kindOf(action string) string {
	noun, verb, _ := strings.Cut(action, ".")
	switch {
	case verb == "refused":
		return Refusal
	case noun == "administrator" || noun == "token" || noun == "session" || noun == "setup":
		return Access
	case action == Password || action == Rotate || action == EndOverlap || action == Reveal || action == Export || noun == "backup" || verb == SecretEdit:
		return Secret
	default:
		return Edit
	}
}

// Actions on secrets.
const (
	Password = "client.password"
	Rotate   = "consumer.rotate"
	Reveal   = "consumer.reveal"

	EndOverlap = "consumer.end_overlap" // the old sub_key is refused from then on

	Export = "export" // has the hashes of passwords, sub_keys and the secrets of webhooks

	BackupMake   = "backup.make" // a backup has all messages and all secrets
	BackupLoad   = "backup.load"
	BackupDelete = "backup.delete"

	Compact = "database.compact"

	AlertTest = "alert.test"

	ClusterTransfer = "cluster.transfer"
	ClusterJoin     = "cluster.join"
	ClusterReplace  = "cluster.replace"
	ClusterLeave    = "cluster.leave"

	DebugLoad    = "debug.load"
	DebugProfile = "debug.profile"

	SecretEdit = "secret" // of NOUN.secret: an edit that changes another secret of one, whatever else it changes
)

// Bounds of the audit log.
const (
	MaxEntries  = 10_000 // of a kind; the newest stay
	trimEntries = 100    // so many more may be there before the oldest leave
	trimBatch   = 500    // entries that one commit removes
	maxText     = 1 << 10
)

// Entry is an entry of the audit log: who did what to what. Equal entries within an hour are one.
type Entry struct {
	ID     string    `json:"id"`
	At     gate.Time `json:"at"`               // when; the last time, where there were several
	First  gate.Time `json:"first,omitzero"`   // the first time, where there were several
	Count  int       `json:"count"`            // how many times
	Kind   string    `json:"kind"`             // one of Kinds
	Who    string    `json:"who,omitempty"`    // an administrator, token NAME, client USERNAME, callback sender, which is the broker, or, via publish, who published; absent: nobody was signed in
	Via    string    `json:"via,omitempty"`    // the door: web, api, protocol, file, which is the command line, node, which is the command line at a node of a cluster, callback, or publish, for a topic that a template made
	Addr   string    `json:"addr,omitempty"`   // IP address; where there were several, the last one: all are of one network
	Action string    `json:"action"`           // what was done
	Object string    `json:"object,omitempty"` // the name of what it was done to
	Detail string    `json:"detail,omitempty"` // more of it, never a secret
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

func newEntry(now time.Time, who gate.Actor, action, object, detail string) entryRecord {
	return entryRecord{
		At:     now.UTC(),
		Who:    clip.To(who.Name, maxText),
		Via:    who.Via,
		Addr:   who.Addr,
		Action: action,
		Object: clip.To(object, maxText),
		Detail: clip.To(detail, maxText),
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
	key := keyAt(e.At)
	rand.Read(key[8:]) // never fails
	return broker.Document{Kind: ringOf(kindOf(e.Action)), Key: hex.EncodeToString(key[:]), Value: gate.Encode(e)}
}

// keyAt is before the keys of all entries of a time.
func keyAt(t time.Time) (key [16]byte) {
	binary.BigEndian.PutUint64(key[:], uint64(t.UnixNano()))
	return key
}

// ringOf returns the kind of the documents of a kind of entries. Edits have what all had once.
func ringOf(kind string) string {
	if kind == Edit {
		return "audit"
	}
	return "audit." + kind
}

// Document is an entry of who acts without a Log.
func Document(now time.Time, who gate.Actor, action, object, detail string) broker.Document {
	e := newEntry(now, who, action, object, detail)
	return e.document()
}

// Log is the audit log of a broker. Its methods may be called from any goroutine.
type Log struct {
	b   *broker.Broker
	log *slog.Logger

	rings map[string]*ring // by kind of entries; the map does not change
	last  atomic.Int64     // time of the last entry, in nanoseconds: no two have the same

	mu     sync.Mutex
	repeat map[sameness]entryRecord // what was noted, with how often since it was stored: 0 or more; guarded by mu
}

// ring is what memory has of the entries of a kind.
type ring struct {
	documents string       // their kind
	entries   atomic.Int64 // that are stored
	more      atomic.Bool  // some were stored since merge
	merged    time.Time    // when that was; of who keeps the log
}

// Open returns the audit log of a broker, whose entries are written to log as well. Who opens it calls Keep now and
// then, and StoreRepeated at the end.
func Open(b *broker.Broker, log *slog.Logger) (*Log, error) {
	l := &Log{b: b, log: log, rings: map[string]*ring{}, repeat: map[sameness]entryRecord{}}
	for _, kind := range Kinds {
		l.rings[kind] = &ring{documents: ringOf(kind), merged: time.Now()}
	}
	return l, l.load()
}

// now is the time of a new entry.
func (l *Log) now() time.Time {
	for {
		last := l.last.Load()
		n := max(time.Now().UnixNano(), last+1)
		if l.last.CompareAndSwap(last, n) {
			return time.Unix(0, n)
		}
	}
}

// Entry makes the document of an audit entry, to be committed with what it tells of. action is
// such as "topic.create", object the name of what it concerns, detail a short text without secrets.
// Once it is stored, the log of the server has it, too.
func (l *Log) Entry(who gate.Actor, action, object, detail string) broker.Document {
	e := newEntry(l.now(), who, action, object, detail)
	return l.committed(&e)
}

func (l *Log) committed(e *entryRecord) broker.Document {
	d := e.document()
	d.Committed = func() {
		r := l.rings[kindOf(e.Action)]
		r.entries.Add(1)
		r.more.Store(true)
		l.logEntry(e)
	}
	return d
}

// logEntry writes an entry to the log of the server.
func (l *Log) logEntry(e *entryRecord) {
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
	l.log.LogAttrs(context.Background(), slog.LevelInfo, "audit", attrs...)
}

// Len returns how many entries of a kind are stored.
func (l *Log) Len(kind string) int { return int(l.rings[kind].entries.Load()) }

// List returns the entries, the newest first. Of the query, Limit and Cursor count, which is the
// ID of the entry before, and Kind, one of Kinds; empty: all.
func (l *Log) List(q gate.Query) (gate.List[Entry], error) {
	limit := cmp.Or(q.Limit, gate.DefaultLimit)
	if limit < 1 || limit > gate.MaxLimit {
		return gate.List[Entry]{}, gate.Invalid("limit", "limit %d: allowed are 1 to %d", limit, gate.MaxLimit)
	}
	if _, err := hex.DecodeString(q.Cursor); err != nil {
		return gate.List[Entry]{}, gate.Invalid("cursor", "cursor %q: allowed is the next of a page", clip.Input(q.Cursor))
	}
	kinds := Kinds
	if q.Kind != "" {
		if kinds = []string{q.Kind}; l.rings[q.Kind] == nil {
			return gate.List[Entry]{}, gate.Invalid("kind", "kind %q: allowed are %s", clip.Input(q.Kind), strings.Join(Kinds, ", "))
		}
	}
	l.StoreRepeated()
	out := gate.List[Entry]{Items: []Entry{}}
	var docs []broker.Document
	for _, kind := range kinds {
		r := l.rings[kind]
		out.Total += l.Len(kind)
		more, err := l.b.Documents(r.documents, q.Cursor, true, limit+1)
		if err != nil {
			return gate.List[Entry]{}, err
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
			return gate.List[Entry]{}, err
		}
		out.Items = append(out.Items, Entry{d.Key, gate.TimeOf(e.At), gate.TimeOf(e.First), e.count(), kindOf(e.Action), e.Who, e.Via, e.Addr, e.Action, e.Object, e.Detail})
	}
	return out, nil
}

func readEntry(d *broker.Document) (e entryRecord, err error) {
	if err := json.Unmarshal(d.Value, &e); err != nil {
		return e, fmt.Errorf("audit entry %q: %w", d.Key, err)
	}
	return e, nil
}
