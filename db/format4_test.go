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
		if err := s.enter(&v); err != nil {
			t.Fatal(err)
		}
		if got := string(v.bucket(bucketMeta).Get(keyProgram)); got != version {
			t.Errorf("%q, want %q", got, version)
		}
		_ = v.base.Rollback()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
