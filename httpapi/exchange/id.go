package exchange

import (
	"encoding/binary"
	"math/rand/v2"
	"time"

	"github.com/segmentio/ksuid"
)

// NewID makes the ID of a request: K and a KSUID. It is no secret.
func NewID(now time.Time) string {
	var payload [16]byte
	binary.BigEndian.PutUint64(payload[:], rand.Uint64())  // #nosec G404 -- the ID of a request is no secret
	binary.BigEndian.PutUint64(payload[8:], rand.Uint64()) // #nosec G404 -- the ID of a request is no secret
	id, err := ksuid.FromParts(now, payload[:])
	if err != nil { // of another length than 16
		panic(err)
	}
	var b [28]byte
	b[0] = 'K'
	id.Append(b[1:1])
	return string(b[:])
}
