package command

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"pipit/admin/api"
	"pipit/admin/object"
	"pipit/broker"
)

// failures are why a message can have become a dead letter.
var failures = []string{broker.ReasonMaxDeliveries, broker.ReasonRejected, broker.ReasonExpired, broker.ReasonOverflow}

func messageRedriveCommand(c *cli) *cobra.Command {
	var match allFlags
	var reason, topic, consumer string
	cmd := &cobra.Command{
		Use:   "redrive TOPIC [MSG_ID]…",
		Short: "Move dead letters back to the consumers for which they failed",
		Long: `Move dead letters back to the consumers for which they failed: some by their IDs, or with --all those
that --reason, --topic and --consumer fit, or those that match otherwise, which are counted first, and a person is asked. TOPIC is where they are now.`,
		Example: `  pipit messages redrive /dead-letters K3MevvRG5WKKUWSFbVrUNl6hbVyR
  pipit messages redrive /dead-letters --all --reason max_deliveries --consumer erp
  pipit messages redrive /dead-letters --all --text '"id": 17' --dry-run`,
		Args:              arguments("TOPIC", "[MSG_ID]…"),
		ValidArgsFunction: inOrder(c.completeTopic),
	}
	f := cmd.Flags()
	match.flags(c, cmd, false)
	f.StringVar(&reason, "reason", "", "with --all, only what failed for this `REASON`: "+strings.Join(failures, ", "))
	f.StringVar(&topic, "topic", "", "with --all, only what failed in the topic `NAME`")
	f.StringVar(&consumer, "consumer", "", "with --all, only what failed for this `CLIENT`; with a slash and the consumer's name, where it has one")
	_ = cmd.RegisterFlagCompletionFunc("reason", cobra.FixedCompletions(failures, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("topic", c.completeTopic)
	_ = cmd.RegisterFlagCompletionFunc("consumer", func(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		q := url.Values{}
		set(q, "topic", topic)
		return completed(c, "consumers", typed, q, func(v *object.Consumer) string { return v.Label() })
	})
	return c.speak(cmd, func(ctx context.Context, args []string) error {
		failed := []string{"reason", "topic", "consumer"}
		if err := match.check(cmd, args[1:], append(failed, matchNames[:6]...)...); err != nil {
			return err
		}
		body := map[string]any{"ids": args[1:]}
		by := givenOf(cmd, append([]string{"dry-run"}, matchNames[:6]...)...)
		switch why := givenOf(cmd, failed...); {
		case by != "" && why != "":
			return usageError{fmt.Errorf("--%s and --%s do not go together", by, why)}
		case by != "":
			return match.run(ctx, c, cmd, object.ActRedrive, args[0], "Move %s of topic %s back?", "%s moved back")
		case match.every:
			body = map[string]any{"all": true, "reason": reason, "topic": topic, "consumer": consumer}
		}
		var answer json.RawMessage
		if err := c.api.do(ctx, call{method: http.MethodPost, path: path("topics", args[0], "messages", "redrive"), body: body}, &answer); err != nil {
			return err
		}
		var done api.Redriven
		if err := json.Unmarshal(answer, &done); err != nil {
			return err
		}
		if !match.every && done.Messages == 0 {
			return errNotFound{fmt.Errorf("none of these is a dead letter of topic %q", args[0])}
		}
		if len(done.NotFound) > 0 {
			c.out.notef("no dead letters: %s", strings.Join(done.NotFound, ", "))
		}
		if done.Left > 0 {
			c.out.notef("%s left: %s", count(done.Left, "message"), done.LeftWhy)
		}
		return c.out.print(answer, func() error { return c.out.printf("%s moved back", count(done.Messages, "message")) })
	})
}
