package command

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"pipit/admin/access"
	"pipit/admin/command/fieldflag"
	"pipit/admin/web/shell"
	"pipit/broker"
	"pipit/broker/login"
)

// beginning is what init asks for.
type beginning struct {
	listen, database, admin, topic, sender, receiver string
	expiration                                       fieldflag.Seconds
}

func initCommand(c *cli) *cobra.Command {
	f := beginning{
		listen: "127.0.0.1:11223", database: "pipit.db", admin: "admin", topic: "/customer/created", sender: "crm", receiver: "erp",
		expiration: 7 * 24 * 60 * 60,
	}
	var sure confirmation
	cmd := &cobra.Command{
		Use:   "init [FILE]",
		Short: "Write a first configuration, with an administrator and two systems that exchange messages",
		Long: `Write a first configuration to a file, pipit.toml by default, and make the database with an administrator
in it. Two clients exchange messages by a topic: one sends, the other receives. On a terminal all of that is
asked for, but for what flags say and with --yes.

Passwords are made, and are printed this once, with commands to paste; the configuration has their hashes. Nothing
that exists is changed.`,
		Example: `  pipit init
  pipit init /etc/pipit/pipit.toml --database /var/lib/pipit/pipit.db --admin ann --yes`,
		Args:              arguments("[FILE]"),
		ValidArgsFunction: inOrder(files),
	}
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", f.listen, "the `ADDRESS` to listen on, host:port")
	flags.Var((*fileName)(&f.database), "database", "the `FILE` that messages are stored in")
	flags.StringVar(&f.admin, "admin", f.admin, "the `NAME` of the administrator")
	flags.StringVar(&f.topic, "topic", f.topic, "the `NAME` of the topic")
	flags.StringVar(&f.sender, "sender", f.sender, "the `USERNAME` of the client that sends")
	flags.StringVar(&f.receiver, "receiver", f.receiver, "the `USERNAME` of the client that receives")
	flags.Var(&f.expiration, "expiration", "how long a message waits to be received, a `DURATION`; 0: for ever")
	sure.flag(cmd)
	cmd.RunE = c.run(func(ctx context.Context, args []string) error {
		file := "pipit.toml"
		if len(args) > 0 {
			file = args[0]
		}
		if _, ok := Terminal(c.in.stdin); ok && !sure.yes {
			if err := f.ask(ctx, &c.in, cmd); err != nil {
				return err
			}
		}
		return begin(ctx, c, file, &f)
	})
	return cmd
}

// ask asks a person for all that no flag has said.
func (f *beginning) ask(ctx context.Context, in *input, cmd *cobra.Command) error {
	lines := bufio.NewReader(io.LimitReader(in.stdin, 16*maxLine))
	for _, q := range []struct{ flag, question string }{
		{"listen", "Address to listen on"}, {"database", "Database"}, {"admin", "Name of the administrator"}, {"topic", "Topic"},
		{"sender", "Client that sends"}, {"receiver", "Client that receives"}, {"expiration", "How long messages wait to be received"},
	} {
		flag := cmd.Flags().Lookup(q.flag)
		if flag.Changed {
			continue
		}
		fmt.Fprintf(in.out.stderr, "%s [%s]: ", q.question, flag.Value)
		read := make(chan string, 1)
		go func() {
			line, _ := lines.ReadString('\n')
			read <- strings.TrimSpace(line)
		}()
		select {
		case line := <-read:
			if line == "" {
				continue
			}
			if err := flag.Value.Set(line); err != nil {
				return usageError{fmt.Errorf("%s %q: %w", q.flag, line, err)}
			}
		case <-ctx.Done():
			fmt.Fprintln(in.out.stderr)
			return ctx.Err()
		}
	}
	return nil
}

