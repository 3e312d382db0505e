package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pipit/httpapi/serve/servetest"
)

// These tests run the recipes of docs/proxies.md: each proxy, as Debian has it, in front of the program.

var proxyWait = flag.Int("proxy-wait", 2, "seconds that a long poll waits behind each proxy; 60 shows that no time-out cuts it")

// proxyTime bounds the start of a proxy and each request through it. It is much more than is needed.
const proxyTime = 30 * time.Second

// proxyKind is how a proxy is run. In its texts DIR is a folder of its own, PORT its port, USER who it is to
// be where the test is root, and RECIPE what docs/proxies.md says.
type proxyKind struct {
	program string   // and the package of Debian that has it
	lang    string   // of the recipe's block
	args    []string // with the file DIR/config
	config  string
	listen  []string // what the recipe listens on, and what it is here; then more such pairs
}

var (
	nginx = proxyKind{
		program: "nginx", lang: "nginx",
		args: []string{"-p", "DIR", "-e", "DIR/log", "-c", "DIR/config"},
		config: `daemon off; pid DIR/pid; error_log DIR/log; USER
events {}
http {
    access_log off;
    client_body_temp_path DIR/body; proxy_temp_path DIR/proxy;
    fastcgi_temp_path DIR/fastcgi; uwsgi_temp_path DIR/uwsgi; scgi_temp_path DIR/scgi;
RECIPE}
`,
		listen: []string{"listen 443 ssl", "listen 127.0.0.1:PORT ssl"},
	}
	haproxy = proxyKind{
		program: "haproxy", lang: "haproxy",
		args:   []string{"-db", "-f", "DIR/config"},
		config: "RECIPE",
		listen: []string{"bind :443", "bind 127.0.0.1:PORT"},
	}
	caddy = proxyKind{
		program: "caddy", lang: "caddyfile",
		args:   []string{"run", "--config", "DIR/config", "--adapter", "caddyfile"},
		config: "{\n\tadmin off\n\tauto_https off\n\tskip_install_trust\n}\nRECIPE",
		listen: []string{"pipit.example.com {", "https://pipit.example.com:PORT {\n\tbind 127.0.0.1\n\ttls DIR/pipit.crt DIR/pipit.key\n"},
	}
	apache = proxyKind{
		program: "apache2", lang: "apache",
		args: []string{"-d", "DIR", "-f", "DIR/config", "-D", "FOREGROUND"},
		config: `PidFile DIR/pid
ErrorLog DIR/log
DefaultRuntimeDir DIR
Listen 127.0.0.1:PORT
LoadModule mpm_event_module   /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module  /usr/lib/apache2/modules/mod_authz_core.so
LoadModule reqtimeout_module  /usr/lib/apache2/modules/mod_reqtimeout.so
LoadModule headers_module     /usr/lib/apache2/modules/mod_headers.so
LoadModule ssl_module         /usr/lib/apache2/modules/mod_ssl.so
LoadModule proxy_module       /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module  /usr/lib/apache2/modules/mod_proxy_http.so
USER
RECIPE`,
		listen: []string{"*:443", "127.0.0.1:PORT"},
	}
)

// user is the line that says who a proxy is.
func (k proxyKind) user() string {
	if os.Geteuid() != 0 {
		return ""
	}
	return map[string]string{"nginx": "user root;", "apache2": "User www-data\nGroup www-data"}[k.program]
}

