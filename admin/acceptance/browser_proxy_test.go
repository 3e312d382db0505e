package acceptance

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/security"
	"github.com/chromedp/chromedp"

	"pipit/admin"
)

// Behind a proxy that has the pages below a path of another site and changes Host: whatever a page or a
// script asks for has that path, as there is nothing else.
func TestBrowserBehindAProxy(t *testing.T) {
	browses(t)
	const prefix = "/pipit"
	target := &url.URL{}
	mux := http.NewServeMux()
	mux.Handle(prefix+"/admin/", &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }})
	front := httptest.NewServer(mux)
	t.Cleanup(front.Close)
	s := newSite(t, true, func(o *admin.Options) { o.Origin, o.PathPrefix = front.URL, prefix })
	*target = url.URL{Scheme: "http", Host: s.url[len("http://"):]}
	consumer := s.example()
	s.url = front.URL

	tab := s.profile()
	tab.ok(prefix + "/admin/topics?search=ord") // leads to the sign-in
	tab.fill("#login", "name", adaName, "password", adaPassword)
	tab.save("#login")
	tab.at(prefix + "/admin/topics?search=ord")
	tab.follow("#main tbody th a")
	tab.at(prefix + "/admin/topics/%2Forders")
	tab.follow("#publish")
	tab.fill("#publish", "payload", "Hello")
	tab.save("#publish")
	tab.sees("Published as")
	tab.follow("#nav-consumers")
	tab.follow("#main tbody th a")
	tab.at(prefix + consumerPage(consumer))
	tab.sees(front.URL + "/zato/pubsub/msg//orders/")

	tab.follow("#nav-overview")
	tab.until(`document.querySelector("#live").textContent === "Live"`)
	tab.until(`document.querySelector('[data-tile="backlog"]').textContent === "1"`)
	tab.until(`[...document.querySelectorAll(".chart .plot")].every(p => p.querySelector("canvas"))`)
	tab.follow("#sign-out")
	tab.at(prefix + "/admin/login")
}

// Behind a TLS proxy that is not trusted and changes Host, the public URL says that browsers come through TLS: one
// that has signed in keeps the session's cookie from the clear, and from scripts and other sites.
func TestBrowserBehindATLSProxy(t *testing.T) {
	browses(t)
	target := &url.URL{}
	front := httptest.NewTLSServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }})
	t.Cleanup(front.Close)
	s := newSite(t, true, func(o *admin.Options) { o.PublicURL = front.URL })
	*target = url.URL{Scheme: "http", Host: s.url[len("http://"):]}
	s.url = front.URL

	tab := s.profile()
	tab.do(call(security.SetIgnoreCertificateErrors, security.SetIgnoreCertificateErrorsParams{Ignore: true}))
	tab.ok("/admin/login")
	tab.fill("#login", "name", adaName, "password", adaPassword)
	tab.save("#login")
	tab.at("/admin/")
	tab.do(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		got, err := cdp.Call(ctx, target, network.GetCookies, network.GetCookiesParams{})
		if err != nil {
			return err
		}
		if len(got.Cookies) != 1 {
			t.Fatalf("%d cookies", len(got.Cookies))
		}
		if c := got.Cookies[0]; c.Name != "__Host-pipit_session" || !c.Secure || !c.HTTPOnly || c.SameSite != network.CookieSameSiteStrict || c.Path != "/" {
			t.Errorf("%+v", c)
		}
		return nil
	}))
}
