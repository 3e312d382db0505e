package acceptance

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"pipit/admin/gate"
	"pipit/admin/object"
	"pipit/broker"
)

// manyObjects is 5.7 MiB of them.
var manyObjects = strings.Repeat("{},", 5_980_000/3) + "{}"

// What an import takes does not grow with its body: neither by objects, by values of one, by a long text, nor
// by what is not read.
func TestImportMemory(t *testing.T) {
	r := newAPIRig(t)
	r.client.Transport = r.calls.next // else the check against the document has the body in memory, as values
	text := strings.Repeat("x", 6_000_000)
	for _, tt := range []struct {
		name, path, body string
		status           int
		detail           string
	}{
		{"objects", "/import", `{"version": 1, "topics": [` + manyObjects + `]}`, 413, "topics/100000: allowed are at most 100000 objects in all"},
		{"kinds", "/import", `{"version": 1, "clients": [` + strings.Repeat("{},", 60_000) + `{}], "topics": [` + manyObjects + `]}`, 413, "topics/39999: allowed are at most 100000 objects in all"},
		{"values of one", "/import", `{"version": 1, "topics": [{"name": [` + manyObjects + `]}]}`, 400, "allowed are at most 1000 values"},
		{"text", "/import", `{"version": 1, "topics": [{"name": "` + text + `"}]}`, 400, "values of at most 1048576 bytes, from byte "},
		{"Zato objects", "/import/zato?list=topics", `[` + strings.Repeat(`{"name":"a"},`, 6_000_000/13) + `{}]`, 413, "100000: allowed are at most 100000 objects in all"},
		{"Zato members", "/import/zato", `{` + distinct(500_000) + `}`, 400, "100000 members"},
		{"Zato aside", "/import/zato", `{"zato_env": [` + manyObjects + `], "topics": [{"name": "/aside"}]}`, 200, ""},
		{"another body", "/clients", `[` + manyObjects[:1_000_000] + `{}]`, 400, "allowed are at most 20000 values"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const most = 40 << 20 // bytes
			var a apiAnswer
			grown := heapGrowth(func() { a = r.do("POST", tt.path, tt.body) })
			t.Logf("%d bytes of body, %d KiB of heap", len(tt.body), grown>>10)
			if a.StatusCode != tt.status || !strings.Contains(string(a.body), tt.detail) {
				t.Errorf("%s %s", a.Status, a.body)
			}
			if grown > most {
				t.Errorf("the heap grew by %d MiB", grown>>20)
			}
		})
	}
}

// heapGrowth returns by how many bytes the heap grows at most while f runs, with what nobody holds any more
// collected often.
func heapGrowth(f func()) int64 {
	defer debug.SetGCPercent(debug.SetGCPercent(10))
	heap := func() int64 {
		sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		metrics.Read(sample)
		return int64(sample[0].Value.Uint64())
	}
	runtime.GC()
	before, most := heap(), int64(0)
	done, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			most = max(most, heap())
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	}()
	f()
	close(done)
	<-watched
	return most - before
}

