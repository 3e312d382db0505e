package acceptance

import (
	"bytes"
	"context"
	"fmt"
	"html"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"pipit/admin"
	"pipit/admin/web/shell"
	"pipit/broker"
	"pipit/broker/browse"
	"pipit/broker/limit"
	"pipit/broker/property"
)

// desk is an administrator at a browser without script, before a real broker over a real file. It
// serves the wire protocol, too.
type desk struct {
	*testing.T
	b      *broker.Broker
	url    string
	client *http.Client
}

func newDesk(t *testing.T, change ...func(*admin.Options)) *desk {
	t.Helper()
	s := newSite(t, true, change...)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{t, s.b, s.url, &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	if res := d.post("/admin/login", "name", adaName, "password", adaPassword); res.status != http.StatusSeeOther {
		t.Fatalf("signing in: %d\n%s", res.status, res.body)
	}
	return d
}

// answer is what came back. location is where it leads to.
type answer struct {
	status   int
	location string
	body     string // from the main part of the page on
}

func (d *desk) do(method, path, contentType string, body io.Reader) answer {
	d.Helper()
	req, err := http.NewRequestWithContext(d.Context(), method, d.url+path, body)
	if err != nil {
		d.Fatal(err)
	}
	req.Header.Set("Accept", "text/html")
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	res, err := d.client.Do(req)
	if err != nil {
		d.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		d.Fatal(err)
	}
	_, content, _ := strings.Cut(strings.ReplaceAll(string(text), "<wbr>", ""), "<main") // where names may break
	return answer{res.StatusCode, res.Header.Get("Location"), content}
}

// get returns a page that is expected to be there.
func (d *desk) get(path string) string {
	d.Helper()
	res := d.do("GET", path, "", nil)
	if res.status != http.StatusOK {
		d.Fatalf("GET %s: %d\n%s", path, res.status, res.body)
	}
	return res.body
}

func form(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	return v
}

func (d *desk) post(path string, pairs ...string) answer {
	d.Helper()
	return d.do("POST", path, "application/x-www-form-urlencoded", strings.NewReader(form(pairs...).Encode()))
}

// done posts a form that is expected to go well, and returns the page that it leads to.
func (d *desk) done(path string, pairs ...string) string {
	d.Helper()
	res := d.post(path, pairs...)
	if res.status != http.StatusSeeOther {
		d.Fatalf("POST %s %q: %d\n%s", path, pairs, res.status, res.body)
	}
	return d.get(res.location)
}

// refused posts a form that is expected to be refused, with what its page has to say.
func (d *desk) refused(status int, says, path string, pairs ...string) string {
	d.Helper()
	res := d.post(path, pairs...)
	if res.status != status || !strings.Contains(strings.ToLower(html.UnescapeString(res.body)), strings.ToLower(says)) {
		d.Fatalf("POST %s %q: %d, expected %d saying %q\n%s", path, pairs, res.status, status, says, res.body)
	}
	return res.body
}

// upload posts a form with a file.
func (d *desk) upload(path, file string, content []byte, pairs ...string) answer {
	d.Helper()
	var buf bytes.Buffer
	w := multipart.NewWriter(&buf)
	for i := 0; i < len(pairs); i += 2 {
		w.WriteField(pairs[i], pairs[i+1])
	}
	part, err := w.CreateFormFile("file", file)
	if err != nil {
		d.Fatal(err)
	}
	part.Write(content)
	w.Close()
	return d.do("POST", path, w.FormDataContentType(), &buf)
}

// contains fails unless a page has all of the texts.
func (d *desk) contains(page string, texts ...string) {
	d.Helper()
	for _, s := range texts {
		if !strings.Contains(page, s) {
			d.Errorf("the page does not have %q:\n%s", s, page)
		}
	}
}

func (d *desk) lacks(page string, texts ...string) {
	d.Helper()
	for _, s := range texts {
		if strings.Contains(page, s) {
			d.Errorf("the page has %q:\n%s", s, page)
		}
	}
}

// define creates what a test begins with.
func (d *desk) define(def broker.Definition) {
	d.Helper()
	if _, err := d.b.Apply(d.Context(), def); err != nil {
		d.Fatal(err)
	}
}

// example is a topic /a with the producer crm and the consumer erp.
func (d *desk) example() broker.ConsumerInfo {
	d.Helper()
	d.define(broker.Definition{
		Clients:   []broker.Client{{Username: "crm", Name: "CRM", Password: "p1"}, {Username: "erp", Name: "ERP", Password: "p2"}},
		Topics:    []broker.Topic{{Name: "/a", MaxDepth: 1000, Expiration: 3600, DedupWindow: time.Minute}},
		Producers: []broker.Producer{{Client: "crm", Topic: "/a"}},
		Consumers: []broker.Consumer{{Client: "erp", Topic: "/a", SubKey: "key-of-erp", MaxDepth: 1000, MaxInFlight: 100, AckTimeout: time.Minute}},
	})
	return d.b.Consumers()[0]
}

func (d *desk) publish(topic, payload string, opts ...broker.PublishOption) string {
	d.Helper()
	id, err := d.b.Publish(d.Context(), topic, []byte(payload), opts...)
	if err != nil {
		d.Fatal(err)
	}
	return id
}

// receive returns what erp gets of /a.
func (d *desk) receive() []broker.Message {
	d.Helper()
	c, err := d.b.Authenticate(d.Context(), "erp", "p2", "127.0.0.1")
	if err != nil {
		d.Fatal(err)
	}
	key := ""
	for _, q := range d.b.Consumers() {
		if q.Client == "erp" {
			key = q.SubKey
		}
	}
	s, err := d.b.Subscription(c, "/a", key)
	if err != nil {
		d.Fatal(err)
	}
	messages, err := s.Receive(d.Context(), broker.ReceiveOptions{Max: 100})
	if err != nil {
		d.Fatal(err)
	}
	return messages
}

// revision returns the revision that a page's form holds.
func (d *desk) revision(page string) string {
	d.Helper()
	m := regexp.MustCompile(`name="revision" value="([^"]*)"`).FindStringSubmatch(page)
	if m == nil {
		d.Fatalf("no revision in the page:\n%s", page)
	}
	return html.UnescapeString(m[1])
}

// value returns the value of a field of a page.
func (d *desk) value(page, name string) string {
	d.Helper()
	m := regexp.MustCompile(`<input [^>]*name="` + name + `" value="([^"]*)"`).FindStringSubmatch(page)
	if m == nil {
		d.Fatalf("no field %q in the page:\n%s", name, page)
	}
	return html.UnescapeString(m[1])
}

func TestTopicPages(t *testing.T) {
	d := newDesk(t)
	d.contains(d.get("/admin/topics"), "No topics yet", "/admin/api/v1/topics")
	d.contains(d.get("/admin/topics?new=1"), `name="name"`, `value="1000000"`, `value="5m"`)

	// What is refused is told at its field, and what was typed stays.
	for _, bad := range []struct {
		field, value, says string
	}{
		{"name", "", "topic name"},
		{"name", "/a/", "topic name"},
		{"max_depth", "many", "Allowed are whole numbers"},
		{"max_depth", "0", "max_depth 0"},
		{"expiration", "-1", "expiration -1"},
		{"dedup_window", "a while", "Allowed are durations"},
		{"dedup_window", "9999h", "dedup_window"},
	} {
		v := map[string]string{"name": "/kept", "max_depth": "77", "expiration": "88", "dedup_window": "99s", "is_active": "true"}
		v[bad.field] = bad.value
		page := d.refused(http.StatusUnprocessableEntity, bad.says, "/admin/topics",
			"name", v["name"], "max_depth", v["max_depth"], "expiration", v["expiration"], "dedup_window", v["dedup_window"], "is_active", "true")
		d.contains(page, `id="topic-`+bad.field+`-error"`, `aria-invalid="true"`)
		for name, value := range v {
			if name != "is_active" && d.value(page, name) != value {
				t.Errorf("%s: %q became %q", name, value, d.value(page, name))
			}
		}
	}
	if n := len(d.b.Topics()); n != 0 {
		t.Fatalf("%d topics after refused forms", n)
	}

	page := d.done("/admin/topics", "name", "/orders", "max_depth", "500", "expiration", "120", "dedup_window", "90", "is_active", "true")
	d.contains(page, "The topic was created", "<h1", "/orders", "Nobody may publish here yet", `data-chart="/admin/history?topic=%2Forders"`)
	topic, ok := d.b.Topic("/orders")
	if want := (broker.Topic{Name: "/orders", MaxDepth: 500, Expiration: 120, DedupWindow: 90 * time.Second, Retention: property.Off, RetentionBytes: property.Off, MaxTopics: limit.DefaultMaxTopics}); !ok || topic.Topic != want {
		t.Fatalf("stored %+v", topic)
	}
	d.refused(http.StatusConflict, "exists already", "/admin/topics", "name", "/orders", "max_depth", "500", "expiration", "120", "dedup_window", "90s")

	// Two edit at once: the second is told, keeps what was typed, and can insist.
	mine := d.revision(d.get("/admin/topics/%2Forders/edit"))
	d.done("/admin/topics/%2Forders/edit", "revision", mine, "max_depth", "600", "expiration", "120", "dedup_window", "1m30s", "is_active", "true")
	page = d.refused(http.StatusConflict, "changed by somebody else meanwhile", "/admin/topics/%2Forders/edit",
		"revision", mine, "max_depth", "700", "expiration", "240", "dedup_window", "1m30s")
	d.contains(page, `It is <span class="name">600</span> now`, `It is <span class="name">on</span> now`)
	if d.value(page, "max_depth") != "700" || d.value(page, "expiration") != "240" {
		t.Error("what was typed was lost")
	}
	d.contains(d.done("/admin/topics/%2Forders/edit", "revision", d.revision(page), "max_depth", "700", "expiration", "240", "dedup_window", "1m30s"),
		"The topic was saved", "The topic is inactive")
	if topic, _ = d.b.Topic("/orders"); topic.MaxDepth != 700 || topic.Expiration != 240 || !topic.Inactive {
		t.Fatalf("stored %+v", topic.Topic)
	}

	// Deleting says what is lost, and asks for the name.
	c := d.example()
	d.publish("/a", "one")
	d.publish("/a", "two", broker.WithDelay(60))
	page = d.get("/admin/topics/%2Fa/delete")
	d.contains(page, "1 producer", "1 consumer with its queue", "2 messages", "For ten minutes it can be brought back")
	d.refused(http.StatusUnprocessableEntity, "not the name", "/admin/topics/%2Fa/delete", "revision", d.revision(page), "confirm", "/b")
	d.done("/admin/topics/%2Fa/edit", "max_depth", "9", "expiration", "1", "dedup_window", "1s", "is_active", "true")
	again := d.refused(http.StatusConflict, "changed by somebody else", "/admin/topics/%2Fa/delete", "revision", d.revision(page), "confirm", "/a")
	d.contains(d.done("/admin/topics/%2Fa/delete", "revision", d.revision(again), "confirm", "/a"), "was deleted, with 1 producer, 1 consumer, 2 messages")
	if _, ok := d.b.Topic("/a"); ok {
		t.Error("the topic is still there")
	}
	if _, ok := d.b.Consumer(c.ID); ok {
		t.Error("the consumer is still there")
	}
	if res := d.do("GET", "/admin/topics/%2Fa", "", nil); res.status != http.StatusNotFound {
		t.Errorf("the page of a deleted topic: %d", res.status)
	}
}

func TestListPages(t *testing.T) {
	d := newDesk(t)
	var def broker.Definition
	for i := range 120 {
		def.Topics = append(def.Topics, broker.Topic{Name: fmt.Sprintf("/t/%03d", i), MaxDepth: 10, Expiration: 60})
	}
	d.define(def)
	for range 3 {
		d.publish("/t/042", "x")
	}
	row := regexp.MustCompile(`<th scope="row"><a class="name" href="/admin/topics/[^"]*" title="([^"]*)">`)
	next := regexp.MustCompile(`id="next" rel="next" href="([^"]*)"`)
	seen, pages := 0, 0
	for path := "/admin/topics?sort=name&search=/t/"; ; pages++ {
		page := d.get(path)
		for _, m := range row.FindAllStringSubmatch(page, -1) {
			if want := fmt.Sprintf("/t/%03d", seen); m[1] != want {
				t.Fatalf("row %d is %s", seen, m[1])
			}
			seen++
		}
		d.contains(page, fmt.Sprintf("%d to %d of 120", pages*50+1, min(120, pages*50+50)), fmt.Sprintf("page %d of 3", pages+1), `aria-sort="ascending"`)
		m := next.FindStringSubmatch(page)
		if m == nil {
			break
		}
		path = "/admin/topics" + html.UnescapeString(m[1])
	}
	if seen != 120 || pages != 2 {
		t.Errorf("%d topics on %d pages", seen, pages+1)
	}
	page := d.get("/admin/topics?sort=depth&desc=1")
	if m := row.FindStringSubmatch(page); m[1] != "/t/042" {
		t.Errorf("the deepest is %s", m[1])
	}
	d.contains(page, `aria-sort="descending"`)
	d.lacks(page, `<meter `)
	d.publish("/t/042", "x")
	d.publish("/t/042", "x")
	d.publish("/t/042", "x")
	d.contains(d.get("/admin/topics?sort=depth&desc=1"), `<meter `) // more than half
	d.contains(d.get("/admin/topics?page=2"), "51 to 100 of 120", `id="prev"`, `id="last"`)
	d.contains(d.get("/admin/topics?page=99"), "101 to 120 of 120") // what was there is deleted
	page = d.get("/admin/topics?search=T/04")
	d.contains(page, "1 to 10 of 10", "Show all", `value="T/04"`)
	d.contains(d.get("/admin/topics?search=nowhere"), "No such topic")
	for _, bad := range []string{"sort=size", "part=nonsense"} {
		if res := d.do("GET", "/admin/topics?"+bad, "", nil); res.status != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d", bad, res.status)
		}
	}
}

