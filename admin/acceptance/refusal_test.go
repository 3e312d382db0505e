package acceptance

import (
	"fmt"
	"strings"
	"testing"

	"pipit/admin/gate"
	"pipit/admin/monitor"
)

// refusals are those of a query, as texts.
func (r *apiRig) refusals(query string) []string {
	r.t.Helper()
	var list gate.List[monitor.Refusal]
	r.ok(200, "GET", "/refusals?"+query, nil).into(r.t, &list)
	texts := make([]string, len(list.Items))
	for i, x := range list.Items {
		texts[i] = fmt.Sprintf("%d %s %s %s %s", x.Status, x.Client, x.Route, x.Topic, x.Reason)
	}
	return texts
}

// TestRefusals: a request that is refused is in the API, with the reason that its sender is not told, and filters find it.
func TestRefusals(t *testing.T) {
	r := newAPIRig(t)
	c := r.example()
	r.ok(201, "POST", "/topics", jsonObject{"name": "/other"})
	erp := func(key string) []string {
		return []string{"Authorization", "Basic ZXJwOmVycA==", "Content-Type", "", "X-Zato-PubSub-Key", key}
	}
	r.ok(403, "POST", "//zato/pubsub/msg//customer/created", nil, erp("wrong")...)
	r.ok(403, "POST", "//zato/pubsub/ack", jsonObject{"ack": []string{"K1"}}, append(erp("wrong"), "Content-Type", "application/json")...)
	r.ok(403, "POST", "//zato/pubsub/msg//other", nil, erp(c.SubKey)...)
	r.ok(403, "POST", "//zato/pubsub/topic//other", "x", erp("")...)
	r.ok(401, "POST", "//zato/pubsub/topic//other", "x", "Authorization", "Basic bm9ib2R5Om5vYm9keQ==", "Content-Type", "")

	msg := "403 erp /zato/pubsub/msg /customer/created Permission denied: unknown sub_key"
	ack := "403 erp /zato/pubsub/ack  Permission denied: unknown sub_key"
	other := `403 erp /zato/pubsub/msg /other Permission denied: the sub_key is not of topic "/other"`
	publish := `403 erp /zato/pubsub/topic /other Permission denied: client "erp" is no producer of topic "/other"`
	unknown := "401 nobody /zato/pubsub/topic /other Invalid credentials: unknown user"
	for _, test := range []struct {
		query string
		want  []string
	}{
		{"", []string{unknown, publish, other, ack, msg}},
		{"limit=1", []string{unknown}},
		{"status=401", []string{unknown}},
		{"client=erp", []string{publish, other, ack, msg}},
		{"topic=/other", []string{unknown, publish, other}},
		{"topic=/other&client=nobody", []string{unknown}},
		{fmt.Sprintf("consumer=%d", c.ID), []string{other, ack, msg}}, // but not what it publishes
		{"client=crm", nil},
	} {
		if got := r.refusals(test.query); strings.Join(got, "\n") != strings.Join(test.want, "\n") {
			t.Errorf("%s:\n%s\nwant\n%s", test.query, strings.Join(got, "\n"), strings.Join(test.want, "\n"))
		}
	}
	for _, bad := range []string{"status=200", "status=x", "consumer=x", "limit=0", "cursor=x", "nothing=1"} {
		r.ok(422, "GET", "/refusals?"+bad, nil)
	}
}
