package command

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"pipit/admin/monitor"
)

func statsCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "Show the figures of the whole broker, and what needs attention",
		Example: `  pipit stats
  pipit stats --json | jq .backlog`,
		Args: arguments(),
	}
	return c.speak(cmd, func(ctx context.Context, _ []string) error {
		var answer json.RawMessage
		if err := c.api.do(ctx, call{method: http.MethodGet, path: path("stats")}, &answer); err != nil {
			return err
		}
		return c.out.print(answer, func() error { return c.out.printStats(answer) })
	})
}

// printStats prints figures one a line, those of a part behind its name, and then what needs attention.
func (o *output) printStats(answer json.RawMessage) error {
	fields, err := fieldsOf(answer)
	if err != nil {
		return err
	}
	var flat bytes.Buffer
	flat.WriteString("{")
	add := func(name string, value json.RawMessage) {
		if flat.Len() > 1 {
			flat.WriteString(",")
		}
		fmt.Fprintf(&flat, "%q:%s", name, value)
	}
	for _, f := range fields {
		inner, err := fieldsOf(f.value)
		switch {
		case f.name == "attention":
		case err == nil && bytes.HasPrefix(f.value, []byte("{")):
			for _, part := range inner {
				add(f.name+"."+part.name, part.value)
			}
		default:
			add(f.name, f.value)
		}
	}
	flat.WriteString("}")
	if err := o.printObject(flat.Bytes()); err != nil {
		return err
	}
	var needs struct{ Attention []monitor.Attention }
	if err := json.Unmarshal(answer, &needs); err != nil {
		return err
	}
	for i, a := range needs.Attention {
		if i == 0 {
			fmt.Fprintln(o.stdout)
		}
		if err := o.printf("%s: %s", a.Code, a.Text); err != nil {
			return err
		}
	}
	return nil
}
