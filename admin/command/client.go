package command

import (
	"context"

	"github.com/spf13/cobra"

	"pipit/admin/command/fieldflag"
	"pipit/admin/gate"
	"pipit/admin/object"
	"pipit/broker"
)

func (c *cli) clientCommand() *cobra.Command {
	n := noun{
		one: "client", path: "clients",
		keys: []string{"USERNAME"}, complete: inOrder(c.completeClient), key: byName, flags: fieldflag.Of(broker.ClientFields),
	}
	list := listCommand(c, "clients", n.path, object.ClientSorts.Keys(), object.ClientParts, false, []column[object.Client]{
		names("USERNAME", func(v *object.Client) string { return v.Username }),
		names("NAME", func(v *object.Client) string { return v.Name }),
		text("ACTIVE", func(v *object.Client) string { return yesNo(!v.Inactive) }),
		figure("PRODUCERS", func(v *object.Client) string { return number(v.Producers) }).less(2),
		figure("CONSUMERS", func(v *object.Client) string { return number(v.Consumers) }).less(1),
		moment("LAST SEEN", func(v *object.Client) gate.Time { return v.LastSeen }),
	})
	list.Example = `  pipit client list
  pipit client list --sort last_seen`
	show := c.showCommand(n)
	show.Example = "  pipit client show crm"

	create := c.createCommand(n, []string{"username"}, func(ctx context.Context, body map[string]any) error {
		name, _ := body["username"].(string)
		// Before anybody types a password.
		if err := (&broker.Client{Username: name, Password: "not looked at yet"}).Validate(); err != nil { // #nosec G101 -- none
			return err
		}
		p, err := c.in.secret(ctx, "password of the new client", true)
		body["password"] = p
		return err
	}, nil)
	create.Long = "Create a client. Its password is asked for on a terminal, else read from a line of standard input."
	create.Example = `  pipit client create crm --name CRM
  pipit client create crm <password.txt`

	var newPassword bool
	edit := c.editCommand(n, func(ctx context.Context, body map[string]any) error {
		if !newPassword {
			return nil
		}
		p, err := c.in.secret(ctx, "new password", true)
		body["password"] = p
		return err
	})
	edit.Flags().BoolVar(&newPassword, "password", false, "ask for a new password, or read it from a line of standard input")
	edit.Example = `  pipit client edit crm --active=false
  pipit client edit crm --password`
	del := c.deleteCommand(n)
	del.Example = `  pipit client delete crm
  pipit client delete crm --yes`
	return group("client", "Clients, who may log in", list, show, create, edit, del)
}
