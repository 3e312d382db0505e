package callback

import "sync/atomic"

// Outcomes count the calls to a consumer since the start of the process, but for those that somebody made by hand.
type Outcomes struct {
	Success uint64 // the receiver has the messages
	Refused uint64 // it answered that it has not
	Failed  uint64 // it did not answer, or not in time
}

// outcomes are Outcomes at work.
type outcomes struct{ success, refused, failed atomic.Uint64 }

func (o *outcomes) count(a *answer) {
	switch {
	case a.ok():
		o.success.Add(1)
	case a.Status != 0:
		o.refused.Add(1)
	default:
		o.failed.Add(1)
	}
}

// Outcomes returns those of each consumer that is sent its messages.
func (s *Service) Outcomes() map[uint32]Outcomes {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[uint32]Outcomes, len(s.agents))
	for id, a := range s.agents {
		all[id] = Outcomes{a.outcomes.success.Load(), a.outcomes.refused.Load(), a.outcomes.failed.Load()}
	}
	return all
}
