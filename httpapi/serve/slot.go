package serve

import (
	"net"
	"time"

	"pipit/broker/login"
)

// Where all slots are taken, the next connection gets that of the one that has been idle for the longest, else of the
// oldest one that never sent a header. Where all are busy it waits, and replies are the last ones of their connections.
//
// No network takes the slots of all others: the one that holds more than its share, half of all, makes room for them, with
// connections that are busy, too, and what it opens itself beyond that waits behind the others.

// Of waiting for a slot.
const (
	quietTime = 500 * time.Millisecond // that a connection has been as it is, before it gives its slot to another one
	lookAgain = 50 * time.Millisecond  // for one that does
	evictLook = 64                     // connections that are looked at for one on which nothing has begun
)

// network is where open connections come from, see login.Network. The one without a name is that of the trusted
// proxies, and of what has no IP address: its connections are those of many, so it has no share.
type network struct {
	name string
	open int64
	busy connList // with a request; that of the oldest request first
}

func (s *connections) networkName(c net.Conn) string {
	a, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok || s.proxies.Trust(a.String()) {
		return ""
	}
	return login.Network(a.IP.String())
}

// share is how many slots a network may hold where others wait for one. The caller holds mu.
func (s *connections) share() int64 { return (s.max + 1) / 2 }

// hasShare tells whether the network of a connection that waits holds its share. The caller holds mu.
func (s *connections) hasShare(c *conn) bool {
	n := s.networks[c.from]
	return n != nil && n.name != "" && n.open >= s.share()
}

// greedy returns the network that holds more than its share, or nil. The caller holds mu.
func (s *connections) greedy() *network {
	if s.largest != nil && s.largest.open > s.share() {
		return s.largest
	}
	return nil
}

// adjust sets how many connections may be open. Those that are too many go as others would want their slots.
func (s *connections) adjust(max int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.max = max
	for _, n := range s.networks {
		s.compare(n)
	}
	s.grant()
}

// admit hands l a connection that it accepted, now or when it has a slot.
func (s *connections) admit(c net.Conn, l *limitedListener) {
	own := &conn{Conn: c, all: s, from: s.networkName(c)}
	own.outer = own
	s.mu.Lock()
	if s.open < s.max {
		s.give(own)
		s.mu.Unlock()
		l.hand(own, nil)
		return
	}
	if times, ok := s.full.line(time.Now()); ok {
		s.log.Warn("max_connections is reached: for a new one the longest idle one is closed, or it waits",
			"max_connections", s.max, "idle", s.idle.n, "without_request", s.fresh.n, "times", times)
	}
	own.slot = make(chan bool, 1)
	s.wait(own, &s.waiting)
	s.wanted.Add(1)
	inLine := int64(s.waiting.n) > s.mayWait+s.leaving && !s.squeeze(own)
	s.mu.Unlock()
	if inLine {
		s.await(own, l)
	} else {
		go s.await(own, l)
	}
}

// await waits until a connection has a slot and hands it to l, or closes it.
func (s *connections) await(c *conn, l *limitedListener) {
	ticker := time.NewTicker(lookAgain)
	defer ticker.Stop()
	for leaving := (*conn)(nil); ; {
		s.mu.Lock()
		if c.in == &s.waiting && (leaving == nil || leaving.closed) {
			leaving = s.evict(c)
		}
		s.mu.Unlock()
		select {
		case has := <-c.slot:
			if has {
				l.hand(c, nil)
			} else {
				_ = c.Close()
			}
			return
		case <-ticker.C:
		case <-l.done:
			s.mu.Lock()
			s.turnAway(c)
			s.mu.Unlock()
		}
	}
}

// turnAway ends the wait of a connection, if it waits. The caller holds mu.
func (s *connections) turnAway(c *conn) {
	if c.in == &s.waiting {
		s.leave(c)
		s.wanted.Add(-1)
		c.slot <- false
	}
}

// squeeze makes room for a connection among those that wait, which are too many: it gets a slot of its network on which
// nothing is under way, where that has its share, else another one does not wait any more. It returns false where all
// who wait have a right to. The caller holds mu.
func (s *connections) squeeze(c *conn) bool {
	if s.hasShare(c) {
		n := s.networks[c.from]
		for _, out := range []*conn{s.idle.quiet(n), s.fresh.quiet(n)} {
			if out != nil {
				s.expel(out)
				return true
			}
		}
	}
	return s.turnOneAway()
}

