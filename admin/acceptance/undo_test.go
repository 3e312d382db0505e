package acceptance

import (
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"testing"
	"time"

	"pipit/broker"
	"pipit/broker/property"
)

// A deletion is taken back as it was: names, hashes of passwords, keys and secrets, also those of what went with it; messages
// are not, which the page says. What exists again is left alone.
func TestUndo(t *testing.T) {
	d := newDesk(t)
	erp := d.example()
	d.define(broker.Definition{
		Consumers: []broker.Consumer{{Client: "crm", Topic: "/a", Name: "by callback", DeliveryMode: broker.DeliveryCallback, CallbackURL: "http://example.com/"}},
		Webhooks:  []broker.Webhook{{Name: "shop", Topic: "/a", Client: "crm", Verify: broker.VerifyHMAC, Header: "X-Sig", Secret: property.TextsOf("a long secret of it")}},
	})
	if _, err := d.b.Change(t.Context(), broker.Change{Rotate: []uint32{erp.ID}, Overlap: time.Hour}); err != nil {
		t.Fatal(err)
	}
	d.publish("/a", "lost")
	before := d.b.Definition()
	remove := func(path, confirm string) (undo string) {
		t.Helper()
		page := d.done(path+"/delete", "confirm", confirm, "revision", d.revision(d.get(path+"/delete")))
		m := regexp.MustCompile(`name="undo" value="(\w+)"`).FindStringSubmatch(page)
		if m == nil {
			t.Fatalf("no way back after %s:\n%s", path, page)
		}
		d.contains(page, "but not its messages")
		d.contains(d.get("/admin/system/definitions"), m[1])
		return m[1]
	}
	same := func(what string) {
		t.Helper()
		if after := d.b.Definition(); !reflect.DeepEqual(after, before) {
			t.Errorf("%s came back as\n%+v\nand was\n%+v", what, after, before)
		}
	}
	for _, x := range []struct{ path, confirm, audit string }{
		{"/admin/topics/" + url.PathEscape("/a"), "/a", "topic.restore"},
		{"/admin/clients/crm", "crm", "client.restore"},
		{"/admin/webhooks/shop", "shop", "webhook.restore"},
	} {
		undo := remove(x.path, x.confirm)
		d.contains(d.done("/admin/undo", "undo", undo), "is back as it was defined, without the messages")
		same(x.path)
		d.contains(d.get("/admin/system/audit"), x.audit)
		d.refused(http.StatusNotFound, "ten minutes", "/admin/undo", "undo", undo)
	}
	for _, p := range d.b.Producers() {
		d.done("/admin/undo", "undo", remove(fmt.Sprint("/admin/producers/", p.ID), ""))
	}
	for _, c := range d.b.Consumers() {
		d.done("/admin/undo", "undo", remove(fmt.Sprint("/admin/consumers/", c.ID), "/a"))
	}
	same("what depends on others")
	if n := d.b.Totals().Backlog; n != 0 {
		t.Errorf("%d messages came back", n)
	}

	undo := remove("/admin/topics/"+url.PathEscape("/a"), "/a")
	d.define(broker.Definition{Topics: []broker.Topic{{Name: "/a", MaxDepth: 7}}})
	if res := d.post("/admin/undo", "undo", undo); res.status < 400 {
		t.Errorf("over a topic that was made anew: %d", res.status)
	}
	if topic, _ := d.b.Topic("/a"); topic.MaxDepth != 7 {
		t.Errorf("%+v", topic.Topic)
	}
}
