package command

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"pipit/admin/api"
	"pipit/admin/command/fieldflag"
	"pipit/admin/gate"
	"pipit/admin/object"
	"pipit/broker"
	"pipit/broker/limit"
	"pipit/broker/property"
)

func (c *cli) consumerCommand() *cobra.Command {
	n := noun{
		one: "consumer", path: "consumers",
		keys: []string{"ID|CLIENT", "[TOPIC]"}, complete: c.idCompletion(c.completeConsumer), key: c.byID("consumer", "consumers"),
		secrets: secretsOf(broker.ConsumerFields), flags: fieldflag.Of(broker.ConsumerFields),
	}
	list := listCommand(c, "consumers", n.path, object.ConsumerSorts.Keys(), object.ConsumerParts, true, []column[object.Consumer]{
		figure("ID", func(v *object.Consumer) string { return number(v.ID) }),
		names("CLIENT", func(v *object.Consumer) string { return v.Client }),
		names("TOPIC", func(v *object.Consumer) string { return v.Topic }),
		names("NAME", func(v *object.Consumer) string { return v.Name }).less(3),
		text("ACTIVE", func(v *object.Consumer) string { return yesNo(!v.Inactive) }).less(2),
		figure("BACKLOG", func(v *object.Consumer) string { return number(v.Backlog) }),
		figure("IN FLIGHT", func(v *object.Consumer) string { return number(v.InFlight) }).less(1),
		moment("OLDEST", func(v *object.Consumer) gate.Time { return v.Oldest }).less(4),
		moment("LAST SEEN", func(v *object.Consumer) gate.Time { return v.LastSeen }),
	})
	list.Example = `  pipit consumer list --sort backlog --desc
  pipit consumer list --client erp
  pipit consumer list --only away`
	n.more = c.why
	show := c.showCommand(n)
	show.Example = `  pipit consumer show erp /customer/created
  pipit consumer show 4 --reveal`
	var own bool
	create := c.createCommand(n, []string{"client", "topic"}, func(ctx context.Context, body map[string]any) error {
		if !own {
			return nil
		}
		key, err := c.in.secret(ctx, "sub_key", false)
		body["sub_key"] = key
		return err
	}, func(answer json.RawMessage) error {
		var made object.Consumer
		if err := json.Unmarshal(answer, &made); err != nil {
			return err
		}
		return c.out.printf("consumer %d of client %s and topic %s created, its sub_key is %s", made.ID, made.Client, made.Topic, made.SubKey)
	})
	create.Long = "Create a consumer and print its sub_key, the secret name of its queue, which is made for it."
	create.Flags().BoolVar(&own, "sub-key", false, "ask for a sub_key instead, or read it from a line of standard input")
	create.Example = `  pipit consumer create erp /customer/created
  pipit consumer create erp /customer/created --start oldest --ack-timeout 2m --json | jq -r .sub_key`
	edit := c.editCommand(n, nil)
	edit.Example = "  pipit consumer edit erp /customer/created --max-in-flight 100"
	del := c.deleteCommand(n)
	del.Example = "  pipit consumer delete erp /customer/created"
	return group("consumer", "Consumers: queues of a topic's messages",
		list, show, whyCommand(c, n), create, edit, del, c.rotateCommand(n), endOverlapCommand(c, n), c.clearCommand(n), c.releaseCommand(n), seekCommand(c, n),
		attemptsCommand(c, n), testCallCommand(c, n))
}

// actCommand makes a command that does something to a consumer. ask, where it is not empty, is
// the question before, with the consumer's name in the place of %s; tell says what was done.
func (c *cli) actCommand(n noun, cmd *cobra.Command, action func() string, ask string, tell func(name string, answer json.RawMessage) error) *cobra.Command {
	return actWith(c, n, cmd, action, nil, ask, tell)
}

