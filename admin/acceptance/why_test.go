package acceptance

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pipit/admin/api"
	"pipit/broker"
)

// wrong are the texts of what keeps messages from the only consumer, after their codes.
func (r *apiRig) wrong() []string {
	r.t.Helper()
	var why api.Why
	r.ok(200, "GET", fmt.Sprintf("/consumers/%d/why", r.b.Consumers()[0].ID), nil).into(r.t, &why)
	texts := []string{}
	for _, c := range why.Checks {
		if !c.OK {
			texts = append(texts, c.Code+": "+c.Text)
			if !strings.HasPrefix(c.Link, "/admin/") {
				r.t.Errorf("%+v leads nowhere", c)
			}
		}
	}
	return texts
}

// TestWhy: of each cause for which a consumer gets nothing its checks tell, and of nothing else.
func TestWhy(t *testing.T) {
	receive := func(r *apiRig, status int, password, key string) {
		r.ok(status, "POST", "//zato/pubsub/msg//customer/created?max=2", nil, "Authorization", "Basic "+password, "Content-Type", "", "X-Zato-PubSub-Key", key)
	}
	const right, bad = "ZXJwOmVycA==", "ZXJwOndyb25n"
	edit := func(r *apiRig, path string, body jsonObject) { r.ok(200, "PATCH", path, body) }
	for name, test := range map[string]struct {
		do   func(r *apiRig, consumer, key string)
		want []string // parts of the texts
	}{
		"nothing": {func(r *apiRig, _, key string) { receive(r, 200, right, key) }, nil},
		"client":  {func(r *apiRig, _, _ string) { edit(r, "/clients/erp", jsonObject{"is_active": false}) }, []string{"client: The client erp is inactive", "fetch: It has never"}},
		"topic":   {func(r *apiRig, _, _ string) { edit(r, "/topics/%2Fcustomer%2Fcreated", jsonObject{"is_active": false}) }, []string{"topic: The topic /customer/created is inactive", "fetch: "}},
		"consumer": {func(r *apiRig, c, _ string) { edit(r, c, jsonObject{"is_active": false}) },
			[]string{"consumer: The consumer is inactive", "fetch: "}},
		"never": {func(*apiRig, string, string) {}, []string{"fetch: It has never fetched"}},
		"key": {func(r *apiRig, _, _ string) { receive(r, 403, right, "wrong"); receive(r, 403, right, "wrong") },
			[]string{"fetch: ", "refused: Refused: 403 unknown sub_key ×2, from 127.0.0.1, last "}},
		"password": {func(r *apiRig, _, key string) { receive(r, 401, bad, key) }, []string{"fetch: ", "refused: Refused: 401 wrong password, from 127.0.0.1, last "}},
		"in flight": {func(r *apiRig, c, key string) {
			edit(r, c, jsonObject{"max_in_flight": 2})
			receive(r, 200, right, key)
			receive(r, 429, right, key)
		}, []string{"in_flight: 2 of at most 2 messages are in flight", "refused: Refused: 429 2 messages are in flight"}},
		"full": {func(r *apiRig, c, key string) {
			receive(r, 200, right, key)
			edit(r, c, jsonObject{"max_depth": 3})
		}, []string{"room: Its backlog is full: 3 of at most 3 messages"}},
		"topic full": {func(r *apiRig, _, key string) {
			receive(r, 200, right, key)
			edit(r, "/topics/%2Fcustomer%2Fcreated", jsonObject{"max_depth": 3})
		}, []string{"room: The topic is full"}},
		"poison": {func(r *apiRig, c, key string) {
			for range 5 {
				receive(r, 200, right, key)
				r.ok(200, "POST", c+"/release", nil)
			}
		}, []string{"deliveries: 2 messages were delivered 5 times or more"}},
		"cleared": {func(r *apiRig, c, key string) {
			receive(r, 200, right, key)
			r.ok(200, "POST", c+"/clear", nil)
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := newAPIRig(t)
			c := r.example()
			for range 3 {
				if _, err := r.b.Publish(t.Context(), "/customer/created", []byte("x"), broker.WithProducer("crm")); err != nil {
					t.Fatal(err)
				}
			}
			r.t = t
			test.do(r, fmt.Sprintf("/consumers/%d", c.ID), c.SubKey)
			got := r.wrong()
			if len(got) != len(test.want) || slices.ContainsFunc(test.want, func(want string) bool {
				return !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, want) })
			}) {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
	newAPIRig(t).ok(404, "GET", "/consumers/99/why", nil)
}
