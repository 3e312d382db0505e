package web

import (
	"net/http"
	"testing"
)

func TestTakesGzip(t *testing.T) {
	for codings, want := range map[string]bool{
		"": false, "gzip": true, "br, gzip": true, "gzip;q=0": false, "gzip; q=0.0, br": false, "gzip;q=0.5": true, "gzip;q=1.0": true, "deflate": false, "xgzip": false,
	} {
		r := &http.Request{Header: http.Header{"Accept-Encoding": {codings}}}
		if got := takesGzip(r); got != want {
			t.Errorf("%q: %t", codings, got)
		}
	}
}
