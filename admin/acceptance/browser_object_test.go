package acceptance

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pipit/broker"
	"pipit/broker/limit"
	"pipit/broker/property"
)

func TestBrowserTopic(t *testing.T) {
	browses(t)
	s := newSite(t, true)
	tab := s.profile().signIn()
	tab.follow("#nav-topics")
	tab.sees("No topics yet")
	tab.follow("#new")
	tab.fill("#topic", "name", "/orders/", "max_depth", "500")
	if status := tab.send("#topic"); status != http.StatusUnprocessableEntity {
		t.Fatalf("a name that ends with a slash: status %d", status)
	}
	tab.until(`document.activeElement.matches("#topic-name[aria-invalid]")`)          // a browser does it with its next frame
	tab.fill("#topic", "name", "/orders", "expiration", "120", "dedup_window", "90s") // the rest is kept
	tab.save("#topic")
	tab.at("/admin/topics/%2Forders")
	tab.sees("The topic was created", "of 500", "2m", "1m30s")

	tab.follow("#edit")
	tab.fill("#topic", "is_active", "off", "max_depth", "600")
	tab.save("#topic")
	tab.sees("The topic was saved", "The topic is inactive", "of 600")
	topic, _ := s.b.Topic("/orders")
	if want := (broker.Topic{Name: "/orders", Inactive: true, MaxDepth: 600, Expiration: 120, DedupWindow: 90 * time.Second, Retention: property.Off, RetentionBytes: property.Off, MaxTopics: limit.DefaultMaxTopics}); topic.Topic != want {
		t.Errorf("stored %+v", topic.Topic)
	}

	tab.follow("#delete")
	tab.fill("#delete", "confirm", "/order")
	if !tab.exists("#delete button:disabled") {
		t.Error("the button does not wait for the name")
	}
	tab.fill("#delete", "confirm", "/orders")
	tab.save("#delete")
	tab.sees("The topic /orders was deleted", "No topics yet")
	tab.inspect("a deletion that can be taken back")
	tab.follow("#undo button")
	tab.at("/admin/topics/%2Forders")
	tab.sees("The topic /orders is back as it was defined, without the messages")
}

func TestBrowserClient(t *testing.T) {
	browses(t)
	s := newSite(t, true)
	tab := s.profile().signIn()
	login := func(password string) int {
		status, _ := s.call("POST", "/zato/pubsub/topic//nowhere/", "x", asClient("crm", password, ""))
		return status
	}
	tab.follow("#nav-clients")
	tab.sees("No clients yet")
	tab.follow("#new")
	tab.fill("#client", "username", "crm", "name", "The CRM")
	tab.save("#client")
	tab.sees("This is shown for ten minutes")
	password := tab.text("#password")
	if status := login(password); status != http.StatusForbidden { // in, but there is no such topic
		t.Errorf("with the password that was made: %d", status)
	}
	tab.follow("#on")
	tab.at("/admin/clients/crm")
	tab.sees("The CRM")
	tab.seesNot(password)

	tab.follow("#edit")
	tab.fill("#client", "password", "another password")
	tab.save("#client")
	tab.sees("The client was saved")
	if old, now := login(password), login("another password"); old != http.StatusUnauthorized || now != http.StatusForbidden {
		t.Errorf("with the old password %d, with the new one %d", old, now)
	}
	tab.follow("#edit")
	tab.fill("#client", "is_active", "off")
	tab.save("#client")
	tab.sees("The client is inactive")
	if status := login("another password"); status != http.StatusUnauthorized {
		t.Errorf("as an inactive client: %d", status)
	}

	tab.follow("#delete")
	tab.fill("#delete", "confirm", "crm")
	tab.save("#delete")
	tab.sees("The client crm was deleted", "No clients yet")
}

func TestBrowserProducer(t *testing.T) {
	browses(t)
	s := newSite(t, true)
	s.example()
	tab := s.profile().signIn()
	publish := func() int {
		status, _ := s.call("POST", "/zato/pubsub/topic//orders/", "x", asClient("erp", "p2", ""))
		return status
	}
	if status := publish(); status != http.StatusForbidden {
		t.Fatalf("without a producer: %d", status)
	}
	tab.ok("/admin/topics/%2Forders")
	tab.unfold("#add-producer")
	tab.fill("#add-producer", "client", "nobody")
	if status := tab.send("#add-producer"); status != http.StatusUnprocessableEntity {
		t.Errorf("a client that is not there: status %d", status)
	}
	tab.fill("#producer", "client", "erp")
	tab.save("#producer")
	if status := publish(); status != http.StatusOK {
		t.Errorf("as a producer: %d", status)
	}
	tab.ok("/admin/producers?client=erp")
	tab.follow("#producers tbody a")
	tab.sees("erp", "/orders", "in all")
	tab.follow("#edit")
	tab.fill("#producer", "is_active", "off")
	tab.save("#producer")
	tab.sees("The producer is inactive")
	if status := publish(); status != http.StatusForbidden {
		t.Errorf("as an inactive producer: %d", status)
	}
	tab.follow("#delete")
	tab.save("#delete")
	tab.sees("was deleted")
	if n := len(s.b.Producers()); n != 1 {
		t.Errorf("%d producers are left", n)
	}
}

