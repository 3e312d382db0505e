package command

import (
	"context"

	"github.com/spf13/cobra"
)

func (c *cli) serveCommand() *cobra.Command {
	var config string
	var check bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the broker, which is what pipit does without a command as well",
		Example: `  pipit serve --config pipit.toml
  pipit -config pipit.toml`,
		Args: arguments(),
	}
	configFlag(cmd, &config)
	cmd.Flags().BoolVar(&check, "check-config", false, "name all that a start would refuse, and exit")
	cmd.RunE = c.run(func(ctx context.Context, _ []string) error {
		if check {
			return c.CheckConfig(config)
		}
		return c.Serve(ctx, config)
	})
	return cmd
}

func configFlag(cmd *cobra.Command, config *string) {
	fileFlag(cmd, config, "config", "read the configuration from `FILE`; config.example.toml lists every key")
}
