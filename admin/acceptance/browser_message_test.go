package acceptance

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"

	"pipit/broker"
	"pipit/broker/property"
)

func TestBrowserPublish(t *testing.T) {
	browses(t)
	s := newSite(t, true)
	consumer := s.example()
	tab := s.profile().signIn()
	tab.ok("/admin/topics/%2Forders")
	tab.follow("#publish")
	const payload = "{\"id\": 7,\n \"name\": \"Zoë & Söhne\"}"
	tab.fill("form#publish", "payload", payload, "mime_type", "application/json", "priority", "9", "expiration", "600")
	tab.save("form#publish")
	tab.sees("Published as")

	// The message waits for the consumer, and is received with the key that its page shows.
	key := tab.subKey(consumerPage(consumer))
	messages, status := s.receive("erp", "p2", "/orders", key)
	if status != http.StatusOK || len(messages) != 1 || messages[0].Payload != payload {
		t.Fatalf("received %d %v", status, messages)
	}

	// What is refused is told, and what was typed stays.
	tab.ok("/admin/topics/%2Forders/publish")
	tab.fill("form#publish", "payload", "not base64!", "encoding", "base64")
	if status := tab.send("form#publish"); status != http.StatusUnprocessableEntity {
		t.Errorf("bad base64: status %d", status)
	}
	tab.sees("This is not base64")
	tab.fill("form#publish", "payload", "AAEC", "delay", "3600", "msg_id", "mine-1", "attributes", "region")
	if status := tab.send("form#publish"); status != http.StatusUnprocessableEntity || !tab.exists("#publish-attributes[aria-invalid]") {
		t.Errorf("an attribute without a value: status %d", status)
	}
	tab.fill("form#publish", "attributes", "Region=EU\nformula=a=b", "correlation_id", "cart-17", "reply_to", "/answers")
	tab.save("form#publish")
	tab.follow(`a[href$="/mine-1"]`)
	tab.sees("Binary", "delayed", "00 01 02", "region", "EU", "a=b", "cart-17", "/answers")
	tab.follow("#edit")
	if got := eval[string](tab, `() => document.querySelector("#publish-attributes").value`); got != "formula=a=b\nregion=EU\n" {
		t.Errorf("to be published again with the attributes %q", got)
	}
	tab.ok("/admin/messages/%2Forders/mine-1")
	tab.follow("#release")
	tab.sees("The message can be delivered at once")
	if messages, _ = s.receive("erp", "p2", "/orders", key); len(messages) != 1 || messages[0].ID != "mine-1" {
		t.Errorf("received after the release: %v", messages)
	}

	// A file, instead of what is typed.
	file := filepath.Join(t.TempDir(), "order.xml")
	if err := os.WriteFile(file, []byte("<order/>"), 0o600); err != nil {
		t.Fatal(err)
	}
	tab.ok("/admin/topics/%2Forders/publish")
	tab.do(chromedp.SetUploadFiles(chromedp.CSS("#publish-file"), []string{file}))
	tab.save("form#publish")
	if messages, _ = s.receive("erp", "p2", "/orders", key); len(messages) != 1 || messages[0].Payload != "<order/>" {
		t.Errorf("received of the file: %v", messages)
	}
}

