// Package command is the command line: what a person or a script types to administer a broker.
//
// A command speaks the admin API, as anybody can. It reaches it in one of two ways: over HTTP at a
// server, with a token; or, with --database, in a database that no server has open, whose API the
// command then serves to itself within the process. Commands do not see the difference. Consuming
// is the exception: it speaks the wire protocol with a client's own credentials, or, with
// --database, to the broker.
//
// One place, Run, writes errors and makes exit codes of them.
//
// It has more than 4,000 lines since it has a file for each kind of object, with all of its commands, which do not know each other; what they
// share and what is no command is in packages of their own.
package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"pipit/broker"
)

// Program is what the command line needs of the program that it is part of.
type Program struct {
	Version        string   // in one line
	Env            []string // "NAME=value"
	Stdin          io.Reader
	Stdout, Stderr io.Writer

	// Log takes the place of Stderr while the broker runs: it never waits for who reads it.
	Log io.Writer

	// Serve runs the broker with a configuration, the default one where the name of its file is
	// empty, until ctx ends. It logs to Log.
	Serve func(ctx context.Context, config string) error

	// CheckConfig returns what is wrong with a configuration.
	CheckConfig func(ctx context.Context, config string) error

	// Database returns the database file of a configuration, whose other faults do not matter, and in words
	// why it is that one.
	Database func(config string) (file, why string, err error)

	// Address returns the URL at which this machine reaches the server of a configuration, whose other
	// faults do not matter.
	Address func(config string) (string, error)

	// Open opens a database, for payloads of up to MaxPayload. Where there is none in the file it is made, if create is set, else the
	// error is fs.ErrNotExist. Where another process has it the error is store.ErrInUse.
	Open func(file string, create bool) (*broker.Broker, error)

	// Verify reads a whole database and returns what is wrong with it. It tells progress which part is
	// done, from 0 to 1. The errors are also those of Open.
	Verify func(file string, progress func(part float64)) error

	// Downgrade tells what one of the Releases, which came before this one, would make of a database. The errors are those of Open.
	Downgrade func(file, version string) (Downgrade, error)
	Releases  []string

	// Compact makes a database that no process has open as small as what is in it, and returns how many bytes it had and has.
	// The errors are also those of Open.
	Compact func(file string) (before, after int64, err error)

	// ClusterInit makes the node of a configuration the first one of a new cluster, with what its database has. It must not run.
	ClusterInit func(config string) error

	// AskNode has the node of a configuration, which runs, answer a question of AskStatus and so on, in JSON.
	AskNode func(ctx context.Context, config, question string) (json.RawMessage, error)

	// NodeBackup has the node of a configuration, which runs, make a backup of its copy, of so many bytes. body is nil where that is no node of a
	// cluster.
	NodeBackup func(ctx context.Context, config string) (body io.ReadCloser, size int64, err error)

	// SaveBackup writes the backup that r has to a file, in the place of an older backup alone, when it is found to be whole.
	SaveBackup func(ctx context.Context, file string, r io.Reader) error

	// Restore verifies a backup and makes it the database in a file, which no process may have open: else the error is
	// store.ErrInUse. It returns under which name it keeps what was there, empty where nothing was.
	Restore func(ctx context.Context, backup, file string, progress func(part float64)) (kept string, err error)
}

// MaxPayload bounds what is published to a database file, in bytes. A server has its own limit.
const MaxPayload = 128 << 20

// Run runs the command line and returns its exit code.
func Run(ctx context.Context, p Program, args []string) int {
	c := newCLI(p)
	root := c.root()
	root.SetArgs(longFlags(args))
	err := root.ExecuteContext(ctx)
	if err != nil {
		err = suggestTopic(ctx, c, err)
	}
	if err := c.close(); err != nil {
		c.out.notef("%v", err)
	}
	if err == nil {
		return exitOK
	}
	return fail(ctx, c, err, args)
}

// oneDash are the flags that can be written with one dash as well as with two: those that the program had before
// it had commands.
var oneDash = []string{"-config", "-check-config", "-hash-password", "-version", "-help"}

// longFlags gives those flags their two dashes.
func longFlags(args []string) []string {
	out := make([]string, len(args))
	for i, arg := range args {
		if arg == "--" {
			copy(out[i:], args[i:])
			break
		}
		name, _, _ := strings.Cut(arg, "=")
		if slices.Contains(oneDash, name) {
			arg = "-" + arg
		}
		out[i] = arg
	}
	return out
}

// cli is one run of the command line.
type cli struct {
	*Program
	connection
	in       input
	out      output
	begun    bool // a command has its arguments and runs
	bareExit bool // it is the program without a command, whose exit code is 1 whatever fails
}

func newCLI(p Program) *cli {
	c := &cli{Program: &p, connection: connection{program: &p}, out: output{stdout: p.Stdout, stderr: p.Stderr}}
	c.in = input{p.Stdin, &c.out}
	return c
}

