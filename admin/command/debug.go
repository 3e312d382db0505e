package command

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"
)

func debugCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "debug [FILE]",
		Short: "Save what helps to find a fault of a running server",
		Long: `Save a ZIP file of what helps to find a fault of a running server: its version and configuration without secrets, figures and what needs
attention, whether messages can be stored and the head of its database is right, what its goroutines are doing, and the last 1,000 lines of its log. Names
of clients and topics, and addresses, are in it; messages, passwords and keys are not.

The server has to have debug = true in [admin]. It takes a token of scope write. FILE must not exist; by default it is pipit-debug-TIME.zip.`,
		Example: `  pipit debug
  pipit debug fault.zip`,
		Args:              arguments("[FILE]"),
		ValidArgsFunction: inOrder(files),
	}
	return c.speak(cmd, func(ctx context.Context, args []string) error {
		name := "pipit-debug-" + time.Now().UTC().Format("20060102-150405") + ".zip"
		if len(args) > 0 {
			name = args[0]
		}
		body, length, err := c.api.open(ctx, call{method: http.MethodGet, path: path("debug")})
		if err != nil {
			return err
		}
		defer body.Close()
		f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) // #nosec G304 -- it is the user's to name
		if err != nil {
			return err
		}
		n, err := io.Copy(f, body)
		if err == nil && n != length {
			err = io.ErrUnexpectedEOF
		}
		if err = cmp.Or(err, f.Close()); err != nil {
			return errors.Join(err, os.Remove(name))
		}
		return c.out.tell(map[string]string{"debug": name}, "%s: written", name)
	})
}
