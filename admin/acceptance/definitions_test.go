package acceptance

import (
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// What is exported is imported in the browser: the plan first, with what changes, then the same with Apply; what is wrong is
// told by line and field, and changes nothing.
func TestDefinitionPages(t *testing.T) {
	d := newDesk(t)
	d.example()
	const path = "/admin/system/definitions"
	d.contains(d.get(path), `href="/admin/api/v1/export" download`, "Show what it would do")
	out, err := d.client.Get(d.url + "/admin/api/v1/export")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Body.Close()
	raw, err := io.ReadAll(out.Body)
	if err != nil {
		t.Fatal(err)
	}
	exported := string(raw)

	post := func(file string) answer { return d.upload(path+"/import", "defs.json", []byte(file)) }
	res := post(exported)
	if res.status != http.StatusSeeOther {
		t.Fatal(res.status, res.body)
	}
	page := d.get(res.location)
	d.contains(page, "There is nothing to be done", "0 to be created, 0 to be updated")
	d.lacks(page, ">Apply<")

	changed := strings.Replace(exported, `"name": "/a"`, `"name": "/b"`, 1)
	changed = regexp.MustCompile(`"max_in_flight": \d+`).ReplaceAllString(changed, `"max_in_flight": 7`)
	res = post(changed)
	page = d.get(res.location)
	d.contains(page, "1 to be created, 1 to be updated", ">create<", ">update<", ">keep<", " → 7<", "defs.json", ">Apply<")
	if _, is := d.b.Topic("/b"); is {
		t.Fatal("a plan was applied")
	}
	u, _ := url.Parse(res.location)
	plan := u.Query().Get("plan")
	d.contains(d.done(path+"/apply", "plan", plan), "What was done", "1 created, 1 updated")
	if _, is := d.b.Topic("/b"); !is || d.b.Consumers()[0].MaxInFlight != 7 {
		t.Error("the plan was not applied")
	}
	d.refused(http.StatusUnprocessableEntity, "choose the file again", path+"/apply", "plan", plan)
	d.contains(d.get("/admin/system/audit"), "import")

	for _, wrong := range []struct{ file, says string }{
		{"{\n \"version\": 1,\n \"topics\": [\n  {\"name\": \"/x\"},\n  {\"name\": \"/y\",\n   \"max_depth\": -1}\n ]\n}", "Line 6"},
		{"{\n \"version\": 1,\n \"topics\": [\n  {\"nane\": \"/x\"}]}", "Line 4"},
		{"{\n \"version\": 2}", "Line 2"},
		{`{"version": 1, "topics": [` + strings.Repeat(`{"name": "/x", "nane": 1}, `, 29) + `{"nane": 1}]}`, "and "},
		{"{\n \"version\": ", "import-file-error"},
		{"", "import-file-error"},
	} {
		res := post(wrong.file)
		if res.status != http.StatusUnprocessableEntity || !strings.Contains(res.body, wrong.says) {
			t.Errorf("%s: %d, without %q\n%s", wrong.file, res.status, wrong.says, res.body)
		}
	}
	if res := d.post(path+"/import", "file", "none"); res.status != http.StatusUnprocessableEntity {
		t.Error(res.status)
	}
	if _, is := d.b.Topic("/x"); is {
		t.Error("a part of a document was taken")
	}
}
