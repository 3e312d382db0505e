package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"

	"pipit/admin/command/fieldflag"
	"pipit/admin/command/receiver"
	"pipit/admin/object"
	"pipit/broker"
	"pipit/broker/limit"
	"pipit/broker/property"
)

const (
	followWait = 50 * time.Second // of one request, less than what a proxy commonly allows
	takeTime   = 5 * time.Second  // for the reader of a pipe to take a message, before it is acknowledged all the same
)

// consumeFlags are those of the command consume.
type consumeFlags struct {
	user, subKey string
	broker       string // URL, empty: where the API is
	consumer     uint32
	follow, ack  bool
	max          int
	wait         fieldflag.Duration
	exec         execFlags
}

func (c *cli) consumeCommand() *cobra.Command {
	var f consumeFlags
	cmd := &cobra.Command{
		Use:   "consume TOPIC",
		Short: "Receive messages as a consumer does, and print their payloads or run a command for each",
		Long: `Receive messages as a consumer does, and print their payloads, each ending in a line break; with
--json each message on a line, as the protocol returns it. It ends when nothing waits, or with
--follow never.

It logs in as the consumer's client: the password comes from the variable PIPIT_PASSWORD, is asked
for on a terminal, or is read from a line of standard input. With a token of scope write the rest
is looked up, as long as there is one consumer only; else --user and --consumer say which one,
and without a token --user and the variable PIPIT_SUB_KEY do. With --database no password is needed.

Messages stay in flight, and are delivered again after the consumer's ack_timeout, unless --ack is
given: then they are acknowledged when they were printed, one at a time where standard output is a
pipe, and on Linux when its reader has taken it: what "| head" leaves stays.

With --exec a command is run for each message instead, by sh -c, or on Windows by cmd /c: the
payload is its standard input, the metadata are variables, such as PIPIT_MSG_ID, PIPIT_TOPIC,
PIPIT_DELIVERY_COUNT, PIPIT_CORRELATION_ID and PIPIT_ATTR_<NAME>, all of them as JSON in
PIPIT_METADATA. The message stays in flight while it runs. Exit code 0 acknowledges the message. 75 and
a run that takes longer than --timeout, which is ended, put it back for 5s after its first delivery, twice
that after its second and so on, up to 15m. Other codes reject it: it is delivered
again as the consumer's retry_backoff says. 126 and 127, a command that cannot be run, give it back and end pipit
with that code. It goes on when nothing waits or the server is away, and ends on Ctrl-C or
SIGTERM after the messages in hand, on a second one at once.`,
		Example: `  pipit consume /customer/created
  pipit consume /customer/created --user erp --follow --ack
  pipit consume /customer/created --ack --json --max 10 --wait 30s | jq .payload
  pipit consume /customer/created --exec ./handle.sh --concurrency 4 --timeout 1m
  pipit consume /customer/created --exec 'jq -r .name >>names.txt' --dead-letter-on 5`,
		Args:              arguments("TOPIC"),
		ValidArgsFunction: inOrder(c.completeTopic),
	}
	consumeFlagsOf(c, cmd, &f)
	c.speak(cmd, func(ctx context.Context, args []string) error {
		run, err := f.exec.check(cmd)
		switch {
		case err != nil:
			return usageError{err}
		case run && c.out.json:
			return usageError{errors.New("--exec and --json do not go together")}
		case f.max < 1 && cmd.Flags().Changed("max"):
			return usageError{fmt.Errorf("max %d: allowed is 1 or more", f.max)}
		case time.Duration(f.wait) > limit.MaxWait:
			return usageError{fmt.Errorf("wait %s: allowed are 0s to %s", &f.wait, property.FormatDuration(limit.MaxWait))}
		}
		if f.broker == "" {
			f.broker = c.api.server
		} else if err := checkServer(&f.broker); err != nil {
			return err
		}
		if run {
			return c.exec(ctx, args[0], &f)
		}
		q, err := c.queue(ctx, args[0], &f)
		if err != nil {
			return err
		}
		if f.follow {
			return c.follow(ctx, q, &f)
		}
		_, err = c.consume(ctx, q, &f, f.max, time.Duration(f.wait))
		return err
	})
	for _, name := range []string{"ack", "wait"} {
		cmd.MarkFlagsMutuallyExclusive("exec", name)
	}
	return cmd
}

// consumeFlagsOf adds the flags of the command consume.
func consumeFlagsOf(c *cli, cmd *cobra.Command, f *consumeFlags) {
	flags := cmd.Flags()
	flags.StringVar(&f.user, "user", "", "the `USERNAME` of the consumer's client")
	flags.StringVar(&f.subKey, "sub-key", "", "the consumer's `KEY`; others on this machine can see it here: better set PIPIT_SUB_KEY")
	flags.Uint32Var(&f.consumer, "consumer", 0, "the consumer's `ID`")
	flags.StringVar(&f.broker, "broker", "", "`URL` of the broker, where the admin API has an address of its own (default that of --server)")
	flags.BoolVarP(&f.follow, "follow", "f", false, "go on when nothing waits, until interrupted")
	flags.BoolVar(&f.ack, "ack", false, "acknowledge what was printed")
	flags.IntVarP(&f.max, "max", "n", 0, "end after `N` messages (default 100, with --follow and --exec no bound)")
	flags.Var(&f.wait, "wait", "wait for this `DURATION` for the first message, at most 1m")
	f.exec.add(cmd)
	cmd.MarkFlagsMutuallyExclusive("consumer", "sub-key")
	_ = cmd.RegisterFlagCompletionFunc("user", c.completeClient)
	_ = cmd.RegisterFlagCompletionFunc("consumer", c.completeConsumer)
}

