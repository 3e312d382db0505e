package command

import (
	"context"

	"github.com/spf13/cobra"

	"pipit/admin/access"
	"pipit/admin/gate"
)

func adminListCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List administrators",
		Example: "  pipit admin list",
		Args:    arguments(),
	}
	return c.speak(cmd, func(ctx context.Context, _ []string) error {
		return printList(ctx, c, path("administrators"), nil, 0, []column[access.Administrator]{
			names("NAME", func(a *access.Administrator) string { return a.Name }),
			moment("CREATED", func(a *access.Administrator) gate.Time { return a.Created }),
			moment("PASSWORD SET", func(a *access.Administrator) gate.Time { return a.Changed }),
			figure("SESSIONS", func(a *access.Administrator) string { return number(a.Sessions) }),
		})
	})
}

func adminSessionsCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "sessions",
		Short:   "List the sessions of administrators, who are signed in to the pages",
		Example: "  pipit admin sessions",
		Args:    arguments(),
	}
	return c.speak(cmd, func(ctx context.Context, _ []string) error {
		return printList(ctx, c, path("sessions"), nil, 0, []column[access.Session]{
			text("ID", func(s *access.Session) string { return s.ID }).less(1),
			names("ADMINISTRATOR", func(s *access.Session) string { return s.Administrator }),
			text("FROM", func(s *access.Session) string { return s.Addr }),
			moment("LAST USED", func(s *access.Session) gate.Time { return s.LastUsed }),
			moment("EXPIRES", func(s *access.Session) gate.Time { return s.Expires }).less(2),
		})
	})
}
