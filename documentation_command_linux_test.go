package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"pipit/tracing/tracingtest"
)

// A command of a page is an indented line that begins as one; a backslash at its end goes on. Fenced blocks are programs and
// files, which have tests of their own.
var pasted = regexp.MustCompile(`(?m)^    ((?:curl|pipit|go|sudo|export|printf|[A-Za-z_]+=)(?:.*\\\n)*.*)$`)

var fenced = regexp.MustCompile("(?ms)^```.*?^```$")

// Commands that are not run, and why.
var notRun = []struct{ pattern, reason string }{
	{`^pipit \[`, "it says what there is, and is no command"},
	{`^pipit serve `, "the test starts each page's server by itself, at a port of the system's choosing"},
	{`^(CGO_ENABLED=0 )?go (-C release )?(run|build|test) `, "what builds and tests runs this test, and is run by .ci/run"},
	{`^sudo `, "it changes the machine"},
	{` --exec `, "it goes on until it is stopped: TestExecEndsAfterTheMessageInHand and others run it"},
}

// Commands that are for a broker that is stopped run before the others of their page.
var stopped = regexp.MustCompile(`^pipit (init\b|admin create|.* --(file|database) )`)

var called = regexp.MustCompile(`^(pipit|curl) `)
var tokened = regexp.MustCompile(`^pipit |PIPIT_TOKEN`)

// What a page takes for granted: behind the example's configuration, in the environment of the server, and in the shell before
// the command that begins so.
var granted = map[string]struct {
	config string
	env    []string
	before map[string]string
	traced bool              // its server sends spans
	online bool              // all commands run while the server does, in their order
	prints map[string]string // what a command that begins so has in its output
}{
	"docs/drills.md": {
		online: true,
		before: map[string]string{"pipit backup": "pipit publish /customer/created 'Invoice 18 is paid' --expiration 1h\n"},
		prints: map[string]string{
			"pipit messages list":                                "Invoice 18 is paid",
			"pipit topic list":                                   "/customer/created",
			"pipit check drill.db || ":                           "The file is damaged.",
			"pipit restore drill.backup --database drill.db || ": "The backup is damaged.",
		},
	},
	"docs/upgrades.md": {
		online: true,
		prints: map[string]string{"pipit check before-upgrade.backup --downgrade": "Not without loss."},
	},
	"docs/administration.md": {
		config: "[[topic]]\nname = \"/dead-letters\"\n",
		before: map[string]string{
			"pipit consumer attempts": "pipit topic edit /invoice/paid --retention 1h\n" +
				"pipit consumer edit erp /invoice/paid --delivery-mode callback-url --callback-url http://$ADDR/health/\n" +
				"pipit publish /invoice/paid 'Invoice 18 is paid'\n",
			"pipit consumer test-call": "pipit consumer edit erp /invoice/paid --callback-url http://$ADDR/hook/open\n",
		},
		env: []string{"PIPIT_WEBHOOK_0_NAME=open", "PIPIT_WEBHOOK_0_TOPIC=/customer/created", "PIPIT_WEBHOOK_0_CLIENT=crm", "PIPIT_WEBHOOK_0_VERIFY=none",
			"PIPIT_WEBHOOK_0_ALLOW_FROM=127.0.0.0/8"},
	},
	"docs/delivery.md": {
		config: "[[topic]]\nname = \"/dead-letters\"\n",
		before: map[string]string{"key=": "SECRET=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw id=K1 timestamp=1 body={}\n"},
	},
	"docs/monitoring.md": {traced: true},
	"docs/protocol.md": {
		config: "[[topic]]\nname = \"/news\"\n[[consumer]]\nclient = \"erp\"\ntopic = \"/eu/*/order\"\nsub_key = \"5eCr3t-key-of-orders\"\n",
		env:    []string{"PIPIT_CLIENT_1_CAN_SUBSCRIBE=/news"},
	},
	"docs/webhooks.md": {
		config: "[[webhook]]\nname = \"meters\"\ntopic = \"/customer/created\"\nclient = \"crm\"\nverify = \"hmac\"\nsecret = \"shared\"\nheader = \"X-Signature\"\n" +
			"prefix = \"sha256=\"\nid_header = \"X-Delivery\"\n",
	},
}