func TestBrowserMessages(t *testing.T) {
	browses(t)
	s := newSite(t, true)
	consumer := s.example()
	first := s.publish("/orders", `{"order": 1}`, broker.WithMIMEType("application/json"))
	second := s.publish("/orders", "<order>2</order>", broker.WithMIMEType("application/xml"), broker.WithPriority(8))
	third := s.publish("/orders", "third")
	tab := s.profile().signIn()

	tab.follow("#nav-messages")
	tab.sees("Where messages are", "/orders")
	tab.fill("#find", "topic", "/orders")
	tab.save("#find")
	tab.sees("…"+first[len(first)-8:], "…"+second[len(second)-8:], "…"+third[len(third)-8:], "waiting")
	tab.fill("#find", "text", "order>2")
	tab.save("#find")
	tab.sees("…" + second[len(second)-8:])
	tab.seesNot(first, third)
	tab.ok("/admin/messages?topic=%2Forders&state=in_flight")
	tab.sees("No such message")
	tab.fill("#find", "state", "", "id", first)
	tab.save("#find")
	tab.at("/admin/messages/%2Forders/" + first)
	tab.sees("JSON", `"order": 1`, "application/json", "1 of 1 still need it")
	if got := eval[string](tab, `() => fetch(document.querySelector("#download").href).then(r => r.text())`); got != `{"order": 1}` {
		t.Errorf("downloaded %q", got)
	}

	// In flight, then released.
	if m, _ := s.receive("erp", "p2", "/orders", "key-of-erp"); len(m) != 3 || m[0].ID != second {
		t.Fatalf("received %v", m)
	}
	tab.ok("/admin/messages?consumer=" + consumerPage(consumer)[len("/admin/consumers/"):])
	tab.sees("in flight")
	tab.follow(`a[href*="/` + second + `"]`)
	tab.follow("#standings form button")
	tab.sees("The message can be delivered at once")
	if m, _ := s.receive("erp", "p2", "/orders", "key-of-erp"); len(m) != 1 || m[0].ID != second || m[0].Deliveries != 2 {
		t.Fatalf("received after the release: %v", m)
	}

	// A copy, and another payload.
	tab.follow("#copy")
	tab.sees("This is the new message")
	tab.ok("/admin/messages/%2Forders/" + first)
	tab.follow("#edit")
	tab.fill("form#publish", "payload", `{"order": 100}`)
	tab.save("form#publish")
	tab.sees("This is the new message")
	m, _ := s.receive("erp", "p2", "/orders", "key-of-erp")
	if len(m) != 2 || m[0].Payload != "<order>2</order>" || m[1].Payload != `{"order": 100}` || m[1].ID == first {
		t.Errorf("received %v", m)
	}

	// One is deleted, then all that are chosen.
	tab.ok("/admin/messages/%2Forders/" + first)
	tab.unfold("#delete")
	tab.follow("#delete")
	tab.sees("The message was deleted")
	tab.seesNot(first)
	if tab.shows("#delete-chosen") {
		t.Error("it can be deleted what was not chosen")
	}
	tab.press(`input[aria-label="Select ` + second + `"]`)
	tab.press("#pick-all")
	if !eval[bool](tab, `() => [...document.querySelectorAll("#messages td.pick input")].every(box => box.checked)`) {
		t.Error("not all of the page are chosen")
	}
	tab.press("#pick-all")
	tab.press(`input[aria-label="Select ` + second + `"]`)
	tab.press(`input[aria-label="Select ` + third + `"]`)
	tab.inspect("chosen messages")
	tab.follow("#delete-chosen")
	tab.sees("This deletes 2 messages", second, third)
	tab.inspect("messages to be deleted")
	tab.save("form#act")
	tab.sees("Deleted: 2 messages")
	tab.seesNot(second, third)
	s.deadLetters(tab)
	if status := tab.open("/admin/messages/%2Forders/" + third); status != http.StatusNotFound {
		t.Errorf("a message that was deleted: status %d", status)
	}
}

// deadLetters has messages fail for the consumer erp of /orders, and moves them back: those that are chosen, all, and one.
func (s *site) deadLetters(tab *tab) {
	s.Helper()
	def := s.b.Consumers()[0].Consumer
	def.DeadLetterTopic = "/dead"
	s.define(broker.Definition{Topics: []broker.Topic{{Name: "/dead", Expiration: property.Off}}, Consumers: []broker.Consumer{def}})
	fail := func(want int) {
		s.Helper()
		m, _ := s.receive("erp", "p2", "/orders", "key-of-erp")
		if len(m) != want {
			s.Fatalf("received %v, expected %d", m, want)
		}
		for _, m := range m {
			if status, _ := s.call("DELETE", "/zato/pubsub/msg/"+m.ID+"/?reject=true&dead_letter=true", "", asClient("erp", "p2", "key-of-erp")); status != http.StatusOK {
				s.Fatalf("rejecting for good: status %d", status)
			}
		}
	}
	s.receive("erp", "p2", "/orders", "key-of-erp") // what others have left
	ids := []string{s.publish("/orders", "one"), s.publish("/orders", "two")}
	fail(2)
	tab.ok("/admin/topics/%2Fdead")
	tab.sees("dead letters of a consumer")
	tab.follow("#browse")
	tab.sees("rejected for good", "erp of /orders")
	tab.press(`input[aria-label="Select ` + ids[0] + `"]`)
	tab.follow("#redrive-chosen")
	tab.sees("Moved back: 1 message")
	fail(1)
	tab.ok("/admin/messages?topic=%2Fdead")
	tab.follow("#redrive-all")
	tab.sees("2 dead letters")
	tab.fill("#filter", "consumer", "nobody")
	tab.follow("#filter button")
	tab.sees("There is nothing to move")
	tab.fill("#filter", "consumer", "erp", "reason", "rejected")
	tab.follow("#filter button")
	tab.save("#redrive")
	tab.sees("Moved back: 2 messages")
	fail(2)
	tab.ok("/admin/messages/%2Fdead/" + ids[1])
	tab.inspect("a dead letter")
	tab.sees("Dead letter", "rejected for good", "/orders")
	tab.follow("#redrive")
	tab.sees("Moved back: 1 message")
	fail(1)
}
