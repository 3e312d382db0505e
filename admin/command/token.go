package command

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pipit/admin/access"
	"pipit/admin/gate"
)

func (c *cli) tokenCommand() *cobra.Command {
	return group("token", "Tokens of the API, for scripts and this command line",
		c.tokenCreateCommand(), c.tokenListCommand(), c.tokenRevokeCommand())
}

func (c *cli) tokenCreateCommand() *cobra.Command {
	var scope, expires string
	scopes := []string{gate.ScopeRead, gate.ScopeWrite, gate.ScopeAdmin}
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a token and print it, this once",
		Long: `Create a token and print it, this once. The scope write may change objects and messages, admin
may do all: only it knows administrators, tokens, sessions and the audit log, and makes tokens.
A token that is made with another one ends when that one does.`,
		Example: `  pipit token create backup --expires 365d
  pipit token create deploy --scope write --database pipit.db >token.txt`,
		Args: arguments("NAME"),
	}
	cmd.Flags().StringVar(&scope, "scope", gate.ScopeRead, "read, write or admin")
	cmd.Flags().StringVar(&expires, "expires", "", "`when`: after a duration such as 12h or 365d, a time such as 2026-11-24T15:04:05Z, or never (default 90d)")
	_ = cmd.RegisterFlagCompletionFunc("scope", cobra.FixedCompletions(scopes, cobra.ShellCompDirectiveNoFileComp))
	return c.speak(cmd, func(ctx context.Context, args []string) error {
		body := access.NewToken{Name: args[0], Scope: scope, Expires: expires}
		if d, err := parseDays(expires); err == nil {
			body.Expires = time.Now().Add(d).UTC().Format(time.RFC3339)
		}
		var answer json.RawMessage
		if err := c.api.do(ctx, call{method: http.MethodPost, path: path("tokens"), body: body}, &answer); err != nil {
			return err
		}
		if c.offline != nil { // a server refuses to make one before it is set up
			if is, err := access.IsSetUp(c.offline.b); err == nil && !is {
				c.out.notef("a server refuses the token until there is an administrator: pipit admin create NAME --database %s", c.file)
			}
		}
		return c.out.print(answer, func() error {
			var made access.Token
			if err := json.Unmarshal(answer, &made); err != nil {
				return err
			}
			if _, ok := Terminal(c.out.stdout); ok {
				c.out.notef("note the token down, it is shown this once")
			}
			return c.out.printf("%s", made.Token)
		})
	})
}

func (c *cli) tokenListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List tokens, without their secrets",
		Example: "  pipit token list",
		Args:    arguments(),
	}
	return c.speak(cmd, func(ctx context.Context, _ []string) error {
		return printList(ctx, c, path("tokens"), nil, 0, []column[access.Token]{
			text("ID", func(t *access.Token) string { return t.ID }),
			names("NAME", func(t *access.Token) string { return t.Name }),
			text("SCOPE", func(t *access.Token) string { return t.Scope }),
			names("CREATED BY", func(t *access.Token) string { return t.CreatedBy }).less(2),
			text("EXPIRES", func(t *access.Token) string {
				if t.Expires.IsZero() {
					return access.Never
				}
				return when(t.Expires)
			}),
			moment("LAST USED", func(t *access.Token) gate.Time { return t.LastUsed }).less(1),
		})
	})
}

func (c *cli) tokenRevokeCommand() *cobra.Command {
	var sure confirmation
	var heir succession
	cmd := &cobra.Command{
		Use:   "revoke NAME|ID",
		Short: "Revoke a token: it is refused from then on",
		Long:  "Revoke a token: it is refused from then on. The tokens that it has made end as well, if --take-over does not keep them.",
		Example: `  pipit token revoke deploy
  pipit token revoke 1f0c2d9a77b3e501 --yes`,
		Args:              arguments("NAME|ID"),
		ValidArgsFunction: inOrder(c.completeToken),
	}
	sure.flag(cmd)
	heir.flag(cmd)
	return c.speak(cmd, func(ctx context.Context, args []string) error {
		list, err := all[access.Token](ctx, c.api, path("tokens"), nil, 0)
		if err != nil {
			return err
		}
		var found *access.Token
		for i := range list.Items {
			if t := &list.Items[i]; t.Name == args[0] || found == nil && t.ID == args[0] {
				found = t
			}
		}
		if found == nil {
			return errNotFound{fmt.Errorf("there is no token %q", args[0])}
		}
		if err := c.in.confirm(ctx, &sure, "Revoke token "+found.Name+"?"+heir.of(list.Items, "token "+found.Name)); err != nil {
			return err
		}
		if err := c.api.do(ctx, call{method: http.MethodDelete, path: path("tokens", found.ID), query: heir.query()}, nil); err != nil {
			return err
		}
		if c.out.json {
			return c.out.printJSON(found)
		}
		return c.out.printf("token %s revoked", found.Name)
	})
}

// succession is the flag of a command that deletes who has made tokens.
type succession struct{ takeOver bool }

func (s *succession) flag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&s.takeOver, "take-over", false, "become the owner of the tokens that it has made, which end otherwise")
}

func (s *succession) query() url.Values {
	if s.takeOver {
		return url.Values{"take_over": {"true"}}
	}
	return nil
}

// of tells what becomes of the tokens of an owner that goes.
func (s *succession) of(all []access.Token, owner string) string {
	end, what := access.EndsWith(all, owner), "end with it"
	if s.takeOver {
		end = slices.DeleteFunc(end, func(t access.Token) bool { return t.Owner != owner })
		what = "are taken over"
	}
	var names []string
	for _, t := range end {
		names = append(names, t.Name)
	}
	if names == nil {
		return ""
	}
	return " These tokens " + what + ": " + strings.Join(names, ", ") + "."
}
