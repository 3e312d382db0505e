package alert_test

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/common/model"

	"pipit/admin/alert"
	"pipit/admin/monitor"
	"pipit/broker"
)

// TestBeginAndEnd: what begins together is told in one message, with all that Alertmanager tells, and so is the end of each.
func TestBeginAndEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newOffice(t, alert.Options{URL: hook})
		defer f.end()
		begun := time.Now()
		f.find(
			monitor.Finding{Attention: monitor.Attention{Code: "consumer_away", Text: "erp is away", Link: "/p/admin/consumers/4", Kind: "consumer", Key: "4"}, Topic: "/orders", Client: "erp", Consumer: "night"},
			monitor.Finding{Attention: monitor.Attention{Code: "disk_low", Text: "The disk is nearly full", Link: "/p/admin/system"}},
			monitor.Finding{Attention: monitor.Attention{Code: "unsynced", Text: "It is meant", Link: "/p/admin/system"}},
		)
		f.o.Mute = []string{"unsynced"}
		f.adjust()
		pass(29 * time.Second)
		if list := f.got(); len(list) > 0 {
			t.Fatalf("told at once: %+v", list)
		}
		pass(time.Minute)
		list := f.got()
		if len(list) != 1 {
			t.Fatalf("%d messages", len(list))
		}
		p := list[0]
		if p.Version != "4" || p.Receiver != "pipit" || p.Status != "firing" || p.GroupKey != "{}:{}" || p.ExternalURL != "https://mq.example.test/p/admin/" || p.GroupLabels == nil || len(p.CommonLabels) != 0 || p.TruncatedAlerts != 0 {
			t.Errorf("%+v", p)
		}
		if p.brief() != "firing: +disk_low +consumer_away" {
			t.Fatal(p.brief())
		}
		a := p.Alerts[1]
		if fmt.Sprint(a.Labels) != "map[alertname:consumer_away client:erp consumer:night consumer_id:4 severity:warning topic:/orders]" || a.Annotations["summary"] != "erp is away" ||
			a.GeneratorURL != "https://mq.example.test/p/admin/consumers/4" || a.Annotations["link"] != a.GeneratorURL || !a.StartsAt.Equal(begun) || !a.EndsAt.IsZero() || a.Fingerprint != prometheus(a.Labels) {
			t.Errorf("%+v", a)
		}
		if p.Alerts[0].Labels["severity"] != "critical" {
			t.Error(p.Alerts[0].Labels)
		}

		f.set("disk_low")
		pass(10 * time.Minute)
		list = f.got()
		if len(list) != 1 || list[0].brief() != "firing: -consumer_away +disk_low" {
			t.Fatalf("%+v", list)
		}
		if a := list[0].Alerts[0]; a.EndsAt.Before(begun.Add(80*time.Second)) || a.EndsAt.After(begun.Add(100*time.Second)) || !a.StartsAt.Equal(begun) {
			t.Errorf("%+v", a)
		}
		keepBody(t, list[0].body)
		f.set()
		pass(time.Minute)
		if s := f.briefs(); s != "resolved: -disk_low" {
			t.Error(s)
		}
		pass(24 * time.Hour)
		if s := f.briefs(); s != "" {
			t.Error(s)
		}
	})
}

var writeBody = flag.Bool("alertbody", false, "write the body that deploy/rules reads as Alertmanager does")

// keepBody compares a body with the one that deploy/rules tests.
func keepBody(t *testing.T, body []byte) {
	t.Helper()
	const file = "../../deploy/rules/testdata/alert.json"
	if body = append(body, '\n'); *writeBody {
		if err := os.WriteFile(file, body, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if kept, err := os.ReadFile(file); err != nil || !bytes.Equal(kept, body) {
		t.Errorf("%s is not what is posted, %v: go test ./admin/alert -run TestBeginAndEnd -alertbody\n%s", file, err, body)
	}
}

// prometheus is the fingerprint that Prometheus makes of labels.
func prometheus(labels map[string]string) string {
	set := model.LabelSet{}
	for name, value := range labels {
		set[model.LabelName(name)] = model.LabelValue(value)
	}
	return set.Fingerprint().String()
}

// TestRepeat: what goes on is told again after each repeat, and never where that is off.
func TestRepeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newOffice(t, alert.Options{URL: hook, Repeat: time.Hour})
		defer f.end()
		f.set("disk_low")
		pass(3*time.Hour + 5*time.Minute)
		if s := f.briefs(); s != strings.TrimSuffix(strings.Repeat("firing: +disk_low; ", 4), "; ") {
			t.Error(s)
		}
		f.o.Repeat = -1
		f.adjust()
		pass(24 * time.Hour)
		if s := f.briefs(); s != "" {
			t.Error(s)
		}
	})
}

