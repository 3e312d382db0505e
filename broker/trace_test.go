package broker_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
	"pipit/broker/browse"
	"pipit/broker/property"
)

// wantTrace compares what happened to a message: of each topic its events, as "what(reason) client deliveries".
func (r *rig) wantTrace(id, want string) {
	r.t.Helper()
	list, err := r.Trace(r.t.Context(), browse.TraceQuery{ID: id})
	if err != nil {
		r.t.Errorf("%s: %v", id, err)
		return
	}
	var got []string
	for _, x := range list {
		s := x.Topic + ":"
		for _, e := range x.Events {
			s += " " + e.What
			if e.Reason != "" {
				s += "(" + e.Reason + ")"
			}
			if e.Client != "" {
				s += fmt.Sprintf(" %d %d,", e.Consumer, e.Deliveries)
			}
		}
		if x.Here {
			s += " here"
		}
		if x.ID != id || x.Known && x.Size != 4 {
			r.t.Errorf("%+v", x)
		}
		got = append(got, strings.TrimSuffix(s, ","))
	}
	if s := strings.Join(got, "; "); s != want {
		r.t.Errorf("trace of %s:\ngot  %s\nwant %s", id, s, want)
	}
}

// TestTrace does everything to messages that ends them, and asks what happened, also after a restart and after a crash
// before which the history was stored.
func TestTrace(t *testing.T) {
	for name, between := range map[string]func(*rig){
		"at once": func(*rig) {}, "restart": (*rig).restart, "crash": func(r *rig) { time.Sleep(2 * time.Minute); r.crash()() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := failing(t, func(c *broker.Consumer) { c.MaxDeliveries = 2 })
				lasting, other := topicDef("/t"), topicDef("/u")
				lasting.Expiration, other.Expiration = property.Off, property.Off
				r.define(lasting)
				r.define(other, consumerDef("/u", "b"), consumerDef("/u", "c"))
				a, b, c := r.id("a"), r.id("b"), r.id("c")
				publish := func(topic string, pub broker.Publication) string {
					pub.Payload = []byte("four")
					return r.publish(topic, pub)
				}
				plain := broker.Publication{}

				acked := publish("/t", broker.Publication{CorrelationID: "order-7"})
				own := publish("/t", broker.Publication{ID: "my id", CorrelationID: "order-7"})
				rejected, thrice := publish("/t", plain), publish("/t", plain)
				r.receive("/t", "a", broker.ReceiveOptions{})
				r.settle("a", broker.Settlement{Ack: []string{acked}, Reject: []string{own, thrice}, DeadLetter: []string{rejected}})
				r.receive("/t", "a", broker.ReceiveOptions{})
				r.settle("a", broker.Settlement{Ack: []string{own}, Reject: []string{thrice}})
				if got := r.redrive(broker.Redrive{IDs: []string{rejected}}); got.Moved != 1 {
					t.Errorf("%+v", got)
				}

				expired := publish("/u", broker.Publication{Expiration: 2})
				r.receive("/u", "b", broker.ReceiveOptions{})
				r.settle("b", broker.Settlement{Ack: []string{expired}})
				r.receive("/u", "c", broker.ReceiveOptions{})
				time.Sleep(5 * time.Second)
				deleted, late := publish("/u", plain), publish("/u", broker.Publication{Delay: 3600})
				r.remove("/u", 2, deleted, late)
				delayed := publish("/u", broker.Publication{Delay: 2})
				time.Sleep(5 * time.Second)
				r.receive("/u", "b", broker.ReceiveOptions{Ack: true})
				cleared := publish("/u", plain)
				if _, err := r.ClearBacklog(t.Context(), c); err != nil {
					t.Fatal(err)
				}
				if _, err := r.Seek(t.Context(), b, broker.Seek{Newest: true}); err != nil {
					t.Fatal(err)
				}
				waits := publish("/u", plain)
				r.receive("/u", "b", broker.ReceiveOptions{Ack: true})

				between(r)
				r.wantTrace(acked, fmt.Sprintf("/t: published acknowledged %d 1", a))
				r.wantTrace(own, fmt.Sprintf("/t: published acknowledged %d 2", a))
				r.wantTrace(rejected, fmt.Sprintf("/t: published dead_lettered(rejected) %d 1; /dead: published redriven; /t: published here", a))
				r.wantTrace(thrice, fmt.Sprintf("/t: published dead_lettered(max_deliveries) %d 2; /dead: published here", a))
				r.wantTrace(expired, fmt.Sprintf("/u: published acknowledged %d 1, expired %d 1, expired", b, c))
				r.wantTrace(deleted, "/u: published deleted")
				r.wantTrace(late, "/u: published deleted")
				r.wantTrace(delayed, fmt.Sprintf("/u: published acknowledged %d 1, cleared %d 0", b, c))
				r.wantTrace(cleared, fmt.Sprintf("/u: published cleared %d 0, skipped %d 0", c, b))
				r.wantTrace(waits, fmt.Sprintf("/u: published acknowledged %d 1, here", b))

				list, err := r.Trace(t.Context(), browse.TraceQuery{CorrelationID: "order-7"})
				if err != nil || len(list) != 2 || list[0].ID != acked || list[1].ID != own || list[1].CorrelationID != "order-7" || list[0].Here {
					t.Errorf("%+v %v", list, err)
				}
				if e := list[0].Events[1]; e.Delivered.IsZero() || e.Delivered.After(e.At) || e.Client == "" {
					t.Errorf("%+v", e)
				}
				if list, err := r.Trace(t.Context(), browse.TraceQuery{ID: rejected, Topic: "/dead"}); err != nil || len(list) != 1 || list[0].Topic != "/dead" {
					t.Errorf("%+v %v", list, err)
				}

				r.deleteConsumer("c")
				r.wantTrace(waits, fmt.Sprintf("/u: published acknowledged %d 1, unsubscribed %d 0", b, c)+here(r, waits))
				r.deleteTopic("/u")
				r.wantTrace(deleted, "/u: published deleted")
				if list, err := r.Trace(t.Context(), browse.TraceQuery{ID: waits}); err != nil || list[0].Here || list[0].Events[len(list[0].Events)-1].What != browse.TraceTopicDeleted {
					t.Errorf("%+v %v", list, err)
				}
			})
		})
	}
}

