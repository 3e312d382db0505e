package command

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pipit/admin/api"
	"pipit/broker/browse"
	"pipit/broker/property"
)

// messageStates are those that messages can be asked for by.
var messageStates = []string{string(browse.Waiting), string(browse.InFlight), string(browse.Deferred), string(browse.Delayed)}

// matchFlags say which messages are meant.
type matchFlags struct {
	state, since, until, text, client string
	consumer                          uint32
	priority                          int
	matchCase                         bool
}

// flags adds those that tell messages by what they are; ofConsumer: and by whose they are.
func (m *matchFlags) flags(c *cli, cmd *cobra.Command, ofConsumer bool) {
	f := cmd.Flags()
	f.Var(choice{&m.state, messageStates}, "state", "only those in the `STATE` "+strings.Join(messageStates, ", "))
	f.IntVar(&m.priority, "priority", 0, "only those of this priority, 1 to 9")
	f.StringVar(&m.since, "since", "", "only those published at this `TIME` or later: 10m is ten minutes ago; or 2026-11-24T15:04:05Z")
	f.StringVar(&m.until, "until", "", "only those published before this `TIME`")
	f.StringVar(&m.text, "text", "", "only those whose payload contains this `text`, whatever the case of its letters")
	f.BoolVar(&m.matchCase, "match-case", false, "take the text byte by byte")
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(messageStates, cobra.ShellCompDirectiveNoFileComp))
	if ofConsumer {
		f.Uint32Var(&m.consumer, "consumer", 0, "only what the consumer `ID` is not done with, and how it stands there")
		f.StringVar(&m.client, "client", "", "only what the consumer of this `USERNAME` in TOPIC is not done with")
		cmd.MarkFlagsMutuallyExclusive("consumer", "client")
		_ = cmd.RegisterFlagCompletionFunc("consumer", c.completeConsumer)
		_ = cmd.RegisterFlagCompletionFunc("client", c.completeClient)
	}
}

// matchNames are all of these flags.
var matchNames = []string{"state", "priority", "since", "until", "text", "match-case", "consumer", "client"}

// givenOf returns the first of the flags that is given, empty where none is.
func givenOf(cmd *cobra.Command, names ...string) string {
	for _, name := range names {
		if cmd.Flags().Changed(name) {
			return name
		}
	}
	return ""
}

// query makes parameters of a request; topic is empty where all are meant.
func (m *matchFlags) query(ctx context.Context, c *cli, cmd *cobra.Command, topic string) (url.Values, error) {
	q := url.Values{}
	set(q, "topic", topic)
	set(q, "state", m.state)
	set(q, "text", m.text)
	if m.matchCase {
		q.Set("match_case", "true")
	}
	if cmd.Flags().Changed("priority") {
		q.Set("priority", strconv.Itoa(m.priority))
	}
	now := time.Now()
	for name, value := range map[string]string{"since": m.since, "until": m.until} {
		at, err := pastTime(name, value, now)
		if err != nil {
			return nil, usageError{err}
		}
		set(q, name, at)
	}
	switch {
	case m.consumer != 0:
		q.Set("consumer", id(m.consumer))
	case m.client != "" && topic == "":
		return nil, usageError{errors.New("client: allowed with a TOPIC")}
	case m.client != "":
		of, err := c.byID("consumer", "consumers")(ctx, []string{m.client, topic})
		if err != nil {
			return nil, err
		}
		q.Set("consumer", of)
	}
	return q, nil
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
	d, ok := property.ParseDuration(s)
	if !ok || d < 0 {
		return 0, errors.New("no duration")
	}
	return d, nil
}

// allFlags are those of a command that does something to messages by their IDs, or to all that match.
type allFlags struct {
	matchFlags
	every, dryRun bool
	sure          confirmation
}

func (a *allFlags) flags(c *cli, cmd *cobra.Command, ofConsumer bool) {
	cmd.Flags().BoolVar(&a.every, "all", false, "all that the other flags fit, in place of IDs; they are counted first, and a person is asked")
	cmd.Flags().BoolVar(&a.dryRun, "dry-run", false, "with --all, count them alone")
	a.sure.flag(cmd)
	a.matchFlags.flags(c, cmd, ofConsumer)
}

// check refuses IDs beside --all, and what needs it without; names are flags that do.
func (a *allFlags) check(cmd *cobra.Command, ids []string, names ...string) error {
	needs := givenOf(cmd, append([]string{"dry-run"}, names...)...)
	switch {
	case a.every && len(ids) > 0:
		return usageError{errors.New("all: allowed without message IDs")}
	case !a.every && len(ids) == 0:
		return usageError{errors.New("which messages? Their IDs or --all are needed")}
	case !a.every && needs != "":
		return usageError{fmt.Errorf("%s: allowed with --all", needs)}
	}
	return nil
}

// run counts the messages of a topic that match, asks, and acts on them. ask is a question about so many, and tell what was
// done to so many.
func (a *allFlags) run(ctx context.Context, c *cli, cmd *cobra.Command, action, topic string, ask, tell string) error {
	q, err := a.query(ctx, c, cmd, topic)
	if err != nil {
		return err
	}
	q.Set("action", action)
	var done api.Acted
	if a.dryRun || !a.sure.yes {
		q.Set("dry_run", "true")
		if done, err = actOnAll(ctx, c, q, "counting messages"); err != nil {
			return err
		}
		q.Del("dry_run")
	}
	if a.dryRun {
		tell = "%s found"
	} else {
		if !a.sure.yes && done.Messages > 0 {
			if err := c.in.confirm(ctx, &a.sure, fmt.Sprintf(ask, count(done.Messages, "message"), topic)); err != nil {
				return err
			}
		}
		if done, err = actOnAll(ctx, c, q, "going through messages"); err != nil {
			if done.Messages > 0 {
				c.out.notef(tell+" before that", count(done.Messages, "message"))
			}
			return err
		}
	}
	if done.Left > 0 {
		c.out.notef("%s left: %s", count(done.Left, "message"), done.LeftWhy)
	}
	answer, err := marshal(done)
	if err != nil {
		return err
	}
	return c.out.print(answer, func() error { return c.out.printf(tell, count(done.Messages, "message")) })
}

// actOnAll makes as many requests as it takes, and returns what they did in all, also where there is an error.
func actOnAll(ctx context.Context, c *cli, q url.Values, title string) (sum api.Acted, err error) {
	p := c.out.progress(title, "messages", 0)
	defer p.end()
	for next := ""; ; {
		set(q, "next", next)
		var part api.Acted
		if err = c.api.do(ctx, call{method: http.MethodPost, path: path("messages"), query: q}, &part); err != nil {
			break
		}
		p.add(part.Messages)
		sum.Messages += part.Messages
		if sum.Left += part.Left; sum.LeftWhy == "" {
			sum.LeftWhy = part.LeftWhy
		}
		if next = part.Next; next == "" {
			break
		}
	}
	q.Del("next")
	return sum, err
}
