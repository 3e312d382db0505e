package acceptance

import (
	"testing"

	"pipit/broker"
	"pipit/broker/property"
)

// TestBrowserPattern: from a consumer of a pattern to the fullest of its topics, which a producer of a pattern publishes to;
// and the headers of its calls are taken away.
func TestBrowserPattern(t *testing.T) {
	browses(t)
	s := newSite(t, true)
	s.define(broker.Definition{
		Clients:   []broker.Client{{Username: "crm", Name: "CRM", Password: "p"}},
		Topics:    []broker.Topic{{Name: "/order/paid"}, {Name: "/order/sent"}},
		Producers: []broker.Producer{{Client: "crm", Topic: "/order/**"}},
		Consumers: []broker.Consumer{{Client: "crm", Topic: "/order/*", Inactive: true, DeliveryMode: broker.DeliveryCallback, CallbackURL: "http://127.0.0.1/",
			CallbackHeaders: property.TableOf(map[string]string{"Authorization": "Bearer 5d1f"})}},
	})
	s.publish("/order/sent", "x")
	tab := s.profile().signIn()
	page := consumerPage(s.b.Consumers()[0].ID)
	tab.ok(page)
	tab.inspect("a consumer of a pattern")
	tab.follow("#queues tbody a")
	tab.at("/admin/topics/%2Forder%2Fsent")
	tab.sees("crm may publish here", "/zato/pubsub/topic//order/sent/")
	before := s.b.Consumers()[0]
	tab.ok(page + "/edit")
	tab.fill("#consumer", "callback_headers_unset", "on", "callback_secret_unset", "on")
	tab.save("#consumer")
	if c := s.b.Consumers()[0]; !c.CallbackHeaders.IsZero() || c.CallbackSecret == "" || c.CallbackSecret == before.CallbackSecret {
		t.Errorf("saved: %+v", c.Consumer)
	}
}
