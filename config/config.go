// Package config reads the configuration: a file of TOML, and variables of the environment, which override it.
//
// A key is known by its path, such as "http.listen[1]" or "client[0].username". It has one place where it
// is told: a field of Config, whose tags say how it is written and what is allowed, with its default in
// one literal; of an object a row in a table of the broker. Reading goes in steps, each in a file of its own:
// file.go decodes TOML, env.go the variables, value.go one value of either; check.go, address.go and object.go
// refuse what no single value shows. Nothing stops at the first fault: all are collected (fault.go), each with the
// line (line.go) or the variable that it stands in.
//
// What only the machine can tell, such as whether an address can be listened on, Rehearse asks by way of Machine:
// this package opens no port and no database.
package config

import (
	"cmp"
	"fmt"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"pipit/admin/gate"
	"pipit/admin/monitor"
	"pipit/broker"
	"pipit/broker/property"
)

// Config is everything that can be configured; config.example.toml says what each key means. A field is a key of
// the file, under the name in its tag, and a variable of the environment. The tags min and max are bounds of a number,
// path marks the name of a file, secret what is shown to nobody, and reload what can change while the broker runs: any other key needs a restart.
// The keys of objects are those of the broker's tables, such as broker.TopicFields.
type Config struct {
	HTTP      HTTP              `toml:"http"`
	Admin     Admin             `toml:"admin"`
	Database  Database          `toml:"database"`
	Backup    Backup            `toml:"backup"`
	History   History           `toml:"history"`
	Callbacks Callbacks         `toml:"callbacks"`
	Metrics   Metrics           `toml:"metrics"`
	Tracing   Tracing           `toml:"tracing"`
	Attention Attention         `toml:"attention"`
	Alerts    Alerts            `toml:"alerts"`
	Cluster   Cluster           `toml:"cluster"`
	Log       Log               `toml:"log"`
	Client    []broker.Client   `toml:"client" reload:"yes"`
	Topic     []broker.Topic    `toml:"topic" reload:"yes"`
	Producer  []broker.Producer `toml:"producer" reload:"yes"`
	Consumer  []broker.Consumer `toml:"consumer" reload:"yes"`
	Webhook   []broker.Webhook  `toml:"webhook" reload:"yes"`
}

// HTTP is the table [http]: the addresses of the wire protocol, its limits, TLS and proxies.
type HTTP struct {
	Listen         []string      `toml:"listen"`
	MaxPayload     property.Size `toml:"max_payload" min:"1" max:"134217728" reload:"yes"`
	MaxBatch       property.Size `toml:"max_batch" min:"1" max:"1073741824" reload:"yes"`
	MaxPending     property.Size `toml:"max_pending" min:"1" max:"1099511627776" reload:"yes"`
	MaxReplies     property.Size `toml:"max_replies" min:"1" max:"1099511627776" reload:"yes"`
	MinBodyRate    property.Size `toml:"min_body_rate" min:"0" max:"1073741824" reload:"yes"`
	MaxConnections int64         `toml:"max_connections" min:"1" max:"10000000" reload:"yes"`
	IdleTimeout    time.Duration `toml:"idle_timeout"`
	Drain          time.Duration `toml:"drain" reload:"yes"`
	CORSOrigins    []string      `toml:"cors_origins" reload:"yes"`
	TLSCert        string        `toml:"tls_cert" path:"true"`
	TLSKey         string        `toml:"tls_key" path:"true"`
	TrustedProxies []string      `toml:"trusted_proxies"`
	PublicURL      string        `toml:"public_url"`
	Hosts          []string      `toml:"hosts"`
}

// Admin is the table [admin]: the pages and the API for administrators.
type Admin struct {
	Enabled     bool          `toml:"enabled"`
	Listen      []string      `toml:"listen"`
	Origin      string        `toml:"origin"`
	PathPrefix  string        `toml:"path_prefix"`
	SessionIdle time.Duration `toml:"session_idle" reload:"yes"`
	SessionLife time.Duration `toml:"session_life" reload:"yes"`
	Debug       bool          `toml:"debug"`
}

// The values of database.sync: whether an answer waits for the flush, or at most that long nobody waits for one.
const (
	SyncAlways   = "always"
	SyncInterval = "interval"
)

// Database is the table [database].
type Database struct {
	File         string        `toml:"file" path:"true"`
	Sync         string        `toml:"sync"`
	SyncInterval time.Duration `toml:"sync_interval"`
	LogSize      property.Size `toml:"log_size" min:"8388608" max:"1099511627776"`
	CompactWhen  float64       `toml:"compact_when"`
	MinFree      property.Size `toml:"min_free" min:"0" max:"1099511627776"`
}

// Unsynced is how long what was answered may wait for its flush, 0 where nothing is answered before.
func (d *Database) Unsynced() time.Duration {
	if d.Sync == SyncAlways {
		return 0
	}
	return d.SyncInterval
}

// Backup is the table [backup]: the backups that the broker makes of its database while it runs.
type Backup struct {
	Directory string        `toml:"directory" path:"true" reload:"yes"`
	Every     time.Duration `toml:"every" reload:"yes"`
	Keep      int64         `toml:"keep" min:"1" max:"10000" reload:"yes"`
}

