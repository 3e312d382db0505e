package db

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
	"pipit/broker/browse"
	"pipit/broker/property"
)

// unpackInUse writes a file with its log, as a crash left both, into a folder of the test.
func unpackInUse(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for files := tar.NewReader(z); ; {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return filepath.Join(dir, "test.db")
		}
		content, read := io.ReadAll(files)
		path := filepath.Join(dir, filepath.FromSlash(h.Name))
		if err := errors.Join(err, read, os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, content, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFormat4 opens a file that was in use when its machine stopped, with the log that it needs, and finds all that the program
// that wrote it found in it: what TestFormat2 has, of which some was received and acknowledged since, and of everything that came
// later: attributes, dead letters, retention, a template and its topic, queues of a pattern, a webhook, a callback, limits,
// a history. How often a message was delivered that has no max_deliveries is in memory alone.
func TestFormat4(t *testing.T) {
	path := unpackInUse(t, "format4.tar.gz")
	want, err := os.ReadFile(filepath.Join("testdata", "format4.txt"))
	if err != nil {
		t.Fatal(err)
	}
	verifyUnchanged(t, path)
	for _, when := range []string{"after the crash", "opened again"} {
		synctest.Test(t, func(t *testing.T) { // it was made in such a time
			time.Sleep(2 * time.Minute)
			s, err := Open(path, Options{LogSize: 2 << 20})
			if err != nil {
				t.Fatal(err)
			}
			b, err := broker.Open(s, broker.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if got := listedWhole(t, b); got != string(want) {
				t.Errorf("%s: got\n%s", when, got)
			}
			if err := errors.Join(b.Close(), Verify(path, Options{}, nil)); err != nil {
				t.Errorf("%s: %v", when, err)
			}
		})
	}
	if path = unpackInUse(t, "format4.tar.gz"); os.RemoveAll(logDir(path)) != nil {
		t.Fatal("its log is still there")
	}
	if _, err := Open(path, Options{}); err == nil || !strings.Contains(err.Error(), "was not closed, and its log") {
		t.Errorf("without its log: %v", err)
	}
}

// listedWhole is listed, with the fields of objects that are not as by default, what messages have beside their payloads, and what happened to
// those that are gone.
func listedWhole(t *testing.T, b *broker.Broker) string {
	t.Helper()
	var out strings.Builder
	out.WriteString(listed(t, b))
	d := b.Definition()
	for i := range d.Clients {
		fmt.Fprintf(&out, "client%s\n", setFields(broker.ClientFields, &d.Clients[i]))
	}
	for i := range d.Topics {
		fmt.Fprintf(&out, "topic%s\n", setFields(broker.TopicFields, &d.Topics[i]))
	}
	for i := range d.Producers {
		fmt.Fprintf(&out, "producer%s\n", setFields(broker.ProducerFields, &d.Producers[i]))
	}
	for i := range d.Consumers {
		fmt.Fprintf(&out, "consumer%s\n", setFields(broker.ConsumerFields, &d.Consumers[i]))
	}
	for i := range d.Webhooks {
		fmt.Fprintf(&out, "webhook%s\n", setFields(broker.WebhookFields, &d.Webhooks[i]))
	}
	ctx := context.Background()
	page, err := b.Browse(ctx, browse.Options{Limit: browse.Max})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range page.Messages {
		if x := m.Extra; x != nil {
			fmt.Fprintf(&out, "extra of %s %q %q %q %v\n", m.ID, x.CorrelationID, x.ReplyTo, x.Attributes, x.DeadLetter)
		}
	}
	for _, id := range []string{"gone", "dead"} {
		traces, err := b.Trace(ctx, browse.TraceQuery{ID: id})
		if err != nil {
			t.Fatal(err)
		}
		for _, tr := range traces {
			fmt.Fprintf(&out, "trace of %s of %s", tr.ID, tr.Topic)
			for _, e := range tr.Events {
				fmt.Fprintf(&out, ", %s at %v", e.What, e.At)
			}
			out.WriteString("\n")
		}
	}
	for _, kind := range []string{"administrator", "token", "audit"} {
		docs, err := b.Documents(kind, "", false, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range docs {
			fmt.Fprintf(&out, "%s %s %s\n", kind, d.Key, d.Value)
		}
	}
	return out.String()
}

func setFields[T any](fields property.Fields[T], of *T) string {
	var out strings.Builder
	byDefault := fields.New()
	for i := range fields {
		if f := &fields[i]; f.Text(of) != f.Text(&byDefault) {
			fmt.Fprintf(&out, " %s=%q", f.Name, f.Text(of))
		}
	}
	return out.String()
}

func namesOf[T any](fields property.Fields[T]) (names []string) {
	for i := range fields {
		names = append(names, fields[i].Name)
	}
	return names
}

// What an earlier release would make of a file: everything that it does not know is counted, and the file left as it is.
func TestDowngrade(t *testing.T) {
	if loss, err := Downgrade(unpack(t, "format1.db.gz"), Options{}, "0.1.0"); err != nil || loss.Format != 1 || loss.Opens != 1 || len(loss.Lost) != 0 {
		t.Errorf("%+v %v", loss, err)
	}
	path := unpackInUse(t, "format4.tar.gz")
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	loss, err := Downgrade(path, Options{}, "0.1.0")
	if err != nil || loss.Format != formatLog || loss.Opens != 1 {
		t.Fatalf("%+v %v", loss, err)
	}
	var got strings.Builder
	for _, l := range loss.Lost {
		fmt.Fprintf(&got, "%d %s\n", l.Count, l.What)
	}
	const want = `1 administrators
1 blocks of the history of messages
1 clients with can_subscribe
1 clients with max_waiting
1 clients with publish_byte_rate
1 clients with publish_rate
1 clients with receive_byte_rate
1 clients with receive_rate
2 consumers of a pattern
1 consumers with callback_concurrency
1 consumers with callback_format
1 consumers with callback_secret
1 consumers with callback_timeout
1 consumers with callback_url
1 consumers with dead_letter_topic
1 consumers with delivery_mode
1 consumers with filter
1 consumers with max_deliveries
4 consumers with name
1 consumers with on_expiry
1 consumers with overflow
1 consumers with retry_backoff
1 dead letters that know where they failed
1 entries of the audit log
5 messages with attributes
1 messages with correlation_id
1 messages with reply_to
2 producers of a pattern
1 tokens
1 topics that a template made
1 topics with auto_create
1 topics with max_bytes
1 topics with max_topics
1 topics with retention
1 topics with retention_bytes
1 webhooks
`
	if got.String() != want {
		t.Errorf("got\n%s", got.String())
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("it is changed by a look at it, %v", err)
	}
	if _, err := Downgrade(path, Options{}, "0.0.9"); err == nil || err.Error() != `version "0.0.9": allowed are 0.1.0` {
		t.Error(err)
	}
	if _, err := Downgrade(path+"x", Options{}, "0.1.0"); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	// What is counted is called as the configuration calls it.
	names := slices.Concat(namesOf(broker.ClientFields), namesOf(broker.TopicFields), namesOf(broker.ConsumerFields))
	for _, l := range loss.Lost {
		if _, field, ok := strings.Cut(l.What, "s with "); ok && !strings.HasPrefix(l.What, "messages") && !slices.Contains(names, field) {
			t.Errorf("%s: no such field", l.What)
		}
	}
}

// The file says which program wrote to it last.
func TestProgramKept(t *testing.T) {
	path := unpack(t, "format3.db.gz")
	for i, version := range []string{"1.2.3", "1.3.0", "1.2.3"} {
		s, err := Open(path, Options{Program: version})
		if err != nil {
			t.Fatal(err)
		}
		b, err := broker.Open(s, broker.Options{})
		if err == nil {
			_, err = b.Apply(t.Context(), broker.Definition{Topics: []broker.Topic{{Name: fmt.Sprint("/", i)}}})
		}
		if err := errors.Join(err, b.Close()); err != nil {
			t.Fatal(err)
		}
		if s, err = Open(path, Options{}); err != nil {
			t.Fatal(err)
		}
		var v view
		in, err := s.enter(&v)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(v.bucket(bucketMeta).Get(keyProgram)); got != version {
			t.Errorf("%q, want %q", got, version)
		}
		in.leave()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
