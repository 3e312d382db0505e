package acceptance

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"pipit/admin"
	"pipit/broker"
)

var screenshots = flag.Bool("screenshots", false, "make the pictures of the documentation anew")

// office is what a small office publishes: topics, with messages per second in the busy hours, who
// publishes, and who receives.
var office = []struct {
	topic     string
	rate      float64
	producer  string
	consumers []string
}{
	{"/customer/created", .4, "crm", []string{"erp", "mail", "reports"}},
	{"/customer/updated", .9, "crm", []string{"erp", "reports"}},
	{"/customer/merged", .05, "crm", []string{"erp"}},
	{"/order/placed", 1.4, "shop", []string{"erp", "warehouse", "mail", "reports"}},
	{"/order/paid", 1.2, "shop", []string{"erp", "billing"}},
	{"/order/cancelled", .1, "shop", []string{"erp", "warehouse", "billing"}},
	{"/order/shipped", 1.1, "warehouse", []string{"shop", "mail", "reports"}},
	{"/order/returned", .15, "warehouse", []string{"erp", "billing"}},
	{"/invoice/created", 1.1, "billing", []string{"erp", "mail", "archive"}},
	{"/invoice/paid", .9, "billing", []string{"erp", "reports"}},
	{"/invoice/reminded", .01, "billing", []string{"mail", "archive"}},
	{"/stock/changed", 2.8, "warehouse", []string{"shop", "erp"}},
	{"/stock/low", .1, "warehouse", []string{"purchasing", "mail"}},
	{"/supplier/ordered", .1, "purchasing", []string{"erp"}},
	{"/supplier/delivered", .1, "purchasing", []string{"warehouse", "billing"}},
	{"/price/changed", .3, "erp", []string{"shop"}},
	{"/product/created", .05, "erp", []string{"shop", "warehouse"}},
	{"/product/updated", .3, "erp", []string{"shop", "warehouse"}},
	{"/payment/received", 1, "bank", []string{"billing"}},
	{"/payment/failed", .05, "bank", []string{"billing", "mail"}},
	{"/mail/bounced", .05, "mail", []string{"crm"}},
	{"/parcel/scanned", 2.2, "courier", []string{"warehouse", "shop"}},
	{"/parcel/lost", .01, "courier", []string{"warehouse"}},
	{"/document/archived", 1, "archive", []string{"reports"}},
}

// Who is missed where: one is away for a while, the other was never there.
const (
	awayClient, awayTopic   = "reports", "/invoice/paid"
	neverClient, neverTopic = "archive", "/invoice/reminded"
)

func officeKey(client, topic string) string {
	return "K-" + client + strings.ReplaceAll(topic, "/", "-")
}

// TestScreenshots makes the pictures of the documentation, with -screenshots.
func TestScreenshots(t *testing.T) {
	if !*screenshots {
		t.Skip("-screenshots makes the pictures of the documentation anew")
	}
	browses(t)
	s := newSite(t, true)
	def := broker.Definition{}
	for _, o := range office {
		def.Topics = append(def.Topics, broker.Topic{Name: o.topic, MaxDepth: 100_000, Expiration: 7 * 86400, DedupWindow: 5 * time.Minute})
		def.Producers = append(def.Producers, broker.Producer{Client: o.producer, Topic: o.topic})
		for _, c := range append(o.consumers, o.producer) {
			if !slices.ContainsFunc(def.Clients, func(x broker.Client) bool { return x.Username == c }) {
				def.Clients = append(def.Clients, broker.Client{Username: c, Name: map[string]string{"crm": "CRM", "erp": "ERP"}[c], Password: "secret"})
			}
		}
		for _, c := range o.consumers {
			def.Consumers = append(def.Consumers, broker.Consumer{Client: c, Topic: o.topic, SubKey: officeKey(c, o.topic), MaxDepth: 50_000, MaxInFlight: 5000, AckTimeout: time.Minute})
		}
	}
	s.define(def)
	s.traffic()
	for _, c := range s.b.Consumers() {
		if c.Client == awayClient && c.Topic == awayTopic { // nearly full
			c.MaxDepth = c.Backlog * 100 / 86
			s.define(broker.Definition{Consumers: []broker.Consumer{c.Consumer}})
		}
	}

	tab := s.profile().signIn()
	shoot := func(name, path string, width, height int64) {
		t.Helper()
		tab.do(chromedp.EmulateViewport(width, height, chromedp.EmulateScale(2)))
		tab.ok(path)
		if path == "/admin/" {
			tab.until(`document.querySelector("#live").textContent === "Live"`)
		}
		tab.until(`[...document.querySelectorAll(".chart .plot")].every(p => p.querySelector("canvas"))`)
		tab.picture(name)
	}
	shoot("overview", "/admin/", 1280, 900)
	shoot("topic", "/admin/topics/%2Forder%2Fplaced", 1280, 900)
	shoot("phone", "/admin/", 390, 844)
	tab.scheme("dark")
	shoot("topics", "/admin/topics", 1280, 900)
	tab.scheme("light")

	var consumer uint32
	for _, c := range s.b.Consumers() {
		if c.Client == "warehouse" && c.Topic == "/order/placed" {
			consumer = c.ID
		}
	}
	id := s.publish("/order/placed", `{"order": "2026-018342", "placed": "2026-11-24T09:14:07Z", "customer": {"id": 40817, "name": "Zoë Lindqvist", "city": "Malmö"}, "lines": [{"product": "A-1007", "quantity": 2, "price": "14.50"}, {"product": "C-2210", "quantity": 1, "price": "129.00"}], "total": "158.00", "currency": "EUR", "express": true}`,
		broker.WithMIMEType("application/json"), broker.WithPriority(8), broker.WithProducer("Web shop"))
	s.receive("warehouse", "secret", "/order/placed", officeKey("warehouse", "/order/placed"))
	if m, _ := s.receive("erp", "secret", "/order/placed", officeKey("erp", "/order/placed")); len(m) != 1 {
		t.Fatalf("received %v", m)
	}
	s.call("DELETE", "/zato/pubsub/msg/"+id+"/?ack=true", "", asClient("erp", "secret", officeKey("erp", "/order/placed")))
	shoot("consumer", consumerPage(consumer), 1280, 900)
	shoot("message", "/admin/messages/%2Forder%2Fplaced/"+id, 1280, 900)
	tab = newSite(t, true, func(o *admin.Options) { o.Cluster = threeNodes() }).profile().signIn()
	shoot("cluster", "/admin/system/cluster", 1280, 560)
}

