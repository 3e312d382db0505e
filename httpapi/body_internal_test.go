package httpapi

import (
	"testing"
	"time"
)

// BodyGrace sets from when on a body has to come with MinBodyRate.
func BodyGrace(t *testing.T, d time.Duration) {
	before := bodyGrace
	bodyGrace = d
	t.Cleanup(func() { bodyGrace = before })
}
