package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pipit/admin/api"
	"pipit/admin/command/fieldflag"
	"pipit/admin/object"
	"pipit/broker/property"
)

// notNegative refuses a number of things below 0.
func notNegative(name string, n int) error {
	if n < 0 {
		return usageError{fmt.Errorf("%s %d: allowed is 0 or more", name, n)}
	}
	return nil
}

// noun is a kind of object that can be listed, shown, created, edited and deleted.
type noun struct {
	one, path string     // as in "topic" and "topics"
	keys      []string   // the arguments that name one, as its help shows them
	complete  completion // of these
	secrets   []string   // fields that only --json shows, and show --reveal

	// flags are those of its fields, that an edit can set, or a creation.
	flags func(create bool) *pflag.FlagSet

	// key returns what names one in a path.
	key func(ctx context.Context, args []string) (string, error)

	// more prints what a person is shown of one beside its fields; nil: nothing.
	more func(ctx context.Context, key string) error
}

// byName is the key of nouns that their name names.
func byName(_ context.Context, args []string) (string, error) { return args[0], nil }

// byID returns the key of nouns that an ID names, or, where that is enough, their client and topic.
func (c *cli) byID(one, path string) func(context.Context, []string) (string, error) {
	return func(ctx context.Context, args []string) (string, error) {
		if len(args) == 1 {
			if _, err := strconv.ParseUint(args[0], 10, 32); err != nil {
				return "", usageError{fmt.Errorf("%s %q: allowed are its ID, or its client and its topic", one, args[0])}
			}
			return args[0], nil
		}
		ids, err := c.api.find(ctx, path, args[0], args[1])
		switch {
		case err != nil:
			return "", err
		case len(ids) == 0:
			return "", errNotFound{fmt.Errorf("no %s of client %q and topic %q", one, args[0], args[1])}
		case len(ids) > 1:
			return "", usageError{fmt.Errorf("client %q has %d %ss of topic %q, name one by its ID: %s", args[0], len(ids), one, args[1], strings.Join(ids, ", "))}
		}
		return ids[0], nil
	}
}

// find returns the IDs of the producers or consumers of a client and a topic.
func (a *remote) find(ctx context.Context, kind, client, topic string) ([]string, error) {
	list, err := all[struct{ ID uint32 }](ctx, a, path(kind), url.Values{"client": {client}, "topic": {topic}}, 0)
	var ids []string
	for _, o := range list.Items {
		ids = append(ids, id(o.ID))
	}
	return ids, err
}

func (c *cli) showCommand(n noun) *cobra.Command {
	var reveal bool
	cmd := &cobra.Command{
		Use:               "show " + strings.Join(n.keys, " "),
		Short:             "Show a " + n.one,
		Args:              arguments(n.keys...),
		ValidArgsFunction: n.complete,
	}
	if n.secrets != nil {
		cmd.Flags().BoolVar(&reveal, "reveal", false, "show "+strings.Join(n.secrets, ", "))
	}
	return c.speak(cmd, func(ctx context.Context, args []string) error {
		key, err := n.key(ctx, args)
		if err != nil {
			return err
		}
		var answer json.RawMessage
		if err := c.api.do(ctx, call{method: http.MethodGet, path: path(n.path, key)}, &answer); err != nil {
			return err
		}
		hide := n.secrets
		if reveal {
			hide = nil
		}
		return c.out.print(answer, func() error {
			if err := c.out.printObject(answer, hide...); err != nil || n.more == nil {
				return err
			}
			return n.more(ctx, key)
		})
	})
}

// createCommand makes the command that creates a noun. names are the fields that its arguments set; finish,
// where it is not nil, sets fields in another way; made says what a person sees, nil: the usual.
func (c *cli) createCommand(n noun, names []string, finish func(context.Context, map[string]any) error, made func(json.RawMessage) error) *cobra.Command {
	cmd := &cobra.Command{
		Short: "Create a " + n.one,
	}
	var args []string
	for _, name := range names {
		args = append(args, strings.ToUpper(name))
	}
	cmd.Use, cmd.Args = "create "+strings.Join(args, " "), arguments(args...)
	own := n.flags(true)
	fieldflag.Add(cmd, own)
	if len(names) == 2 {
		cmd.ValidArgsFunction = inOrder(c.completeClient, c.completeTopic)
	}
	return c.speak(cmd, func(ctx context.Context, values []string) error {
		body := fieldflag.Body(own)
		for i, name := range names {
			body[name] = values[i]
		}
		if finish != nil {
			if err := finish(ctx, body); err != nil {
				return err
			}
		}
		var answer json.RawMessage
		if err := c.api.do(ctx, call{method: http.MethodPost, path: path(n.path), body: body}, &answer); err != nil {
			return err
		}
		c.out.warn(answer)
		return c.out.print(answer, func() error {
			if made != nil {
				return made(answer)
			}
			return c.out.printf("%s %s created", n.one, strings.Join(values, " "))
		})
	})
}

