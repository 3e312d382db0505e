package login

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// Many names from one address, or one name from all addresses of a network, are as few guesses as one name
// from one address is within the limits.
func TestSprayingIsSlowed(t *testing.T) {
	for name, tt := range map[string]struct {
		login func(i int) (name, addr string)
		most  int
	}{
		"usernames":   {func(i int) (string, string) { return fmt.Sprint("u", i), "192.0.2.1" }, MaxFailuresOfNetwork},
		"addresses":   {func(i int) (string, string) { return "u", fmt.Sprintf("2001:db8::%x", i) }, MaxFailures},
		"both":        {func(i int) (string, string) { return fmt.Sprint("u", i), fmt.Sprintf("2001:db8::%x", i) }, MaxFailuresOfNetwork},
		"IPv4 mapped": {func(i int) (string, string) { return fmt.Sprint("u", i), "::ffff:192.0.2.1" }, MaxFailuresOfNetwork},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := NewAuthenticator()
				hashes := stubCompare(a, nil)
				guesses := 0
				for i := range 1000 {
					name, addr := tt.login(i)
					switch _, err := a.Authenticate(t.Context(), Account{Name: name}, fmt.Sprint(i), addr); CodeOf(err) {
					case Unauthorized:
						guesses++
					case TooMany:
					default:
						t.Fatal(err)
					}
				}
				if guesses != tt.most || hashes() != tt.most {
					t.Errorf("%d guesses of 1000, %d hashes", guesses, hashes())
				}
			})
		})
	}
}

// Who has logged in from a network is not held up by failures of others there. Its own count.
func TestKnownInTheirNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, now := newLimiter(), time.Now()
		const office = "192.0.2.1"
		login := func(name, addr string) Caller { return CallerOf(Client, name, addr) }
		l.Succeeded(login("crm", office), now)
		for i := range MaxFailuresOfNetwork {
			l.Failed(login(fmt.Sprint(i), office), now)
		}
		for who, want := range map[Caller]Code{
			login("crm", office):                        0,
			login("erp", office):                        TooMany, // was never there
			login("erp", "192.0.2.2"):                   0,
			login("crm", "192.0.2.2"):                   0,
			CallerOf(Administrator, "crm", office):      0, // another kind
			CallerOf(Client, "crm", "::ffff:"+office):   0,
			CallerOf(Client, "CRM", "::ffff:192.0.2.1"): TooMany,
		} {
			if err := l.Check(who, now); want == 0 && err != nil || want != 0 && CodeOf(err) != want {
				t.Errorf("%v: %v", who, err)
			}
		}
		for range MaxFailures {
			l.Failed(login("crm", office), now)
		}
		if err := l.Check(login("crm", office), now); CodeOf(err) != TooMany {
			t.Error("who is known may guess without end:", err)
		}
		if err := l.Check(login("crm", "192.0.2.2"), now); err != nil {
			t.Error("refused from elsewhere:", err)
		}

		// It lasts from the last login on, not for ever.
		now = now.Add(knownFor - time.Second)
		l.Succeeded(login("crm", office), now)
		now = now.Add(knownFor - time.Second)
		if !l.known.counts(login("crm", office).name, now) {
			t.Error("forgotten too early")
		}
		if l.known.counts(login("crm", office).name, now.Add(time.Second)) {
			t.Error("not forgotten")
		}
	})
}

// However many wait for clients' passwords, those of administrators are checked at once, from the same network, too.
func TestAdministratorsHaveTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := NewAuthenticator()
		open := make(chan struct{})
		stubCompare(a, func() { <-open })
		for i := range maxWaitingInLine + 2 {
			go a.Authenticate(t.Context(), Account{Name: fmt.Sprint(i)}, "x", "127.0.0.1")
		}
		synctest.Wait()
		done, err := a.limiter.Begin(t.Context(), CallerOf(Administrator, "ann", "127.0.0.1"))
		if err != nil {
			t.Fatal(err)
		}
		done()
		close(open)
		synctest.Wait()
	})
}

// A network that does not fill the queue is served after one of each other network.
func TestFirstLoginPassesACrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := NewAuthenticator()
		a.limiter.turns[Client] = newTurns(1)
		hashes := stubCompare(a, func() { time.Sleep(50 * time.Millisecond) })
		for i := range maxWaitingInLine {
			go a.Authenticate(t.Context(), Account{Name: fmt.Sprint(i)}, "x", "192.0.2.1")
		}
		synctest.Wait()
		c := Account{Name: "u", Hash: "hash of secret", Active: true}
		if _, err := a.Authenticate(t.Context(), c, "secret", "192.0.2.2"); err != nil {
			t.Fatal(err)
		}
		// Before its own were that which ran and one more of the other network; the next may have begun by now.
		if n := hashes(); n > 4 {
			t.Errorf("%d hashes were begun until its own had ended", n)
		}
		time.Sleep(time.Minute) // the others end
		synctest.Wait()
	})
}

// What is refused costs as much as the slowest hash, whatever the reason; what is right costs its own hash.
func TestRefusalsCostTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, most := range []int{4, 10, 13, 14} {
			a := NewAuthenticator()
			a.costs.replace("", dummyHash(most))
			spent := 0
			a.compare = func(hash, password []byte) error {
				spent += 1 << costOf(string(hash))
				if string(password) == "secret" {
					return nil
				}
				return fmt.Errorf("wrong")
			}
			for i, tt := range []struct {
				account  Account
				password string
			}{
				{Account{Name: "u"}, "x"},
				{Account{Name: "u"}, "secret"},
				{Account{Name: "u", Hash: dummyHash(most), Active: true}, "x"},
				{Account{Name: "u", Hash: dummyHash(min(4, most)), Active: true}, "x"},
				{Account{Name: "u", Hash: dummyHash(10)}, "x"},
				{Account{Name: "u", Hash: dummyHash(min(10, most))}, "secret"},
				{Account{Name: "u", Hash: dummyHash(min(10, most))}, "secret"}, // the second time, too
			} {
				spent = 0
				_, err := a.Authenticate(t.Context(), tt.account, tt.password, "192.0.2.1")
				if CodeOf(err) != Unauthorized || spent != 1<<max(most, hashCost) {
					t.Errorf("cost %d, case %d: %v, spent %d", most, i, err, spent)
				}
			}
			spent = 0
			c := Account{Name: "u", Hash: dummyHash(4), Active: true}
			if _, err := a.Authenticate(t.Context(), c, "secret", "192.0.2.1"); err != nil || spent != 1<<4 {
				t.Errorf("cost %d: %v, spent %d", most, err, spent)
			}
		}
	})
}

func TestHashCosts(t *testing.T) {
	var c hashCosts
	for i, tt := range []struct {
		old, hash string
		most      int32
	}{
		{"", "", 10}, {"", dummyHash(4), 10}, {"", dummyHash(13), 13}, {"", dummyHash(14), 14}, {dummyHash(14), dummyHash(12), 13},
		{"", dummyHash(13), 13}, {dummyHash(13), "", 13}, {dummyHash(13), "", 12}, {dummyHash(12), "", 10}, {dummyHash(4), "", 10},
	} {
		if c.replace(tt.old, tt.hash); c.most.Load() != tt.most {
			t.Errorf("%d: %d", i, c.most.Load())
		}
	}
}