// TestFlapping: what is over before it is told is told to nobody; what comes back before it is over is told once. Nobody gets two
// messages within an interval.
func TestFlapping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newOffice(t, alert.Options{URL: hook})
		defer f.end()
		for range 100 {
			f.set("refused")
			pass(20 * time.Second)
			f.set()
			pass(20 * time.Second)
		}
		if s := f.briefs(); s != "" {
			t.Error("short:", s)
		}
		for range 100 {
			f.set("refused")
			pass(time.Minute)
			f.set()
			pass(20 * time.Second)
		}
		if s := f.briefs(); s != "firing: +refused" {
			t.Error("long:", s)
		}
		start := time.Now()
		for i := range 300 { // each is there for two minutes, and then another
			f.set(fmt.Sprintf("thing_%d", i/2))
			pass(time.Minute)
		}
		list := f.got()
		if most := int(time.Since(start)/alert.DefaultInterval) + 1; len(list) < most/2 || len(list) > most {
			t.Errorf("%d messages, want at most %d", len(list), most)
		}
		for i := range list[1:] {
			if d := list[i+1].at.Sub(list[i].at); d < alert.DefaultInterval {
				t.Errorf("%s between two messages", d)
			}
		}
	})
}

// TestRestart: a start tells nothing again, and tells that something is over which ended meanwhile.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newOffice(t, alert.Options{URL: hook})
		defer f.end()
		f.set("disk_low", "in_flight_full", "refused")
		pass(time.Minute)
		first := f.got()
		if len(first) != 1 || first[0].brief() != "firing: +disk_low +in_flight_full +refused" {
			t.Fatal(first)
		}
		f.close()
		f.set("disk_low") // what is counted over time takes a while
		f.open()
		pass(time.Minute)
		f.set("disk_low", "in_flight_full")
		pass(time.Hour)
		list := f.got()
		if len(list) != 1 || list[0].brief() != "firing: -refused +disk_low +in_flight_full" || !list[0].Alerts[0].StartsAt.Equal(first[0].Alerts[2].StartsAt) {
			t.Errorf("%+v", list)
		}
		f.close()
		f.set()
		pass(time.Hour)
		f.open()
		pass(time.Hour)
		if s := f.briefs(); s != "resolved: -disk_low -in_flight_full" {
			t.Error(s)
		}
		if st := f.s.State(10); len(st.Sent) != 3 || st.Sent[0].Resolved != 2 || st.Sent[2].Firing != 3 || len(st.Alerts) != 0 {
			t.Errorf("%+v", st)
		}
		f.set("disk_low")
		pass(time.Minute)
		f.got()
		f.close()
		f.o.URL += "&other" // who knows of nothing
		f.open()
		pass(time.Minute)
		if s := f.briefs(); s != "firing: +disk_low" {
			t.Error("another receiver:", s)
		}
	})
}

// TestRepeatedAfterRestart: the time of a repeat goes on over a start.
func TestRepeatedAfterRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newOffice(t, alert.Options{URL: hook, Repeat: 4 * time.Hour})
		defer f.end()
		f.set("disk_low")
		pass(time.Minute)
		for range 3 {
			pass(time.Hour)
			f.close()
			f.open()
		}
		if s := f.briefs(); s != "firing: +disk_low" {
			t.Error(s)
		}
		pass(time.Hour)
		if s := f.briefs(); s != "firing: +disk_low" {
			t.Error(s)
		}
	})
}

