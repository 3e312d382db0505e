package command

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

const databaseUsage = "the database `FILE`, in place of the argument; also --file"

// Downgrade is what an earlier version would make of a database.
type Downgrade struct {
	Version string     `json:"version"`
	Opens   bool       `json:"opens"`  // else it refuses the file, and leaves it as it is
	Format  uint32     `json:"format"` // of the file
	Highest uint32     `json:"highest_format"`
	Unknown []NotKnown `json:"unknown"` // what it would lose, where it opens the file
}

// NotKnown is a count of what a version does not know, such as 3 "topics with retention".
type NotKnown struct {
	What  string `json:"what"`
	Count int    `json:"count"`
}

func (c *cli) checkCommand() *cobra.Command {
	earlier := ""
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Read a whole database, which no server has open, and say what is wrong with it",
		Long: `Read a whole database, which no server has open, and say what is wrong with it. With --downgrade, say also whether an earlier version
would open it, and what is in it that this one does not know: exit code 0 says that it would, and that nothing would be lost.`,
		Example: `  pipit check pipit.db
  pipit check /var/lib/pipit/pipit.db && systemctl start pipit
  pipit check pipit.db --downgrade 0.1.0`,
		Args:              arguments("[FILE]"),
		ValidArgsFunction: inOrder(files),
	}
	cmd.RunE = c.run(func(_ context.Context, args []string) error {
		if cmd.Flags().Changed("downgrade") && !slices.Contains(c.Releases, earlier) {
			return usageError{fmt.Errorf("--downgrade %q: allowed are the versions before this one, %s", earlier, strings.Join(c.Releases, ", "))}
		}
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
		if earlier != "" {
			return downgrade(c, file, earlier)
		}
		return c.out.tell(map[string]string{"database": file, "status": "ok"}, "%s: ok", file)
	})
	fileFlag(cmd, &c.file, "database", databaseUsage)
	cmd.Flags().StringVar(&earlier, "downgrade", "", "say what an earlier `VERSION` would make of it, such as 0.1.0")
	_ = cmd.RegisterFlagCompletionFunc("downgrade", cobra.FixedCompletions(c.Releases, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// downgrade says what an earlier version would make of a database that is whole.
func downgrade(c *cli, file, version string) error {
	d, err := c.Downgrade(file, version)
	if err != nil {
		return stopFirst(err)
	}
	if c.out.json {
		err = c.out.printJSON(struct {
			Database  string    `json:"database"`
			Status    string    `json:"status"`
			Downgrade Downgrade `json:"downgrade"`
		}{file, "ok", d})
	} else if len(d.Unknown) > 0 {
		t := &table{headings: []heading{{name: "COUNT", kind: digits}, {name: "NOT KNOWN TO " + version}}}
		for _, u := range d.Unknown {
			t.rows = append(t.rows, []string{strconv.Itoa(u.Count), u.What})
		}
		err = c.out.printTable(t)
	}
	switch {
	case err != nil:
		return err
	case !d.Opens:
		return fmt.Errorf("%s has format %d, and Pipit %s, which opens up to %d, would refuse it: to go back, restore a backup of before the upgrade",
			file, d.Format, version, d.Highest)
	case len(d.Unknown) > 0:
		return fmt.Errorf("%s: Pipit %s would open it and lose what it does not know", file, version)
	case c.out.json:
		return nil
	}
	return c.out.printf("%s: ok, Pipit %s would open it and lose nothing", file, version)
}
