package command

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"pipit/admin/api"
	"pipit/admin/object"
)

func (c *cli) publishCommand() *cobra.Command {
	var p object.Publication
	cmd := &cobra.Command{
		Use:   "publish TOPIC [PAYLOAD|-|@FILE]",
		Short: "Publish a message and print its ID",
		Long: `Publish a message and print its ID, when it is on disk for every consumer. The payload is the
argument, or what is in a file, or standard input, which is also where it comes from without an
argument. A payload that begins with an @ itself goes through standard input, which is not to be
empty: an empty payload is the argument ''.

It is published on behalf of the administrator, through the admin API.`,
		Example: `  pipit publish /customer/created 'Hello pub/sub!'
  pipit publish /invoice/paid @invoice.json --mime-type application/json --priority 9
  date | pipit publish /log/lines`,
		Args:              arguments("TOPIC", "[PAYLOAD|-|@FILE]"),
		ValidArgsFunction: inOrder(c.completeTopic),
	}
	f := cmd.Flags()
	f.IntVar(&p.Priority, "priority", 0, "1 to 9, 9 is delivered first (default 5)")
	f.Int64Var(&p.Expiration, "expiration", 0, "`seconds` until it is dropped (default the topic's)")
	f.Int64Var(&p.Delay, "delay", 0, "`seconds` before it can be delivered")
	f.StringVar(&p.DeliverAt, "deliver-at", "", "in place of a delay, the UTC `TIME` before which it is not delivered, as 2026-11-23T09:00:00, or Unix seconds")
	f.StringVar(&p.MIMEType, "mime-type", "", "handed on to consumers, not checked (default text/plain)")
	f.StringVar(&p.CorrelationID, "correlation-id", "", "what consumers connect it with")
	f.StringVar(&p.ReplyTo, "reply-to", "", "where an answer to it is expected")
	f.StringToStringVar(&p.Attributes, "attribute", nil, "`NAME=VALUE` that travels with it, once for each")
	f.StringVar(&p.ID, "msg-id", "", "an ID of your own, to publish safely again (default one that is made)")
	return c.speak(cmd, func(ctx context.Context, args []string) error {
		body := p
		var err error
		if body.Payload, err = c.in.payload(args[1:]); err != nil {
			return err
		}
		var answer json.RawMessage
		if err := c.api.do(ctx, call{method: http.MethodPost, path: path("topics", args[0], "messages"), body: body}, &answer); err != nil {
			return err
		}
		return c.out.print(answer, func() error {
			var done api.Published
			if err := json.Unmarshal(answer, &done); err != nil {
				return err
			}
			return c.out.printf("%s", done.ID)
		})
	})
}

// payload returns the payload that the arguments say.
func (in *input) payload(args []string) ([]byte, error) {
	if len(args) > 0 && args[0] != "-" {
		if name, ok := strings.CutPrefix(args[0], "@"); ok {
			return os.ReadFile(name) // #nosec G304 -- the user names it
		}
		return []byte(args[0]), nil
	}
	if _, ok := Terminal(in.stdin); ok && len(args) == 0 {
		in.out.notef("type the payload and end it with Ctrl-D on a line of its own")
	}
	payload, err := io.ReadAll(in.stdin)
	if err == nil && len(payload) == 0 {
		err = usageError{errors.New("standard input is empty: the argument '' is an empty payload")}
	}
	return payload, err
}
