package httpapi_test

import (
	"strings"
	"testing"

	"pipit/httpapi/forwarded"
)

// TestOtherSites: what a page of another site has a browser send is refused and does nothing.
func TestOtherSites(t *testing.T) {
	proxies, err := forwarded.Parse([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	const public, evil = "https://mq.example.com", "https://evil.example.com"
	r := newServer(t, allowed(app), func(s *setup) { s.api.Proxies, s.api.Origin = proxies, public })
	for _, c := range []struct {
		name    string
		headers string // Sec-Fetch-Site, Origin, X-Forwarded-Proto; HOST stands for that of the server
		refused string // the header that the error names
	}{
		{"no browser", "||", ""},
		{"typed", "none||", ""},
		{"own page", "same-origin|http://HOST|", ""},
		{"own page, Host changed by a proxy", "same-origin|https://www.example.com|", ""},
		{"own page without fetch metadata", "|http://HOST|", ""},
		{"own page behind a TLS proxy", "|https://HOST|https", ""},
		{"page of the public URL", "|" + public + "|", ""},
		{"page of the public URL from a sibling", "same-site|" + public + "|", ""},
		{"allowed", "|" + app + "|", ""},
		{"allowed, of another site", "cross-site|" + app + "|", ""},
		{"link of a sibling", "same-site||", ""},
		{"another site", "cross-site|" + evil + "|", "Sec-Fetch-Site"},
		{"another site, origin not told", "cross-site||", "Sec-Fetch-Site"},
		{"own origin after a redirect through another site", "cross-site|http://HOST|", "Sec-Fetch-Site"},
		{"another origin", "|" + evil + "|", "Origin"},
		{"hidden origin", "|null|", "Origin"},
		{"sibling", "same-site|https://www.example.com|", "Origin"},
		{"other port", "|http://127.0.0.1:1|", "Origin"},
		{"other scheme", "|https://HOST|", "Origin"},
		{"other scheme behind a TLS proxy", "|http://HOST|https", "Origin"},
		{"fetch metadata of tomorrow", "some-site|" + evil + "|", "Origin"},
	} {
		var header []string
		for i, v := range strings.Split(strings.ReplaceAll(c.headers, "HOST", r.addr), "|") {
			if v != "" {
				header = append(header, []string{"Sec-Fetch-Site", "Origin", "X-Forwarded-Proto"}[i], v)
			}
		}
		status := 200
		if c.refused != "" {
			status = 403
		}
		a := r.do("POST", created, crm, "x", header...)
		if a.status != status || c.refused != "" && !strings.Contains(a.body, "header "+c.refused+" ") {
			t.Errorf("%s: %d %s", c.name, a.status, a.body)
		}
		if a := r.do("GET", "/zato/ping", "", "", header...); a.status != status {
			t.Errorf("%s: GET %d %s", c.name, a.status, a.body)
		}
		got := r.parsed(r.do("POST", queue+"?ack=true", erp, "", "X-Zato-PubSub-Key", key))
		if (got.Count == 1) != (c.refused == "") {
			t.Errorf("%s: %d messages", c.name, got.Count)
		}
	}
	a := r.do("POST", created+"?format=xml", crm, "x", "Sec-Fetch-Site", "cross-site")
	if a.status != 403 {
		t.Errorf("%d %s", a.status, a.body)
	}
	// A preflight asks and does nothing.
	if a := r.do("OPTIONS", created, "", "", "Origin", evil, "Sec-Fetch-Site", "cross-site", "Access-Control-Request-Method", "POST"); a.status != 405 {
		t.Errorf("%d %s", a.status, a.body)
	}

	r = newServer(t, allowed("*"))
	r.publish(created, "x", "Origin", evil, "Sec-Fetch-Site", "cross-site")
	r.publish(created, "x", "Sec-Fetch-Site", "cross-site")

	r = newServer(t, func(s *setup) { s.secure = true })
	r.publish(created, "x", "Origin", r.base)
	if a := r.do("POST", created, crm, "x", "Origin", "http://"+r.addr); a.status != 403 {
		t.Errorf("a page that came in the clear: %d", a.status)
	}
}

// TestDefaultPort: a host may come with the port that its origin leaves out.
func TestDefaultPort(t *testing.T) {
	r := newServer(t)
	for request, status := range map[string]int{
		"Host: MQ.example.com:80\r\nOrigin: http://mq.example.com":   200,
		"Host: mq.example.com\r\nOrigin: http://mq.example.com":      200,
		"Host: mq.example.com:443\r\nOrigin: http://mq.example.com":  403,
		"Host: mq.example.com\r\nOrigin: http://mq.example.com.evil": 403,
		"Host: evil\r\nOrigin: http://evil:80":                       403, // which no browser writes
	} {
		if a := r.raw("GET /zato/ping HTTP/1.1\r\n" + request + "\r\n\r\n"); a.status != status {
			t.Errorf("%q: %d %s", request, a.status, a.body)
		}
	}
}
