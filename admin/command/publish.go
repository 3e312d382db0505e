package command

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"pipit/admin/api"
	"pipit/admin/command/fieldflag"
	"pipit/admin/object"
)

func (c *cli) publishCommand() *cobra.Command {
	var p object.Publication
	var allowEmpty bool
	cmd := &cobra.Command{
		Use:   "publish TOPIC [PAYLOAD|-|@FILE]",
		Short: "Publish a message and print its ID",
		Long: `Publish a message and print its ID, when it is on disk for every consumer. The payload is the
argument, or what is in a file, or standard input, which is also where it comes from without an
argument. A payload that begins with an @ itself goes through standard input, which is not to be
empty, as that of a job without one is: an empty payload is the argument '', or --allow-empty.

It is published on behalf of the administrator, through the admin API.`,
		Example: `  pipit publish /customer/created 'Hello pub/sub!'
  pipit publish /invoice/paid @invoice.json --mime-type application/json --priority 9
  date | pipit publish /log/lines`,
		Args:              arguments("TOPIC", "[PAYLOAD|-|@FILE]"),
		ValidArgsFunction: inOrder(c.completeTopic, payloadFiles),
	}
	cmd.PreRun = func(*cobra.Command, []string) { c.payload = true }
	f := cmd.Flags()
	f.IntVarP(&p.Priority, "priority", "p", 0, "1 to 9, 9 is delivered first (default 5)")
	f.Var((*fieldflag.Seconds)(&p.Expiration), "expiration", "after this `DURATION`, such as 45, 30m or 7d, it is dropped (default the topic's)")
	f.Var((*fieldflag.Seconds)(&p.Delay), "delay", "for this `DURATION` it is not delivered")
	f.Lookup("expiration").DefValue, f.Lookup("delay").DefValue = "", ""
	f.BoolVar(&allowEmpty, "allow-empty", false, "publish an empty payload where standard input is empty")
	f.StringVar(&p.DeliverAt, "deliver-at", "", "in place of a delay, the UTC `TIME` before which it is not delivered, as 2026-11-23T09:00:00, or Unix seconds")
	f.StringVar(&p.MIMEType, "mime-type", "", "handed on to consumers, not checked (default text/plain)")
	f.StringVar(&p.CorrelationID, "correlation-id", "", "what consumers connect it with")
	f.StringVar(&p.ReplyTo, "reply-to", "", "where an answer to it is expected")
	f.StringToStringVar(&p.Attributes, "attribute", nil, "`NAME=VALUE` that travels with it, once for each")
	f.StringVar(&p.ID, "msg-id", "", "an ID of your own, to publish safely again (default one that is made)")
	return c.speak(cmd, func(ctx context.Context, args []string) error {
		body := p
		var err error
		if body.Payload, err = c.in.payload(args[1:], allowEmpty); err != nil {
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
func (in *input) payload(args []string, allowEmpty bool) ([]byte, error) {
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
	if err == nil && len(payload) == 0 && !allowEmpty {
		err = usageError{errors.New("standard input is empty: the argument '' is an empty payload, or --allow-empty")}
	}
	return payload, err
}

// payloadFiles completes the name of a file behind an @.
func payloadFiles(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	const none = cobra.ShellCompDirectiveNoFileComp
	begun, ok := strings.CutPrefix(typed, "@")
	if !ok {
		return nil, none
	}
	dir, _ := filepath.Split(begun)
	entries, err := os.ReadDir(cmp.Or(dir, "."))
	if err != nil {
		return nil, none
	}
	var words []string
	directive := none
	for _, e := range entries {
		name := dir + e.Name()
		if e.IsDir() {
			name += string(filepath.Separator)
		}
		if strings.HasPrefix(name, begun) && visible(name) == name && len(words) < completeMost {
			words = append(words, "@"+name)
			if e.IsDir() {
				directive |= cobra.ShellCompDirectiveNoSpace
			}
		}
	}
	return words, directive
}
