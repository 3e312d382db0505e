package command

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pipit/admin/api"
	"pipit/admin/gate"
	"pipit/broker/limit"
)

func attemptsCommand(c *cli, n noun) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "attempts " + strings.Join(n.keys, " "),
		Short: "List the last calls to a consumer that is sent its messages, the latest first",
		Example: `  pipit consumer attempts erp /customer/created
  pipit consumer attempts 4 --json | jq -r '.items[0].answer'`,
		Args:              arguments(n.keys...),
		ValidArgsFunction: n.complete,
	}
	return c.speak(cmd, func(ctx context.Context, args []string) error {
		key, err := n.key(ctx, args)
		if err != nil {
			return err
		}
		var answer json.RawMessage
		if err := c.api.do(ctx, call{method: http.MethodGet, path: path(n.path, key, "attempts")}, &answer); err != nil {
			return err
		}
		return c.out.print(answer, func() error {
			var list api.Attempts
			if err := json.Unmarshal(answer, &list); err != nil {
				return err
			}
			return c.out.printTable(tableOf(list.Items, []column[api.Attempt]{
				moment("WHEN", func(a *api.Attempt) gate.Time { return a.At }),
				figure("MS", func(a *api.Attempt) string { return number(a.Duration) }).less(3),
				figure("STATUS", func(a *api.Attempt) string { return statusOf(a.Status) }),
				figure("MESSAGES", func(a *api.Attempt) string { return number(a.Messages) }),
				figure("DELIVERIES", func(a *api.Attempt) string { return number(a.Deliveries) }),
				text("TEST", func(a *api.Attempt) string { return yesNo(a.Test) }).less(2),
				names("ERROR", func(a *api.Attempt) string { return a.Error }),
			}))
		})
	})
}

func testCallCommand(c *cli, n noun) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "test-call " + strings.Join(n.keys, " "),
		Short: "Send a consumer a message that nobody has published, once, and tell what came of it",
		Long: `Send a consumer a message that nobody has published, once, and tell what came of it. The consumer
need not be active. The exit code is 1 where the call has failed.`,
		Example: `  pipit consumer test-call erp /customer/created
  pipit consumer test-call 4 --json | jq .status`,
		Args:              arguments(n.keys...),
		ValidArgsFunction: n.complete,
	}
	return c.speak(cmd, func(ctx context.Context, args []string) error {
		key, err := n.key(ctx, args)
		if err != nil {
			return err
		}
		var answer json.RawMessage
		server := c.api.patient(limit.MaxCallbackTimeout + time.Minute) // which is waited for until the consumer's time is over
		if err := server.do(ctx, call{method: http.MethodPost, path: path(n.path, key, "test-call")}, &answer); err != nil {
			return err
		}
		if err := c.out.print(answer, func() error { return c.out.printObject(answer) }); err != nil {
			return err
		}
		var done api.Attempt
		if err := json.Unmarshal(answer, &done); err != nil {
			return err
		}
		if done.Error != "" {
			return fmt.Errorf("the test call failed: %s", done.Error)
		}
		return nil
	})
}
