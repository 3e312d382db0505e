package command

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"pipit/admin/api"
)

func messageTraceCommand(c *cli) *cobra.Command {
	var topic string
	var correlation bool
	cmd := &cobra.Command{
		Use:   "trace ID",
		Short: "Tell what happened to a message, also when it is gone",
		Long: `Tell what happened to a message, also when it is gone: who published it, and how each consumer was done with it.
That is kept without the payload for as long as [history] of the configuration says.`,
		Example: `  pipit messages trace K3MevvRG5WKKUWSFbVrUNl6hbVyR
  pipit messages trace order-17 --correlation --topic /customer/created`,
		Args: arguments("ID"),
	}
	cmd.Flags().BoolVar(&correlation, "correlation", false, "ID is a correlation ID: all messages that have it")
	cmd.Flags().StringVar(&topic, "topic", "", "only what happened in the topic `NAME`")
	_ = cmd.RegisterFlagCompletionFunc("topic", c.completeTopic)
	return c.speak(cmd, func(ctx context.Context, args []string) error {
		q := url.Values{}
		if correlation {
			q.Set("correlation_id", args[0])
		} else {
			q.Set("id", args[0])
		}
		set(q, "topic", topic)
		var answer json.RawMessage
		if err := c.api.do(ctx, call{method: http.MethodGet, path: path("traces"), query: q}, &answer); err != nil {
			return err
		}
		return c.out.print(answer, func() error { return c.out.printTraces(answer) })
	})
}

// printTraces prints what happened to each of the messages.
func (o *output) printTraces(answer json.RawMessage) error {
	var traces api.Traces
	if err := json.Unmarshal(answer, &traces); err != nil {
		return err
	}
	for i, x := range traces.Items {
		if i > 0 {
			fmt.Fprintln(o.stdout)
		}
		state := "gone"
		if x.Stored {
			state = "stored"
		}
		fmt.Fprintf(o.stdout, "%s in %s: %s", visible(x.ID), visible(x.Topic), state)
		if x.Known {
			fmt.Fprintf(o.stdout, ", %d bytes by %s", x.Size, visible(x.Producer))
		}
		fmt.Fprintln(o.stdout)
		t := &table{headings: []heading{{name: "WHEN " + zoneLabel(), kind: fixed}, {name: "WHAT", kind: fixed}, {name: "CONSUMER", kind: digits},
			{name: "CLIENT", kind: elastic}, {name: "DELIVERIES", kind: digits}, {name: "LAST DELIVERY", kind: fixed, drop: 1}}}
		for _, e := range x.Events {
			row := []string{when(e.At), e.What, "", e.Client, "", when(e.Delivered)}
			if e.Reason != "" {
				row[1] += " (" + e.Reason + ")"
			}
			if e.Consumer != 0 {
				row[2], row[4] = number(e.Consumer), number(e.Deliveries)
			}
			t.rows = append(t.rows, row)
		}
		if err := o.printTable(t); err != nil {
			return err
		}
	}
	return nil
}