// recipe returns the block of a language in a chapter of docs/proxies.md.
func recipe(t *testing.T, chapter, lang string) string {
	t.Helper()
	text, err := os.ReadFile("docs/proxies.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "\n## "+chapter+"\n")
	rest, _, _ = strings.Cut(rest, "\n## ")
	_, rest, ok2 := strings.Cut(rest, "```"+lang+"\n")
	block, _, ok3 := strings.Cut(rest, "```")
	if !ok || !ok2 || !ok3 {
		t.Fatalf("docs/proxies.md has no %s under %q", lang, chapter)
	}
	return block
}

// reservePort is the port of reserveAddr.
func reservePort(t *testing.T) int {
	t.Helper()
	addr, err := netip.ParseAddrPort(reserveAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	return int(addr.Port())
}

// proxyURL is what visitors open: the name of the recipes, which they need no look-up for.
func proxyURL(port int) string { return fmt.Sprint("https://pipit.example.com:", port) }

// visitor speaks to a proxy, from another address than that of the proxy.
type visitor struct {
	*testing.T
	client *http.Client
	base   string
}

// startProxy runs a recipe on a port, in front of a program that listens on addr.
func startProxy(t *testing.T, k proxyKind, chapter string, port int, addr string) *visitor {
	t.Helper()
	program, err := exec.LookPath(k.program)
	if err != nil {
		program, err = exec.LookPath("/usr/sbin/" + k.program) // not in the PATH of everybody
	}
	if err != nil {
		lacking(t, k.program, err)
	}
	dir := t.TempDir()
	der := servetest.Certificate(t, filepath.Join(dir, "pipit.crt"), filepath.Join(dir, "pipit.key"), 1)
	var pair []byte
	for _, file := range []string{"pipit.crt", "pipit.key"} {
		text, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		pair = append(pair, text...)
	}
	servetest.Write(t, filepath.Join(dir, "pipit.pem"), pair, 1)

	text := recipe(t, chapter, k.lang)
	swap := append(slices.Clone(k.listen), "127.0.0.1:11223", addr)
	for i := 0; i < len(swap); i += 2 {
		if !strings.Contains(text, swap[i]) {
			t.Fatalf("%q is not in the recipe:\n%s", swap[i], text)
		}
		text = strings.ReplaceAll(text, swap[i], swap[i+1])
	}
	text = strings.ReplaceAll(text, "/etc/ssl/", "DIR/")
	text = strings.Replace(strings.Replace(k.config, "USER", k.user(), 1), "RECIPE", text, 1)
	own := strings.NewReplacer("DIR", dir, "PORT", strconv.Itoa(port))
	servetest.Write(t, filepath.Join(dir, "config"), []byte(own.Replace(text)), 1)

	var args []string
	for _, a := range k.args {
		args = append(args, own.Replace(a))
	}
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	output, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); cmd.Wait() }()
	v := &visitor{T: t, base: proxyURL(port)}
	t.Cleanup(func() {
		if v.client != nil {
			v.client.CloseIdleConnections()
		}
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(proxyTime):
			cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			for _, file := range []string{"config", "output", "log"} {
				text, _ := os.ReadFile(filepath.Join(dir, file))
				t.Logf("%s:\n%s", file, text)
			}
		}
	})
	front := fmt.Sprint("127.0.0.1:", port)
	for end := time.Now().Add(proxyTime); ; {
		c, err := net.Dial("tcp", front)
		if err == nil {
			c.Close()
			break
		}
		select {
		case <-ended:
			t.Fatalf("%s ended", k.program)
		case <-time.After(20 * time.Millisecond): // lint:sleep: another program does not tell when it listens
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}

	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, network, front)
	}
	v.client = &http.Client{
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DialContext: dial, ForceAttemptHTTP2: true},
		Timeout:   proxyTime + time.Duration(*proxyWait)*time.Second,
		Jar:       jar,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
	return v
}

// open makes a request. who is "username:password", or empty.
func (v *visitor) open(method, path, who, body string, header ...string) *http.Response {
	v.Helper()
	req, err := http.NewRequest(method, v.base+path, strings.NewReader(body))
	if err != nil {
		v.Fatal(err)
	}
	if username, password, ok := strings.Cut(who, ":"); ok {
		req.SetBasicAuth(username, password)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := v.client.Do(req)
	if err != nil {
		v.Fatal(err)
	}
	return resp
}

// ask makes a request and returns the status, where it leads to, and the body.
func (v *visitor) ask(method, path, who, body string, header ...string) string {
	v.Helper()
	resp := v.open(method, path, who, body, header...)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		v.Fatal(err)
	}
	return resp.Status[:4] + resp.Header.Get("Location") + string(text)
}

