package login

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestThrottleForgets(t *testing.T) {
	th := newThrottle(2, time.Minute)
	now := time.Now()
	for i := range maxThrottled + 1 {
		th.add(digestOf(fmt.Sprint(i)), now)
	}
	if len(th.keys) != maxThrottled || th.order.Len() != maxThrottled {
		t.Error(len(th.keys), th.order.Len())
	}
	if th.keys[digestOf("0")] != nil || th.keys[digestOf("1")] == nil {
		t.Error("not the oldest made room")
	}
	k := digestOf("k")
	for i := range 3 {
		if err := th.check(k, now); (CodeOf(err) == TooMany) != (i == 2) {
			t.Errorf("counted %d times: %v", i, err)
		}
		th.add(k, now)
	}
	if err := th.check(k, now.Add(time.Minute-1)); CodeOf(err) != TooMany {
		t.Error(err)
	}
	if err := th.check(k, now.Add(time.Minute)); err != nil || len(th.keys) != 0 {
		t.Error(err, len(th.keys))
	}
}

func TestNetwork(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8::1": "2001:db8::/64", "fe80::1%eth0": "fe80::/64", "@": "@", "": "",
	} {
		if got := Network(addr); got != want {
			t.Errorf("%q: %q", addr, got)
		}
	}
}

// Whoever has an IPv6 network has all of its addresses, and guesses no more often with them.
func TestFailuresOfANetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := NewAuthenticator()
		stubCompare(a, nil)
		login := func(name, addr string) error {
			_, err := a.Authenticate(t.Context(), Account{Name: name}, "x", addr)
			return err
		}
		for i := range MaxFailures {
			wantCode(t, login("u", fmt.Sprintf("2001:db8::%x", i)), Unauthorized, "unknown user")
		}
		if err := login("u", "2001:db8::ffff"); CodeOf(err) != TooMany {
			t.Error("another address of the network:", err)
		}
		wantCode(t, login("u", "2001:db8:0:1::1"), Unauthorized, "unknown user")

		for i := range MaxFailuresOfNetwork - MaxFailures {
			wantCode(t, login(fmt.Sprint("name", i), "2001:db8::1"), Unauthorized, "unknown user")
		}
		if err := login("another name", "2001:db8::1"); CodeOf(err) != TooMany {
			t.Error("many names from one network:", err)
		}
		wantCode(t, login("u", "192.0.2.1"), Unauthorized, "unknown user")
	})
}