// traffic publishes and receives what a day brings, the last hour in more detail.
func (s *site) traffic() {
	s.Helper()
	now := time.Now()
	start := now.Add(-24 * time.Hour)
	sample := sampling(s.a, start)
	type queue struct {
		broker.Subscription
		flying []string // received, not acknowledged
		away   bool
	}
	type line struct {
		broker.Publisher
		rate, owed float64 // messages per second; not published yet
		queues     []*queue
	}
	fail := func(err error) {
		if err != nil {
			s.Fatal(err)
		}
	}
	clients := map[string]*broker.Client{}
	client := func(name string) *broker.Client {
		if clients[name] == nil {
			c, err := s.b.Authenticate(s.Context(), name, "secret", "127.0.0.1")
			fail(err)
			clients[name] = c
		}
		return clients[name]
	}
	var lines []*line
	for _, o := range office {
		p, err := s.b.Publisher(client(o.producer), o.topic)
		fail(err)
		l := &line{Publisher: p, rate: o.rate}
		for _, c := range o.consumers {
			if c == neverClient && o.topic == neverTopic {
				continue
			}
			sub, err := s.b.Subscription(client(c), o.topic, officeKey(c, o.topic))
			fail(err)
			l.queues = append(l.queues, &queue{Subscription: sub, away: c == awayClient && o.topic == awayTopic})
		}
		lines = append(lines, l)
	}
	random := rand.New(rand.NewPCG(1, 2))
	last := start
	for at := start.Add(10 * time.Second); !at.After(now); at = at.Add(10 * time.Second) {
		ago, seconds := now.Sub(at), at.Sub(last).Seconds()
		coarse := ago > 70*time.Minute
		if coarse && seconds < 300 {
			sample(at)
			continue
		}
		last = at
		hour := 10.5 - ago.Hours() // whenever the pictures are made, the day is at its busiest
		busy := .06 + math.Exp(-math.Pow(hour-10.5, 2)/7) + .8*math.Exp(-math.Pow(hour+9, 2)/5) + .08*math.Sin(20*hour)
		for _, l := range lines {
			l.owed += l.rate * max(0, busy) * seconds * (.7 + .6*random.Float64())
			if n := int(l.owed); n > 0 {
				l.owed -= float64(n)
				batch := make([]broker.Publication, n)
				for i := range batch {
					batch[i].Payload = fmt.Appendf(nil, `{"id": %d}`, random.IntN(100_000))
				}
				_, err := l.PublishBatch(batch)
				fail(err)
			}
			for _, q := range l.queues {
				if q.away && ago < 40*time.Minute || !coarse && random.IntN(10) == 0 {
					continue // later
				}
				if len(q.flying) > 0 {
					_, err := q.Settle(broker.Settlement{Ack: q.flying})
					fail(err)
					q.flying = nil
				}
				for {
					m, err := q.Receive(s.Context(), broker.ReceiveOptions{Max: 1000, Ack: coarse})
					fail(err)
					if len(m) == 0 {
						break
					}
					for i := range m {
						if !coarse {
							q.flying = append(q.flying, m[i].ID)
						}
					}
				}
			}
		}
		sample(at)
	}
}

// picture writes what the tab shows to the pictures of the documentation, in few colours.
func (t *tab) picture(name string) {
	t.Helper()
	var shot []byte
	t.do(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		res, err := cdp.Call(ctx, target, page.CaptureScreenshot, page.CaptureScreenshotParams{Format: page.CaptureScreenshotFormatPng})
		shot = res.Data
		return err
	}))
	full, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	if err := encoder.Encode(&out, fewColours(full)); err != nil {
		t.Fatal(err)
	}
	const most = 150 << 10
	if out.Len() > most {
		t.Errorf("%s.png has %d bytes, at most %d are wanted", name, out.Len(), most)
	}
	folder := filepath.Join("..", "..", "docs", "screenshots")
	if err := os.MkdirAll(folder, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, name+".png"), out.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
}

// fewColours is a picture in its most frequent colours.
func fewColours(full image.Image) *image.Paletted {
	const most = 64
	bounds := full.Bounds()
	counts := map[color.RGBA]int{}
	at := func(x, y int) color.RGBA { return color.RGBAModel.Convert(full.At(x, y)).(color.RGBA) }
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			counts[at(x, y)]++
		}
	}
	frequent := make([]color.RGBA, 0, len(counts))
	for c := range counts {
		frequent = append(frequent, c)
	}
	slices.SortFunc(frequent, func(x, y color.RGBA) int { return cmp.Compare(counts[y], counts[x]) })
	var palette color.Palette
	for _, c := range frequent[:min(len(frequent), most)] {
		palette = append(palette, c)
	}
	nearest := map[color.RGBA]uint8{}
	few := image.NewPaletted(bounds, palette)
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			c := at(x, y)
			i, known := nearest[c]
			if !known {
				i = uint8(palette.Index(c))
				nearest[c] = i
			}
			few.SetColorIndex(x, y, i)
		}
	}
	return few
}
