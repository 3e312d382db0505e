package httpapi

import (
	"io"
	"net/http"
	"time"
)

// Of a body that nobody has read when the reply is due.
const (
	ignoreSize = 256 << 10       // bytes that are read before the reply, on HTTP/1
	ignoreMost = 32 << 20        // and on HTTP/2: Node's client refuses a reply while it has 10 MiB to send
	lingerIdle = time.Second     // without a byte of it
	lingerTime = 5 * time.Second // before the reply, and again after it
	lingerRead = 32 << 10        // bytes of one read
)

// ignoreBody takes a body that nobody asked for off the connection, up to a limit, because only
// behind it can the server see the client leave, and because many clients do not look for a reply
// before they have sent everything. What is left is for linger. It costs an HTTP/1 connection; on HTTP/2, to close
// would take the replies of other requests along.
func (x *call) ignoreBody() {
	if x.read || x.unread || x.Request.ContentLength == 0 {
		return
	}
	limit := ignoreSize
	if x.Request.ProtoMajor > 1 {
		limit = ignoreMost
	}
	if x.Request.ContentLength <= int64(limit) && x.Request.Header["Expect"] == nil && x.discard(limit) { // to read would ask for it
		x.read = true
		return
	}
	x.unread = true
	if x.Request.ProtoMajor == 1 {
		x.Header()["Connection"] = isClose
	}
}

// linger sends the reply and goes on taking the body for a while: closed before, the connection would be reset,
// and a client or a proxy that is still sending would find that instead of the reply.
func (x *call) linger() {
	_ = http.NewResponseController(x.ResponseWriter).Flush()
	x.discard(-1)
}

// discard reads the body until it ends, which it tells, up to limit bytes where that is not
// negative, as long as lingerIdle and lingerTime allow.
func (x *call) discard(limit int) (ended bool) {
	rc := http.NewResponseController(x.ResponseWriter)
	buf := getBuffer()
	defer putBuffer(buf)
	if cap(*buf) < lingerRead {
		*buf = make([]byte, lingerRead)
	}
	b := (*buf)[:lingerRead]
	end := time.Now().Add(lingerTime)
	for n := 0; limit < 0 || n <= limit; {
		next := time.Now().Add(lingerIdle)
		if next.After(end) {
			next = end
		}
		_ = rc.SetReadDeadline(next)
		m, err := x.Request.Body.Read(b)
		if err == io.EOF {
			_ = rc.SetReadDeadline(time.Time{})
			return true
		}
		if err != nil {
			return false
		}
		n += m
	}
	return false
}
