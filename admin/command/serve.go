package command

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"pipit/broker/login"
)

// bare makes root run the program without a command: the broker, or what flags of its own say.
func (c *cli) bare(root *cobra.Command) {
	var f struct {
		check, hash, version bool
	}
	root.Args = cobra.ArbitraryArgs
	flags := root.Flags()
	flags.BoolVar(&f.check, "check-config", false, checkUsage)
	flags.BoolVar(&f.hash, "hash-password", false, "ask for a password, or read it from a line of standard input, print what password_hash takes, and exit")
	flags.BoolVarP(&f.version, "version", "v", false, "print the version and exit")
	run := c.run(func(ctx context.Context, _ []string) error {
		c.bareExit = true
		switch {
		case f.version:
			return c.out.printf("%s", c.Version)
		case f.hash:
			return c.hashPassword(ctx)
		}
		return c.serve(ctx, c.config, f.check)
	})
	root.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return fmt.Errorf("unexpected argument %q%s: see pipit help", args[0], didYouMean(cmd, args[0]))
		}
		for _, name := range placeFlags {
			if flags.Changed(name) {
				return fmt.Errorf("--%s is for a command: see pipit help", name)
			}
		}
		return run(cmd, args)
	}
	help := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		if cmd == root && flags.Changed("help") { // for who mistyped a script: what reads its output gets none of it
			root.SetOut(c.out.stderr)
		}
		help(cmd, args)
	})
}

func (c *cli) serveCommand() *cobra.Command {
	var check bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the broker, which is what pipit does without a command as well",
		Example: `  pipit serve --config pipit.toml
  pipit -config pipit.toml`,
		Args: arguments(),
	}
	cmd.Flags().BoolVar(&check, "check-config", false, checkUsage)
	cmd.RunE = c.run(func(ctx context.Context, _ []string) error { return c.serve(ctx, c.config, check) })
	return cmd
}

const (
	configUsage = "read the configuration from `FILE`; config.example.toml lists every key"
	checkUsage  = "name all that a start would refuse, and exit"
)

// serve runs the broker, or only checks its configuration.
func (c *cli) serve(ctx context.Context, config string, check bool) error {
	if check {
		return c.CheckConfig(ctx, config)
	}
	c.out.stderr = c.Log // also for what is said at the end
	return c.Serve(ctx, config)
}

// hashPassword prints the hash of a password that it asks for, or reads from standard input.
func (c *cli) hashPassword(ctx context.Context) error {
	password, err := c.in.secret(ctx, "password", true)
	if err != nil {
		return err
	}
	hash, err := login.HashPassword(password)
	if err != nil {
		return err
	}
	if err := c.out.printf("%s", hash); err != nil {
		return err
	}
	if weak := login.WeakPassword("", password); weak != "" {
		c.out.notef("warning: the password is weak: %s", weak)
	}
	return nil
}