func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "pipit",
		Short: "REST publish/subscribe in one process",
		Long: `REST publish/subscribe in one process: topics, producers, consumers and messages in one file.
Without a command it runs the broker, by the flags below, which can have one dash as well.

Commands that administer speak the admin API of a running server. They take its address from
--server, the variable PIPIT_SERVER or the file pipit/config.toml in your configuration folder, which is
~/.config on Linux, and a token from PIPIT_TOKEN or that file:

  server = "http://127.0.0.1:11223"
  token = "pipit_…"

The token of the file goes to no other server than the file's. The file must not be readable by
other users. With --database a command works on a database instead that no server has open, and with --config on
the server that a configuration is of.

Exit codes: 0 done, 1 failed, 2 wrong usage or a value that is not allowed, 3 not found, 4 refused
(token, permission), 5 in conflict (exists already, changed meanwhile, not active), 6 not now (no
connection, overloaded, a limit or the disk is full, the database is in use), 130 interrupted.`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	c.bare(root)
	// Files are completed where one is meant: see files.
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	root.SetFlagErrorFunc(flagError)
	globalFlags(c, root)
	root.SetIn(c.in.stdin)
	root.SetOut(c.out.stdout)
	root.SetErr(c.out.stderr)
	const messages, objects, running = "messages", "objects", "running"
	root.AddGroup(
		&cobra.Group{ID: running, Title: "Running:"},
		&cobra.Group{ID: messages, Title: "Messages:"},
		&cobra.Group{ID: objects, Title: "Objects:"},
	)
	root.SetHelpCommand(helpCommand(c))
	root.SetHelpCommandGroupID(running)
	root.SetCompletionCommandGroupID(running)
	add := func(group string, commands ...*cobra.Command) {
		for _, cmd := range commands {
			cmd.GroupID = group
			root.AddCommand(cmd)
		}
	}
	add(running, initCommand(c), c.serveCommand(), configCommand(c), c.healthCommand(), statsCommand(c), versionCommand(c), c.adminCommand(), c.tokenCommand(), c.auditCommand(), refusalsCommand(c), alertsCommand(c), debugCommand(c), c.checkCommand(), compactCommand(c),
		backupCommand(c), restoreCommand(c), setupLinkCommand(c), clusterCommand(c), serviceCommand(c))
	add(messages, c.publishCommand(), c.consumeCommand(), c.messagesCommand())
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() == "completion" {
			cmd.Short = "Print what makes a shell complete commands, flags and names"
			cmd.Args, cmd.RunE = cobra.ArbitraryArgs, noCommand
		}
	}
	add(objects, connectCommand(c), c.topicCommand(), c.clientCommand(), c.producerCommand(), c.consumerCommand(), c.webhookCommand(), undoCommand(c), c.exportCommand(), c.importCommand())
	root.InitDefaultHelpCmd()
	addSynonyms(root)
	return root
}

// group makes a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.ArbitraryArgs,
		RunE:  noCommand,
	}
	cmd.AddCommand(commands...)
	return cmd
}

// noCommand is run for a command that only holds others.
func noCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 1 && args[0] == "help" {
		return cmd.Help()
	}
	if len(args) == 0 {
		return fmt.Errorf("which %s command? See %s --help", cmd.Name(), cmd.CommandPath())
	}
	return fmt.Errorf("unexpected argument %q%s: see %s --help", args[0], didYouMean(cmd, args[0]), cmd.CommandPath())
}

func didYouMean(cmd *cobra.Command, arg string) string {
	cmd.SuggestionsMinimumDistance = 2
	if s := cmd.SuggestionsFor(arg); len(s) > 0 {
		return ", did you mean " + strings.Join(s, " or ")
	}
	return ""
}

// run makes a cobra command's function of one of ours: from here on errors are ours, too.
func (c *cli) run(fn func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c.begun, c.creates = true, cmd.Flags().Lookup("create") != nil
		if err := together(cmd); err != nil {
			return err
		}
		return fn(cmd.Context(), args)
	}
}

// speak is run for a command that speaks the admin API: it has the flags for it, and a connection.
func (c *cli) speak(cmd *cobra.Command, fn func(ctx context.Context, args []string) error) *cobra.Command {
	c.connection.flags(cmd)
	cmd.RunE = c.run(func(ctx context.Context, args []string) error {
		if err := c.connect(); err != nil {
			return err
		}
		return fn(ctx, args)
	})
	return cmd
}

// fileFlag adds a flag that names a file.
func fileFlag(cmd *cobra.Command, name *string, flag, usage string) {
	cmd.Flags().Var((*fileName)(name), flag, usage)
	_ = cmd.RegisterFlagCompletionFunc(flag, files)
}

// fileName is a pflag.Value. It is not empty, as a script's variable is that nobody has set.
type fileName string

func (n *fileName) Set(s string) error {
	if s == "" {
		return errors.New("allowed is the name of a file")
	}
	*n = fileName(s)
	return nil
}

func (n *fileName) String() string { return string(*n) }
func (n *fileName) Type() string   { return "string" }

func files(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveDefault
}

// arguments takes the arguments that names lists; those in brackets can be left out, and one that
// ends in … can be given often.
func arguments(names ...string) cobra.PositionalArgs {
	least, most := 0, len(names)
	for _, n := range names {
		if !strings.HasPrefix(n, "[") {
			least++
		}
		if strings.HasSuffix(n, "…") {
			most = -1
		}
	}
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= least && (most < 0 || len(args) <= most) {
			return nil
		}
		hint := ""
		if len(args) > 0 && slices.Contains([]string{"true", "false", "yes", "no", "on", "off"}, args[len(args)-1]) {
			hint = " (the value of a switch follows an equals sign, as in --active=false)"
		}
		if len(args) == 0 && cmd.Flags().Changed("database") {
			hint = " (--database, also --file, names a database)"
		}
		if most == 0 {
			return fmt.Errorf("unexpected argument %q: see %s --help", args[0], cmd.CommandPath())
		}
		return fmt.Errorf("expected %s, got %d arguments%s: see %s --help", strings.Join(names, " "), len(args), hint, cmd.CommandPath())
	}
}

// lookup returns a variable of the environment, empty where it is not set.
func (p *Program) lookup(name string) string {
	for _, kv := range p.Env {
		if k, v, _ := strings.Cut(kv, "="); k == name {
			return v
		}
	}
	return ""
}