func distinct(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"%d":0,`, i)
	}
	return b.String() + `"x":0`
}

// One import is read and done at a time; who comes meanwhile is told when to come again. Where the one breaks
// off, the next has its turn.
func TestImportOneAtATime(t *testing.T) {
	r := newAPIRig(t)
	body, w := io.Pipe()
	first := make(chan error, 1)
	go func() {
		req, err := http.NewRequest("POST", r.url+gate.V1+"/import", body)
		if err != nil {
			first <- err
			return
		}
		req.Header.Set("Authorization", "Bearer "+r.writeToken)
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			defer resp.Body.Close()
			if resp.StatusCode != 200 {
				err = fmt.Errorf("%s", resp.Status)
			}
		}
		first <- err
	}()
	for _, part := range []string{`{"version": 1, `, `"topics": [{"name": "/first"}, `} {
		if _, err := io.WriteString(w, part); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{"/import", "/import?dry_run=true", "/import/zato"} { // once it has begun
		for end := time.Now().Add(10 * time.Second); ; {
			a := r.do("POST", path, `{"version": 1, "topics": []}`)
			if a.StatusCode == 503 && a.Header.Get("Retry-After") == "2" && strings.Contains(string(a.body), "allowed is one at a time") {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%s %s", a.Status, a.body)
			}
		}
	}
	if _, err := io.WriteString(w, `{"name": "/second"}]}`); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	if done := r.imported("/import", `{"version": 1, "topics": [{"name": "/first"}, {"name": "/second"}]}`); done.Kept != 2 {
		t.Errorf("%s", planOf(&done))
	}
}

// The import of many passwords lets others sign in, and ends with its client.
func TestImportPasswords(t *testing.T) {
	r := newAPIRig(t)
	r.example()
	var clients []jsonObject
	for i := range 400 { // half a minute of hashes
		clients = append(clients, jsonObject{"username": fmt.Sprint("c", i), "password": "p"})
	}
	document := jsonObject{"version": 1, "clients": clients}
	// A dry run hashes none of them: it has its answer.
	if dry := r.imported("/import?dry_run=true", document); dry.Created != len(clients) {
		t.Errorf("%d created", dry.Created)
	}
	b, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	req, err := http.NewRequestWithContext(ctx, "POST", r.url+gate.V1+"/import", bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.writeToken)
	left := make(chan error, 1)
	go func() {
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		left <- err
	}()
	busy := func() bool { return r.do("POST", "/import?dry_run=true", `{"version": 1}`).StatusCode == 503 }
	within := func(what string, is func() bool) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); !is(); {
			if time.Now().After(end) {
				t.Fatal(what)
			}
		}
	}
	within("the import does not begin", busy)
	// Others have their turn, with edits as with slow hashes.
	r.ok(201, "POST", "/topics", jsonObject{"name": "/meanwhile"})
	if _, err := r.b.Authenticate(t.Context(), "erp", "wrong", "192.0.2.1"); broker.CodeOf(err) != broker.Unauthorized {
		t.Error(err)
	}
	if !busy() {
		t.Error("the import of 400 passwords is done before a login")
	}
	leave()
	if err := <-left; err == nil {
		t.Error("the import has an answer")
	}
	within("the import does not end with its client", func() bool { return !busy() })
	if n := len(r.b.Clients()); n != 2 {
		t.Errorf("%d clients", n)
	}
}

// All that is wrong is told, with where it stands, up to a bound.
func TestImportAllErrors(t *testing.T) {
	r := newAPIRig(t)
	pointers := func(path, body string) string {
		t.Helper()
		var list []string
		for _, e := range r.refused(422, "invalid", "POST", path, body).Errors {
			list = append(list, e.Pointer)
		}
		return strings.Join(list, " ")
	}
	for _, tt := range []struct{ path, body, want string }{
		{"/import", `{"version": 1, "topics": [{"name": "/a", "max_depth": "x", "depth": 1}, 7, {"name": "/b"}], "clients": [{"password": "a", "password_hash": "b"}]}`,
			"/topics/0/max_depth /topics/0/depth /topics/1 /clients/0/password"},
		{"/import", `{"version": 1, "topics": [{"name": "/a", "max_depth": 0, "expiration": -1}], "producers": [{"client": "none", "topic": "/a"}]}`,
			"/topics/0/max_depth /topics/0/expiration /producers/0/client"},
		{"/import/zato?list=topics", `[{"name": 7}, {"name": "/a", "max_depth": "x"}]`, "/0/name /1/max_depth"},
		{"/import/zato?list=topics", `[{"name": "/a", "max_depth": 0}, {"name": "/b"}, {"name": "/c", "max_depth": 0}]`, "/0/max_depth /2/max_depth"},
	} {
		if got := pointers(tt.path, tt.body); got != tt.want {
			t.Errorf("%s: %s", tt.body, got)
		}
	}
	for _, bad := range []string{`{"depth": 1},`, `{"name": "/a", "max_depth": 0},`} {
		if got := pointers("/import", `{"version": 1, "topics": [`+strings.Repeat(bad, 50)+`{}]}`); strings.Count(got, "/topics/") != object.MaxErrors {
			t.Errorf("%s", got)
		}
	}
	if n := len(r.b.Topics()); n != 0 {
		t.Errorf("%d topics", n)
	}
}

// A body that is no JSON, wherever it stops to be, is refused as a whole.
func TestImportMalformed(t *testing.T) {
	r := newAPIRig(t)
	for _, tt := range []struct{ body, want string }{
		{"", "empty"},
		{`{"version": 1, "topics": [{"name": "/a"}]} {}`, "more than one JSON value"},
		{`{"version": 1, "topics": [{"name": "/a"}]}x`, "more than one JSON value"},
		{`{"version": 1, "topics": [{"name": "/a"} {"name": "/b"}]}`, "no JSON from byte"},
		{`{"version": 1, "topics": [{"name": "/a"}]`, "no JSON from byte"},
		{"{\"version\": 1, \"topics\": [{\"name\": \"\xff\"}]}", "not UTF-8"},
		{"{\"version\": 1, \"topics\": [{\"name\": \"/a\"}]}\xff", "not UTF-8"},
		{`{"version": 1, "topics": [{"name": "/a"}], "topics": [{"name": "/b"}]}`, `"topics" is given twice`},
		{`{"version": 1, "topics": [{"name": "/a"}], "clients": ` + strings.Repeat("[", 100) + `}`, "levels"},
		{`7`, "body 7: allowed is an object"},
		{`[]`, "body a list: allowed is an object"},
		{`{"version": 1, "topics": [{"name": ` + strings.Repeat("[", 100) + `}]}`, "levels"},
	} {
		if p := r.refused(400, "malformed", "POST", "/import", tt.body); !strings.Contains(p.Detail, tt.want) {
			t.Errorf("%s: %s", tt.body, p.Detail)
		}
	}
	for _, tt := range []struct{ body, want string }{
		{`{"x": ` + strings.Repeat("[", 100) + `}`, "levels"},
		{`{"zato_env": {"a": [1, {"b": null}]}, "topics": [{"name": "/a"}], "x": [}`, "no JSON from byte"},
		{`{"topics": [], "topics": []}`, `"topics" is given twice`},
	} {
		if p := r.refused(400, "malformed", "POST", "/import/zato", tt.body); !strings.Contains(p.Detail, tt.want) {
			t.Errorf("%s: %s", tt.body, p.Detail)
		}
	}
	if n := len(r.b.Topics()); n != 0 {
		t.Errorf("%d topics", n)
	}
}
