package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// quickHash is a hash of the least cost, for tests that are not about the cost.
func quickHash(t testing.TB, password string) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(h)
}

// stubCompare replaces the slow hash: it calls before, then tells whether the hash is "hash of "
// and the password. It returns a function that says how many hashes there were.
func stubCompare(a *authenticator, before func()) func() int {
	var mu sync.Mutex
	n := 0
	a.compare = func(hash, password []byte) error {
		mu.Lock()
		n++
		mu.Unlock()
		if before != nil {
			before()
		}
		if bytes.Equal(hash, append([]byte("hash of "), password...)) {
			return nil
		}
		return bcrypt.ErrMismatchedHashAndPassword
	}
	return func() int { mu.Lock(); defer mu.Unlock(); return n }
}

func wantCode(t *testing.T, err error, want Code, reason string) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Code != want || e.Reason != reason {
		t.Fatalf("got %v, want code %d, reason %q", err, want, reason)
	}
	return e
}

func TestHashPassword(t *testing.T) {
	h, err := HashPassword("crm")
	if err != nil || checkHash(h) != nil {
		t.Fatal(h, err)
	}
	for _, p := range []string{"", strings.Repeat("x", MaxPassword+1)} {
		if _, err := HashPassword(p); CodeOf(err) != Invalid {
			t.Errorf("%d bytes: %v", len(p), err)
		}
	}
	for cost := minHashCost; cost <= maxHashCost; cost++ {
		if dummy := dummyHash(cost); checkHash(dummy) != nil || costOf(dummy) != cost {
			t.Error("no hash to compare with in place of one of cost", cost)
		}
	}
	if costOf(h) != hashCost {
		t.Error("the hash of unknown users costs something else than that of known ones:", costOf(h))
	}
}

func TestCheckPassword(t *testing.T) {
	hash, long := quickHash(t, "right"), strings.Repeat("x", MaxPassword)
	for _, tt := range []struct {
		hash, password string
		want           bool
	}{
		{hash, "right", true}, {hash, "wrong", false}, {hash, "", false}, {"", "right", false}, {"", "", false},
		{quickHash(t, long), long, true}, {quickHash(t, long), long + "x", false},
	} {
		if got := CheckPassword(tt.hash, tt.password); got != tt.want {
			t.Errorf("%q %q: %v", tt.hash, tt.password, got)
		}
	}
}

func TestCheckHash(t *testing.T) {
	good := dummyHash(hashCost)
	for _, h := range []string{good, "$2y" + good[3:], "$2b" + good[3:], "$2a$13" + good[6:]} {
		if err := checkHash(h); err != nil {
			t.Errorf("%s: %v", h, err)
		}
	}
	for _, h := range []string{"", "x", good[:59], good + "x", "$2a$14" + good[6:], "$2a$09" + good[6:], "$2x" + good[3:],
		"$2a$ab" + good[6:], "$5$rounds" + good[9:], good[:59] + "!", good[:59] + "\n"} {
		if checkHash(h) == nil {
			t.Errorf("%q passed", h)
		}
	}
}

