package metrics_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"pipit/broker"
	"pipit/httpapi"
	"pipit/metrics"
)

// BenchmarkScrape scrapes 10,000 topics, each with a consumer for which two messages wait, over HTTP, while another client
// publishes. How long a publish takes beside scrapes, and beside none, is reported, too.
func BenchmarkScrape(b *testing.B) {
	const objects = 10_000
	r := newRig(b, metrics.Options{PerObjectLimit: metrics.DefaultPerObjectLimit})
	r.Read(metrics.Sources{Broker: r.Broker})
	var d broker.Definition
	for i := range objects {
		topic := fmt.Sprint("/orders/of/shop/", i)
		d.Topics = append(d.Topics, broker.Topic{Name: topic})
		d.Consumers = append(d.Consumers, consumer(topic, "erp", fmt.Sprint("k", i)))
	}
	r.define(d)
	var publishers sync.WaitGroup
	for part := range 16 {
		publishers.Go(func() {
			for i := part; i < objects; i += 16 {
				for range 2 {
					if _, err := r.Broker.Publish(context.Background(), d.Topics[i].Name, []byte("x")); err != nil {
						b.Error(err)
						return
					}
				}
			}
		})
	}
	publishers.Wait()
	srv := httptest.NewServer(r.Alone())
	defer srv.Close()
	publish := func(stop <-chan struct{}) (took []time.Duration) {
		for {
			select {
			case <-stop:
				return took
			case <-time.After(time.Millisecond):
				start := time.Now()
				if _, err := r.Broker.Publish(context.Background(), d.Topics[0].Name, []byte("x")); err != nil {
					b.Error(err)
				}
				took = append(took, time.Since(start))
			}
		}
	}
	for _, scraped := range []bool{false, true} {
		b.Run(fmt.Sprintf("scraped=%t", scraped), func(b *testing.B) {
			stop, times := make(chan struct{}), make(chan []time.Duration)
			go func() { times <- publish(stop) }()
			var longest, shortest time.Duration
			size := int64(0)
			for b.Loop() {
				start := time.Now()
				if !scraped {
					time.Sleep(50 * time.Millisecond) // lint:sleep what publishes take beside nothing is what is measured
					continue
				}
				resp, err := http.Get(srv.URL + metrics.Path)
				if err != nil || resp.StatusCode != http.StatusOK {
					b.Fatal(err, resp)
				}
				size, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				took := time.Since(start)
				if longest = max(longest, took); shortest == 0 || took < shortest {
					shortest = took
				}
			}
			close(stop)
			took := <-times
			slices.Sort(took)
			b.ReportMetric(float64(longest.Microseconds())/1000, "longest-ms")
			b.ReportMetric(float64(shortest.Microseconds())/1000, "shortest-ms")
			b.ReportMetric(float64(size), "bytes")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "publish-p99-ms")
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "publish-p50-ms")
		})
	}
}

// BenchmarkAnswered has a request of the wire protocol answered, with what is told of it, and without.
func BenchmarkAnswered(b *testing.B) {
	for _, told := range []bool{false, true} {
		b.Run(fmt.Sprintf("told=%t", told), func(b *testing.B) {
			r := newRig(b, metrics.Options{})
			r.define(broker.Definition{Topics: []broker.Topic{{Name: "/a"}}, Producers: []broker.Producer{{Client: "crm", Topic: "/a"}}, Consumers: []broker.Consumer{consumer("/a", "erp", "k")}})
			o := httpapi.Options{Logger: quiet}
			if told {
				o.Answered = r.Answered
			}
			h := httpapi.New(r.Broker, o)
			b.ReportAllocs()
			for b.Loop() {
				req := httptest.NewRequest("GET", "/health", nil)
				h.ServeHTTP(httptest.NewRecorder(), req)
			}
		})
	}
}
