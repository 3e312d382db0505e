package command

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"pipit/admin/api"
	"pipit/admin/object"
)

// Bytes of each payload that a list asks for, and of all that a page may hold.
const (
	glance      = 60      // for a table
	jsonPayload = 1 << 10 // for JSON, where the user says no other number
	pagePayload = 16 << 20
)

func (c *cli) messagesCommand() *cobra.Command {
	return group("messages", "Look at messages without consuming them, delete, release, copy and redrive them",
		c.messageListCommand(), c.messageShowCommand(), messageTraceCommand(c), c.messageDeleteCommand(), c.messageReleaseCommand(), messageCopyCommand(c), messageRedriveCommand(c))
}

func (c *cli) messageListCommand() *cobra.Command {
	var match matchFlags
	var limit, payload int
	var newest bool
	cmd := &cobra.Command{
		Use:   "list [TOPIC]",
		Short: "List messages that wait, are in flight, deferred or delayed: of a topic, a consumer or all topics",
		Example: `  pipit messages list /customer/created
  pipit messages list --consumer 4 --state in_flight
  pipit messages list --text 'müller 4' --newest
  pipit messages list /customer/created --since 10m --text '"id": 17' --limit 0`,
		Args:              arguments("[TOPIC]"),
		ValidArgsFunction: inOrder(c.completeTopic),
	}
	f := cmd.Flags()
	match.flags(c, cmd, true)
	f.BoolVar(&newest, "newest", false, "of each priority, the newest first")
	f.IntVarP(&limit, "limit", "n", 100, "at most `N`; 0: all")
	f.IntVar(&payload, "payload", jsonPayload, "with --json, the first `N` bytes of each payload")
	return c.speak(cmd, func(ctx context.Context, args []string) error {
		if err := cmp.Or(notNegative("limit", limit), notNegative("payload", payload)); err != nil {
			return err
		}
		topic := ""
		if len(args) > 0 {
			topic = args[0]
		}
		q, err := match.query(ctx, c, cmd, topic)
		if err != nil {
			return err
		}
		if newest {
			q.Set("newest", "true")
		}
		if !c.out.json {
			payload = glance
		}
		q.Set("payload", strconv.Itoa(payload))
		return c.listMessages(ctx, q, limit, min(maxPage, pagePayload/max(1, payload)), q.Has("consumer"))
	})
}

func (c *cli) listMessages(ctx context.Context, q url.Values, limit, perPage int, ofConsumer bool) error {
	var list struct {
		Items []json.RawMessage `json:"items"`
		Next  string            `json:"next,omitempty"`
	}
	list.Items = []json.RawMessage{}
	p := c.out.progress("looking at messages", "found", c.countMessages(ctx, q, limit))
	err := pages(ctx, c.api, path("messages"), q, limit, perPage, func(m page[json.RawMessage]) {
		list.Items = append(list.Items, m.Items...)
		list.Next = m.Next
		p.add(len(m.Items))
	})
	p.end()
	if err != nil {
		return err
	}
	if c.out.json {
		return c.out.printJSON(list)
	}
	t := &table{headings: []heading{{name: "MSG_ID", kind: fixed}, {name: "PUBLISHED " + zoneLabel(), kind: fixed}, {name: "PRIORITY", kind: digits, drop: 2}, {name: "STATE", kind: fixed}, {name: "SIZE", kind: digits, drop: 1}, {name: "PAYLOAD", kind: elastic}}}
	if ofConsumer {
		t.headings = append(t.headings[:4:4], append([]heading{{name: "DELIVERIES", kind: digits}}, t.headings[4:]...)...)
	}
	ofAll := !ofConsumer && !q.Has("topic")
	if ofAll {
		t.headings = append(t.headings[:1:1], append([]heading{{name: "TOPIC", kind: elastic}}, t.headings[1:]...)...)
	}
	for _, item := range list.Items {
		var m object.Message
		if err := json.Unmarshal(item, &m); err != nil {
			return err
		}
		row := []string{m.ID}
		if ofAll {
			row = append(row, m.Topic)
		}
		row = append(row, when(m.Created), number(m.Priority), m.State)
		if ofConsumer {
			row = append(row, number(m.Deliveries))
		}
		beginning := string(m.Payload)
		if m.Truncated {
			beginning += "…"
		}
		t.rows = append(t.rows, append(row, number(m.Size), beginning))
	}
	if c.out.quiet {
		return c.out.printKeys(t)
	}
	if err := c.out.printTable(t); err != nil {
		return err
	}
	if list.Next != "" {
		c.out.notef("there are more: --limit says how many are listed")
	}
	return nil
}

