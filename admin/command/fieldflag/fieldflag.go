// Package fieldflag makes flags of the command line of the fields of an object, which a table of the broker describes, and of
// what is set the body of a request to the API. A field is the flag of its name, with - for _, without the is_ of a switch.
package fieldflag

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pipit/broker/property"
)

// Of returns the flags of a noun's fields, which its table describes. A secret is none: other users see what a
// process was called with.
func Of[T any](table property.Fields[T]) func(create bool) *pflag.FlagSet {
	return func(create bool) *pflag.FlagSet {
		flags, byDefault := pflag.NewFlagSet("", pflag.ContinueOnError), table.New()
		for i := range table {
			f := &table[i]
			if f.Secret || create && f.Required || f.Fixed && !create { // what is required is an argument
				continue
			}
			name := strings.ReplaceAll(strings.TrimPrefix(f.Name, "is_"), "_", "-")
			value := f.Value(&byDefault)
			if n, is := value.(int64); is && f.IsSeconds() {
				value = Seconds(n)
			}
			add(flags, name, value, f.Help)
			if !create { // what an edit says nothing of stays as it is
				clearDefault(flags.Lookup(name))
			}
			if f.Options != nil {
				_ = flags.SetAnnotation(name, optionsOf, f.Texts())
			}
		}
		return flags
	}
}

// add adds the flag of a field with its default. Lists take several, between commas or by the flag given again; a table
// takes NAME=VALUE, by the flag given again, since values have commas.
func add(flags *pflag.FlagSet, name string, byDefault any, help string) {
	switch v := byDefault.(type) {
	case bool:
		flags.Bool(name, v, help)
	case int64:
		flags.Int64(name, v, help)
	case time.Duration:
		flags.Var((*Duration)(&v), name, help)
	case Seconds:
		flags.Var(&v, name, help)
	case string:
		flags.String(name, v, help)
	case property.Size:
		flags.Var(&sizeFlag{v}, name, help)
	case property.Durations:
		flags.Var(&durationsFlag{Durations: v}, name, help)
	case property.Texts:
		flags.StringSlice(name, v.List(), help)
	case property.Table:
		flags.Var(&tableFlag{Table: v}, name, help)
	default:
		panic(fmt.Sprintf("no flag for a %T", v))
	}
}

// clearDefault lets the help say nothing of a flag's default.
func clearDefault(f *pflag.Flag) {
	switch f.Value.Type() {
	case "bool":
		f.DefValue = "false"
	case "int64":
		f.DefValue = "0"
	case "stringSlice":
		f.DefValue = "[]"
	default:
		f.DefValue = ""
	}
}

// sizeFlag is the value of a flag that is a size.
type sizeFlag struct{ property.Size }

func (f *sizeFlag) Set(s string) (err error) {
	n, ok := property.ParseSize(s)
	if !ok {
		return errors.New("allowed are sizes such as 65536, 512KiB, 64MiB")
	}
	f.Size = n
	return nil
}

func (f *sizeFlag) Type() string { return "size" }

// durationsFlag is the value of a flag that is a list. The first that is given replaces the default.
type durationsFlag struct {
	property.Durations
	given bool
}

func (f *durationsFlag) Set(s string) error {
	more, bad := property.ParseDurations(s)
	switch {
	case bad != "":
		return fmt.Errorf("%q: allowed are durations such as 30s, 5m, 1h30m, 7d", bad)
	case f.given:
		f.Durations = property.DurationsOf(append(f.List(), more.List()...)...)
	default:
		f.Durations, f.given = more, true
	}
	return nil
}

func (f *durationsFlag) Type() string { return "durations" }

func (f *durationsFlag) String() string { return strings.ReplaceAll(f.Durations.String(), "\n", ",") }

// tableFlag is the value of a flag that names several values. The first that is given replaces the default.
type tableFlag struct {
	property.Table
	given map[string]string
}

func (f *tableFlag) Set(s string) error {
	if f.given == nil {
		f.given = map[string]string{}
	}
	name, value, ok := strings.Cut(s, "=")
	switch _, before := f.given[name]; {
	case s == "": // none
	case !ok || name == "":
		return errors.New("allowed is NAME=VALUE")
	case before:
		return fmt.Errorf("%q is given twice", name)
	default:
		f.given[name] = value
	}
	f.Table = property.TableOf(f.given)
	return nil
}

func (f *tableFlag) Type() string { return "name=value" }

// optionsOf is the annotation of a flag that lists all that it can be.
const optionsOf = "options"

// Add adds flags to a command, with the completion of their values.
func Add(cmd *cobra.Command, flags *pflag.FlagSet) {
	cmd.Flags().AddFlagSet(flags)
	flags.VisitAll(func(f *pflag.Flag) {
		if options := f.Annotations[optionsOf]; options != nil {
			_ = cmd.RegisterFlagCompletionFunc(f.Name, cobra.FixedCompletions(options, cobra.ShellCompDirectiveNoFileComp))
		}
	})
}

// Body returns the fields whose flags are set, for the body of a request: --max-depth is max_depth.
func Body(flags *pflag.FlagSet) map[string]any {
	body := map[string]any{}
	flags.VisitAll(func(f *pflag.Flag) {
		if !f.Changed { // Visit does not know what a command has parsed
			return
		}
		name := strings.ReplaceAll(f.Name, "-", "_")
		if name == "active" {
			name = "is_active"
		}
		switch v := f.Value.(type) {
		case pflag.SliceValue:
			body[name] = v.GetSlice()
			return
		case *sizeFlag:
			body[name] = v.Size
			return
		case *durationsFlag:
			body[name] = v.Durations
			return
		case *tableFlag:
			body[name] = v.Table
			return
		case *Duration:
			body[name] = time.Duration(*v).String()
			return
		case *Seconds:
			body[name] = int64(*v)
			return
		}
		switch f.Value.Type() {
		case "bool":
			body[name] = f.Value.String() == "true"
		case "int64":
			n, _ := strconv.ParseInt(f.Value.String(), 10, 64) // as pflag has parsed it
			body[name] = n
		default:
			body[name] = f.Value.String()
		}
	})
	return body
}
