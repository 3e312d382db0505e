package acceptance

import (
	"net/http"
	"strings"
	"testing"
)

func TestBrowserFirstRun(t *testing.T) {
	browses(t)
	s := newSite(t, false)
	link := s.a.SetupURLs()[0]
	tab := s.profile()
	if status := tab.open("/admin/"); status != http.StatusNotFound {
		t.Fatalf("not set up: status %d", status)
	}
	tab.sees("not set up")
	tab.ok(link)
	tab.sees("Welcome to Pipit", "This link works once")

	tab.fill("#setup", "name", "grace", "password", "too short")
	tab.press("#create")
	if !tab.exists("#password:invalid") {
		t.Error("a short password is not refused by the page")
	}
	tab.fill("#setup", "name", "grace", "password", "long enough now")
	tab.press(".peek")
	if !tab.exists("#password[type=text]") {
		t.Error("the password is not shown")
	}
	tab.save("#setup")
	tab.at("/admin/")
	tab.sees("Welcome, grace", "First steps", "Create a topic", "grace")
	tab.ok("/admin/")
	tab.seesNot("Welcome, grace") // once

	other := s.profile()
	if status := other.open(link); status != http.StatusNotFound {
		t.Errorf("the link a second time: status %d", status)
	}
	other.ok("/admin/login")
	other.fill("#login", "name", "grace", "password", "long enough now")
	other.save("#login")
	other.at("/admin/")
}

func TestBrowserSignIn(t *testing.T) {
	browses(t)
	s := newSite(t, true)
	s.example()
	tab := s.profile()
	tab.ok("/admin/topics?search=ord") // leads there in the end
	if !strings.HasPrefix(tab.path(), "/admin/login") {
		t.Fatalf("at %s", tab.path())
	}
	tab.fill("#login", "name", adaName, "password", "wrong horse battery")
	if status := tab.send("#login"); status != http.StatusUnauthorized {
		t.Fatalf("wrong password: status %d", status)
	}
	if !tab.exists("#error[role=alert]") || tab.exists("#menu") {
		t.Errorf("after a wrong password:\n%s", tab.text("body"))
	}
	tab.fill("#login", "password", adaPassword) // the name is kept
	tab.save("#login")
	tab.at("/admin/topics?search=ord")
	tab.sees("/orders", adaName)

	beside := tab.another() // the same session
	beside.ok("/admin/consumers")
	tab.follow("#sign-out")
	tab.at("/admin/login")
	tab.sees("You are signed out")
	beside.ok("/admin/consumers")
	beside.at("/admin/login?next=%2Fadmin%2Fconsumers")

	// Everywhere: the session of another profile ends, too.
	tab.signIn()
	away := s.profile().signIn()
	tab.ok("/admin/system/access")
	tab.follow("#sign-out-everywhere")
	tab.at("/admin/login")
	tab.sees("You are signed out everywhere")
	away.ok("/admin/topics")
	away.at("/admin/login?next=%2Fadmin%2Ftopics")

	// One session of several.
	tab.signIn()
	away.signIn()
	tab.ok("/admin/system/access")
	tab.follow(`#session-list tr:not(:has(.badge)) button`)
	tab.sees("The session is ended")
	away.ok("/admin/topics")
	away.at("/admin/login?next=%2Fadmin%2Ftopics")
}

