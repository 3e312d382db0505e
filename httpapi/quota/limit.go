// Package quota keeps clients of the wire protocol to what an administrator allows each of them, messages and bytes in a second and requests
// that wait, and to their part of the memory that all share.
package quota

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"pipit/broker"
	"pipit/broker/limit"
)

// Clients are what clients use of the limits that an administrator has set for them.
type Clients struct {
	mostBytes atomic.Int64 // of one body, or one reply

	mu      sync.Mutex
	of      map[string]*allowance // by username, of those that have a rate
	waiting map[string]int64      // long polls and streams, of all; none is 0
	swept   time.Time
}

// New returns limits that nothing is used of.
func New() *Clients { return &Clients{of: map[string]*allowance{}, waiting: map[string]int64{}} }

// Adjust tells how many bytes a body or a reply may have at the most.
func (l *Clients) Adjust(mostBytes int64) { l.mostBytes.Store(max(mostBytes, limit.MaxReply)) }

// allowance is what one client may publish, or receive, in each second.
type allowance struct {
	publish, publishBytes, receive, receiveBytes bucket
	used                                         time.Time
}

// limitedPublish and limitedReceive tell whether a client has such a limit.
func limitedPublish(c *broker.Client) bool { return c.PublishRate|int64(c.PublishByteRate) != 0 }
func limitedReceive(c *broker.Client) bool { return c.ReceiveRate|int64(c.ReceiveByteRate) != 0 }

// Publish refuses a request of a client that has published more than it may, and tells it in any case how much is left.
func (l *Clients) Publish(c *broker.Client, h http.Header) error {
	if !limitedPublish(c) {
		return nil
	}
	a, now := l.allowance(c), time.Now()
	tell(h, now, policy{"publish", "", &a.publish}, policy{"publish-bytes", "content-bytes", &a.publishBytes})
	if wait := a.publish.wait(now); wait > 0 {
		return over("publish_rate", strconv.FormatInt(c.PublishRate, 10)+" messages", wait)
	}
	if wait := a.publishBytes.wait(now); wait > 0 {
		return over("publish_byte_rate", c.PublishByteRate.String(), wait)
	}
	return nil
}

// Published counts what a client has sent to be published, whatever becomes of it: it has taken its place in any case.
func (l *Clients) Published(c *broker.Client, messages, bytes int) {
	if limitedPublish(c) {
		a, now := l.allowance(c), time.Now()
		a.publish.take(now, messages)
		a.publishBytes.take(now, bytes)
	}
}

// Receive refuses a request of a client that has received more than it may, and tells it in any case how much is left. It
// returns how many messages it may have of max.
func (l *Clients) Receive(c *broker.Client, h http.Header, most int) (int, error) {
	if !limitedReceive(c) {
		return most, nil
	}
	a, now := l.allowance(c), time.Now()
	tell(h, now, policy{"receive", "", &a.receive}, policy{"receive-bytes", "content-bytes", &a.receiveBytes})
	if wait := a.receive.wait(now); wait > 0 {
		return 0, over("receive_rate", strconv.FormatInt(c.ReceiveRate, 10)+" messages", wait)
	}
	if wait := a.receiveBytes.wait(now); wait > 0 {
		return 0, over("receive_byte_rate", c.ReceiveByteRate.String(), wait)
	}
	if a.receive.rate > 0 {
		most = min(most, int(a.receive.left(now)))
	}
	return most, nil
}

// Pause returns how long a stream of a client has to wait.
func (l *Clients) Pause(c *broker.Client) time.Duration {
	if !limitedReceive(c) {
		return 0
	}
	a, now := l.allowance(c), time.Now()
	return max(a.receive.wait(now), a.receiveBytes.wait(now))
}

// Received counts what a client has received.
func (l *Clients) Received(c *broker.Client, msgs []broker.Message) {
	if len(msgs) == 0 || !limitedReceive(c) {
		return
	}
	bytes := 0
	for i := range msgs {
		bytes += len(msgs[i].Payload)
	}
	a, now := l.allowance(c), time.Now()
	a.receive.take(now, len(msgs))
	a.receiveBytes.take(now, bytes)
}