func TestClientPages(t *testing.T) {
	d := newDesk(t)
	d.contains(d.get("/admin/clients"), "No clients yet")
	d.refused(http.StatusUnprocessableEntity, "username", "/admin/clients", "username", "a:b", "password", "secret", "is_active", "true")
	page := d.refused(http.StatusUnprocessableEntity, "at most 72 bytes", "/admin/clients", "username", "crm", "password", strings.Repeat("x", 73), "is_active", "true")
	d.contains(page, `id="client-password-error"`)
	d.lacks(page, "xxxxxxxxxx") // a page never holds a password that was typed

	d.contains(d.done("/admin/clients", "username", "crm", "name", "CRM", "password", "first", "is_active", "true"), "The client was created", "CRM")
	login := func(password string) error {
		_, err := d.b.Authenticate(context.Background(), "crm", password, "127.0.0.1")
		return err
	}
	if err := login("first"); err != nil {
		t.Fatal(err)
	}
	d.refused(http.StatusConflict, "exists already", "/admin/clients", "username", "crm", "password", "x")

	// Without a password one is made, and shown once.
	res := d.post("/admin/clients", "username", "erp", "is_active", "true")
	if res.status != http.StatusSeeOther {
		t.Fatalf("%d\n%s", res.status, res.body)
	}
	m := regexp.MustCompile(`id="password">([^<]+)<`).FindStringSubmatch(d.get(res.location))
	if m == nil || !strings.Contains(d.get(res.location), m[1]) { // loaded again, it is the same
		t.Fatal("no password", res.location)
	}
	if _, err := d.b.Authenticate(t.Context(), "erp", m[1], "127.0.0.1"); err != nil {
		t.Errorf("with the password that was made: %v", err)
	}
	d.lacks(d.get("/admin/clients/erp"), m[1])

	// An edit without a password leaves it; a new one replaces it.
	revision := d.revision(d.get("/admin/clients/crm/edit"))
	d.done("/admin/clients/crm/edit", "revision", revision, "name", "Customers", "is_active", "true")
	if c, _ := d.b.Client("crm"); c.Name != "Customers" || login("first") != nil {
		t.Errorf("after an edit: %+v, %v", c, login("first"))
	}
	page = d.refused(http.StatusConflict, "changed by somebody else", "/admin/clients/crm/edit", "revision", revision, "name", "Mine", "is_active", "true")
	d.contains(page, `value="Mine"`, "Customers")
	d.done("/admin/clients/crm/edit", "revision", d.revision(page), "name", "Mine", "password", "second", "is_active", "true")
	if login("first") == nil || login("second") != nil {
		t.Error("the password did not change")
	}
	d.refused(http.StatusUnprocessableEntity, "Either", "/admin/clients/crm/edit", "name", "Mine", "password", "third", "generate", "true", "is_active", "true")
	made := d.done("/admin/clients/crm/edit", "name", "Mine", "generate", "true", "is_active", "true")
	if m = regexp.MustCompile(`id="password">([^<]+)<`).FindStringSubmatch(made); m == nil || login(m[1]) != nil {
		t.Errorf("a password that is made: %s", made)
	}
	d.contains(d.done("/admin/clients/crm/edit", "name", "Mine"), "The client is inactive")
	if login(m[1]) == nil {
		t.Error("an inactive client can log in")
	}

	d.define(broker.Definition{
		Topics:    []broker.Topic{{Name: "/a", MaxDepth: 10}},
		Producers: []broker.Producer{{Client: "crm", Topic: "/a"}},
	})
	d.contains(d.get("/admin/clients/crm"), `href="/admin/producers/`, ">/a</a>")
	d.contains(d.get("/admin/clients/crm/delete"), "1 producer")
	d.refused(http.StatusUnprocessableEntity, "not the name", "/admin/clients/crm/delete", "confirm", "")
	d.contains(d.done("/admin/clients/crm/delete", "confirm", "crm"), "The client crm was deleted, with 1 producer")
	if _, ok := d.b.Client("crm"); ok || len(d.b.Producers()) != 0 {
		t.Error("the client is still there")
	}
}

