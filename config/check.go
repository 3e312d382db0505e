package config

import (
	"fmt"
	"net/mail"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"pipit/admin/alert"
	"pipit/admin/monitor"
	"pipit/backup"
	"pipit/broker/limit"
	"pipit/broker/property"
	"pipit/httpapi"
	"pipit/httpapi/callback"
	"pipit/httpapi/forwarded"
	"pipit/tracing"
)

var (
	logLevels  = []string{"debug", "info", "warn", "error"}
	logFormats = []string{"auto", "text", "json"}
	syncs      = []string{SyncAlways, SyncInterval}
)

// database refuses a database without a name.
func (b *binder) database(c *Config) {
	if c.Database.File == "" {
		b.errorf("database.file", `"": allowed is the path of a file`)
	}
}

// check refuses what no single type and bound can.
func (b *binder) check(c *Config) {
	if len(c.HTTP.Listen) == 0 {
		b.errorf("http.listen", "[]: allowed is a list of at least one host:port")
	}
	b.addresses(c)
	for _, v := range []struct {
		key string
		n   property.Size
	}{{"max_batch", c.HTTP.MaxBatch}, {"max_payload", c.HTTP.MaxPayload}} {
		if c.HTTP.MaxPending < v.n && !b.faulty["http."+v.key] {
			b.errorf("http.max_pending", "%d: allowed is no less than %s, which is %d", c.HTTP.MaxPending, v.key, v.n)
		}
	}
	if c.HTTP.MaxReplies < c.HTTP.MaxPayload {
		b.errorf("http.max_replies", "%d: allowed is no less than max_payload, which is %d", c.HTTP.MaxReplies, c.HTTP.MaxPayload)
	}
	for i, origin := range c.HTTP.CORSOrigins {
		if err := httpapi.CheckOrigin(origin); err != nil {
			b.errorf(fmt.Sprintf("http.cors_origins[%d]", i), "%v", err)
		}
	}
	if c.HTTP.IdleTimeout < time.Second || c.HTTP.IdleTimeout > 24*time.Hour {
		b.errorf("http.idle_timeout", "%q: allowed are 1s to 24h", property.FormatDuration(c.HTTP.IdleTimeout))
	}
	if c.HTTP.Drain < 0 || c.HTTP.Drain > time.Hour {
		b.errorf("http.drain", "%q: allowed are 0s to 1h", property.FormatDuration(c.HTTP.Drain))
	}
	if c.HTTP.TLSCert == "" && c.HTTP.TLSKey != "" && !b.faulty["http.tls_cert"] {
		b.errorf("http.tls_key", "%q: allowed only together with tls_cert", c.HTTP.TLSKey)
	}
	if c.HTTP.TLSCert != "" && c.HTTP.TLSKey == "" && !b.faulty["http.tls_key"] {
		b.errorf("http.tls_cert", "%q: allowed only together with tls_key", c.HTTP.TLSCert)
	}
	b.oneOf("database.sync", c.Database.Sync, syncs)
	if d := c.Database.SyncInterval; d < time.Millisecond || d > time.Minute {
		b.errorf("database.sync_interval", "%q: allowed are 1ms to 1m", property.FormatDuration(d))
	}
	if n := c.Database.CompactWhen; n != 0 && !(0.1 <= n && n <= 0.9) && !b.faulty["database.compact_when"] {
		b.errorf("database.compact_when", "%v: allowed are 0.1 to 0.9, and 0", n)
	}
	b.proxied(c)
	b.sessions(c)
	b.database(c)
	if every := c.Backup.Every; every != 0 && (every < backup.LeastEvery || every > backup.MostEvery) {
		b.errorf("backup.every", "%q: allowed are 1m to 8784h, and 0s for none", property.FormatDuration(every))
	}
	if keep := c.History.Keep; keep != 0 && (keep < time.Minute || keep > limit.MaxHistory) {
		b.errorf("history.keep", "%q: allowed are 1m to 366d, and 0s for none", property.FormatDuration(keep))
	}
	if same(c.Backup.Directory, c.Database.File) {
		b.errorf("backup.directory", "%q: allowed is a folder, and this is the file of the database", c.Backup.Directory)
	}
	for i, network := range c.Callbacks.Deny {
		if _, err := callback.ParseDeny([]string{network}); err != nil {
			b.errorf(fmt.Sprintf("callbacks.deny[%d]", i), "%v", err)
		}
	}
	b.tracing(c)
	b.attention(&c.Attention)
	b.alerts(c)
	b.cluster(c)
	b.logFile(c)
	b.oneOf("log.level", c.Log.Level, logLevels)
	b.oneOf("log.format", c.Log.Format, logFormats)
	b.objects(c)
}