// turnOneAway ends the wait of the last one whose network holds its share, if there is one. The caller holds mu.
func (s *connections) turnOneAway() bool {
	for c := s.waiting.last; c != nil; c = c.previous {
		if s.hasShare(c) {
			s.turnAway(c)
			return true
		}
	}
	return false
}

// give gives a connection a slot. The caller holds mu.
func (s *connections) give(c *conn) {
	n := s.networks[c.from]
	if n == nil {
		n = &network{name: c.from}
		s.networks[c.from] = n
	}
	s.open++
	n.open++
	s.compare(n)
	c.network = n
	s.wait(c, &s.fresh)
}

// compare notes the largest network: one whose connections have become more, or all. The caller holds mu.
func (s *connections) compare(n *network) {
	if n.name != "" && (s.largest == nil || n.open > s.largest.open) {
		s.largest = n
	}
}

// grant gives slots that are free to who waits, first to those whose networks have less than their share. The caller
// holds mu.
func (s *connections) grant() {
	for s.open < s.max && s.waiting.n > 0 {
		next := s.waiting.first
		for c := next; c != nil; c = c.next {
			if !s.hasShare(c) {
				next = c
				break
			}
		}
		s.leave(next)
		s.wanted.Add(-1)
		s.give(next)
		next.slot <- true
	}
}

// release gives back the slot of a connection, if it has one.
func (s *connections) release(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	s.leave(c)
	n := c.network
	if n == nil {
		return
	}
	s.open--
	if n.open--; n.open == 0 {
		delete(s.networks, n.name)
		if s.largest == n {
			s.largest = nil
		}
	}
	if c.leaving {
		s.leaving--
	}
	s.grant()
}

// evict closes a connection for another one, which may be nil, and returns it, nil where none can go. Idle ones come
// before fresh ones, those on which nothing has begun before others, and those of a network that holds more than its share
// before all others; for a further one of that network, none of others goes. The caller holds mu.
func (s *connections) evict(c *conn) *conn {
	order := make([]*conn, 0, 9)
	greedy := s.greedy()
	if greedy != nil {
		order = append(order, s.idle.quiet(greedy), s.fresh.quiet(greedy), s.fresh.of(greedy), s.idle.of(greedy))
	}
	if greedy == nil || c == nil || c.from != greedy.name {
		order = append(order, s.idle.quiet(nil), s.fresh.quiet(nil))
		if greedy != nil {
			order = append(order, greedy.busy.first)
		}
		order = append(order, s.fresh.first, s.idle.first)
	}
	for _, out := range order {
		if out == nil || time.Since(out.since) < quietTime {
			continue
		}
		if greedy != nil && out.in == &greedy.busy {
			s.warnCut(greedy)
		}
		s.expel(out)
		return out
	}
	return nil
}

// expel closes a connection for another one. The caller holds mu.
func (s *connections) expel(c *conn) {
	c.leaving = true
	s.leaving++
	s.drop(c)
}

func (s *connections) warnCut(n *network) {
	if times, ok := s.cut.line(time.Now()); ok {
		s.log.Warn("max_connections is reached by one network: its requests are cut for those of others; where it is a proxy, name it in http.trusted_proxies",
			"network", n.name, "connections", n.open, "share", s.share(), "times", times)
	}
}

// quiet returns the first one of a network, nil is all, on which nothing has begun, as far as that is known, or nil.
func (l *connList) quiet(from *network) *conn {
	return l.find(func(c *conn) bool { return (from == nil || c.network == from) && (c.http2 || !c.hasBegun()) })
}

// of returns the first one of a network, as far as evictLook goes, or nil.
func (l *connList) of(n *network) *conn {
	return l.find(func(c *conn) bool { return c.network == n })
}

// find returns the first one that fits among the first evictLook, or nil.
func (l *connList) find(fits func(*conn) bool) *conn {
	c := l.first
	for n := 0; c != nil && n < evictLook; n++ {
		if fits(c) {
			return c
		}
		c = c.next
	}
	return nil
}