// queue finds the consumer's queue.
func (c *cli) queue(ctx context.Context, topic string, f *consumeFlags) (receiver.Queue, error) {
	if f.subKey == "" && f.consumer == 0 {
		f.subKey = c.lookup(envSubKey)
	}
	if f.subKey == "" || f.user == "" {
		found, err := c.consumer(ctx, topic, f)
		if err != nil {
			return nil, err
		}
		f.user, f.subKey = found.Client, found.SubKey
	}
	if c.offline != nil {
		sub, err := c.offline.b.Subscription(&broker.Client{Username: f.user}, topic, f.subKey)
		return fileQueue{sub}, err
	}
	password := c.lookup(envPassword)
	if password == "" {
		var err error
		if password, err = c.in.secret(ctx, "password of "+f.user, false); err != nil {
			return nil, err
		}
	}
	return &wireQueue{f.broker, c.api.http, topic, f.user, password, f.subKey}, nil
}

// consumer asks the API which consumer is meant.
func (c *cli) consumer(ctx context.Context, topic string, f *consumeFlags) (object.Consumer, error) {
	none := object.Consumer{}
	if c.offline == nil && c.api.token == "" {
		return none, usageError{fmt.Errorf("which consumer? Without a token --user and %s are needed: see pipit consume --help", envSubKey)}
	}
	q := url.Values{"topic": {topic}}
	set(q, "client", f.user)
	list, err := all[object.Consumer](ctx, c.api, path("consumers"), q, 0)
	if err != nil {
		return none, err
	}
	var found []object.Consumer
	for _, o := range list.Items {
		if (f.consumer == 0 || o.ID == f.consumer) && (f.subKey == "" || o.SubKey == f.subKey) {
			found = append(found, o)
		}
	}
	switch {
	case len(found) == 0:
		if err := c.api.do(ctx, call{method: http.MethodGet, path: path("topics", topic)}, nil); err != nil {
			return none, err
		}
		return none, errNotFound{fmt.Errorf("topic %q has no such consumer", topic)}
	case len(found) > 1:
		var which string
		for _, o := range found {
			which += fmt.Sprintf("\n--consumer %d is one of client %s", o.ID, o.Client)
		}
		return none, usageError{fmt.Errorf("topic %q has %d such consumers:%s", topic, len(found), which)}
	case found[0].SubKey == "":
		return none, refused(http.StatusForbidden, "the token's scope is read: a sub_key is shown to the scope write alone")
	}
	return found[0], nil
}

// consume receives once, prints what it got and returns how many messages these were.
func (c *cli) consume(ctx context.Context, q receiver.Queue, f *consumeFlags, most int, wait time.Duration) (int, error) {
	if most == 0 {
		most = limit.DefaultReceive
	}
	got, batch := 0, limit.MaxReceive
	if f.ack && isPipe(c.out.stdout) {
		batch = 1
	}
	for got < most {
		msgs, err := q.Receive(ctx, min(most-got, batch), wait)
		if err != nil || len(msgs) == 0 {
			return got, err
		}
		ids := make([]string, len(msgs))
		for i := range msgs {
			if err := c.out.printDelivery(&msgs[i]); err != nil {
				return got, err
			}
			ids[i] = msgs[i].Metadata.ID
		}
		got += len(msgs)
		if f.ack {
			if batch == 1 {
				if err := taken(ctx, c.out.stdout); err != nil {
					return got, err
				}
			}
			// What was printed is acknowledged also when somebody presses Ctrl-C now.
			missing, err := q.Settle(context.WithoutCancel(ctx), broker.Settlement{Ack: ids})
			if err := errors.Join(err, notAcked(missing)); err != nil {
				return got, err
			}
		}
		wait = 0
	}
	return got, nil
}

// isPipe tells whether what is written goes to another process, which may end before it has read it.
func isPipe(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&(os.ModeNamedPipe|os.ModeSocket) != 0
}

// follow consumes until ctx ends, or f.max messages came. A server that was there once and does
// not answer is asked again.
func (c *cli) follow(ctx context.Context, q receiver.Queue, f *consumeFlags) error {
	p, met := receiver.Pauses{}, false
	for got := 0; f.max == 0 || got < f.max; {
		most := limit.MaxReceive
		if f.max > 0 {
			most = f.max - got
		}
		n, err := c.consume(ctx, q, f, most, followWait)
		got += n
		met = met || n > 0
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			p, met = receiver.Pauses{}, true
			continue
		case !met || exitCode(err) != exitNotNow:
			return err
		}
		pause := p.Next()
		c.out.notef("%v: asking again in %s", err, pause)
		if !receiver.Sleep(ctx, pause) {
			return nil
		}
	}
	return nil
}

// printDelivery prints a message.
func (o *output) printDelivery(d *receiver.Delivery) error {
	if o.json {
		line, err := marshal(d)
		if err != nil {
			return err
		}
		_, err = o.stdout.Write(line)
		return err
	}
	payload, err := d.Bytes()
	if err != nil {
		return err
	}
	return o.printPayload(payload, true)
}

// printPayload prints a payload: as it is, or, on a terminal, without what would control that.
func (o *output) printPayload(payload []byte, line bool) error {
	text := string(payload)
	if _, ok := Terminal(o.stdout); ok {
		text, line = visible(text, '\n', '\t'), true
	}
	if line && (text == "" || text[len(text)-1] != '\n') {
		text += "\n"
	}
	_, err := io.WriteString(o.stdout, text)
	return err
}
