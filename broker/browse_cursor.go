package broker

import (
	"encoding/base64"
	"encoding/binary"

	"pipit/broker/limit"
)

// browseCursor is where a page begins.
//
//	version 1 | 'm' | topic 4 | priority 1 | pos 8     at a position of a lane
//	version 1 | 'n' | topic 4 | priority 1 | pos 8     likewise, and downwards from there
//	version 1 | 'd' | topic 4 | key                    behind a delayed message; no key: at the first. Topic 0: of all topics
type browseCursor struct {
	delayed  bool
	newest   bool // first
	topic    uint32
	priority uint8
	pos      uint64
	key      string
}

const (
	browseCursorVersion = 1
	maxDelayedKey       = 64 // bytes
)

func (c browseCursor) String() string {
	b := []byte{browseCursorVersion, 'm'}
	if c.delayed {
		b[1] = 'd'
	} else if c.newest {
		b[1] = 'n'
	}
	b = binary.BigEndian.AppendUint32(b, c.topic)
	if c.delayed {
		b = append(b, c.key...)
	} else {
		b = binary.BigEndian.AppendUint64(append(b, c.priority), c.pos)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func parseBrowseCursor(s string) (c browseCursor, ok bool) {
	if len(s) > 2*maxDelayedKey {
		return c, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) < 6 || b[0] != browseCursorVersion {
		return c, false
	}
	c.topic = binary.BigEndian.Uint32(b[2:])
	switch rest := b[6:]; {
	case b[1] == 'd' && len(rest) <= maxDelayedKey:
		c.delayed, c.key = true, string(rest)
	case (b[1] == 'm' || b[1] == 'n') && len(rest) == 9 && rest[0] >= limit.MinPriority && rest[0] <= limit.MaxPriority:
		c.newest, c.priority, c.pos = b[1] == 'n', rest[0], binary.BigEndian.Uint64(rest[1:])
	default:
		return c, false
	}
	return c, c.String() == s
}
