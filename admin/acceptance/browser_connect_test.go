package acceptance

import "testing"

// Two systems exchange a message within five clicks from the overview, and the page follows it.
func TestBrowserConnect(t *testing.T) {
	browses(t)
	s := newSite(t, true)
	tab := s.profile().signIn()
	clicks := 0
	click := func(selector string) {
		t.Helper()
		clicks++
		tab.follow(selector)
	}
	click("#connect")
	tab.fill("form#connect", "sender", "shop", "receiver", "erp", "topic", "/order/created")
	click("form#connect button:not([type=button])")
	tab.sees("shop and erp are connected", "Waiting for the first fetch…")
	tab.inspect("two systems that are connected")
	click("#test button")
	tab.sees("The test message is")
	password, key := tab.text("#receiver-password"), tab.text("#sub-key")
	if m, status := s.receive("erp", password, "/order/created", key); status != 200 || len(m) != 1 || m[0].Payload != "A test message" {
		t.Fatal(status, m)
	}
	tab.until(`document.querySelector("#awaited").textContent.startsWith("Fetched")`)
	click("#test button")
	if status, _ := s.call("POST", "/zato/pubsub/msg//order/created/?ack=true", "", asClient("erp", password, key)); status != 200 {
		t.Fatal(status)
	}
	tab.until(`document.querySelector("#awaited").textContent.startsWith("It works")`)
	if clicks > 5 {
		t.Errorf("%d clicks", clicks)
	}
	if topic, _ := s.b.Topic("/order/created"); topic.Expiration != 7*24*60*60 {
		t.Errorf("messages expire after %d s", topic.Expiration)
	}
}
