package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	cli "pipit/admin/command"
	"pipit/broker"
	"pipit/db"
	"pipit/httpapi/serve/servetest"
)

// checked is what -check-config says of a configuration: on stdout where it is good, else its
// faults; and its hints.
func checked(t *testing.T, file string, env ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs strings.Builder
	code = run(context.Background(), []string{"-check-config", "-config", file}, env, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

// weakExample is what the passwords of the example are to be warned about, of all clients in one line.
const weakExample = "pipit: warning: the passwords of 2 clients are weak: \"crm\", \"erp\"\n"

// lines compares what is said with the beginnings of its lines.
func wantLines(t *testing.T, got string, want ...string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
	if got == "" {
		lines = nil
	}
	if len(lines) != len(want) {
		t.Fatalf("got  %s\nwant %s", got, strings.Join(want, "…\n     "))
	}
	for i, w := range want {
		if !strings.HasPrefix(lines[i], w) {
			t.Errorf("got  %s\nwant %s…", lines[i], w)
		}
	}
}

// All that is wrong is said at once: of the file, of the certificate, of addresses and of the database.
func TestCheckConfigFindsAll(t *testing.T) {
	dir := t.TempDir()
	file := writeConfig(t, fmt.Sprintf(`[http]
listen = ["127.0.0.1:0",
  "198.51.100.7:1"]
tls_cert = '%s'
tls_key = 'none.key'
[database]
file = '%s'
[log]
level = "loud"
[[producer]]
client = "a"
topic = "/x"
`, filepath.Join(dir, "none.pem"), filepath.Join(dir, "none", "pipit.db")))
	code, stdout, stderr := checked(t, file)
	want := []string{`:4: http.tls_cert = "`, `:5: http.tls_key = "none.key": open none.key: `, `:7: database.file: database `, `:9: log.level = "loud"`}
	if runtime.GOOS != "windows" {
		want = append([]string{`:3: http.listen = "198.51.100.7:1": bind: `}, want...)
	}
	for i := range want {
		want[i] = "pipit: " + file + want[i]
	}
	want = append([]string{"pipit: hint: " + file + `:11: producer.client = "a": no such client here`, "pipit: hint: " + file + `:12: producer.topic = "/x": no such topic here`}, want...)
	wantLines(t, stderr, want...)
	if code != 1 || stdout != "" {
		t.Errorf("exit code %d, %q", code, stdout)
	}
	if made, err := os.ReadDir(dir); err != nil || len(made) > 0 {
		t.Error("something was made:", made, err)
	}
}

// A configuration that a start takes passes, and nothing is made.
func TestCheckConfigMakesNothing(t *testing.T) {
	dir := t.TempDir()
	servetest.Certificate(t, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), 1)
	env := append([]string{"PIPIT_HTTP_TLS_CERT=" + filepath.Join(dir, "cert.pem"), "PIPIT_HTTP_TLS_KEY=" + filepath.Join(dir, "key.pem"),
		"PIPIT_DATABASE_FILE=" + filepath.Join(dir, "pipit.db")}, anyPort...)
	code, stdout, stderr := checked(t, example(t), env...)
	if code != 0 || !strings.HasSuffix(stdout, "config.example.toml with PIPIT_DATABASE_FILE, PIPIT_HTTP_LISTEN, PIPIT_HTTP_TLS_CERT, PIPIT_HTTP_TLS_KEY: ok\n") || stderr != weakExample {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	if _, err := os.Stat(filepath.Join(dir, "pipit.db")); !os.IsNotExist(err) {
		t.Error("the database was made", err)
	}
	if err := os.Rename(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")); err != nil {
		t.Fatal(err)
	}
	servetest.Certificate(t, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "other.pem"), 2)
	code, _, stderr = checked(t, example(t), env...)
	wantLines(t, stderr, "pipit: PIPIT_HTTP_TLS_CERT: http.tls_cert: tls_cert ")
	if code != 1 {
		t.Errorf("exit code %d", code)
	}
}

// An address that is in use is no fault, since the broker may have it itself; and the one that
// holds it does not notice.
func TestCheckConfigAddressInUse(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("only who listens gets to know there")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	env := []string{"PIPIT_HTTP_LISTEN=" + l.Addr().String(), "PIPIT_DATABASE_FILE=" + filepath.Join(t.TempDir(), "pipit.db")}
	code, stdout, stderr := checked(t, example(t), env...)
	wantLines(t, stderr, fmt.Sprintf("pipit: hint: PIPIT_HTTP_LISTEN: http.listen = %q is in use, as it is while the broker runs", l.Addr()), weakExample[:len(weakExample)-1])
	if code != 0 || stdout == "" {
		t.Errorf("exit code %d, %q", code, stdout)
	}
	env[0] = "PIPIT_HTTP_LISTEN=no.such.host.invalid:1"
	if code, _, stderr = checked(t, example(t), env...); code != 1 || !strings.HasPrefix(stderr, `pipit: PIPIT_HTTP_LISTEN: http.listen = "no.such.host.invalid:1": lookup`) {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

// Clients and topics may be declared in the configuration or in the database.
func TestCheckConfigReferences(t *testing.T) {
	database := filepath.Join(t.TempDir(), "pipit.db")
	env := append([]string{"PIPIT_DATABASE_FILE=" + database}, anyPort...)
	file := writeConfig(t, `[[client]]
username = "here"
password = "a long password"
[[producer]]
client = "here"
topic = "/stored"
[[producer]]
client = "nobody"
topic = "/stored"
[[consumer]]
topic = "/none"
client = "stored"
`)
	missing := func(where string, lines ...string) []string {
		var want []string
		for _, l := range lines {
			want = append(want, "pipit: "+file+l+where)
		}
		return want
	}

	code, _, stderr := checked(t, file, env...)
	where := ", here or in the database " + database + ", which is still to be made"
	wantLines(t, stderr, missing(where, `:6: producer.topic = "/stored": no such topic`, `:8: producer.client = "nobody": no such client`,
		`:9: producer.topic = "/stored": no such topic`, `:11: consumer.topic = "/none": no such topic`, `:12: consumer.client = "stored": no such client`)...)
	if code != 1 {
		t.Errorf("exit code %d", code)
	}

	store, err := db.Open(database, db.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := broker.Open(store, broker.Options{})
	if err != nil {
		t.Fatal(err)
	}
	topic, other := broker.Topic{Name: "/stored", MaxDepth: 1}, broker.Topic{Name: "/other", MaxDepth: 1}
	client := broker.Client{Username: "stored", PasswordHash: hashOfX}
	consumer := broker.Consumer{Client: "stored", Topic: "/other", Name: "a", SubKey: "secretkey", MaxDepth: 1, MaxInFlight: 1, AckTimeout: time.Minute}
	another := consumer
	another.Name, another.SubKey = "b", "secretkey2"
	if _, err := b.Apply(context.Background(), broker.Definition{Clients: []broker.Client{client}, Topics: []broker.Topic{topic, other},
		Consumers: []broker.Consumer{consumer, another}}); err != nil {
		t.Fatal(err)
	}

	// While a broker runs, what it has is not known: it may well have these.
	code, stdout, stderr := checked(t, file, env...)
	for i, line := range []string{`:6: producer.topic = "/stored"`, `:8: producer.client = "nobody"`, `:9: producer.topic = "/stored"`, `:12: consumer.client`, `:11: consumer.topic`} {
		if got := strings.Split(stderr, "\n"); len(got) != 6 || !strings.HasPrefix(got[i], "pipit: hint: "+file+line) ||
			!strings.HasSuffix(got[i], "here, so it has to be in the database "+database+", which is in use and was not looked at") {
			t.Fatalf("line %d of %s", i+1, stderr)
		}
	}
	if code != 0 || stdout == "" {
		t.Errorf("exit code %d, %q", code, stdout)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}

	before, err := os.ReadFile(database)
	if err != nil {
		t.Fatal(err)
	}
	code, _, stderr = checked(t, file, env...)
	wantLines(t, stderr, missing(", here or in the database "+database, `:8: producer.client = "nobody": no such client`, `:11: consumer.topic = "/none": no such topic`)...)
	if code != 1 {
		t.Errorf("exit code %d", code)
	}

	// What the broker alone can tell: the sub_keys are those of other consumers.
	file = writeConfig(t, "[[consumer]]\nclient = \"stored\"\ntopic = \"/stored\"\nname = \"c\"\nsub_key = \"secretkey\"\n"+
		"[[consumer]]\nclient = \"stored\"\ntopic = \"/stored\"\nname = \"d\"\nsub_key = \"secretkey2\"\n")
	code, _, stderr = checked(t, file, env...)
	wantLines(t, stderr, "pipit: "+file+":5: ", "pipit: "+file+":10: ")
	if code != 1 || !strings.Contains(stderr, `the sub_key of consumer "stored" of topic "/stored"`) || strings.Contains(stderr, "secretkey") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	if after, err := os.ReadFile(database); err != nil || string(after) != string(before) {
		t.Error("the database was written to", err)
	}
}

// What a start refuses of the database file, and its folder, is found without a start.
func TestCheckConfigDatabase(t *testing.T) {
	dir := t.TempDir()
	foreign := filepath.Join(dir, "foreign.db")
	if err := os.WriteFile(foreign, []byte(strings.Repeat("not a database\n", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	readOnly := filepath.Join(dir, "readonly.db")
	if err := os.WriteFile(readOnly, nil, 0o400); err != nil {
		t.Fatal(err)
	}
	newer := filepath.Join(dir, "newer.db")
	store, err := db.Open(newer, db.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	bolt, err := bbolt.Open(newer, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := bolt.Update(func(tx *bbolt.Tx) error {
		meta := tx.Bucket([]byte("meta"))
		return errors.Join(meta.Put([]byte("format"), []byte{0, 0, 1, 0}), meta.Put([]byte("program"), []byte("9.8.7")))
	}); err != nil {
		t.Fatal(err)
	}
	if err := bolt.Close(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		foreign:                             foreign + " is not a Pipit database",
		newer:                               "database " + newer + " was written by a newer Pipit, 9.8.7: it has format 256, and Pipit " + built() + " opens up to 5",
		dir:                                 dir + " is not a Pipit database: it is not a regular file",
		readOnly:                            "database " + readOnly + " cannot be written: the file is read-only",
		filepath.Join(foreign, "pipit.db"):  "database " + filepath.Join(foreign, "pipit.db"),
		filepath.Join(dir, "no", "here.db"): "database " + filepath.Join(dir, "no", "here.db") + " cannot be made: there is no directory " + filepath.Join(dir, "no"),
	} {
		code, _, stderr := checked(t, example(t), append([]string{"PIPIT_DATABASE_FILE=" + name}, anyPort...)...)
		wantLines(t, stderr, "pipit: PIPIT_DATABASE_FILE: database.file: "+want)
		if code != 1 {
			t.Errorf("exit code %d", code)
		}
	}
}

// The variables of the command line, which begin as those of the configuration do, are not taken for misspelled ones.
func TestCheckConfigBesideCommandLine(t *testing.T) {
	env := append([]string{"PIPIT_DATABASE_FILE=" + filepath.Join(t.TempDir(), "pipit.db")}, anyPort...)
	for _, name := range cli.Variables {
		env = append(env, name+"=x")
	}
	if code, stdout, stderr := checked(t, example(t), env...); code != 0 || stderr != weakExample {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	if code, _, stderr := checked(t, example(t), append(env, "PIPIT_TOKENS=x")...); code != 1 || !strings.HasPrefix(stderr, "pipit: PIPIT_TOKENS: no such variable") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}