// check returns all that is wrong with it.
func (f *beginning) check() error {
	var wrong []error
	if _, port, err := net.SplitHostPort(f.listen); err != nil || port == "" {
		wrong = append(wrong, fmt.Errorf("listen %q: allowed is host:port", f.listen))
	}
	if f.sender == f.receiver {
		wrong = append(wrong, fmt.Errorf("sender and receiver are both %q: allowed are two clients", f.sender))
	}
	topic := broker.TopicFields.New()
	topic.Name = f.topic
	wrong = append(wrong, topic.Validate())
	for _, name := range []string{f.sender, f.receiver} {
		wrong = append(wrong, (&broker.Client{Username: name, Password: "not looked at yet"}).Validate()) // #nosec G101 -- none
	}
	if err := errors.Join(wrong...); err != nil {
		return usageError{err}
	}
	return nil
}

// begin makes the database and the configuration, and says how to go on.
func begin(ctx context.Context, c *cli, file string, f *beginning) (err error) {
	if err := f.check(); err != nil {
		return err
	}
	database, err := filepath.Abs(f.database)
	if err != nil {
		return err
	}
	for _, name := range []string{file, database} {
		if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			return refused(http.StatusConflict, name+" exists already")
		}
	}
	administrator, sender, receiver, subKey := rand.Text(), rand.Text(), rand.Text(), rand.Text()
	var hashes [2]string
	for i, password := range []string{sender, receiver} {
		if hashes[i], err = login.HashPassword(password); err != nil {
			return err
		}
	}
	c.create = true
	b, err := c.openFile(database, "")
	if err != nil {
		return err
	}
	err = access.CreateAdministrator(ctx, b, f.admin, administrator)
	if err := errors.Join(err, b.Close()); err != nil {
		return err
	}
	text := fmt.Sprintf(beginningText, f.listen, database, f.sender, hashes[0], f.receiver, hashes[1], f.topic, f.expiration.String(),
		f.sender, f.topic, f.receiver, f.topic, subKey)
	if err := writeNew(file, text); err != nil {
		return err
	}
	c.keep()
	at, err := c.Address(file)
	if err != nil {
		return err
	}
	topic := strings.ReplaceAll(at, "%", "%%") + "/zato/pubsub/%s/" + strings.ReplaceAll((&url.URL{Path: f.topic}).EscapedPath(), "%", "%%") + "/"
	if c.out.json {
		return c.out.printJSON(map[string]string{
			"config": file, "database": database, "url": at, "admin": f.admin, "admin_password": administrator, "topic": f.topic,
			"sender": f.sender, "sender_password": sender, "receiver": f.receiver, "receiver_password": receiver, "sub_key": subKey,
		})
	}
	for _, line := range []string{
		file + " and " + database + " are made. The passwords are shown this once.",
		"Start the broker:", "  pipit serve --config " + shell.Quote(file),
		"Look at it, as " + f.admin + " with the password " + administrator + ":", "  " + at + "/admin/",
		"Send a message:", "  curl -u " + shell.Quote(f.sender+":"+sender) + " -d Hello " + shell.Quote(fmt.Sprintf(topic, "topic")),
		"Receive it:", "  curl -u " + shell.Quote(f.receiver+":"+receiver) + " -H " + shell.Quote("X-Zato-PubSub-Key: "+subKey) + " -X POST " + shell.Quote(fmt.Sprintf(topic, "msg")),
	} {
		if err := c.out.printf("%s", line); err != nil {
			return err
		}
	}
	return nil
}

// writeNew writes a file that only its owner can read, where there is none.
func writeNew(name, text string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // #nosec G304 -- the user names it
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, text)
	return errors.Join(err, f.Close())
}

const beginningText = `# Configuration of Pipit, as pipit init has written it. config.example.toml has every key.
# What stands here as a [[...]] is brought to what is said here at each start.

[http]
# Addresses to listen on, host:port each. Others than those of this machine should have TLS: tls_cert and tls_key.
listen = [%q]

[database]
# The file that everything is stored in.
file = %q

# The client that sends. The hash is of a password that was shown once; pipit -hash-password makes another.
[[client]]
username = %q
password_hash = %q

# The client that receives.
[[client]]
username = %q
password_hash = %q

# A message that nobody has received is dropped after its expiration; "0s": it waits for ever.
[[topic]]
name = %q
expiration = %q

# Who may publish to it.
[[producer]]
client = %q
topic = %q

# Who receives from it. The sub_key is the secret name of the queue.
[[consumer]]
client = %q
topic = %q
sub_key = %q
`
