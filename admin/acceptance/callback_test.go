package acceptance

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pipit/admin"
	"pipit/admin/access"
	"pipit/admin/api"
	"pipit/admin/gate"
	"pipit/admin/object"
	"pipit/broker"
	"pipit/broker/limit"
	"pipit/broker/signing"
	"pipit/db"
	"pipit/httpapi"
	"pipit/httpapi/callback"
)

// receiver answers the calls to consumers that are sent their messages: a URL whose path ends with gone with 410, and any
// other with 200 and its path.
type receiver struct{}

func (receiver) RoundTrip(r *http.Request) (*http.Response, error) {
	_, _ = io.Copy(io.Discard, r.Body)
	status := http.StatusOK
	if strings.HasSuffix(r.URL.Path, "gone") {
		status = http.StatusGone
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(r.URL.Path))}, nil
}

// What is sent to a consumer can be looked at, and tried, by who may; its secrets are for who may write alone.
func TestCallbacks(t *testing.T) {
	r := newAPIRig(t)
	r.ok(201, "POST", "/topics", jsonObject{"name": "/t"})
	r.ok(201, "POST", "/clients", jsonObject{"username": "erp", "password": "a long password"})
	if p := r.refused(422, "invalid", "POST", "/consumers", jsonObject{"client": "erp", "topic": "/t", "delivery_mode": "callback-url"}); p.Errors[0].Pointer != "/callback_url" {
		t.Errorf("%+v", p)
	}
	var c object.Consumer
	r.ok(201, "POST", "/consumers", jsonObject{"client": "erp", "topic": "/t", "delivery_mode": "callback-url", "callback_url": "http://erp.example.com/a",
		"callback_headers": jsonObject{"Authorization": "Bearer 5eCr3t"}}).into(t, &c)
	if _, err := signing.Keys(c.CallbackSecret); err != nil || c.Callback == nil || c.Callback.State != object.CallbackSending {
		t.Fatalf("%+v %+v, %v", c, c.Callback, err)
	}
	one := "/consumers/" + strconv.FormatUint(uint64(c.ID), 10)
	var tried api.Attempt
	r.ok(200, "POST", one+"/test-call", nil).into(t, &tried)
	if tried.Status != 200 || tried.Answer != "/a" || !tried.Test || tried.Error != "" || tried.Messages != 1 {
		t.Errorf("%+v", tried)
	}
	secret := c.CallbackSecret
	r.ok(200, "PATCH", one, jsonObject{"callback_url": "http://erp.example.com/gone"}).into(t, &c)
	if c.CallbackSecret != secret {
		t.Error("an edit of the URL changed the secret")
	}
	r.ok(201, "POST", "/topics/%2Ft/messages", jsonObject{"payload": "x"})
	waitFor(t, func() bool {
		r.ok(200, "GET", one, nil).into(t, &c)
		return c.Callback.State == object.CallbackPaused
	})
	if c.Backlog != 1 || !c.Inactive || !strings.Contains(c.Callback.Paused, "410") {
		t.Errorf("%+v %+v", c, c.Callback)
	}
	var list api.Attempts
	r.ok(200, "GET", one+"/attempts", nil).into(t, &list)
	if len(list.Items) != 2 || list.Items[0].Status != 410 || list.Items[0].Error != "410 Gone" || !list.Items[1].Test {
		t.Errorf("%+v", list)
	}
	log := string(r.ok(200, "GET", "/audit", nil).body)
	if !strings.Contains(log, `"who":"callback sender","via":"callback","action":"consumer.pause","object":"erp of /t","detail":"the receiver answered 410 Gone`) {
		t.Errorf("the pause is not in the audit log: %s", log)
	}
	if strings.Contains(log, "5eCr3t") || strings.Contains(log, secret) {
		t.Errorf("a secret is in the audit log: %s", log)
	}
	if a := string(r.ok(200, "GET", "/stats", nil).body); !strings.Contains(a, `"callback_paused"`) {
		t.Errorf("nobody is told: %s", a)
	}
	reader := []string{"Authorization", "Bearer " + r.readToken}
	seen := r.ok(200, "GET", one, nil, reader...)
	if a := seen; strings.Contains(string(a.body), "5eCr3t") || strings.Contains(string(a.body), secret) {
		t.Errorf("the scope read sees a secret: %s", a.body)
	}
	r.ok(200, "GET", one+"/attempts", nil, reader...)
	r.refused(403, "forbidden", "POST", one+"/test-call", nil, reader...)
	var after object.Consumer
	r.ok(200, "PATCH", one, seen.body).into(t, &after)
	if after.CallbackSecret != secret || after.CallbackHeaders.Map()["Authorization"] != "Bearer 5eCr3t" {
		t.Errorf("what was not seen is lost when the rest is sent back: %+v", after)
	}
}

// slow answers after nearly the longest time that a receiver may have.
type slow struct{}

