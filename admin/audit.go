package admin

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	"pipit/broker"
)

// auditKind is the kind of the documents of the audit log. A key is the time in nanoseconds and a
// random number, in 32 digits of hex: keys are in the order of time.
const auditKind = "audit"

// Bounds of the audit log.
const (
	maxEntries   = 10_000 // the newest stay
	trimEntries  = 100    // so many more may be there before the oldest leave
	trimBatch    = 500    // entries that one commit removes
	maxAuditText = 1 << 10
)

// Entry is an entry of the audit log: who did what to what.
type Entry struct {
	ID     string `json:"id"`
	At     Time   `json:"at"`
	Who    string `json:"who,omitempty"` // an administrator, or "token NAME"; empty: nobody was signed in
	Via    string `json:"via,omitempty"` // "web" or "api", or "file": the command line, without a server
	Addr   string `json:"addr,omitempty"`
	Action string `json:"action"`           // "topic.create", "consumer.rotate" …
	Object string `json:"object,omitempty"` // its name
	Detail string `json:"detail,omitempty"`
}

// entryRecord is an Entry as it is stored, under its ID.
type entryRecord struct {
	At     time.Time `json:"at"`
	Who    string    `json:"who,omitempty"`
	Via    string    `json:"via,omitempty"`
	Addr   string    `json:"addr,omitempty"`
	Action string    `json:"action"`
	Object string    `json:"object,omitempty"`
	Detail string    `json:"detail,omitempty"`
}

// trail is the state of the audit log.
type trail struct {
	entries atomic.Int64     // that are stored; more, where one that was made was not committed
	last    atomic.Int64     // time of the last one, in nanoseconds: no two have the same
	denied  *broker.Throttle // addresses whose failures are in the log already
}

// audit makes the document of an audit entry, to be committed with what it tells of. action is
// such as "topic.create", object the name of what it concerns, detail a short text without secrets.
func (a *Admin) audit(who actor, action, object, detail string) broker.Document {
	a.trail.entries.Add(1)
	now := time.Now()
	for {
		last := a.trail.last.Load()
		n := max(now.UnixNano(), last+1)
		if a.trail.last.CompareAndSwap(last, n) {
			return auditDocument(time.Unix(0, n), who, action, object, detail)
		}
	}
}

func auditDocument(now time.Time, who actor, action, object, detail string) broker.Document {
	var key [16]byte
	binary.BigEndian.PutUint64(key[:], uint64(now.UnixNano()))
	rand.Read(key[8:]) // never fails
	return broker.Document{Kind: auditKind, Key: hex.EncodeToString(key[:]), Value: encode(entryRecord{
		At:     now.UTC(),
		Who:    clipTo(who.Name, maxAuditText),
		Via:    who.Via,
		Addr:   who.Addr,
		Action: action,
		Object: clipTo(object, maxAuditText),
		Detail: clipTo(detail, maxAuditText),
	})}
}

// encode makes the value of a document.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil { // of a type that JSON does not have
		panic(err)
	}
	return b
}

// auditDenied notes that somebody was refused, once a minute for each address.
func (a *Admin) auditDenied(ctx context.Context, who actor, action, object string) {
	if a.trail.denied.Add(broker.ThrottleKeyOf(broker.Network(who.Addr)), time.Now()) {
		return
	}
	if err := a.b.PutDocuments(context.WithoutCancel(ctx), a.audit(who, action, object, "")); err != nil {
		a.log.Warn("an audit entry was not stored", "action", action, "error", err)
	}
}

// listAudit returns the entries, the newest first. Of the query, Limit and Cursor count, which is the
// ID of the entry before.
func (a *Admin) listAudit(q query) (list[Entry], error) {
	limit := cmp.Or(q.Limit, defaultLimit)
	if limit < 1 || limit > maxLimit {
		return list[Entry]{}, invalid("limit", "limit %d: allowed are 1 to %d", limit, maxLimit)
	}
	if _, err := hex.DecodeString(q.Cursor); err != nil {
		return list[Entry]{}, invalid("cursor", "cursor %q: allowed is the next of a page", clip(q.Cursor))
	}
	docs, err := a.b.Documents(auditKind, q.Cursor, true, limit+1)
	if err != nil {
		return list[Entry]{}, err
	}
	out := list[Entry]{Items: make([]Entry, 0, len(docs)), Total: int(a.trail.entries.Load())}
	if len(docs) > limit {
		docs = docs[:limit]
		out.Next = docs[limit-1].Key
	}
	for _, d := range docs {
		var e entryRecord
		if err := json.Unmarshal(d.Value, &e); err != nil {
			return list[Entry]{}, fmt.Errorf("audit entry %q: %w", d.Key, err)
		}
		out.Items = append(out.Items, Entry{d.Key, timeOf(e.At), e.Who, e.Via, e.Addr, e.Action, e.Object, e.Detail})
	}
	return out, nil
}

// trim removes the oldest entries, so that maxEntries stay. It does nothing while there are at most
// trimEntries more.
func (a *Admin) trim(ctx context.Context) error {
	entries := a.trail.entries.Load()
	if entries <= maxEntries+trimEntries {
		return nil
	}
	// Go down to the last one that stays.
	last, left := "", maxEntries
	for left > 0 {
		docs, err := a.b.Documents(auditKind, last, true, min(left, trimBatch))
		if err != nil {
			return err
		}
		if len(docs) == 0 {
			break
		}
		last = docs[len(docs)-1].Key
		left -= len(docs)
	}
	for left == 0 {
		docs, err := a.b.Documents(auditKind, last, true, trimBatch)
		if err != nil {
			return err
		}
		if len(docs) == 0 {
			break
		}
		for i := range docs {
			docs[i].Value = nil
		}
		if err := a.b.PutDocuments(ctx, docs...); err != nil {
			return err
		}
	}
	a.trail.entries.Add(int64(maxEntries-left) - entries)
	return nil
}