// History is the table [history]: what happened to messages, kept without their payloads for when they are gone.
type History struct {
	Keep        time.Duration `toml:"keep" reload:"yes"`
	MaxMessages int64         `toml:"max_messages" min:"100" max:"1000000" reload:"yes"`
}

// Callbacks is the table [callbacks]: how messages are sent to the consumers that do not come for them.
type Callbacks struct {
	Deny           []string `toml:"deny" reload:"yes"`
	MaxConcurrency int64    `toml:"max_concurrency" min:"1" max:"10000" reload:"yes"`
	Proxy          bool     `toml:"proxy" reload:"yes"`
	CA             string   `toml:"ca" path:"true" reload:"yes"`
}

// Metrics is the table [metrics]: what Prometheus is told.
type Metrics struct {
	Enabled        bool     `toml:"enabled"`
	Listen         []string `toml:"listen"`
	PerObjectLimit int64    `toml:"per_object_limit" min:"0" max:"100000" reload:"yes"`
}

// Tracing is the table [tracing]: where spans are sent.
type Tracing struct {
	Endpoint    string         `toml:"endpoint"`
	Sample      float64        `toml:"sample" reload:"yes"`
	ServiceName string         `toml:"service_name"`
	Headers     property.Table `toml:"headers" reload:"yes" secret:"yes"`
}

// Attention is the table [attention]: from where on something needs somebody.
type Attention struct {
	Full        int64         `toml:"full" min:"1" max:"100" reload:"yes"`
	Away        time.Duration `toml:"away" reload:"yes"`
	Failing     time.Duration `toml:"failing" reload:"yes"`
	InFlight    time.Duration `toml:"in_flight" reload:"yes"`
	Refused     time.Duration `toml:"refused" reload:"yes"`
	Redelivered int64         `toml:"redelivered" min:"2" max:"1000000" reload:"yes"`
	Certificate time.Duration `toml:"certificate" reload:"yes"`
	DiskPercent int64         `toml:"disk_percent" min:"0" max:"100" reload:"yes"`
	DiskFree    property.Size `toml:"disk_free" min:"0" max:"1125899906842624" reload:"yes"`
	NodeAway    time.Duration `toml:"node_away" reload:"yes"`
	NodeLag     int64         `toml:"node_lag" min:"1" max:"1000000000" reload:"yes"`
}

// Thresholds are those of the table in the words of who looks.
func (a *Attention) Thresholds() monitor.Thresholds {
	return monitor.Thresholds{Full: a.Full, Away: a.Away, Failing: a.Failing, InFlight: a.InFlight, Refused: a.Refused,
		Redelivered: a.Redelivered, Certificate: a.Certificate, DiskPercent: a.DiskPercent, DiskFree: int64(a.DiskFree), NodeAway: a.NodeAway, NodeLag: a.NodeLag}
}

// Alerts is the table [alerts]: who is told of what needs attention.
type Alerts struct {
	URL          string        `toml:"url" secret:"yes" reload:"yes"`
	SMTP         string        `toml:"smtp" secret:"yes" reload:"yes"`
	SMTPPassword string        `toml:"smtp_password" secret:"yes" reload:"yes"`
	From         string        `toml:"from" reload:"yes"`
	To           []string      `toml:"to" reload:"yes"`
	Wait         time.Duration `toml:"wait" reload:"yes"`
	Interval     time.Duration `toml:"interval" reload:"yes"`
	Repeat       time.Duration `toml:"repeat" reload:"yes"`
	Mute         []string      `toml:"mute" reload:"yes"`
}

// Log is the table [log].
type Log struct {
	Access bool   `toml:"access" reload:"yes"`
	Level  string `toml:"level" reload:"yes"`
	Format string `toml:"format"`

	File     string        `toml:"file" path:"true"`
	MaxSize  property.Size `toml:"max_size" reload:"yes"`
	MaxAge   time.Duration `toml:"max_age" reload:"yes"`
	MaxFiles int64         `toml:"max_files" min:"1" max:"10000" reload:"yes"`
}

// Load reads the file, where its name is not empty, and what env ("NAME=value") overrides.
// The error names every fault, one a line.
func Load(file string, env []string) (*Config, error) {
	c, b, err := load(file, env)
	if err != nil {
		return nil, err
	}
	return c, b.err()
}

// load is Load, but for the faults, which the binder has. The error is that of a file that
// cannot be read or is no TOML.
func load(file string, env []string) (*Config, *binder, error) {
	c, b, err := bind(file, env)
	if err == nil {
		b.check(c)
	}
	return c, b, err
}

// Read is Load as far as each value can be judged alone. What the configuration lacks beside is no fault:
// the environment of the service may have it.
func Read(file string, env []string) (*Config, error) {
	c, b, err := bind(file, env)
	if err != nil {
		return nil, err
	}
	return c, b.err()
}