// wants checks what ask returned.
func (v *visitor) wants(got, pattern string) {
	v.Helper()
	if !regexp.MustCompile("(?s)" + pattern).MatchString(got) {
		v.Errorf("no %s in %.3000s", pattern, got)
	}
}

// event opens a stream and reads its first event, while the stream goes on. publish is called when it has begun.
func (v *visitor) event(path, who string, publish func(), header ...string) string {
	v.Helper()
	resp := v.open("GET", path, who, "", append(header, "Accept", "text/event-stream")...)
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		v.Fatal(path, resp.Status)
	}
	publish()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			return data
		}
	}
	v.Fatal(path, "no event")
	return ""
}

// signIn signs in with the key of the set-up link, out, and in again with the password.
func (v *visitor) signIn(prefix, link string) {
	v.Helper()
	form := func(path string, values url.Values) string {
		return v.ask("POST", prefix+path, "", values.Encode(), "Content-Type", "application/x-www-form-urlencoded", "Origin", v.base, "X-Forwarded-For", "203.0.113.9")
	}
	_, key, _ := strings.Cut(link, "?key=")
	v.wants(v.ask("GET", prefix+"/admin/setup?key="+key, "", ""), `^200 .*action="`+prefix+`/admin/setup"`)
	password := "correct horse"
	v.wants(form("/admin/setup", url.Values{"key": {key}, "name": {"ann"}, "password": {password}}), "^303 "+prefix+"/admin/")
	v.wants(form("/admin/logout", nil), "^303 "+prefix+"/admin/login")
	v.wants(v.ask("GET", prefix+"/admin/system", "", "", "Accept", "text/html"), "^303 "+prefix+"/admin/login")
	v.wants(form("/admin/login", url.Values{"name": {"ann"}, "password": {password}}), "^303 "+prefix+"/admin/")
	resp := v.open("GET", prefix+"/admin/", "", "")
	resp.Body.Close()
	if h := resp.Header.Get("Strict-Transport-Security"); h == "" {
		v.Error("through TLS, but next time perhaps in the clear:", resp.Header)
	}
	at, _ := url.Parse(v.base + "/")
	if c := v.client.Jar.Cookies(at); len(c) != 1 || c[0].Name != "__Host-pipit_session" {
		v.Error("the cookie of a session through TLS:", c)
	}
	v.wants(v.ask("GET", prefix+"/admin/system/access", "", "", "Accept", "text/html"), `^200 .*<td[^>]*>127\.0\.0\.2<`)
	v.wants(v.ask("GET", prefix+"/admin/topics/%2Fcustomer%2Fcreated", "", "", "Accept", "text/html"), regexp.QuoteMeta(v.base+"/zato/pubsub/topic//customer/created/"))
}

