package api

//go:generate go test -run TestOpenAPIIsCurrent -openapi

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"net/http"
	"sync"

	"pipit/admin/gate"
)

// openAPI describes the API and the wire protocol. openapi_test.go makes it, and other tests hold it to the routes of both and
// to all that they answer.
//
//go:embed openapi.json
var openAPI []byte

var openapiTag = sync.OnceValue(func() string {
	sum := sha256.Sum256(openAPI)
	return `"` + hex.EncodeToString(sum[:8]) + `"`
})

func (a *API) openAPI(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	if err := noQuery(r); err != nil {
		return err
	}
	h := w.Header()
	h.Set("ETag", openapiTag())
	if ifNoneMatch(r, openapiTag()) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	h.Set("Content-Type", TypeJSON)
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(openAPI) // who has left does not read it
	return nil
}
