package login

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

func TestDeclared(t *testing.T) {
	all := []Credential{
		{Name: "b", Password: "2", Hash: quickHash(t, "2")},
		{Name: "a", Password: "1", Hash: quickHash(t, "1")},
	}
	stored, err := HashDeclared(all)
	if err != nil {
		t.Fatal(err)
	}
	if !DeclaredMatches(stored, all) {
		t.Error("no match")
	}
	if !DeclaredMatches(stored, []Credential{all[1], all[0]}) || all[0].Name != "b" {
		t.Error("no match in another order")
	}
	for name, f := range map[string]func([]Credential) []Credential{
		"password": func(c []Credential) []Credential { c[0].Password = "x"; return c },
		"name":     func(c []Credential) []Credential { c[0].Name = "x"; return c },
		"hash":     func(c []Credential) []Credential { c[0].Hash = ""; return c },
		"fewer":    func(c []Credential) []Credential { return c[1:] },
		"more":     func(c []Credential) []Credential { return append(c, Credential{Name: "d", Password: "4"}) },
		"swapped":  func(c []Credential) []Credential { c[0].Password, c[1].Password = "1", "2"; return c },
		"shifted":  func(c []Credential) []Credential { c[0].Name, c[0].Password = "", "b2"; return c },
	} {
		if DeclaredMatches(stored, f(slices.Clone(all))) {
			t.Errorf("%s: a change goes unseen", name)
		}
	}
	if DeclaredMatches("", nil) {
		t.Error("nothing stored matches")
	}
}

func TestHashAll(t *testing.T) {
	kept := quickHash(t, "1")
	all := []Credential{
		{Name: "kept", Password: "1", Hash: kept},
		{Name: "changed", Password: "2", Hash: quickHash(t, "x")},
		{Name: "new", Password: "3"},
	}
	if err := HashAll(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	if all[0].Hash != kept {
		t.Error("a hash that is right was replaced")
	}
	for _, c := range all {
		if bcrypt.CompareHashAndPassword([]byte(c.Hash), []byte(c.Password)) != nil {
			t.Error(c.Name)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	if err := HashAll(ctx, all); CodeOf(err) != Unavailable || !strings.Contains(err.Error(), "enough") {
		t.Error(err)
	}
}