func TestAuthenticate(t *testing.T) {
	long := strings.Repeat("p", MaxPassword)
	tests := []struct {
		name     string
		c        *Client
		password string
		reason   string // "": accepted
	}{
		{"right", &Client{Username: "u", PasswordHash: quickHash(t, "secret"), Active: true}, "secret", ""},
		{"wrong", &Client{Username: "u", PasswordHash: quickHash(t, "secret"), Active: true}, "Secret", "wrong password"},
		{"empty", &Client{Username: "u", PasswordHash: quickHash(t, "secret"), Active: true}, "", "wrong password"},
		{"inactive", &Client{Username: "u", PasswordHash: quickHash(t, "secret")}, "secret", "inactive client"},
		{"inactive and wrong", &Client{Username: "u", PasswordHash: quickHash(t, "secret")}, "x", "wrong password"},
		{"unknown", nil, "secret", "unknown user"},
		{"NUL", &Client{Username: "u", PasswordHash: quickHash(t, "a\x00b"), Active: true}, "a\x00b", ""},
		{"NUL, another tail", &Client{Username: "u", PasswordHash: quickHash(t, "a\x00b"), Active: true}, "a\x00c", "wrong password"},
		{"longest", &Client{Username: "u", PasswordHash: quickHash(t, long), Active: true}, long, ""},
		{"too long", &Client{Username: "u", PasswordHash: quickHash(t, long), Active: true}, long + "p", "wrong password"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := newAuthenticator()
			for range 2 { // the second time from memory, where it was right
				_, err := a.authenticate(t.Context(), tt.c, "u", tt.password, "192.0.2.1")
				if tt.reason == "" {
					if err != nil {
						t.Fatal(err)
					}
					continue
				}
				if e := wantCode(t, err, Unauthorized, tt.reason); e.Message != "Invalid credentials" {
					t.Errorf("message %q", e.Message)
				}
			}
		})
	}
}

func TestVerifiedPairIsRemembered(t *testing.T) {
	a := newAuthenticator()
	hashes := stubCompare(a, nil)
	c := &Client{Username: "u", PasswordHash: "hash of secret", Active: true}
	login := func(password string) error {
		_, err := a.authenticate(t.Context(), c, "u", password, "192.0.2.1")
		return err
	}
	for range 3 {
		if err := login("secret"); err != nil {
			t.Fatal(err)
		}
	}
	if n := hashes(); n != 1 {
		t.Errorf("%d slow hashes for one pair", n)
	}

	// A new password ends it, whoever stored it.
	c = &Client{Username: "u", PasswordHash: "hash of other", Active: true}
	wantCode(t, login("secret"), Unauthorized, "wrong password")
	if err := login("other"); err != nil {
		t.Fatal(err)
	}
	a.forget("u")
	n := hashes()
	if err := login("other"); err != nil || hashes() != n+1 {
		t.Error("not forgotten", err)
	}

	// A trusted pair costs nothing from the first time on, and only as long as its hash is the client's.
	a.trust("u", "third", "hash of third")
	wantCode(t, login("third"), Unauthorized, "wrong password")
	c = &Client{Username: "u", PasswordHash: "hash of third", Active: true}
	n = hashes()
	if err := login("third"); err != nil || hashes() != n {
		t.Error("not trusted", err)
	}
	// An inactive client is refused although its pair is known.
	c = &Client{Username: "u", PasswordHash: "hash of third"}
	wantCode(t, login("third"), Unauthorized, "inactive client")
}

func TestVerifiedPairDoesNotAllocate(t *testing.T) {
	a := newAuthenticator()
	name, password := strings.Repeat("u", MaxUsername), strings.Repeat("p", MaxPassword)
	c := &Client{Username: name, PasswordHash: "h", Active: true}
	a.trust(name, password, "h")
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() {
		if _, err := a.authenticate(ctx, c, name, password, "192.0.2.1"); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestTooManyFailures(t *testing.T) {
	for _, known := range []bool{true, false} {
		t.Run(fmt.Sprintf("known %v", known), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAuthenticator()
				hashes := stubCompare(a, nil)
				var c *Client
				reason := "unknown user"
				if known {
					c = &Client{Username: "u", PasswordHash: "hash of secret", Active: true}
					reason = "wrong password"
				}
				login := func(password, addr string) error {
					_, err := a.authenticate(t.Context(), c, "u", password, addr)
					return err
				}
				for i := range MaxFailures {
					wantCode(t, login(fmt.Sprint(i), "192.0.2.1"), Unauthorized, reason)
					time.Sleep(time.Second)
				}
				n := hashes()
				err := login("x", "192.0.2.1")
				if CodeOf(err) != TooMany {
					t.Fatal(err)
				}
				if e := err.(*Error); e.RetryAfter != FailureWindow-MaxFailures*time.Second {
					t.Errorf("retry after %s", e.RetryAfter)
				}
				if hashes() != n {
					t.Error("a refused login cost a slow hash")
				}
				// Another address is not held up; where the password is right, neither is this one after.
				if known {
					if err := login("secret", "192.0.2.2"); err != nil {
						t.Error(err)
					}
					if err := login("secret", "192.0.2.1"); err != nil {
						t.Error("a verified pair is held up by failures:", err)
					}
				} else {
					wantCode(t, login("x", "192.0.2.2"), Unauthorized, reason)
				}
				time.Sleep(FailureWindow - MaxFailures*time.Second - time.Nanosecond)
				if err := login("x", "192.0.2.1"); CodeOf(err) != TooMany {
					t.Error("before the end of the window:", err)
				}
				time.Sleep(time.Nanosecond)
				wantCode(t, login("x", "192.0.2.1"), Unauthorized, reason)
				if names := a.logins.names; len(names.keys) != names.order.Len() {
					t.Errorf("%d names, %d in order", len(names.keys), names.order.Len())
				}
			})
		})
	}
}

func TestSlowFailuresAreNotLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthenticator()
		stubCompare(a, nil)
		for range 5 * MaxFailures {
			_, err := a.authenticate(t.Context(), nil, "u", "x", "192.0.2.1")
			wantCode(t, err, Unauthorized, "unknown user")
			time.Sleep(FailureWindow/(MaxFailures-1) + time.Nanosecond)
		}
	})
}

// Many first requests of one client share one slow hash.
func TestFirstRequestsShareOneHash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthenticator()
		open := make(chan struct{})
		hashes := stubCompare(a, func() { <-open })
		c := &Client{Username: "u", PasswordHash: "hash of secret", Active: true}
		var wg sync.WaitGroup
		for i := range 2 * maxWaiting {
			wg.Go(func() {
				if _, err := a.authenticate(t.Context(), c, "u", "secret", fmt.Sprint("192.0.2.", i%2)); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		close(open)
		wg.Wait()
		if n := hashes(); n < 1 || n > 2 || n > a.logins.turns[ClientLogin].free {
			t.Errorf("%d slow hashes", n)
		}
	})
}

// Where the one that runs the hash leaves, another one of those that wait for it takes over.
func TestLeaderLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthenticator()
		turns := newTurns(0)
		a.logins.turns[ClientLogin] = turns
		stubCompare(a, nil)
		c := &Client{Username: "u", PasswordHash: "hash of secret", Active: true}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := a.authenticate(ctx, c, "u", "secret", "192.0.2.1"); CodeOf(err) != Unavailable {
				t.Error(err)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			if _, err := a.authenticate(t.Context(), c, "u", "secret", "192.0.2.1"); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		cancel()
		synctest.Wait()
		turns.done()
		wg.Wait()
	})
}

func TestDeclared(t *testing.T) {
	clients := []Client{
		{Username: "b", Password: "2", PasswordHash: quickHash(t, "2")},
		{Username: "a", Password: "1", PasswordHash: quickHash(t, "1")},
		{Username: "c", PasswordHash: quickHash(t, "3")},
	}
	stored, err := hashDeclared(clients)
	if err != nil {
		t.Fatal(err)
	}
	if !declaredMatches(stored, clients) {
		t.Error("no match")
	}
	if !declaredMatches(stored, []Client{clients[1], clients[0]}) {
		t.Error("no match in another order, without those that have no password")
	}
	change := func(f func([]Client) []Client) bool {
		return declaredMatches(stored, f(append([]Client(nil), clients...)))
	}
	for name, f := range map[string]func([]Client) []Client{
		"password": func(c []Client) []Client { c[0].Password = "x"; return c },
		"username": func(c []Client) []Client { c[0].Username = "x"; return c },
		"hash":     func(c []Client) []Client { c[0].PasswordHash = ""; return c },
		"fewer":    func(c []Client) []Client { return c[1:] },
		"more":     func(c []Client) []Client { return append(c, Client{Username: "d", Password: "4"}) },
		"swapped":  func(c []Client) []Client { c[0].Password, c[1].Password = "1", "2"; return c },
		"shifted":  func(c []Client) []Client { c[0].Username, c[0].Password = "", "b2"; return c },
	} {
		if change(f) {
			t.Errorf("%s: a change goes unseen", name)
		}
	}
	if declaredMatches("", nil) {
		t.Error("nothing stored matches")
	}
}

