package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"pipit/admin/object"
	"pipit/broker"
)

func (c *cli) exportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export [FILE]",
		Short: "Write all clients, topics, producers, consumers and webhooks to a file, or standard output",
		Long: `Write all clients, topics, producers, consumers and webhooks to a file, or standard output, as one JSON
document, which import takes. It holds password hashes, sub_keys and secrets of webhooks, so the file is for you alone.
Messages are not part of it.`,
		Example: `  pipit export definitions.json
  pipit export | jq -r '.topics[].name'`,
		Args:              arguments("[FILE]"),
		ValidArgsFunction: inOrder(files),
	}
	return c.speak(cmd, func(ctx context.Context, args []string) error {
		body, length, err := c.api.open(ctx, call{method: http.MethodGet, path: path("export")})
		if err != nil {
			return err
		}
		defer body.Close()
		p := c.out.progress("exporting", "bytes", length)
		text, err := io.ReadAll(p.reader(body))
		p.end()
		if err != nil {
			return c.api.broken(ctx, err)
		}
		if len(args) == 0 || args[0] == "-" {
			_, err := c.out.stdout.Write(text)
			return err
		}
		return replaceFile(args[0], text)
	})
}

// replaceFile writes a file that only its owner can read, all of it or none.
func replaceFile(name string, text []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*") // of mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

func (c *cli) importCommand() *cobra.Command {
	var dryRun, zato bool
	var list, topic string
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Create or change what a file defines, all of it or nothing",
		Long: `Create clients, topics, producers, consumers and webhooks, or bring them to what a file defines, all or
nothing. What the file does not name stays as it is, so importing twice does no more than once.
FILE is what export wrote; - is standard input.

With --zato it is what Zato 2.0 answers to zato.pubsub.topics.get-list, producers.get-list or
consumers.get-list. The last two are of a topic, which --topic names. --list says which list a bare
one is. Clients that do not exist are created inactive and without a password.`,
		Example: `  pipit import definitions.json --dry-run
  pipit import definitions.json --database new.db --create
  pipit import consumers.json --zato --list consumers --topic /customer/created`,
		Args:              arguments("FILE"),
		ValidArgsFunction: inOrder(files),
	}
	f := cmd.Flags()
	f.BoolVar(&dryRun, "dry-run", false, "only say what would be done")
	f.BoolVar(&zato, "zato", false, "the file is a list of Zato 2.0")
	f.StringVar(&list, "list", "", "with --zato, which `LIST` it is: topics, producers, consumers")
	f.StringVar(&topic, "topic", "", "with --zato, the `TOPIC` that producers or consumers are of")
	_ = cmd.RegisterFlagCompletionFunc("list", cobra.FixedCompletions([]string{"topics", "producers", "consumers"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("topic", c.completeTopic)
	var text []byte
	cmd.PreRunE = c.run(func(_ context.Context, args []string) (err error) { // before a database is made
		if !zato && (list != "" || topic != "") {
			return usageError{errors.New("--list and --topic are for --zato")}
		}
		text, err = c.in.read(args[0])
		if err == nil && zato && list == "" && strings.HasPrefix(strings.TrimSpace(string(text)), "[") {
			err = usageError{errors.New("the file is a bare list: say which with --list topics, producers or consumers")}
		}
		return err
	})
	c.speak(cmd, func(ctx context.Context, args []string) error {
		q := call{method: http.MethodPost, path: path("import"), query: url.Values{}}
		if zato {
			q.path = path("import", "zato")
		}
		if dryRun {
			q.query.Set("dry_run", "true")
		}
		set(q.query, "list", list)
		set(q.query, "topic", topic)
		p := c.out.progress("importing "+args[0], "bytes", 0) // all sent is not yet all done
		q.body = p.reader(bytes.NewReader(text))
		var answer json.RawMessage
		err := c.api.do(ctx, q, &answer)
		p.end()
		if err != nil {
			return err
		}
		if !dryRun {
			c.keep()
		}
		return c.out.print(answer, func() error { return c.out.printImport(answer) })
	})
	c.createFlag(cmd)
	return cmd
}

// read reads a file, or standard input where the name is -.
func (in *input) read(name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(in.stdin)
	}
	return os.ReadFile(name) // #nosec G304 -- the user names it
}

// printImport says what an import did, or would do.
func (o *output) printImport(answer json.RawMessage) error {
	var done object.Import
	d := json.NewDecoder(bytes.NewReader(answer))
	d.UseNumber()
	if err := d.Decode(&done); err != nil {
		return err
	}
	t := &table{headings: []heading{{name: "ACTION", kind: fixed}, {name: "KIND", kind: fixed}, {name: "NAME", kind: elastic}, {name: "CHANGES", kind: elastic}}}
	for _, a := range done.Plan {
		if a.Action != "keep" {
			t.rows = append(t.rows, []string{string(a.Action), string(a.Kind), a.Key, a.Changes.String()})
		}
	}
	if len(t.rows) > 0 {
		if err := o.printTable(t); err != nil {
			return err
		}
	}
	verb := ""
	if done.DryRun {
		verb = "to be "
	}
	if err := o.printf("%s%d created, %d updated, %d kept", verb, done.Created, done.Updated, done.Kept); err != nil {
		return err
	}
	for _, k := range done.SubKeys {
		if err := o.printf("consumer %s of topic %s has the sub_key %s", label(k.Client, k.Name), k.Topic, k.SubKey); err != nil {
			return err
		}
	}
	for _, s := range done.CallbackSecrets {
		if err := o.printf("consumer %s of topic %s has the callback_secret %s", label(s.Client, s.Name), s.Topic, s.CallbackSecret); err != nil {
			return err
		}
	}
	for _, u := range done.NeedsPassword {
		o.notef("client %s is inactive and has no password: pipit client edit %s --active --password", u, u)
	}
	for _, w := range done.Warnings {
		o.notef("%s", w)
	}
	return nil
}

// label is how a consumer is told from others of its topic.
func label(client, name string) string {
	c := broker.Consumer{Client: client, Name: name}
	return c.Label()
}
