package command

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"pipit/admin/command/manual"
)

func helpCommand(c *cli) *cobra.Command {
	var man string
	cmd := &cobra.Command{
		Use:   "help [COMMAND]…",
		Short: "Show the help of a command",
		Example: `  pipit help
  pipit help topic create
  pipit help --man /usr/local/share/man/man1`,
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
			if man != "" {
				return writePages(manual.Pages(cmd.Root()), man)
			}
			of, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				unknown := args[len(args)-max(1, len(rest))]
				return usageError{fmt.Errorf("unknown command %q%s: see pipit help", unknown, didYouMean(of, unknown))}
			}
			of.InitDefaultHelpFlag()
			return of.Help()
		})(cmd, args)
	}
	cmd.Flags().Var((*fileName)(&man), "man", "write a page of man for each command into the folder `DIR` instead")
	_ = cmd.RegisterFlagCompletionFunc("man", files)
	return cmd
}

// writePages writes files that everybody may read.
func writePages(pages map[string]string, dir string) error {
	for _, name := range slices.Sorted(maps.Keys(pages)) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(pages[name]), 0o644); err != nil { // #nosec G306 -- pages for all
			return err
		}
	}
	return nil
}