// countMessages returns how many messages a list will have, for a person who waits for it; 0 where
// nobody does or that is not known, as with filters.
func (c *cli) countMessages(ctx context.Context, q url.Values, limit int) int64 {
	if _, ok := Terminal(c.out.stderr); !ok || len(q) != 2 || !q.Has("topic") && !q.Has("consumer") { // one is payload
		return 0
	}
	of := path("topics", q.Get("topic"))
	if q.Has("consumer") {
		of = path("consumers", q.Get("consumer"))
	}
	var n struct{ Depth, Backlog int64 }
	if c.api.do(ctx, call{method: http.MethodGet, path: of}, &n) != nil {
		return 0 // whatever it is, the list says it
	}
	total := n.Depth + n.Backlog // an object has one of them
	if limit > 0 {
		total = min(total, int64(limit))
	}
	return total
}

func (c *cli) messageShowCommand() *cobra.Command {
	var raw bool
	cmd := &cobra.Command{
		Use:   "show TOPIC MSG_ID",
		Short: "Show a message, and where it stands with each consumer",
		Example: `  pipit messages show /customer/created K3MevvRG5WKKUWSFbVrUNl6hbVyR
  pipit messages show /customer/created K3MevvRG5WKKUWSFbVrUNl6hbVyR --raw >payload.bin`,
		Args:              arguments("TOPIC", "MSG_ID"),
		ValidArgsFunction: inOrder(c.completeTopic),
	}
	cmd.Flags().BoolVar(&raw, "raw", false, "print the payload alone, byte for byte")
	c.speak(cmd, func(ctx context.Context, args []string) error {
		if raw && c.out.json {
			return usageError{errors.New("--raw and --json do not go together")}
		}
		if raw {
			return c.printRaw(ctx, args[0], args[1])
		}
		var answer json.RawMessage
		if err := c.api.do(ctx, call{method: http.MethodGet, path: path("messages", args[0], args[1])}, &answer); err != nil {
			return err
		}
		return c.out.print(answer, func() error { return c.out.printMessage(answer) })
	})
	return cmd
}

// printMessage prints a message, where it stands, and its payload.
func (o *output) printMessage(answer json.RawMessage) error {
	var detail api.MessageDetail
	if err := json.Unmarshal(answer, &detail); err != nil {
		return err
	}
	payload := detail.Message.Payload
	detail.Message.Payload = nil
	fields, err := json.Marshal(detail.Message)
	if err != nil {
		return err
	}
	if err := o.printObject(fields); err != nil {
		return err
	}
	t := &table{headings: []heading{{name: "CONSUMER", kind: digits}, {name: "CLIENT", kind: elastic}, {name: "STATE", kind: fixed}, {name: "DELIVERIES", kind: digits}, {name: "UNTIL " + zoneLabel(), kind: fixed}}}
	for _, s := range detail.Standings {
		t.rows = append(t.rows, []string{number(s.Consumer), s.Client, s.State, number(s.Deliveries), when(s.Until)})
	}
	if len(t.rows) > 0 {
		fmt.Fprintln(o.stdout)
		if err := o.printTable(t); err != nil {
			return err
		}
	}
	if len(payload) == 0 {
		return nil
	}
	fmt.Fprintln(o.stdout)
	return o.printPayload([]byte(visible(string(payload), '\n', '\t')), true)
}

func (c *cli) printRaw(ctx context.Context, topic, id string) error {
	body, _, err := c.api.open(ctx, call{method: http.MethodGet, path: path("messages", topic, id, "payload")})
	if err != nil {
		return err
	}
	defer body.Close()
	if _, err := io.Copy(c.out.stdout, body); err != nil {
		if errors.As(err, new(*fs.PathError)) { // of standard output
			return err
		}
		return c.api.broken(ctx, err)
	}
	return nil
}

func (c *cli) messageDeleteCommand() *cobra.Command {
	var match allFlags
	cmd := &cobra.Command{
		Use:   "delete TOPIC [MSG_ID]…",
		Short: "Delete messages for all consumers: some by their IDs, or all that match",
		Example: `  pipit messages delete /customer/created K3MevvRG5WKKUWSFbVrUNl6hbVyR
  pipit messages delete /customer/created --all --text '"id": 17' --since 1h --dry-run
  pipit messages delete /customer/created --all --client erp --state deferred --yes`,
		Args:              arguments("TOPIC", "[MSG_ID]…"),
		ValidArgsFunction: inOrder(c.completeTopic),
	}
	match.flags(c, cmd, true)
	return c.speak(cmd, func(ctx context.Context, args []string) error {
		topic, ids := args[0], args[1:]
		if err := match.check(cmd, ids, matchNames...); err != nil {
			return err
		}
		if match.every {
			return match.run(ctx, c, cmd, object.ActDelete, topic, "Delete %s of topic %s for all consumers?", "%s deleted")
		}
		if err := c.in.confirm(ctx, &match.sure, fmt.Sprintf("Delete %s of topic %s for all consumers?", count(len(ids), "message"), topic)); err != nil {
			return err
		}
		return eachMessage(c, topic, ids, "deleted", func(id string) error {
			return c.api.do(ctx, call{method: http.MethodDelete, path: path("messages", topic, id)}, nil)
		})
	})
}

