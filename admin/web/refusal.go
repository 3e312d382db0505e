package web

import "pipit/admin/monitor"

// maxRefused is how many reasons stand on a page for which something was refused.
const maxRefused = 5

// refusedLately is what was refused lately, by client and reason, for a page.
func (s *Site) refusedLately(f monitor.RefusalFilter) []monitor.RefusalGroup {
	groups := s.Monitor.RefusedLately(f)
	return groups[:min(len(groups), maxRefused)]
}
