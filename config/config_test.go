package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pipit/broker"
	"pipit/broker/limit"
	"pipit/broker/property"
)

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pipit.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

const hashOfX = "$2a$10$0000000000000000000000000000000000000000000000000000."

func TestConfigGood(t *testing.T) {
	c, err := Load(writeConfig(t, `
log.access = true
client = [{username = "inline", password = "p"}]
[http]
listen = [
	"localhost:0", # a comment with a ] in it
	"[::1]:80",
]
max_payload = 512
max_batch = "64KiB"
max_pending = "2GiB"
max_replies = "1GiB"
cors_origins = ["https://app.example.com"]
max_connections = 5
idle_timeout = "90s"
tls_cert = '''c'''
tls_key = "k"
[admin]
enabled = false
listen = ["127.0.0.1:1"]
[database]
file = "/tmp/x.db"
sync = "interval"
sync_interval = "1s"
log_size = "8MiB"
compact_when = 0.25
min_free = 0
[backup]
directory = "/backup"
every = "1d12h"
keep = 3
[history]
keep = "24h"
max_messages = 500
[metrics]
enabled = false
listen = ["127.0.0.1:9"]
per_object_limit = 0
[tracing]
endpoint = "https://collector:4318"
sample = 0.25
service_name = "orders"
headers = {Authorization = "Bearer x"}
[[topic]]
name = "/a"
max_depth = 1
expiration = 0
dedup_window = "1h30m"
is_active = false
[[producer]]
client = "inline"
topic = "/a"
[[consumer]]
client = "inline"
topic = "/a"
ack_timeout = 1
max_in_flight = 2
start = "oldest"
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	consumer := broker.ConsumerFields.New()
	consumer.Client, consumer.Topic, consumer.MaxInFlight, consumer.AckTimeout, consumer.Start = "inline", "/a", 2, time.Second, "oldest"
	want := &Config{
		HTTP: HTTP{Listen: []string{"localhost:0", "[::1]:80"}, MaxPayload: 512, MaxBatch: 64 << 10,
			MaxPending: 2 << 30, MaxReplies: 1 << 30, MinBodyRate: 1 << 10, CORSOrigins: []string{"https://app.example.com"}, MaxConnections: 5, IdleTimeout: 90 * time.Second, TLSCert: "c", TLSKey: "k"},
		Admin:    Admin{Listen: []string{"127.0.0.1:1"}, SessionIdle: 30 * time.Minute, SessionLife: 12 * time.Hour},
		Database: Database{File: "/tmp/x.db", Sync: SyncInterval, SyncInterval: time.Second, LogSize: 8 << 20, CompactWhen: 0.25, MinFree: 0}, Backup: Backup{Directory: "/backup", Every: 36 * time.Hour, Keep: 3}, History: History{Keep: 24 * time.Hour, MaxMessages: 500}, Callbacks: defaults.Callbacks, Metrics: Metrics{Listen: []string{"127.0.0.1:9"}}, Attention: defaults.Attention, Alerts: defaults.Alerts,
		Tracing:  Tracing{Endpoint: "https://collector:4318", Sample: 0.25, ServiceName: "orders", Headers: property.TableOf(map[string]string{"Authorization": "Bearer x"})},
		Cluster:  defaults.Cluster,
		Log:      Log{Access: true, Level: "info", Format: "auto", MaxSize: 100 << 20, MaxFiles: 10},
		Client:   []broker.Client{{Username: "inline", Password: "p"}},
		Topic:    []broker.Topic{{Name: "/a", Inactive: true, MaxDepth: 1, Expiration: property.Off, DedupWindow: 90 * time.Minute, Retention: property.Off, RetentionBytes: property.Off, MaxTopics: limit.DefaultMaxTopics}},
		Producer: []broker.Producer{{Client: "inline", Topic: "/a"}},
		Consumer: []broker.Consumer{consumer},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
	if d := c.Definition(); d.Consumers[0].Start != broker.StartOldest || d.Consumers[0].MaxInFlight != 2 || !d.Topics[0].Inactive {
		t.Errorf("%+v", d)
	}
}

// A number of seconds can be a duration, in the file as in a variable.
func TestConfigSeconds(t *testing.T) {
	for text, want := range map[string]int64{`"7d"`: 7 * 86400, `"30m"`: 1800, `"45"`: 45, `45`: 45} {
		c, err := Load(writeConfig(t, "[[topic]]\nname = \"/a\"\nexpiration = "+text+"\n"), []string{"PIPIT_TOPIC_1_NAME=/b", "PIPIT_TOPIC_1_EXPIRATION=2d"})
		if err != nil || c.Topic[0].Expiration != want || c.Topic[1].Expiration != 2*86400 {
			t.Errorf("%s: %+v, %v", text, c, err)
		}
	}
}

func TestConfigDefaults(t *testing.T) {
	c, err := Load("", nil)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(c, &Config{HTTP: defaults.HTTP, Admin: defaults.Admin, Database: defaults.Database, Backup: defaults.Backup, History: defaults.History, Callbacks: defaults.Callbacks, Metrics: defaults.Metrics, Tracing: defaults.Tracing, Attention: defaults.Attention, Alerts: defaults.Alerts, Cluster: defaults.Cluster, Log: defaults.Log}) {
		t.Errorf("%+v", c)
	}
	c.HTTP.Listen[0], c.Alerts.Mute[0] = "x", "x"
	if defaults.HTTP.Listen[0] == "x" || defaults.Alerts.Mute[0] == "x" {
		t.Error("a configuration shares its list with the defaults")
	}
	d := (&Config{Client: defaults.Client, Topic: defaults.Topic, Consumer: defaults.Consumer}).Definition()
	d.Clients[0].Username, d.Topics[0].Name = "u", "t"
	for _, err := range []error{d.Clients[0].Validate(), d.Topics[0].Validate(), d.Consumers[0].Validate()} {
		if err != nil {
			t.Error(err)
		}
	}
}

func TestConfigBad(t *testing.T) {
	const crm = "[[client]]\nusername = \"crm\"\npassword = \"crm\"\n" // three lines
	tests := []struct {
		name, text string
		want       []string // lines of the error, after the name of the file
	}{
		{"syntax", "[http]\nlisten = [\n", []string{":2: unexpected EOF"}},
		{"syntax within", "[http]\nmax_payload = 1x\n", []string{":2: "}},
		{"unknown section", "\n[htpp]\nlisten = []\n", []string{`:2: htpp: unknown key: allowed are http, admin, database, backup, history, callbacks, metrics, tracing, attention, alerts, cluster, log, client, topic, producer, consumer, webhook`}},
		{"unknown key", "[http]\n# c\nlissen = []\n", []string{`:3: http.lissen: unknown key: allowed are listen, max_payload, max_batch, max_pending, max_replies, min_body_rate, max_connections, idle_timeout, drain, cors_origins, tls_cert, tls_key, trusted_proxies, public_url, hosts`}},
		{"unknown in the second table", crm + "[[client]]\nusername = \"erp\"\npasword = \"secret\"\npassword = \"x\"\n[[client]]\nusername = \"c\"\npassword = \"x\"\n",
			[]string{`:6: client.pasword: unknown key: allowed are username, name, is_active, can_subscribe, publish_rate, publish_byte_rate, receive_rate, receive_byte_rate, max_waiting, password, password_hash`}},
		{"case", "[http]\nListen = []\n", []string{`:2: http.Listen: unknown key`}},
		{"tables for a table", "\n[[http]]\nmax_payload = 1\n", []string{`:2: http: allowed is a table, [http]`}},
		{"two faults", "[log]\nlevel = \"loud\"\nformat = \"xml\"\n", []string{
			`:2: log.level = "loud": allowed are debug, info, warn, error`, `:3: log.format = "xml": allowed are auto, text, json`}},
		{"a node without the rest", "[cluster]\nnode = \"a\"\n", []string{
			`:1: cluster.directory = "": allowed is a folder for the cluster's log, of this node alone`,
			`:1: cluster.listen = "": allowed is host:port`,
			`:1: cluster.peers = []: allowed is a list of all nodes, name=host:port each, this one, "a", among them`}},
		{"a cluster without a node", "[cluster]\nlisten = \"127.0.0.1:1\"\npeers = [\"a=b:1\"]\n", []string{
			`:2: cluster.listen = "127.0.0.1:1": allowed only together with node`, `:3: cluster.peers = ["a=b:1"]: allowed only together with node`}},
		{"peers", "[cluster]\nnode = \"a/b\"\nlisten = \":0\"\ndirectory = \"d\"\npeers = [\"a\", \"a=b:1\", \"a=c:1\", \"b=:1\"]\ntls_cert = \"c\"\n", []string{
			`:1: cluster.tls_key = "": allowed are tls_cert, tls_key and tls_ca together, or none of them`,
			`:1: cluster.tls_ca = "": allowed are`,
			`:2: cluster.node = "a/b": allowed are 1 to 63 letters, digits and .-_ behind a letter or digit`,
			`:3: cluster.listen = ":0": allowed is host:port with a port of 1 to 65535`,
			`:5: cluster.peers = "a": allowed is name=host:port, such as "a=10.0.0.1:7001"`,
			`:5: cluster.peers = "a=c:1": there is a node of that name before`,
			`:5: cluster.peers = "b=:1": allowed is name=host:port`}},
		{"batches of a cluster", "[http]\nmax_payload = \"49MiB\"\nmax_batch = \"1GiB\"\nmax_pending = \"1GiB\"\nmax_replies = \"1GiB\"\n[cluster]\nnode = \"a\"\nlisten = \"127.0.0.1:1\"\ndirectory = \"d\"\npeers = [\"a=b:1\"]\n", []string{
			`:2: http.max_payload = 51380224: allowed in a cluster are at most 50331648`, `:3: http.max_batch = 1073741824: allowed in a cluster are at most 50331648`}},
		{"times of a cluster", "[cluster]\nforward_wait = \"2m\"\nheartbeat = \"1ms\"\n", []string{
			`:2: cluster.forward_wait = "2m": allowed are 0s to 1m`, `:3: cluster.heartbeat = "1ms": allowed are 100ms to 30s`}},
		{"no address", "[http]\nlisten = []\n", []string{`:2: http.listen = []: allowed is a list of at least one host:port`}},
		{"bad address", "[http]\nlisten = [\"x\"]\n", []string{`:2: http.listen = "x": allowed is host:port with a port of 0 to 65535`}},
		{"bad port", "[http]\nlisten = [\"x:70000\"]\n", []string{`:2: http.listen = "x:70000": allowed is host:port with a port of 0 to 65535`}},
		{"text for a list", "[http]\nlisten = \"x:1\"\n", []string{`:2: http.listen = "x:1": allowed is a list of texts in quotes`}},
		{"numbers in a list", "[http]\nlisten = [1]\n", []string{`:2: http.listen = 1 (item 1): allowed is a list of texts in quotes`}},
		{"size unit", "[http]\nmax_payload = \"1MB\"\n", []string{`:2: http.max_payload = "1MB": allowed is a size in bytes, KiB, MiB, GiB or TiB, such as 65536 or "64KiB", 1 to 128MiB`}},
		{"size too small", "[http]\nmax_payload = 0\n", []string{`:2: http.max_payload = 0: allowed is a size in bytes, KiB, MiB, GiB or TiB, such as 65536 or "64KiB", 1 to 128MiB`}},
		{"size too large", "[http]\nmax_payload = \"1GiB\"\n", []string{`:2: http.max_payload = "1GiB": allowed is a size in bytes, KiB, MiB, GiB or TiB, such as 65536 or "64KiB", 1 to 128MiB`}},
		{"size overflows", "[http]\nmax_pending = \"9999999999GiB\"\n", []string{`:2: http.max_pending = "9999999999GiB": allowed is a size`}},
		{"size negative", "[http]\nmax_payload = \"-1\"\n", []string{`:2: http.max_payload = "-1": allowed is a size`}},
		{"size float", "[http]\nmax_payload = 1.5\n", []string{`:2: http.max_payload = 1.5: allowed is a size`}},
		{"replies below payload", "[http]\nmax_replies = \"64KiB\"\n", []string{`:2: http.max_replies = 65536: allowed is no less than max_payload, which is 1048576`}},
		{"no origin", "[http]\ncors_origins = [\"*\", \"app.example.com/x\"]\n", []string{`:2: http.cors_origins = "app.example.com/x": allowed are "*" and scheme://host or scheme://host:port, in lower case and with nothing behind`}},
		{"pending below payload", "[http]\nmax_batch = 1\nmax_pending = \"64KiB\"\n", []string{`:3: http.max_pending = 65536: allowed is no less than max_payload, which is 1048576`}},
		{"idle timeout", "[http]\nidle_timeout = '0s'\n", []string{`:2: http.idle_timeout = "0s": allowed are 1s to 24h`}},
		{"connections", "[http]\nmax_connections = 0\n", []string{`:2: http.max_connections = 0: allowed is a whole number, 1 to 10000000`}},
		{"key without certificate", "[http]\ntls_key = \"k\"\n", []string{`:2: http.tls_key = "k": allowed only together with tls_cert`}},
		{"certificate without key", "[http]\ntls_cert = \"c\"\n", []string{`:2: http.tls_cert = "c": allowed only together with tls_key`}},
		{"admin address", "[admin]\nlisten = [\"127.0.0.1\"]\n", []string{`:2: admin.listen = "127.0.0.1": allowed is host:port with a port of 0 to 65535`}},
		{"admin address type", "[admin]\nlisten = \"127.0.0.1:1\"\n", []string{`:2: admin.listen = "127.0.0.1:1": allowed is a list of texts in quotes`}},
		{"admin key", "[admin]\nenable = true\n", []string{`:2: admin.enable: unknown key: allowed are enabled, listen, origin, path_prefix, session_idle, session_life, debug`}},
		{"proxy by name", "[http]\ntrusted_proxies = [\"::1\", \"proxy.lan\"]\n", []string{`:2: http.trusted_proxies = "proxy.lan": allowed is an IP address or a network such as "10.0.0.0/8"`}},
		{"public host", "[http]\npublic_url = \"pipit.example.com\"\n", []string{`:2: http.public_url = "pipit.example.com": allowed is a URL such as "https://pipit.example.com", with a path or without`}},
		{"public query", "[http]\npublic_url = \"https://pipit.example.com/?x\"\n", []string{`:2: http.public_url = "https://pipit.example.com/?x": allowed is a URL`}},
		{"host with a port", "[http]\nhosts = [\"mq.example.com\", \"mq.example.com:80\"]\n", []string{`:2: http.hosts = "mq.example.com:80": allowed is a name such as "pipit.example.com", without a port`}},
		{"host as a URL", "[http]\nhosts = [\"https://mq.example.com\"]\n", []string{`:2: http.hosts = "https://mq.example.com": allowed is a name`}},
		{"any host", "[http]\nhosts = [\"*.example.com\", \"\"]\n", []string{`:2: http.hosts = "*.example.com": allowed is a name`, `:2: http.hosts = "": allowed is a name`}},
		{"origin with a path", "[admin]\norigin = \"https://pipit.example.com/\"\n", []string{`:2: admin.origin = "https://pipit.example.com/": allowed is a scheme with a host, such as "https://pipit.example.com"`}},
		{"relative prefix", "[admin]\npath_prefix = \"pipit\"\n", []string{`:2: admin.path_prefix = "pipit": allowed is a path such as "/pipit", of letters, digits and -._~, that does not begin with /admin`}},
		{"slash after the prefix", "[admin]\npath_prefix = \"/pipit/\"\n", []string{`:2: admin.path_prefix = "/pipit/": allowed is a path`}},
		{"dots in the prefix", "[admin]\npath_prefix = \"/a/../b\"\n", []string{`:2: admin.path_prefix = "/a/../b": allowed is a path`}},
		{"prefix below admin", "[admin]\npath_prefix = \"/admin\"\n", []string{`:2: admin.path_prefix = "/admin": allowed is a path`}},
		{"session idle", "[admin]\nsession_idle = '30s'\n", []string{`:2: admin.session_idle = "30s": allowed are 1m to 30d`}},
		{"session idle over life", "[admin]\nsession_idle = '13h'\n", []string{`:2: admin.session_idle = "13h": allowed is no more than session_life, which is 12h`}},
		{"session life", "[admin]\nsession_life = '721h'\n", []string{`:2: admin.session_life = "30d1h": allowed are 1m to 30d`}},
		{"admin enabled", "[admin]\nenabled = 1\n", []string{`:2: admin.enabled = 1: allowed are true and false`}},
		{"no file", "[database]\nfile = \"\"\n", []string{`:2: database.file = "": allowed is the path of a file`}},
		{"sync", "[database]\nsync = \"never\"\n", []string{`:2: database.sync = "never": allowed are always, interval`}},
		{"sync_interval", "[database]\nsync_interval = \"0s\"\n", []string{`:2: database.sync_interval = "0s": allowed are 1ms to 1m`}},
		{"compact_when", "[database]\ncompact_when = 0.05\n", []string{`:2: database.compact_when = 0.05: allowed are 0.1 to 0.9, and 0`}},
		{"compact_when type", "[database]\ncompact_when = \"half\"\n", []string{`:2: database.compact_when = "half": allowed is a number such as 0.5`}},
		{"log_size", "[database]\nlog_size = \"1MiB\"\n", []string{`:2: database.log_size = "1MiB": allowed is a size`}},
		{"history", "[history]\nkeep = \"59s\"\nmax_messages = 99\n", []string{
			`:2: history.keep = "59s": allowed are 1m to 366d, and 0s for none`,
			`:3: history.max_messages = 99: allowed is a whole number, 100 to 1000000`,
		}},
		{"backup", "[backup]\nevery = \"59s\"\nkeep = 0\ndirectory = \"./pipit.db\"\n", []string{
			`:2: backup.every = "59s": allowed are 1m to 8784h, and 0s for none`,
			`:3: backup.keep = 0: allowed is a whole number, 1 to 10000`,
			`:4: backup.directory = "./pipit.db": allowed is a folder, and this is the file of the database`,
		}},
		{"file type", "[database]\nfile = 1\n", []string{`:2: database.file = 1: allowed is a text in quotes`}},
		{"bool", "[log]\naccess = \"yes\"\n", []string{`:2: log.access = "yes": allowed are true and false`}},
		{"section is no table", "http = 1\n", []string{`:1: http: allowed is a table, [http]`}},
		{"client is one table", "[client]\nusername = \"x\"\n", []string{`:1: client: allowed are tables, [[client]]`}},
		{"no username", "[[client]]\npassword = \"x\"\n", []string{`:1: client.username: it is missing`}},
		{"colon", "\n[[client]]\nusername = \"a:b\"\npassword = \"x\"\n", []string{`:3: client.username = "a:b": allowed are 1 to 128 bytes without a colon and control characters`}},
		{"no password", "[[client]]\nusername = \"a\"\n", []string{`:1: client.password: it is missing, as is the password_hash of client "a"`}},
		{"both", "[[client]]\nusername = \"a\"\npassword = \"secret\"\npassword_hash = \"" + hashOfX + "\"\n", []string{`:4: client.password_hash: allowed is one of password and password_hash, and client "a" has both`}},
		{"bad hash", "[[client]]\nusername = \"a\"\npassword_hash = \"secret\"\n", []string{`:3: client.password_hash: not a bcrypt hash of cost 10 to 13`}},
		{"cheap hash", "[[client]]\nusername = \"a\"\npassword_hash = \"" + strings.Replace(hashOfX, "10", "04", 1) + "\"\n", []string{`:3: client.password_hash: bcrypt hash of cost 4: allowed are 10 to 13`}},
		{"costly hash", "[[client]]\nusername = \"a\"\npassword_hash = \"" + strings.Replace(hashOfX, "10", "14", 1) + "\"\n", []string{`:3: client.password_hash: bcrypt hash of cost 14: allowed are 10 to 13`}},
		{"password type", "[[client]]\nusername = \"a\"\npassword = 123456\n", []string{`:3: client.password = a value that is not shown: allowed is a text in quotes`}},
		{"long password", "[[client]]\nusername = \"a\"\npassword = \"" + strings.Repeat("secret", 13) + "\"\n", []string{`:3: client.password: allowed are at most 72 bytes, got 78`}},
		{"twice", crm + crm, []string{`:5: client.username: client ["crm"] is declared twice`}},
		{"topic", "[[topic]]\nname = \"/x/\"\n", []string{`:2: topic.name = "/x/": allowed are`}},
		{"topic twice", "[[topic]]\nname = \"/x\"\n[[topic]]\nname = \"/x\"\n", []string{`:4: topic.name: topic ["/x"] is declared twice`}},
		{"topic depth", "[[topic]]\nname = \"/x\"\nmax_depth = 0\n", []string{`:3: topic.max_depth = 0: allowed are 1 to 1000000000000`}},
		{"auto_create", "[[topic]]\nname = \"/x\"\nauto_create = true\n", []string{`:3: topic.auto_create = true: allowed with a pattern for a name`}},
		{"template", "[[topic]]\nname = \"/x*\"\nauto_create = true\n", []string{`:2: topic.name = "/x*": allowed in a pattern are`}},
		{"max_topics", "[[topic]]\nname = \"/x/*\"\nauto_create = true\nmax_topics = 0\n", []string{`:4: topic.max_topics = 0: allowed are 1 to 1000000`}},
		{"max_topics of a topic", "[[topic]]\nname = \"/x\"\nmax_topics = 5\n", []string{`:3: topic.max_topics = 5: allowed with auto_create`}},
		{"expiration as a duration", "[[topic]]\nname = \"/x\"\nexpiration = \"1.5s\"\n", []string{`:3: topic.expiration = "1.5s": allowed is a number of seconds, or a duration such as "30m" or "7d"`}},
		{"expiration", "[[topic]]\nname = \"/x\"\nexpiration = -1\n", []string{`:3: topic.expiration = -1: allowed are 0 to`}},
		{"dedup window", "[[topic]]\nname = \"/x\"\ndedup_window = 1.5\n", []string{`:3: topic.dedup_window = 1.5: allowed is a duration such as "30s", "5m" or "7d"`}},
		{"no topic", "[[producer]]\nclient = \"x\"\n", []string{`:1: producer.topic: it is missing`}},
		{"producer twice", strings.Repeat("[[producer]]\nclient = \"x\"\ntopic = \"y\"\n", 2), []string{`:5: producer.client: producer ["x" "y"] is declared twice`}},
		{"consumer without client", "[[consumer]]\ntopic = \"x\"\n", []string{`:1: consumer.client: it is missing`}},
		{"start", "[[consumer]]\nclient = \"x\"\ntopic = \"y\"\nstart = \"now\"\n", []string{`:4: consumer.start = "now": allowed are new, oldest and a UTC time`}},
		{"ack timeout", "[[consumer]]\nclient = \"x\"\ntopic = \"y\"\nack_timeout = \"1ms\"\n", []string{`:4: consumer.ack_timeout = "1ms": allowed are 1s to`}},
		{"in flight", "[[consumer]]\nclient = \"x\"\ntopic = \"y\"\nmax_in_flight = 0\n", []string{`:4: consumer.max_in_flight = 0: allowed are 1 to 1000000`}},
		{"sub_key", "[[consumer]]\nclient = \"x\"\ntopic = \"y\"\nsub_key = \"secret key\"\n", []string{`:4: consumer.sub_key: allowed are at most 128 of`}},
		{"sub_key twice", strings.Repeat("[[consumer]]\nclient = \"x\"\ntopic = \"y\"\nsub_key = \"secret\"\n", 2), []string{`:8: consumer.sub_key = a value that is not shown: another consumer has the same one`}},
		{"consumer name", "[[consumer]]\nclient = \"x\"\ntopic = \"y\"\nname = \" a\"\n", []string{`:4: consumer.name = " a": allowed are at most 64 printable`}},
		{"consumer name twice", strings.Repeat("[[consumer]]\nclient = \"x\"\ntopic = \"y\"\nname = \"a\"\n", 2), []string{`:8: consumer.name: consumer ["x" "y" "a"] is declared twice`}},
		{"a wrong type hides no other fault", "[http]\nmax_payload = \"x\"\nlisten = [\"x\"]\n[log]\nlevel = \"loud\"\n[[topic]]\nname = \"/x/\"\nmax_depth = 0\nexpiration = -1\n", []string{
			`:2: http.max_payload = "x"`, `:3: http.listen = "x"`, `:5: log.level = "loud"`,
			`:7: topic.name = "/x/"`, `:8: topic.max_depth = 0`, `:9: topic.expiration = -1`}},
		{"in the order of the file", "[log]\nlevel = \"loud\"\n[http]\nlisten = [\"x\"]\n", []string{`:2: log.level`, `:4: http.listen`}},
		{"what follows from a fault is none", "[[client]]\nusername = 1\npassword = 2\n[[producer]]\nclient = 3\ntopic = \"x\"\n[http]\ntls_cert = 4\ntls_key = \"k\"\nlisten = 5\n[admin]\nlisten = [\"127.0.0.1:11223\"]\n", []string{
			`:2: client.username = 1`, `:3: client.password = a value that is not shown`, `:5: producer.client = 3`, `:8: http.tls_cert = 4`, `:10: http.listen = 5`}},
		{"address of many", "[http]\nlisten = [\n  \"x:1\",\n  \"y\", # y\n  \"z\"]\n", []string{`:4: http.listen = "y"`, `:5: http.listen = "z"`}},
		{"in an inline table", "client = [{username = \"a\", password = \"x\"},\n  {username = \"a:b\", password = \"x\", nmae = 1}]\n", []string{`:2: client.nmae: unknown key`, `:2: client.username = "a:b"`}},
		{"address twice", "[http]\nlisten = [\"localhost:1\",\n\"localhost:1\"]\n", []string{`:3: http.listen = "localhost:1": it cannot be listened on beside http.listen = "localhost:1"`}},
		{"log file is the database", "[database]\nfile = 'x.db'\n[log]\nfile = './x.db'\n", []string{`:4: log.file = "./x.db": allowed is a file of its own, and this is database.file`}},
		{"log size", "[log]\nmax_size = '64KiB'\n", []string{`:2: log.max_size = 65536: allowed are 1MiB to 1TiB, and 0 for any`}},
		{"log age", "[log]\nmax_age = '36h'\n", []string{`:2: log.max_age = "1d12h": allowed are whole days, 1d to 3650d, and 0s for any`}},
		{"no collector", "[tracing]\nendpoint = \"collector:4318\"\n", []string{`:2: tracing.endpoint = "collector:4318": allowed is a URL of http or https such as "http://127.0.0.1:4318", without a user, a password and a query`}},
		{"password of the collector", "[tracing]\nendpoint = \"https://u:secret@collector\"\n", []string{`:2: tracing.endpoint = a value that is not shown: allowed is a URL of http or https`}},
		{"traces", "[tracing]\nsample = 1.5\nservice_name = \"\"\nheaders = {Host = \"secret\"}\n", []string{
			`:2: tracing.sample = 1.5: allowed are 0 to 1`, `:3: tracing.service_name = "": allowed is a name`,
			`:4: tracing.headers = "Host": allowed are headers that the request does not have by itself`}},
		{"alert URL", "[alerts]\nurl = \"hooks.example.com/secret\"\n", []string{`:2: alerts.url = a value that is not shown: allowed is a URL of http or https, at most 2048 bytes`}},
		{"mail server", "[alerts]\nsmtp = \"mail.example.com\"\nfrom = \"x\"\nto = [\"a@b\", \"b\"]\n", []string{
			`:2: alerts.smtp = a value that is not shown: allowed is such as "smtp://pipit@mail.example.com:587", or smtps://, without the password`,
			`:3: alerts.from = "x": allowed is an address such as "ops@example.com"`, `:4: alerts.to = "b": allowed is an address`}},
		{"mail server with a password", "[alerts]\nsmtp = \"smtp://a:secret@mail.example.com\"\nfrom = \"a@b\"\nto = \"a@b\"\n", []string{
			`:2: alerts.smtp = a value that is not shown: allowed is such as "smtp://pipit@mail.example.com:587", or smtps://, without the password`, `:4: alerts.to = "a@b": allowed is a list of texts in quotes`}},
		{"mail for nobody", "[alerts]\nsmtp = \"smtps://mail.example.com\"\n", []string{`:1: alerts.from: it is missing, as mail is sent by smtp`, `:1: alerts.to: it is missing, as mail is sent by smtp`}},
		{"alerts without administration", "[alerts]\nurl = \"https://hooks.example.com\"\n[admin]\nenabled = false\n", []string{`:2: alerts.url: allowed only where admin.enabled is true`}},
		{"alerts that are none", "[alerts]\nmute = [\"consumer_away\", \"away\"]\n", []string{`:2: alerts.mute = "away": allowed are write_failed, disk_low, `}},
		{"repeat", "[alerts]\nrepeat = \"1s\"\n", []string{`:2: alerts.repeat = "1s": allowed are 1m to 30d, and 0s for never`}},
		{"metrics address", "[metrics]\nlisten = [\"9090\"]\n", []string{`:2: metrics.listen = "9090": allowed is host:port with a port of 0 to 65535`}},
		{"address of metrics, too", "[metrics]\nlisten = [\"localhost:11223\"]\n", []string{`:2: metrics.listen = "localhost:11223": it cannot be listened on beside http.listen = "127.0.0.1:11223"`}},
		{"address of admin, too", "[http]\nlisten = [\"0.0.0.0:1\"]\n[admin]\nlisten = [\"127.0.0.1:1\"]\n", []string{`:4: admin.listen = "127.0.0.1:1": it cannot be listened on beside http.listen = "0.0.0.0:1"`}},
		{"path with a tab", "[database]\nfile = \"C:\\temp\\new.db\"\n", []string{`:2: database.file = "C:\temp\new.db": it holds \t, and control characters are not allowed; in double quotes a backslash begins an escape, so write a path in single quotes`}},
		{"path with an escape that is none", "[http]\ntls_cert = \"C:\\data\\cert.pem\"\ntls_key = 'k'\n", []string{`:2: invalid escape in string '\d': in double quotes a backslash begins an escape, so write a path in single quotes`}},
		{"control character", "[[topic]]\nname = \"/x\\u0001\"\n[http]\nlisten = [\"x:1\\n\"]\n", []string{`:2: topic.name = "/x\x01": it holds \x01, and control`, `:4: http.listen = "x:1\n": it ends with \n, and control`}},
		{"line end of a password", "[[client]]\nusername = \"a\"\npassword = \"secret\\r\\n\"\n", []string{`:3: client.password = a value that is not shown: it ends with \r\n, and control characters are not allowed`}},
		{"consumer twice", strings.Repeat("[[consumer]]\nclient = \"x\"\ntopic = \"y\"\n", 2), []string{`:5: consumer.client: consumer without name and sub_key ["x" "y"] is declared twice`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := writeConfig(t, tt.text)
			_, err := Load(file, nil)
			if err == nil {
				t.Fatal("accepted")
			}
			got := strings.Split(err.Error(), "\n")
			if len(got) != len(tt.want) {
				t.Fatalf("got %q", got)
			}
			for i, line := range got {
				if !strings.HasPrefix(line, file+tt.want[i]) {
					t.Errorf("got  %s\nwant %s%s…", line, file, tt.want[i])
				}
			}
			if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "123456") {
				t.Errorf("a secret is shown: %v", err)
			}
		})
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none.toml"), nil); err == nil || !strings.Contains(err.Error(), "none.toml") {
		t.Error(err)
	}
}