// TestClockWasAhead: who was told by a clock that was ahead before the start is told what begins, and not only when that time has come.
func TestClockWasAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newOffice(t, alert.Options{URL: hook})
		defer f.end()
		f.set("disk_low")
		pass(time.Minute)
		f.got()
		f.close()
		f.changed("alert.firing", "receivers", func(text string) string {
			before, last, _ := strings.Cut(text, `"Last":"`)
			return before + `"Last":"` + strings.Replace(last, last[:4], "2345", 1)
		})
		f.open()
		f.set("disk_low", "refused")
		pass(time.Hour)
		if s := f.briefs(); s != "firing: +refused +disk_low" {
			t.Error(s)
		}
	})
}

// TestReceiverDown: it is tried again with pauses that become longer, to a bound; when it is back it is told what is so then, once.
func TestReceiverDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newOffice(t, alert.Options{URL: hook})
		defer f.end()
		f.answer(503)
		f.set("disk_low", "expired")
		pass(time.Hour)
		f.set("disk_low") // the other one is over, and nobody has heard of it
		pass(time.Hour)
		list := f.got()
		if n := len(list); n < 12 || n > 18 {
			t.Errorf("%d tries in two hours", n)
		}
		for i, least := range []time.Duration{10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 10 * time.Minute} {
			if d := list[i+1].at.Sub(list[i].at); d < least || d > least+20*time.Second {
				t.Errorf("%s after %d failures", d, i+1)
			}
		}
		st := f.s.State(10)
		if r := st.Receivers[0]; len(st.Receivers) != 1 || r.Target != "http://hooks.example.test" || r.Failures != len(list) || r.Problem != "503 Service Unavailable" || r.Next.IsZero() || len(st.Alerts[0].Told) != 0 {
			t.Errorf("%+v", st)
		}
		if len(st.Sent) != 1 || st.Sent[0].Tries != len(list) || st.Sent[0].Answer != "no, thanks" {
			t.Errorf("%+v", st.Sent)
		}
		f.answer(0)
		pass(time.Hour)
		if s := f.briefs(); s != "firing: +disk_low" {
			t.Error(s)
		}
		st = f.s.State(10)
		if r := st.Receivers[0]; r.Failures != 0 || r.Problem != "" || r.Last.IsZero() || len(st.Sent) != 1 || st.Sent[0].Error != "" || st.Sent[0].Tries != len(list)+1 || !slices.Equal(st.Alerts[0].Told, []string{alert.Webhook}) {
			t.Errorf("%+v", st)
		}
	})
}

// TestSlowReceiver: who does not answer holds up neither mail, nor who looks, nor the end.
func TestSlowReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newOffice(t, alert.Options{URL: hook, SMTP: "smtp://localhost", From: "pipit@example.test", To: []string{"ops@example.test"}})
		f.mu.Lock()
		f.hang = make(chan struct{})
		f.mu.Unlock()
		f.set("disk_low")
		pass(45 * time.Second)
		if n := len(f.mails); n != 1 {
			t.Errorf("%d mails", n)
		}
		if st := f.s.State(10); len(st.Alerts) != 1 || !slices.Equal(st.Alerts[0].Told, []string{alert.Mail}) {
			t.Errorf("%+v", st)
		}
		pass(15 * time.Second)
		if st := f.s.State(10); st.Receivers[0].Problem != "no answer within 15s" {
			t.Errorf("%+v", st.Receivers)
		}
		f.end()
	})
}