func TestProducerPages(t *testing.T) {
	d := newDesk(t)
	d.example()
	d.contains(d.get("/admin/producers?new=1&topic=/a"), `<option value="erp" label="ERP">`, `value="/a"`)
	d.refused(http.StatusUnprocessableEntity, "no client of that username", "/admin/producers", "client", "nobody", "topic", "/a", "is_active", "true")
	page := d.refused(http.StatusUnprocessableEntity, "no topic of that name", "/admin/producers", "client", "erp", "topic", "/nowhere", "is_active", "true")
	d.contains(page, `value="erp"`, `value="/nowhere"`)
	d.refused(http.StatusConflict, "exists already", "/admin/producers", "client", "crm", "topic", "/a")
	d.contains(d.done("/admin/producers", "client", "erp", "topic", "/a", "is_active", "true", "back", "topic"), "may publish to /a", `id="publish"`)
	var id uint32
	for _, p := range d.b.Producers() {
		if p.Client == "erp" {
			id = p.ID
		}
	}
	path := fmt.Sprint("/admin/producers/", id)
	d.contains(d.get("/admin/producers?topic=/a&sort=client"), path, "erp", "crm")
	page = d.get(path + "/edit")
	d.contains(d.done(path+"/edit", "revision", d.revision(page)), "The producer was saved", "The producer is inactive")
	if p, _ := d.b.Producer(id); !p.Inactive {
		t.Error("the producer is active")
	}
	d.refused(http.StatusConflict, "changed by somebody else", path+"/edit", "revision", d.revision(page), "is_active", "true")
	d.done(path+"/delete", "revision", d.revision(d.get(path+"/delete")))
	if _, ok := d.b.Producer(id); ok {
		t.Error("the producer is still there")
	}
	for _, bad := range []string{"0", "x", "-1", "4294967296", "007"} {
		if res := d.do("GET", "/admin/producers/"+bad, "", nil); res.status != http.StatusNotFound {
			t.Errorf("producer %s: %d", bad, res.status)
		}
	}
}

func TestConsumerPages(t *testing.T) {
	d := newDesk(t)
	erp := d.example()
	path := fmt.Sprint("/admin/consumers/", erp.ID)

	d.refused(http.StatusUnprocessableEntity, "no client of that username", "/admin/consumers", "client", "", "topic", "/a")
	d.refused(http.StatusUnprocessableEntity, "ack_timeout", "/admin/consumers", "client", "crm", "topic", "/a", "ack_timeout", "1ms")
	d.refused(http.StatusConflict, "sub_key", "/admin/consumers", "client", "crm", "topic", "/a", "sub_key", "key-of-erp")
	page := d.refused(http.StatusUnprocessableEntity, "max_in_flight", "/admin/consumers", "client", "crm", "topic", "/a", "max_in_flight", "0", "sub_key", "mine")
	d.contains(page, `id="consumer-max_in_flight-error"`, `value="mine"`)

	old := d.publish("/a", "published before")
	page = d.done("/admin/consumers", "client", "crm", "topic", "/a", "start", "oldest", "is_active", "true")
	d.contains(page, "The consumer was created")
	var made broker.ConsumerInfo
	for _, c := range d.b.Consumers() {
		if c.Client == "crm" {
			made = c
		}
	}
	if made.Backlog != 1 || made.SubKey == "" || made.MaxInFlight != limit.DefaultMaxInFlight {
		t.Fatalf("made %+v", made)
	}
	d.contains(d.get("/admin/consumers?sort=backlog&desc=1"), path, "/a", "erp", "crm")

	// A sub_key is in a page only when it was asked for.
	d.lacks(d.get(path), "key-of-erp")
	d.lacks(d.get(path+"/edit"), "key-of-erp")
	d.lacks(d.get("/admin/consumers"), "key-of-erp")
	d.contains(d.done(path+"/reveal"), `id="sub-key">key-of-erp<`, "X-Zato-PubSub-Key:key-of-erp")

	page = d.get(path + "/edit")
	d.done(path+"/edit", "revision", d.revision(page), "max_depth", "2000", "max_in_flight", "50", "ack_timeout", "90s", "is_active", "true")
	if c, _ := d.b.Consumer(erp.ID); c.MaxDepth != 2000 || c.MaxInFlight != 50 || c.AckTimeout != 90*time.Second || c.SubKey != "key-of-erp" || c.Inactive {
		t.Errorf("stored %+v", c.Consumer)
	}
	d.refused(http.StatusConflict, "changed by somebody else", path+"/edit", "revision", d.revision(page), "max_depth", "1", "max_in_flight", "1", "ack_timeout", "1s")

	// Release, clear what is in flight, clear all.
	backlog := func() (all, flying int64) {
		c, _ := d.b.Consumer(erp.ID)
		return c.Backlog, c.InFlight
	}
	if got := d.receive(); len(got) != 1 || got[0].ID != old {
		t.Fatalf("received %v", got)
	}
	d.contains(d.get(path), `<dd id="in-flight">1<`)
	d.contains(d.done(path+"/release"), "Released, to be delivered next: 1 message")
	if all, flying := backlog(); all != 1 || flying != 0 {
		t.Errorf("released: %d, %d in flight", all, flying)
	}
	d.publish("/a", "another")
	if got := d.receive(); len(got) != 2 {
		t.Fatalf("received %v", got)
	}
	d.publish("/a", "a third")
	d.contains(d.done(path+"/clear-in-flight", "confirm", "/a"), "What was in flight was cleared: 2 messages")
	if all, flying := backlog(); all != 1 || flying != 0 {
		t.Errorf("cleared: %d, %d in flight", all, flying)
	}
	d.contains(d.refused(http.StatusUnprocessableEntity, "not the name", path+"/clear", "confirm", "a"), "<details class=\"more danger\" open")
	d.contains(d.done(path+"/clear", "confirm", "/a"), "The backlog was cleared: 1 message<")
	if all, _ := backlog(); all != 0 {
		t.Errorf("%d after the backlog was cleared", all)
	}
	if c, _ := d.b.Consumer(made.ID); c.Backlog != 3 {
		t.Errorf("the other consumer has %d", c.Backlog)
	}

	// Another sub_key, with the queue as it is.
	d.publish("/a", "kept")
	page = d.get(path)
	d.refused(http.StatusConflict, "changed by somebody else", path+"/rotate", "revision", "of yesterday")
	d.refused(http.StatusUnprocessableEntity, "Allowed are durations", path+"/rotate", "revision", d.revision(page), "overlap", "long")
	d.refused(http.StatusUnprocessableEntity, "allowed are 0s to 30d", path+"/rotate", "revision", d.revision(page), "overlap", "31d")
	d.done(path+"/rotate", "revision", d.revision(page), "overlap", "0s")
	if c, _ := d.b.Consumer(erp.ID); c.SubKey == "key-of-erp" || c.Backlog != 1 || c.Old.SubKey != "" {
		t.Errorf("rotated: %+v", c)
	}
	was, _ := d.b.Consumer(erp.ID)
	page = d.done(path+"/rotate", "revision", d.revision(d.get(path)), "overlap", "24h")
	c, _ := d.b.Consumer(erp.ID)
	d.contains(page, "The old one is valid for 1d yet", `id="sub-key">`+c.SubKey+"<", "not used since it was replaced")
	d.lacks(page, was.SubKey)
	d.lacks(d.get(path), c.SubKey)
	if _, err := d.b.Subscription(&broker.Client{Username: "erp"}, "/a", was.SubKey); err != nil {
		t.Error(err)
	}
	page = d.get(path)
	d.lacks(page, "not used since it was replaced")
	d.contains(d.done(path+"/end-overlap", "revision", d.revision(page)), "The old sub_key is refused from now on")
	d.lacks(d.get(path), "old-sub-key")
	d.refused(http.StatusUnprocessableEntity, "no old sub_key", path+"/end-overlap", "revision", d.revision(d.get(path)))
	if got := d.receive(); len(got) != 1 {
		t.Errorf("received %v with the new sub_key", got)
	}

	d.contains(d.get(path+"/delete"), "1 message")
	d.refused(http.StatusUnprocessableEntity, "not the name", path+"/delete", "confirm", "erp")
	d.done(path+"/delete", "confirm", "/a")
	if _, ok := d.b.Consumer(erp.ID); ok {
		t.Error("the consumer is still there")
	}
}

