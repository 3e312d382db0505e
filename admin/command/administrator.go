package command

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"

	"github.com/spf13/cobra"

	"pipit/admin/access"
)

func (c *cli) adminCommand() *cobra.Command {
	return group("admin", "Administrators, who sign in to the admin pages", c.adminCreateCommand(), c.adminPasswordCommand(), c.adminDeleteCommand(), adminListCommand(c), adminSessionsCommand(c))
}

// adminFlags are those of the commands of administrators.
type adminFlags struct{ cli *cli }

func (c *cli) administratorCommand(cmd *cobra.Command, long string) (*cobra.Command, *adminFlags) {
	f := &adminFlags{cli: c}
	cmd.Long = long + ` The password is asked for on a terminal, else read from
a line of standard input.

It works on the database that the configuration names, or --database, which no server has open; with
--server it asks a running one. A variable of the environment of a service, such as
PIPIT_DATABASE_FILE, is not known here: better name the database in the configuration.`
	cmd.Args = arguments("NAME")
	c.connection.flags(cmd)
	return cmd, f
}

func (c *cli) adminCreateCommand() *cobra.Command {
	cmd, f := c.administratorCommand(&cobra.Command{
		Use:   "create NAME",
		Short: "Create an administrator",
		Example: `  pipit admin create ann
  pipit admin create ann --config /etc/pipit/pipit.toml
  pipit admin create ann --database new.db --create <password.txt`,
	}, "Create an administrator, the first one or a further one.")
	cmd.RunE = c.run(func(ctx context.Context, args []string) error {
		return f.set(ctx, args[0], true)
	})
	c.createFlag(cmd)
	return cmd
}

func (c *cli) adminPasswordCommand() *cobra.Command {
	cmd, f := c.administratorCommand(&cobra.Command{
		Use:   "password NAME",
		Short: "Set an administrator's password",
		Example: `  pipit admin password ann
  pipit admin password ann --server http://127.0.0.1:11223`,
	}, "Set an administrator's password.")
	cmd.RunE = c.run(func(ctx context.Context, args []string) error {
		return f.set(ctx, args[0], false)
	})
	return cmd
}

func (c *cli) adminDeleteCommand() *cobra.Command {
	var sure confirmation
	var heir succession
	cmd := &cobra.Command{
		Use:   "delete NAME",
		Short: "Delete an administrator",
		Long: `Delete an administrator, but not the last one. Sessions end, and so do the tokens that the
administrator has made, and those that these have made, if --take-over does not keep them.`,
		Example: `  pipit admin delete ann
  pipit admin delete ann --take-over --yes
  pipit admin delete ann --database pipit.db`,
		Args: arguments("NAME"),
	}
	sure.flag(cmd)
	heir.flag(cmd)
	return c.speak(cmd, func(ctx context.Context, args []string) error {
		tokens, err := all[access.Token](ctx, c.api, path("tokens"), nil, 0)
		if err != nil {
			return err
		}
		if err := c.in.confirm(ctx, &sure, "Delete administrator "+args[0]+"?"+heir.of(tokens.Items, args[0])); err != nil {
			return err
		}
		q := call{method: http.MethodDelete, path: path("administrators", args[0]), query: heir.query()}
		if err := c.api.do(ctx, q, nil); err != nil {
			return err
		}
		return c.out.tell(map[string]string{"name": args[0]}, "administrator %s deleted", args[0])
	})
}

// set creates an administrator, or sets the password of one.
func (f *adminFlags) set(ctx context.Context, name string, create bool) (err error) {
	c := f.cli
	prompt, done := "new password", "the password of administrator %s is set"
	if create {
		prompt, done = "password of the new administrator", "administrator %s created"
	}
	if c.server != "" {
		if err := c.connect(); err != nil {
			return err
		}
		password, err := c.in.secret(ctx, prompt, true)
		if err != nil {
			return err
		}
		q := call{method: http.MethodPost, path: path("administrators"), body: map[string]string{"name": name, "password": password}}
		if !create {
			q = call{method: http.MethodPatch, path: path("administrators", name), body: map[string]string{"password": password}}
		}
		if err := c.api.do(ctx, q, nil); err != nil {
			return err
		}
		return c.out.tell(map[string]string{"name": name}, done, name)
	}
	file, why := c.file, ""
	if file == "" {
		if file, why, err = c.Database(c.config); err != nil {
			return err
		}
		if file, err = filepath.Abs(file); err != nil {
			return err
		}
	}
	b, err := c.openFile(file, why)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	password, err := c.in.secret(ctx, prompt, true)
	if err != nil {
		return err
	}
	if create {
		err = access.CreateAdministrator(ctx, b, name, password)
	} else {
		err = access.SetAdministratorPassword(ctx, b, name, password)
	}
	if err != nil {
		return err
	}
	c.keep()
	return c.out.tell(map[string]string{"name": name, "database": file}, done+" in %s", name, file)
}