// names does to topics, by the admin's API and with a token, what has their names in the query instead of in the path, then
// publishes and receives by paths whose slashes were merged, as those of a topic that has the slash.
func (v *visitor) names(signIn func()) {
	v.Helper()
	const api, typeJSON = "/admin/api/v1", "application/json"
	signIn()
	made := v.ask("POST", api+"/tokens", "", `{"name": "names", "scope": "write"}`, "Content-Type", typeJSON, "Origin", v.base)
	token := regexp.MustCompile(`"token": ?"(pipit_[^"]+)"`).FindStringSubmatch(made)
	if token == nil {
		v.Fatal(made)
	}
	call := func(method, path, body string) string {
		v.Helper()
		return v.ask(method, api+path, "", body, "Content-Type", typeJSON, "Authorization", "Bearer "+token[1])
	}
	v.wants(call("POST", "/topics", `{"name": "/t"}`), "^201 ")
	for i, at := range []string{"/topics/-?name=/t", "/topics/-?name=%2Ft"} {
		v.wants(call("PATCH", at, fmt.Sprintf(`{"max_depth": %d}`, 70+i)), "^200 ")
		v.wants(call("GET", at, ""), fmt.Sprintf(`^200 .*"name": ?"/t".*"max_depth": ?%d`, 70+i))
	}
	v.wants(call("POST", "/producers", `{"client": "crm", "topic": "/t"}`), "^201 ")
	v.wants(call("POST", "/consumers", `{"client": "erp", "topic": "/t", "sub_key": "a-key-of-the-consumer-of-t"}`), "^201 ")
	v.wants(call("GET", "/topics/-?name=/t", ""), "^200 ")

	v.wants(v.ask("POST", "/zato/pubsub/topic/t/", "crm:crm", "merged"), published.String())
	v.wants(v.ask("POST", "/zato/pubsub/msg/t/?ack=true", "erp:erp", "", "X-Zato-PubSub-Key", "a-key-of-the-consumer-of-t"), `^200 .*"results_count": 1.*merged.*"topic": "/t"`)

	v.wants(call("DELETE", "/topics/-?name=/t", ""), "^200 ")
	v.wants(call("GET", "/topics/-?name=/t", ""), "^404 ")
}

func TestProxies(t *testing.T) {
	if testing.Short() {
		t.Skip("short: the tests of proxies run without -short")
	}
	for chapter, k := range map[string]proxyKind{"nginx": nginx, "HAProxy": haproxy, "Caddy": caddy, "Apache": apache} {
		t.Run(chapter, func(t *testing.T) {
			t.Parallel()
			port := reservePort(t)
			p := start(t, t.TempDir(), append([]string{"PIPIT_HTTP_TRUSTED_PROXIES=127.0.0.1", "PIPIT_HTTP_PUBLIC_URL=" + proxyURL(port), "PIPIT_LOG_ACCESS=true"}, anyPort...), "-config", example(t))
			link := p.line(t, `There is no administrator yet: .* (https://\S+)$`)[1]
			v := startProxy(t, k, chapter, port, p.addrs[0])
			const topic, queue, key = "/zato/pubsub/topic//customer/created/", "/zato/pubsub/msg//customer/created/", "X-Zato-PubSub-Key"
			settle := func(m string) {
				t.Helper()
				id := regexp.MustCompile(`"msg_id": "([0-9A-Za-z]{28})"`).FindStringSubmatch(m)
				if id == nil {
					t.Fatal(m)
				}
				v.wants(v.ask("DELETE", "/zato/pubsub/msg/"+id[1]+"/?ack=true", "erp:erp", "", key, exampleSubKey), "^200 ")
			}
			for _, path := range []string{topic, "/zato/pubsub/topic/%2Fcustomer%2Fcreated/", "/zato/pubsub/topic//customer%2Fcreated"} {
				v.wants(v.ask("POST", path, "crm:crm", "Hello pub/sub!"), published.String())
				m := v.ask("POST", strings.Replace(path, "/topic/", "/msg/", 1), "erp:erp", "", key, exampleSubKey)
				v.wants(m, `^200 .*"results_count": 1.*Hello pub/sub!`)
				settle(m)
			}
			v.wants(v.ask("POST", queue+fmt.Sprintf("?wait=%d", *proxyWait), "erp:erp", "", key, exampleSubKey), `^200 .*"results_count": 0`)
			publish := func() { v.ask("POST", topic, "crm:crm", "an event") }
			settle(v.event(queue, "erp:erp", publish, key, exampleSubKey))
			p.line(t, `"request".*"method":"GET","path":"/zato/pubsub/msg//customer/created/"`) // that stream has ended here, too: it takes nothing any more
			settle(v.event("/events", "", publish))
			v.wants(v.ask("POST", topic, "crm:crm", strings.Repeat("x", 1<<20)), "^200 ")
			v.wants(v.ask("POST", topic, "crm:crm", strings.Repeat("x", 1<<20+1)), "^413 .*ZATO_ERROR")
			v.wants(v.ask("POST", topic, "crm:wrong", "x"), "^401 .*ZATO_ERROR")
			v.wants(v.ask("POST", topic, "crm:crm", "x", "Origin", v.base, "Sec-Fetch-Site", "same-site"), "^200 ") // of another port
			v.wants(v.ask("POST", topic, "crm:crm", "x", "Origin", "https://www.example.com", "Sec-Fetch-Site", "same-site"), "^403 .*cors_origins")
			v.names(func() { v.signIn("", link) })
			_, log := p.stop(t, syscall.SIGTERM)
			if !strings.Contains(log, `"remote":"127.0.0.2"`) || strings.Contains(log, "203.0.113.9") {
				t.Error("not the address of the client in the log:", log)
			}
			if strings.Count(log, "merges slashes") != 1 {
				t.Error("not one warning about merged slashes in the log:", log)
			}
		})
	}
}

