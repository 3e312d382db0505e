package command

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"pipit/admin/gate"
)

// column is a column of a list of objects.
type column[T any] struct {
	heading
	cell func(*T) string
}

func text[T any](title string, cell func(*T) string) column[T] {
	return column[T]{heading{name: title, kind: fixed}, cell}
}

func names[T any](title string, cell func(*T) string) column[T] {
	return column[T]{heading{name: title, kind: elastic}, cell}
}

func figure[T any](title string, cell func(*T) string) column[T] {
	return column[T]{heading{name: title, kind: digits}, cell}
}

// moment is a column of times, in the zone that its heading names.
func moment[T any](title string, cell func(*T) gate.Time) column[T] {
	return column[T]{heading{name: title + " " + zoneLabel(), kind: fixed}, func(v *T) string { return when(cell(v)) }}
}

// less marks a column that a narrow terminal does without, first that of the largest n.
func (c column[T]) less(n int) column[T] {
	c.drop = n
	return c
}

// listFlags are those of every list.
type listFlags struct {
	search, only, sort, topic, client string
	desc                              bool
	limit                             int
}

// query makes the parameters of a list's request.
func (f *listFlags) query() url.Values {
	q := url.Values{}
	set(q, "search", f.search)
	set(q, "part", f.only)
	set(q, "sort", f.sort)
	set(q, "topic", f.topic)
	set(q, "client", f.client)
	if f.desc {
		q.Set("desc", "true")
	}
	return q
}

// choice is a pflag.Value: one of a few words.
type choice struct {
	word *string
	of   []string
}

func (c choice) Set(s string) error {
	if !slices.Contains(c.of, s) {
		return errors.New("allowed are " + strings.Join(c.of, ", "))
	}
	*c.word = s
	return nil
}

func (c choice) String() string {
	if c.word == nil {
		return ""
	}
	return *c.word
}

func (c choice) Type() string { return "choice" }

// listCommand makes the command list of objects that the API has under a path.
func listCommand[T any](c *cli, things, path string, sorts, parts []string, filters bool, columns []column[T]) *cobra.Command {
	var f listFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List " + things,
		Args:  arguments(),
	}
	cmd.Flags().StringVar(&f.search, "search", "", "only those with this `text` in their names")
	cmd.Flags().Var(choice{&f.only, parts}, "only", "only those of this `PART`: "+strings.Join(parts, ", "))
	cmd.Flags().StringVar(&f.sort, "sort", sorts[0], "sort by `FIELD`: "+strings.Join(sorts, ", "))
	cmd.Flags().BoolVar(&f.desc, "desc", false, "in descending order")
	cmd.Flags().IntVarP(&f.limit, "limit", "n", 0, "at most `N`; 0: all")
	_ = cmd.RegisterFlagCompletionFunc("only", cobra.FixedCompletions(parts, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("sort", cobra.FixedCompletions(sorts, cobra.ShellCompDirectiveNoFileComp))
	if filters {
		cmd.Flags().StringVar(&f.topic, "topic", "", "only those of the topic `NAME`")
		cmd.Flags().StringVar(&f.client, "client", "", "only those of the client `USERNAME`")
		_ = cmd.RegisterFlagCompletionFunc("topic", c.completeTopic)
		_ = cmd.RegisterFlagCompletionFunc("client", c.completeClient)
	}
	return c.speak(cmd, func(ctx context.Context, _ []string) error {
		if err := notNegative("limit", f.limit); err != nil {
			return err
		}
		return printList(ctx, c, []string{path}, f.query(), f.limit, columns)
	})
}

// printList gets a list and prints it.
func printList[T any](ctx context.Context, c *cli, path []string, q url.Values, limit int, columns []column[T]) error {
	if c.out.json {
		list, err := all[json.RawMessage](ctx, c.api, path, q, limit)
		if err != nil {
			return err
		}
		return c.out.printJSON(list)
	}
	list, err := all[T](ctx, c.api, path, q, limit)
	if err != nil {
		return err
	}
	if c.out.quiet {
		return c.out.printKeys(tableOf(list.Items, columns[:1]))
	}
	if err := c.out.printTable(tableOf(list.Items, columns)); err != nil {
		return err
	}
	if list.Next != "" && list.Total != nil {
		c.out.notef("%d of %d shown", len(list.Items), *list.Total)
	}
	return nil
}

// printKeys prints the first column of a table alone.
func (o *output) printKeys(t *table) error {
	for _, row := range t.rows {
		if err := o.printf("%s", row[0]); err != nil {
			return err
		}
	}
	return nil
}

// tableOf makes a table of objects.
func tableOf[T any](items []T, columns []column[T]) *table {
	t := &table{}
	for _, col := range columns {
		t.headings = append(t.headings, col.heading)
	}
	for i := range items {
		row := make([]string, len(columns))
		for j, col := range columns {
			row[j] = col.cell(&items[i])
		}
		t.rows = append(t.rows, row)
	}
	return t
}
