package quota

import (
	"net/http"
	"testing"
	"time"

	"pipit/broker"
)

// TestBucket: over time no more than the rate gets through, however it is taken, and after a pause no more than one second of it.
func TestBucket(t *testing.T) {
	for _, c := range []struct{ rate, most, take int64 }{{1, 10_000, 1}, {7, 10_000, 1}, {7, 10_000, 500}, {1000, 1000, 3}, {1 << 20, 16 << 20, 5 << 20}} {
		var b bucket
		b.adjust(c.rate, c.most)
		now := time.Unix(1_777_000_000, 0)
		end := now.Add(10_000 * time.Second)
		var through int64
		for now.Before(end) {
			if wait := b.wait(now); wait > 0 {
				now = now.Add(max(wait, time.Microsecond))
				continue
			}
			b.take(now, int(c.take))
			through += c.take
		}
		if want := c.rate * 10_000; through > want+c.rate+c.take || through < want-c.rate-c.take {
			t.Errorf("%+v: %d in 10,000 s, want %d", c, through, want)
		}
		b.take(now, int(c.most)+1) // more than any request: counted as much
		now = now.Add(24 * time.Hour * 365)
		if left := b.left(now); left != float64(c.rate) {
			t.Errorf("%+v: %f left after a year", c, left)
		}
	}
}

// TestAllowances: what is remembered of clients is forgotten when it is as good as new, and not while something is to be made up for.
func TestAllowances(t *testing.T) {
	l := New()
	l.Adjust(1 << 20)
	debtor, other := &broker.Client{Username: "a", PublishRate: 1}, &broker.Client{Username: "b", PublishByteRate: 1000}
	l.Published(debtor, 10_000, 1)
	l.Published(other, 1, 500)
	for _, a := range l.of {
		a.used = a.used.Add(-time.Hour)
	}
	l.of["b"].publishBytes.spent.ReserveN(time.Now(), -500) // an hour passed for it
	l.swept = time.Time{}
	l.Published(&broker.Client{Username: "c", ReceiveRate: 1, PublishRate: 1}, 1, 1)
	if l.of["a"] == nil || l.of["b"] != nil {
		t.Errorf("%v", l.of)
	}
	if err := l.Publish(debtor, http.Header{}); broker.CodeOf(err) != broker.TooMany {
		t.Errorf("%v", err)
	}
}