func TestPublishPage(t *testing.T) {
	d := newDesk(t)
	d.example()
	d.contains(d.get("/admin/topics/%2Fa/publish"), `enctype="multipart/form-data"`, `name="payload"`, `type="file"`)
	page := d.done("/admin/topics/%2Fa/publish", "payload", "line 1\r\nline 2", "priority", "9", "expiration", "77", "mime_type", "text/x-note", "msg_id", "note-1")
	d.contains(page, `href="/admin/messages/%2Fa/note-1"`)
	got := d.receive()
	if len(got) != 1 || string(got[0].Payload) != "line 1\nline 2" || got[0].Priority != 9 || got[0].Expiration != 77 ||
		got[0].MIMEType != "text/x-note" || got[0].ID != "note-1" || got[0].Producer != "admin ada" {
		t.Fatalf("received %+v", got)
	}

	binary := []byte{0, 1, 2, 0xff, 0xfe}
	if res := d.upload("/admin/topics/%2Fa/publish", "x.bin", binary, "payload", "unused", "priority", "5"); res.status != http.StatusSeeOther {
		t.Fatalf("a file: %d\n%s", res.status, res.body)
	}
	if got = d.receive(); len(got) != 1 || !bytes.Equal(got[0].Payload, binary) || got[0].MIMEType != "application/octet-stream" {
		t.Fatalf("received %+v", got)
	}
	for size, status := range map[int]int{limit.DefaultMaxPayload + 1: http.StatusUnprocessableEntity, 6 << 20: http.StatusRequestEntityTooLarge} {
		if res := d.upload("/admin/topics/%2Fa/publish", "large", make([]byte, size), "priority", "5"); res.status != status {
			t.Errorf("a file of %d bytes: %d", size, res.status)
		}
	}
	d.done("/admin/topics/%2Fa/publish", "payload", "AAEC\r\n//4=", "encoding", "base64")
	if got = d.receive(); len(got) != 1 || !bytes.Equal(got[0].Payload, binary) || got[0].MIMEType != "text/plain" {
		t.Fatalf("received %+v", got)
	}
	d.done("/admin/topics/%2Fa/publish", "payload", "later", "delay", "600")
	d.done("/admin/topics/%2Fa/publish", "payload", "later", "deliver_at", time.Now().UTC().Add(time.Hour).Format("2006-01-02T15:04:05"))
	if topic, _ := d.b.Topic("/a"); topic.Delayed != 2 {
		t.Errorf("%d delayed", topic.Delayed)
	}

	for _, bad := range [][3]string{
		{"priority", "10", "priority 10"},
		{"priority", "x", "whole numbers"},
		{"expiration", "0", "expiration 0"},
		{"delay", "-1", "delay -1"},
		{"deliver_at", "noon", "allowed are a UTC time"},
		{"msg_id", "a\tb", "msg_id"},
		{"mime_type", "a\x01b", "mime_type"},
		{"encoding", "rot13", "Allowed are text and base64"},
	} {
		page := d.refused(http.StatusUnprocessableEntity, bad[2], "/admin/topics/%2Fa/publish", "payload", "kept <as> typed", bad[0], bad[1])
		d.contains(page, "\nkept &lt;as&gt; typed</textarea>", `id="publish-`+bad[0]+`-error"`)
		if open := strings.Contains(page, `id="publish-options" open`); open != (bad[0] != "mime_type") {
			t.Errorf("%s is wrong, and the options are open: %t", bad[0], open)
		}
	}
	d.contains(d.get("/admin/topics/%2Fa/publish"), `<details class="more options" id="publish-options"><summary>`)
	later, _ := d.b.Browse(t.Context(), browse.Options{Topic: "/a", State: browse.Delayed, Limit: 1})
	d.contains(d.get("/admin/messages/%2Fa/"+later.Messages[0].ID+"/publish"), `id="publish-options" open`) // it has an expiration
	d.refused(http.StatusUnprocessableEntity, "not base64", "/admin/topics/%2Fa/publish", "payload", "!", "encoding", "base64")
	page = d.refused(http.StatusUnprocessableEntity, "payload of", "/admin/topics/%2Fa/publish", "payload", strings.Repeat("x", limit.DefaultMaxPayload+1))
	d.contains(page, `id="publish-payload-error"`)
	d.done("/admin/topics/%2Fa/edit", "max_depth", "1", "expiration", "60", "dedup_window", "1m", "is_active", "true")
	d.refused(http.StatusTooManyRequests, "full", "/admin/topics/%2Fa/publish", "payload", "too much")
	d.done("/admin/topics/%2Fa/edit", "max_depth", "100", "expiration", "60", "dedup_window", "1m")
	d.refused(http.StatusUnprocessableEntity, "not active", "/admin/topics/%2Fa/publish", "payload", "to an inactive topic")
}

