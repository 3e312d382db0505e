package command

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/spf13/cobra"
)

func backupCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write a backup of everything to a file, while the server goes on",
		Long: `Write a backup of everything to a file: all that was answered before is in it. A running server makes it and goes on
meanwhile; with --database it is made of a database that no server has open. FILE has its name when the backup is whole, in the place of
an older backup, never of anything else. With the --config of a node of a cluster it is made of that node's copy, which may be behind where
that node does not lead; any other way the node that leads makes it.

It holds all messages and all secrets, those of administrators as well, so the file is for you alone (mode 0600), and a server
gives it to tokens of scope admin alone. pipit restore takes it.`,
		Example: `  pipit backup /backup/pipit.backup
  pipit backup pipit.backup --database pipit.db`,
		Args:              arguments("FILE"),
		ValidArgsFunction: inOrder(files),
	}
	return c.speak(cmd, func(ctx context.Context, args []string) error {
		if err := writeBackup(ctx, c, args[0]); err != nil {
			return err
		}
		return c.out.tell(map[string]string{"backup": args[0]}, "%s: written", args[0])
	})
}

func writeBackup(ctx context.Context, c *cli, file string) error {
	if c.offline != nil {
		p := c.out.progress("backing up "+c.file, "", barSteps)
		defer p.end()
		return c.offline.b.Backup(ctx, file, func(done, total int64) { p.share(float64(done) / float64(total)) })
	}
	var body io.ReadCloser
	var length int64
	var err error
	if c.config != "" && c.server == "" {
		body, length, err = c.NodeBackup(ctx, c.config)
	}
	if body == nil && err == nil {
		body, length, err = c.api.patient(0).open(ctx, call{method: http.MethodPost, path: path("backups", "stream")})
	}
	if err != nil {
		return err
	}
	defer body.Close()
	p := c.out.progress("loading the backup", "bytes", length)
	defer p.end()
	err = c.SaveBackup(ctx, file, p.reader(body))
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return c.api.broken(ctx, io.ErrUnexpectedEOF)
	}
	return err
}

func restoreCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make a backup the database, while no server has that open",
		Long: `Make a backup the database that the configuration names, or --database, while no server has that open. Before that the backup
is compared with its checksum and read as check reads a database. What was there is kept beside it, with its log, under a
name that is printed.

A variable of the environment of a service, such as PIPIT_DATABASE_FILE, is not known here: better name the database in the
configuration.`,
		Example: `  pipit restore /backup/pipit.backup --config /etc/pipit/pipit.toml
  pipit restore pipit.backup --database pipit.db`,
		Args:              arguments("FILE"),
		ValidArgsFunction: inOrder(files),
	}
	fileFlag(cmd, &c.file, "database", "the database `FILE` to replace, which no server has open; also --file")
	cmd.RunE = c.run(func(ctx context.Context, args []string) error {
		database, err := c.databaseFile(nil)
		if err != nil {
			return err
		}
		p := c.out.progress("restoring "+args[0], "", barSteps)
		kept, err := c.Restore(ctx, args[0], database, p.share)
		p.end()
		switch {
		case err != nil:
			return stopFirst(err)
		case kept != "":
			return c.out.tell(map[string]string{"database": database, "kept": kept}, "%s is restored; what was there is %s", database, kept)
		}
		return c.out.tell(map[string]string{"database": database}, "%s is restored", database)
	})
	return cmd
}
