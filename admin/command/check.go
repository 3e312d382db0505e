package command

import (
	"context"

	"github.com/spf13/cobra"
)

const databaseUsage = "the database `FILE`, in place of the argument; also --file"

func (c *cli) checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Read a whole database, which no server has open, and say what is wrong with it",
		Example: `  pipit check pipit.db
  pipit check /var/lib/pipit/pipit.db && systemctl start pipit`,
		Args:              arguments("[FILE]"),
		ValidArgsFunction: inOrder(files),
	}
	cmd.RunE = c.run(func(_ context.Context, args []string) error {
		file, err := c.databaseFile(args)
		if err != nil {
			return err
		}
		p := c.out.progress("checking "+file, "", barSteps)
		err = c.Verify(file, p.share)
		p.end()
		if err != nil {
			return stopFirst(err)
		}
		return c.out.tell(map[string]string{"database": file, "status": "ok"}, "%s: ok", file)
	})
	fileFlag(cmd, &c.file, "database", databaseUsage)
	return cmd
}
