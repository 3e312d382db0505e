package gate

import (
	"context"
	"net/http"
	"strings"
)

// localKey is that of a mark in a request's context: it came through Local.
type localKey struct{}

// AsLocal returns a request with the mark of who has the database file in hand: it may do everything.
func AsLocal(r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), localKey{}, true))
}

// IsLocal tells whether a request comes from who has the database file in hand.
func IsLocal(r *http.Request) bool { return r.Context().Value(localKey{}) != nil }

// The paths that are treated in a way of their own.
const (
	RootPath   = "/admin/"
	APIPath    = "/admin/api/"
	V1         = "/admin/api/v1" // where the paths of the API begin
	AssetsPath = "/admin/assets/"
	LoginPath  = "/admin/login"
	SetupPath  = "/admin/setup"

	MetricsPath = "/metrics" // which is the API's
)

// IsRead tells whether a request asks for what is there.
func IsRead(r *http.Request) bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }

// IsAPI tells whether a request is for the API, by its path.
func IsAPI(r *http.Request) bool {
	return strings.HasPrefix(r.URL.Path, APIPath) || r.URL.Path == MetricsPath
}

// WantsPage tells a browser that opens a page, or sends a form, from a script.
func WantsPage(r *http.Request) bool { return strings.Contains(r.Header.Get("Accept"), "text/html") }
