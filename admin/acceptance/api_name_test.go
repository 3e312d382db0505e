package acceptance

import "testing"

// TestNamesInQuery says names in the query, as behind a proxy that decodes %2F, with - for them in the path.
func TestNamesInQuery(t *testing.T) {
	r := newAPIRig(t)
	r.example()
	const name = "name=/customer/created"
	r.ok(201, "POST", "/topics", jsonObject{"name": "-"})
	r.ok(201, "POST", "/clients", jsonObject{"username": "a/b", "password": "secret"})
	r.ok(201, "POST", "/administrators", jsonObject{"name": "c/d", "password": "a long password"})
	answered := func(field, want string, a apiAnswer) {
		t.Helper()
		if got := a.field(t, field); got != want {
			t.Errorf("%s is %v, want %s", field, got, want)
		}
	}
	answered("name", "/customer/created", r.ok(200, "GET", "/topics/-?"+name, nil))
	answered("name", "/customer/created", r.ok(200, "GET", "/topics/-?name=%2Fcustomer%2Fcreated", nil))
	answered("name", "-", r.ok(200, "GET", "/topics/-", nil))
	answered("name", "-", r.ok(200, "GET", "/topics/-?name=-", nil))
	answered("name", "/customer/created", r.ok(200, "PATCH", "/topics/-?"+name, jsonObject{"max_depth": 7}))
	r.ok(200, "GET", "/topics/-/deletion?"+name, nil)
	r.ok(201, "POST", "/topics/-/messages?"+name, jsonObject{"payload": "one", "msg_id": "m1", "delay": 60})
	r.ok(201, "POST", "/topics/-/messages?"+name, jsonObject{"payload": "two", "msg_id": "-"})
	if a := r.ok(200, "GET", "/messages/-/m1/payload?"+name, nil); string(a.body) != "one" {
		t.Errorf("payload %s", a.body)
	}
	if a := r.ok(200, "GET", "/messages/-/-/payload?msg_id=m1&"+name, nil); string(a.body) != "one" {
		t.Errorf("payload %s", a.body)
	}
	if a := r.ok(200, "GET", "/messages/-/-/payload?"+name, nil); string(a.body) != "two" {
		t.Errorf("payload %s", a.body)
	}
	r.ok(200, "GET", "/messages/-/m1?payload=2&"+name, nil)
	r.ok(200, "POST", "/messages/-/m1/release?"+name, nil)
	r.ok(200, "DELETE", "/messages/-/m1?"+name, nil)
	r.ok(200, "POST", "/topics/-/messages/delete?"+name, jsonObject{"ids": []string{"-"}})
	answered("username", "a/b", r.ok(200, "GET", "/clients/-?username=a/b", nil))
	r.ok(200, "DELETE", "/clients/-?username=a/b", nil)
	r.ok(204, "DELETE", "/administrators/-?name=c/d", nil)
	r.ok(200, "DELETE", "/topics/-?"+name, nil)
	answered("name", "-", r.ok(200, "GET", "/topics/-", nil))

	r.refused(404, "not_found", "GET", "/topics/-?"+name, nil)
	r.refused(404, "not_found", "GET", "/topics/-?name=", nil)
	r.refused(400, "malformed", "GET", "/topics/-?name=%zz", nil)
	for path, parameter := range map[string]string{
		"/topics/-?name=a&name=b":        "name", // which?
		"/topics/%2Fother?name=/t":       "name", // which?
		"/topics/-?name=-&nonsense=1":    "nonsense",
		"/topics?" + name:                "name",
		"/messages/-/m1?topic=/t&name=-": "topic",
		"/producers/-?id=1":              "id", // a number needs no escape
	} {
		if p := r.refused(422, "invalid", "GET", path, nil); len(p.Errors) != 1 || p.Errors[0].Parameter != parameter {
			t.Errorf("%s: errors %v", path, p.Errors)
		}
	}
}

// TestEmptyIsNoDefault gives empty texts where one of a few is allowed: the default is for who says nothing.
func TestEmptyIsNoDefault(t *testing.T) {
	r := newAPIRig(t)
	r.example()
	for path, body := range map[string]jsonObject{
		"/tokens":    {"name": "one", "scope": ""},
		"/consumers": {"client": "erp", "topic": "/customer/created", "start": ""},
	} {
		r.refused(422, "invalid", "POST", path, body)
		for name, v := range body {
			if v == "" {
				body[name] = nil
			}
		}
		r.ok(201, "POST", path, body)
	}
	for _, list := range []string{"/topics", "/clients", "/producers", "/consumers"} {
		r.refused(422, "invalid", "GET", list+"?sort=", nil)
	}
}