// editCommand makes the command that changes fields of a noun.
func (c *cli) editCommand(n noun, finish func(context.Context, map[string]any) error) *cobra.Command {
	var revision string
	cmd := &cobra.Command{
		Use:               "edit " + strings.Join(n.keys, " "),
		Short:             "Change a " + n.one + "; what no flag names stays as it is",
		Args:              arguments(n.keys...),
		ValidArgsFunction: n.complete,
	}
	own := n.flags(false)
	fieldflag.Add(cmd, own)
	revisionFlag(cmd, &revision)
	return c.speak(cmd, func(ctx context.Context, args []string) error {
		body := fieldflag.Body(own)
		if finish != nil {
			if err := finish(ctx, body); err != nil {
				return err
			}
		}
		if len(body) == 0 {
			return usageError{errors.New("nothing to change: see " + cmd.CommandPath() + " --help")}
		}
		key, err := n.key(ctx, args)
		if err != nil {
			return err
		}
		var answer json.RawMessage
		if err := c.api.do(ctx, call{method: http.MethodPatch, path: path(n.path, key), body: body, revision: quoted(revision)}, &answer); err != nil {
			return err
		}
		c.out.warn(answer)
		return c.out.print(answer, func() error { return c.out.printf("%s %s changed", n.one, strings.Join(args, " ")) })
	})
}

// warn tells the warnings of an answer, also where the output is JSON.
func (o *output) warn(from json.RawMessage) {
	var answer struct{ Warnings []string }
	_ = json.Unmarshal(from, &answer) // what is no object has none
	for _, w := range answer.Warnings {
		o.notef("warning: %s", w)
	}
}

// deleteCommand makes the command that deletes a noun with what depends on it.
func (c *cli) deleteCommand(n noun) *cobra.Command {
	var revision string
	var sure confirmation
	cmd := &cobra.Command{
		Use:               "delete " + strings.Join(n.keys, " "),
		Short:             "Delete a " + n.one + " with what depends on it",
		Args:              arguments(n.keys...),
		ValidArgsFunction: n.complete,
	}
	sure.flag(cmd)
	revisionFlag(cmd, &revision)
	return c.speak(cmd, func(ctx context.Context, args []string) error {
		key, err := n.key(ctx, args)
		if err != nil {
			return err
		}
		what := n.one + " " + strings.Join(args, " ")
		var goes object.Deleted
		if !sure.yes {
			if err := c.api.do(ctx, call{method: http.MethodGet, path: path(n.path, key, "deletion")}, &goes); err != nil {
				return err
			}
		}
		if err := c.in.confirm(ctx, &sure, "Delete "+what+with(goes)+"?"); err != nil {
			return err
		}
		var answer json.RawMessage
		if err := c.api.do(ctx, call{method: http.MethodDelete, path: path(n.path, key), revision: quoted(revision)}, &answer); err != nil {
			return err
		}
		return c.out.print(answer, func() error {
			var gone api.Gone
			if err := json.Unmarshal(answer, &gone); err != nil {
				return err
			}
			if err := c.out.printf("%s deleted%s", what, with(gone.Deleted)); err != nil {
				return err
			}
			c.out.tellUndo(&gone)
			return nil
		})
	})
}

// with says what goes with an object.
func with(d object.Deleted) string {
	var list []string
	if d.Producers > 0 {
		list = append(list, count(d.Producers, "producer"))
	}
	if d.Consumers > 0 {
		list = append(list, count(d.Consumers, "consumer"))
	}
	if d.Webhooks > 0 {
		list = append(list, count(d.Webhooks, "webhook"))
	}
	if d.Messages > 0 {
		list = append(list, count(d.Messages, "message"))
	}
	if list == nil {
		return ""
	}
	last := len(list) - 1
	return " with " + strings.Join(append(slices.Clone(list[:max(0, last-1)]), strings.Join(list[max(0, last-1):], " and ")), ", ")
}

func revisionFlag(cmd *cobra.Command, revision *string) {
	cmd.Flags().StringVar(revision, "revision", "", "only if this is its `REVISION`, as show prints it")
}

// quoted is a revision as If-Match takes it.
func quoted(revision string) string {
	if revision == "" {
		return ""
	}
	return `"` + revision + `"`
}

// secretsOf returns the fields of a noun that are not shown.
func secretsOf[T any](table property.Fields[T]) (names []string) {
	for _, f := range table {
		if f.Secret {
			names = append(names, f.Name)
		}
	}
	return names
}

// idCompletion completes the ID, or the client and the topic.
func (c *cli) idCompletion(ids completion) completion {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		switch len(args) {
		case 0:
			byID, _ := ids(cmd, args, typed)
			clients, directive := c.completeClient(cmd, args, typed)
			return append(byID, clients...), directive
		case 1:
			return c.completeTopic(cmd, args, typed)
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}
