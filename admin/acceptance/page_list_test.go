package acceptance

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"pipit/admin"
	"pipit/broker"
)

// TestParts looks at the parts of lists: each link says how many there are, and shows them.
func TestParts(t *testing.T) {
	d := newDesk(t)
	d.define(broker.Definition{
		Clients: []broker.Client{{Username: "erp", Password: "p"}, {Username: "off", Password: "p", Inactive: true}},
		Topics:  []broker.Topic{{Name: "/full", MaxDepth: 10}, {Name: "/some"}, {Name: "/off", Inactive: true}, {Name: "/none"}},
		Consumers: []broker.Consumer{
			{Client: "erp", Topic: "/full", SubKey: "1", MaxDepth: 10, MaxInFlight: 1, AckTimeout: time.Minute},
			{Client: "off", Topic: "/some", SubKey: "2", MaxDepth: 10, MaxInFlight: 1, AckTimeout: time.Minute},
			{Client: "erp", Topic: "/none", SubKey: "3", MaxDepth: 10, MaxInFlight: 1, AckTimeout: time.Minute, Inactive: true},
		},
	})
	for range 8 {
		d.publish("/full", "x")
	}
	d.publish("/some", "x")
	for path, want := range map[string]string{
		"/admin/topics?part=messages": "With messages 2: /full /some", "/admin/topics?part=full": "Nearly full 1: /full", "/admin/topics?part=inactive": "Inactive 1: /off",
		"/admin/topics?part=inactive&search=full": "Inactive 0:",
		"/admin/consumers?part=messages":          "With messages 2: /full /some", "/admin/consumers?part=full": "Nearly full 1: /full",
		"/admin/consumers?part=away": "Away 1: /full", "/admin/consumers?part=inactive": "Inactive 1: /none",
		"/admin/clients?part=inactive": "Inactive 1: off", "/admin/clients?part=unseen": "Never seen 2: erp off",
	} {
		page := d.get(path)
		label, rows, _ := strings.Cut(want, ":")
		at := strings.LastIndex(label, " ")
		d.contains(page, fmt.Sprintf(`aria-current="true">%s <span>%s</span></a>`, label[:at], label[at+1:]))
		if got := strings.Count(page, `name="key"`); got != len(strings.Fields(rows)) {
			t.Errorf("%s: %d rows", path, got)
		}
		for _, name := range strings.Fields(rows) {
			d.contains(page, `title="`+name+`"`)
		}
	}
}

// TestBulk does things to the chosen rows of lists.
func TestBulk(t *testing.T) {
	d := newDesk(t)
	c := d.example()
	d.define(broker.Definition{Topics: []broker.Topic{{Name: "/b"}, {Name: "/c", Inactive: true}}})
	const topics = "/admin/bulk/topics"
	isOff := func(name string, want bool) {
		t.Helper()
		if topic, _ := d.b.Topic(name); topic.Inactive != want {
			t.Errorf("%s is inactive: %t", name, topic.Inactive)
		}
	}
	ask := d.post(topics, "do", "off", "key", "/b", "key", "/c", "key", "/gone", "back", "part=messages&page=2")
	d.contains(ask.body, "This makes 2 topics inactive", "/b", "/c", `name="key" value="/b"`, `name="back" value="page=2&amp;part=messages"`)
	d.lacks(ask.body, "/gone")
	isOff("/b", false) // it was only asked
	page := d.done(topics, "do", "off", "key", "/b", "key", "/c", "sure", "true", "back", "search=b")
	d.contains(page, "Made inactive: 1 topic", `value="b"`)
	isOff("/b", true)
	d.contains(d.done(topics, "do", "on", "key", "/b", "key", "/c"), "Made active: 2 topics")
	isOff("/b", false)
	isOff("/c", false)
	d.contains(d.get("/admin/system/audit"), "topic.edit", "is_active")
	d.contains(d.done(topics, "do", "off", "back", "sort=name"), "Nothing was chosen")

	many := []string{"do", "off"}
	for i := range 51 {
		many = append(many, "key", fmt.Sprint("/", i))
	}
	d.refused(http.StatusUnprocessableEntity, "allowed are 50", topics, many...)
	d.refused(http.StatusUnprocessableEntity, `Do "clear"`, topics, "do", "clear", "key", "/b")

	consumers, id := "/admin/bulk/consumers", fmt.Sprint(c.ID)
	d.publish(c.Topic, "x")
	d.publish(c.Topic, "y")
	d.contains(d.post(consumers, "do", "clear", "key", id).body, "This clears the backlogs of 1 consumer", "Type how many")
	d.refused(http.StatusUnprocessableEntity, "This is not how many they are", consumers, "do", "clear", "key", id, "sure", "true", "confirm", "2")
	if n := len(d.receive()); n != 2 {
		t.Fatalf("%d messages", n)
	}
	d.contains(d.done(consumers, "do", "clear", "key", id, "sure", "true", "confirm", "1"), "The backlogs of 1 consumer were cleared: 2 messages")
	if now, _ := d.b.Consumer(c.ID); now.Backlog != 0 {
		t.Errorf("%d messages wait", now.Backlog)
	}
	d.contains(d.get("/admin/system/audit"), "consumer.clear")
}

