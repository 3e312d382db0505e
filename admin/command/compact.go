package command

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/spf13/cobra"

	"pipit/admin/api"
)

func compactCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "compact [FILE]",
		Short: "Give back to the disk what is free in a database",
		Long: `Give back to the disk what is free in the database of a running server, which goes on meanwhile, or in FILE, which no server
has open. What is in use is written to another file, which takes the place of the old one: the disk must have room for both. That of
FILE is found to be whole before. A running server does so by itself, see compact_when in its configuration.`,
		Example: `  pipit compact
  pipit compact pipit.db`,
		Args:              arguments("[FILE]"),
		ValidArgsFunction: inOrder(files),
	}
	c.connection.flags(cmd)
	cmd.RunE = c.run(func(ctx context.Context, args []string) error {
		file := c.file
		if len(args) > 0 {
			if file != "" || c.server != "" || c.token != "" {
				return usageError{errors.New("FILE is a database that no server has open: leave out --server, --token and --database")}
			}
			file = args[0]
		}
		done, err := compact(ctx, c, file)
		if err != nil {
			return err
		}
		answer, err := json.Marshal(done)
		if err != nil {
			return err
		}
		return c.out.print(answer, func() error { return c.out.printf("%d bytes, before %d", done.After, done.Before) })
	})
	return cmd
}

// compact compacts a file, or where that is empty the database of the server.
func compact(ctx context.Context, c *cli, file string) (done api.Compacted, err error) {
	if file != "" {
		if done.Before, done.After, err = c.Compact(file); err != nil {
			return done, stopFirst(err)
		}
		return done, nil
	}
	if err := c.connect(); err != nil {
		return done, err
	}
	return done, c.api.patient(0).do(ctx, call{method: http.MethodPost, path: path("database", "compact")}, &done)
}
