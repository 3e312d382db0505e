package command

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"pipit/admin/api"
)

func whyCommand(c *cli, n noun) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "why",
		Short:             "Tell what keeps messages from a consumer",
		Example:           "  pipit consumer why erp /customer/created",
		Args:              arguments(n.keys...),
		ValidArgsFunction: n.complete,
	}
	for _, key := range n.keys {
		cmd.Use += " " + key
	}
	return c.speak(cmd, func(ctx context.Context, args []string) error {
		key, err := n.key(ctx, args)
		if err != nil {
			return err
		}
		return c.why(ctx, key)
	})
}

// why prints what the API checks of a consumer.
func (c *cli) why(ctx context.Context, key string) error {
	var answer json.RawMessage
	if err := c.api.do(ctx, call{method: http.MethodGet, path: path("consumers", key, "why")}, &answer); err != nil {
		return err
	}
	return c.out.print(answer, func() error {
		var found api.Why
		if err := json.Unmarshal(answer, &found); err != nil {
			return err
		}
		for _, check := range found.Checks {
			mark := "ok"
			if !check.OK {
				mark = "!!"
			}
			if _, err := fmt.Fprintf(c.out.stdout, "%s  %s\n", mark, visible(check.Text)); err != nil {
				return err
			}
		}
		return nil
	})
}
