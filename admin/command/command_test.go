package command

import (
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
	for _, name := range []string{"serve", "publish", "consume", "topic", "client", "producer", "consumer", "messages",
		"export", "import", "token", "admin", "check", "completion"} {
		if !strings.Contains(have, "\n  "+name+" ") && !strings.HasPrefix(have, "  "+name+" ") {
			t.Errorf("no command %s in\n%s", name, have)
		}
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
