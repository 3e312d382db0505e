package main

import (
	"fmt"
	"net/url"
	"os"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"pipit/admin"
	"pipit/broker"
	"pipit/httpapi"
	"pipit/httpapi/forwarded"
)

// config is everything that can be configured. Each field is a key of the file, under the name in
// its tag, and a variable of the environment; bind.go says how they are read. The tags min and max
// are bounds of a number, path marks the name of a file, required what has no default, and reload what
// can change while the broker runs: any other key needs a restart.
type config struct {
	HTTP     httpConfig       `toml:"http"`
	Admin    adminConfig      `toml:"admin"`
	Database databaseConfig   `toml:"database"`
	Log      logConfig        `toml:"log"`
	Client   []clientConfig   `toml:"client" reload:"yes"`
	Topic    []topicConfig    `toml:"topic" reload:"yes"`
	Producer []producerConfig `toml:"producer" reload:"yes"`
	Consumer []consumerConfig `toml:"consumer" reload:"yes"`
}

type httpConfig struct {
	Listen         []string      `toml:"listen"`
	MaxPayload     size          `toml:"max_payload" min:"1" max:"134217728" reload:"yes"`
	MaxBatch       size          `toml:"max_batch" min:"1" max:"1073741824" reload:"yes"`
	MaxPending     size          `toml:"max_pending" min:"1" max:"1099511627776" reload:"yes"`
	MaxReplies     size          `toml:"max_replies" min:"1" max:"1099511627776" reload:"yes"`
	MaxConnections int64         `toml:"max_connections" min:"1" max:"10000000" reload:"yes"`
	IdleTimeout    time.Duration `toml:"idle_timeout"`
	CORSOrigins    []string      `toml:"cors_origins" reload:"yes"`
	TLSCert        string        `toml:"tls_cert" path:"true"`
	TLSKey         string        `toml:"tls_key" path:"true"`
	TrustedProxies []string      `toml:"trusted_proxies"`
	PublicURL      string        `toml:"public_url"`
	Hosts          []string      `toml:"hosts"`
}

type adminConfig struct {
	Enabled     bool          `toml:"enabled"`
	Listen      []string      `toml:"listen"`
	Origin      string        `toml:"origin"`
	PathPrefix  string        `toml:"path_prefix"`
	SessionIdle time.Duration `toml:"session_idle" reload:"yes"`
	SessionLife time.Duration `toml:"session_life" reload:"yes"`
}

type databaseConfig struct {
	File string `toml:"file" path:"true"`
}

type logConfig struct {
	Access bool   `toml:"access" reload:"yes"`
	Level  string `toml:"level" reload:"yes"`
	Format string `toml:"format"`
}

type clientConfig struct {
	Name         string `toml:"name"`
	Username     string `toml:"username" required:"true"`
	Password     secret `toml:"password"`
	PasswordHash secret `toml:"password_hash"`
	IsActive     bool   `toml:"is_active"`
}

type topicConfig struct {
	Name        string        `toml:"name" required:"true"`
	IsActive    bool          `toml:"is_active"`
	MaxDepth    int64         `toml:"max_depth"`
	Expiration  int64         `toml:"expiration"`
	DedupWindow time.Duration `toml:"dedup_window"`
}

type producerConfig struct {
	Client   string `toml:"client" required:"true"`
	Topic    string `toml:"topic" required:"true"`
	IsActive bool   `toml:"is_active"`
}

type consumerConfig struct {
	Client      string        `toml:"client" required:"true"`
	Topic       string        `toml:"topic" required:"true"`
	Name        string        `toml:"name"`
	SubKey      secret        `toml:"sub_key"`
	IsActive    bool          `toml:"is_active"`
	MaxDepth    int64         `toml:"max_depth"`
	MaxInFlight int64         `toml:"max_in_flight" min:"1" max:"1000000"`
	AckTimeout  time.Duration `toml:"ack_timeout"`
	Start       string        `toml:"start"`
}

