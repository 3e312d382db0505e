package command

import (
	"context"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"pipit/admin/gate"
	"pipit/admin/monitor"
)

func refusalsCommand(c *cli) *cobra.Command {
	var client, topic string
	var consumer uint32
	var status, limit int
	cmd := &cobra.Command{
		Use:   "refusals",
		Short: "List the requests of clients that a server refused last, the newest first",
		Long: `List the requests of clients that a server refused last, the newest first: who asked, for what, from
where, and why, which is more than the client is told. The last 1,000 are kept, in memory.`,
		Example: `  pipit refusals --client erp
  pipit refusals --consumer 4 --status 403 --json`,
		Args: arguments(),
	}
	cmd.Flags().StringVar(&client, "client", "", "only those of who gave the name `USERNAME`")
	cmd.Flags().StringVar(&topic, "topic", "", "only those about the topic `NAME`")
	cmd.Flags().Uint32Var(&consumer, "consumer", 0, "only those that were meant for the consumer `ID`")
	cmd.Flags().IntVar(&status, "status", 0, "only those with the HTTP status `CODE`")
	cmd.Flags().IntVarP(&limit, "limit", "n", 100, "at most `N`; 0: all")
	_ = cmd.RegisterFlagCompletionFunc("topic", c.completeTopic)
	_ = cmd.RegisterFlagCompletionFunc("client", c.completeClient)
	return c.speak(cmd, func(ctx context.Context, _ []string) error {
		if err := notNegative("limit", limit); err != nil {
			return err
		}
		q := url.Values{}
		set(q, "client", client)
		set(q, "topic", topic)
		if consumer != 0 {
			q.Set("consumer", id(consumer))
		}
		if status != 0 {
			q.Set("status", strconv.Itoa(status))
		}
		return printList(ctx, c, path("refusals"), q, limit, []column[monitor.Refusal]{
			moment("WHEN", func(r *monitor.Refusal) gate.Time { return r.Time }),
			names("CLIENT", func(r *monitor.Refusal) string { return r.Client }),
			text("FROM", func(r *monitor.Refusal) string { return r.Addr }).less(2),
			names("WHAT", func(r *monitor.Refusal) string { return r.Method + " " + r.Route }).less(1),
			names("TOPIC", func(r *monitor.Refusal) string { return r.Topic }).less(3),
			figure("STATUS", func(r *monitor.Refusal) string { return strconv.Itoa(r.Status) }),
			names("WHY", func(r *monitor.Refusal) string { return r.Reason }),
		})
	})
}
