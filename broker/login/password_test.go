package login

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

func TestHashPassword(t *testing.T) {
	h, err := HashPassword("crm")
	if err != nil || CheckHash(h) != nil {
		t.Fatal(h, err)
	}
	for _, p := range []string{"", strings.Repeat("x", MaxPassword+1)} {
		if _, err := HashPassword(p); CodeOf(err) != Invalid {
			t.Errorf("%d bytes: %v", len(p), err)
		}
	}
	for cost := MinCost; cost <= MaxCost; cost++ {
		if dummy := dummyHash(cost); CheckHash(dummy) != nil || costOf(dummy) != cost {
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
		if err := CheckHash(h); err != nil {
			t.Errorf("%s: %v", h, err)
		}
	}
	for _, h := range []string{"", "x", good[:59], good + "x", "$2a$14" + good[6:], "$2a$09" + good[6:], "$2x" + good[3:],
		"$2a$ab" + good[6:], "$5$rounds" + good[9:], good[:59] + "!", good[:59] + "\n"} {
		if CheckHash(h) == nil {
			t.Errorf("%q passed", h)
		}
	}
}

func TestUnknownPassword(t *testing.T) {
	h := UnknownPassword()
	if err := CheckHash(h); err != nil || h == UnknownPassword() {
		t.Errorf("%q: %v", h, err)
	}
	if cost, err := bcrypt.Cost([]byte(h)); err != nil || cost != hashCost {
		t.Error(cost, err)
	}
	if err := bcrypt.CompareHashAndPassword([]byte(h), []byte("x")); !errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
		t.Error(err)
	}
}
