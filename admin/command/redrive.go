package command

import (
	"context"
	"encoding/json"
	"errors"
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
	var every bool
	var reason, topic, consumer string
	cmd := &cobra.Command{
		Use:   "redrive TOPIC [MSG_ID]…",
		Short: "Move dead letters back to the consumers for which they failed",
		Long: `Move dead letters back to the consumers for which they failed: some by their IDs, or with --all those
that --reason, --topic and --consumer fit. TOPIC is where they are now.`,
		Example: `  pipit messages redrive /dead-letters K3MevvRG5WKKUWSFbVrUNl6hbVyR
  pipit messages redrive /dead-letters --all --reason max_deliveries --consumer erp`,
		Args:              arguments("TOPIC", "[MSG_ID]…"),
		ValidArgsFunction: inOrder(c.completeTopic),
	}
	f := cmd.Flags()
	f.BoolVar(&every, "all", false, "all of them, in place of IDs, but for those that a consumer of TOPIC is done with")
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
		body := map[string]any{"ids": args[1:]}
		switch {
		case every && len(args) > 1:
			return usageError{errors.New("all: allowed without message IDs")}
		case !every && reason+topic+consumer != "":
			return usageError{errors.New("reason, topic, consumer: allowed with --all")}
		case !every && len(args) == 1:
			return usageError{errors.New("which dead letters? Their IDs or --all are needed")}
		case every:
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
		if !every && done.Messages == 0 {
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