// TestMany: with 10,000 things firing a message stays small, and says how many more there are.
func TestMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newOffice(t, alert.Options{URL: hook, SMTP: "smtp://localhost", From: "pipit@example.test", To: []string{"ops@example.test"}})
		defer f.end()
		const n = 12_000
		found := make([]monitor.Finding, n)
		for i := range found {
			key := fmt.Sprint(i + 1)
			found[i] = monitor.Finding{Attention: monitor.Attention{Code: "consumer_away", Text: "erp has not fetched from /orders/" + key, Link: "/admin/consumers/" + key, Kind: "consumer", Key: key}, Topic: "/orders/" + key, Client: "erp"}
		}
		f.find(found...)
		pass(time.Minute)
		list := f.got()
		if len(list) != 1 || list[0].bytes > 300<<10 || int(list[0].TruncatedAlerts)+len(list[0].Alerts) != n || len(list[0].Alerts) < 300 {
			t.Fatalf("%d messages, %d bytes, %d and %d more", len(list), list[0].bytes, len(list[0].Alerts), list[0].TruncatedAlerts)
		}
		if labels := fmt.Sprint(list[0].CommonLabels); labels != "map[alertname:consumer_away client:erp severity:warning]" {
			t.Error(labels)
		}
		if len(f.mails) != 1 || len(f.mails[0].text) > 32<<10 || !strings.Contains(f.mails[0].text, "- and 9950 more") || !strings.Contains(f.mails[0].text, "- and 2000 more") {
			t.Errorf("%d mails: %.3000s", len(f.mails), f.mails[0].text)
		}
		if st := f.s.State(100); len(st.Alerts) != 100 || st.Beyond != n-100 {
			t.Errorf("%d and %d more", len(st.Alerts), st.Beyond)
		}
		f.close()
		f.open() // with all of them
		pass(10 * time.Minute)
		if list := f.got(); len(list) != 0 {
			t.Errorf("%d messages after a start", len(list))
		}
		f.set()
		pass(time.Minute)
		if list := f.got(); len(list) != 1 || list[0].Status != "resolved" || int(list[0].TruncatedAlerts)+len(list[0].Alerts) != 10_000 {
			t.Errorf("%d messages", len(list))
		}
	})
}

// TestMail: a mail is sent by STARTTLS or TLS, signed in, and says what a person needs; without TLS nothing is sent but to this machine.
func TestMail(t *testing.T) {
	config, ca := certificate(t)
	for _, c := range []struct {
		smtp  string
		tls   bool // the server has it
		wrong string
	}{
		{"smtp://pipit@mail.example.test", true, ""},
		{"smtps://pipit@mail.example.test", true, ""},
		{"smtp://localhost:2525", true, ""},
		{"smtp://127.0.0.1:2525", false, ""},
		{"smtp://pipit@localhost:2525", false, ""},
		{"smtp://pipit@mail.example.test", false, "STARTTLS"},
		{"smtp://pipit@other.example.test", true, "certificate is valid for mail.example.test, not other.example.test"},
		{"smtp://stranger@mail.example.test", true, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newOffice(t, alert.Options{SMTP: c.smtp, Password: password, CA: ca, From: "Pipit <pipit@example.test>", To: []string{"ops@example.test", "Night <night@example.test>"}})
			defer f.end()
			if c.tls {
				f.mail.config = config
			}
			f.set("disk_low", "expired")
			f.adjust() // it looks at once
			pass(time.Minute)
			if c.wrong != "" {
				if st := f.s.State(1); len(f.mails) > 0 || !strings.Contains(st.Receivers[0].Problem, c.wrong) {
					t.Errorf("%s: %d mails, %q", c.smtp, len(f.mails), st.Receivers[0].Problem)
				}
				return
			}
			if len(f.mails) != 1 {
				t.Fatalf("%s: %+v", c.smtp, f.s.State(1).Receivers)
			}
			m := f.mails[0]
			if m.tls != c.tls || (m.auth == "") == strings.Contains(c.smtp, "@") || len(m.to) != 2 || !strings.Contains(m.from, "<pipit@example.test>") {
				t.Errorf("%s: %+v", c.smtp, m)
			}
			if st := f.s.State(1); st.Sent[0].Answer != "250 2.0.0 queued as 4711" && !strings.Contains(st.Sent[0].Answer, "queued as 4711") || st.Sent[0].Target != "ops@example.test, Night <night@example.test>" {
				t.Errorf("%+v", st.Sent)
			}
			read, err := mail.ReadMessage(strings.NewReader(m.text))
			if err != nil {
				t.Fatal(err)
			}
			subject, err := new(mime.WordDecoder).DecodeHeader(read.Header.Get("Subject"))
			if subject != "[FIRING:2] Pipit mq.example.test: It is disk_low, and 1 more" || err != nil || read.Header.Get("Auto-Submitted") != "auto-generated" {
				t.Errorf("%q, %v, %v", subject, err, read.Header)
			}
			body, err := io.ReadAll(quotedprintable.NewReader(read.Body))
			want := "Needs attention:\r\n\r\n- It is disk_low (disk_low, critical, since 2000-01-01 00:00:00 UTC)\r\n  https://mq.example.test/p/admin/disk_low\r\n" +
				"- It is expired (expired, warning, since 2000-01-01 00:00:00 UTC)\r\n  https://mq.example.test/p/admin/expired\r\n\r\nAll of it: https://mq.example.test/p/admin/alerts\r\n"
			if err != nil || string(body) != want+".\r\n" {
				t.Errorf("%v: %q\nwant %q", err, body, want)
			}
		})
	}
}