func TestHashAll(t *testing.T) {
	kept := quickHash(t, "1")
	clients := []Client{
		{Username: "kept", Password: "1"},
		{Username: "changed", Password: "2"},
		{Username: "new", Password: "3"},
		{Username: "none", PasswordHash: "h"},
	}
	current := map[string]string{"kept": kept, "changed": quickHash(t, "x")}
	stored := func(username string) string { return current[username] }
	if err := hashAll(t.Context(), clients, stored, nil); err != nil {
		t.Fatal(err)
	}
	if clients[0].PasswordHash != kept || clients[3].PasswordHash != "h" {
		t.Error("a hash that is right was replaced")
	}
	for _, c := range clients[:3] {
		if bcrypt.CompareHashAndPassword([]byte(c.PasswordHash), []byte(c.Password)) != nil {
			t.Error(c.Username)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	if err := hashAll(ctx, clients, stored, nil); err == nil || !strings.Contains(err.Error(), "enough") {
		t.Error(err)
	}
}

// The passwords of a change are hashed in turn with logins, and for a dry run or one that is refused not at all.
func TestChangeHashes(t *testing.T) {
	b := &Broker{auth: newAuthenticator()}
	turns := b.auth.logins.turns[ClientLogin]
	var logins []func() // that have all turns
	for turns.free > 0 {
		done, err := turns.take(t.Context(), ThrottleKey{}, false)
		if err != nil {
			t.Fatal(err)
		}
		logins = append(logins, done)
	}
	c := Change{Define: Definition{Clients: []Client{{Username: "a", Password: "a"}}}, DryRun: true}
	done, err := b.Change(t.Context(), c)
	if err != nil || done.Clients[0].Action != Create || done.Clients[0].After.PasswordHash != "" {
		t.Errorf("%+v, %v", done, err)
	}
	c.DryRun = false
	c.Define.Producers = []Producer{{Client: "a", Topic: "/none"}}
	if _, err := b.Change(t.Context(), c); CodeOf(err) != Invalid {
		t.Error(err)
	}
	c.Define.Producers = nil
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Change(ctx, c); CodeOf(err) != Unavailable {
		t.Error(err)
	}
	all := make(chan []Client)
	clients := []Client{{Username: "a", Password: "a"}, {Username: "b", PasswordHash: "h"}, {Username: "c", Password: "c"}}
	go func() {
		hashed, _, err := b.hashed(t.Context(), clients)
		if err != nil {
			t.Error(err)
		}
		all <- hashed
	}()
	select {
	case <-all:
		t.Error("hashed without a turn")
	default:
	}
	for _, done := range logins {
		done()
	}
	for i, c := range <-all {
		if right := CheckPassword(c.PasswordHash, clients[i].Password); c.Password != "" || right != (clients[i].Password != "") {
			t.Errorf("%+v", c)
		}
	}
	if turns.free != len(logins) {
		t.Error("a turn is lost")
	}
}

func TestUnknownPassword(t *testing.T) {
	h := UnknownPassword()
	if err := checkHash(h); err != nil || h == UnknownPassword() {
		t.Errorf("%q: %v", h, err)
	}
	if cost, err := bcrypt.Cost([]byte(h)); err != nil || cost != hashCost {
		t.Error(cost, err)
	}
	if err := bcrypt.CompareHashAndPassword([]byte(h), []byte("x")); !errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
		t.Error(err)
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	a := newAuthenticator()
	a.trust("crm", "crm", "h")
	c := &Client{Username: "crm", PasswordHash: "h", Active: true}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := a.authenticate(b.Context(), c, "crm", "crm", "127.0.0.1"); err != nil {
				b.Fatal(err)
			}
		}
	})
}
