package acceptance

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"

	"pipit/admin/alert"
	"pipit/admin/text"
	"pipit/broker"
	"pipit/broker/property"
)

var golden = flag.Bool("golden", false, "write the main pages to testdata/golden anew")

// masks are what differs from one run to the next, or from one machine to another.
var masks = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`(name="revision" value=")[^"]+`), "${1}REVISION"},
	{regexp.MustCompile(`(/sessions/)[0-9a-f]{16}`), "${1}SESSION"},
	{regexp.MustCompile(`(/admin/assets/)[^/"]+/`), "${1}HASH/"},
	{regexp.MustCompile(`[0-9]+(?:\.[0-9])? (?:bytes|KiB|MiB|GiB)`), "SIZE"},
}

// TestGoldenPages shows what a change makes of the main pages: go -C admin/acceptance test . -run TestGoldenPages -golden writes
// them anew, for git diff.
func TestGoldenPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, true)
		defer w.close()
		w.publish(watchedTopic, 1, broker.WithID("invoice-17"), broker.WithProducer("CRM"))
		w.define(broker.Definition{Webhooks: []broker.Webhook{{Name: "shop", Topic: watchedTopic, Client: "crm", Verify: broker.VerifyShopify,
			Secret: property.TextsOf("a long secret of it"), Algorithm: "sha256", Encoding: "hex", Headers: property.TextsOf("X-Shopify-Topic", "X-Shopify-Shop-Domain")}}})
		w.define(broker.Definition{Consumers: []broker.Consumer{{Client: "erp", Topic: watchedTopic, Name: "sent", New: true,
			DeliveryMode: broker.DeliveryCallback, CallbackURL: "https://erp.example.com/hooks"}}})
		sent := fmt.Sprint("/admin/consumers/", w.b.Consumers()[1].ID)
		alertNobody(t, w.a.Alerts)
		w.a.Web.Cluster = threeNodes()
		cookie := w.signedIn()
		producer, consumer := fmt.Sprint("/admin/producers/", w.b.Producers()[0].ID), fmt.Sprint("/admin/consumers/", w.consumer.ID)
		for name, path := range map[string]string{
			"login": "/admin/login", "overview": "/admin/", "topics": "/admin/topics", "topic": "/admin/topics/" + text.Segment(watchedTopic),
			"topic_new": "/admin/topics?new=1", "topic_edit": "/admin/topics/" + text.Segment(watchedTopic) + "/edit",
			"topic_delete": "/admin/topics/" + text.Segment(watchedTopic) + "/delete", "publish": "/admin/topics/" + text.Segment(watchedTopic) + "/publish",
			"clients": "/admin/clients", "client": "/admin/clients/crm", "client_new": "/admin/clients?new=1", "client_edit": "/admin/clients/crm/edit",
			"producers": "/admin/producers", "producer": producer, "producer_new": "/admin/producers?new=1",
			"producer_edit": producer + "/edit",
			"consumers":     "/admin/consumers", "consumer": consumer, "consumer_new": "/admin/consumers?new=1",
			"consumer_edit": consumer + "/edit", "consumer_sent": sent, "replay": consumer + "/replay?to=oldest", "consumer_delete": consumer + "/delete",
			"webhooks": "/admin/webhooks", "webhook": "/admin/webhooks/shop", "webhook_new": "/admin/webhooks?new=1",
			"webhook_edit": "/admin/webhooks/shop/edit", "webhook_delete": "/admin/webhooks/shop/delete",
			"messages": "/admin/messages?topic=" + watchedTopic, "message": "/admin/messages/" + text.Segment(watchedTopic) + "/invoice-17",
			"access": "/admin/system/access", "audit": "/admin/system/audit", "backups": "/admin/system/backups", "alerts": "/admin/alerts", "cluster": "/admin/system/cluster", "not_found": "/admin/topics/nothing",
		} {
			change := []tweak{asBrowser}
			if name != "login" {
				change = append(change, withCookie(cookie))
			}
			a := w.call("GET", path, "", change...)
			if a.status != http.StatusOK && name != "not_found" {
				t.Errorf("%s: %d", path, a.status)
			}
			if name != "overview" && name != "login" { // what is around is that of the overview
				_, a.body, _ = strings.Cut(a.body, "<main")
			}
			compareGolden(t, name, a.body)
		}
	})
}

// alertNobody has alerts go to who cannot be reached, a test among them.
func alertNobody(t *testing.T, s *alert.Service) {
	t.Helper()
	if err := s.Adjust(alert.Options{
		URL: "https://hooks.example.com/s3cret", SMTP: "smtp://mail.example.com", From: "pipit@example.com", To: []string{"ops@example.com"},
		Dial: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no route to host") },
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Test(t.Context()); err != nil {
		t.Fatal(err)
	}
	synctest.Wait() // for the first look
}

func compareGolden(t *testing.T, name, page string) {
	t.Helper()
	for _, m := range masks {
		page = m.pattern.ReplaceAllString(page, m.with)
	}
	file := filepath.Join("testdata", "golden", name+".html")
	if *golden {
		if err := os.WriteFile(file, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	was, is := strings.Split(string(want), "\n"), strings.Split(page, "\n")
	for i := range max(len(was), len(is)) {
		if i >= len(was) || i >= len(is) || was[i] != is[i] {
			t.Errorf("%s, line %d: was\n%s\nand is\n%s", file, i+1, strings.Join(was[min(i, len(was)):min(i+3, len(was))], "\n"), strings.Join(is[min(i, len(is)):min(i+3, len(is))], "\n"))
			return
		}
	}
}
