package acceptance

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"pipit/broker"
	"pipit/broker/login"
)

// What BenchmarkPages puts into a file.
const (
	manyTopics    = 10_000
	manyConsumers = 10_000 // of them busyConsumers on one topic
	manyClients   = 1000
	manyMessages  = 1_000_000 // half of them in that topic
	busyConsumers = 1000
	busyTopic     = "/busy"
)

// BenchmarkPages measures what a page takes, from the request to the last byte of the reply over
// HTTP, with 10,000 topics, 10,000 consumers and 1,000,000 messages of 100 bytes. It
// reports the worst as well. The aim is 100 ms for each.
func BenchmarkPages(b *testing.B) {
	s := newSite(b, true)
	many := manySite(b, s)
	client := signedIn(b, s)
	for _, page := range many {
		b.Run(page.name, func(b *testing.B) {
			var worst time.Duration
			for b.Loop() {
				start := time.Now()
				res, err := client.Get(s.url + page.path)
				if err != nil {
					b.Fatal(err)
				}
				_, err = io.Copy(io.Discard, res.Body)
				res.Body.Close()
				if err != nil || res.StatusCode != http.StatusOK {
					b.Fatalf("%s: status %d, %v", page.path, res.StatusCode, err)
				}
				worst = max(worst, time.Since(start))
			}
			b.ReportMetric(float64(b.Elapsed())/float64(b.N)/1e6, "ms/page")
			b.ReportMetric(float64(worst)/1e6, "worst-ms")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// namedPage is a page to measure.
type namedPage struct{ name, path string }

// manySite fills a site, and returns a page of each kind.
func manySite(b *testing.B, s *site) []namedPage {
	b.Helper()
	def := broker.Definition{Topics: []broker.Topic{{Name: busyTopic, MaxDepth: 10_000_000, Expiration: 86400, DedupWindow: time.Minute}}}
	topic := func(i int) string { return fmt.Sprintf("/topic/%05d/happened", i) }
	hash, err := login.HashPassword("secret")
	if err != nil {
		b.Fatal(err)
	}
	for i := range manyClients {
		def.Clients = append(def.Clients, broker.Client{Username: fmt.Sprintf("client-%04d", i), PasswordHash: hash})
	}
	consumer := func(client int, topic string) {
		username := def.Clients[client%manyClients].Username
		def.Consumers = append(def.Consumers, broker.Consumer{Client: username, Topic: topic, SubKey: fmt.Sprintf("key-%d", len(def.Consumers)),
			MaxDepth: 10_000_000, MaxInFlight: 10_000, AckTimeout: time.Minute})
	}
	for i := range busyConsumers {
		consumer(i, busyTopic)
	}
	def.Producers = append(def.Producers, broker.Producer{Client: def.Clients[0].Username, Topic: busyTopic})
	for i := range manyTopics - 1 {
		def.Topics = append(def.Topics, broker.Topic{Name: topic(i), MaxDepth: 1_000_000, Expiration: 86400, DedupWindow: time.Minute})
		def.Producers = append(def.Producers, broker.Producer{Client: def.Clients[0].Username, Topic: topic(i)})
		if len(def.Consumers) < manyConsumers {
			consumer(i, topic(i))
		}
	}
	s.define(def)

	who, err := s.b.Authenticate(b.Context(), def.Clients[0].Username, "secret", "127.0.0.1")
	if err != nil {
		b.Fatal(err)
	}
	publish := func(topic string, n int) (id string) {
		p, err := s.b.Publisher(who, topic)
		if err != nil {
			b.Fatal(err)
		}
		batch := make([]broker.Publication, n)
		for i := range batch {
			batch[i].Payload = fmt.Appendf(nil, "%0100d", i)
		}
		made, err := p.PublishBatch(batch)
		if err != nil {
			b.Fatal(err)
		}
		return made[n/2].ID
	}
	middle := ""
	const batch, rest = 10_000, manyMessages / 2
	for i := range manyMessages / 2 / batch {
		if id := publish(busyTopic, batch); i == manyMessages/2/batch/2 {
			middle = id
		}
	}
	for i := range manyTopics - 1 {
		publish(topic(i), rest*(i+1)/(manyTopics-1)-rest*i/(manyTopics-1))
	}
	if got := s.b.Totals(); got.Topics != manyTopics || got.Consumers != manyConsumers || got.Depth != manyMessages {
		b.Fatalf("%d topics, %d consumers, %d messages", got.Topics, got.Consumers, got.Depth)
	}

	busy := url.PathEscape(busyTopic)
	of := s.b.Consumers()[busyConsumers/2]
	if of.Topic != busyTopic {
		b.Fatal("not a consumer of the busy topic")
	}
	return []namedPage{
		{"overview", "/admin/"},
		{"history", "/admin/history?range=hour"},
		{"search", "/admin/search?q=999"},
		{"topics", "/admin/topics"},
		{"topics-inactive", "/admin/topics?part=inactive"},
		{"topics-last-page", "/admin/topics?page=200"},
		{"topics-by-depth", "/admin/topics?sort=depth&desc=1"},
		{"api-topics-by-depth", "/admin/api/v1/topics?sort=depth&limit=100"},
		{"api-consumers-by-backlog", "/admin/api/v1/consumers?sort=backlog&limit=100"},
		{"topics-search", "/admin/topics?search=999"},
		{"topics-none-found", "/admin/topics?search=nowhere"},
		{"topic", "/admin/topics/" + busy},
		{"topic-new", "/admin/topics?new=1"},
		{"topic-edit", "/admin/topics/" + busy + "/edit"},
		{"topic-delete", "/admin/topics/" + busy + "/delete"},
		{"publish", "/admin/topics/" + busy + "/publish"},
		{"clients", "/admin/clients"},
		{"clients-by-name", "/admin/clients?sort=name"},
		{"client", "/admin/clients/client-0000"},
		{"client-delete", "/admin/clients/client-0000/delete"},
		{"producers", "/admin/producers?sort=last_seen&desc=1"},
		{"producer", fmt.Sprint("/admin/producers/", s.b.Producers()[0].ID)},
		{"producer-new", "/admin/producers?new=1"},
		{"consumers", "/admin/consumers"},
		{"consumers-away", "/admin/consumers?part=away"},
		{"consumers-by-backlog", "/admin/consumers?sort=backlog&desc=1"},
		{"consumers-of-topic", "/admin/consumers?topic=" + url.QueryEscape(busyTopic)},
		{"consumers-search", "/admin/consumers?search=client-0999"},
		{"consumer", consumerPage(of.ID)},
		{"consumer-new", "/admin/consumers?new=1"},
		{"consumer-delete", consumerPage(of.ID) + "/delete"},
		{"messages", "/admin/messages"},
		{"messages-of-topic", "/admin/messages?topic=" + url.QueryEscape(busyTopic)},
		{"messages-of-consumer", "/admin/messages?consumer=" + consumerPage(of.ID)[len("/admin/consumers/"):]},
		{"messages-with-text", "/admin/messages?topic=" + url.QueryEscape(busyTopic) + "&text=nowhere"},
		{"messages-in-flight", "/admin/messages?topic=" + url.QueryEscape(busyTopic) + "&state=in_flight"},
		{"messages-delayed", "/admin/messages?topic=" + url.QueryEscape(busyTopic) + "&state=delayed"},
		{"messages-until", "/admin/messages?topic=" + url.QueryEscape(busyTopic) + "&until=2020-01-01T00:00"},
		{"messages-since", "/admin/messages?topic=" + url.QueryEscape(busyTopic) + "&since=2100-01-01T00:00"},
		{"message", "/admin/messages/" + busy + "/" + middle},
		{"message-publish", "/admin/messages/" + busy + "/" + middle + "/publish"},
		{"system", "/admin/system"},
		{"access", "/admin/system/access"},
		{"audit", "/admin/system/audit"},
		{"administrator", "/admin/system/administrators/ada"},
	}
}

// signedIn is a client of HTTP with a session.
func signedIn(b *testing.B, s *site) *http.Client {
	b.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		b.Fatal(err)
	}
	client := &http.Client{Jar: jar}
	res, err := client.PostForm(s.url+"/admin/login", url.Values{"name": {adaName}, "password": {adaPassword}})
	if err != nil {
		b.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK || strings.HasPrefix(res.Request.URL.Path, "/admin/login") {
		b.Fatalf("signing in: %d", res.StatusCode)
	}
	return client
}
