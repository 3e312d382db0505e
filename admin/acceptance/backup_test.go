package acceptance

import (
	"bytes"
	"log/slog"
	"mime"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"pipit/admin/api"
	"pipit/admin/gate"
	"pipit/backup"
	"pipit/broker"
	"pipit/db"
)

func TestAPIBackups(t *testing.T) {
	r := newAPIRig(t)
	r.example()
	var list gate.List[api.Backup]
	if r.ok(200, "GET", "/backups", nil).into(t, &list); len(list.Items) != 0 {
		t.Errorf("%+v", list)
	}
	var made api.Backup
	a := r.ok(201, "POST", "/backups", nil)
	a.into(t, &made)
	if want := gate.V1 + "/backups/" + made.Name; a.Header.Get("Location") != want {
		t.Errorf("it is at %q, not %q", a.Header.Get("Location"), want)
	}
	if r.ok(200, "GET", "/backups", nil).into(t, &list); len(list.Items) != 1 || list.Items[0] != made {
		t.Errorf("%+v instead of %+v", list, made)
	}
	kept := r.ok(200, "GET", "/backups/"+made.Name, nil)
	r.ok(201, "POST", "/topics", jsonObject{"name": "/later"})
	streamed := r.ok(200, "POST", "/backups/stream", nil)
	for _, got := range []struct {
		a      apiAnswer
		topics int
	}{{kept, 1}, {streamed, 2}} {
		if n := got.a.Header.Get("Content-Length"); n != strconv.Itoa(len(got.a.body)) {
			t.Errorf("%d bytes are announced as %s", len(got.a.body), n)
		}
		_, name, err := mime.ParseMediaType(got.a.Header.Get("Content-Disposition"))
		if err != nil || !strings.HasPrefix(name["filename"], "pipit-") {
			t.Errorf("the file has the name %q, %v", name["filename"], err)
		}
		file := filepath.Join(t.TempDir(), "saved")
		if err := db.SaveBackup(t.Context(), file, bytes.NewReader(got.a.body)); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Restore(t.Context(), file, file+".db", db.Options{}, nil); err != nil {
			t.Fatal(err)
		}
		s, err := db.Open(file+".db", db.Options{})
		if err != nil {
			t.Fatal(err)
		}
		b, err := broker.Open(s, broker.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(b.Topics()); n != got.topics {
			t.Errorf("it has %d topics, not %d", n, got.topics)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	if r.ok(200, "GET", "/backups", nil).into(t, &list); len(list.Items) != 1 {
		t.Errorf("one that was streamed is kept: %+v", list)
	}
	r.refused(404, "not_found", "GET", "/backups/none", nil)
	r.refused(404, "not_found", "GET", "/backups/..%2Fpipit.db", nil)
	r.refused(404, "not_found", "DELETE", "/backups/..%2Fpipit.db", nil)
	for _, q := range [][2]string{{"GET", "/backups"}, {"POST", "/backups"}, {"POST", "/backups/stream"}, {"GET", "/backups/" + made.Name}, {"DELETE", "/backups/" + made.Name}} {
		r.refused(403, "forbidden", q[0], q[1], nil, "Authorization", "Bearer "+r.writeToken)
	}
	r.ok(204, "DELETE", "/backups/"+made.Name, nil)
	r.refused(404, "not_found", "DELETE", "/backups/"+made.Name, nil)
	trail := string(r.ok(200, "GET", "/audit?kind=secret", nil).body)
	for _, action := range []string{"backup.make", "backup.load", "backup.delete"} {
		if !strings.Contains(trail, action) {
			t.Errorf("%s is not in the audit log", action)
		}
	}
}

func TestBackupPage(t *testing.T) {
	w := newWatched(t, false)
	service := backup.New(w.b, backup.Options{Directory: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	defer func() {
		if err := service.Stop(); err != nil {
			t.Error(err)
		}
	}()
	cookie := w.signedIn()
	const path = "/admin/system/backups"
	if a := w.call("POST", path, "", asBrowser, withCookie(cookie)); a.status != 503 {
		t.Errorf("where nobody makes backups: %d", a.status)
	}
	w.a.Web.Backups, w.a.API.Backups = service, service
	if a := w.call("GET", path, "", asBrowser, withCookie(cookie)); a.status != 200 || !strings.Contains(a.body, "None yet.") {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := w.call("POST", path, "", asBrowser, withCookie(cookie)); a.status != 303 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	list, err := service.List()
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	a := w.call("GET", path, "", asBrowser, withCookie(cookie))
	load := gate.V1 + "/backups/" + list[0].Name
	if !strings.Contains(a.body, `href="`+load+`"`) {
		t.Errorf("no download of %s in %s", load, a.body)
	}
	if a := w.call("GET", load, "", asBrowser, withCookie(cookie)); a.status != 200 || int64(len(a.body)) != list[0].Size {
		t.Errorf("%d, %d bytes instead of %d", a.status, len(a.body), list[0].Size)
	}
	if a := w.call("POST", path+"/"+list[0].Name+"/delete", "", asBrowser, withCookie(cookie)); a.status != 303 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if list, err = service.List(); err != nil || len(list) != 0 {
		t.Error(list, err)
	}
}
