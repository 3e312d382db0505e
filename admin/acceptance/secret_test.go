package acceptance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"testing"

	"pipit/admin/access"
	"pipit/admin/gate"
	"pipit/admin/object"
)

// What is replaced or deleted of secrets is in no byte of the file, the audit log included: a rotated
// sub_key, the hash of a former password of a client or administrator, and that of a deleted token.
func TestFormerSecretsLeaveTheFile(t *testing.T) {
	r := newAuthRig(t, false)
	r.account()
	cookie := r.signedIn()
	as := withCookie(cookie)
	do := func(status int, method, path, body string) string {
		t.Helper()
		a := r.call(method, gate.V1+path, body, as)
		r.want(a, status)
		return a.body
	}
	object := func(text string) (c object.Consumer) {
		t.Helper()
		if err := json.Unmarshal([]byte(text), &c); err != nil {
			t.Fatal(err)
		}
		return c
	}
	hash := func() string { return r.b.Definition().Clients[0].PasswordHash }
	administratorHash := func() string {
		t.Helper()
		var record struct{ Hash string }
		value, err := r.b.Document("administrator", authName)
		if err := errors.Join(err, json.Unmarshal(value, &record)); err != nil {
			t.Fatal(err)
		}
		return record.Hash
	}

	do(201, "POST", "/topics", `{"name": "/t"}`)
	do(201, "POST", "/clients", `{"username": "erp", "password": "the first password"}`)
	rotated := object(do(201, "POST", "/consumers", `{"client": "erp", "topic": "/t"}`))
	deleted := object(do(201, "POST", "/consumers", `{"client": "erp", "topic": "/t", "sub_key": "a-key-of-ones-own"}`))
	token := r.newToken(cookie, "brief", gate.ScopeRead, "")
	former := map[string]string{
		"rotated sub_key": rotated.SubKey, "deleted sub_key": deleted.SubKey, "password hash": hash(),
		"administrator's hash": administratorHash(), "token's hash": hashOf(token.Token), "token": token.Token,
	}
	now := object(do(200, "POST", fmt.Sprint("/consumers/", rotated.ID, "/rotate"), ""))
	do(200, "DELETE", fmt.Sprint("/consumers/", deleted.ID), "")
	do(200, "PATCH", "/clients/erp", `{"password": "the second password"}`)
	do(http.StatusNoContent, "DELETE", "/tokens/"+token.ID, "")
	if err := access.SetAdministratorPassword(t.Context(), r.b, authName, "the second password"); err != nil {
		t.Fatal(err)
	}
	current := map[string]string{"sub_key": now.SubKey, "password hash": hash(), "administrator's hash": administratorHash()}
	r.close()
	file, err := os.ReadFile(r.path)
	if err != nil {
		t.Fatal(err)
	}
	for what, secret := range former {
		if n := bytes.Count(file, []byte(secret)); secret == "" || n > 0 {
			t.Errorf("the former %s %q is in the file %d times", what, secret, n)
		}
	}
	for what, secret := range current {
		if !bytes.Contains(file, []byte(secret)) {
			t.Errorf("the %s %q is not in the file", what, secret)
		}
	}
}
