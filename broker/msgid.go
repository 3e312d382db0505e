package broker

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/segmentio/ksuid"

	"pipit/broker/limit"
	"pipit/broker/store"
)

// idCodec makes message IDs that carry their own place, so that an acknowledgement finds its
// message without an index. An ID is the letter K and a KSUID, whose 16 bytes of payload are one
// AES block of the place under a key that never leaves the store: unique because places are,
// and not to be guessed.
//
//	KSUID:  seconds(4) | AES( topic(4) priority(1) position(7) zero(4) )
type idCodec struct{ block cipher.Block }

func newIDCodec(key [16]byte) (idCodec, error) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return idCodec{}, fmt.Errorf("message IDs: %w", err)
	}
	return idCodec{block}, nil
}

func (c idCodec) encode(p store.Place, created time.Time) string {
	var id ksuid.KSUID
	b := id[4:]
	binary.BigEndian.PutUint32(b, p.Topic)
	binary.BigEndian.PutUint64(b[4:], p.Pos)
	b[4] = p.Priority // positions stay below 2^56
	c.block.Encrypt(b, b)
	binary.BigEndian.PutUint32(id[:], uint32(created.Unix()-ksuidEpoch)) // #nosec G115 -- the time of a KSUID has 32 bits
	return idString(id)
}

// decode returns the place that an ID of encode carries, and its second of creation.
func (c idCodec) decode(s string) (p store.Place, created int64, ok bool) {
	if len(s) != 28 || s[0] != 'K' {
		return p, 0, false
	}
	id, err := ksuid.Parse(s[1:])
	if err != nil {
		return p, 0, false
	}
	b := id[4:]
	c.block.Decrypt(b, b)
	p.Topic = binary.BigEndian.Uint32(b)
	p.Priority = b[4]
	b[4] = 0
	p.Pos = binary.BigEndian.Uint64(b[4:])
	if binary.BigEndian.Uint32(b[12:]) != 0 || p.Priority < limit.MinPriority || p.Priority > limit.MaxPriority {
		return store.Place{}, 0, false
	}
	return p, int64(binary.BigEndian.Uint32(id[:])) + ksuidEpoch, true
}

// ksuidEpoch is the second from which KSUIDs count.
const ksuidEpoch = 1_400_000_000

func idString(id ksuid.KSUID) string {
	var b [28]byte
	b[0] = 'K'
	id.Append(b[1:1])
	return string(b[:])
}

// randomID makes an ID that carries no place, for messages that do not have one yet, and SubKeys:
// 128 bits that nobody can guess.
func randomID(now time.Time) string {
	var id ksuid.KSUID
	binary.BigEndian.PutUint32(id[:], uint32(now.Unix()-ksuidEpoch)) // #nosec G115 -- the time of a KSUID has 32 bits
	rand.Read(id[4:])                                                // never fails
	return idString(id)
}
