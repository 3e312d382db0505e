package login

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
func stubCompare(a *Authenticator, before func()) func() int {
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

func TestAuthenticate(t *testing.T) {
	long := strings.Repeat("p", MaxPassword)
	tests := []struct {
		name     string
		account  Account
		password string
		reason   string // "": accepted
	}{
		{"right", Account{Name: "u", Hash: quickHash(t, "secret"), Active: true}, "secret", ""},
		{"wrong", Account{Name: "u", Hash: quickHash(t, "secret"), Active: true}, "Secret", "wrong password"},
		{"empty", Account{Name: "u", Hash: quickHash(t, "secret"), Active: true}, "", "wrong password"},
		{"inactive", Account{Name: "u", Hash: quickHash(t, "secret")}, "secret", "inactive client"},
		{"inactive and wrong", Account{Name: "u", Hash: quickHash(t, "secret")}, "x", "wrong password"},
		{"unknown", Account{Name: "u"}, "secret", "unknown user"},
		{"NUL", Account{Name: "u", Hash: quickHash(t, "a\x00b"), Active: true}, "a\x00b", ""},
		{"NUL, another tail", Account{Name: "u", Hash: quickHash(t, "a\x00b"), Active: true}, "a\x00c", "wrong password"},
		{"longest", Account{Name: "u", Hash: quickHash(t, long), Active: true}, long, ""},
		{"too long", Account{Name: "u", Hash: quickHash(t, long), Active: true}, long + "p", "wrong password"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := NewAuthenticator()
			for range 2 { // the second time from memory, where it was right
				_, err := a.Authenticate(t.Context(), tt.account, tt.password, "192.0.2.1")
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
	a := NewAuthenticator()
	hashes := stubCompare(a, nil)
	c := Account{Name: "u", Hash: "hash of secret", Active: true}
	login := func(password string) error {
		_, err := a.Authenticate(t.Context(), c, password, "192.0.2.1")
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
	c = Account{Name: "u", Hash: "hash of other", Active: true}
	wantCode(t, login("secret"), Unauthorized, "wrong password")
	if err := login("other"); err != nil {
		t.Fatal(err)
	}
	a.Replace(c, Account{Name: "u"})
	n := hashes()
	if err := login("other"); err != nil || hashes() != n+1 {
		t.Error("not forgotten", err)
	}

	// A trusted pair costs nothing from the first time on, and only as long as its hash is the client's.
	a.Trust("u", "third", "hash of third")
	wantCode(t, login("third"), Unauthorized, "wrong password")
	c = Account{Name: "u", Hash: "hash of third", Active: true}
	n = hashes()
	if err := login("third"); err != nil || hashes() != n {
		t.Error("not trusted", err)
	}
	// An inactive client is refused although its pair is known.
	c = Account{Name: "u", Hash: "hash of third"}
	wantCode(t, login("third"), Unauthorized, "inactive client")
}

func TestVerifiedPairDoesNotAllocate(t *testing.T) {
	a := NewAuthenticator()
	name, password := strings.Repeat("u", 128), strings.Repeat("p", MaxPassword)
	c := Account{Name: name, Hash: "h", Active: true}
	a.Trust(name, password, "h")
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() {
		if _, err := a.Authenticate(ctx, c, password, "192.0.2.1"); err != nil {
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
				a := NewAuthenticator()
				hashes := stubCompare(a, nil)
				c := Account{Name: "u"}
				reason := "unknown user"
				if known {
					c = Account{Name: "u", Hash: "hash of secret", Active: true}
					reason = "wrong password"
				}
				login := func(password, addr string) error {
					_, err := a.Authenticate(t.Context(), c, password, addr)
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
				if names := a.limiter.names; len(names.keys) != names.order.Len() {
					t.Errorf("%d names, %d in order", len(names.keys), names.order.Len())
				}
			})
		})
	}
}

func TestSlowFailuresAreNotLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := NewAuthenticator()
		stubCompare(a, nil)
		for range 5 * MaxFailures {
			_, err := a.Authenticate(t.Context(), Account{Name: "u"}, "x", "192.0.2.1")
			wantCode(t, err, Unauthorized, "unknown user")
			time.Sleep(FailureWindow/(MaxFailures-1) + time.Nanosecond)
		}
	})
}

// Many first requests of one client share one slow hash.
func TestFirstRequestsShareOneHash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := NewAuthenticator()
		open := make(chan struct{})
		hashes := stubCompare(a, func() { <-open })
		c := Account{Name: "u", Hash: "hash of secret", Active: true}
		var wg sync.WaitGroup
		for i := range 2 * maxWaiting {
			wg.Go(func() {
				if _, err := a.Authenticate(t.Context(), c, "secret", fmt.Sprint("192.0.2.", i%2)); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		close(open)
		wg.Wait()
		if n := hashes(); n < 1 || n > 2 || n > a.limiter.turns[Client].free {
			t.Errorf("%d slow hashes", n)
		}
	})
}

// Where the one that began a hash leaves, it goes on for those that wait for it.
func TestLeaderLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := NewAuthenticator()
		turns := newTurns(0)
		a.limiter.turns[Client] = turns
		stubCompare(a, nil)
		c := Account{Name: "u", Hash: "hash of secret", Active: true}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := a.Authenticate(ctx, c, "secret", "192.0.2.1"); CodeOf(err) != Unavailable {
				t.Error(err)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			if _, err := a.Authenticate(t.Context(), c, "secret", "192.0.2.1"); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		cancel()
		synctest.Wait()
		turns.done()
		wg.Wait()
		if turns.free != 1 {
			t.Errorf("%d turns are free", turns.free)
		}
	})
}

func BenchmarkAuthenticate(b *testing.B) {
	a := NewAuthenticator()
	a.Trust("crm", "crm", "h")
	c := Account{Name: "crm", Hash: "h", Active: true}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := a.Authenticate(b.Context(), c, "crm", "127.0.0.1"); err != nil {
				b.Fatal(err)
			}
		}
	})
}