// TestTest: a test goes to all at once, is told from others, and says what each made of it.
func TestTest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newOffice(t, alert.Options{})
		defer f.end()
		if _, err := f.s.Test(t.Context()); broker.ErrorOf(err) == nil || !strings.Contains(err.Error(), "[alerts]") {
			t.Error(err)
		}
		f.set("disk_low")
		pass(time.Minute) // nobody looks
		if st := f.s.State(10); len(st.Alerts)+len(st.Receivers) > 0 {
			t.Errorf("%+v", st)
		}
		f.o.URL, f.o.SMTP, f.o.From, f.o.To = hook, "smtp://localhost", "pipit@example.test", []string{"ops@example.test"}
		f.mail.refusing.Store(true)
		f.adjust()
		done, err := f.s.Test(t.Context())
		if err != nil || len(done) != 2 || done[0].Status != 204 || done[0].Error != "" || done[1].Target != "ops@example.test" || !strings.Contains(done[1].Error, "nobody here of that name") {
			t.Errorf("%v, %+v", err, done)
		}
		if s := f.briefs(); s != "firing: +test; resolved: -test" {
			t.Error(s)
		}
		f.answer(404)
		f.mail.refusing.Store(false)
		done, err = f.s.Test(t.Context())
		if err != nil || done[0].Error != "404 Not Found" || done[0].Answer != "no, thanks" || done[1].Error != "" || !strings.Contains(done[1].Answer, "queued as 4711") {
			t.Errorf("%v, %+v", err, done)
		}
		if st := f.s.State(10); len(st.Sent) != 4 || !st.Sent[0].Test || !st.Receivers[0].Last.IsZero() {
			t.Errorf("%+v", st)
		}
	})
}

// TestSentIsBounded: the last 200 messages are kept, over a start, too.
func TestSentIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newOffice(t, alert.Options{URL: hook, Repeat: time.Minute, Interval: 10 * time.Second})
		defer f.end()
		f.set("disk_low")
		pass(5 * time.Hour)
		last := f.s.State(1).Sent
		f.close()
		f.open()
		again := f.s.State(1).Sent
		if len(last) != alert.MaxSent || len(again) != alert.MaxSent || again[0].Number != last[0].Number || again[199].Number != last[0].Number-199 || !again[0].Time.Equal(last[0].Time) {
			t.Errorf("%d and %d: %+v, %+v", len(last), len(again), last[0], again[0])
		}
	})
}

// TestGuard: alerts go through the network to this machine, and not to where nobody has a receiver.
func TestGuard(t *testing.T) {
	var got atomic.Int32
	web := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { got.Add(1) }))
	defer web.Close()
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer port.Close()
	f := newOffice(t, alert.Options{URL: web.URL, SMTP: "smtp://" + port.Addr().String(), From: "pipit@example.test", To: []string{"ops@example.test"}})
	defer f.end()
	go func() {
		for c, err := port.Accept(); err == nil; c, err = port.Accept() {
			f.mail.serve(c, false)
		}
	}()
	f.o.Dial = nil
	f.adjust()
	if done, err := f.s.Test(t.Context()); err != nil || done[0].Error != "" || done[1].Error != "" || got.Load() != 2 || f.mailed() != 1 {
		t.Errorf("%v, %+v, %d posts, %d mails", err, done, got.Load(), f.mailed())
	}
	f.o.URL, f.o.SMTP = "http://169.254.169.254/latest/meta-data", "smtp://169.254.169.254"
	f.adjust()
	done, err := f.s.Test(t.Context())
	for _, d := range done {
		if err != nil || len(done) != 2 || !strings.Contains(d.Error, "the address 169.254.169.254 is not called") {
			t.Errorf("%v, %+v", err, d)
		}
	}
}
