package command

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pipit/admin/alert"
	"pipit/admin/api"
	"pipit/admin/gate"
)

func alertsCommand(c *cli) *cobra.Command {
	return group("alerts", "See who is told of what needs attention, and send a test", alertsListCommand(c), alertsSentCommand(c), alertsTestCommand(c))
}

// printAlerts prints what the API tells of alerts as it is, or a part of it for people.
func printAlerts(ctx context.Context, c *cli, people func(*api.Alerts) error) error {
	var answer json.RawMessage
	if err := c.api.do(ctx, call{method: http.MethodGet, path: path("alerts")}, &answer); err != nil {
		return err
	}
	return c.out.print(answer, func() error {
		var all api.Alerts
		if err := json.Unmarshal(answer, &all); err != nil {
			return err
		}
		if len(all.Receivers) == 0 {
			c.out.notef("nobody is told: url and smtp in [alerts] of the server's configuration say who is")
		}
		for _, r := range all.Receivers {
			if r.Error != "" {
				c.out.notef("%s to %s failed %s in a row: %s", r.Name, r.Target, count(r.Failures, "time"), r.Error)
			}
		}
		return people(&all)
	})
}

func alertsListCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List what is firing, and who was told of it, the worst first",
		Example: `  pipit alerts list
  pipit alerts list --json | jq -r '.firing[].summary'`,
		Args: arguments(),
	}
	return c.speak(cmd, func(ctx context.Context, _ []string) error {
		return printAlerts(ctx, c, func(all *api.Alerts) error {
			err := c.out.printTable(tableOf(all.Firing, []column[api.Alert]{
				moment("SINCE", func(a *api.Alert) gate.Time { return a.Since }),
				text("SEVERITY", func(a *api.Alert) string { return a.Labels["severity"] }),
				text("ALERT", func(a *api.Alert) string { return a.Labels["alertname"] }),
				text("TOLD", func(a *api.Alert) string { return strings.Join(a.Told, " ") }).less(1),
				names("WHAT", func(a *api.Alert) string { return a.Summary }),
			}))
			if all.More > 0 {
				c.out.notef("%d more are firing", all.More)
			}
			return err
		})
	})
}

func alertsSentCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sent",
		Short: "List the last messages, and what came of them, the latest first",
		Example: `  pipit alerts sent
  pipit alerts sent --json | jq -r '.sent[0].error'`,
		Args: arguments(),
	}
	return c.speak(cmd, func(ctx context.Context, _ []string) error {
		return printAlerts(ctx, c, func(all *api.Alerts) error {
			return c.out.printTable(tableOf(all.Sent, []column[api.AlertSent]{
				moment("WHEN", func(s *api.AlertSent) gate.Time { return s.At }),
				text("BY", func(s *api.AlertSent) string { return s.Receiver }),
				names("TO", func(s *api.AlertSent) string { return s.Target }).less(2),
				figure("FIRING", func(s *api.AlertSent) string { return number(s.Firing) }),
				figure("OVER", func(s *api.AlertSent) string { return number(s.Resolved) }),
				text("TEST", func(s *api.AlertSent) string { return yesNo(s.Test) }).less(3),
				figure("TRIES", func(s *api.AlertSent) string { return number(s.Tries) }).less(4),
				figure("STATUS", func(s *api.AlertSent) string { return statusOf(s.Status) }).less(1),
				names("ERROR", func(s *api.AlertSent) string { return s.Error }),
			}))
		})
	})
}

func alertsTestCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "test",
		Short: "Send each receiver a message that is of nothing, and tell what came of it",
		Long: `Send each receiver a message that is of nothing, now, and tell what the receiver or the mail server
answered. A URL gets a second one, which says that it is over. The exit code is 1 where one has failed.`,
		Example: `  pipit alerts test
  pipit alerts test --json | jq -r '.items[].answer'`,
		Args: arguments(),
	}
	return c.speak(cmd, func(ctx context.Context, _ []string) error {
		var answer json.RawMessage
		server := c.api.patient(alert.TestTime + time.Minute)
		if err := server.do(ctx, call{method: http.MethodPost, path: path("alerts", "test")}, &answer); err != nil {
			return err
		}
		var done api.AlertTest
		if err := json.Unmarshal(answer, &done); err != nil {
			return err
		}
		err := c.out.print(answer, func() error {
			return c.out.printTable(tableOf(done.Items, []column[api.AlertTested]{
				text("BY", func(t *api.AlertTested) string { return t.Receiver }),
				names("TO", func(t *api.AlertTested) string { return t.Target }),
				figure("MS", func(t *api.AlertTested) string { return number(t.Duration) }).less(1),
				figure("STATUS", func(t *api.AlertTested) string { return statusOf(t.Status) }),
				names("ANSWER", func(t *api.AlertTested) string { return t.Answer }),
			}))
		})
		for _, t := range done.Items {
			if t.Error != "" && err == nil {
				err = fmt.Errorf("the test of %s to %s failed: %s", t.Receiver, t.Target, t.Error)
			}
		}
		return err
	})
}

// statusOf is the status of an answer, where there was one.
func statusOf(code int) string {
	if code == 0 {
		return "-"
	}
	return number(code)
}