// size is a number of bytes, written as such or as "512KiB", "1MiB", "2GiB".
type size int64

// secret is a text that no error and no log line shows.
type secret string

// defaults is what holds where nothing is configured; Client and so on hold for each element.
var defaults = struct {
	HTTP     httpConfig
	Admin    adminConfig
	Database databaseConfig
	Log      logConfig
	Client   clientConfig
	Topic    topicConfig
	Producer producerConfig
	Consumer consumerConfig
}{
	HTTP: httpConfig{
		Listen:         []string{"127.0.0.1:11223", "127.0.0.1:17010"},
		MaxPayload:     broker.DefaultMaxPayload,
		MaxBatch:       16 << 20,
		MaxPending:     broker.DefaultMaxPending,
		MaxReplies:     httpapi.DefaultMaxReplies,
		MaxConnections: 10_000,
		IdleTimeout:    httpapi.DefaultIdleTimeout,
	},
	Admin:    adminConfig{Enabled: true, SessionIdle: admin.DefaultSessionIdle, SessionLife: admin.DefaultSessionLife},
	Database: databaseConfig{File: "pipit.db"},
	Log:      logConfig{Level: "info", Format: "auto"},
	Client:   clientConfig{IsActive: true},
	Topic: topicConfig{
		IsActive:    true,
		MaxDepth:    broker.DefaultMaxDepth,
		Expiration:  broker.DefaultExpiration,
		DedupWindow: broker.DefaultDedupWindow,
	},
	Producer: producerConfig{IsActive: true},
	Consumer: consumerConfig{
		IsActive:    true,
		MaxDepth:    broker.DefaultMaxDepth,
		MaxInFlight: broker.DefaultMaxInFlight,
		AckTimeout:  broker.DefaultAckTimeout,
		Start:       startTail,
	},
}

// Where a new consumer begins.
const (
	startTail   = "tail"
	startOldest = "oldest"
)

var (
	logLevels  = []string{"debug", "info", "warn", "error"}
	logFormats = []string{"auto", "text", "json"}
	starts     = []string{startOldest, startTail}
)

// loadConfig reads the file, where path is not empty, and what env ("NAME=value") overrides.
// The error names every fault, one a line.
func loadConfig(path string, env []string) (*config, error) {
	c, b, err := readConfig(path, env)
	if err != nil {
		return nil, err
	}
	return c, b.err()
}

// readConfig is loadConfig, but for the faults, which the binder has. The error is that of a file that
// cannot be read or is no TOML.
func readConfig(path string, env []string) (*config, *binder, error) {
	c, b, err := bindConfig(path, env)
	if err == nil {
		b.check(c)
	}
	return c, b, err
}

// bindConfig is readConfig as far as each value can be judged alone.
func bindConfig(path string, env []string) (*config, *binder, error) {
	b := &binder{file: path}
	var text []byte
	if path != "" {
		var err error
		if text, err = os.ReadFile(path); err != nil { // #nosec G304 -- whoever starts the program names it
			return nil, nil, fmt.Errorf("configuration: %w", err)
		}
	}
	c := &config{HTTP: defaults.HTTP, Admin: defaults.Admin, Database: defaults.Database, Log: defaults.Log}
	c.HTTP.Listen = slices.Clone(c.HTTP.Listen)
	if err := b.bindFile(c, string(text)); err != nil {
		return nil, nil, err
	}
	b.bindEnv(c, env)
	return c, b, nil
}

// database refuses a database without a name.
func (b *binder) database(c *config) {
	if c.Database.File == "" {
		b.errorf("database.file", `"": allowed is the path of a file`)
	}
}