func TestBrowserAdministrators(t *testing.T) {
	browses(t)
	s := newSite(t, true)
	tab := s.profile().signIn()
	tab.follow("#nav-system")
	tab.sees("1.2.3", "http.listen", "••••••")
	tab.follow(`a[href="/admin/system/access"]`)
	tab.unfold("#administrator")
	tab.fill("#administrator", "name", "grace", "password", "long enough now", "current_password", adaPassword)
	tab.save("#administrator")
	tab.sees("Administrator grace is created")

	grace := s.profile()
	grace.ok("/admin/login")
	grace.fill("#login", "name", "grace", "password", "long enough now")
	grace.save("#login")

	tab.follow(`a[href="/admin/system/administrators/grace"]`)
	tab.sees("Signed in once")
	tab.fill("#password", "password", "something else now", "current_password", "something else")
	if status := tab.send("#password"); status != http.StatusUnprocessableEntity {
		t.Errorf("a wrong password of one's own: %d", status)
	}
	tab.sees("this is not the password of administrator")
	tab.fill("#password", "password", "something else now", "current_password", adaPassword)
	tab.save("#password")
	tab.sees("The password is changed")
	grace.ok("/admin/")
	grace.at("/admin/login")
	grace.fill("#login", "name", "grace", "password", "something else now")
	grace.save("#login")
	grace.at("/admin/")

	grace.ok("/admin/system/access")
	grace.unfold("#token")
	grace.fill("#token", "name", "of grace", "scope", "write", "expires", "30")
	grace.save("#token")
	grace.sees("Token of grace is created")
	tab.ok("/admin/system/administrators/grace")
	tab.sees("so do the tokens", "of grace", "Take over")
	tab.fill("#delete", "take_over", "on", "confirm", "grac")
	if !tab.exists("#delete button:disabled") {
		t.Error("the button does not wait for the name")
	}
	tab.fill("#delete", "confirm", "grace")
	tab.save("#delete")
	tab.sees("Administrator grace is deleted", "of grace", "grace, now of "+adaName)
	grace.ok("/admin/")
	grace.at("/admin/login")

	tab.follow(`a[href="/admin/system/audit"]`)
	tab.sees("administrator.create", "administrator.delete", "grace", adaName)
}

func TestBrowserTokens(t *testing.T) {
	browses(t)
	s := newSite(t, true)
	tab := s.profile().signIn()
	bearer := func(token string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
	}
	tokens := map[string]string{}
	for _, scope := range []string{"read", "write", "admin"} {
		tab.ok("/admin/system/access")
		tab.unfold("#token")
		tab.fill("#token", "name", "for "+scope, "scope", scope, "expires", "30", "current_password", map[string]string{"admin": adaPassword}[scope])
		tab.save("#token")
		tab.sees("Token for "+scope+" is created", "shown for ten minutes")
		token := tab.text("#made pre code")
		if !strings.HasPrefix(token, "pipit_") {
			t.Fatalf("token %q", token)
		}
		tokens[scope] = token
		tab.ok("/admin/system/access")
		tab.seesNot(token)
		tab.sees("for " + scope)
	}
	const topic = `{"name": "/from/a/script"}`
	if status, _ := s.call("POST", "/admin/api/v1/topics", topic, bearer(tokens["read"])); status != http.StatusForbidden {
		t.Errorf("creating with scope read: %d", status)
	}
	if status, _ := s.call("GET", "/admin/api/v1/tokens", "", bearer(tokens["write"])); status != http.StatusForbidden {
		t.Errorf("listing tokens with scope write: %d", status)
	}
	if status, _ := s.call("GET", "/admin/api/v1/tokens", "", bearer(tokens["admin"])); status != http.StatusOK {
		t.Errorf("listing tokens with scope admin: %d", status)
	}
	if status, _ := s.call("POST", "/admin/api/v1/topics", topic, bearer(tokens["write"])); status != http.StatusCreated {
		t.Errorf("creating with scope write: %d", status)
	}
	status, answer := s.call("GET", "/admin/api/v1/topics", "", bearer(tokens["read"]))
	if items, _ := answer["items"].([]any); status != http.StatusOK || len(items) != 1 {
		t.Errorf("listing: %d %v", status, answer)
	}
	if status, _ := s.call("POST", "/admin/api/v1/tokens", `{"name": "of a script", "scope": "read"}`, bearer(tokens["admin"])); status != http.StatusCreated {
		t.Errorf("creating a token with scope admin: %d", status)
	}
	tab.ok("/admin/system/access")
	tab.press("#token-list tr:nth-child(1) summary")
	tab.fill("#token-list tr:nth-child(1)", "take_over", "on")
	tab.follow(`#token-list tr:has(th:first-child):nth-child(1) button`)
	tab.sees("The token is revoked", "of a script", "token for admin, now of "+adaName)
	refused := 0
	for _, token := range tokens {
		if status, _ := s.call("GET", "/admin/api/v1/topics", "", bearer(token)); status == http.StatusUnauthorized {
			refused++
		}
	}
	if refused != 1 {
		t.Errorf("%d tokens are refused after revoking one", refused)
	}
}