// TestSearch looks for things by a form alone.
func TestSearch(t *testing.T) {
	d := newDesk(t)
	c := d.example()
	d.define(broker.Definition{Topics: []broker.Topic{{Name: "/invoice"}, {Name: "/z/a"}}, Clients: []broker.Client{{Username: "invoicing", Password: "p"}}})
	d.contains(d.get("/admin/search?q=INVOIC"), "Topics <span", `href="/admin/topics/%2Finvoice"`, "Clients <span", `href="/admin/clients/invoicing"`,
		`href="/admin/messages?id=INVOIC"`)
	id := d.publish(c.Topic, "x")
	for q, to := range map[string]string{"/invoice": "/admin/topics/%2Finvoice", id: "/admin/messages/" + url.PathEscape(c.Topic) + "/" + id} {
		if res := d.do("GET", "/admin/search?q="+url.QueryEscape(q), "", nil); res.status != http.StatusSeeOther || res.location != to {
			t.Errorf("%s: %d %s", q, res.status, res.location)
		}
	}
	d.contains(d.get("/admin/search?q=no%20such"), "Nothing is called so")
	d.contains(d.get("/admin/search"), "<h1>Search</h1>")
}

// TestSearchTyping asks as the script does: what has the name comes first, and there is a bounded number of each kind.
func TestSearchTyping(t *testing.T) {
	d := newDesk(t)
	var def broker.Definition
	for i := range 9 {
		def.Topics = append(def.Topics, broker.Topic{Name: fmt.Sprintf("/a/%d/x", i)})
	}
	def.Topics = append(def.Topics, broker.Topic{Name: "/x", Inactive: true})
	d.define(def)
	res, err := d.client.Get(d.url + "/admin/search?q=x")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var found []struct{ Kind, Name, Detail, URL string }
	if err := json.NewDecoder(res.Body).Decode(&found); err != nil {
		t.Fatal(err)
	}
	if len(found) != 6 || found[0].Name != "/x" || found[0].Detail != "inactive" || found[0].URL != "/admin/topics/%2Fx" || found[1].Name != "/a/0/x" || found[5].Kind != "message" {
		t.Errorf("%+v", found)
	}
}

