package broker_test

import (
	"fmt"
	"testing"
	"time"

	"pipit/broker"
	"pipit/broker/property"
)

// fillFiltered publishes n small messages to a topic, 1,000 a time. Every so many has the attribute that the filters of these
// benchmarks let through.
func (r *rig) fillFiltered(topic string, n, every int) {
	r.t.Helper()
	p, err := r.Publisher(r.crm, topic)
	if err != nil {
		r.t.Fatal(err)
	}
	pubs := make([]broker.Publication, 1000)
	for i := range pubs {
		pubs[i].Payload = []byte("x")
		if i%every == 0 {
			pubs[i].Attributes = []broker.Attribute{{Name: "country", Value: "LV"}}
		}
	}
	for range n / len(pubs) {
		if _, err := p.PublishBatch(pubs); err != nil {
			r.t.Fatal(err)
		}
	}
}

// BenchmarkFiltered publishes 1,000 messages to a consumer that has them all and one whose filter lets one of them through,
// which receives and acknowledges it; the baseline has that consumer without a filter, and receives that one alone.
func BenchmarkFiltered(b *testing.B) {
	for name, filter := range map[string]string{"none": "", "1 in 1000": `country = "LV"`} {
		b.Run(name, func(b *testing.B) {
			r := newRig(b, broker.Options{})
			topic, c, all := topicDef("/t"), filtered("lv", filter), consumerDef("/t", "all")
			topic.MaxDepth, c.MaxDepth, all.MaxDepth = 100_000_000, 100_000_000, 100_000_000
			r.define(topic, c, all)
			s := r.sub("/t", "lv")
			for b.Loop() {
				r.fillFiltered("/t", 1000, 1000)
				msgs, err := s.Receive(ctx, broker.ReceiveOptions{Max: 1, Ack: true})
				if err != nil || len(msgs) != 1 {
					b.Fatal(len(msgs), err)
				}
			}
			b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "messages/s")
		})
	}
}

// BenchmarkPublishPatterns publishes one after another beside so many consumers of patterns that do not match.
func BenchmarkPublishPatterns(b *testing.B) {
	for _, n := range []int{0, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r := newRig(b, broker.Options{})
			r.define(topicDef("/t"), consumerDef("/t", "a"))
			var d broker.Definition
			for i := range n {
				d.Consumers = append(d.Consumers, consumerDef(fmt.Sprintf("/other/%d/*", i), fmt.Sprint("k", i)))
			}
			r.change(broker.Change{Define: d})
			p, err := r.Publisher(r.crm, "/t")
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Publish(text("x")); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkReceivePattern receives 100 messages a time, from as many of the topics as there can be, of a consumer of so
// many topics.
func BenchmarkReceivePattern(b *testing.B) {
	for _, n := range []int{1, 100, 1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r := newRig(b, broker.Options{})
			var names []string
			for i := range n {
				names = append(names, fmt.Sprint("/a/", i))
			}
			r.definePattern(consumerDef("/a/*", "k"), names...)
			for i := range 100 {
				r.publish(names[i*n/100], text("x"))
			}
			s := r.sub("/a/*", "k")
			b.ReportAllocs()
			for b.Loop() {
				msgs, err := s.Receive(ctx, broker.ReceiveOptions{})
				if err != nil || len(msgs) != 100 {
					b.Fatal(len(msgs), err)
				}
				s.Release(msgs)
			}
		})
	}
}

// BenchmarkSeek seeks a consumer that is done with 1,000,000 retained messages: to the oldest, to one in the middle, from
// where on all have to be counted, and with a filter that lets 1 in 1,000 through. Meanwhile another client publishes, one
// message every millisecond: the longest that one took is reported, too, for comparison also where nobody seeks.
func BenchmarkSeek(b *testing.B) {
	const retained = 1_000_000
	r := newRig(b, broker.Options{})
	topic := topicDef("/t")
	topic.Retention, topic.Expiration, topic.MaxDepth = time.Hour, property.Off, 100_000_000
	c, f := consumerDef("/t", "all"), filtered("lv", `country = "LV"`)
	c.MaxDepth, f.MaxDepth = 100_000_000, 100_000_000
	r.define(topic, c, f)
	r.fillFiltered("/t", retained/2, 1000)
	middle := r.publish("/t", text("middle"))
	r.fillFiltered("/t", retained/2, 1000)
	r.define(topicDef("/other"), consumerDef("/other", "other"))
	other, err := r.Publisher(r.crm, "/other")
	if err != nil {
		b.Fatal(err)
	}
	for _, x := range []struct {
		name, key string
		to        broker.Seek
		want      int64
	}{
		{"nothing", "all", broker.Seek{}, 0},
		{"oldest", "all", broker.Seek{Oldest: true}, retained + 1},
		{"middle", "all", broker.Seek{MessageID: middle}, retained/2 + 1},
		{"filtered", "lv", broker.Seek{Oldest: true}, retained / 1000},
	} {
		b.Run(x.name, func(b *testing.B) {
			s := r.sub("/t", x.key)
			stop, longest := make(chan struct{}), make(chan time.Duration)
			go func() {
				var most time.Duration
				tick := time.NewTicker(time.Millisecond)
				defer tick.Stop()
				for {
					select {
					case <-stop:
						longest <- most
						return
					case <-tick.C:
						start := time.Now()
						if _, err := other.Publish(text("x")); err != nil {
							b.Error(err)
						}
						most = max(most, time.Since(start))
					}
				}
			}()
			for b.Loop() {
				if x.want == 0 {
					time.Sleep(10 * time.Millisecond) // lint:sleep a benchmark of what others take while nothing is sought
					continue
				}
				if _, err := s.Seek(ctx, broker.Seek{Newest: true}); err != nil {
					b.Fatal(err)
				}
				if n, err := s.Seek(ctx, x.to); err != nil || n != x.want {
					b.Fatal(n, err)
				}
			}
			close(stop)
			b.ReportMetric(float64((<-longest).Microseconds())/1000, "ms/longest-publish")
		})
	}
}
