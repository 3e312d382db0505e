package httpapi

import "pipit/broker"

// AppendMessages appends the document that a receive returns messages in, as XML or JSON.
func AppendMessages(b []byte, msgs []broker.Message, asXML bool) []byte {
	w := appender{b}
	buf := pieceBuffers.Get().(*[]byte)
	p := pieces{b: (*buf)[:0], w: &w}
	if asXML {
		p.messagesXML(msgs)
	} else {
		p.messages(msgs)
	}
	p.flush()
	*buf = p.b
	pieceBuffers.Put(buf)
	return w.b
}

type appender struct{ b []byte }

func (a *appender) Write(b []byte) (int, error) {
	a.b = append(a.b, b...)
	return len(b), nil
}
