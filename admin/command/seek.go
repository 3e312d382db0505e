package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pipit/admin/api"
	"pipit/broker"
)

func seekCommand(c *cli, n noun) *cobra.Command {
	var to, message string
	var dryRun bool
	var sure confirmation
	cmd := &cobra.Command{
		Use:   "seek " + strings.Join(n.keys, " "),
		Short: "Bring a consumer to another place of its topic, so that messages wait for it again",
		Long: `Bring a consumer to another place of its topic. What the topic stores from there on waits for it
again, and it is done with what is before. What is in flight and behind the place stays so. No
other consumer notices.`,
		Example: `  pipit consumer seek erp /customer/created --to oldest --dry-run
  pipit consumer seek erp /customer/created --to 2h
  pipit consumer seek 4 --to 2026-11-23T09:00:00Z --yes
  pipit consumer seek 4 --message K3MevvRG5WKKUWSFbVrUNl6hbVyR`,
		Args:              arguments(n.keys...),
		ValidArgsFunction: n.complete,
	}
	f := cmd.Flags()
	f.StringVar(&to, "to", "", "to oldest, newest, or the first message that could be delivered at this `TIME` or later: 10m is ten minutes ago; or 2026-11-24T15:04:05Z")
	f.StringVar(&message, "message", "", "to the message of this `ID`")
	f.BoolVar(&dryRun, "dry-run", false, "tell how many messages would wait then, and change nothing")
	sure.flag(cmd)
	_ = cmd.RegisterFlagCompletionFunc("to", cobra.FixedCompletions(seekEnds, cobra.ShellCompDirectiveNoFileComp))
	cmd.MarkFlagsMutuallyExclusive("to", "message")
	return c.speak(cmd, func(ctx context.Context, args []string) error {
		body := map[string]string{"msg_id": message}
		if message == "" {
			place, err := seekPlace(to, time.Now())
			if err != nil {
				return usageError{err}
			}
			body = map[string]string{"to": place}
		}
		key, err := n.key(ctx, args)
		if err != nil {
			return err
		}
		seek := func(dry string) (answer json.RawMessage, waiting int64, err error) {
			var done api.Sought
			q := call{method: http.MethodPost, path: path(n.path, key, "seek"), query: url.Values{}, body: body}
			set(q.query, "dry_run", dry)
			if err := c.api.do(ctx, q, &answer); err != nil {
				return nil, 0, err
			}
			err = json.Unmarshal(answer, &done)
			return answer, done.Backlog, err
		}
		name := strings.Join(args, " ")
		if dryRun {
			answer, waiting, err := seek("true")
			if err != nil {
				return err
			}
			return c.out.print(answer, func() error {
				return c.out.printf("consumer %s would have a backlog of %s", name, count(waiting, "message"))
			})
		}
		if !sure.yes {
			_, waiting, err := seek("true")
			if err != nil {
				return err
			}
			if err := c.in.confirm(ctx, &sure, fmt.Sprintf("Bring consumer %s there, with a backlog of %s?", name, count(waiting, "message"))); err != nil {
				return err
			}
		}
		answer, waiting, err := seek("")
		if err != nil {
			return err
		}
		return c.out.print(answer, func() error { return c.out.printf("consumer %s has a backlog of %s", name, count(waiting, "message")) })
	})
}

// seekEnds are the places that have a name.
var seekEnds = []string{"oldest", "newest"}

// seekPlace reads a place, and writes it as the API takes it.
func seekPlace(to string, now time.Time) (string, error) {
	if to == "" {
		return "", errors.New("where to? Either --to or --message is needed")
	}
	if _, err := broker.ParseSeek(to); err == nil {
		return to, nil
	}
	at, err := pastTime("to", to, now)
	if err != nil {
		return "", fmt.Errorf("%w; or %s", err, strings.Join(seekEnds, ", "))
	}
	return at, nil
}