func TestMessagePages(t *testing.T) {
	d := newDesk(t)
	erp := d.example()
	d.contains(d.get("/admin/messages"), "No topic has messages")
	d.contains(d.get("/admin/messages?topic=/a"), "Nothing waits here", "curl -X POST -u crm:")
	if res := d.do("GET", "/admin/messages?topic=/nowhere", "", nil); res.status != http.StatusUnprocessableEntity || !strings.Contains(res.body, "There is no topic of that name") {
		t.Errorf("an unknown topic: %d\n%s", res.status, res.body)
	}

	first := d.publish("/a", `{"n": 1, "text": "needle <b>"}`, broker.WithMIMEType("application/json"))
	second := d.publish("/a", "plain", broker.WithPriority(9))
	later := d.publish("/a", "not yet", broker.WithDelay(600), broker.WithID("later"))
	d.contains(d.get("/admin/messages"), `href="/admin/messages?topic=%2fa"`)
	list := "/admin/messages?topic=/a"
	page := d.get(list)
	d.contains(page, first, second, "needle &lt;b&gt;")
	d.lacks(page, later)
	if strings.Index(page, second) > strings.Index(page, first) {
		t.Error("the higher priority does not come first")
	}
	at := time.Now().UTC().Add(-time.Hour).Format("2006-01-02T15:04")
	for _, c := range []struct{ query, has, lacks string }{
		{"&state=delayed", later, first},
		{"&priority=9", second, first},
		{"&text=needle", first, second},
		{"&since=" + at, first, later},
		{"&until=" + at, "No such message", first},
		{"&state=in_flight", "No such message", first},
		{fmt.Sprint("&consumer=", erp.ID), first, later},
	} {
		page := d.get(list + c.query)
		d.contains(page, c.has)
		d.lacks(page, `value="`+c.lacks+`"`)
	}
	for _, bad := range []string{"&since=yesterday", "&priority=77", "&state=lost", "&text=" + strings.Repeat("x", browse.MaxText+1), "&cursor=nonsense"} {
		if res := d.do("GET", list+bad, "", nil); res.status != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d", bad, res.status)
		}
	}
	d.receive()
	d.contains(d.get(list+fmt.Sprint("&consumer=", erp.ID)), "in flight")

	// By ID, with and without a topic.
	for _, q := range []string{"topic=/a&id=" + first, "id=" + first, "id=later"} {
		if res := d.do("GET", "/admin/messages?"+q, "", nil); res.status != http.StatusSeeOther || !strings.HasPrefix(res.location, "/admin/messages/%2Fa/") {
			t.Errorf("%s: %d %s", q, res.status, res.location)
		}
	}
	for _, q := range []string{"topic=/a&id=nothing", "id=nothing", "id=a%20b"} {
		if res := d.do("GET", "/admin/messages?"+q, "", nil); res.status != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d", q, res.status)
		}
	}

	page = d.get("/admin/messages/%2Fa/" + first)
	d.contains(page, "{\n  &#34;n&#34;: 1,\n", "application/json", "JSON", "in flight", ">erp</a>", "1 of 1 still need it", "/payload", "Release now")
	d.contains(d.done("/admin/messages/%2Fa/"+first+"/release", "consumer", fmt.Sprint(erp.ID)), "can be delivered at once", "waiting")
	d.contains(d.done("/admin/messages/%2Fa/"+first+"/release"), "Nothing held the message back")
	d.contains(d.get("/admin/messages/%2Fa/later"), "delayed", "Delivered from")
	d.done("/admin/messages/%2Fa/later/release")
	if topic, _ := d.b.Topic("/a"); topic.Delayed != 0 || topic.Depth != 3 {
		t.Errorf("after the release: %+v", topic)
	}
	if got := d.receive(); len(got) != 2 {
		t.Errorf("received %d after two releases", len(got))
	}

	// What is done to one leads back to where its reader came from.
	back := "?back=" + url.QueryEscape("topic=%2Fa&priority=9")
	from := "/admin/messages/%2Fa/" + second
	d.contains(d.get(from+back), `href="/admin/messages?priority=9&amp;topic=%2Fa"`)
	for _, do := range []string{"release", "publish", "delete"} {
		d.contains(d.get(from+back), from+"/"+do+back)
	}
	if res := d.post(from + "/release" + back); res.location != from+back {
		t.Errorf("a release leads to %s", res.location)
	}
	d.contains(d.get(from+"/publish"+back), `href="`+from+back+`"`, `action="`+from+"/publish"+back+`"`)
	if res := d.post(from+"/publish"+back, "copy", "true"); !strings.HasSuffix(res.location, back) {
		t.Errorf("a copy leads to %s", res.location)
	} else if res := d.post(strings.TrimSuffix(res.location, back) + "/delete" + back); res.location != "/admin/messages?priority=9&topic=%2Fa" {
		t.Errorf("a deletion leads to %s", res.location)
	}

	// Delete one, and several.
	d.contains(d.done("/admin/messages/%2Fa/later/delete"), "The message was deleted")
	d.contains(d.done("/admin/messages/%2Fa/later/delete"), "gone already")
	d.contains(d.done("/admin/messages", "topic", "/a", "back", "topic=%2Fa&priority=9"), "No message was chosen")
	res := d.post("/admin/messages", "do", "delete", "sure", "true", "back", "topic=%2Fa&priority=9", "key", "%2Fa/"+first, "key", "%2Fa/"+second, "key", "%2Fa/nothing")
	if res.location != "/admin/messages?priority=9&topic=%2Fa" {
		t.Errorf("leads to %s", res.location)
	}
	if c, _ := d.b.Consumer(erp.ID); c.Backlog != 0 {
		t.Errorf("%d left", c.Backlog)
	}
	res = d.do("GET", "/admin/messages/%2Fa/"+first, "", nil)
	if res.status != http.StatusNotFound {
		t.Errorf("a deleted message: %d", res.status)
	}
	d.contains(res.body, "The message is gone", "published by service", "deleted by an administrator, for all consumers")
	res = d.do("GET", "/admin/messages/%2Fa/nothing", "", nil)
	if d.contains(res.body, "what happened is kept for 7d, of the last 100000 messages"); res.status != http.StatusNotFound {
		t.Errorf("a message that never was: %d", res.status)
	}
	if res := d.do("GET", "/admin/messages?id="+second, "", nil); res.status != http.StatusSeeOther || res.location != "/admin/messages/%2Fa/"+second {
		t.Errorf("a deleted message is not found: %d %s", res.status, res.location)
	}
	a := d.publish("/a", "one", broker.WithCorrelationID("order-7"))
	d.contains(d.get("/admin/messages/%2Fa/"+a), "What happened", "published by service")
	if res := d.do("GET", "/admin/messages?id=order-7", "", nil); res.status != http.StatusOK {
		t.Errorf("a correlation ID: %d %s", res.status, res.location)
	} else {
		d.contains(res.body, a, "order-7", ">stored<")
	}
}

func TestBrowsePages(t *testing.T) {
	d := newDesk(t)
	d.example()
	for i := range 120 {
		d.publish("/a", fmt.Sprintf("payload %03d", i))
	}
	next := regexp.MustCompile(`id="next" rel="next" href="([^"]*)"`)
	payload := regexp.MustCompile(`>payload (\d+)<`)
	seen := 0
	for path := "/admin/messages?topic=/a&text=payload"; ; {
		page := d.get(path)
		for _, m := range payload.FindAllStringSubmatch(page, -1) {
			if m[1] != fmt.Sprintf("%03d", seen) {
				t.Fatalf("message %d is %s", seen, m[1])
			}
			seen++
		}
		d.contains(page, "looked at")
		m := next.FindStringSubmatch(page)
		if m == nil {
			d.contains(page, `id="first"`)
			break
		}
		path = "/admin/messages" + html.UnescapeString(m[1])
	}
	if seen != 120 {
		t.Errorf("%d messages", seen)
	}
}

