package web

import (
	"cmp"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"pipit/admin/object"
	"pipit/broker"
)

// suggestedDeliveries is what the form of a new consumer suggests for max_deliveries. A request that does not say it has no
// limit.
const suggestedDeliveries = 20

// consumerGroups are the headings of a consumer's form, in their order, and what stands under them beside callback_…. What
// is not named stands in front of all.
var consumerGroups = []struct {
	heading string
	names   []string
}{
	{"Limits", []string{"max_depth", "max_in_flight", "ack_timeout", "overflow"}},
	{"Failures", []string{"max_deliveries", "retry_backoff", "dead_letter_topic", "on_expiry"}},
	{"Delivery", []string{"delivery_mode"}},
	{"Callbacks", nil},
	{"", []string{"is_active", "self_service"}},
}

// callbackField tells whether a property of a consumer is of those alone that are sent their messages.
func callbackField(name string) bool { return strings.HasPrefix(name, "callback_") }

// consumerFields are the fields of a consumer's form, under their headings.
func (cp consumerPages) consumerFields(c *broker.Consumer, isNew bool) []field {
	fields := settingFields(broker.ConsumerFields, c, isNew)
	rank := map[string]int{}
	for i := range fields {
		x := &fields[i]
		for n, g := range consumerGroups {
			if slices.Contains(g.names, x.Name) || g.heading == "Callbacks" && callbackField(x.Name) {
				x.Group, rank[x.Name] = g.heading, n+1
			}
		}
		switch {
		case callbackField(x.Name):
			x.Required = false // a browser would not send a form for what it does not show
		case x.Name == "dead_letter_topic":
			x.Options = cp.topicNames()
		}
	}
	slices.SortStableFunc(fields, func(x, y field) int { return cmp.Compare(rank[x.Name], rank[y.Name]) })
	return fields
}

// newConsumerFields are those of a new consumer. Where the form is asked for, and not sent in part by another page, it
// suggests what most want.
func (cp consumerPages) newConsumerFields(proposed url.Values) []field {
	c := object.NewConsumer()
	fields := cp.proposePair(cp.consumerFields(&c.Consumer, true), proposed)
	if proposed.Has("new") {
		x := &fields[slices.IndexFunc(fields, func(x field) bool { return x.Name == "max_deliveries" })]
		x.Value = strconv.Itoa(suggestedDeliveries)
	}
	return fields
}
