package broker

// Repeated returns how many messages of a consumer were delivered so often, at least, and are not done with. It looks at what
// was delivered and is not acknowledged, max_in_flight messages at the most, and not at all where nothing was delivered again
// since the start of the process.
func (l lister) Repeated(consumer uint32, deliveries uint32) (n int64) {
	b := l.b
	b.mu.RLock()
	c := b.consumers[consumer]
	b.mu.RUnlock()
	if c == nil || c.counters.redelivered.Load() == 0 || c.held.Load() == 0 {
		return 0
	}
	list := c.list()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, q := range list {
		for _, l := range q.leases {
			if l.count >= deliveries && !l.removed {
				n++
			}
		}
	}
	return n
}
