package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"pipit/admin/access"
	"pipit/admin/alert"
	"pipit/backup"
	"pipit/broker"
	"pipit/config"
	"pipit/httpapi"
	"pipit/httpapi/callback"
	"pipit/tracing"
)

// declare brings the broker to what the configuration declares, all or nothing, and tells what a
// person has to know of it.
func declare(ctx context.Context, b *broker.Broker, c *config.Config, log *slog.Logger, stderr io.Writer) error {
	applied, err := b.Apply(ctx, c.Definition())
	var faults broker.Faults
	switch {
	case errors.As(err, &faults):
		all := make([]error, len(faults))
		for i, f := range faults {
			all[i] = fmt.Errorf("configuration: %s", f.Err.Message)
		}
		return errors.Join(all...)
	case err != nil:
		return fmt.Errorf("apply the configuration: %w", err)
	}
	for _, c := range applied.Made { // a secret: not for the log
		fmt.Fprintf(stderr, "pipit: client %q consumes %q%s with the new sub_key %s - note it down, it is shown this once\n", c.Client, c.Topic, as(&c), c.SubKey)
	}
	for _, c := range applied.Sealed {
		fmt.Fprintf(stderr, "pipit: client %q is sent messages of %q%s signed with the new callback_secret %s - give it to the receiver, it is shown this once\n", c.Client, c.Topic, as(&c), c.CallbackSecret)
	}
	how := func(id uint32) string { return fmt.Sprint("pipit consumer delete ", id) }
	if is, err := access.IsSetUp(b); err != nil || !is || !c.Admin.Enabled { // a server would refuse it
		how = func(id uint32) string {
			return fmt.Sprintf("pipit consumer delete %d --file %s, while the broker is stopped", id, c.Database.File)
		}
	}
	for i, id := range applied.Beside {
		if i == maxBeside {
			log.Warn("further consumers are not declared: pipit consumer list", "consumers", len(applied.Beside)-i)
			break
		}
		if c, ok := b.Consumer(id); ok {
			log.Warn("the configuration does not declare this consumer, for which messages go on waiting: where nobody needs them, delete it",
				"client", c.Client, "topic", c.Topic, "name", c.Name, "backlog", c.Backlog, "command", how(id))
		}
	}
	return nil
}

// warnWeak tells which passwords and keys of a configuration are weak. That takes milliseconds for each.
func warnWeak(c *config.Config, log *slog.Logger) {
	d := c.Definition()
	for _, weak := range d.Weak() {
		log.Warn("configuration: " + weak)
	}
}

// maxBeside is how many consumers that are not declared have a line of their own.
const maxBeside = 20

// brokerOptions and wireOptions are what the configuration says of the broker and the wire protocol.
func brokerOptions(c *config.Config, log *slog.Logger) broker.Options {
	return broker.Options{MaxPayload: int64(c.HTTP.MaxPayload), MaxPending: int64(c.HTTP.MaxPending), Logger: log,
		History: orNone(c.History.Keep), HistoryMessages: int(c.History.MaxMessages)}
}

func (d *doors) wireOptions(c *config.Config) httpapi.Options {
	opts := httpapi.Options{
		MinBodyRate: int64(orNone(c.HTTP.MinBodyRate)),
		MaxPayload:  int64(c.HTTP.MaxPayload), MaxBatch: int64(c.HTTP.MaxBatch), MaxPending: int64(c.HTTP.MaxPending), MaxReplies: int64(c.HTTP.MaxReplies),
		CORSOrigins: c.HTTP.CORSOrigins, Origin: c.PublicOrigin(), Access: c.Log.Access, Proxies: d.proxies, Logger: d.log, Tracer: d.tracer,
	}
	if d.metrics != nil {
		opts.Answered = d.metrics.Answered
	}
	return opts
}

func (s *service) callbackOptions(c *config.Config) callback.Options {
	return callback.Options{
		Deny: c.Callbacks.Deny, MaxConcurrency: int(c.Callbacks.MaxConcurrency), Proxy: c.Callbacks.Proxy, CA: c.Callbacks.CA,
		UserAgent: "Pipit/" + version, Logger: s.log, Tracer: s.tracer,
	}
}

func (s *service) tracingOptions(c *config.Config) tracing.Options {
	t := c.Tracing
	opts := tracing.Options{Endpoint: t.Endpoint, Sample: t.Sample, Service: t.ServiceName, Version: version, Headers: t.Headers.Map(), Logger: s.log}
	if s.metrics != nil {
		opts.Sent, opts.Dropped = s.metrics.SpansSent, s.metrics.SpansDropped
	}
	return opts
}

func backupOptions(c *config.Config, log *slog.Logger) backup.Options {
	return backup.Options{Directory: c.BackupDirectory(), Every: c.Backup.Every, Keep: int(c.Backup.Keep), Logger: log}
}

func alertOptions(c *config.Config) alert.Options {
	a := &c.Alerts
	return alert.Options{
		URL: a.URL, SMTP: a.SMTP, Password: a.SMTPPassword, From: a.From, To: a.To,
		Wait: orNone(a.Wait), Interval: a.Interval, Repeat: orNone(a.Repeat), Mute: a.Mute,
		Proxy: c.Callbacks.Proxy, CA: c.Callbacks.CA, UserAgent: "Pipit/" + version,
	}
}

// orNone is a time or a size of options, of which a negative one is none.
func orNone[T ~int64](v T) T {
	if v == 0 {
		return -1
	}
	return v
}

// reloader loads the configuration again while the broker runs.
type reloader struct {
	load   func() (*config.Config, error)
	cfg    *config.Config // in force
	take   []func(*config.Config)
	b      *broker.Broker // nil: another node of the cluster has it
	log    *slog.Logger
	stderr io.Writer
}

// onChange adds what takes over the keys that can change.
func (r *reloader) onChange(take func(*config.Config)) { r.take = append(r.take, take) }

// reload takes over a configuration that is good and that the broker accepts; any other changes nothing.
func (r *reloader) reload(ctx context.Context) {
	next, err := r.load()
	if err == nil && r.b != nil {
		err = declare(ctx, r.b, next, r.log, r.stderr)
	}
	if err != nil {
		if ctx.Err() == nil {
			r.log.Error("the configuration cannot be used, the one before stays", "faults", strings.Split(err.Error(), "\n"))
		}
		return
	}
	warnWeak(next, r.log)
	changed, restart := r.cfg.Update(next)
	for _, take := range r.take {
		take(r.cfg)
	}
	r.log.Info("configuration loaded again", "changed", changed)
	if len(restart) > 0 {
		r.log.Warn("these keys have changed, too, and need a restart", "keys", restart)
	}
}

// as tells a consumer with a name from others of the same client and topic.
func as(c *broker.Consumer) string {
	if c.Name == "" {
		return ""
	}
	return fmt.Sprintf(" as %q", c.Name)
}
