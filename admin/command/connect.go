package command

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"pipit/admin/object"
	"pipit/admin/web/shell"
	"pipit/broker/property"
)

func connectCommand(c *cli) *cobra.Command {
	var callbackURL string
	expiration := "7d"
	cmd := &cobra.Command{
		Use:   "connect SENDER RECEIVER TOPIC",
		Short: "Connect two systems: a topic, who publishes to it and who receives from it, all at once",
		Long: `Connect two systems: one publishes to a topic, the other receives from it. What exists stays as it
is; what does not is created, all or nothing: the clients, with passwords that are printed this
once, the topic, the sender's permission and the receiver's queue. Commands for both sides follow.`,
		Example: `  pipit connect shop erp /order/created
  pipit connect shop erp /order/created --expiration 30d
  pipit connect shop erp /order/created --callback-url https://erp.example.com/orders`,
		Args:              arguments("SENDER", "RECEIVER", "TOPIC"),
		ValidArgsFunction: inOrder(c.completeClient, c.completeClient, c.completeTopic),
	}
	f := cmd.Flags()
	f.StringVar(&expiration, "expiration", expiration, "`TIME` after which messages of a new topic are lost that were not received, such as 12h, 7d; 0: never")
	f.StringVar(&callbackURL, "callback-url", "", "`URL` that messages are sent to (default none: the receiver fetches them)")
	return c.speak(cmd, func(ctx context.Context, args []string) error {
		wait, ok := property.ParseDuration(expiration)
		if !ok {
			return usageError{fmt.Errorf("--expiration %q: allowed is a time such as 45s, 12h or 7d, or 0", expiration)}
		}
		body := object.Connection{Sender: args[0], Receiver: args[1], Topic: args[2], Expiration: int64(wait / time.Second), CallbackURL: callbackURL}
		var answer json.RawMessage
		if err := c.api.do(ctx, call{method: http.MethodPost, path: path("connect"), body: body}, &answer); err != nil {
			return err
		}
		return c.out.print(answer, func() error {
			var done object.Connected
			if err := json.Unmarshal(answer, &done); err != nil {
				return err
			}
			return printConnected(&c.out, &done)
		})
	})
}

// printConnected prints what both sides need to know. Each line of it can be pasted into a shell.
func printConnected(out *output, d *object.Connected) error {
	var lines []string
	side := func(username, password, what string, commands []shell.Command) {
		lines = append(lines, "", "# "+username+" "+what)
		if password != "" {
			lines = append(lines, shell.Password(username, password))
		} else {
			lines = append(lines, "# with its password in "+shell.Variable(username))
		}
		for _, cmd := range commands {
			lines = append(lines, cmd.Line)
		}
	}
	at := shell.Bases{Wire: d.URL}
	side(d.Sender, d.SenderPassword, "publishes", at.Publish(d.Sender, d.Topic)[:1])
	switch {
	case d.CallbackURL != "":
		lines = append(lines, "", "# "+d.Receiver+" is called at "+d.CallbackURL+", signed with this secret", "CALLBACK_SECRET="+shell.Quote(d.CallbackSecret))
	case d.Receiver == d.Sender:
		side(d.Receiver, d.SenderPassword, "receives, and acknowledges at once", at.Take(d.Receiver, d.Topic, d.SubKey)[1:])
	default:
		side(d.Receiver, d.ReceiverPassword, "receives, and acknowledges at once", at.Take(d.Receiver, d.Topic, d.SubKey)[1:])
	}
	kept := "for ever"
	if d.Expiration > 0 {
		kept = "at most " + property.FormatDuration(time.Duration(d.Expiration)*time.Second)
	}
	if err := out.printf("# %s and %s are connected by %s, where messages wait %s", d.Sender, d.Receiver, d.Topic, kept); err != nil {
		return err
	}
	for _, line := range lines {
		if err := out.printf("%s", line); err != nil {
			return err
		}
	}
	return nil
}
