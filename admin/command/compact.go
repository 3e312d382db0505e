package command

import (
	"context"

	"github.com/spf13/cobra"
)

func compactCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "compact FILE",
		Short: "Make a database, which no server has open, as small as what is in it",
		Long: `Make a database, which no server has open, as small as what is in it. What is in it is written to another file, which takes
its place when it is found to be whole: the disk must have room for both. A running server does so by itself, see compact_when in
its configuration.`,
		Example:           `  pipit compact pipit.db`,
		Args:              arguments("FILE"),
		ValidArgsFunction: inOrder(files),
	}
	cmd.RunE = c.run(func(_ context.Context, args []string) error {
		before, after, err := c.Compact(args[0])
		if err != nil {
			return openError(err)
		}
		return c.out.printf("%s: %d bytes, before %d", args[0], after, before)
	})
	return cmd
}
