package alert

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"

	"pipit/admin/gate"
	"pipit/broker/clip"
	"pipit/httpapi/callback"
)

// Server is a mail server, and as whom it is used.
type Server struct {
	Host string
	Port int
	User string // empty: nobody signs in
	TLS  bool   // from the first byte on; else by STARTTLS
}

// Ports where the URL has none: for messages of users, by STARTTLS and by TLS.
const (
	submission  = 587
	submissions = 465
)

// ParseServer reads such as smtp://pipit@mail.example.com:587, or smtps://.
func ParseServer(s string) (Server, error) {
	u, err := url.Parse(s)
	wrong := errors.New(`allowed is such as "smtp://pipit@mail.example.com:587", or smtps://, without the password`)
	if err != nil || u.Scheme != "smtp" && u.Scheme != "smtps" || u.Hostname() == "" || u.Opaque != "" || u.Path != "" && u.Path != "/" || strings.ContainsAny(s, "?#") {
		return Server{}, wrong
	}
	if _, has := u.User.Password(); has {
		return Server{}, wrong
	}
	server := Server{Host: u.Hostname(), Port: submission, User: u.User.Username(), TLS: u.Scheme == "smtps"}
	if server.TLS {
		server.Port = submissions
	}
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return Server{}, wrong
		}
		server.Port = int(n)
	}
	return server, nil
}

// own tells whether the server is this machine.
func (s *Server) own() bool {
	ip, err := netip.ParseAddr(s.Host)
	return s.Host == "localhost" || err == nil && ip.IsLoopback()
}

// mailer sends messages by mail.
type mailer struct {
	Server
	from, password string
	to             []string
	name           string // of this server, for the subject
	agent          string
	config         *tls.Config
	dial           func(ctx context.Context, network, addr string) (net.Conn, error)
}

func newMailer(o *Options, origin string) (*mailer, error) {
	if o.SMTP == "" {
		return nil, nil
	}
	server, err := ParseServer(o.SMTP)
	if err != nil {
		return nil, err
	}
	roots, err := (&callback.Options{CA: o.CA}).Roots()
	if err != nil {
		return nil, err
	}
	m := &mailer{Server: server, from: o.From, password: o.Password, to: o.To, agent: o.UserAgent, dial: o.Dial}
	if u, err := url.Parse(origin); err == nil {
		m.name = u.Hostname()
	}
	if _, err := netip.ParseAddr(m.name); err == nil || gate.IsLocalhost(m.name) { // which tells nobody whose alert it is
		if host, err := os.Hostname(); err == nil {
			m.name = host
		}
	}
	m.config = &tls.Config{ServerName: server.Host, RootCAs: roots, MinVersion: tls.VersionTLS12,
		InsecureSkipVerify: server.own() && !server.TLS} // #nosec G402 -- nobody is between this machine and itself, where few servers have a certificate of the name
	if m.dial == nil {
		m.dial = callback.Dialer().DialContext
	}
	return m, nil
}

func (m *mailer) target() string { return strings.Join(m.to, ", ") }
func (m *mailer) id() string     { return digest(append([]string{m.Host}, m.to...)...) }

// connect connects to the server, with TLS where it begins with that.
func (m *mailer) connect(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := m.dial(ctx, network, addr)
	if err != nil || !m.TLS {
		return c, err
	}
	secure := tls.Client(c, m.config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return secure, nil
}

// client makes what speaks to the server, through what dial connects.
func (m *mailer) client(dial mail.DialContextFunc) (*mail.Client, error) {
	policy := mail.TLSMandatory
	if m.TLS || m.own() { // what connect has done already is not done again
		policy = mail.TLSOpportunistic
	}
	opts := []mail.Option{mail.WithPort(m.Port), mail.WithTimeout(sendTime), mail.WithDialContextFunc(dial), mail.WithTLSConfig(m.config), mail.WithTLSPolicy(policy)}
	switch {
	case m.User == "":
	case m.own():
		opts = append(opts, mail.WithSMTPAuthCustom(smtp.PlainAuth("", m.User, m.password, m.Host, true)))
	default:
		opts = append(opts, mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover), mail.WithUsername(m.User), mail.WithPassword(m.password))
	}
	return mail.NewClient(m.Host, opts...)
}

func (m *mailer) send(ctx context.Context, what *message) (done outcome) {
	start := time.Now()
	defer func() { done.took = time.Since(start) }()
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	client, err := m.client(func(dialing context.Context, network, addr string) (net.Conn, error) {
		c, err := m.connect(dialing, network, addr)
		if err == nil {
			context.AfterFunc(ctx, func() { _ = c.Close() }) // which the client leaves open where it gives up
		}
		return c, err
	})
	msg := mail.NewMsg()
	if err == nil {
		err = errors.Join(msg.From(m.from), msg.To(m.to...))
	}
	if err != nil {
		return outcome{err: reason(err)}
	}
	msg.Subject(what.subject(m.name))
	msg.SetDate()
	msg.SetMessageID()
	msg.SetUserAgent(m.agent)
	msg.SetBulk()
	msg.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: nobody's absence is to be answered with
	msg.SetBodyString(mail.TypeTextPlain, what.text())
	if err := client.DialAndSendWithContext(ctx, msg); err != nil && !msg.IsDelivered() { // else only the goodbye failed
		return outcome{err: reason(err)}
	}
	return outcome{answer: said(msg.ServerResponse())}
}

// reason is why no mail was sent, in one line.
func reason(err error) string {
	return clip.To(strings.ToValidUTF8(strings.Join(strings.Fields(err.Error()), " "), "\uFFFD"), 300)
}

// Bounds of a mail.
const (
	maxLines   = 50 // of each part
	maxSubject = 150
)

// subject is such as: [FIRING:2] Pipit mq.example.com: Topic /a is 85 % full, and 1 more.
func (m *message) subject(name string) string {
	s := fmt.Sprintf("[%s] Pipit %s: ", strings.ToUpper(m.status()), name)
	if n := m.firing(); n > 0 {
		s = fmt.Sprintf("[FIRING:%d] Pipit %s: ", n, name)
	}
	for _, list := range [][]alert{m.begun, m.over, m.still} {
		if len(list) == 0 {
			continue
		}
		s += list[0].Summary
		if n := len(list) - 1; n > 0 {
			s += fmt.Sprintf(", and %d more", n)
		}
		break
	}
	return clip.To(s, maxSubject)
}

// text is the body of a mail.
func (m *message) text() string {
	var b strings.Builder
	write := func(title string, list []alert, beyond int) {
		if len(list)+beyond == 0 {
			return
		}
		fmt.Fprintf(&b, "%s\n\n", title)
		for i := range list[:min(len(list), maxLines)] {
			a := &list[i]
			fmt.Fprintf(&b, "- %s (%s, %s, since %s", clip.To(a.Summary, maxSummary), a.labels["alertname"], a.labels["severity"], moment(a.Begun))
			if !a.gone.IsZero() {
				fmt.Fprintf(&b, ", until %s", moment(a.gone))
			}
			fmt.Fprintf(&b, ")\n  %s%s\n", m.origin, a.Link)
		}
		if more := max(0, len(list)-maxLines) + beyond; more > 0 {
			fmt.Fprintf(&b, "- and %d more\n", more)
		}
		b.WriteString("\n")
	}
	write("Needs attention:", m.begun, 0)
	write("Over:", m.over, 0)
	write("Goes on:", m.still, m.beyond)
	fmt.Fprintf(&b, "All of it: %s%s\n", m.origin+m.prefix, alertsPath)
	return b.String()
}

func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }
