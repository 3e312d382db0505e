package admin

import (
	linked "container/list"
	"crypto/sha256"
	"net/netip"
	"sync"
	"time"

	"pipit/broker"
)

// Limits of failures, each within failureWindow of the first one.
const (
	maxFailures   = 10 // wrong passwords for one name from one address
	maxGuesses    = 50 // wrong passwords, tokens and set-up keys from one address
	failureWindow = time.Minute
	maxThrottled  = 16_384 // keys that a throttle remembers; the oldest makes room
)

// throttle counts by key, in windows that begin with the first count. Its methods may be called from
// any goroutine.
type throttle struct {
	most   int
	window time.Duration

	mu    sync.Mutex
	keys  map[throttleKey]*linked.Element // guarded by mu
	order linked.List                     // of *throttled, the oldest window first; guarded by mu
}

// throttleKey is a digest, so that the memory of one does not depend on what a caller sends.
type throttleKey [16]byte

func throttleKeyOf(parts ...string) throttleKey {
	h := sha256.New()
	for _, p := range parts {
		d := sha256.Sum256([]byte(p))
		h.Write(d[:])
	}
	return throttleKey(h.Sum(nil))
}

type throttled struct {
	key   throttleKey
	first time.Time
	count int
}

func newThrottle(most int, window time.Duration) *throttle {
	return &throttle{most: most, window: window, keys: map[throttleKey]*linked.Element{}}
}

// check returns TooMany once a key was counted most times, until its window ends.
func (t *throttle) check(key throttleKey, now time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(now)
	e := t.keys[key]
	if e == nil || e.Value.(*throttled).count < t.most {
		return nil
	}
	return &broker.Error{
		Code:       broker.TooMany,
		Message:    "Too many failures, wait a moment",
		RetryAfter: e.Value.(*throttled).first.Add(t.window).Sub(now),
	}
}

// add counts a key, and tells whether it was counted most times before.
func (t *throttle) add(key throttleKey, now time.Time) (past bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(now)
	if e := t.keys[key]; e != nil {
		v := e.Value.(*throttled)
		v.count++
		return v.count > t.most
	}
	if len(t.keys) >= maxThrottled {
		t.remove(t.order.Front())
	}
	t.keys[key] = t.order.PushBack(&throttled{key, now, 1})
	return false
}

// expire drops the windows that have ended. The caller holds mu.
func (t *throttle) expire(now time.Time) {
	for e := t.order.Front(); e != nil && now.Sub(e.Value.(*throttled).first) >= t.window; e = t.order.Front() {
		t.remove(e)
	}
}

// remove drops one key. The caller holds mu.
func (t *throttle) remove(e *linked.Element) {
	delete(t.keys, e.Value.(*throttled).key)
	t.order.Remove(e)
}

// network is what failures of an address are counted under: the address, but of IPv6 the network of
// 64 bits, in which one machine can take any address.
func network(addr string) string {
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return addr
	}
	ip = ip.Unmap().WithZone("")
	if !ip.Is6() {
		return ip.String()
	}
	p, _ := ip.Prefix(64)
	return p.String()
}
