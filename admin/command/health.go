package command

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// healthTime is how long a server may take to say how it is.
const healthTime = 3 * time.Second

func (c *cli) healthCommand() *cobra.Command {
	var at string
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask a server whether it can store messages: exit code 0, else 1",
		Long: `Ask a server whether it can store messages, as the health check of a container does: the exit
code is 0 where it can and 1 where it cannot or does not answer within ` + healthTime.String() + `.

Without --url it asks at the address that the server listens on by the configuration --config, else
at that of the variable ` + envServer + `, else by the default configuration. The certificate of this
machine's own server is not verified: nothing secret is sent to it.`,
		Example: `  pipit health
  pipit health --config pipit.toml
  pipit health --url https://broker.example.com`,
		Args: arguments(),
	}
	cmd.Flags().StringVar(&at, "url", "", "`URL` of the server (default: by the configuration, or "+envServer+")")
	cmd.Flags().StringVarP(&at, "server", "s", "", "the same as --url")
	cmd.RunE = c.run(func(ctx context.Context, _ []string) error {
		if fromEnv := c.lookup(envServer); at == "" && c.config == "" && fromEnv != "" {
			if err := checkServer(&fromEnv); err != nil {
				return fmt.Errorf("%s: %w", envServer, err)
			}
			at = fromEnv
		}
		own := at == ""
		if own {
			var err error
			if at, err = c.Address(c.config); err != nil {
				return unhealthy{err}
			}
		}
		u, err := url.Parse(at)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
			return usageError{fmt.Errorf("--url %q: allowed is http://HOST:PORT or https://HOST:PORT", at)}
		}
		if err := askHealth(ctx, u.JoinPath("health"), own || isLoopback(u.Hostname())); err != nil {
			return unhealthy{err}
		}
		return c.out.tell(map[string]string{"url": u.JoinPath("health").String(), "status": "ok"}, "%s: ok", u.JoinPath("health"))
	})
	return cmd
}

// unhealthy is the outcome of a health check, whose exit code does not depend on the reason.
type unhealthy struct{ err error }

func (e unhealthy) Error() string { return e.err.Error() }

func isLoopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// askHealth returns what a server has to say against itself.
func askHealth(ctx context.Context, u *url.URL, own bool) error {
	client := http.Client{
		Timeout: healthTime,
		// Without a proxy of the environment.
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: own}, DisableKeepAlives: true}, // #nosec G402 -- of this machine alone, and nothing secret is sent
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		var e *url.Error
		if errors.As(err, &e) {
			err = e.Err // the URL stands before it already
		}
		return fmt.Errorf("%s: %w", u, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil {
		return fmt.Errorf("%s: %w", u, err)
	}
	var answer struct{ Status, Details string }
	known := json.Unmarshal(body, &answer) == nil && strings.HasPrefix(answer.Status, "ZATO_")
	switch {
	case !known:
		return fmt.Errorf("%s: %s: this is not a Pipit server", u, resp.Status)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: %s: %s", u, resp.Status, answer.Details)
	}
	return nil
}
