package command

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

func helpCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "help [COMMAND]…",
		Short: "Show the help of a command",
		Example: `  pipit help
  pipit help topic create`,
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			var words []string
			if of, rest, err := cmd.Root().Find(args); err == nil && len(rest) == 0 {
				for _, sub := range of.Commands() {
					if sub.IsAvailableCommand() {
						words = append(words, sub.Name()+"\t"+sub.Short)
					}
				}
			}
			return words, cobra.ShellCompDirectiveNoFileComp
		},
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return c.run(func(_ context.Context, args []string) error {
			of, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				unknown := args[len(args)-max(1, len(rest))]
				return usageError{fmt.Errorf("unknown command %q%s: see pipit help", unknown, didYouMean(of, unknown))}
			}
			of.InitDefaultHelpFlag()
			return of.Help()
		})(cmd, args)
	}
	return cmd
}