// prelude has the commands run as a person would: what asks for yes or a password gets it, the ID of the message that was
// published last stands for that of the page, what curl is answered has to be a success, and a stream ends after a second.
const prelude = `set -e
ID=
curl() {
    local args=() stream= out rc=0
    for a in "$@"; do args+=("${a//K3MevvRG5WKKUWSFbVrUNl6hbVyR/$ID}"); if [ "$a" = -N ]; then stream=1; fi; done
    if [ "$stream" ]; then
        out=$(command curl -sS --max-time 1 "${args[@]}" 2>/dev/null) || [ $? = 28 ]
        case $out in *data:*) ;; *) return 1;; esac
    else
        out=$(command curl -sS --fail-with-body "${args[@]}") || rc=$?
    fi
    printf '%s\n' "$out"
    local id=$(printf '%s\n' "$out" | sed -n 's/^.*"msg_id": "\([^"]*\)".*$/\1/p')
    ID=${id:-$ID}
    return $rc
}
pipit() {
    local args=() out rc=0
    for a in "$@"; do args+=("${a//K3MevvRG5WKKUWSFbVrUNl6hbVyR/$ID}"); done
    case "$* " in
    *--dry-run*) ;;
    *" seek "*) args+=(--yes);;
    esac
    out=$("$PIPIT" "${args[@]}" < password.txt) || rc=$?
    printf '%s\n' "$out"
    case $1 in publish) ID=$out;; esac
    return $rc
}
`

// Every command of the documentation does what it is there for, as it is pasted into bash or zsh, but for notRun, and is
// answered with what the page shows.
func TestDocumentedCommands(t *testing.T) {
	needs(t, "curl", "curl")
	needs(t, "jq", "jq")
	needs(t, "openssl", "openssl")
	used, found := map[string]bool{}, 0
	texts := pages(t)
	for _, page := range slices.Sorted(maps.Keys(texts)) {
		offline, online := commandsOf(page, texts[page], used)
		if found += len(offline) + len(online); !slices.ContainsFunc(slices.Concat(offline, online), func(c command) bool { return called.MatchString(c.line) }) {
			continue
		}
		for _, shell := range [][]string{{needs(t, "bash", "bash"), "--norc"}, {needs(t, "zsh", "zsh"), "-f"}} {
			t.Run(page+"/"+filepath.Base(shell[0]), func(t *testing.T) {
				t.Parallel()
				runPage(t, page, texts[page], shell, offline, online)
			})
		}
	}
	for _, n := range notRun {
		if !used[n.pattern] {
			t.Errorf("nothing is %s any more: %s", n.pattern, n.reason)
		}
	}
	if found < 30 {
		t.Errorf("%d commands were found", found)
	}
}

// command is one of a page, with the answer that the page shows, empty where it shows none.
type command struct{ line, answer string }

// commandsOf are those of a page that are to be run, before its server is started and then.
func commandsOf(page, text string, used map[string]bool) (offline, online []command) {
	text = fenced.ReplaceAllString(text, "")
next:
	for _, m := range pasted.FindAllStringSubmatchIndex(text, -1) {
		c := command{line: text[m[2]:m[3]]}
		if rest := strings.TrimLeft(text[m[1]:], "\n"); strings.HasPrefix(rest, "    {") {
			c.answer, _, _ = strings.Cut(strings.TrimSpace(rest), "\n")
		}
		for _, n := range notRun {
			if regexp.MustCompile(n.pattern).MatchString(c.line) {
				used[n.pattern] = true
				continue next
			}
		}
		if stopped.MatchString(c.line) && !granted[page].online {
			offline = append(offline, c)
		} else {
			online = append(online, c)
		}
	}
	return offline, online
}

