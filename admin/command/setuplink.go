package command

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// SecretsSuffix is behind the name of a database in that of the file where a service leaves what is for a person alone.
const SecretsSuffix = "-secrets"

func setupLinkCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "setup-link",
		Short: "Print what a service keeps from its log: the set-up link, and keys and secrets that it made",
		Long: `Print what a server under systemd keeps from the journal: the link that makes the first administrator, valid for half an
hour after the start, and the sub_keys and secrets of callbacks that it made for what the configuration declares. They
are in a file beside the database, which its owner alone can read, and are shown this once: the file is removed.

Other servers print all of it on standard error.`,
		Example: "  sudo pipit setup-link --config /etc/pipit/pipit.toml",
		Args:    arguments(),
	}
	cmd.Flags().Var((*fileName)(&c.file), "database", "the `FILE` that the server has; also --file")
	cmd.RunE = c.run(func(context.Context, []string) (err error) {
		database := c.file
		if database == "" {
			if database, _, err = c.Database(c.config); err != nil {
				return err
			}
		}
		file := database + SecretsSuffix
		text, err := os.ReadFile(file) // #nosec G304 -- the user's own
		if err != nil {
			if _, missing := os.Stat(database); missing != nil {
				return fmt.Errorf("there is no database %s: %w", database, missing)
			}
			return fmt.Errorf("there is nothing to be told: %w", err)
		}
		told := strings.TrimSpace(string(text))
		if err := c.out.tell(map[string]string{"text": told}, "%s", told); err != nil {
			return err
		}
		return os.Remove(file)
	})
	return cmd
}
