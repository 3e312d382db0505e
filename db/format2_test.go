package db

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
	"pipit/broker/browse"
)

// TestFormat2 opens a file of format 2 and finds all that the program that wrote it found in it, which is
// kept beside it: topics, two consumers that acknowledged out of order and had messages back, one that is
// not active, messages with IDs of their own, payloads that are kept apart, some that wait for their delay.
func TestFormat2(t *testing.T) {
	opensFormer(t, "format2.db.gz")
}

// TestFormat3 opens the same file as the last program without a log left it when it was closed.
func TestFormat3(t *testing.T) {
	opensFormer(t, "format3.db.gz")
}

// verifyUnchanged wants a file to be whole, and to be left as it is by who looks.
func verifyUnchanged(t *testing.T, path string) {
	t.Helper()
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := Verify(path, Options{}, nil); err != nil {
		t.Errorf("before: %v", err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, before) {
		t.Errorf("it is changed by a look at it, %v", err)
	}
}

func opensFormer(t *testing.T, name string) {
	path := unpack(t, name)
	want, err := os.ReadFile(filepath.Join("testdata", "format2.txt"))
	if err != nil {
		t.Fatal(err)
	}
	verifyUnchanged(t, path)
	for _, when := range []string{"brought to the present format", "opened again"} {
		synctest.Test(t, func(t *testing.T) { // it was made in such a time
			time.Sleep(time.Minute)
			s, err := Open(path, Options{})
			if err != nil {
				t.Fatal(err)
			}
			b, err := broker.Open(s, broker.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if got := listed(t, b); got != string(want) {
				t.Errorf("%s: got\n%s", when, got)
			}
			if err := errors.Join(b.Close(), Verify(path, Options{}, nil)); err != nil {
				t.Errorf("%s: %v", when, err)
			}
		})
	}
}

// listed tells what a broker has, and changes nothing of it.
func listed(t *testing.T, b *broker.Broker) string {
	t.Helper()
	var out strings.Builder
	ctx := context.Background()
	for _, c := range b.Clients() {
		fmt.Fprintf(&out, "client %s %q inactive %v\n", c.Username, c.Name, c.Inactive)
	}
	for _, p := range b.Producers() {
		fmt.Fprintf(&out, "producer %d %s %s\n", p.ID, p.Client, p.Topic)
	}
	for _, d := range b.Topics() {
		fmt.Fprintf(&out, "topic %s inactive %v max_depth %d expiration %d dedup_window %v depth %d delayed %d\n",
			d.Name, d.Inactive, d.MaxDepth, d.Expiration, d.DedupWindow, d.Depth, d.Delayed)
		page, err := b.Browse(ctx, browse.Options{Topic: d.Name, State: browse.Delayed})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range page.Messages {
			fmt.Fprintf(&out, "  delayed %s of %s priority %d due %v\n", m.ID, m.Producer, m.Priority, m.Due)
		}
	}
	for _, c := range b.Consumers() {
		fmt.Fprintf(&out, "consumer %d %s %q of %s %s inactive %v max_in_flight %d ack_timeout %v backlog %d last seen %v\n",
			c.ID, c.SubKey, c.Name, c.Client, c.Topic, c.Inactive, c.MaxInFlight, c.AckTimeout, c.Backlog, c.LastSeen)
		page, err := b.Browse(ctx, browse.Options{Consumer: c.ID, Limit: browse.Max, Payload: -1})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range page.Messages {
			fmt.Fprintf(&out, "  %s %s of %s priority %d %s created %v expires %v delivered %d: %.10q %d %x\n",
				m.State, m.ID, m.Producer, m.Priority, m.MIMEType, m.Created, m.ExpireAt, m.Deliveries, m.Payload, m.Size, crc32.ChecksumIEEE(m.Payload))
		}
	}
	value, err := b.Document("kind", "key")
	fmt.Fprintf(&out, "document %s %v\n", value, err)
	return out.String()
}
