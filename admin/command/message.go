package command

import (
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
	"time"

	"github.com/spf13/cobra"

	"pipit/admin/api"
	"pipit/admin/object"
	"pipit/broker"
)

// messageStates are those that a list can be asked for.
var messageStates = []string{string(broker.StateWaiting), string(broker.StateInFlight), string(broker.StateDeferred), string(broker.StateDelayed)}

// Bytes of each payload that a list asks for, and of all that a page may hold.
const (
	glance      = 60      // for a table
	jsonPayload = 1 << 10 // for JSON, where the user says no other number
	pagePayload = 16 << 20
)

func (c *cli) messagesCommand() *cobra.Command {
	return group("messages", "Look at messages without consuming them, delete, release and redrive them",
		c.messageListCommand(), c.messageShowCommand(), messageTraceCommand(c), c.messageDeleteCommand(), c.messageReleaseCommand(), messageRedriveCommand(c))
}

func (c *cli) messageListCommand() *cobra.Command {
	var state, since, until, contains string
	var consumer uint32
	var priority, limit, payload int
	var matchCase, newest bool
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
	f.Uint32Var(&consumer, "consumer", 0, "only what the consumer `ID` is not done with, and how it stands there")
	f.StringVar(&state, "state", "", "only those in the `STATE` "+strings.Join(messageStates, ", "))
	f.IntVar(&priority, "priority", 0, "only those of this priority, 1 to 9")
	f.StringVar(&since, "since", "", "only those published at this `TIME` or later: 10m is ten minutes ago; or 2026-11-24T15:04:05Z")
	f.StringVar(&until, "until", "", "only those published before this `TIME`")
	f.StringVar(&contains, "text", "", "only those whose payload contains this `text`, whatever the case of its letters")
	f.BoolVar(&matchCase, "match-case", false, "take the text byte by byte")
	f.BoolVar(&newest, "newest", false, "of each priority, the newest first")
	f.IntVarP(&limit, "limit", "n", 100, "at most `N`; 0: all")
	f.IntVar(&payload, "payload", jsonPayload, "with --json, the first `N` bytes of each payload")
	_ = cmd.RegisterFlagCompletionFunc("consumer", c.completeConsumer)
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(messageStates, cobra.ShellCompDirectiveNoFileComp))
	return c.speak(cmd, func(ctx context.Context, args []string) error {
		switch {
		case limit < 0:
			return usageError{errLimit}
		case payload < 0:
			return usageError{errors.New("payload: allowed is 0 or more")}
		}
		q := url.Values{}
		if len(args) > 0 {
			q.Set("topic", args[0])
		}
		if consumer != 0 {
			q.Set("consumer", id(consumer))
		}
		set(q, "state", state)
		set(q, "text", contains)
		for name, on := range map[string]bool{"match_case": matchCase, "newest": newest} {
			if on {
				q.Set(name, "true")
			}
		}
		if cmd.Flags().Changed("priority") {
			q.Set("priority", strconv.Itoa(priority))
		}
		now := time.Now()
		for name, value := range map[string]string{"since": since, "until": until} {
			at, err := pastTime(name, value, now)
			if err != nil {
				return usageError{err}
			}
			set(q, name, at)
		}
		if !c.out.json {
			payload = glance
		}
		q.Set("payload", strconv.Itoa(payload))
		return c.listMessages(ctx, q, limit, min(maxPage, pagePayload/max(1, payload)), consumer != 0)
	})
}

// pastTime reads a time, or how long ago it was, and writes it as the API takes it.
func pastTime(name, value string, now time.Time) (string, error) {
	if value == "" {
		return "", nil
	}
	if d, err := parseDays(value); err == nil {
		return now.Add(-d).UTC().Format(time.RFC3339Nano), nil
	}
	t, err := time.Parse(time.RFC3339, value)
	if err != nil {
		return "", fmt.Errorf("%s %q: allowed are how long ago it was, such as 10m, and a time such as %s", name, value, now.UTC().Format(time.RFC3339))
	}
	return t.UTC().Format(time.RFC3339Nano), nil
}

// parseDays reads how long something lasts, or was ago.
func parseDays(s string) (time.Duration, error) {
	d, ok := broker.ParseDuration(s)
	if !ok || d < 0 {
		return 0, errors.New("no duration")
	}
	return d, nil
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
	var sure confirmation
	cmd := &cobra.Command{
		Use:               "delete TOPIC MSG_ID…",
		Short:             "Delete messages for all consumers",
		Example:           "  pipit messages delete /customer/created K3MevvRG5WKKUWSFbVrUNl6hbVyR",
		Args:              arguments("TOPIC", "MSG_ID…"),
		ValidArgsFunction: inOrder(c.completeTopic),
	}
	sure.flag(cmd)
	return c.speak(cmd, func(ctx context.Context, args []string) error {
		topic, ids := args[0], args[1:]
		if err := c.in.confirm(ctx, &sure, fmt.Sprintf("Delete %s of topic %s for all consumers?", count(len(ids), "message"), topic)); err != nil {
			return err
		}
		return deleteMessages(ctx, c, topic, ids)
	})
}

// deleteMessages deletes one after the other, so that it can name those that are not there.
func deleteMessages(ctx context.Context, c *cli, topic string, ids []string) error {
	var done api.Affected
	var missing []string
	for _, id := range ids {
		var p *problem
		err := c.api.do(ctx, call{method: http.MethodDelete, path: path("messages", topic, id)}, nil)
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
		if err := c.out.print(answer, func() error { return c.out.printf("%s deleted", count(done.Messages, "message")) }); err != nil {
			return err
		}
	}
	if missing != nil {
		return errNotFound{fmt.Errorf("not in topic %q: %s", topic, strings.Join(missing, ", "))}
	}
	return nil
}

func (c *cli) messageReleaseCommand() *cobra.Command {
	var consumer uint32
	cmd := &cobra.Command{
		Use:   "release TOPIC MSG_ID",
		Short: "Make a message deliverable at once that is delayed, deferred or in flight",
		Example: `  pipit messages release /customer/created K3MevvRG5WKKUWSFbVrUNl6hbVyR
  pipit messages release /customer/created K3MevvRG5WKKUWSFbVrUNl6hbVyR --consumer 4`,
		Args:              arguments("TOPIC", "MSG_ID"),
		ValidArgsFunction: inOrder(c.completeTopic),
	}
	cmd.Flags().Uint32Var(&consumer, "consumer", 0, "for the consumer `ID` alone")
	_ = cmd.RegisterFlagCompletionFunc("consumer", c.completeConsumer)
	return c.speak(cmd, func(ctx context.Context, args []string) error {
		q := url.Values{}
		if consumer != 0 {
			q.Set("consumer", id(consumer))
		}
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
