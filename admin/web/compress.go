package web

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"strings"
	"sync"
)

// compressed are the templates of pages that are sent compressed: those that hold no secret and no payload.
//
// How long a compressed page is tells how much of it is alike, so that who can have a text shown beside a secret, and sees the
// lengths of replies on their way, could guess that (BREACH). No page has a token against forged requests, since those are
// told by their Origin, and the session's cookie is in none. What can show a sub_key, a password, a token or a payload, also in
// a form, is not in here, and neither is a page until somebody has looked whether it may be.
var compressed = map[string]bool{
	"overview": true, "search": true, "topics": true, "topic": true, "topic_template": true, "clients": true, "client": true,
	"producers": true, "producer": true, "consumers": true, "webhooks": true, "audit": true, "backups": true, "system": true,
}

var zippers = sync.Pool{New: func() any { return gzip.NewWriter(nil) }}

// compress returns a page compressed.
func compress(html string) string {
	z := zippers.Get().(*gzip.Writer)
	defer zippers.Put(z)
	var buf bytes.Buffer
	z.Reset(&buf)
	_, _ = z.Write([]byte(html)) // memory does not fail
	_ = z.Close()
	return buf.String()
}

// takesGzip tells whether a client takes what is compressed.
func takesGzip(r *http.Request) bool {
	for _, coding := range strings.Split(strings.Join(r.Header.Values("Accept-Encoding"), ","), ",") {
		name, quality, _ := strings.Cut(coding, ";")
		if strings.TrimSpace(name) == "gzip" {
			return strings.Trim(quality, " q=0.") != "" || strings.TrimSpace(quality) == ""
		}
	}
	return false
}