func TestConfigEnvironment(t *testing.T) {
	file := writeConfig(t, "[http]\nmax_payload = 1\n[[client]]\nusername = \"crm\"\npassword = \"x\"\n")
	c, err := Load(file, []string{
		"HOME=/home/me", "PIPIT_HTTP_LISTEN=127.0.0.1:1, [::1]:2", "PIPIT_HTTP_MAX_PAYLOAD=2MiB", "PIPIT_HTTP_MAX_CONNECTIONS=7",
		"PIPIT_ADMIN_ENABLED=false", "PIPIT_ADMIN_LISTEN=127.0.0.1:3,127.0.0.1:4",
		"PIPIT_DATABASE_FILE=a=b.db", "PIPIT_LOG_ACCESS=true",
		"PIPIT_CLIENT_1_PASSWORD=pw=1", "PIPIT_CLIENT_0_PASSWORD=new", "PIPIT_CLIENT_1_USERNAME=erp",
		"PIPIT_TOPIC_0_NAME=/x", "PIPIT_TOPIC_0_EXPIRATION=5", "PIPIT_TOPIC_0_DEDUP_WINDOW=1m",
		"PIPIT_CONSUMER_0_CLIENT=erp", "PIPIT_CONSUMER_0_TOPIC=/x", "PIPIT_CONSUMER_0_MAX_IN_FLIGHT=3",
		"PIPIT_PORT=tcp://10.0.0.1:11223", "PIPIT_PORT_11223_TCP_ADDR=10.0.0.1", "PIPIT_SERVICE_HOST=10.0.0.1",
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(c.HTTP.Listen, []string{"127.0.0.1:1", "[::1]:2"}) || c.HTTP.MaxPayload != 2<<20 || c.HTTP.MaxConnections != 7 ||
		c.Admin.Enabled || !slices.Equal(c.Admin.Listen, []string{"127.0.0.1:3", "127.0.0.1:4"}) || c.Database.File != "a=b.db" || !c.Log.Access {
		t.Errorf("%+v", c)
	}
	want := []broker.Client{{Username: "crm", Password: "new"}, {Username: "erp", Password: "pw=1"}}
	if !reflect.DeepEqual(c.Client, want) {
		t.Errorf("%+v", c.Client)
	}
	if tp := c.Topic[0]; tp.Name != "/x" || tp.Expiration != 5 || tp.DedupWindow != time.Minute || tp.MaxDepth != limit.DefaultMaxDepth {
		t.Errorf("%+v", tp)
	}
	if c.Consumer[0].MaxInFlight != 3 {
		t.Errorf("%+v", c.Consumer[0])
	}

	for _, tt := range []struct{ variable, want string }{
		{"PIPIT_HTTP_LISSEN=x", "PIPIT_HTTP_LISSEN: no such variable: allowed are PIPIT_SECTION_KEY"},
		{"PIPIT_HTPP_LISTEN=x", "PIPIT_HTPP_LISTEN: no such variable"},
		{"PIPIT_http_listen=x", "PIPIT_http_listen: no such variable"},
		{"PIPIT_HTTP=x", "PIPIT_HTTP: no such variable"},
		{"PIPIT_CLIENT_PASSWORD=x", "PIPIT_CLIENT_PASSWORD: no such variable"},
		{"PIPIT_CLIENT_00_PASSWORD=x", "PIPIT_CLIENT_00_PASSWORD: no such variable"},
		{"PIPIT_CLIENT_0_PASSWORT=x", "PIPIT_CLIENT_0_PASSWORT: no such variable"},
		{"PIPIT_CLIENT_2_PASSWORD=x", "PIPIT_CLIENT_2_PASSWORD: there are 1 [[client]], so the next number is 1"},
		{"PIPIT_CLIENT_1_PASSWORD=secret", `PIPIT_CLIENT_1_…: client.username: it is missing`},
		{"PIPIT_HTTP_LISTEN=", "PIPIT_HTTP_LISTEN: http.listen = []: allowed is a list"},
		{"PIPIT_HTTP_MAX_PAYLOAD=big", `PIPIT_HTTP_MAX_PAYLOAD: http.max_payload = "big": allowed is a size`},
		{"PIPIT_HTTP_MAX_CONNECTIONS=1x", `PIPIT_HTTP_MAX_CONNECTIONS: http.max_connections = "1x": allowed is a whole number, 1 to 10000000`},
		{"PIPIT_LOG_ACCESS=1", `PIPIT_LOG_ACCESS: log.access = "1": allowed are true and false`},
		{"PIPIT_LOG_LEVEL=loud", `PIPIT_LOG_LEVEL: log.level = "loud": allowed are`},
		{"PIPIT_DATABASE_FILE=pipit.db\r", `PIPIT_DATABASE_FILE: database.file = "pipit.db\r": it ends with \r, and control characters are not allowed`},
		{"PIPIT_CLIENT_0_PASSWORD=secret\n", `PIPIT_CLIENT_0_PASSWORD: client.password = a value that is not shown: it ends with \n, and control`},
		{"PIPIT_HTTP_MAX_PAYLOAD=1MiB\r", `PIPIT_HTTP_MAX_PAYLOAD: http.max_payload = "1MiB\r": it ends with \r`},
		{"PIPIT_HTTP_LISTEN=x:1,x:1", `PIPIT_HTTP_LISTEN: http.listen = "x:1": it cannot be listened on beside`},
		{"PIPIT_PORT=11223", "PIPIT_PORT: no such variable"},
		{"PIPIT_HTTP_PORT=11223", "PIPIT_HTTP_PORT: no such variable"},
		{"PIPIT_HTTP_LISTEN_FILE=", `PIPIT_HTTP_LISTEN_FILE: "": allowed is the path of a file`},
		{"PIPIT_CLIENT_0_PASSWORD_FILE=none.txt", "PIPIT_CLIENT_0_PASSWORD_FILE: open none.txt: "},
		{"PIPIT_HTTP_FILE=x", "PIPIT_HTTP_FILE: no such variable"},
	} {
		_, err := Load(file, []string{tt.variable})
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s:\ngot  %v\nwant %s…", tt.variable, err, tt.want)
		}
	}
}

// A variable that ends with _FILE names the file that the value is in.
func TestConfigValueFiles(t *testing.T) {
	dir := t.TempDir()
	held := func(name, value string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
		return "_FILE=" + file
	}
	c, err := Load("", []string{
		"PIPIT_CLIENT_0_USERNAME=a", "PIPIT_CLIENT_0_PASSWORD" + held("password", "pass word\n"),
		"PIPIT_CLIENT_1_USERNAME=b", "PIPIT_CLIENT_1_PASSWORD" + held("windows", "\ufeffpass\r\n"),
		"PIPIT_DATABASE_FILE" + held("name", "x.db"), "PIPIT_HTTP_LISTEN" + held("listen", "127.0.0.1:1,127.0.0.1:2\n"),
		"PIPIT_LOG_ACCESS" + held("access", "true"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.Client[0].Password != "pass word" || c.Client[1].Password != "pass" || c.Database.File != "x.db" ||
		!slices.Equal(c.HTTP.Listen, []string{"127.0.0.1:1", "127.0.0.1:2"}) || !c.Log.Access {
		t.Errorf("%+v", c)
	}
	if c, err = Load("", []string{"PIPIT_DATABASE_FILE=secrets"}); err != nil || c.Database.File != "secrets" {
		t.Error("the key file of [database] is taken for the name of a file with its value:", err)
	}
	for _, tt := range []struct{ name, value, want string }{
		{"two line ends", "secret\n\n", `PIPIT_CLIENT_0_PASSWORD_FILE: client.password = a value that is not shown: it ends with \n, and control`},
		{"UTF-16", "\xff\xfes\x00e\x00", `PIPIT_CLIENT_0_PASSWORD_FILE: client.password = a value that is not shown: it holds \x00`},
		{"nothing", "\n", `PIPIT_CLIENT_0_PASSWORD_FILE: client.password: it is missing, as is the password_hash of client "a"`},
		{"too much", strings.Repeat("secret", 20_000), "PIPIT_CLIENT_0_PASSWORD_FILE: " + filepath.Join(dir, "too much") + " is too large: allowed are at most 65536 bytes"},
	} {
		_, err := Load("", []string{"PIPIT_CLIENT_0_USERNAME=a", "PIPIT_CLIENT_0_PASSWORD" + held(tt.name, tt.value)})
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s:\ngot  %v\nwant %s…", tt.name, err, tt.want)
		}
	}
	_, err = Load("", []string{"PIPIT_LOG_LEVEL" + held("level", "debug"), "PIPIT_LOG_LEVEL=info"})
	if want := "PIPIT_LOG_LEVEL_FILE: PIPIT_LOG_LEVEL is set as well: allowed is one of them"; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// Kubernetes tells every pod of every service in its namespace. These are of services named pipit,
// pipit-http, pipit-admin, pipit-client-0, pipit-database and so on, some with named ports.
func TestConfigIgnoresServiceLinks(t *testing.T) {
	var links []string
	for _, service := range []string{"", "HTTP_", "ADMIN_", "WEB_", "CLIENT_0_", "CLIENT_0_PASSWORD_", "DATABASE_FILE_", "X_PORT_"} {
		for _, link := range []string{"SERVICE_HOST=10.0.0.1", "SERVICE_PORT=11223", "SERVICE_PORT_HTTP=11223", "SERVICE_PORT_REST_API=11223", "SERVICE_PORT_FILE=1",
			"PORT=tcp://10.0.0.1:11223", "PORT_11223_TCP=tcp://10.0.0.1:11223", "PORT_11223_TCP_PROTO=tcp", "PORT_11223_TCP_PORT=11223",
			"PORT_11223_TCP_ADDR=10.0.0.1", "PORT_53_UDP=udp://10.0.0.1:53", "PORT_53_UDP_ADDR=10.0.0.1"} {
			links = append(links, "PIPIT_"+service+link)
		}
	}
	c, err := Load("", links)
	if err != nil {
		t.Fatal(err)
	}
	if want, _ := Load("", nil); !reflect.DeepEqual(c, want) {
		t.Errorf("%+v", c)
	}
}

// A byte order mark moves no line.
func TestConfigByteOrderMark(t *testing.T) {
	for text, want := range map[string]string{
		"\ufefflog.level = \"loud\"\n":         `:1: log.level = "loud"`,
		"\ufeff[log]\r\nlevel = \"loud\"\r\n":  `:2: log.level = "loud"`,
		"\ufeff\nlog.level = loud\n":           ":2: ",
		"\ufeff[[client]]\npassword = \"x\"\n": `:1: client.username: it is missing`,
	} {
		file := writeConfig(t, text)
		if _, err := Load(file, nil); err == nil || !strings.HasPrefix(err.Error(), file+want) {
			t.Errorf("%q:\ngot  %v\nwant %s%s…", text, err, file, want)
		}
	}
}

// A key that nobody has classified needs a restart.
func TestUpdate(t *testing.T) {
	is, now := &Config{}, &Config{}
	var fill func(v reflect.Value)
	fill = func(v reflect.Value) {
		if table, ok := v.Addr().Interface().(*property.Table); ok {
			*table = property.TableOf(map[string]string{"x": "x"})
			return
		}
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				fill(v.Field(i))
			}
		case reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		case reflect.String:
			v.SetString("x")
		case reflect.Bool:
			v.SetBool(true)
		case reflect.Float64:
			v.SetFloat(1)
		default:
			v.SetInt(1)
		}
	}
	fill(reflect.ValueOf(now).Elem())
	changed, restart := is.Update(now)
	want := []string{"http.max_payload", "http.max_batch", "http.max_pending", "http.max_replies", "http.min_body_rate", "http.max_connections", "http.drain", "http.cors_origins", "admin.session_idle", "admin.session_life", "backup.directory", "backup.every", "backup.keep", "history.keep", "history.max_messages", "callbacks.deny", "callbacks.max_concurrency", "callbacks.proxy", "callbacks.ca", "metrics.per_object_limit", "tracing.sample", "tracing.headers", "attention.full", "attention.away", "attention.failing", "attention.in_flight", "attention.refused", "attention.redelivered", "attention.certificate", "attention.disk_percent", "attention.disk_free", "attention.node_away", "attention.node_lag",
		"alerts.url", "alerts.smtp", "alerts.smtp_password", "alerts.from", "alerts.to", "alerts.wait", "alerts.interval", "alerts.repeat", "alerts.mute", "cluster.forward_wait", "log.access", "log.level", "log.max_size", "log.max_age", "log.max_files", "client", "topic", "producer", "consumer", "webhook"}
	if !slices.Equal(changed, want) {
		t.Errorf("changed %q, want %q", changed, want)
	}
	for _, key := range []string{"http.listen", "database.file", "http.tls_cert", "admin.listen", "log.format"} {
		if !slices.Contains(restart, key) {
			t.Errorf("%s is not among %q", key, restart)
		}
	}
	if is.HTTP.MaxPayload != 1 || is.Database.File != "" || len(is.Client) != 1 {
		t.Errorf("%+v", is)
	}
	now.Admin.Listen = nil
	is.Admin.Listen = []string{}
	if changed, again := is.Update(now); len(changed) > 0 || slices.Contains(again, "admin.listen") {
		t.Errorf("changed %q, restart %q", changed, again)
	}
}

func TestCollide(t *testing.T) {
	for _, tt := range []struct {
		x, y string
		want bool
	}{
		{"127.0.0.1:1", "127.0.0.1:1", true},
		{"127.0.0.1:1", "127.0.0.1:2", false},
		{"127.0.0.1:0", "127.0.0.1:0", false},
		{"127.0.0.1:1", "127.0.0.2:1", false},
		{"0.0.0.0:1", "127.0.0.1:1", true},
		{"0.0.0.0:1", "[::]:1", false},
		{"0.0.0.0:1", "[::1]:1", false},
		{"[::]:1", "[::1]:1", true},
		{"[::1]:1", "[0:0:0:0:0:0:0:1]:1", true},
		{":1", "127.0.0.1:1", true},
		{":1", "[::1]:1", true},
		{":1", "0.0.0.0:1", true},
		{":1", ":1", true},
		{"localhost:1", "Localhost:1", true},
		{"localhost:1", "127.0.0.1:1", true},
		{"localhost:1", "[::]:1", true},
		{"localhost:1", "192.0.2.1:1", false},
		{"a.example:1", "A.example:1", true},
		{"a.example:1", "b.example:1", false}, // not looked up
		{"[::ffff:127.0.0.1]:1", "127.0.0.1:1", true},
	} {
		if collide(tt.x, tt.y) != tt.want || collide(tt.y, tt.x) != tt.want {
			t.Errorf("%s and %s: not %t", tt.x, tt.y, tt.want)
		}
	}
}

// The settings that are shown have every key, but for those of objects, and no secret.
func TestSettings(t *testing.T) {
	c, err := Load("../config.example.toml", []string{"PIPIT_HTTP_MAX_PAYLOAD=2MiB", "PIPIT_CLIENT_0_PASSWORD=swordfish",
		"PIPIT_ALERTS_URL=https://u:swordfish@hooks.example.com/swordfish", "PIPIT_ALERTS_SMTP_PASSWORD=swordfish"})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, s := range c.Settings() {
		got[s.Name] = s.Value
	}
	for name, want := range map[string]string{
		"http.listen": "127.0.0.1:11223, 127.0.0.1:17010, [::1]:11223, [::1]:17010", "http.max_payload": "2MiB", "http.tls_cert": "",
		"admin.enabled": "true", "admin.listen": "", "database.file": "pipit.db", "log.level": "info", "[[client]]": "2", "[[consumer]]": "1",
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %q, want %q", name, v, want)
		}
	}
	for name, v := range got {
		if strings.Contains(v, "swordfish") || strings.Contains(v, "K06Y63NEJQYGMQKTP9D4KGQQ0GB2") {
			t.Errorf("%s shows a secret", name)
		}
	}
	password, _ := fieldOf(reflect.ValueOf(&c.Client[0]).Elem(), "password")
	if s := password.text(); s != "***" {
		t.Errorf("a secret is shown as %q", s)
	}
}

func TestKeyLines(t *testing.T) {
	text := `a = """
[x]
b = 1 \"""
""""" # two quotes of it, then the end
'b c'."d\te" = 1
[t] # x
list = [ # [
  "]", '"', [1, 2],
]
tables = [ # [
  {x = 1, y = '#'},
  {z.u = [[1], {v = 1}]}, ]
s = 'c:\'
[[arr]]
k = 1
[[ arr ]]

k = '''
'''
[arr . sub]
k = 1
[ "t" . u ]
k = 1`
	want := map[string]int{"a": 1, "b c.d\te": 5, "t": 6, "t.list": 7, "t.list[0]": 8, "t.list[1]": 8, "t.list[2]": 8,
		"t.tables": 10, "t.tables[0]": 11, "t.tables[0].x": 11, "t.tables[0].y": 11, "t.tables[1]": 12, "t.tables[1].z.u": 12,
		"t.tables[1].z.u[0]": 12, "t.tables[1].z.u[1]": 12, "t.tables[1].z.u[1].v": 12, "t.s": 13, "arr[0]": 14, "arr[0].k": 15,
		"arr[1]": 16, "arr[1].k": 18, "arr[1].sub": 20, "arr[1].sub.k": 21, "t.u": 22, "t.u.k": 23}
	if got := keyLines(text); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
}

// FuzzConfig: no text makes the reading of a configuration panic or hang.
func FuzzConfig(f *testing.F) {
	example, err := os.ReadFile("../config.example.toml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(example))
	f.Add("a.b = [[\"]\"], {x='''\n'''}]\n[[client]]\n")
	f.Fuzz(func(t *testing.T, text string) {
		b := &binder{file: "fuzz"}
		c := &Config{}
		if b.bindFile(c, text) == nil {
			b.bindEnv(c, nil)
			b.check(c)
		}
	})
}

// The example declares what the sample commands of README.md need.
func TestExampleDeclares(t *testing.T) {
	c, err := Load("../config.example.toml", nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := append(slices.Clone(defaults.HTTP.Listen), "[::1]:11223", "[::1]:17010"); !slices.Equal(c.HTTP.Listen, want) {
		t.Errorf("listens on %q", c.HTTP.Listen)
	}
	crm, erp, topic, producer, consumer := defaults.Client[0], defaults.Client[0], defaults.Topic[0], defaults.Producer[0], defaults.Consumer[0]
	crm.Name, crm.Username, crm.Password = "CRM", "crm", "crm"
	erp.Name, erp.Username, erp.Password = "ERP", "erp", "erp"
	topic.Name = "/customer/created"
	producer.Client, producer.Topic = "crm", topic.Name
	consumer.Client, consumer.Topic, consumer.SubKey = "erp", topic.Name, "K06Y63NEJQYGMQKTP9D4KGQQ0GB2"
	want := &Config{HTTP: defaults.HTTP, Admin: defaults.Admin, Database: defaults.Database, Backup: defaults.Backup, History: defaults.History, Callbacks: defaults.Callbacks, Metrics: defaults.Metrics, Tracing: defaults.Tracing, Attention: defaults.Attention, Alerts: defaults.Alerts, Cluster: defaults.Cluster, Log: defaults.Log, Client: []broker.Client{crm, erp},
		Topic: []broker.Topic{topic}, Producer: []broker.Producer{producer}, Consumer: []broker.Consumer{consumer}}
	want.HTTP.Listen = c.HTTP.Listen
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
}

// Every key is in the example once, in the order of the structs and tables, with a comment that names its
// default as they have it, and set to that where it is commented out.
func TestExampleAndDefaults(t *testing.T) {
	text, err := os.ReadFile("../config.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	required := slices.Concat(requiredKeys("client", broker.ClientFields), requiredKeys("topic", broker.TopicFields),
		requiredKeys("producer", broker.ProducerFields), requiredKeys("consumer", broker.ConsumerFields), requiredKeys("webhook", broker.WebhookFields))
	at := 0
	for _, f := range fieldsOf(reflect.ValueOf(&defaults).Elem()) {
		section, header, table := f.name, "["+f.name+"]", f.at
		if table.Kind() == reflect.Slice {
			header, table = "["+header+"]", table.Index(0)
		}
		for at < len(lines) && strings.TrimPrefix(lines[at], "# ") != header { // it may be commented out as a whole
			at++
		}
		for _, f := range fieldsOf(table) {
			key := f.name
			var comment string
			for at++; at < len(lines); at++ {
				line, out := strings.CutPrefix(lines[at], "# ")
				if value, ok := strings.CutPrefix(line, key+" = "); ok {
					def := toTOML(f.get())
					if out && value != def && !slices.Contains(required, section+"."+key) {
						t.Errorf("%s.%s is commented out as %s: the default is %s", section, key, value, def)
					}
					want := "Default: " + strings.Replace(def, `""`, "none", 1)
					if slices.Contains(required, section+"."+key) {
						want = "Required."
					}
					if !strings.Contains(comment, want+".") && !strings.Contains(comment, want+",") && !strings.HasSuffix(comment, want+" ") {
						t.Errorf("%s.%s: the comment %q does not say %q", section, key, comment, want)
					}
					break
				}
				if out {
					comment += line + " "
				} else {
					comment = ""
				}
			}
			if at == len(lines) {
				t.Fatalf("%s.%s is not in the example, or not in this order", section, key)
			}
		}
	}
}

// Each section of docs/configuration.md, and of the example, has the keys that are read and no others, also where the
// example has them commented out, so that a start does not find them.
func TestDocumentedKeys(t *testing.T) {
	for file, pattern := range map[string]string{
		"../docs/configuration.md": "(?m)^(?:## `\\[+(\\w+)\\]+`|\\| `(\\w+)` \\|.*)$",
		"../config.example.toml":   `(?m)^(?:(?:# )?\[+(\w+)\]+|(?:# )?(\w+) = .*)$`,
	} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		got, section := map[string]map[string]bool{}, ""
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(text), -1) {
			if m[1] != "" {
				section = m[1]
			} else if got[section] == nil {
				got[section] = map[string]bool{m[2]: true}
			} else {
				got[section][m[2]] = true
			}
		}
		want := map[string]map[string]bool{}
		for _, f := range fieldsOf(reflect.ValueOf(&defaults).Elem()) {
			want[f.name] = map[string]bool{}
			for _, key := range keysOf(f.table()) {
				want[f.name][key] = true
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s has the keys\n%v\nwhere\n%v\nare read", file, got, want)
		}
	}
}

func requiredKeys[T any](section string, fields property.Fields[T]) (keys []string) {
	for _, f := range fields {
		if f.Required {
			keys = append(keys, section+"."+f.Name)
		}
	}
	return keys
}

func toTOML(v any) string {
	switch v := v.(type) {
	case []string:
		quoted := make([]string, len(v))
		for i, s := range v {
			quoted[i] = strconv.Quote(s)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	case property.Texts:
		return toTOML(v.List())
	case property.Durations:
		var items []string
		for _, d := range v.List() {
			items = append(items, toTOML(d))
		}
		return "[" + strings.Join(items, ", ") + "]"
	case property.Table:
		var items []string
		for name, value := range v.All() {
			items = append(items, fmt.Sprintf("%q = %q", name, value))
		}
		return "{" + strings.Join(items, ", ") + "}"
	case property.Size:
		return strconv.Quote(v.String())
	case time.Duration:
		if v >= 48*time.Hour {
			return strconv.Quote(property.FormatDuration(v))
		}
		s := v.String()
		if minutes, ok := strings.CutSuffix(s, "m0s"); ok {
			s = minutes + "m"
		}
		if hours, ok := strings.CutSuffix(s, "h0m"); ok {
			s = hours + "h"
		}
		return strconv.Quote(s)
	case string:
		return strconv.Quote(v)
	default:
		return fmt.Sprint(v)
	}
}