func runPage(t *testing.T, page, text string, shell []string, offline, online []command) {
	given := granted[page]
	dir := t.TempDir()
	exampleText, err := os.ReadFile("config.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "config.example.toml")
	files := map[string]string{file: string(exampleText) + given.config, filepath.Join(dir, "password.txt"): "Xk29-a long password\n"}
	if _, rest, ok := strings.Cut(text, "```json\n"); ok && page == "docs/from-zato.md" {
		files[filepath.Join(dir, "zato.json")], _, _ = strings.Cut(rest, "```")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	files[filepath.Join(dir, "pipit")] = fmt.Sprintf("#!/bin/sh\nexport %s=1 GOCOVERDIR=%s\nexec %s \"$@\"\n", asProgram, t.TempDir(), self)
	for name, text := range files {
		if err := os.WriteFile(name, []byte(text), 0o700); err != nil { // #nosec G306 -- one is a program
			t.Fatal(err)
		}
	}
	run := func(script string, env ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), shell[0], append(shell[1:], "-c", prelude+script)...)
		cmd.Dir, cmd.Env = dir, append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "PIPIT=" + filepath.Join(dir, "pipit")}, env...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}

	// Who has a token has an administrator, and a database, before.
	script, token := lines(offline, nil), ""
	if slices.ContainsFunc(offline, func(c command) bool { return c.line == "pipit init" }) {
		file = filepath.Join(dir, "pipit.toml")
	} else if slices.ContainsFunc(online, func(c command) bool { return tokened.MatchString(c.line) }) {
		script = "pipit admin create a-test --database pipit.db --create\n" + script + "pipit token create a-test --scope admin --database pipit.db\n"
	}
	out := ""
	if script != "" {
		out = run(script)
		token = regexp.MustCompile(`pipit_[A-Za-z0-9_-]{20,}`).FindString(out)
	}
	replace := []string{"pipit_…", token}
	for _, printed := range regexp.MustCompile(`(?m)^ +curl -u (\w+):(\w+).*?(?:Key: (\w+).*)?$`).FindAllStringSubmatch(out, -1) {
		replace = append(replace, printed[1]+":PASSWORD", printed[1]+":"+printed[2])
		if printed[3] != "" {
			replace = append(replace, "Key: KEY", "Key: "+printed[3])
		}
	}
	env := slices.Concat(given.env, anyPort)
	collector := tracingtest.New(t, nil)
	if given.traced {
		env = append(env, "PIPIT_TRACING_ENDPOINT="+collector.URL)
	}
	if strings.Contains(script+lines(online, nil), "pipit alerts ") {
		receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		defer receiver.Close()
		env = append(env, "PIPIT_ALERTS_URL="+receiver.URL)
	}
	p := start(t, dir, env, "-config", file)
	replace = append(replace, "https://pipit.example", "http://"+p.addrs[0], "127.0.0.1:11223", p.addrs[0], "localhost:17010", p.addrs[1])
	script = strings.NewReplacer(replace...).Replace(lines(online, given.before))
	out = run(script, "PIPIT_SERVER=http://"+p.addrs[0], "PIPIT_TOKEN="+token, "PIPIT_PASSWORD=erp", "ADDR="+p.addrs[0])
	for i, answer := range strings.Split(out, "\n@@@\n")[1:] {
		compare(t, online[i], answer)
		for begin, want := range given.prints {
			if strings.HasPrefix(online[i].line, begin) && !strings.Contains(answer, want) {
				t.Errorf("%s\nprints %s, which has no %q", online[i].line, answer, want)
			}
		}
	}
	if given.traced {
		p.stop(t, syscall.SIGTERM)
		var names []string
		for _, s := range collector.Spans() {
			names = append(names, s.Name)
		}
		for _, name := range []string{"send /customer/created", "receive /customer/created", "settle /customer/created"} {
			if !slices.Contains(names, name) {
				t.Errorf("there is no span %s among %q", name, names)
			}
		}
	}
}

// lines is a script, which prints a mark in front of what each command prints.
func lines(commands []command, before map[string]string) string {
	var script strings.Builder
	for _, c := range commands {
		for begin, first := range before {
			if strings.HasPrefix(c.line, begin) {
				script.WriteString(first)
			}
		}
		fmt.Fprintf(&script, "printf '\\n@@@\\n'\n%s\n", c.line)
	}
	return script.String()
}

// compare tells where a page shows a key that the answer has not.
func compare(t *testing.T, c command, got string) {
	t.Helper()
	var want, have map[string]any
	if c.answer == "" {
		return
	}
	if err := json.Unmarshal([]byte(c.answer), &want); err != nil {
		t.Fatalf("%s\nshows %s: %v", c.line, c.answer, err)
	}
	if err := json.NewDecoder(strings.NewReader(got)).Decode(&have); err != nil {
		t.Fatalf("%s\n%s: %v", c.line, got, err)
	}
	for _, key := range keysIn("", want) {
		if !slices.Contains(keysIn("", have), key) {
			t.Errorf("%s\nis answered with %s, which has no %s", c.line, got, key)
		}
	}
}

// keysIn are the keys of a JSON value with those in it, in any order.
func keysIn(path string, v any) (keys []string) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			keys = append(append(keys, path+"."+key), keysIn(path+"."+key, value)...)
		}
	case []any:
		for _, value := range v {
			keys = append(keys, keysIn(path, value)...)
		}
	}
	return keys
}
