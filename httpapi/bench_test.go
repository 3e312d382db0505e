package httpapi_test

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pipit/broker"
	"pipit/broker/login"
)

// noAccess makes a server log nothing but what is wrong.
func noAccess(s *setup) { s.api.Access = false }

// BenchmarkPublish is a publish as a client sees it: keep-alive connections, one commit on disk for
// all that come together. The allocations are those of client and server.
func BenchmarkPublish(b *testing.B) {
	for _, n := range []int{1, 64} {
		b.Run("connections="+strconv.Itoa(n*runtime.GOMAXPROCS(0)), func(b *testing.B) {
			r := newServer(b, noAccess)
			r.publish(created, "the password is checked once")
			b.SetParallelism(n)
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				c := newRawClient(b, r.addr)
				for pb.Next() && c != nil {
					if c.do("POST "+created+" HTTP/1.1\r\nHost: x\r\nAuthorization: Basic Y3JtOmNybQ==\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 14\r\n\r\nHello pub/sub!", `{"status": "ZATO_OK", "msg_id": "K`) == "" {
						return
					}
				}
			})
		})
	}
}

// BenchmarkReceiveAck receives one message and acknowledges it.
func BenchmarkReceiveAck(b *testing.B) {
	r := newServer(b, noAccess)
	lines := strings.Repeat("{\"payload\": \"Hello pub/sub!\", \"expiration\": 100000}\n", 10_000)
	for left := b.N; left > 0; left -= 10_000 {
		if a := r.do("POST", created+"?batch=true", crm, lines, "Content-Type", ndjson); a.status != 200 {
			b.Fatal(a.body)
		}
	}
	r.receive("/zato/pubsub/msg/orders/", "orders-erp-key") // the password is checked once
	c := newRawClient(b, r.addr)
	const auth = " HTTP/1.1\r\nHost: x\r\nAuthorization: Basic ZXJwOmVycA==\r\nX-Zato-PubSub-Key: " + key + "\r\n\r\n"
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		body := c.do("POST "+queue+"?max=1"+auth, `{"status": "ZATO_OK", "results_count": 1, "results": [{"payload": "Hello pub/sub!", "metadata": {"msg_id": "`)
		_, id, found := strings.Cut(body, `"msg_id": "`)
		if !found || c.do("DELETE /zato/pubsub/msg/"+id[:28]+"/?ack=true"+auth, settled) == "" {
			b.FailNow()
		}
	}
}

// BenchmarkLoginTiming prints the medians of what refused logins take, as a client sees it, and by how much
// these differ; beside it, by how much the quickest of each case do, as other load on the machine blurs the medians. None is
// to tell whether there is a client of that name, and what it is like.
func BenchmarkLoginTiming(b *testing.B) {
	hash10, err := login.HashPassword("right")
	if err != nil {
		b.Fatal(err)
	}
	for _, costs := range []string{"10", "10 to 13"} {
		b.Run("costs="+strings.ReplaceAll(costs, " ", "_"), func(b *testing.B) {
			r := newServer(b, noAccess, behindProxy)
			cases := []struct{ name, username, password string }{
				{"unknown", "nobody", "wrong"}, {"wrong10", "ten", "wrong"}, {"inactive", "away", "right"}, {"inactive-wrong", "away", "wrong"},
			}
			clients := []broker.Client{{Username: "ten", PasswordHash: hash10}, {Username: "away", PasswordHash: hash10}}
			if costs != "10" {
				clients = append(clients, broker.Client{Username: "thirteen", PasswordHash: crmHash13})
				cases = append(cases, struct{ name, username, password string }{"wrong13", "thirteen", "wrong"})
			}
			for _, c := range clients {
				r.edit(c)
			}
			took := make([][]time.Duration, len(cases))
			round := 0
			for b.Loop() {
				for range 15 {
					for i, c := range cases {
						round++ // another network each time, so that none is refused for its failures
						start := time.Now()
						if got := r.from(fmt.Sprintf("10.%d.%d.%d", round>>16&0xff, round>>8&0xff, round&0xff), c.username+":"+c.password); got != 401 {
							b.Fatal(c, got)
						}
						took[i] = append(took[i], time.Since(start))
					}
				}
			}
			medians, quickest := make([]time.Duration, len(cases)), make([]time.Duration, len(cases))
			for i, c := range cases {
				slices.Sort(took[i])
				medians[i], quickest[i] = took[i][len(took[i])/2], took[i][0]
				b.ReportMetric(float64(medians[i].Microseconds())/1000, "ms/"+c.name)
			}
			b.ReportMetric(differ(medians), "%medians")
			b.ReportMetric(differ(quickest), "%quickest")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// differ tells by how many percent of the least the most is more.
func differ(d []time.Duration) float64 {
	return 100 * (float64(slices.Max(d))/float64(slices.Min(d)) - 1)
}

// rawClient is a client that costs next to nothing.
type rawClient struct {
	tb testing.TB
	c  net.Conn
	b  [4096]byte
}

func newRawClient(tb testing.TB, addr string) *rawClient {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		tb.Error(err)
		return nil
	}
	tb.Cleanup(func() { c.Close() })
	return &rawClient{tb: tb, c: c}
}

// do sends a request and returns the body of the reply, which is 200 and begins as wanted; after an error
// nothing, since it may be called from any goroutine.
func (c *rawClient) do(request, begins string) string {
	if _, err := io.WriteString(c.c, request); err != nil {
		c.tb.Error(err)
		return ""
	}
	n := 0
	for {
		k, err := c.c.Read(c.b[n:])
		if err != nil {
			c.tb.Errorf("%v after %q", err, c.b[:n])
			return ""
		}
		n += k
		head, body, whole := strings.Cut(string(c.b[:n]), "\r\n\r\n")
		if !whole {
			continue
		}
		_, length, _ := strings.Cut(head, "Content-Length: ")
		length, _, _ = strings.Cut(length, "\r\n")
		if want, err := strconv.Atoi(length); err != nil || len(body) < want {
			continue
		}
		if !strings.HasPrefix(head, "HTTP/1.1 200 ") || !strings.HasPrefix(body, begins) {
			c.tb.Errorf("%s", c.b[:n])
			return ""
		}
		return body
	}
}
