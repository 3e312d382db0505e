package web

import (
	"cmp"
	"crypto/rand"
	"sync"
	"time"
)

// Of what is shown once.
const (
	shelfTime = 10 * time.Minute
	maxShelf  = 100 // entries, of all sessions together; past it the oldest leaves
)

// shelf keeps, in memory and for shelfTime, what pages show once, such as a password of which only a hash is stored: so that
// it is in no address or cookie, and that a page which shows it can be loaded again, by the session that made it alone.
type shelf struct {
	mu   sync.Mutex
	list []shelved // the oldest first
	most int       // entries; 0: maxShelf
}

type shelved struct {
	key, session string
	value        any
}

// put returns the key that a value is got back by.
func (s *shelf) put(session string, value any) (key string) {
	key = rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.list) >= cmp.Or(s.most, maxShelf) {
		s.list = append(s.list[:0:0], s.list[1:]...)
	}
	s.list = append(s.list, shelved{key, session, value})
	time.AfterFunc(shelfTime, func() { s.drop(key) })
	return key
}

// drop forgets a value.
func (s *shelf) drop(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var left []shelved // what is dropped shall not stay in an array
	for _, x := range s.list {
		if x.key != key {
			left = append(left, x)
		}
	}
	s.list = left
}

// shelvedOf returns the value of a key, if this session has put it there and its time is not over.
func shelvedOf[T any](s *shelf, session, key string) (v T, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.list {
		if x.key == key && x.session == session {
			v, ok = x.value.(T)
			return v, ok
		}
	}
	return v, false
}