// tracing checks where spans are sent. A password in the URL would be in logs.
func (b *binder) tracing(c *Config) {
	t := &c.Tracing
	if u, ok := webURL(t.Endpoint); !ok {
		shown := "a value that is not shown"
		if u != nil && u.User == nil {
			shown = strconv.Quote(t.Endpoint)
		}
		b.errorf("tracing.endpoint", `%s: allowed is a URL of http or https such as "http://127.0.0.1:4318", without a user, a password and a query`, shown)
	}
	if !(0 <= t.Sample && t.Sample <= 1) && !b.faulty["tracing.sample"] {
		b.errorf("tracing.sample", "%v: allowed are 0 to 1", t.Sample)
	}
	if t.ServiceName == "" {
		b.errorf("tracing.service_name", `"": allowed is a name`)
	}
	for name, value := range t.Headers.All() {
		if err := tracing.CheckHeader(name, value); err != nil {
			b.errorf("tracing.headers", "%v", err)
		}
	}
}

// attention checks the times of the thresholds.
func (b *binder) attention(a *Attention) {
	for _, v := range []struct {
		key string
		d   time.Duration
	}{{"away", a.Away}, {"failing", a.Failing}, {"in_flight", a.InFlight}, {"refused", a.Refused}, {"certificate", a.Certificate}, {"node_away", a.NodeAway}} {
		if v.d < time.Second || v.d > 30*24*time.Hour {
			b.errorf("attention."+v.key, "%q: allowed are 1s to 30d", property.FormatDuration(v.d))
		}
	}
}

// alerts checks who is told of what, and when.
func (b *binder) alerts(c *Config) {
	a := &c.Alerts
	if a.URL != "" {
		if err := alert.CheckURL(a.URL); err != nil {
			b.errorf("alerts.url", "a value that is not shown: %v", err)
		}
	}
	if _, err := alert.ParseServer(a.SMTP); a.SMTP != "" && err != nil {
		b.errorf("alerts.smtp", "a value that is not shown: %v", err) // there may be a password in it
	}
	for i, to := range a.To {
		b.address(fmt.Sprintf("alerts.to[%d]", i), to)
	}
	if a.From != "" {
		b.address("alerts.from", a.From)
	}
	for _, key := range []struct {
		name    string
		missing bool
	}{{"from", a.From == ""}, {"to", len(a.To) == 0}} {
		if a.SMTP != "" && key.missing {
			b.notef("alerts."+key.name, "it is missing, as mail is sent by smtp")
		}
	}
	for _, key := range []struct{ name, value string }{{"url", a.URL}, {"smtp", a.SMTP}} {
		if key.value != "" && !c.Admin.Enabled {
			b.notef("alerts."+key.name, "allowed only where admin.enabled is true, since administration is what looks")
		}
	}
	for i, code := range a.Mute {
		b.oneOf(fmt.Sprintf("alerts.mute[%d]", i), code, monitor.Codes)
	}
	if a.Wait < 0 || a.Wait > time.Hour {
		b.errorf("alerts.wait", "%q: allowed are 0s to 1h", property.FormatDuration(a.Wait))
	}
	if a.Interval < 10*time.Second || a.Interval > 24*time.Hour {
		b.errorf("alerts.interval", "%q: allowed are 10s to 24h", property.FormatDuration(a.Interval))
	}
	if a.Repeat != 0 && (a.Repeat < time.Minute || a.Repeat > 30*24*time.Hour) {
		b.errorf("alerts.repeat", "%q: allowed are 1m to 30d, and 0s for never", property.FormatDuration(a.Repeat))
	}
}

