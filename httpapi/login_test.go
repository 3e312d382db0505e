package httpapi_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"pipit/broker"
	"pipit/broker/login"
	"pipit/httpapi/forwarded"
)

// Other hashes, of the costs that are allowed.
const (
	erpHash10 = "$2a$10$N7upEGPzocfGmT4H.lnSful.9ehej/hRkBRf3gg9EQXAjfZu7OF2e" // of "secret"
	crmHash13 = "$2a$13$1IVWaRYXZzk0VJB8i1.xeuNvkZwO0omWF6T8PBf41W17TiAvxf/sG" // of "crm"
)

// guessesLeft is how many guesses a test leaves to a network.
const guessesLeft = 3

// behindProxy makes a server that takes the word of who calls for the address.
func behindProxy(s *setup) {
	s.api.Proxies, _ = forwarded.Parse([]string{"127.0.0.1"})
}

// from tells the status of a publish with the credentials of a client from an address.
func (r *rig) from(addr, auth string) int {
	r.t.Helper()
	return r.do("POST", created, auth, "x", "X-Forwarded-For", addr).status
}

// fail has logins fail from an address.
func (r *rig) fail(n int, name func(i int) string, addr string) {
	for i := range n {
		r.b.Logins().Failed(login.CallerOf(login.Client, name(i), addr), time.Now())
	}
}

// TestSpraying: many names from one network are few guesses, and who has logged in from there, or comes from
// elsewhere, is not held up.
func TestSpraying(t *testing.T) {
	for _, spread := range []string{"192.0.2.1", "2001:db8::%x"} {
		r := newServer(t, behindProxy)
		addr := func(i int) string {
			if strings.Contains(spread, "%") {
				return fmt.Sprintf(spread, i+1)
			}
			return spread
		}
		if got := r.from(addr(0), crm); got != 200 {
			t.Fatal(got)
		}
		r.fail(login.MaxFailuresOfNetwork-guessesLeft, func(i int) string { return fmt.Sprint("name", i) }, addr(1))
		var got []int
		for i := range 1000 {
			if status := r.from(addr(i), fmt.Sprintf("user%d:x", i)); i <= guessesLeft || status != 429 {
				got = append(got, status)
			}
		}
		if want := []int{401, 401, 401, 429}; !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", spread, got, want)
		}
		if got := r.from(addr(7), erp); got != 429 {
			t.Error("a name that never was there:", got)
		}
		if got := r.from("192.0.2.99", erp); got != 403 { // it may not publish
			t.Error("from another network:", got)
		}
		r.password("crm", erpHash10) // what was verified is forgotten
		if got := r.from(addr(9), "crm:secret"); got != 200 {
			t.Error("who has logged in from there is held up:", got)
		}
	}
}

// TestGuessesOfANetwork: one name from all addresses of a network is one name from one address.
func TestGuessesOfANetwork(t *testing.T) {
	r := newServer(t, behindProxy)
	r.fail(login.MaxFailures-guessesLeft, func(int) string { return "crm" }, "2001:db8::1")
	n := 0
	for i := range 1000 {
		if r.from(fmt.Sprintf("2001:db8::%x", i), "crm:wrong") == 401 {
			n++
		}
	}
	if n != guessesLeft {
		t.Errorf("%d guesses, want %d", n, guessesLeft)
	}
	if got := r.from("2001:db8::1", crm); got != 429 {
		t.Error("the right password from there:", got)
	}
	if got := r.from("2001:db8:0:1::1", crm); got != 200 {
		t.Error("the right password from another network:", got)
	}
}

// password gives a client another password hash.
func (r *rig) password(username, hash string) {
	r.t.Helper()
	r.edit(broker.Client{Username: username, Name: strings.ToUpper(username), PasswordHash: hash})
}

func (r *rig) edit(c broker.Client) {
	r.t.Helper()
	if _, err := r.b.Change(ctx, broker.Change{Define: broker.Definition{Clients: []broker.Client{c}}}); err != nil {
		r.t.Fatal(err)
	}
}

// TestHashesOfOtherCosts: those that are stored work, with a warning; nobody gives another one.
func TestHashesOfOtherCosts(t *testing.T) {
	r := newServer(t)
	if !strings.Contains(r.logs.String(), `"msg":"clients have password hashes of a cost that is not allowed any more: set their passwords again","clients":4,"first":"bob","allowed":"10 to 13"`) {
		t.Error("no warning:", r.logs)
	}
	r.password("crm", crmHash) // as it is
	r.publish(created, "x")
	for _, hash := range []string{erpHash, strings.Replace(crmHash13, "$13$", "$14$", 1)} {
		_, err := r.b.Change(ctx, broker.Change{Define: broker.Definition{Clients: []broker.Client{{Username: "crm", PasswordHash: hash}}}})
		if broker.CodeOf(err) != broker.Invalid || !strings.Contains(err.Error(), `password_hash of client "crm": bcrypt hash of cost `) || !strings.HasSuffix(err.Error(), "allowed are 10 to 13") {
			t.Errorf("%s: %v", hash, err)
		}
	}
	r.password("crm", crmHash13)
	r.publish(created, "x")
}

