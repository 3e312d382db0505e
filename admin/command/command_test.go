package command

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"pipit/admin/object"
)

// Every command has its help: in one line, with an example that is one of it, and for each flag.
func TestHelp(t *testing.T) {
	var each func(cmd *cobra.Command)
	each = func(cmd *cobra.Command) {
		if cmd.Name() == "help" || cmd.Name() == "completion" {
			return // cobra's own
		}
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: short help %q", cmd.CommandPath(), cmd.Short)
		}
		cmd.InitDefaultHelpFlag()
		if !cmd.HasSubCommands() {
			for line := range strings.Lines(cmd.Example) {
				if !strings.HasPrefix(line, "  ") || !strings.Contains(line, "pipit ") {
					t.Errorf("%s: example %q", cmd.CommandPath(), line)
				}
			}
			if !strings.Contains(cmd.Example, cmd.CommandPath()) {
				t.Errorf("%s: no example", cmd.CommandPath())
			}
		}
		for _, sub := range cmd.Commands() {
			each(sub)
		}
	}
	root := newCLI(Program{}).root()
	for _, cmd := range root.Commands() {
		each(cmd)
	}
	have := root.UsageString()
	var listed []string
	for _, name := range []string{"init", "serve", "config", "connect", "health", "stats", "version", "publish", "consume", "topic", "client", "producer", "consumer", "webhook", "messages",
		"export", "import", "token", "admin", "audit", "alerts", "check", "compact", "backup", "restore", "setup-link", "service", "undo", "completion"} {
		if !strings.Contains(have, "\n  "+name+" ") && !strings.HasPrefix(have, "  "+name+" ") {
			t.Errorf("no command %s in\n%s", name, have)
		}
		listed = append(listed, name)
	}
	doc := documentation(t)["../../docs/administration.md"]
	_, table, _ := strings.Cut(doc, "\n| command | |\n|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	var documented []string
	for row := range strings.Lines(table) {
		cell, _, _ := strings.Cut(strings.TrimPrefix(row, "| "), " | ")
		for _, m := range regexp.MustCompile("`([\\w-]+)").FindAllStringSubmatch(cell, -1) {
			documented = append(documented, m[1])
		}
	}
	slices.Sort(listed)
	if slices.Sort(documented); !slices.Equal(documented, listed) {
		t.Errorf("docs/administration.md lists %q, there are %q", documented, listed)
	}
}

// documentation returns what people read before they type a command, by file.
func documentation(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, pattern := range []string{"../../*.md", "../../docs/*.md"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file) // #nosec G304 -- of the repository
			if err != nil {
				t.Fatal(err)
			}
			texts[file] = string(text)
		}
	}
	delete(texts, "../../CHANGELOG.md") // which has what was as well
	return texts
}

// What the documentation and the examples of the help have people type is a command, with flags that it has and as many
// arguments as it takes.
func TestDocumentedCommandLines(t *testing.T) {
	quoted, behind := regexp.MustCompile(`'[^']*'|"[^"]*"`), regexp.MustCompile(` (\||&&|[<>]).*`)
	found := 0
	check := func(where, line string, complete bool) {
		found++
		words := strings.Fields(behind.ReplaceAllString(quoted.ReplaceAllString(line, "quoted"), ""))
		cmd, args, err := newCLI(Program{}).root().Find(longFlags(words[1:]))
		if err == nil {
			cmd.InitDefaultHelpFlag()
			err = cmd.ParseFlags(args)
		}
		switch rest := cmd.Flags().Args(); {
		case err != nil:
		case cmd.HasSubCommands() && (cmd.HasParent() || len(rest) > 0):
			err = errors.New("no such command")
		case complete:
			err = cmd.ValidateArgs(rest)
		}
		if err != nil {
			t.Errorf("%s: %s: %v", where, line, err)
		}
	}
	block, inline := regexp.MustCompile(`(?m)^    (pipit [a-z-].*)$`), regexp.MustCompile("`(pipit [a-z-][^`\n]*)`")
	for file, text := range documentation(t) {
		for _, m := range block.FindAllStringSubmatch(text, -1) {
			check(file, m[1], true)
		}
		for _, m := range inline.FindAllStringSubmatch(text, -1) {
			check(file, m[1], false)
		}
	}
	var each func(cmd *cobra.Command)
	each = func(cmd *cobra.Command) {
		for line := range strings.Lines(cmd.Example) {
			_, line, _ = strings.Cut(strings.TrimSpace(line), "pipit ") // behind what its input comes from
			check(cmd.CommandPath(), "pipit "+line, true)
		}
		for _, sub := range cmd.Commands() {
			each(sub)
		}
	}
	each(newCLI(Program{}).root())
	if found < 80 {
		t.Errorf("%d were found", found)
	}
}

func TestLongFlags(t *testing.T) {
	got := longFlags([]string{"serve", "-config", "f", "-config=f", "--config", "-c", "--", "-config"})
	want := []string{"serve", "--config", "f", "--config=f", "--config", "-c", "--", "-config"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	got = longFlags([]string{"-version", "-hash-password", "-check-config=false", "-help", "-v"})
	want = []string{"--version", "--hash-password", "--check-config=false", "--help", "-v"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// A secret is the first line of standard input, whatever wrote it.
func TestSecretOfStandardInput(t *testing.T) {
	for _, text := range []string{"pass word", "pass word\n", "pass word\r\nmore\n", "\ufeffpass word\r\n"} {
		c := newCLI(Program{Stdin: strings.NewReader(text)})
		if got, err := c.in.secret(t.Context(), "password", true); err != nil || got != "pass word" {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}

func TestWith(t *testing.T) {
	for _, tt := range []struct {
		producers, consumers int
		messages             int64
		want                 string
	}{
		{0, 0, 0, ""},
		{1, 0, 0, " with 1 producer"},
		{2, 0, 1, " with 2 producers and 1 message"},
		{2, 1, 3, " with 2 producers, 1 consumer and 3 messages"},
	} {
		if got := with(object.Deleted{Producers: tt.producers, Consumers: tt.consumers, Messages: tt.messages}); got != tt.want {
			t.Errorf("%+v: %q", tt, got)
		}
	}
}