// A proxy that decodes paths and merges slashes itself, as nginx does with a slash behind the port.
func TestProxyThatMerges(t *testing.T) {
	if testing.Short() {
		t.Skip("short: the tests of proxies run without -short")
	}
	p := start(t, t.TempDir(), append([]string{"PIPIT_HTTP_TRUSTED_PROXIES=127.0.0.1", "PIPIT_HTTP_HOSTS=pipit.example.com"}, anyPort...), "-config", example(t))
	link := p.line(t, `There is no administrator yet: .* (http://\S+)$`)[1]
	k := nginx
	k.listen = append(slices.Clone(k.listen), "merge_slashes off;", "merge_slashes on;", "127.0.0.1:11223;", "127.0.0.1:11223/;")
	v := startProxy(t, k, "nginx", reservePort(t), p.addrs[0])
	for _, path := range []string{"//customer/created/", "/%2Fcustomer%2Fcreated/"} {
		v.wants(v.ask("POST", "/zato/pubsub/topic"+path, "crm:crm", "merged on its way"), published.String())
		v.wants(v.ask("POST", "/zato/pubsub/msg"+path+"?ack=true", "erp:erp", "", "X-Zato-PubSub-Key", exampleSubKey), `^200 .*"results_count": 1.*merged on its way`)
	}
	v.names(func() {
		_, key, _ := strings.Cut(link, "?key=")
		v.wants(v.ask("POST", "/admin/setup", "", url.Values{"key": {key}, "name": {"ann"}, "password": {"correct horse"}}.Encode(),
			"Content-Type", "application/x-www-form-urlencoded", "Origin", v.base), "^303 ")
	})
	if _, log := p.stop(t, syscall.SIGTERM); strings.Count(log, "merges slashes") != 1 {
		t.Error("not one warning about merged slashes in the log:", log)
	}
}

// The pages below a path of another site, through a proxy that changes Host.
func TestProxyWithPrefix(t *testing.T) {
	if testing.Short() {
		t.Skip("short: the tests of proxies run without -short")
	}
	port := reservePort(t)
	p := start(t, t.TempDir(), append([]string{"PIPIT_HTTP_TRUSTED_PROXIES=127.0.0.1", "PIPIT_ADMIN_PATH_PREFIX=/pipit",
		"PIPIT_ADMIN_ORIGIN=" + proxyURL(port)}, anyPort...), "-config", example(t))
	link := p.line(t, `There is no administrator yet: .* (https://\S+)$`)[1]
	v := startProxy(t, nginx, "Admin below a path of another site", port, p.addrs[0])
	if !strings.HasPrefix(link, v.base+"/pipit/admin/setup?key=") {
		t.Error(link)
	}
	v.signIn("/pipit", link)
}