func TestRepublish(t *testing.T) {
	d := newDesk(t)
	d.example()
	const payload = "\r\none\r\ntwo\n\x1b[0m"
	id := d.publish("/a", payload, broker.WithPriority(7), broker.WithMIMEType("text/x-log"), broker.WithExpiration(500))
	path := "/admin/messages/%2Fa/" + id + "/publish"
	page := d.get(path)
	d.contains(page, "<option value=\"7\" selected>", `value="text/x-log"`, `value="500"`)
	text := regexp.MustCompile(`(?s)<textarea [^>]*>\n(.*?)</textarea>`).FindStringSubmatch(page)
	if text == nil || html.UnescapeString(text[1]) != payload {
		t.Fatalf("the form holds %q", text)
	}

	// A copy has the same payload, byte by byte. So has what was not edited, whatever browsers make of the ends of lines.
	d.contains(d.done(path, "copy", "true"), "This is the new message")
	d.contains(d.done(path, "payload", strings.ReplaceAll(strings.ReplaceAll(payload, "\r\n", "\n"), "\n", "\r\n"), "priority", "7", "mime_type", "text/x-log", "expiration", "500"), "This is the new message")
	got := d.receive()
	if len(got) != 3 {
		t.Fatalf("received %d", len(got))
	}
	for _, m := range got {
		if string(m.Payload) != payload || m.Priority != 7 || m.MIMEType != "text/x-log" || m.Expiration != 500 {
			t.Errorf("received %+v", m)
		}
	}
	// Edited, in place of the old one.
	d.refused(http.StatusUnprocessableEntity, "priority 0", path, "payload", "x", "priority", "0", "delete_old", "true")
	d.refused(http.StatusUnprocessableEntity, "deleted by hand", path, "payload", "x", "priority", "1", "delete_old", "true", "msg_id", "mine")
	d.contains(d.done(path, "payload", "edited\r\ntext", "priority", "1", "delete_old", "true"), "The old one was deleted")
	if got = d.receive(); len(got) != 1 || string(got[0].Payload) != "edited\ntext" || got[0].Priority != 1 {
		t.Errorf("received %+v", got)
	}
	if _, _, err := d.b.Message("/a", id); broker.CodeOf(err) != broker.NotFound {
		t.Errorf("the old one: %v", err)
	}
	// It has gone meanwhile: what was typed is not lost.
	d.contains(d.done(path, "payload", "typed long ago", "priority", "5", "delete_old", "true"), "gone already")
	if res := d.post(path, "copy", "true"); res.status != http.StatusNotFound {
		t.Errorf("a copy of nothing: %d", res.status)
	}
	// A field is bounded, and so is the whole form.
	d.refused(http.StatusRequestEntityTooLarge, "at most", path, "payload", strings.Repeat("%", 5<<20))
	if got = d.receive(); len(got) != 1 || string(got[0].Payload) != "typed long ago" {
		t.Errorf("received %+v", got)
	}
	binary := d.publish("/a", "\xff\x00")
	page = d.get("/admin/messages/%2Fa/" + binary + "/publish")
	d.contains(page, "\n/wA=</textarea>", `<option value="base64" selected>`)
}

func TestHostile(t *testing.T) {
	d := newDesk(t)
	const script = `<script>alert(1)</script>`
	names := []string{script, `"><img src=x onerror=alert(1)>`, `'; rm -rf "$HOME"; '`, "a b&c=d?e#f%2Fg", ".", "..", "~..", "/a/../b", "../../etc",
		"الطلبات/جديد", "javascript:alert(1)", "/" + strings.Repeat("x", 511), "{{.}}", "`id`", "$(id)", "🐦"}
	for i, name := range names {
		client := strings.ReplaceAll(name, ":", ";")
		if len(client) > limit.MaxUsername {
			client = client[:limit.MaxUsername]
		}
		if strings.Contains(client, "..") || client == "." {
			client += fmt.Sprint(i)
		}
		d.define(broker.Definition{
			Clients:   []broker.Client{{Username: client, Name: client, Password: "it's $PASSWORD"}},
			Topics:    []broker.Topic{{Name: name, MaxDepth: 10, Expiration: 600}},
			Producers: []broker.Producer{{Client: client, Topic: name}},
			Consumers: []broker.Consumer{{Client: client, Topic: name, MaxDepth: 10, MaxInFlight: 10, AckTimeout: time.Minute}},
		})
		// From the list on to all pages of the topic, by their links.
		page := d.get("/admin/topics?" + form("search", name).Encode())
		m := regexp.MustCompile(`<th scope="row"><a class="name" href="([^"]+)" title="[^"]*">` + regexp.QuoteMeta(html.EscapeString(name)) + `</a>`).FindStringSubmatch(
			strings.NewReplacer("&#43;", "+", "&#96;", "`").Replace(page))
		if m == nil {
			t.Errorf("%q is not in its list:\n%s", name, page)
			continue
		}
		link := html.UnescapeString(m[1])
		if u, err := url.Parse(link); err != nil || u.ResolveReference(&url.URL{Path: "."}).EscapedPath() != "/admin/topics/" {
			t.Errorf("%q links to %s", name, link)
		}
		id := d.publish(name, script, broker.WithMIMEType(script))
		pages := d.get(link) + d.get(link+"/edit") + d.get(link+"/publish") + d.get(link+"/delete") + d.get("/admin/messages?"+form("topic", name).Encode()) +
			d.get("/admin/messages"+strings.TrimPrefix(link, "/admin/topics")+"/"+id) + d.get("/admin/messages"+strings.TrimPrefix(link, "/admin/topics")+"/"+id+"/publish")
		for _, c := range d.b.Consumers() {
			if c.Topic == name {
				pages += d.done(fmt.Sprint("/admin/consumers/", c.ID, "/reveal"))
			}
		}
		for _, p := range d.b.Producers() {
			if p.Topic == name {
				pages += d.get(fmt.Sprint("/admin/producers/", p.ID))
			}
		}
		d.lacks(pages, script, "<img", `href="javascript:`, " onerror=alert(1)>")
		res := d.post(link+"/delete", "confirm", name)
		if _, ok := d.b.Topic(name); res.status != http.StatusSeeOther || ok {
			t.Errorf("deleting %q: %d, still there: %v", name, res.status, ok)
		}
		d.get(res.location)
	}
	d.lacks(d.get("/admin/clients"), script, "<img")
}

func TestPayloads(t *testing.T) {
	d := newDesk(t)
	d.example()
	deep := strings.Repeat("[", 9000) + strings.Repeat("]", 9000)
	for _, c := range []struct{ name, payload, kind, has string }{
		{"empty", "", "", "The payload is empty"},
		{"object", `{"a":[1,{"b":"x\"]y"}],"c":{},"d":[ ],"e":1.50}`, "JSON", "{\n  \"a\": [\n    1,\n    {\n      \"b\": \"x\\\"]y\"\n    }\n  ],\n  \"c\": {},\n  \"d\": [],\n  \"e\": 1.50\n}"},
		{"almost JSON", `{"a": 1,}`, "Text", `{"a": 1,}`},
		{"deep JSON", deep, "JSON", "This is the beginning"},
		{"XML", `<?xml version="1.0"?><s:Env xmlns:s="urn:s"><s:Body a="1">x &amp; y</s:Body><e/></s:Env>`, "XML", "<s:Env xmlns:s=\"urn:s\">\n  <s:Body a=\"1\">x &amp; y</s:Body>\n  <e></e>\n</s:Env>"},
		{"broken XML", `<a><b></a>`, "Text", `<a><b></a>`},
		{"not XML", `< 3`, "Text", `< 3`},
		{"deep XML", strings.Repeat("<a>", 5000) + strings.Repeat("</a>", 5000), "Text", "<a><a><a>"},
		{"entities", `<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>`, "Text", `&b;</a>`},
		{"invisible", "a\x1b[2Jb\u202Ec", "Text", "a␛[2Jb⟨U+202E⟩c"},
		{"binary", "\x00\xffABC", "Binary", "00000000  00 ff 41 42 43"},
		{"long", strings.Repeat("é", 50_000), "Text", "This is the beginning"},
		{"long binary", strings.Repeat("\x00", 100_000), "Binary", "This is the beginning"},
	} {
		id := d.publish("/a", c.payload)
		page := html.UnescapeString(d.get("/admin/messages/%2Fa/" + id))
		if !strings.Contains(page, c.has) || c.kind != "" && !strings.Contains(page, `<span class="badge">`+c.kind+"</span>") {
			t.Errorf("%s: expected %s with %q:\n%.3000s", c.name, c.kind, c.has, page)
		}
		if len(page) > 250_000 {
			t.Errorf("%s: the page has %d bytes", c.name, len(page))
		}
	}
}