// bind is Read, but for the faults, as load is.
func bind(file string, env []string) (*Config, *binder, error) {
	b := &binder{file: file}
	var text []byte
	if file != "" {
		var err error
		if text, err = os.ReadFile(file); err != nil { // #nosec G304 -- whoever starts the program names it
			return nil, nil, fmt.Errorf("configuration: %w", err)
		}
	}
	c := &Config{HTTP: defaults.HTTP, Admin: defaults.Admin, Database: defaults.Database, Backup: defaults.Backup, History: defaults.History, Callbacks: defaults.Callbacks, Metrics: defaults.Metrics, Tracing: defaults.Tracing, Attention: defaults.Attention, Alerts: defaults.Alerts, Cluster: defaults.Cluster, Log: defaults.Log}
	c.HTTP.Listen, c.Alerts.Mute = slices.Clone(c.HTTP.Listen), slices.Clone(c.Alerts.Mute)
	if err := b.bindFile(c, string(text)); err != nil {
		return nil, nil, err
	}
	b.bindEnv(c, env)
	return c, b, nil
}

// DatabaseFile returns the database file of a configuration that Read takes, and in words why it is that one.
func DatabaseFile(file string, env []string) (database, why string, err error) {
	c, b, err := bind(file, env)
	if err == nil {
		b.database(c)
		err = b.err()
	}
	if err != nil {
		return "", "", err
	}
	const key = "database.file"
	switch {
	case b.vars[key] != "" || b.lines[key] > 0:
		_, where := b.place(key)
		return c.Database.File, "which " + where + " names", nil
	case file != "":
		return c.Database.File, "the default, since neither " + file + " nor PIPIT_DATABASE_FILE in this environment names one", nil
	}
	return c.Database.File, "the default, since there is neither --config nor PIPIT_DATABASE_FILE in this environment", nil
}

// HoldsSecrets tells whether a file has passwords, hashes or keys in it.
func HoldsSecrets(file string) bool {
	if file == "" {
		return false
	}
	c, _, err := bind(file, nil)
	return err == nil &&
		(!c.Tracing.Headers.IsZero() || c.Alerts.URL != "" || c.Alerts.SMTPPassword != "" || holdSecrets(broker.ClientFields, c.Client) || holdSecrets(broker.TopicFields, c.Topic) ||
			holdSecrets(broker.ProducerFields, c.Producer) || holdSecrets(broker.ConsumerFields, c.Consumer) ||
			holdSecrets(broker.WebhookFields, c.Webhook))
}

func holdSecrets[T any](fields property.Fields[T], objects []T) bool {
	return slices.ContainsFunc(objects, func(t T) bool {
		return slices.ContainsFunc(fields, func(f property.Field[T]) bool { return f.Secret && !f.IsEmpty(&t) })
	})
}

// BackupDirectory is the folder of the backups: beside the database where none is configured.
func (c *Config) BackupDirectory() string {
	return cmp.Or(c.Backup.Directory, c.Database.File+"-backups")
}

// PublicOrigin is the scheme and the host of public_url, as browsers write them; empty, where there is none.
func (c *Config) PublicOrigin() string {
	if c.HTTP.PublicURL == "" {
		return ""
	}
	u, _ := url.Parse(c.HTTP.PublicURL) // checked with the configuration
	return strings.ToLower(u.Scheme + "://" + u.Host)
}

// Settings are the keys of the configuration and their values, of objects their number alone. No
// secret is among them.
func (c *Config) Settings() []gate.Setting {
	var all []gate.Setting
	root := reflect.ValueOf(c).Elem()
	for _, section := range fieldsOf(root) {
		if section.at.Kind() == reflect.Slice {
			all = append(all, gate.Setting{Name: "[[" + section.name + "]]", Value: fmt.Sprint(section.at.Len())})
			continue
		}
		for _, key := range fieldsOf(section.at) {
			all = append(all, gate.Setting{Name: section.name + "." + key.name, Value: key.text()})
		}
	}
	return all
}

// Update brings the keys that the tag reload marks to those of next, and returns the ones that this
// changed, and those that differ and need a restart.
func (c *Config) Update(next *Config) (changed, restart []string) {
	changed = []string{}
	set := func(key string, tag reflect.StructTag, is, now reflect.Value) {
		switch {
		case reflect.DeepEqual(is.Interface(), now.Interface()), is.Kind() == reflect.Slice && is.Len()+now.Len() == 0:
		case tag.Get("reload") != "":
			is.Set(now)
			changed = append(changed, key)
		default:
			restart = append(restart, key)
		}
	}
	is, now := reflect.ValueOf(c).Elem(), reflect.ValueOf(next).Elem()
	for i := range is.NumField() {
		f := is.Type().Field(i)
		section := f.Tag.Get("toml")
		if f.Type.Kind() != reflect.Struct {
			set(section, f.Tag, is.Field(i), now.Field(i))
			continue
		}
		for j := range f.Type.NumField() {
			key := f.Type.Field(j)
			set(section+"."+key.Tag.Get("toml"), key.Tag, is.Field(i).Field(j), now.Field(i).Field(j))
		}
	}
	return changed, restart
}
