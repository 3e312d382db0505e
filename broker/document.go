package broker

import (
	"bytes"
	"context"
	"strings"
	"time"

	"pipit/broker/clip"
	"pipit/broker/limit"
	"pipit/broker/store"
)

// Document is something small that a part of the program keeps with the messages.
type Document = store.Document

// PutDocuments puts documents in one commit; one whose Value is nil is deleted. The errors are
// Invalid, Unavailable and DiskFull.
func (b *Broker) PutDocuments(ctx context.Context, docs ...Document) error {
	if err := checkDocuments(docs); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return callerLeft(ctx)
	}
	return b.commits.do(documentOp(docs), documentBytes(docs))
}

// Document returns a document, nil where there is none.
func (b *Broker) Document(kind, key string) ([]byte, error) {
	var value []byte
	// Going down from behind the key with a byte 0, which no key has, the first one is it.
	err := b.store.View(func(r store.Reader) error {
		return r.Documents(kind, key+"\x00", true, func(d Document) bool {
			if d.Key == key {
				value = copyValue(d.Value)
			}
			return false
		})
	})
	return value, err
}

// Documents returns at most limit documents of a kind in the order of their keys, or in the
// opposite order, beginning behind the key after (empty: at the first).
func (b *Broker) Documents(kind, after string, down bool, limit int) ([]Document, error) {
	if limit <= 0 {
		return nil, nil
	}
	var list []Document
	err := b.store.View(func(r store.Reader) error {
		return r.Documents(kind, after, down, func(d Document) bool {
			d.Value = copyValue(d.Value)
			list = append(list, d)
			return len(list) < limit
		})
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// copyValue copies the value of a document that exists: it is never nil.
func copyValue(b []byte) []byte {
	if len(b) == 0 {
		return []byte{}
	}
	return bytes.Clone(b)
}

// checkDocuments returns an Invalid error unless all of the documents can be put.
func checkDocuments(docs []Document) error {
	for i := range docs {
		d := &docs[i]
		if !documentName(d.Kind, limit.MaxDocumentKind) {
			return Invalidf("document kind %q: allowed are 1 to %d bytes without a byte 0", clip.Input(d.Kind), limit.MaxDocumentKind)
		}
		if !documentName(d.Key, limit.MaxDocumentKey) {
			return Invalidf("key %q of a document of kind %q: allowed are 1 to %d bytes without a byte 0", clip.Input(d.Key), d.Kind, limit.MaxDocumentKey)
		}
		if len(d.Value) > limit.MaxDocumentValue {
			return Invalidf("document %q of kind %q of %d bytes: allowed are at most %d", clip.Input(d.Key), d.Kind, len(d.Value), limit.MaxDocumentValue)
		}
	}
	return nil
}

func documentName(s string, most int) bool {
	return s != "" && len(s) <= most && strings.IndexByte(s, 0) < 0
}

// documentBytes returns how much the documents count in a commit.
func documentBytes(docs []Document) (n int64) {
	for i := range docs {
		n += int64(len(docs[i].Value))
	}
	return n
}

// documentOp puts documents.
type documentOp []Document

func (o documentOp) plan(d *draft) error {
	d.batch.Put = append(d.batch.Put, o...)
	return nil
}

func (o documentOp) applied(time.Time) {}
func (o documentOp) failed()           {}

// appends is true where something is put: deleting makes room.
func (o documentOp) appends() bool {
	for i := range o {
		if o[i].Value != nil {
			return true
		}
	}
	return false
}