func (slow) RoundTrip(r *http.Request) (*http.Response, error) {
	select {
	case <-time.After(limit.MaxCallbackTimeout - time.Second):
		return receiver{}.RoundTrip(r)
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

// A test call takes as long as the receiver may, which is longer than other requests.
func TestSlowTestCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logger := slog.New(slog.DiscardHandler)
		file, err := db.Open(filepath.Join(t.TempDir(), "pipit.db"), db.Options{Logger: logger})
		if err != nil {
			t.Fatal(err)
		}
		b, err := broker.Open(file, broker.Options{Logger: logger})
		if err != nil {
			t.Fatal(err)
		}
		_, err = b.Apply(t.Context(), broker.Definition{
			Clients: []broker.Client{{Username: "erp", PasswordHash: watchedHash}},
			Topics:  []broker.Topic{{Name: "/t"}},
			Consumers: []broker.Consumer{{Client: "erp", Topic: "/t", DeliveryMode: broker.DeliveryCallback,
				CallbackURL: "http://erp.example.com/a", CallbackTimeout: limit.MaxCallbackTimeout}},
		})
		if err != nil {
			t.Fatal(err)
		}
		sender, err := callback.New(b, callback.Options{Logger: logger, Through: slow{}})
		if err != nil {
			t.Fatal(err)
		}
		a, err := admin.New(b, admin.Options{Logger: logger, Callbacks: sender})
		if err != nil {
			t.Fatal(err)
		}
		if err := access.CreateAdministrator(t.Context(), b, "ada", "a long password"); err != nil {
			t.Fatal(err)
		}
		made, err := a.Users.CreateToken(t.Context(), access.Caller{Actor: gate.Actor{Name: gate.CommandLine, Access: gate.Admin}}, access.NewToken{Name: "boss", Scope: gate.ScopeWrite})
		if err != nil {
			t.Fatal(err)
		}
		conns := make(chan net.Conn, 1)
		server := httpapi.NewServer(a, 0)
		go func() { _ = server.Serve(pipes(conns)) }()
		client := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
			client, of := net.Pipe()
			conns <- of
			return client, nil
		}}}
		req, err := http.NewRequestWithContext(t.Context(), "POST", "http://127.0.0.1"+gate.V1+"/consumers/"+strconv.FormatUint(uint64(b.Consumers()[0].ID), 10)+"/test-call", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+made.Token)
		res, err := client.Do(req)
		if err != nil {
			t.Error(err)
		} else {
			body, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode != 200 || !strings.Contains(string(body), `"status":200`) {
				t.Errorf("%s %s, %v", res.Status, body, err)
			}
		}
		client.CloseIdleConnections()
		close(conns)
		b.Drain()
		a.Close()
		if err := errors.Join(server.Close(), sender.Stop(), b.Close()); err != nil {
			t.Error(err)
		}
	})
}

// pipes is a listener of connections within the process.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (pipes) Close() error { return nil }

func (pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// A secret that an import makes is in its answer, and nowhere else.
func TestImportMakesCallbackSecret(t *testing.T) {
	r := newAPIRig(t)
	r.ok(201, "POST", "/topics", jsonObject{"name": "/t"})
	r.ok(201, "POST", "/clients", jsonObject{"username": "erp", "password": "a long password"})
	document := jsonObject{"version": 1, "consumers": []jsonObject{
		{"client": "erp", "topic": "/t", "name": "second", "delivery_mode": "callback-url", "callback_url": "http://erp.example.com/a"},
	}}
	if dry := r.imported("/import?dry_run=true", document); dry.CallbackSecrets != nil {
		t.Errorf("%+v", dry)
	}
	done := r.imported("/import", document)
	c := r.b.Consumers()[0]
	if len(done.CallbackSecrets) != 1 || done.CallbackSecrets[0] != (object.MadeSecret{Client: "erp", Topic: "/t", Name: "second", CallbackSecret: c.CallbackSecret}) || c.CallbackSecret == "" ||
		len(done.SubKeys) != 1 || done.SubKeys[0] != (object.MadeKey{Client: "erp", Topic: "/t", Name: "second", SubKey: c.SubKey}) || planOf(&done) != "create consumer erp/second of /t" {
		t.Errorf("%+v", done)
	}
	if again := r.imported("/import", document); again.CallbackSecrets != nil || again.Kept != 1 {
		t.Errorf("%+v", again)
	}
	if log := string(r.ok(200, "GET", "/audit", nil).body); strings.Contains(log, c.CallbackSecret) {
		t.Error("the secret is in the audit log")
	}
}

// waitFor looks until something is so.
func waitFor(t *testing.T, so func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !so(); time.Sleep(time.Millisecond) { // lint:sleep a call goes over a real socket, and what it came to is only to be asked for
		if time.Now().After(end) {
			t.Fatal("it does not happen")
		}
	}
}
