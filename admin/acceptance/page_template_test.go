package acceptance

import "testing"

// TestTemplatePages: a template is marked where it is listed, and its page has what it made.
func TestTemplatePages(t *testing.T) {
	d := newDesk(t)
	d.example()
	d.contains(d.get("/admin/topics?new=1"), `name="auto_create"`, `name="max_topics"`)
	d.refused(422, "a new topic has no * in its name", "/admin/topics", "name", "/order/*", "max_depth", "9", "expiration", "60", "dedup_window", "5m", "retention", "0s", "retention_bytes", "0", "max_topics", "1000", "is_active", "true")
	d.done("/admin/topics", "name", "/order/*", "max_depth", "9", "expiration", "60", "dedup_window", "5m", "retention", "0s", "retention_bytes", "0", "max_topics", "1", "is_active", "true", "auto_create", "true")
	const one = "/admin/topics/%2Forder%2F*"
	d.contains(d.get(one), `<span class="badge">template</span>`, "0 of 1", "None yet.")
	d.publish("/order/lv", "x")
	d.contains(d.get(one), "1 of 1", "/admin/topics/%2Forder%2Flv", `id="full"`)
	list := d.get("/admin/topics")
	d.contains(list, `<span class="badge">template</span>`, "1 made")
	d.contains(d.get("/admin/topics?template=/order/*"), "made by the template", ">/order/lv<")
	d.lacks(d.get("/admin/topics?template=/order/*"), ">/customer/created<")
	lv := d.get("/admin/topics/%2Forder%2Flv")
	d.contains(lv, "Made by the template", `href="/admin/topics/%2Forder%2F%2A"`)
	d.lacks(lv, "setting-max_topics")
	d.lacks(d.get("/admin/topics/%2Forder%2Flv/edit"), `name="max_topics"`)
	d.contains(d.get(one+"/edit"), `name="max_topics"`)
	d.done(one+"/edit", "max_depth", "9", "expiration", "60", "dedup_window", "5m", "retention", "0s", "retention_bytes", "0", "max_topics", "5")
	d.contains(d.get(one), "The template is inactive")
	d.contains(d.get(one+"/delete"), "The topics that it has made stay.")
	d.done(one + "/delete")
	if _, ok := d.b.Topic("/order/lv"); !ok {
		t.Error("what it made is gone")
	}
}