// TestCompressed shows that pages are compressed for who takes that, and that none of these holds a secret or a payload.
func TestCompressed(t *testing.T) {
	d := newDesk(t)
	const secret = "sesame-and-lilies"
	d.define(broker.Definition{
		Clients:   []broker.Client{{Username: "erp", Password: secret}},
		Topics:    []broker.Topic{{Name: "/a"}},
		Producers: []broker.Producer{{Client: "erp", Topic: "/a"}},
		Consumers: []broker.Consumer{{Client: "erp", Topic: "/a", SubKey: secret, MaxDepth: 10, MaxInFlight: 1, AckTimeout: time.Minute}},
	})
	id := d.publish("/a", secret)
	one := fmt.Sprint("/admin/consumers/", d.b.Consumers()[0].ID)
	for path, zipped := range map[string]bool{
		"/admin/": true, "/admin/topics": true, "/admin/topics/%2Fa": true, "/admin/clients": true, "/admin/clients/erp": true, "/admin/consumers": true,
		"/admin/producers": true, "/admin/system": true, "/admin/system/audit": true, "/admin/search?q=a": true, "/admin/system/access": false,
		one: false, one + "?reveal=1": false, one + "/edit": false, "/admin/messages?topic=/a": false, "/admin/messages/%2Fa/" + id: false,
		"/admin/messages/%2Fa/" + id + "/publish": false,
	} {
		ask := func(method, codings string) (*http.Response, string) {
			req, err := http.NewRequestWithContext(t.Context(), method, d.url+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Accept", "text/html")
			req.Header.Set("Accept-Encoding", codings)
			res, err := d.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			return res, string(body)
		}
		res, body := ask("GET", "br, gzip")
		if got := res.Header.Get("Content-Encoding") == "gzip"; got != zipped {
			t.Errorf("%s: compressed: %t", path, got)
		}
		_, plain := ask("GET", "gzip;q=0, br")
		if !strings.HasSuffix(plain, "</html>\n") {
			t.Errorf("%s without gzip: %q", path, plain[max(0, len(plain)-20):])
		}
		if !zipped {
			continue
		}
		z, err := gzip.NewReader(strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		html, err := io.ReadAll(z)
		if err != nil || !strings.HasSuffix(string(html), "</html>\n") || 2*len(body) > len(html) {
			t.Errorf("%s: %d bytes of %d, %v", path, len(body), len(html), err)
		}
		if strings.Contains(string(html), secret) {
			t.Errorf("%s holds a secret or a payload", path)
		}
		if head, body := ask("HEAD", "gzip"); head.StatusCode != http.StatusOK || body != "" || head.Header.Get("Content-Encoding") != "gzip" {
			t.Errorf("HEAD %s: %d %v", path, head.StatusCode, head.Header)
		}
	}
}

// TestDeclared shows that what the configuration file declares is marked so.
func TestDeclared(t *testing.T) {
	declared := broker.Definition{Clients: []broker.Client{{Username: "erp"}}, Topics: []broker.Topic{{Name: "/a"}},
		Producers: []broker.Producer{{Client: "erp", Topic: "/a"}}, Consumers: []broker.Consumer{{Client: "erp", Topic: "/a"}}}
	d := newDesk(t, func(o *admin.Options) { o.Declared = declared })
	d.example()
	d.define(broker.Definition{Clients: []broker.Client{{Username: "erp", Password: "p"}, {Username: "hand", Password: "p"}}, Topics: []broker.Topic{{Name: "/a"}, {Name: "/hand"}},
		Producers: []broker.Producer{{Client: "erp", Topic: "/a"}}, Consumers: []broker.Consumer{{Client: "hand", Topic: "/hand", SubKey: "k", MaxDepth: 1, MaxInFlight: 1, AckTimeout: time.Minute}}})
	const mark = `">file</span>`
	for path, one := range map[string]string{"/admin/topics?search=/a": "/admin/topics/%2Fa", "/admin/clients?search=erp": "/admin/clients/erp",
		"/admin/producers?search=erp": fmt.Sprint("/admin/producers/", d.b.Producers()[slices.IndexFunc(d.b.Producers(), func(p broker.ProducerInfo) bool { return p.Client == "erp" })].ID)} {
		d.contains(d.get(path), mark)
		d.contains(d.get(one), `id="declared"`)
		d.contains(d.get(one+"/edit"), "The configuration file declares this", "until the next start")
		d.contains(d.get(one+"/delete"), "The configuration file declares it")
	}
	for path, one := range map[string]string{"/admin/topics?search=hand": "/admin/topics/%2Fhand", "/admin/consumers?search=hand": fmt.Sprint("/admin/consumers/", d.b.Consumers()[slices.IndexFunc(d.b.Consumers(), func(c broker.ConsumerInfo) bool { return c.Client == "hand" })].ID)} {
		d.lacks(d.get(path), mark)
		d.lacks(d.get(one), `id="declared"`)
		d.lacks(d.get(one+"/edit"), "The configuration file")
	}
}