// here is how a trace ends of a message that the sweeper has not come to.
func here(r *rig, id string) string {
	if list, err := r.Trace(r.t.Context(), browse.TraceQuery{ID: id}); err == nil && list[0].Here {
		return ", here"
	}
	return ""
}

// TestTraceLimits asks for what is not known: what was never there, what came before the newest of so many or is too long
// ago, and everything where nothing is kept. A message that is stored is found all the same.
func TestTraceLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{History: time.Hour, HistoryMessages: 100})
		topic := topicDef("/t")
		topic.Expiration = property.Off
		r.define(topic, consumerDef("/t", "a"))
		first := r.publish("/t", broker.Publication{Payload: []byte("four"), ID: "first"})
		r.receive("/t", "a", broker.ReceiveOptions{Ack: true})
		waits := r.publish("/t", broker.Publication{Payload: []byte("four")})
		r.wantTrace(first, fmt.Sprintf("/t: published acknowledged %d 1", r.id("a")))
		for range 200 {
			r.publish("/t", text("four"))
		}
		unknown := func(id, why string) {
			t.Helper()
			_, err := r.Trace(t.Context(), browse.TraceQuery{ID: id})
			if broker.CodeOf(err) != broker.NotFound || !strings.HasSuffix(err.Error(), why) {
				t.Errorf("%s: %v", id, err)
			}
		}
		unknown(first, "kept for 1h, of the last 100 messages")
		unknown("never", "kept for 1h, of the last 100 messages")
		r.wantTrace(waits, "/t: published here")
		gone := r.publish("/t", text("four"))
		r.remove("/t", 1, gone)
		r.wantTrace(gone, "/t: published deleted")
		time.Sleep(time.Hour + time.Minute)
		unknown(gone, "messages")
		r.wantTrace(waits, "/t: published here")
		for _, q := range []browse.TraceQuery{{}, {ID: "a", CorrelationID: "b"}, {ID: "\x00"}} {
			if _, err := r.Trace(t.Context(), q); broker.CodeOf(err) != broker.Invalid {
				t.Errorf("%+v: %v", q, err)
			}
		}
		gone = r.publish("/t", text("four"))
		r.remove("/t", 1, gone)
		r.Adjust(broker.Options{History: -1})
		unknown(gone, "what happened to messages is not kept")
		r.wantTrace(waits, "/t: published here")
		r.restart()
	})
}
