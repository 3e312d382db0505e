package command

import (
	"context"

	"github.com/spf13/cobra"

	"pipit/admin/command/fieldflag"
	"pipit/admin/gate"
	"pipit/admin/object"
	"pipit/broker"
)

func (c *cli) webhookCommand() *cobra.Command {
	n := noun{
		one: "webhook", path: "webhooks",
		keys: []string{"NAME"}, complete: inOrder(c.completeWebhook), key: byName, flags: fieldflag.Of(broker.WebhookFields),
	}
	list := listCommand(c, "webhooks", n.path, object.WebhookSorts.Keys(), object.WebhookParts, true, []column[object.Webhook]{
		names("NAME", func(v *object.Webhook) string { return v.Name }),
		names("TOPIC", func(v *object.Webhook) string { return v.Topic }),
		names("CLIENT", func(v *object.Webhook) string { return v.Client }).less(3),
		text("VERIFY", func(v *object.Webhook) string { return v.Verify }).less(1),
		text("ACTIVE", func(v *object.Webhook) string { return yesNo(!v.Inactive) }).less(4),
		figure("ACCEPTED", func(v *object.Webhook) string { return number(v.Accepted) }),
		figure("REFUSED", func(v *object.Webhook) string { return number(v.Refused()) }).less(2),
		moment("LAST CALL", func(v *object.Webhook) gate.Time { return v.LastCall }),
	})
	list.Example = `  pipit webhook list
  pipit webhook list --topic /customer/created`
	show := c.showCommand(n)
	show.Example = "  pipit webhook show shop"

	create := c.createCommand(n, []string{"name", "topic", "client", "verify"}, func(ctx context.Context, body map[string]any) error {
		if body["verify"] == broker.VerifyNone {
			return nil
		}
		return c.hookSecret(ctx, body)
	}, nil)
	create.Long = `Create a webhook, which lets a sender that knows no topics publish to one, as one of its producers.
Its secret, as the sender shows it, is asked for on a terminal, else read from a line of standard input.`
	create.Example = `  pipit webhook create shop /order/paid crm shopify <secret.txt
  pipit webhook create code /code/pushed crm github --headers X-GitHub-Event <secret.txt
  pipit webhook create meter /meter/read crm none --allow-from 192.0.2.0/24`
	create.ValidArgsFunction = inOrder(cobra.NoFileCompletions, c.completeTopic, c.completeClient,
		cobra.FixedCompletions(broker.WebhookFields.Named("verify").Texts(), cobra.ShellCompDirectiveNoFileComp))

	var newSecret bool
	edit := c.editCommand(n, func(ctx context.Context, body map[string]any) error {
		if !newSecret {
			return nil
		}
		return c.hookSecret(ctx, body)
	})
	edit.Flags().BoolVar(&newSecret, "secret", false, "ask for a new secret, or read it from a line of standard input; while the sender changes it, the API takes both")
	edit.Example = `  pipit webhook edit shop --active=false
  pipit webhook edit shop --secret`
	del := c.deleteCommand(n)
	del.Example = `  pipit webhook delete shop
  pipit webhook delete shop --yes`
	return group("webhook", "Webhooks: what senders that know no topics call", list, show, create, edit, del)
}

// hookSecret sets the secret of a webhook to what is typed or read.
func (c *cli) hookSecret(ctx context.Context, body map[string]any) error {
	secret, err := c.in.secret(ctx, "secret of the webhook", false)
	body["secret"] = []string{secret}
	return err
}