func TestBrowserConsumer(t *testing.T) {
	browses(t)
	s := newSite(t, true)
	s.example()
	tab := s.profile().signIn()
	tab.ok("/admin/clients/crm")
	tab.unfold("#add-consumer")
	tab.fill("#add-consumer", "topic", "/orders")
	tab.save("#add-consumer")
	tab.sees("The consumer was created", "crm")
	tab.follow("#delete")
	tab.fill("#delete", "confirm", "/orders")
	tab.save("#delete")
	tab.sees("The consumer crm was deleted")

	tab.follow("#nav-consumers")
	tab.follow("#new")
	tab.fill("#consumer", "client", "crm", "topic", "/orders", "start", "oldest", "max_depth", "5", "max_in_flight", "4", "ack_timeout", "90s")
	tab.save("#consumer")
	page, _, _ := strings.Cut(tab.path(), "?")
	tab.sees("of 5", "of 4", "1m30s", tab.text("#sub-key"))
	tab.ok(page)
	tab.seesNot("sub_key:") // hidden until it is asked for
	s.publish("/orders", "one")
	key := tab.subKey(page)
	if m, status := s.receive("crm", "p1", "/orders", key); status != http.StatusOK || len(m) != 1 {
		t.Fatalf("receiving with the sub_key of the page: %d %v", status, m)
	}

	tab.follow("#edit")
	tab.fill("#consumer", "is_active", "off")
	tab.save("#consumer")
	tab.sees("The consumer is inactive", "The consumer was saved")
	if _, status := s.receive("crm", "p1", "/orders", key); status != http.StatusForbidden {
		t.Errorf("as an inactive consumer: %d", status)
	}
	tab.follow("#edit")
	tab.fill("#consumer", "is_active", "on")
	tab.save("#consumer")

	// Another key: the queue stays, the old key is refused.
	tab.unfold("#rotate")
	tab.fill("#rotate", "overlap", "0s")
	tab.save("#rotate")
	tab.sees("The consumer has a new sub_key")
	if _, status := s.receive("crm", "p1", "/orders", key); status != http.StatusForbidden {
		t.Errorf("with the old sub_key: %d", status)
	}
	tab.unfold("#release")
	tab.save("#release")
	tab.sees("Released, to be delivered next: 1 message")
	m, status := s.receive("crm", "p1", "/orders", tab.subKey(page))
	if status != http.StatusOK || len(m) != 1 || m[0].Deliveries != 2 {
		t.Errorf("with the new sub_key: %d %v", status, m)
	}

	// What is in flight is done with, then the backlog.
	tab.unfold("#clear-in-flight")
	tab.fill("#clear-in-flight", "confirm", "/orders")
	tab.save("#clear-in-flight")
	tab.sees("What was in flight was cleared: 1 message")
	for i := range 3 {
		s.publish("/orders", fmt.Sprint("message ", i))
	}
	tab.ok(page)
	if got := tab.text("#backlog"); got[:1] != "3" {
		t.Errorf("the backlog is %q", got)
	}
	tab.unfold("#clear")
	tab.fill("#clear", "confirm", "/order")
	if !tab.exists("#clear button:disabled") {
		t.Error("the button does not wait for the name")
	}
	tab.fill("#clear", "confirm", "/orders")
	tab.save("#clear")
	tab.sees("The backlog was cleared: 3 messages")
	if m, _ := s.receive("crm", "p1", "/orders", tab.subKey(page)); len(m) != 0 {
		t.Errorf("received after clearing: %v", m)
	}
	if m, _ := s.receive("erp", "p2", "/orders", "key-of-erp"); len(m) != 4 {
		t.Errorf("the other consumer receives %v", m)
	}
	s.sendsTo(tab, page)

	tab.follow("#delete")
	tab.fill("#delete", "confirm", "/orders")
	tab.save("#delete")
	if n := len(s.b.Consumers()); n != 1 {
		t.Errorf("%d consumers are left", n)
	}
}

