package alert

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"pipit/broker/clip"
	"pipit/httpapi/callback"
)

// maxURL bounds Options.URL, in bytes.
const maxURL = 2048

// CheckURL returns what is wrong with Options.URL, without showing it.
func CheckURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || len(s) > maxURL || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Opaque != "" || u.Fragment != "" {
		return errors.New("allowed is a URL of http or https, at most 2048 bytes")
	}
	return nil
}

// poster posts messages to a URL.
type poster struct {
	url    string
	shown  string
	agent  string
	client *http.Client
}

func newPoster(o *Options) (*poster, error) {
	if o.URL == "" {
		return nil, nil
	}
	if err := CheckURL(o.URL); err != nil {
		return nil, err
	}
	u, _ := url.Parse(o.URL)
	client, err := (&callback.Options{Proxy: o.Proxy, CA: o.CA}).Client()
	if err != nil {
		return nil, err
	}
	if o.Dial != nil {
		client.Transport.(*http.Transport).DialContext = o.Dial
	}
	return &poster{o.URL, u.Scheme + "://" + u.Host, o.UserAgent, client}, nil
}

func (p *poster) target() string { return p.shown }
func (p *poster) id() string     { return digest(p.url) }

// digest is of what nothing is to be read.
func digest(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:8])
}

func (p *poster) send(ctx context.Context, m *message) outcome {
	h := http.Header{"Content-Type": {"application/json"}, "User-Agent": {p.agent}}
	a := callback.Post(ctx, p.client, p.url, sendTime, h, m.post())
	return outcome{a.Status, said(string(a.Answer)), a.Error, a.Duration}
}

// said is what a receiver answers, as a text that is bounded.
func said(s string) string {
	return clip.To(strings.ToValidUTF8(strings.TrimSpace(s), "\uFFFD"), 1<<10)
}
