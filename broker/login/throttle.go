package login

import (
	"container/list"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// maxThrottled is how many keys a throttle remembers; the oldest makes room.
const maxThrottled = 16_384

// throttle counts by key, in windows that begin with the first count. Its methods may be called from
// any goroutine.
type throttle struct {
	most   int
	window time.Duration

	mu    sync.Mutex
	keys  map[digest]*list.Element // guarded by mu
	order list.List                // of *throttled, the oldest window first; guarded by mu
}

// digest is that of what is counted.
type digest [16]byte

// digestOf is the digest of parts, which are told apart.
func digestOf(parts ...string) digest {
	h := sha256.New()
	for _, p := range parts {
		d := sha256.Sum256([]byte(p))
		h.Write(d[:])
	}
	return digest(h.Sum(nil))
}

type throttled struct {
	key   digest
	first time.Time
	count int
}

// newThrottle returns a throttle that refuses a key counted most times within window.
func newThrottle(most int, window time.Duration) *throttle {
	return &throttle{most: most, window: window, keys: map[digest]*list.Element{}}
}

// check returns TooMany once a key was counted most times, until its window ends.
func (t *throttle) check(key digest, now time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(now)
	e := t.keys[key]
	if e == nil || e.Value.(*throttled).count < t.most {
		return nil
	}
	return &Error{
		Code:       TooMany,
		Message:    "Too many failed logins",
		Reason:     fmt.Sprintf("%d failures within %s", t.most, t.window),
		RetryAfter: e.Value.(*throttled).first.Add(t.window).Sub(now),
	}
}

// add counts a key.
func (t *throttle) add(key digest, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(now)
	if e := t.keys[key]; e != nil {
		e.Value.(*throttled).count++
		return
	}
	t.begin(key, now)
}

// renew begins the window of a key again, with one count.
func (t *throttle) renew(key digest, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(now)
	if e := t.keys[key]; e != nil {
		t.remove(e)
	}
	t.begin(key, now)
}

// counts tells whether a key was counted within its window.
func (t *throttle) counts(key digest, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(now)
	return t.keys[key] != nil
}

// begin counts a key that has no window yet. The caller holds mu.
func (t *throttle) begin(key digest, now time.Time) {
	if len(t.keys) >= maxThrottled {
		t.remove(t.order.Front())
	}
	t.keys[key] = t.order.PushBack(&throttled{key, now, 1})
}

// expire drops the windows that have ended. The caller holds mu.
func (t *throttle) expire(now time.Time) {
	for e := t.order.Front(); e != nil && now.Sub(e.Value.(*throttled).first) >= t.window; e = t.order.Front() {
		t.remove(e)
	}
}

// remove drops one key. The caller holds mu.
func (t *throttle) remove(e *list.Element) {
	delete(t.keys, e.Value.(*throttled).key)
	t.order.Remove(e)
}

// Network is what failures of an IP address are counted under: the address, but of IPv6 the network of
// 64 bits, in which one machine can take any address.
func Network(addr string) string {
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
