package gate

import (
	"net/http"
	"time"
)

// Params are the parameters of a path, unescaped.
type Params map[string]string

// Handler answers a request that was let in, or returns what is wrong with it.
type Handler func(http.ResponseWriter, *http.Request, Params) error

// Route is a route of the pages or of the API. Path is as httprouter takes it.
type Route struct {
	Method, Path string
	Handler      Handler
	Access       Access
}

// Get is a route of the method GET.
func Get(path string, h Handler, a Access) Route { return Route{http.MethodGet, path, h, a} }

// Post is a route of the method POST.
func Post(path string, h Handler, a Access) Route { return Route{http.MethodPost, path, h, a} }

// Patch is a route of the method PATCH.
func Patch(path string, h Handler, a Access) Route { return Route{http.MethodPatch, path, h, a} }

// Delete is a route of the method DELETE.
func Delete(path string, h Handler, a Access) Route { return Route{http.MethodDelete, path, h, a} }

// Patient lets the reply to a request, whose body was read, take so long, where a server grants less; its context still ends
// when the client leaves.
func Patient(w http.ResponseWriter, d time.Duration) {
	rc := http.NewResponseController(w)
	_, _ = rc.SetReadDeadline(time.Time{}), rc.SetWriteDeadline(time.Now().Add(d)) // past the former the client would count as gone
}
