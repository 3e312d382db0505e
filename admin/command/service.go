package command

import (
	"context"

	"github.com/spf13/cobra"

	"pipit/winservice"
)

func serviceCommand(c *cli) *cobra.Command {
	install := &cobra.Command{
		Use:   "install",
		Short: "Make a service of this program that begins with the machine",
		Long: `Make a service of this program, named ` + winservice.Name + `, with the configuration that --config names. It begins with the machine, is
started again when it fails, and writes its log to the event log of applications. It runs as ` + winservice.Account + `, who has to
be able to read the configuration and to change the folder of the database, for example by

  icacls C:\ProgramData\pipit /grant "` + winservice.Account + `:(OI)(CI)M"

Paths in the configuration begin in its folder.`,
		Example: `  pipit service install --config C:\ProgramData\pipit\pipit.toml`,
	}
	return group("service", "Services of Windows",
		ofService(c, install, "%s is installed", func(context.Context) error { return winservice.Install(c.config) }),
		ofService(c, &cobra.Command{Use: "uninstall", Short: "Remove the service, when it is stopped; configuration and database stay"}, "%s is removed",
			func(context.Context) error { return winservice.Uninstall() }),
		ofService(c, &cobra.Command{Use: "start", Short: "Start the service"}, "%s is starting", func(context.Context) error { return winservice.Start() }),
		ofService(c, &cobra.Command{Use: "stop", Short: "Stop the service, and wait until it has"}, "%s is stopped", winservice.Stop),
	)
}

// ofService completes a command that does something to the service.
func ofService(c *cli, cmd *cobra.Command, done string, do func(context.Context) error) *cobra.Command {
	cmd.Args = arguments()
	if cmd.Example == "" {
		cmd.Example = "  pipit service " + cmd.Use
	}
	cmd.RunE = c.run(func(ctx context.Context, _ []string) error {
		if err := do(ctx); err != nil {
			return err
		}
		return c.out.tell(map[string]string{"service": winservice.Name}, done, winservice.Name)
	})
	return cmd
}