// Wait counts one more long poll or stream, until done. The error is TooMany where the client has as many as it may.
func (l *Clients) Wait(c *broker.Client) (done func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	name := c.Username
	if n := c.MaxWaiting; n > 0 && l.waiting[name] >= n {
		return nil, &broker.Error{Code: broker.TooMany, RetryAfter: time.Second,
			Message: fmt.Sprintf("Too many requests that wait: max_waiting of this client is %d long polls and streams at a time", n)}
	}
	l.waiting[name]++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.waiting[name]--; l.waiting[name] == 0 {
			delete(l.waiting, name)
		}
	}, nil
}

func over(field, value string, wait time.Duration) error {
	return &broker.Error{Code: broker.TooMany, RetryAfter: wait,
		Message: fmt.Sprintf("Too much at once: %s of this client is %s a second", field, value)}
}

// forgetAfter is how long after its last use an allowance is forgotten that is full: a new one would be the same.
const forgetAfter = time.Minute

func (a *allowance) isFull(now time.Time) bool {
	for _, b := range []*bucket{&a.publish, &a.publishBytes, &a.receive, &a.receiveBytes} {
		if b.rate > 0 && b.left(now) < float64(b.rate) {
			return false
		}
	}
	return true
}

// allowance returns that of a client, as its limits are now.
func (l *Clients) allowance(c *broker.Client) *allowance {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if now.Sub(l.swept) > forgetAfter {
		l.swept = now
		for name, a := range l.of {
			if now.Sub(a.used) > forgetAfter && a.isFull(now) {
				delete(l.of, name)
			}
		}
	}
	a := l.of[c.Username]
	if a == nil {
		a = &allowance{}
		l.of[c.Username] = a
	}
	a.used = now
	a.publish.adjust(c.PublishRate, limit.MaxBatch)
	a.publishBytes.adjust(int64(c.PublishByteRate), l.mostBytes.Load())
	a.receive.adjust(c.ReceiveRate, limit.MaxReceive)
	a.receiveBytes.adjust(int64(c.ReceiveByteRate), l.mostBytes.Load())
	return a
}

// bucket lets a rate through. Whoever finds something in it may take however much; those that follow wait until that is made up
// for. So no batch is too large for a rate, and over time no more than the rate gets through.
type bucket struct {
	rate  int64 // a second; 0: there is no limit
	most  int64 // that one request takes
	spent *rate.Limiter
}

// adjust sets the limit. A new one begins full.
func (b *bucket) adjust(perSecond, most int64) {
	if b.rate != perSecond || b.most != most {
		*b = bucket{perSecond, most, rate.NewLimiter(rate.Limit(perSecond), int(perSecond+most))}
	}
}

// left is what is in it, at most what a second brings; below 0 it is what has to be made up for.
func (b *bucket) left(now time.Time) float64 { return b.spent.TokensAt(now) - float64(b.most) }

// wait returns how long it takes until something is in it.
func (b *bucket) wait(now time.Time) time.Duration {
	if b.rate == 0 {
		return 0
	}
	return time.Duration(max(0, 1-b.left(now)) / float64(b.rate) * float64(time.Second))
}

func (b *bucket) take(now time.Time, n int) {
	if b.rate > 0 {
		b.spent.ReserveN(now, int(min(int64(n), b.most)))
	}
}

// policy is a limit as the headers RateLimit-Policy and RateLimit have it
// (https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-ratelimit-headers-09).
type policy struct {
	name, unit string // unit: what is counted, where it is not messages
	bucket     *bucket
}

// tell says in headers what limits there are, each of one second, and what is left of them.
func tell(h http.Header, now time.Time, policies ...policy) {
	var policy, state []byte
	for _, p := range policies {
		if p.bucket.rate == 0 {
			continue
		}
		if len(policy) > 0 {
			policy, state = append(policy, ", "...), append(state, ", "...)
		}
		policy = fmt.Appendf(policy, `"%s";q=%d;w=1`, p.name, p.bucket.rate)
		if p.unit != "" {
			policy = fmt.Appendf(policy, `;qu="%s"`, p.unit)
		}
		wait := p.bucket.wait(now)
		state = fmt.Appendf(state, `"%s";r=%d;t=%d`, p.name, max(0, int64(p.bucket.left(now))), Seconds(wait))
	}
	h["RateLimit-Policy"], h["RateLimit"] = []string{string(policy)}, []string{string(state)}
}

// Seconds rounds up, to 1 at least, as Retry-After has it.
func Seconds(d time.Duration) int { return max(1, int(math.Ceil(d.Seconds()))) }