// check refuses what no single type and bound can.
func (b *binder) check(c *config) {
	if len(c.HTTP.Listen) == 0 {
		b.errorf("http.listen", "[]: allowed is a list of at least one host:port")
	}
	b.addresses(c)
	for _, v := range []struct {
		key string
		n   size
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
		b.errorf("http.idle_timeout", "%q: allowed are 1s to 24h", c.HTTP.IdleTimeout)
	}
	if c.HTTP.TLSCert == "" && c.HTTP.TLSKey != "" && !b.faulty["http.tls_cert"] {
		b.errorf("http.tls_key", "%q: allowed only together with tls_cert", c.HTTP.TLSKey)
	}
	if c.HTTP.TLSCert != "" && c.HTTP.TLSKey == "" && !b.faulty["http.tls_key"] {
		b.errorf("http.tls_cert", "%q: allowed only together with tls_key", c.HTTP.TLSCert)
	}
	b.proxied(c)
	b.sessions(c)
	b.database(c)
	b.oneOf("log.level", c.Log.Level, logLevels)
	b.oneOf("log.format", c.Log.Format, logFormats)
	b.objects(c)
}

// maxSession bounds how long a session may last.
const maxSession = 30 * 24 * time.Hour

// sessions checks how long those of administrators last.
func (b *binder) sessions(c *config) {
	idle, life := c.Admin.SessionIdle, c.Admin.SessionLife
	if life < time.Minute || life > maxSession {
		b.errorf("admin.session_life", "%q: allowed are 1m to 720h", life)
	}
	if idle < time.Minute || idle > maxSession {
		b.errorf("admin.session_idle", "%q: allowed are 1m to 720h", idle)
	} else if idle > life && !b.faulty["admin.session_life"] {
		b.errorf("admin.session_idle", "%q: allowed is no more than session_life, which is %s", idle, life)
	}
}

// proxied checks the keys of a server behind proxies.
func (b *binder) proxied(c *config) {
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

// publicOrigin is the scheme and the host of public_url, as browsers write them; empty, where there is none.
func (c *config) publicOrigin() string {
	if c.HTTP.PublicURL == "" {
		return ""
	}
	u, _ := url.Parse(c.HTTP.PublicURL) // checked with the configuration
	return strings.ToLower(u.Scheme + "://" + u.Host)
}

// settings are the keys of the configuration and their values, of objects their number alone. No
// secret is among them.
func (c *config) settings() []admin.Setting {
	var all []admin.Setting
	root := reflect.ValueOf(c).Elem()
	for _, section := range keysOf(root.Type()) {
		f, _ := fieldOf(root, section)
		if f.Kind() == reflect.Slice {
			all = append(all, admin.Setting{Name: "[[" + section + "]]", Value: fmt.Sprint(f.Len())})
			continue
		}
		for _, key := range keysOf(f.Type()) {
			v, _ := fieldOf(f.Value, key)
			all = append(all, admin.Setting{Name: section + "." + key, Value: v.text()})
		}
	}
	return all
}

// definition is what the configuration declares, in the words of the broker.
func (c *config) definition() broker.Definition {
	var d broker.Definition
	for _, v := range c.Client {
		d.Clients = append(d.Clients, broker.Client{
			Username: v.Username, Name: v.Name, Active: v.IsActive,
			Password: string(v.Password), PasswordHash: string(v.PasswordHash),
		})
	}
	for _, v := range c.Topic {
		d.Topics = append(d.Topics, broker.Topic{
			Name: v.Name, Active: v.IsActive,
			MaxDepth: v.MaxDepth, Expiration: v.Expiration, DedupWindow: v.DedupWindow,
		})
	}
	for _, v := range c.Producer {
		d.Producers = append(d.Producers, broker.Producer{Client: v.Client, Topic: v.Topic, Active: v.IsActive})
	}
	for _, v := range c.Consumer {
		d.Consumers = append(d.Consumers, broker.Consumer{
			Client: v.Client, Topic: v.Topic, Name: v.Name, SubKey: string(v.SubKey), Active: v.IsActive,
			MaxDepth: v.MaxDepth, MaxInFlight: int(v.MaxInFlight), AckTimeout: v.AckTimeout,
			FromOldest: v.Start == startOldest,
		})
	}
	return d
}
