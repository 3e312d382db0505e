package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// globalFlags adds the flags that every command takes, also in front of it. The others that can stand there are those that
// say where a command works.
func globalFlags(c *cli, root *cobra.Command) {
	root.SetGlobalNormalizationFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "file" { // as it was called once, for a database
			name = "database"
		}
		return pflag.NormalizedName(name)
	})
	f := root.PersistentFlags()
	f.Var((*fileName)(&c.config), "config", configUsage)
	_ = root.RegisterFlagCompletionFunc("config", files)
	f.BoolVar(&c.out.json, "json", false, "print JSON, as the API answers; errors, too, as problem details")
	f.BoolVarP(&c.out.quiet, "quiet", "q", false, "print IDs or names alone, one a line")
	f.VarP(&formatFlag{&c.out}, "output", "o", "`FORMAT`: table, json, which is --json, or name, which is --quiet")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))

	front := root.Flags()
	front.StringVarP(&c.server, "server", "s", "", "")
	front.StringVar(&c.token, "token", "", "")
	front.Var((*fileName)(&c.file), "database", "")
	for _, name := range placeFlags {
		_ = front.MarkHidden(name)
	}
}

// placeFlags say where a command works that is behind them.
var placeFlags = []string{"server", "token", "database"}

var formats = []string{"json", "name", "table"}

// formatFlag is the value of --output.
type formatFlag struct{ out *output }

func (f *formatFlag) Set(s string) error {
	if !slices.Contains(formats, s) {
		return errors.New("allowed are " + strings.Join(formats, ", "))
	}
	f.out.json, f.out.quiet = s == "json", s == "name"
	return nil
}

func (f *formatFlag) String() string { return "" }
func (f *formatFlag) Type() string   { return "format" }

// asksForJSON tells whether arguments do, also those that are not all parsed because of an error.
func asksForJSON(args []string) bool {
	for i, a := range args {
		switch {
		case a == "--":
			return false
		case a == "--json", a == "--json=true", a == "--output=json", a == "-ojson", a == "-o=json",
			a == "json" && i > 0 && (args[i-1] == "-o" || args[i-1] == "--output"):
			return true
		}
	}
	return false
}

// together refuses --config beside another flag that says where: it says so itself.
func together(cmd *cobra.Command) error {
	if !cmd.Flags().Changed("config") {
		return nil
	}
	for _, other := range []string{"server", "database", "url"} {
		if f := cmd.Flags().Lookup(other); f != nil && f.Changed {
			return usageError{fmt.Errorf("--config and --%s do not go together", other)}
		}
	}
	return nil
}

// synonyms are what people type for a command first who know other programs.
var synonyms = map[string][]string{
	"list": {"ls"}, "show": {"get"}, "create": {"add"}, "edit": {"set"}, "delete": {"rm", "remove"}, "revoke": {"rm", "delete"},
	"topic": {"topics"}, "client": {"clients"}, "producer": {"producers"}, "consumer": {"consumers"}, "webhook": {"webhooks"}, "token": {"tokens"},
	"messages": {"message"}, "publish": {"pub"}, "consume": {"sub", "subscribe", "receive"},
	"serve": {"run", "start"}, "health": {"ping"}, "stats": {"status"}, "admin": {"admins", "administrator"},
}

// addSynonyms gives a command and those below it their synonyms.
func addSynonyms(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		sub.Aliases = append(sub.Aliases, synonyms[sub.Name()]...)
		addSynonyms(sub)
	}
}

// flagError says what is wrong with a flag without the words of the library that has found it.
func flagError(cmd *cobra.Command, err error) error {
	see := "see " + cmd.CommandPath() + " --help"
	var invalid *pflag.InvalidValueError
	var bare *pflag.ValueRequiredError
	switch {
	case errors.As(err, &invalid):
		f := invalid.GetFlag()
		return fmt.Errorf("--%s %q: %s: %s", f.Name, invalid.GetValue(), allowedOf(f, invalid.Unwrap()), see)
	case errors.As(err, &bare):
		return fmt.Errorf("--%s needs a value: %s", bare.GetFlag().Name, see)
	}
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) {
		name := unknown.GetSpecifiedName()
		if letters := unknown.GetSpecifiedShortnames(); letters != "" {
			return fmt.Errorf("-%s: there is no flag -%s: %s", letters, name, see)
		}
		if slices.Contains(placeFlags, name) {
			return fmt.Errorf("--%s is not for %s: %s", name, cmd.CommandPath(), see)
		}
		return fmt.Errorf("there is no flag --%s: %s", name, see)
	}
	return fmt.Errorf("%w: %s", err, see)
}

// allowedOf says what a flag's value can be. The types of the library's own have errors of strconv.
func allowedOf(f *pflag.Flag, cause error) string {
	switch f.Value.Type() {
	case "bool":
		return "allowed are true and false"
	case "int", "int64", "uint32", "intSlice":
		return "allowed are whole numbers"
	case "stringToString":
		return "allowed is NAME=VALUE"
	}
	return cause.Error()
}

var groupSet = regexp.MustCompile(`^if any flags in the group .*\[([^\]]+)\] were all set$`)

// groupError says in a sentence that flags do not go together.
func groupError(err error) error {
	m := groupSet.FindStringSubmatch(err.Error())
	if m == nil {
		return err
	}
	return fmt.Errorf("--%s do not go together", strings.Join(strings.Fields(m[1]), " and --"))
}

var withoutSlash = regexp.MustCompile(`[Nn]o topic "([^"/][^"]*)"`)

// suggestTopic completes the error of a topic that is not there while one with a slash in front is.
func suggestTopic(ctx context.Context, c *cli, err error) error {
	m := withoutSlash.FindStringSubmatch(err.Error())
	if m == nil || c.api == nil || c.offline == nil && c.api.token == "" {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), completeTime)
	defer cancel()
	if c.api.do(ctx, call{method: http.MethodGet, path: path("topics", "/"+m[1]), query: url.Values{}}, nil) != nil {
		return err
	}
	return errNotFound{fmt.Errorf("no topic %q, did you mean %q", m[1], "/"+m[1])}
}

// keyOf is what names an object that the API has answered with, empty where nothing does.
func keyOf(answer json.RawMessage) string {
	fields, err := fieldsOf(answer)
	if err != nil {
		return ""
	}
	for _, name := range []string{"id", "msg_id", "username", "name"} {
		for _, f := range fields {
			if f.name == name {
				return f.text()
			}
		}
	}
	return ""
}

func versionCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  pipit version",
		Args:    arguments(),
	}
	cmd.RunE = c.run(func(context.Context, []string) error {
		return c.out.tell(map[string]string{"version": c.Version}, "%s", c.Version)
	})
	return cmd
}

func configCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Name all that a start with a configuration would refuse",
		Example: `  pipit config check pipit.toml
  pipit config check --config pipit.toml`,
		Args:              arguments("[FILE]"),
		ValidArgsFunction: inOrder(files),
	}
	cmd.RunE = c.run(func(ctx context.Context, args []string) error {
		file := c.config
		if len(args) > 0 {
			if file != "" {
				return usageError{errors.New("the file is an argument or that of --config, not both")}
			}
			file = args[0]
		}
		return c.CheckConfig(ctx, file)
	})
	return group("config", "Configurations", cmd)
}