// sendsTo makes the consumer of a page one that is sent its messages, to a receiver that has no more of them.
func (s *site) sendsTo(tab *tab, page string) {
	s.Helper()
	var closed atomic.Bool
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if closed.Load() {
			w.WriteHeader(http.StatusGone)
		}
		_, _ = io.WriteString(w, "<b>this was answered</b>")
	}))
	s.Cleanup(receiver.Close)
	shows := func() bool { return tab.shows("#consumer-callbacks") }
	tab.follow("#edit")
	if shows() {
		s.Error("who receives is asked how messages shall be sent")
	}
	tab.fill("#consumer", "delivery_mode", "callback-url", "callback_url", "ftp://nowhere")
	if !shows() {
		s.Error("there is no field for the URL")
	}
	if status := tab.send("#consumer"); status != http.StatusUnprocessableEntity || !tab.exists("#consumer-callback_url[aria-invalid]") {
		s.Errorf("a URL of another kind: status %d\n%s", status, tab.text("main"))
	}
	tab.fill("#consumer", "callback_url", receiver.URL)
	tab.save("#consumer")
	tab.sees("Nothing was sent yet", receiver.URL)
	tab.save("#reveal-secret")
	if secret := tab.text("#callback-secret"); !strings.HasPrefix(secret, "whsec_") {
		s.Errorf("the secret of its calls is shown as %q", secret)
	}
	tab.save("#test-call")
	tab.sees("The test call was answered with 200")
	tab.press("#attempts summary")
	tab.sees("<b>this was answered</b>")
	closed.Store(true)
	s.publish("/orders", "nobody wants it")
	tab.until(`document.querySelectorAll("#attempts tbody tr").length === 2 && document.querySelector("#attempts tr:last-child details").open`) // what is read stays
	id, _ := strconv.ParseUint(page[len("/admin/consumers/"):], 10, 32)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(actionTime); ; <-tick.C {
		if c, _ := s.b.Consumer(uint32(id)); c.Callback.Paused != "" {
			break
		}
		if time.Now().After(end) {
			s.Fatal("the consumer is not paused")
		}
	}
	tab.ok(page)
	tab.sees("The consumer is paused", "410 Gone", "make the consumer active")
	tab.save("#test-call")
	tab.sees("The test call failed", "410 Gone")
	if n := eval[int](tab, `() => document.querySelectorAll("#attempts tbody tr").length`); n != 3 {
		s.Errorf("%d calls are shown", n)
	}
}

// subKey asks the page of a consumer for its sub_key.
func (t *tab) subKey(page string) string {
	t.Helper()
	t.ok(page)
	t.save("#reveal")
	return t.text("#sub-key")
}

func TestBrowserConflict(t *testing.T) {
	browses(t)
	s := newSite(t, true)
	s.example()
	mine := s.profile().signIn()
	theirs := s.profile().signIn()
	mine.ok("/admin/topics/%2Forders/edit")
	theirs.ok("/admin/topics/%2Forders/edit")
	theirs.fill("#topic", "max_depth", "600", "dedup_window", "7m")
	theirs.save("#topic")

	mine.fill("#topic", "max_depth", "700", "expiration", "240")
	if status := mine.send("#topic"); status != http.StatusConflict {
		t.Fatalf("status %d", status)
	}
	mine.sees("changed by somebody else", "It is 600 now, by "+adaName)
	mine.seesNot("It is 7m now", "It is 1h now") // they alone, or I alone have changed these
	if topic, _ := s.b.Topic("/orders"); topic.MaxDepth != 600 || topic.Expiration != 3600 {
		t.Errorf("stored %+v", topic.Topic)
	}
	mine.save("#topic")
	mine.sees("The topic was saved", "of 700", "4m")
	if topic, _ := s.b.Topic("/orders"); topic.DedupWindow != 7*time.Minute || topic.Expiration != 240 {
		t.Errorf("merged into %+v", topic.Topic)
	}

	// What was changed meanwhile is not deleted unseen.
	mine.follow("#delete")
	theirs.follow("#edit")
	theirs.fill("#topic", "max_depth", "800")
	theirs.save("#topic")
	mine.fill("#delete", "confirm", "/orders")
	if status := mine.send("#delete"); status != http.StatusConflict {
		t.Fatalf("deleting: status %d", status)
	}
	mine.sees("changed by somebody else")
	if _, ok := s.b.Topic("/orders"); !ok {
		t.Error("it was deleted")
	}
}
