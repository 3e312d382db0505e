// Package manual writes the reference of the command line, as one page of Markdown and as pages of man, from the commands
// themselves. What it writes depends on nothing else: no date, no machine.
package manual

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// commands are all that do something or hold others, in the order of their names, the root first.
func commands(root *cobra.Command) []*cobra.Command {
	list := []*cobra.Command{root}
	for _, sub := range root.Commands() {
		if sub.IsAvailableCommand() {
			list = append(list, commands(sub)...)
		}
	}
	return list
}

// description is what a command is for, in one text.
func description(cmd *cobra.Command) string {
	if cmd.Long != "" {
		return strings.TrimSpace(cmd.Long)
	}
	return cmd.Short + "."
}

// flags are those of a command alone, without those of all.
func flags(cmd *cobra.Command) *pflag.FlagSet {
	cmd.InitDefaultHelpFlag()
	own := pflag.NewFlagSet("", pflag.ContinueOnError)
	own.SortFlags = true
	cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		if f.Name != "help" && !f.Hidden {
			own.AddFlag(f)
		}
	})
	return own
}

// name is how a flag is written, with what its value is called.
func name(f *pflag.Flag) (written, usage string) {
	value, usage := pflag.UnquoteUsage(f)
	written = "--" + f.Name
	if f.Shorthand != "" {
		written = "-" + f.Shorthand + ", " + written
	}
	if value != "" && f.Value.Type() != "bool" {
		written += " " + value
	}
	switch f.DefValue {
	case "", "false", "0", "0s", "[]":
	default:
		usage += " (default " + f.DefValue + ")"
	}
	return written, usage
}

// Markdown is the reference as one page.
func Markdown(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("# Commands\n\nThis page is written by `go test ./admin/command -run TestManual -manual`, of what `pipit help` knows. [Administration](administration.md#command-line) says how to begin.\n")
	for _, cmd := range commands(root) {
		fmt.Fprintf(&b, "\n## %s\n\n", cmd.CommandPath())
		if cmd != root {
			b.WriteString(escaped(cmd.Short) + ".\n\n")
		}
		b.WriteString("```text\n" + cmd.UseLine() + "\n```\n")
		if len(cmd.Aliases) > 0 {
			b.WriteString("\nAlso `" + strings.Join(cmd.Aliases, "`, `") + "`.\n")
		}
		if cmd.Long != "" {
			b.WriteString("\n```text\n" + description(cmd) + "\n```\n")
		}
		table(&b, flags(cmd))
		if cmd == root {
			b.WriteString("\nFlags of every command, which can stand in front of it:\n")
			table(&b, root.PersistentFlags())
		}
		if cmd.Example != "" {
			b.WriteString("\n```sh\n")
			for line := range strings.Lines(cmd.Example) {
				b.WriteString(strings.TrimPrefix(line, "  "))
			}
			b.WriteString("\n```\n")
		}
	}
	return b.String()
}

func table(b *strings.Builder, set *pflag.FlagSet) {
	if !set.HasAvailableFlags() {
		return
	}
	b.WriteString("\n| flag | |\n|---|---|\n")
	set.VisitAll(func(f *pflag.Flag) {
		if written, usage := name(f); !f.Hidden {
			fmt.Fprintf(b, "| `%s` | %s |\n", strings.ReplaceAll(written, "|", "\\|"), escaped(usage))
		}
	})
}

var markdown = strings.NewReplacer("|", `\|`, "<", "&lt;", "*", `\*`, "_", `\_`)

func escaped(s string) string { return markdown.Replace(s) }

// Pages are pages of man, by the names of their files, such as pipit-topic-create.1.
func Pages(root *cobra.Command) map[string]string {
	pages := map[string]string{}
	for _, cmd := range commands(root) {
		pages[pageName(cmd)+".1"] = page(cmd)
	}
	return pages
}

func pageName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

func page(cmd *cobra.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s 1 \"\" Pipit\n.SH NAME\n%s \\- %s\n", strings.ToUpper(roff(pageName(cmd))), roff(pageName(cmd)), roff(cmd.Short))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n%s\n.SH DESCRIPTION\n.nf\n%s\n.fi\n", roff(cmd.UseLine()), roff(description(cmd)))
	options := func(title string, set *pflag.FlagSet) {
		if !set.HasAvailableFlags() {
			return
		}
		b.WriteString(".SH " + title + "\n")
		set.VisitAll(func(f *pflag.Flag) {
			if written, usage := name(f); !f.Hidden {
				fmt.Fprintf(&b, ".TP\n\\fB%s\\fR\n%s\n", roff(written), roff(usage))
			}
		})
	}
	options("OPTIONS", flags(cmd))
	options("OPTIONS OF EVERY COMMAND", cmd.Root().PersistentFlags())
	if cmd.Example != "" {
		fmt.Fprintf(&b, ".SH EXAMPLES\n.nf\n%s\n.fi\n", roff(cmd.Example))
	}
	var also []string
	if cmd.HasParent() {
		also = append(also, roff(pageName(cmd.Parent()))+"(1)")
	}
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			also = append(also, roff(pageName(sub))+"(1)")
		}
	}
	if also != nil {
		b.WriteString(".SH SEE ALSO\n" + strings.Join(also, ", ") + "\n")
	}
	return b.String()
}

// roff is a text of which no part is taken for a request or an escape.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}