// TestDefinitions has the pages of objects show what their tables know.
func TestDefinitions(t *testing.T) {
	d := newDesk(t)
	consumer := d.example()
	d.define(broker.Definition{Topics: []broker.Topic{{Name: "/a", MaxDepth: 1000, Expiration: property.Off, DedupWindow: 36 * time.Hour}}})
	shows(d, broker.TopicFields, "/admin/topics/%2Fa", map[string]string{"max_depth": ">1,000<", "expiration": ">off<", "dedup_window": ">1d12h<", "is_active": "yes", "auto_create": noRow, "max_topics": noRow})
	d.define(broker.Definition{Topics: []broker.Topic{{Name: "/a/*", AutoCreate: true, MaxTopics: 7}}})
	shows(d, broker.TopicFields, "/admin/topics/%2Fa%2F%2A", map[string]string{"auto_create": "yes", "max_topics": ">7<"})
	shows(d, broker.ClientFields, "/admin/clients/crm", map[string]string{"name": ">CRM<"})
	shows(d, broker.ProducerFields, fmt.Sprint("/admin/producers/", d.b.Producers()[0].ID), map[string]string{"client": `href="/admin/clients/crm"`, "topic": `href="/admin/topics/%2Fa"`})
	c := consumer.Consumer
	c.DeliveryMode, c.CallbackURL = broker.DeliveryCallback, "http://127.0.0.1:9/" // the rows of callbacks are for those
	d.define(broker.Definition{Consumers: []broker.Consumer{c}})
	shows(d, broker.ConsumerFields, fmt.Sprint("/admin/consumers/", consumer.ID), map[string]string{"name": ">none<", "ack_timeout": ">1m<", "topic": `href="/admin/topics/%2Fa"`})
}

const noRow = "no row"

// shows checks that a page has a row for each property of a table that is kept and not secret, but for those of which it is
// to have noRow, and what is in some.
func shows[T any](d *desk, table property.Fields[T], path string, has map[string]string) {
	d.Helper()
	page := d.get(path)
	for i := range table {
		f := &table[i]
		row := regexp.MustCompile(`<dt>` + regexp.QuoteMeta(f.Label) + `</dt><dd id="setting-` + f.Name + `">(?s:(.*?))</dd>`).FindStringSubmatch(page)
		want := has[f.Name]
		if (row != nil) != (f.Label != "" && !f.Once && !f.Secret && want != noRow) {
			d.Errorf("%s, %s: %q", path, f.Name, row)
		}
		if want != "" && want != noRow && (row == nil || !strings.Contains(row[1], want)) {
			d.Errorf("%s: %s has no %s: %q", path, f.Name, want, row)
		}
	}
}

func TestSignedOut(t *testing.T) {
	d := newDesk(t)
	d.example()
	id := d.publish("/a", "x")
	d.client.Jar = nil
	for _, path := range []string{"/admin/topics", "/admin/topics/%2Fa", "/admin/clients", "/admin/clients/crm", "/admin/producers", "/admin/consumers", "/admin/messages", "/admin/messages/%2Fa/" + id} {
		if res := d.do("GET", path, "", nil); res.status != http.StatusSeeOther || !strings.HasPrefix(res.location, "/admin/login") || strings.Contains(res.body, "crm") {
			t.Errorf("GET %s: %d %s", path, res.status, res.location)
		}
	}
	for _, path := range []string{"/admin/topics", "/admin/topics/%2Fa/delete", "/admin/topics/%2Fa/publish", "/admin/clients/crm/delete", "/admin/messages/%2Fa/" + id + "/delete"} {
		if res := d.post(path, "name", "/b", "confirm", "/a", "payload", "x"); res.status != http.StatusSeeOther || !strings.HasPrefix(res.location, "/admin/login") {
			t.Errorf("POST %s: %d %s", path, res.status, res.location)
		}
	}
	if topic, ok := d.b.Topic("/a"); !ok || topic.Depth != 1 || len(d.b.Topics()) != 1 {
		t.Error("something was changed")
	}
}

// TestForeignForm sends a form as a page of another origin would.
func TestForeignForm(t *testing.T) {
	d := newDesk(t)
	d.example()
	req, err := http.NewRequestWithContext(t.Context(), "POST", d.url+"/admin/topics/%2Fa/delete", strings.NewReader("confirm=%2Fa"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	res, err := d.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if _, ok := d.b.Topic("/a"); res.StatusCode != http.StatusForbidden || !ok {
		t.Errorf("%s, still there: %v", res.Status, ok)
	}
}

// TestCommands runs the commands of the pages as they stand there, in a shell, with the real curl.
func TestCommands(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("no curl on this machine")
	}
	d := newDesk(t)
	for i, c := range []struct{ topic, client, password string }{
		{"/customer/created", "crm", "crm"},
		{`/it's "quoted" & $HOME ; [a-b] {c,d} #e?f=%20`, `o'neil "x" $USER`, `p'w"d $x !`},
		{"/a/../b/./c", "dots", "~!@"},
		{"no slash", "-u", " "},
		{"/الطلبات", "عميل", "كلمة"},
	} {
		d.define(broker.Definition{
			Clients:   []broker.Client{{Username: c.client, Name: c.client, Password: c.password}},
			Topics:    []broker.Topic{{Name: c.topic, MaxDepth: 100, Expiration: 600}},
			Producers: []broker.Producer{{Client: c.client, Topic: c.topic}},
			Consumers: []broker.Consumer{{Client: c.client, Topic: c.topic, MaxDepth: 100, MaxInFlight: 100, AckTimeout: time.Minute, SubKey: fmt.Sprint("key-", i)}},
		})
		var producer, consumer uint32
		for _, p := range d.b.Producers() {
			if p.Topic == c.topic {
				producer = p.ID
			}
		}
		for _, q := range d.b.Consumers() {
			if q.Topic == c.topic {
				consumer = q.ID
			}
		}
		run := func(line string, env ...string) string {
			t.Helper()
			cmd := exec.CommandContext(t.Context(), "sh", "-c", line)
			cmd.Env = append(os.Environ(), append(env, shell.Variable(c.client)+"="+c.password)...)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%s: %v\n%s", line, err, stderr.String())
			}
			return string(out)
		}
		ok := func(line, out string) {
			t.Helper()
			if !strings.Contains(out, `"status": "ZATO_OK"`) {
				t.Fatalf("%s\n%s", line, out)
			}
		}
		lines := commandsOf(d.get(fmt.Sprint("/admin/producers/", producer)))
		lines = append(lines, commandsOf(d.get("/admin/topics/"+url.PathEscape(c.topic)))...)
		if len(lines) != 4 {
			t.Fatalf("commands: %q", lines)
		}
		for _, line := range lines {
			ok(line, run(line))
		}
		// Each receive in turn; whatever is in flight is acknowledged or given back by the next ones.
		one := fmt.Sprint("/admin/consumers/", consumer)
		for _, reveal := range []bool{false, true} {
			page := d.get(one)
			if reveal {
				page = d.done(one + "/reveal")
			}
			lines := commandsOf(page)
			if len(lines) != 4 {
				t.Fatalf("commands: %q", lines)
			}
			key := "UNUSED="
			if !reveal {
				key = fmt.Sprint("SUB_KEY=key-", i)
			}
			out := run(lines[1], key)
			ok(lines[1], out)
			id := regexp.MustCompile(`"msg_id": "([^"]+)"`).FindStringSubmatch(out)
			if id == nil || !strings.Contains(out, `"results_count": 1,`) {
				t.Fatalf("%s\n%s", lines[1], out)
			}
			ok(lines[3], run(lines[3], key, "MSG_ID="+id[1]))
			out = run(lines[0], key)
			ok(lines[0], out)
			for _, id := range regexp.MustCompile(`"msg_id": "([^"]+)"`).FindAllStringSubmatch(out, -1)[:2] {
				ok(lines[2], run(lines[2], key, "MSG_ID="+id[1]))
			}
			if out := run(lines[2], key, "MSG_ID="+id[1]); !strings.Contains(out, "Message not found") {
				t.Errorf("acknowledged twice: %s", out)
			}
			if _, err := d.b.ReleaseInFlight(t.Context(), consumer); err != nil {
				t.Fatal(err)
			}
		}
		if q, _ := d.b.Consumer(consumer); q.Backlog != 0 {
			t.Errorf("%q: %d left", c.topic, q.Backlog)
		}
	}
}