// revocations are changes after which a client that waits gets nothing more.
var revocations = map[string]func(r *rig){
	"password":   func(r *rig) { r.password("erp", erpHash10) },
	"inactive":   func(r *rig) { r.edit(broker.Client{Username: "erp", PasswordHash: erpHash, Inactive: true}) },
	"other key":  func(r *rig) { r.rotate() },
	"deactivate": func(r *rig) { r.deactivate() },
}

func (r *rig) consumer() broker.ConsumerInfo {
	for _, c := range r.b.Consumers() {
		if c.Client == "erp" && c.Topic == "/customer/created" {
			return c
		}
	}
	r.t.Fatal("no consumer")
	return broker.ConsumerInfo{}
}

func (r *rig) rotate() {
	r.t.Helper()
	if _, err := r.b.Change(ctx, broker.Change{Rotate: []uint32{r.consumer().ID}}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) deactivate() {
	r.t.Helper()
	c := r.consumer().Consumer
	c.Inactive = true
	if _, err := r.b.Change(ctx, broker.Change{Define: broker.Definition{Consumers: []broker.Consumer{c}}}); err != nil {
		r.t.Fatal(err)
	}
}

// backlog is how many messages wait or are in flight.
func (r *rig) backlog() int64 { return int64(r.consumer().Backlog) }

// TestRevokedWhileItWaits: nothing is delivered to a stream or long poll that began with credentials which do
// not hold any more, and nothing is lost by it.
func TestRevokedWhileItWaits(t *testing.T) {
	for name, revoke := range revocations {
		for _, query := range []string{"", "?ack=true"} {
			t.Run(name+" stream"+query, func(t *testing.T) {
				r := newServer(t)
				waits := r.watched()
				e := r.stream(ctx, query)
				await(t, waits)
				revoke(r)
				r.publish(created, "x")
				for line := range e.lines {
					if strings.HasPrefix(line, "id: ") {
						t.Error("delivered:", line)
					}
				}
				if n := r.backlog(); n != 1 {
					t.Errorf("%d messages wait", n)
				}
			})
			t.Run(name+" poll"+query, func(t *testing.T) {
				r := newServer(t)
				waits := r.watched()
				c := r.poll(ctx, "?wait=60"+strings.Replace(query, "?", "&", 1))
				await(t, waits)
				revoke(r)
				r.publish(created, "x")
				want := 403
				if name == "password" {
					want = 401
				}
				if a := await(t, c); a.status != want {
					t.Errorf("%d %s", a.status, a.body)
				}
				if n := r.backlog(); n != 1 {
					t.Errorf("%d messages wait", n)
				}
			})
		}
	}
}

// TestRevokedAtBound: a stream that waits for an acknowledgement does not go on with a password of before.
func TestRevokedAtBound(t *testing.T) {
	r := newServer(t)
	e := r.stream(ctx, "?max=1")
	id := r.publish(created, "a")
	e.next()
	r.publish(created, "b")
	r.password("erp", erpHash10)
	if _, err := r.subscription().Settle(broker.Settlement{Ack: []string{id}}); err != nil {
		t.Fatal(err)
	}
	for line := range e.lines {
		if strings.HasPrefix(line, "id: ") {
			t.Error("delivered:", line)
		}
	}
	if msgs := r.direct(); len(msgs) != 1 || string(msgs[0].Payload) != "b" || msgs[0].DeliveryCount != 1 {
		t.Errorf("%+v", msgs)
	}
}

// TestSamePasswordWhileItWaits: another hash of the password that a long poll came with refuses nobody.
func TestSamePasswordWhileItWaits(t *testing.T) {
	r := newServer(t)
	waits := r.watched()
	c := r.poll(ctx, "?wait=60")
	await(t, waits)
	hash, err := login.HashPassword("erp")
	if err != nil {
		t.Fatal(err)
	}
	r.password("erp", hash)
	if a := await(t, c); a.status != http.StatusOK || a.body != empty {
		t.Errorf("%d %s", a.status, a.body)
	}
	r.publish(created, "x")
	r.wantPayloads(queue, "x")
}
