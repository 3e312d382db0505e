package httpapi

import "pipit/httpapi/quota"

// Of what a reply holds, in bytes.
const (
	shareStep   = 16 << 10 // what is set aside at once
	messageRoom = 512      // for a message, beside its payload
)

// share is what one reply holds of the budget.
type share struct {
	b      *quota.Budget
	client string
	taken  int64
	left   int64 // of taken, for messages
}

// take sets aside what a message with a payload of n bytes needs.
func (s *share) take(n int) bool {
	need := int64(n) + messageRoom
	if need > s.left {
		more, room := max(need-s.left, shareStep), int64(0)
		if s.taken <= shareStep && s.taken+more > shareStep {
			room = pieceRoom // no short reply, which would leave at once
		}
		if !s.b.Take(s.client, more+room) {
			return false
		}
		s.taken += more + room
		s.left += more
	}
	s.left -= need
	return true
}

// free gives all of it back.
func (s *share) free() {
	if s.taken > 0 {
		s.b.Give(s.client, s.taken)
		s.taken, s.left = 0, 0
	}
}
