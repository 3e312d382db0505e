package command

import (
	"context"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"pipit/admin"
)

func (c *cli) auditCommand() *cobra.Command {
	var kind string
	var limit int
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "List the audit log, the newest entries first",
		Example: `  pipit audit --kind access
  pipit audit --file pipit.db --limit 0 --json`,
		Args: arguments(),
	}
	cmd.Flags().StringVar(&kind, "kind", "", "only entries of the `KIND`: "+strings.Join(admin.AuditKinds, ", "))
	cmd.Flags().IntVar(&limit, "limit", 100, "at most `N`; 0: all")
	_ = cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions(admin.AuditKinds, cobra.ShellCompDirectiveNoFileComp))
	return c.speak(cmd, func(ctx context.Context, _ []string) error {
		if limit < 0 {
			return usageError{errLimit}
		}
		q := url.Values{}
		set(q, "kind", kind)
		return printList(ctx, c, path("audit"), q, limit, []column[admin.Entry]{
			text("WHEN", func(e *admin.Entry) string { return when(e.At) }),
			names("WHO", func(e *admin.Entry) string { return e.Who }),
			text("WHAT", func(e *admin.Entry) string { return e.Action }),
			names("OBJECT", func(e *admin.Entry) string { return e.Object }),
			names("DETAIL", func(e *admin.Entry) string { return e.Detail }),
			text("FROM", func(e *admin.Entry) string { return strings.TrimSpace(e.Via + " " + e.Addr) }),
			figure("TIMES", func(e *admin.Entry) string { return strconv.Itoa(e.Count) }),
		})
	})
}
