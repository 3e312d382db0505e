package httpapi

import (
	"encoding/base64"
	"io"
	"sync"
	"unicode/utf8"

	"pipit/broker"
)

// Sizes of what is written, in bytes.
const (
	pieceSize = 64 << 10 // of a piece, which one part can exceed by what it becomes
	partSize  = 6 << 10  // of a payload that becomes text at once; base64 wants a multiple of 3
	pieceRoom = 2 * pieceSize
)

// pieces is a text that is written in pieces, so that it is never held whole: where its payloads are
// control characters it is six times as long as they are.
type pieces struct {
	b   []byte    // not written yet
	w   io.Writer // nil: what would be written is counted only
	n   int64     // bytes that have left b
	err error     // of w, which is written to no more
}

// pieceBuffers are buffers for pieces: their size is known, so no client can make them hold more.
var pieceBuffers = sync.Pool{New: func() any { return new([]byte) }}

// next makes room, where b has become a piece.
func (p *pieces) next() {
	if len(p.b) >= pieceSize {
		p.flush()
	}
}

// flush writes what is in b.
func (p *pieces) flush() {
	if p.w != nil && p.err == nil && len(p.b) > 0 {
		_, p.err = p.w.Write(p.b)
	}
	p.n += int64(len(p.b))
	p.b = p.b[:0]
}

// parts appends a payload by parts; of text, each is valid UTF-8.
func (p *pieces) parts(payload []byte, text bool, appendPart func(b, part []byte) []byte) {
	for len(payload) > 0 && p.err == nil {
		n := min(len(payload), partSize)
		for text && n < len(payload) && !utf8.RuneStart(payload[n]) {
			n--
		}
		p.b = appendPart(p.b, payload[:n])
		payload = payload[n:]
		p.next()
	}
}

func appendBase64(b, part []byte) []byte { return base64.StdEncoding.AppendEncode(b, part) }

// format is that of the reply of a receive.
type format struct {
	contentType []string
	messages    func(*pieces, []broker.Message)
}

var (
	jsonFormat = format{typeJSON, (*pieces).messages}
	xmlFormat  = format{typeXML, (*pieces).messagesXML}
)

// messages is the reply of a receive. Its length is told first, so that a reply that breaks off is
// seen to, also by clients of HTTP/1.0: what is longer than a piece is counted before it is written.
func (x *call) messages(msgs []broker.Message, f format) error {
	buf := pieceBuffers.Get().(*[]byte)
	p := pieces{b: (*buf)[:0]}
	defer func() {
		*buf = p.b
		pieceBuffers.Put(buf)
	}()
	f.messages(&p, msgs)
	if p.n == 0 {
		x.setLength(int64(len(p.b)))
		return x.reply(200, f.contentType, p.b)
	}
	x.setLength(p.n + int64(len(p.b)))
	p.b, p.w = p.b[:0], x
	x.head(200, f.contentType)
	f.messages(&p, msgs)
	p.flush()
	return p.err
}