// address checks one of mail.
func (b *binder) address(path, s string) {
	if _, err := mail.ParseAddress(s); err != nil {
		b.errorf(path, `%q: allowed is an address such as "ops@example.com"`, s)
	}
}

// logFile checks the file of the log, which is renamed when it is full: it must be no other.
func (b *binder) logFile(c *Config) {
	for _, other := range []struct{ key, file string }{{"database.file", c.Database.File}, {"http.tls_cert", c.HTTP.TLSCert}, {"http.tls_key", c.HTTP.TLSKey},
		{"callbacks.ca", c.Callbacks.CA}, {"backup.directory", c.BackupDirectory()}} {
		if same(other.file, c.Log.File) {
			b.errorf("log.file", "%q: allowed is a file of its own, and this is %s", c.Log.File, other.key)
		}
	}
	if n := c.Log.MaxSize; n != 0 && (n < 1<<20 || n > 1<<40) && !b.faulty["log.max_size"] {
		b.errorf("log.max_size", "%d: allowed are 1MiB to 1TiB, and 0 for any", n)
	}
	const day = 24 * time.Hour
	if d := c.Log.MaxAge; d != 0 && (d < day || d > 3650*day || d%day != 0) {
		b.errorf("log.max_age", "%q: allowed are whole days, 1d to 3650d, and 0s for any", property.FormatDuration(d))
	}
}

// same tells whether two paths are one.
func same(a, b string) bool { return a != "" && filepath.Clean(a) == filepath.Clean(b) }

// maxSession bounds how long a session may last.
const maxSession = 30 * 24 * time.Hour

// sessions checks how long those of administrators last.
func (b *binder) sessions(c *Config) {
	idle, life := c.Admin.SessionIdle, c.Admin.SessionLife
	if life < time.Minute || life > maxSession {
		b.errorf("admin.session_life", "%q: allowed are 1m to 30d", property.FormatDuration(life))
	}
	if idle < time.Minute || idle > maxSession {
		b.errorf("admin.session_idle", "%q: allowed are 1m to 30d", property.FormatDuration(idle))
	} else if idle > life && !b.faulty["admin.session_life"] {
		b.errorf("admin.session_idle", "%q: allowed is no more than session_life, which is %s", property.FormatDuration(idle), property.FormatDuration(life))
	}
}

// proxied checks the keys of a server behind proxies.
func (b *binder) proxied(c *Config) {
	if _, err := forwarded.Parse(c.HTTP.TrustedProxies); err != nil {
		b.errorf("http.trusted_proxies", "%v", err)
	}
	if u, ok := webURL(c.HTTP.PublicURL); !ok || u.Path != "" && path.Clean(u.Path) != strings.TrimSuffix(u.Path, "/") && u.Path != "/" {
		b.errorf("http.public_url", `%q: allowed is a URL such as "https://pipit.example.com", with a path or without`, c.HTTP.PublicURL)
	}
	for i, h := range c.HTTP.Hosts {
		if !hostname.MatchString(h) {
			b.errorf(fmt.Sprintf("http.hosts[%d]", i), `%q: allowed is a name such as "pipit.example.com", without a port`, h)
		}
	}
	if u, ok := webURL(c.Admin.Origin); !ok || u.Path != "" {
		b.errorf("admin.origin", `%q: allowed is a scheme with a host, such as "https://pipit.example.com"`, c.Admin.Origin)
	}
	if p := c.Admin.PathPrefix; p != "" && (!pathPrefix.MatchString(p) || path.Clean(p) != p || strings.HasPrefix(p+"/", "/admin/")) {
		b.errorf("admin.path_prefix", `%q: allowed is a path such as "/pipit", of letters, digits and -._~, that does not begin with /admin`, p)
	}
}

var (
	pathPrefix = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)+$`)
	hostname   = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)
)

// webURL reads a URL of http or https without a query and such, or nothing.
func webURL(s string) (*url.URL, bool) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, false
	}
	return u, s == "" || (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" &&
		u.User == nil && u.Opaque == "" && !strings.ContainsAny(s, "?#")
}