// actWith is actCommand with parameters, unless query is nil.
func actWith(c *cli, n noun, cmd *cobra.Command, action func() string, query func() url.Values, ask string, tell func(name string, answer json.RawMessage) error) *cobra.Command {
	cmd.Use += " " + strings.Join(n.keys, " ")
	cmd.Args, cmd.ValidArgsFunction = arguments(n.keys...), n.complete
	sure := confirmation{yes: ask == ""}
	if ask != "" {
		sure.flag(cmd)
	}
	return c.speak(cmd, func(ctx context.Context, args []string) error {
		key, err := n.key(ctx, args)
		if err != nil {
			return err
		}
		name := strings.Join(args, " ")
		if !sure.yes { // whom it does not exist for is not asked
			if err := c.api.do(ctx, call{method: http.MethodGet, path: path(n.path, key)}, nil); err != nil {
				return err
			}
			if err := c.in.confirm(ctx, &sure, fmt.Sprintf(ask, name)); err != nil {
				return err
			}
		}
		var answer json.RawMessage
		q := call{method: http.MethodPost, path: path(n.path, key, action())}
		if query != nil {
			q.query = query()
		}
		if err := c.api.do(ctx, q, &answer); err != nil {
			return err
		}
		return c.out.print(answer, func() error { return tell(name, answer) })
	})
}

func (c *cli) rotateCommand(n noun) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Give a consumer a new sub_key and print it; the old one is refused then, or after --overlap",
		Example: `  pipit consumer rotate erp /customer/created
  pipit consumer rotate erp /customer/created --overlap 24h
  pipit consumer rotate 4 --yes --json | jq -r .sub_key`,
	}
	var overlap fieldflag.Duration
	cmd.Flags().Var(&overlap, "overlap", "how long the old sub_key stays valid, at most "+property.FormatDuration(limit.MaxOverlap))
	return actWith(c, n, cmd, func() string { return "rotate" }, func() url.Values { return url.Values{"overlap": {overlap.String()}} }, "Replace the sub_key of consumer %s?",
		func(name string, answer json.RawMessage) error {
			var made object.Consumer
			if err := json.Unmarshal(answer, &made); err != nil {
				return err
			}
			if err := c.out.printf("consumer %s has the new sub_key %s", name, made.SubKey); err != nil || made.OldUntil.IsZero() {
				return err
			}
			return c.out.printf("the old one is valid until %s %s", when(made.OldUntil), zoneLabel())
		})
}

func endOverlapCommand(c *cli, n noun) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "end-overlap",
		Short:   "Refuse the sub_key that a consumer had before it was rotated, where that is valid yet",
		Example: "  pipit consumer end-overlap erp /customer/created",
	}
	return c.actCommand(n, cmd, func() string { return "end-overlap" }, "Refuse the old sub_key of consumer %s?",
		func(name string, _ json.RawMessage) error {
			return c.out.printf("the old sub_key of consumer %s is refused", name)
		})
}

func (c *cli) clearCommand(n noun) *cobra.Command {
	var inFlight bool
	cmd := &cobra.Command{
		Use:   "clear",
		Short: "Drop what a consumer has: all of its backlog, or what is in flight alone",
		Example: `  pipit consumer clear erp /customer/created
  pipit consumer clear 4 --in-flight --yes`,
	}
	cmd.Flags().BoolVar(&inFlight, "in-flight", false, "only what was delivered and not acknowledged")
	return c.actCommand(n, cmd, func() string {
		if inFlight {
			return "clear-in-flight"
		}
		return "clear"
	}, "Drop messages of consumer %s?", c.out.tellCount("%s dropped"))
}

func (c *cli) releaseCommand(n noun) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "release",
		Short:   "Make what a consumer has in flight or deferred deliverable at once",
		Example: "  pipit consumer release erp /customer/created",
	}
	return c.actCommand(n, cmd, func() string { return "release" }, "", c.out.tellCount("%s released"))
}

// tellCount says how many messages the API has done something to.
func (o *output) tellCount(format string) func(string, json.RawMessage) error {
	return func(_ string, answer json.RawMessage) error {
		var done api.Affected
		if err := json.Unmarshal(answer, &done); err != nil {
			return err
		}
		return o.printf(format, count(done.Messages, "message"))
	}
}