// eachMessage does something to messages one after the other, so that it can name those that are not there.
func eachMessage(c *cli, topic string, ids []string, what string, do func(id string) error) error {
	var done api.Affected
	var missing []string
	for _, id := range ids {
		var p *problem
		err := do(id)
		switch {
		case err == nil:
			done.Messages++
		case errors.As(err, &p) && p.Status == http.StatusNotFound && len(ids) > 1:
			missing = append(missing, id)
		default:
			return err
		}
	}
	answer, err := marshal(done)
	if err != nil {
		return err
	}
	if done.Messages > 0 {
		if err := c.out.print(answer, func() error { return c.out.printf("%s %s", count(done.Messages, "message"), what) }); err != nil {
			return err
		}
	}
	if missing != nil {
		return errNotFound{fmt.Errorf("not in topic %q: %s", topic, strings.Join(missing, ", "))}
	}
	return nil
}

func (c *cli) messageReleaseCommand() *cobra.Command {
	var match allFlags
	cmd := &cobra.Command{
		Use:   "release TOPIC [MSG_ID]",
		Short: "Make messages deliverable at once that are delayed, deferred or in flight: one by its ID, or all that match",
		Long: `Make messages deliverable at once that are delayed, deferred or in flight: one by its ID, or all that match. --consumer and
--client release for one consumer alone. Without --state delayed, all that match are none of the delayed ones.`,
		Example: `  pipit messages release /customer/created K3MevvRG5WKKUWSFbVrUNl6hbVyR
  pipit messages release /customer/created K3MevvRG5WKKUWSFbVrUNl6hbVyR --consumer 4
  pipit messages release /customer/created --all --state delayed --yes`,
		Args:              arguments("TOPIC", "[MSG_ID]"),
		ValidArgsFunction: inOrder(c.completeTopic),
	}
	match.flags(c, cmd, true)
	return c.speak(cmd, func(ctx context.Context, args []string) error {
		if err := match.check(cmd, args[1:], matchNames[:6]...); err != nil {
			return err
		}
		if match.every {
			return match.run(ctx, c, cmd, object.ActRelease, args[0], "Release %s of topic %s?", "%s released")
		}
		of, err := match.query(ctx, c, cmd, args[0])
		if err != nil {
			return err
		}
		q := url.Values{}
		set(q, "consumer", of.Get("consumer"))
		var answer json.RawMessage
		if err := c.api.do(ctx, call{method: http.MethodPost, path: path("messages", args[0], args[1], "release"), query: q}, &answer); err != nil {
			return err
		}
		return c.out.print(answer, func() error {
			var done api.Released
			if err := json.Unmarshal(answer, &done); err != nil {
				return err
			}
			if !done.Released {
				return c.out.printf("it was deliverable already")
			}
			return c.out.printf("released")
		})
	})
}

func messageCopyCommand(c *cli) *cobra.Command {
	var match allFlags
	cmd := &cobra.Command{
		Use:   "copy TOPIC [MSG_ID]…",
		Short: "Publish messages of a topic to it again: some by their IDs, or all that match",
		Long: `Publish messages of a topic to it again, for all of its consumers: some by their IDs, or all that match. A copy has an ID of its own, and
its producer is who asks. Copies are not copied again.`,
		Example: `  pipit messages copy /customer/created K3MevvRG5WKKUWSFbVrUNl6hbVyR
  pipit messages copy /customer/created --all --since 1h --dry-run`,
		Args:              arguments("TOPIC", "[MSG_ID]…"),
		ValidArgsFunction: inOrder(c.completeTopic),
	}
	match.flags(c, cmd, true)
	return c.speak(cmd, func(ctx context.Context, args []string) error {
		topic, ids := args[0], args[1:]
		if err := match.check(cmd, ids, matchNames...); err != nil {
			return err
		}
		if match.every {
			return match.run(ctx, c, cmd, object.ActCopy, topic, "Publish %s of topic %s again?", "%s published again")
		}
		return eachMessage(c, topic, ids, "published again", func(id string) error {
			return c.api.do(ctx, call{method: http.MethodPost, path: path("messages", topic, id, "copy")}, nil)
		})
	})
}
