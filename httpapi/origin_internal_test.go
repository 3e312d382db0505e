package httpapi

import (
	"net/http/httptest"
	"testing"
)

// TestCheckOriginCost: it is done for every request, and costs no memory.
func TestCheckOriginCost(t *testing.T) {
	o := Options{CORSOrigins: []string{"https://app.example.com"}}
	for _, headers := range [][2]string{{"", ""}, {"same-origin", "http://mq.example.com"}, {"", "http://mq.example.com"}} {
		r := httptest.NewRequest("POST", "http://mq.example.com/zato/ping", nil)
		for i, name := range []string{"Sec-Fetch-Site", "Origin"} {
			if headers[i] != "" {
				r.Header.Set(name, headers[i])
			}
		}
		if n := testing.AllocsPerRun(1000, func() {
			if o.checkOrigin(r) != nil {
				t.Fatal("refused")
			}
		}); n != 0 {
			t.Errorf("%q: %v allocations", headers, n)
		}
	}
}
