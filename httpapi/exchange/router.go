package exchange

import (
	"net/http"
	"slices"
	"strings"

	"github.com/julienschmidt/httprouter"

	"pipit/broker/clip"
)

// NoRoute stands for the route of requests that have none.
const NoRoute = "other"

// NewRouter returns a router that cleans and redirects nothing, as names of topics begin with a slash. notFound answers
// what has no route, notAllowed what has one for other methods: message says for which, and so does the header Allow.
func NewRouter(notFound http.HandlerFunc, notAllowed func(w http.ResponseWriter, r *http.Request, message string)) *httprouter.Router {
	router := httprouter.New()
	router.RedirectTrailingSlash, router.RedirectFixedPath, router.HandleOPTIONS = false, false, false
	router.NotFound = notFound
	router.MethodNotAllowed = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		methods := strings.Split(w.Header().Get("Allow"), ", ")
		methods = slices.DeleteFunc(methods, func(m string) bool { return m == http.MethodOptions }) // the router adds it
		allow := strings.Join(methods, ", ")
		w.Header().Set("Allow", allow)
		notAllowed(w, r, "Method "+clip.Input(r.Method)+": allowed are "+allow)
	})
	return router
}

// Handle makes a router know a route. What can be got can be asked for its header alone, for which net/http leaves the
// body out.
func Handle(router *httprouter.Router, method, path string, h httprouter.Handle) {
	router.Handle(method, path, h)
	if method == http.MethodGet {
		router.Handle(http.MethodHead, path, h)
	}
}
