package command

import (
	"context"

	"github.com/spf13/cobra"
)

func (c *cli) checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Read a whole database, which no server has open, and say what is wrong with it",
		Example: `  pipit check pipit.db
  pipit check /var/lib/pipit/pipit.db && systemctl start pipit`,
		Args:              arguments("FILE"),
		ValidArgsFunction: inOrder(files),
	}
	cmd.RunE = c.run(func(_ context.Context, args []string) error {
		p := c.out.progress("checking "+args[0], "", barSteps)
		err := c.Verify(args[0], p.share)
		p.end()
		if err != nil {
			return openError(err)
		}
		return c.out.printf("%s: ok", args[0])
	})
	return cmd
}
