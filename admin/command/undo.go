package command

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/spf13/cobra"

	"pipit/admin/api"
	"pipit/admin/gate"
)

func undoCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "undo [ID]",
		Short: "Take back a deletion, or list those that can be taken back",
		Long: `Take back a deletion, within ten minutes: a topic, client, producer, consumer or webhook, and what went with it, is as it was
defined, with its names, passwords, keys and secrets, and without its messages. The ID is what the deletion printed; without one, the
deletions that can be taken back are listed.`,
		Example: `  pipit undo
  pipit undo 4CGGHLZ6FSUSGEGAAFYJQ5BHJB`,
		Args: arguments("[ID]"),
		ValidArgsFunction: inOrder(func(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
			return completed(c, "undo", typed, nil, func(d *api.Deletion) string { return d.ID + "\t" + string(d.Kind) + " " + d.Name })
		}),
	}
	return c.speak(cmd, func(ctx context.Context, args []string) error {
		if len(args) == 0 {
			return printDeletions(ctx, c)
		}
		var answer json.RawMessage
		if err := c.api.do(ctx, call{method: http.MethodPost, path: path("undo", args[0])}, &answer); err != nil {
			return err
		}
		return c.out.print(answer, func() error {
			var back api.Restored
			if err := json.Unmarshal(answer, &back); err != nil {
				return err
			}
			return c.out.printf("%s %s is back as it was defined, without messages", back.Kind, back.Name)
		})
	})
}

func printDeletions(ctx context.Context, c *cli) error {
	return printList(ctx, c, path("undo"), nil, 0, []column[api.Deletion]{
		text("ID", func(d *api.Deletion) string { return d.ID }),
		text("KIND", func(d *api.Deletion) string { return string(d.Kind) }),
		names("NAME", func(d *api.Deletion) string { return d.Name }),
		names("BY", func(d *api.Deletion) string { return d.By }),
		moment("UNTIL", func(d *api.Deletion) gate.Time { return d.Until }),
	})
}

// tellUndo says how what was deleted is taken back, where it can be.
func (o *output) tellUndo(gone *api.Gone) {
	if gone.Undo != "" {
		o.notef("pipit undo %s takes it back, until %s", gone.Undo, gone.UndoUntil.Local().Format("15:04:05"))
	}
}