func commandsOf(page string) []string {
	var lines []string
	for _, m := range regexp.MustCompile(`(?s)<pre class="code"[^>]*><code>((?:\w+_PASSWORD=[^\n]*\n)?curl.*?)</code>`).FindAllStringSubmatch(page, -1) {
		lines = append(lines, html.UnescapeString(m[1]))
	}
	return lines
}

// A consumer of a pattern is made, its messages of several topics looked at, and deleted; a pattern has no page.
func TestPatternPages(t *testing.T) {
	d := newDesk(t)
	d.define(broker.Definition{
		Clients: []broker.Client{{Username: "erp", Password: "p"}},
		Topics:  []broker.Topic{{Name: "/order/paid"}, {Name: "/order/sent"}},
	})
	d.refused(422, "no topic of that name", "/admin/consumers", "client", "erp", "topic", "/order", "is_active", "true")
	d.refused(422, "* for one segment", "/admin/consumers", "client", "erp", "topic", "/order/p*", "is_active", "true")
	page := d.done("/admin/consumers", "client", "erp", "topic", "/order/*", "is_active", "true")
	d.contains(page, "The consumer was created", `<span class="name">/order/*</span>`)
	for _, topic := range []string{"/order/paid", "/order/sent"} {
		if _, err := d.b.Publish(t.Context(), topic, []byte("of "+topic)); err != nil {
			t.Fatal(err)
		}
	}
	id := fmt.Sprint(d.b.Consumers()[0].ID)
	page = d.get("/admin/messages?" + form("topic", "/order/*", "consumer", id).Encode())
	d.contains(page, "of /order/paid", "of /order/sent", "/admin/messages/%2Forder%2Fsent/")
	page = d.done("/admin/consumers/"+id+"/delete", "confirm", "/order/*")
	d.contains(page, "The consumer erp was deleted")
	page = d.done("/admin/producers", "client", "erp", "topic", "/order/**", "is_active", "true")
	d.contains(page, "/order/**")
}

// TestCommandsWork: no page offers to publish to a pattern, or to receive what the consumer is sent.
func TestCommandsWork(t *testing.T) {
	d := newDesk(t)
	d.define(broker.Definition{
		Clients:   []broker.Client{{Username: "crm", Password: "p"}},
		Topics:    []broker.Topic{{Name: "/order"}},
		Producers: []broker.Producer{{Client: "crm", Topic: "/*"}, {Client: "crm", Topic: "/order"}},
		Consumers: []broker.Consumer{
			{Client: "crm", Topic: "/order", Name: "sent", DeliveryMode: broker.DeliveryCallback, CallbackURL: "http://erp.example.com/", SubKey: "A", Inactive: true},
		},
	})
	for _, path := range []string{"/admin/", "/admin/clients/crm"} {
		page := d.get(path)
		d.contains(page, "/zato/pubsub/topic//order/")
		d.lacks(page, "/zato/pubsub/topic//*/", "/zato/pubsub/msg//order/")
	}
	d.define(broker.Definition{Consumers: []broker.Consumer{{Client: "crm", Topic: "/order", Name: "received", SubKey: "B", New: true}}})
	for _, path := range []string{"/admin/", "/admin/clients/crm"} {
		d.contains(d.get(path), "/zato/pubsub/topic//order/", "/zato/pubsub/msg//order/")
	}
}

// TestUnsetSecrets: the form of a consumer that is sent its messages takes its headers away and makes it a new secret.
func TestUnsetSecrets(t *testing.T) {
	d := newDesk(t)
	d.define(broker.Definition{
		Clients: []broker.Client{{Username: "erp", Password: "p"}},
		Topics:  []broker.Topic{{Name: "/order"}},
		Consumers: []broker.Consumer{{Client: "erp", Topic: "/order", DeliveryMode: broker.DeliveryCallback, CallbackURL: "http://erp.example.com/",
			CallbackHeaders: property.TableOf(map[string]string{"Authorization": "Bearer 5d1f"}), Inactive: true}},
	})
	before := d.b.Consumers()[0]
	path := fmt.Sprint("/admin/consumers/", before.ID, "/edit")
	page := d.get(path)
	d.contains(page, "Headers: remove what is set", "Callback secret: make a new one")
	edit := func(more ...string) broker.ConsumerInfo {
		t.Helper()
		d.done(path, append([]string{"delivery_mode", broker.DeliveryCallback, "callback_url", "http://erp.example.com/"}, more...)...)
		return d.b.Consumers()[0]
	}
	if c := edit(); c.CallbackSecret != before.CallbackSecret || c.CallbackHeaders != before.CallbackHeaders {
		t.Errorf("left empty: %+v", c.Consumer)
	}
	d.refused(http.StatusUnprocessableEntity, "allowed is one of the two", path, "delivery_mode", broker.DeliveryCallback, "callback_url", "http://erp.example.com/",
		"callback_headers", "X-Token: typed", "callback_headers_unset", "true")
	if c := edit("callback_headers_unset", "true"); c.CallbackSecret != before.CallbackSecret || !c.CallbackHeaders.IsZero() {
		t.Errorf("without headers: %+v", c.Consumer)
	}
	if c := edit("callback_secret_unset", "true"); c.CallbackSecret == before.CallbackSecret || c.CallbackSecret == "" {
		t.Errorf("a new secret: %+v", c.Consumer)
	}
	d.lacks(d.get(path), "Headers: remove what is set")
}

// TestByPattern: the page of a topic that only producers of patterns publish to has commands of one that may; that of one
// with a "*" in its name, as old ones can have, is linked where it is named.
func TestByPattern(t *testing.T) {
	d := newDesk(t)
	d.define(broker.Definition{
		Clients:   []broker.Client{{Username: "crm", Password: "p"}, {Username: "off", Password: "p"}},
		Topics:    []broker.Topic{{Name: "/order/paid"}, {Name: "/stock"}},
		Producers: []broker.Producer{{Client: "off", Topic: "/order/**", Inactive: true}, {Client: "off", Topic: "/other/*"}, {Client: "crm", Topic: "/order/*"}},
		Consumers: []broker.Consumer{{Client: "crm", Topic: "/order/*"}},
	})
	d.contains(d.get("/admin/topics/%2Forder%2Fpaid"), `<span class="name">crm</span> may publish here`, "-u crm:", "/zato/pubsub/topic//order/paid/")
	d.contains(d.get("/admin/messages?topic=%2Forder%2Fpaid"), "-u crm:")
	d.contains(d.get("/admin/topics/%2Fstock"), "Nobody may publish here yet", "Add an active producer")
	d.contains(d.get(fmt.Sprint("/admin/consumers/", d.b.Consumers()[0].ID)), `<span class="name">/order/*</span>`)
}

// TestQueuesOfPattern: the page of a consumer of a pattern has its topics, the fullest first, and no more than stand on a page.
func TestQueuesOfPattern(t *testing.T) {
	d := newDesk(t)
	def := broker.Definition{
		Clients:   []broker.Client{{Username: "erp", Password: "p"}},
		Consumers: []broker.Consumer{{Client: "erp", Topic: "/order/*", SubKey: "key"}, {Client: "erp", Topic: "/order/07"}},
	}
	for i := range 52 {
		def.Topics = append(def.Topics, broker.Topic{Name: fmt.Sprintf("/order/%02d", i)})
	}
	d.define(def)
	for _, topic := range []string{"/order/33", "/order/33", "/order/51"} {
		d.publish(topic, "x")
	}
	for _, c := range d.b.Consumers() {
		page := d.get(fmt.Sprint("/admin/consumers/", c.ID))
		if c.Topic != "/order/*" {
			d.lacks(page, `id="queues"`)
			continue
		}
		_, table, _ := strings.Cut(page, `id="queues"`)
		rows := regexp.MustCompile(`href="/admin/topics/(%2Forder%2F[0-9]+)"`).FindAllStringSubmatch(table, -1)
		if len(rows) != 50 || rows[0][1] != "%2Forder%2F33" || rows[1][1] != "%2Forder%2F51" || rows[2][1] != "%2Forder%2F00" {
			t.Errorf("%d topics: %v", len(rows), rows)
		}
		d.contains(table, `<td class="num">2</td><td class="num">0</td>`, "50 of 52")
	}
}
