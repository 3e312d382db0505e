package command

import (
	"context"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"pipit/admin/audit"
	"pipit/admin/gate"
)

func (c *cli) auditCommand() *cobra.Command {
	var kind string
	var limit int
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "List the audit log, the newest entries first",
		Example: `  pipit audit --kind access
  pipit audit --database pipit.db --limit 0 --json`,
		Args: arguments(),
	}
	cmd.Flags().StringVar(&kind, "kind", "", "only entries of the `KIND`: "+strings.Join(audit.Kinds, ", "))
	cmd.Flags().IntVarP(&limit, "limit", "n", 100, "at most `N`; 0: all")
	_ = cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions(audit.Kinds, cobra.ShellCompDirectiveNoFileComp))
	return c.speak(cmd, func(ctx context.Context, _ []string) error {
		if err := notNegative("limit", limit); err != nil {
			return err
		}
		q := url.Values{}
		set(q, "kind", kind)
		return printList(ctx, c, path("audit"), q, limit, []column[audit.Entry]{
			moment("WHEN", func(e *audit.Entry) gate.Time { return e.At }),
			names("WHO", func(e *audit.Entry) string { return e.Who }),
			text("WHAT", func(e *audit.Entry) string { return e.Action }),
			names("OBJECT", func(e *audit.Entry) string { return e.Object }),
			names("DETAIL", func(e *audit.Entry) string { return e.Detail }).less(1),
			text("FROM", func(e *audit.Entry) string { return strings.TrimSpace(e.Via + " " + e.Addr) }).less(3),
			figure("TIMES", func(e *audit.Entry) string { return strconv.Itoa(e.Count) }).less(2),
		})
	})
}
