package broker

import "time"

// Where several clients change something at once, a commit takes of each no more than its share: beside one that sends by many
// connections at full speed, the others wait for short commits instead of long ones. What is left over is first in the next.
const (
	sharedOps   = 256     // that a commit takes of all clients, where these are many
	sharedBytes = 4 << 20 // of payload
	shareOps    = 2       // that it takes of any client in any case
	shareBytes  = 256 << 10
	shareWindow = time.Second // who came in this one or the one before is counted
)

// shares are those of the clients that came lately.
type shares struct {
	of         map[string]*share // by username
	began      time.Time         // of the window
	window     uint64            // its number
	came, last int               // clients of this window, and of the one before
	commit     uint64            // the number of the one that is being divided
}

// share is what a commit has of a client so far.
type share struct {
	window uint64 // in which the client came last
	commit uint64 // that the others are of
	ops    int
	bytes  int64
}

// come counts a client that changes something; nobody has an empty name.
func (s *shares) come(client string, now time.Time) {
	if client == "" {
		return
	}
	if passed := now.Sub(s.began); passed >= shareWindow || s.of == nil {
		s.turn(now, passed < 2*shareWindow)
	}
	of := s.of[client]
	if of == nil {
		of = &share{}
		s.of[client] = of
	}
	if of.window != s.window {
		of.window = s.window
		s.came++
	}
}

// turn begins a window, which follows on the one before or comes long after it, and forgets those that came in neither.
func (s *shares) turn(now time.Time, follows bool) {
	if s.of == nil {
		s.of = map[string]*share{}
	}
	s.last = 0
	if follows {
		s.last = s.came
	}
	for name, of := range s.of {
		if !follows || of.window != s.window {
			delete(s.of, name)
		}
	}
	s.began, s.came = now, 0
	s.window++
}

// divide returns which of the tasks the next commit takes; the others are appended to left. It keeps their order.
func (s *shares) divide(tasks, left []*task) (taken, rest []*task) {
	clients := max(s.came, s.last)
	ops, bytes := max(shareOps, sharedOps/max(1, clients)), max(shareBytes, sharedBytes/int64(max(1, clients)))
	if clients < 2 || len(tasks) <= ops && weight(tasks) <= bytes {
		return tasks, left
	}
	s.commit++
	taken = tasks[:0]
	for _, t := range tasks {
		of := s.of[t.client]
		if of == nil {
			taken = append(taken, t)
			continue
		}
		if of.commit != s.commit {
			*of = share{window: of.window, commit: s.commit}
		}
		if of.ops > 0 && (of.ops == ops || of.bytes+t.bytes > bytes) {
			of.ops = ops // those behind it do not pass it
			left = append(left, t)
			continue
		}
		of.ops++
		of.bytes += t.bytes
		taken = append(taken, t)
	}
	clear(tasks[len(taken):])
	return taken, left
}

func weight(tasks []*task) (bytes int64) {
	for _, t := range tasks {
		bytes += t.bytes
	}
	return bytes
}
