package config

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"pipit/broker/store"
	"pipit/httpapi/callback"
)

// lookupTimeout is how long a check waits for the addresses of a name.
const lookupTimeout = 5 * time.Second

// Machine answers what only the machine that a start would run on can tell. Nothing is made or changed.
type Machine struct {
	// Certificate returns why the certificate of a file and its key, which can be read, are of no use.
	Certificate func(certFile, keyFile string) error

	// Bind returns why an address cannot be listened on, and whether that is because the machine lacks its
	// family. One that is in use is syscall.EADDRINUSE.
	Bind func(netip.AddrPort) (lacking bool, err error)

	// Inspect returns what a database file holds, nil where it is still to be made. Where another process has it
	// the error is store.ErrInUse.
	Inspect func(file string) (*store.Image, error)
}

// Rehearse is Load that tells all that a start would be refused for, without a start. What cannot be told now is a
// hint, which comes with an error, too.
func Rehearse(ctx context.Context, file string, env []string, m Machine) (c *Config, hints []string, err error) {
	c, b, err := load(file, env)
	if err != nil {
		return nil, nil, err
	}
	r := rehearsal{binder: b, c: c, machine: m}
	r.certificate()
	if err := callback.CheckCA(r.c.Callbacks.CA); err != nil {
		r.errorf("callbacks.ca", "%v", err)
	}
	r.listeners(ctx)
	r.database()
	return c, r.hints, b.err()
}

// rehearsal finds what is wrong between a configuration and this machine.
type rehearsal struct {
	*binder
	c       *Config
	machine Machine
	hints   []string
}

func (r *rehearsal) hint(path, format string, args ...any) {
	_, where := r.place(path)
	r.hints = append(r.hints, where+": "+fmt.Sprintf(format, args...))
}

func (r *rehearsal) certificate() {
	cert, key := r.c.HTTP.TLSCert, r.c.HTTP.TLSKey
	if cert == "" || key == "" {
		return
	}
	readable := true
	for _, f := range []struct{ path, name string }{{"http.tls_cert", cert}, {"http.tls_key", key}} {
		if _, err := os.ReadFile(f.name); err != nil {
			r.errorf(f.path, "%q: %v", f.name, err)
			readable = false
		}
	}
	if !readable {
		return
	}
	if err := r.machine.Certificate(cert, key); err != nil {
		r.notef("http.tls_cert", "%v", err)
	}
}

// listeners tries the addresses to listen on. Now names are looked up: they may collide after all.
func (r *rehearsal) listeners(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	type place struct {
		address
		ips  []netip.Addr
		port uint16
	}
	var places []place
	for _, a := range r.c.listens() {
		if r.faulty[a.path] || r.faulty[parent(a.path)] {
			continue
		}
		host, text, _ := net.SplitHostPort(a.text)
		port, _ := strconv.ParseUint(text, 10, 16)
		p := place{a, hosts(host), uint16(port)}
		if p.ips == nil || strings.EqualFold(host, "localhost") {
			var err error
			if p.ips, err = net.DefaultResolver.LookupNetIP(ctx, "ip", host); err != nil {
				r.errorf(a.path, "%q: %v", a.text, err)
				continue
			}
			for i, ip := range p.ips {
				p.ips[i] = ip.Unmap()
			}
		}
		for _, before := range places {
			if p.port != 0 && p.port == before.port && meet(p.ips, before.ips) {
				r.besides(a, before.address)
			}
		}
		places = append(places, p)
		r.bind(a, p.ips, p.port)
	}
}

// bind tries an address. Where the machine lacks one family of those that it stands for, the start goes
// on without it.
func (r *rehearsal) bind(a address, ips []netip.Addr, port uint16) {
	var lacking error
	done := 0
	for _, ip := range ips {
		noFamily, err := r.machine.Bind(netip.AddrPortFrom(ip, port))
		switch {
		case err == nil:
			done++
		case errors.Is(err, syscall.EADDRINUSE):
			r.hint(a.path, "%s = %q is in use, as it is while the broker runs", r.key(a.path), a.text)
			return
		case noFamily && (len(ips) > 1 || ip == netip.IPv6Loopback()):
			lacking = err
		default:
			r.errorf(a.path, "%q: %v", a.text, err)
			return
		}
	}
	if done == 0 && lacking != nil {
		r.hint(a.path, "%s = %q: this machine lacks it (%v), so the start goes on without it if there is another", r.key(a.path), a.text, lacking)
	}
}

func (r *rehearsal) database() {
	file := r.c.Database.File
	if r.faulty["database.file"] {
		return
	}
	img, err := r.machine.Inspect(file)
	switch {
	case errors.Is(err, store.ErrInUse): // by the broker that is to be restarted, most likely
		r.references(nil, fmt.Sprintf("database %s, which is in use and was not looked at", file))
		return
	case err != nil:
		r.notef("database.file", "%v", err)
		r.references(nil, fmt.Sprintf("database %s, which cannot be looked at", file))
		return
	case img == nil:
		img = &store.Image{}
		r.references(img, fmt.Sprintf("database %s, which is still to be made", file))
	default:
		r.references(img, "database "+file)
	}
	if len(r.faults) == 0 { // else it may be one of these
		r.valid("", r.c.Definition().Rehearse(img))
	}
}

// references notes the clients and topics that producers, consumers and webhooks name and nobody declares:
// neither the configuration nor the database, whose content is nil where it is not known.
func (r *rehearsal) references(img *store.Image, where string) {
	known := map[reference]bool{}
	for i, v := range r.c.Client {
		known[reference{"client", v.Username}] = true
		r.unsure(known, "client", fmt.Sprintf("client[%d].username", i))
	}
	for i, v := range r.c.Topic {
		known[reference{"topic", v.Name}] = true
		r.unsure(known, "topic", fmt.Sprintf("topic[%d].name", i))
	}
	if img != nil {
		for i := range img.Objects {
			known[reference{string(img.Objects[i].Kind), img.Objects[i].Key}] = true
		}
	}
	refer := func(path, kind, name string) {
		path = joinKey(path, kind)
		switch {
		case known[reference{kind, name}] || known[reference{kind, ""}] || r.faulty[path]:
		case img != nil:
			r.errorf(path, "%q: no such %s, here or in the %s", name, kind, where)
		default:
			r.hint(path, "%s = %q: no such %s here, so it has to be in the %s", r.key(path), name, kind, where)
		}
	}
	for i, v := range r.c.Producer {
		path := fmt.Sprintf("producer[%d]", i)
		refer(path, "client", v.Client)
		refer(path, "topic", v.Topic)
	}
	for i, v := range r.c.Webhook {
		path := fmt.Sprintf("webhook[%d]", i)
		refer(path, "client", v.Client)
		refer(path, "topic", v.Topic)
	}
	for i, v := range r.c.Consumer {
		path := fmt.Sprintf("consumer[%d]", i)
		refer(path, "client", v.Client)
		refer(path, "topic", v.Topic)
	}
}

// reference is a client or topic by its name. One with an empty name stands for any.
type reference struct{ kind, name string }

// unsure makes any name of a kind known where one that is declared is at fault: it may be that.
func (r *rehearsal) unsure(known map[reference]bool, kind, path string) {
	if r.faulty[path] || r.faulty[kind] {
		known[reference{kind, ""}] = true
	}
}
