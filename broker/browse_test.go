package broker_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
	"pipit/broker/browse"
	"pipit/broker/limit"
	"pipit/broker/property"
)

// id returns the number of the consumer with a sub_key.
func (r *rig) id(key string) uint32 {
	r.t.Helper()
	for _, c := range r.Consumers() {
		if c.SubKey == key {
			return c.ID
		}
	}
	r.t.Fatalf("no consumer %s", key)
	return 0
}

// browse returns all pages of what is asked for.
func (r *rig) browse(o browse.Options) (list []browse.Stored) {
	r.t.Helper()
	if o.Payload == 0 {
		o.Payload = -1
	}
	for {
		page, err := r.Browse(ctx, o)
		if err != nil {
			r.t.Fatal(err)
		}
		list = append(list, page.Messages...)
		if o.Cursor = page.Next; o.Cursor == "" {
			return list
		}
	}
}

// summary returns the payloads of messages, and what else is worth a look in most tests.
func summary(list []browse.Stored) (s string) {
	for _, m := range list {
		s += string(m.Payload)
		if m.State != browse.Waiting {
			s += ":" + string(m.State)
		}
		if m.Deliveries > 0 {
			s += fmt.Sprint("*", m.Deliveries)
		}
		s += " "
	}
	return s
}

func (r *rig) wantBrowse(o browse.Options, want string) {
	r.t.Helper()
	if got := summary(r.browse(o)); got != want {
		r.t.Errorf("browse %+v: %q, want %q", o, got, want)
	}
}

// fill publishes n messages with their numbers, and priorities in turn.
func (r *rig) fill(topic string, n int, priorities ...int) {
	r.t.Helper()
	p, err := r.Publisher(r.crm, topic)
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i < n; {
		pubs := make([]broker.Publication, min(n-i, limit.MaxBatch))
		for j := range pubs {
			pubs[j].Payload = fmt.Append(nil, i)
			if len(priorities) > 0 {
				pubs[j].Priority = priorities[i%len(priorities)]
			}
			i++
		}
		if _, err := p.PublishBatch(pubs); err != nil {
			r.t.Fatal(err)
		}
	}
}

func TestBrowseOptions(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.define(topicDef("/t"), consumerDef("/t", "a"))
	r.define(topicDef("/u"), consumerDef("/u", "b"))
	r.fill("/t", 3)
	r.fill("/u", 3)
	r.publish("/t", broker.Publication{Delay: 100})
	r.publish("/t", broker.Publication{Delay: 100})
	next := func(o browse.Options) string {
		o.Limit = 1
		page, err := r.Browse(ctx, o)
		if err != nil || page.Next == "" {
			t.Fatalf("%+v: %+v %v", o, page, err)
		}
		return page.Next
	}
	ofT := next(browse.Options{Topic: "/t"})
	ofU := next(browse.Options{Topic: "/u"})
	delayed := next(browse.Options{Topic: "/t", State: browse.Delayed})
	newest := next(browse.Options{Topic: "/t", Newest: true})
	raw := func(b string) string { return base64.RawURLEncoding.EncodeToString([]byte(b)) }
	now := time.Now()
	for name, c := range map[string]struct {
		o    browse.Options
		code broker.Code // Internal: good
	}{
		"all topics":            {browse.Options{}, broker.Internal},
		"no such topic":         {browse.Options{Topic: "/x"}, broker.NotFound},
		"no such consumer":      {browse.Options{Consumer: 9999}, broker.NotFound},
		"consumer of another":   {browse.Options{Consumer: r.id("b"), Topic: "/t"}, broker.NotFound},
		"topic":                 {browse.Options{Topic: "/t"}, broker.Internal},
		"consumer":              {browse.Options{Consumer: r.id("a")}, broker.Internal},
		"both":                  {browse.Options{Consumer: r.id("a"), Topic: "/t"}, broker.Internal},
		"limit low":             {browse.Options{Topic: "/t", Limit: -1}, broker.Invalid},
		"limit high":            {browse.Options{Topic: "/t", Limit: browse.Max + 1}, broker.Invalid},
		"limit":                 {browse.Options{Topic: "/t", Limit: browse.Max}, broker.Internal},
		"priority low":          {browse.Options{Topic: "/t", Priority: -1}, broker.Invalid},
		"priority high":         {browse.Options{Topic: "/t", Priority: 10}, broker.Invalid},
		"priority":              {browse.Options{Topic: "/t", Priority: 9}, broker.Internal},
		"state unknown":         {browse.Options{Topic: "/t", State: "lost"}, broker.Invalid},
		"state done":            {browse.Options{Topic: "/t", State: browse.Done}, broker.Invalid},
		"state":                 {browse.Options{Topic: "/t", State: browse.Deferred}, broker.Internal},
		"text long":             {browse.Options{Topic: "/t", Text: strings.Repeat("x", browse.MaxText+1)}, broker.Invalid},
		"text":                  {browse.Options{Topic: "/t", Text: strings.Repeat("x", browse.MaxText)}, broker.Internal},
		"no time":               {browse.Options{Topic: "/t", Since: now, Until: now}, broker.Invalid},
		"time back":             {browse.Options{Topic: "/t", Since: now, Until: now.Add(-1)}, broker.Invalid},
		"time":                  {browse.Options{Topic: "/t", Since: now, Until: now.Add(1)}, broker.Internal},
		"cursor":                {browse.Options{Topic: "/t", Cursor: ofT}, broker.Internal},
		"cursor of a consumer":  {browse.Options{Consumer: r.id("a"), Cursor: ofT}, broker.Internal},
		"cursor of another":     {browse.Options{Topic: "/t", Cursor: ofU}, broker.Invalid},
		"cursor of a priority":  {browse.Options{Topic: "/t", Cursor: ofT, Priority: 5}, broker.Internal},
		"cursor of another one": {browse.Options{Topic: "/t", Cursor: ofT, Priority: 4}, broker.Invalid},
		"cursor of delayed":     {browse.Options{Topic: "/t", Cursor: delayed}, broker.Invalid},
		"cursor for delayed":    {browse.Options{Topic: "/t", Cursor: ofT, State: browse.Delayed}, broker.Invalid},
		"delayed":               {browse.Options{Topic: "/t", Cursor: delayed, State: browse.Delayed}, broker.Internal},
		"cursor of newest":      {browse.Options{Topic: "/t", Cursor: newest, Newest: true}, broker.Internal},
		"cursor of the oldest":  {browse.Options{Topic: "/t", Cursor: newest}, broker.Invalid},
		"cursor for the newest": {browse.Options{Topic: "/t", Cursor: ofT, Newest: true}, broker.Invalid},
		"cursor in all topics":  {browse.Options{Cursor: ofU}, broker.Internal},
		"cursor text":           {browse.Options{Topic: "/t", Cursor: "next"}, broker.Invalid},
		"cursor not base64":     {browse.Options{Topic: "/t", Cursor: ofT + "?"}, broker.Invalid},
		"cursor with a newline": {browse.Options{Topic: "/t", Cursor: ofT + "\n"}, broker.Invalid},
		"cursor short":          {browse.Options{Topic: "/t", Cursor: ofT[:len(ofT)-2]}, broker.Invalid},
		"cursor long":           {browse.Options{Topic: "/t", Cursor: ofT + "AA"}, broker.Invalid},
		"cursor huge":           {browse.Options{Topic: "/t", Cursor: strings.Repeat("A", 1<<20)}, broker.Invalid},
		"cursor of version 2":   {browse.Options{Topic: "/t", Cursor: raw("\x02m\x00\x00\x00\x01\x05\x00\x00\x00\x00\x00\x00\x00\x00")}, broker.Invalid},
		"cursor of no kind":     {browse.Options{Topic: "/t", Cursor: raw("\x01x\x00\x00\x00\x01\x05\x00\x00\x00\x00\x00\x00\x00\x00")}, broker.Invalid},
		"cursor of priority 10": {browse.Options{Topic: "/t", Cursor: raw("\x01m\x00\x00\x00\x01\x0a\x00\x00\x00\x00\x00\x00\x00\x00")}, broker.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := r.Browse(ctx, c.o)
			switch {
			case c.code == broker.Internal && err != nil:
				t.Error(err)
			case c.code != broker.Internal:
				wantCode(t, err, c.code)
			}
		})
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	_, err := r.Browse(over, browse.Options{Topic: "/t"})
	wantCode(t, err, broker.Unavailable)
}

func FuzzBrowseCursor(f *testing.F) {
	r := newRig(f, broker.Options{})
	r.define(topicDef("/t"), consumerDef("/t", "a"))
	r.fill("/t", 20, 9, 5, 1)
	for range 3 {
		r.publish("/t", broker.Publication{Delay: 100})
	}
	states := []browse.State{"", browse.Waiting, browse.InFlight, browse.Delayed}
	for _, state := range states {
		page, err := r.Browse(ctx, browse.Options{Topic: "/t", State: state, Limit: 2})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(page.Next)
	}
	a := r.id("a")
	f.Fuzz(func(t *testing.T, cursor string) {
		for _, state := range states {
			for _, id := range []uint32{0, a} {
				page, err := r.Browse(ctx, browse.Options{Topic: "/t", Consumer: id, State: state, Limit: 2, Cursor: cursor})
				if err != nil {
					wantCode(t, err, broker.Invalid)
				} else if cursor != "" && page.Next == cursor {
					t.Errorf("%s leads nowhere", cursor)
				}
			}
		}
	})
}

func TestBrowse(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.define(topicDef("/t"), consumerDef("/t", "a"))
	before := time.Now().Truncate(time.Microsecond)
	own := r.publish("/t", broker.Publication{Payload: []byte("seven apples"), Priority: 7, ID: "own", Expiration: 30, MIMEType: "application/x"})
	made := r.publish("/t", broker.Publication{Payload: []byte("five pears"), Expiration: 40})
	r.publish("/t", broker.Publication{Payload: []byte{0, 1, 0xff}, Priority: 9})
	r.publish("/t", broker.Publication{Payload: []byte("five apples")})
	r.publish("/t", broker.Publication{Priority: 1})

	for i, o := range []browse.Options{{Topic: "/t"}, {Topic: "/t", Limit: 1}, {Consumer: r.id("a"), Limit: 2}} {
		list := r.browse(o)
		if len(list) != 5 || string(list[1].Payload) != "seven apples" || string(list[2].Payload) != "five pears" || list[4].Priority != 1 {
			t.Fatalf("%d: %+v", i, list)
		}
		m := list[1]
		if m.ID != own || m.Topic != "/t" || m.Priority != 7 || m.Created.Before(before) || !m.Due.Equal(m.Created) || m.Expiration != 30 ||
			m.ExpireAt.Sub(m.Created) != 30*time.Second || m.Producer != "CRM" || m.MIMEType != "application/x" || m.Size != 12 || m.State != browse.Waiting || m.Deliveries != 0 {
			t.Errorf("%d: %+v", i, m)
		}
		if list[2].ID != made || list[2].ID == "" || !bytes.Equal(list[0].Payload, []byte{0, 1, 0xff}) {
			t.Errorf("%d: %+v", i, list)
		}
	}
	r.wantBrowse(browse.Options{Topic: "/t", Payload: 4}, "\x00\x01\xff seve five five  ")
	r.wantBrowse(browse.Options{Topic: "/t", Text: "apples"}, "seven apples five apples ")
	r.wantBrowse(browse.Options{Topic: "/t", Text: "apples", Payload: 2}, "se fi ")
	r.wantBrowse(browse.Options{Topic: "/t", Text: "\x01\xff"}, "\x00\x01\xff ")
	r.wantBrowse(browse.Options{Topic: "/t", Text: "plums"}, "")
	r.wantBrowse(browse.Options{Topic: "/t", Priority: 5}, "five pears five apples ")
	r.wantBrowse(browse.Options{Topic: "/t", Priority: 2}, "")
	page, err := r.Browse(ctx, browse.Options{Topic: "/t", Limit: 5})
	if err != nil || len(page.Messages) != 5 || page.Next != "" || page.Scanned != 5 || len(page.Messages[1].Payload) != 0 {
		t.Errorf("without payloads: %+v %v", page, err)
	}
	// Looking delivers nothing.
	if m := r.receive("/t", "a", broker.ReceiveOptions{}); len(m) != 5 || m[0].DeliveryCount != 1 {
		t.Errorf("%+v", m)
	}
}

func TestBrowseStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		topic := topicDef("/t")
		topic.Expiration = property.Off
		r.define(topic, consumerDef("/t", "a"), consumerDef("/t", "b"))
		a, b := r.id("a"), r.id("b")
		r.fill("/t", 8)
		got := r.receive("/t", "a", broker.ReceiveOptions{Max: 5})
		settle := func(st broker.Settlement) {
			t.Helper()
			if _, err := r.sub("/t", "a").Settle(st); err != nil {
				t.Fatal(err)
			}
		}
		settle(broker.Settlement{Ack: []string{got[1].ID}, Reject: []string{got[2].ID}, Delay: 10})
		settle(broker.Settlement{Reject: []string{got[3].ID}})
		r.publish("/t", broker.Publication{Payload: []byte("late"), Delay: 3600})

		r.wantBrowse(browse.Options{Consumer: a}, "0:in_flight*1 2:deferred*1 3*1 4:in_flight*1 5 6 7 ")
		r.wantBrowse(browse.Options{Consumer: a, Limit: 1}, "0:in_flight*1 2:deferred*1 3*1 4:in_flight*1 5 6 7 ")
		r.wantBrowse(browse.Options{Consumer: a, State: browse.Waiting}, "3*1 5 6 7 ")
		r.wantBrowse(browse.Options{Consumer: a, State: browse.Waiting, Limit: 1}, "3*1 5 6 7 ")
		r.wantBrowse(browse.Options{Consumer: a, State: browse.InFlight}, "0:in_flight*1 4:in_flight*1 ")
		r.wantBrowse(browse.Options{Consumer: a, State: browse.InFlight, Limit: 1}, "0:in_flight*1 4:in_flight*1 ")
		r.wantBrowse(browse.Options{Consumer: a, State: browse.Deferred}, "2:deferred*1 ")
		r.wantBrowse(browse.Options{Consumer: a, State: browse.Delayed}, "late:delayed ")
		r.wantBrowse(browse.Options{Consumer: b}, "0 1 2 3 4 5 6 7 ")
		r.wantBrowse(browse.Options{Topic: "/t"}, "0:in_flight 1 2:deferred 3 4:in_flight 5 6 7 ")
		r.wantBrowse(browse.Options{Topic: "/t", State: browse.InFlight}, "0:in_flight 4:in_flight ")
		r.wantBrowse(browse.Options{Topic: "/t", State: browse.Deferred}, "2:deferred ")
		r.wantBrowse(browse.Options{Topic: "/t", State: browse.Waiting, Limit: 2}, "1 3 5 6 7 ")
		r.wantBrowse(browse.Options{Topic: "/t", State: browse.Delayed}, "late:delayed ")

		time.Sleep(12 * time.Second) // the rejection's delay is over
		r.wantBrowse(browse.Options{Consumer: a}, "0:in_flight*1 2*1 3*1 4:in_flight*1 5 6 7 ")
		r.receive("/t", "a", broker.ReceiveOptions{Max: 1, Order: broker.LIFO})
		r.wantBrowse(browse.Options{Consumer: a, State: browse.Waiting}, "2*1 3*1 5 6 ")
		r.receive("/t", "a", broker.ReceiveOptions{Max: 2}) // 2 and 3, a second time
		r.wantBrowse(browse.Options{Consumer: a, State: browse.InFlight}, "0:in_flight*1 2:in_flight*2 3:in_flight*2 4:in_flight*1 7:in_flight*1 ")
		time.Sleep(31 * time.Second) // the ack timeout
		r.wantBrowse(browse.Options{Consumer: a}, "0*1 2*2 3*2 4*1 5 6 7*1 ")
		r.wantBrowse(browse.Options{Topic: "/t", State: browse.InFlight}, "")
		r.restart()
		r.wantBrowse(browse.Options{Consumer: a}, "0 2*2 3*2 4 5 6 7 ")

		// What all are done with is out of sight at once.
		r.ack(t, "a", r.receive("/t", "a", broker.ReceiveOptions{})...)
		r.ack(t, "b", r.receive("/t", "b", broker.ReceiveOptions{Max: 3})[2])
		r.wantBrowse(browse.Options{Consumer: a}, "")
		r.wantBrowse(browse.Options{Topic: "/t", State: browse.Waiting}, "3 4 5 6 7 ")
		r.wantBrowse(browse.Options{Topic: "/t"}, "0:in_flight 1:in_flight 3 4 5 6 7 ")
	})
}

// TestBrowseWithoutConsumers: what waits for the first consumer is there to be seen.
func TestBrowseWithoutConsumers(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.define(topicDef("/t"))
	r.fill("/t", 3, 1, 2)
	r.wantBrowse(browse.Options{Topic: "/t"}, "1 0 2 ")
	r.wantBrowse(browse.Options{Topic: "/t", State: browse.InFlight}, "")
	m, standings, err := r.Message("/t", r.browse(browse.Options{Topic: "/t"})[0].ID)
	if err != nil || string(m.Payload) != "1" || m.State != browse.Waiting || len(standings) != 0 {
		t.Errorf("%+v %+v %v", m, standings, err)
	}
}

func TestBrowseExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{}.Sweeping(time.Hour))
		r.define(topicDef("/t"), consumerDef("/t", "a"))
		r.publish("/t", broker.Publication{Payload: []byte("short"), Expiration: 2, ID: "short"})
		r.publish("/t", broker.Publication{Payload: []byte("long"), Expiration: 20})
		created := r.browse(browse.Options{Topic: "/t"})[1].Created
		time.Sleep(3 * time.Second)
		r.wantBrowse(browse.Options{Topic: "/t"}, "long ")
		r.wantBrowse(browse.Options{Consumer: r.id("a")}, "long ")
		_, _, err := r.Message("/t", "short")
		wantCode(t, err, broker.NotFound)
		if at, err := r.Oldest(r.id("a")); err != nil || !at[r.id("a")].Equal(created) {
			t.Errorf("oldest: %v %v, want %v", at, err, created)
		}
	})
}

func TestBrowseTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		topic := topicDef("/t")
		topic.Expiration = property.Off
		c := consumerDef("/t", "a")
		c.MaxInFlight = 1000
		r.define(topic, c)
		start := time.Now().Truncate(time.Microsecond)
		at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
		for i := range 100 {
			r.publish("/t", broker.Publication{Payload: fmt.Append(nil, i), Priority: 1 + i%2})
			if i == 20 {
				r.publish("/t", broker.Publication{Payload: []byte("late"), Delay: 30, Priority: 2})
				r.publish("/t", broker.Publication{Payload: []byte("later"), Delay: 1000, Priority: 2})
			}
			time.Sleep(time.Second)
		}
		for _, c := range []struct {
			o    browse.Options
			want string
		}{
			{browse.Options{Since: at(96)}, "97 99 96 98 "},
			{browse.Options{Since: at(96), Limit: 1}, "97 99 96 98 "},
			{browse.Options{Since: at(96).Add(time.Microsecond)}, "97 99 98 "},
			{browse.Options{Until: at(3)}, "1 0 2 "},
			{browse.Options{Until: at(3).Add(time.Microsecond)}, "1 3 0 2 "},
			{browse.Options{Since: at(49), Until: at(53)}, "49 late 51 50 52 "},
			{browse.Options{Since: at(19), Until: at(22)}, "19 21 20 "},
			{browse.Options{Since: at(1000)}, ""},
			{browse.Options{Until: at(0)}, ""},
			{browse.Options{State: browse.Delayed, Since: at(1000)}, "later:delayed "},
			{browse.Options{State: browse.Delayed, Until: at(1020)}, ""},
		} {
			c.o.Topic = "/t"
			r.wantBrowse(c.o, c.want)
			c.o.Topic, c.o.Consumer = "", r.id("a")
			r.wantBrowse(c.o, c.want)
		}
		r.ack(t, "a", r.receive("/t", "a", broker.ReceiveOptions{Max: 26})...) // to 49
		r.wantBrowse(browse.Options{Consumer: r.id("a"), Since: at(47), Until: at(54)}, "51 53 48 50 52 ")
	})
}

// TestBrowsePages: while messages come and go, what stays is on exactly one page, in order.
func TestBrowsePages(t *testing.T) {
	r := newRig(t, broker.Options{}.Sweeping(10*time.Millisecond))
	topic := topicDef("/t")
	topic.Expiration = property.Off
	r.define(topic, consumerDef("/t", "a"), consumerDef("/t", "b"))
	rnd := newRand(t, 1)
	stays := map[string]bool{}
	r.fill("/t", 900, 9, 5, 1)
	for _, m := range r.browse(browse.Options{Topic: "/t"}) {
		stays[m.ID] = true
	}
	for _, o := range []browse.Options{{Topic: "/t"}, {Consumer: r.id("a")}, {Consumer: r.id("a"), State: browse.Waiting}} {
		got := map[string]bool{}
		last := browse.Stored{Priority: limit.MaxPriority}
		for n := 0; ; n++ {
			o.Limit = 1 + rnd.IntN(20)
			page, err := r.Browse(ctx, o)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range page.Messages {
				if got[m.ID] || m.Priority > last.Priority || m.Priority == last.Priority && m.Created.Before(last.Created) {
					t.Fatalf("page %d: %+v after %+v", n, m, last)
				}
				got[m.ID], last = true, m
			}
			if page.Next == "" {
				break
			}
			o.Cursor = page.Next
			r.fill("/t", rnd.IntN(3), 9, 5, 1)
			for _, key := range []string{"a", "b"} {
				order := broker.Order(rnd.IntN(2))
				for _, m := range r.receive("/t", key, broker.ReceiveOptions{Max: 1 + rnd.IntN(2), Ack: true, Order: order}) {
					if key == "a" {
						delete(stays, m.ID)
					}
				}
			}
		}
		for id := range stays {
			if !got[id] {
				t.Fatalf("%+v: message %s was on no page", o, id)
			}
		}
	}
}

func TestBrowseDelayed(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.define(topicDef("/t"), consumerDef("/t", "a"))
	r.define(topicDef("/u"))
	for _, n := range []int{5, 2, 8, 1, 9, 3} {
		r.publish("/t", broker.Publication{Payload: fmt.Append(nil, n), Delay: int64(1000 * n), Priority: n})
		r.publish("/u", broker.Publication{Payload: fmt.Append(nil, "u", n), Delay: int64(1000*n + 1)})
	}
	const all = "1:delayed 2:delayed 3:delayed 5:delayed 8:delayed 9:delayed "
	for limit := 1; limit <= 6; limit++ {
		r.wantBrowse(browse.Options{Topic: "/t", State: browse.Delayed, Limit: limit}, all)
	}
	r.wantBrowse(browse.Options{Consumer: r.id("a"), State: browse.Delayed}, all)
	r.wantBrowse(browse.Options{Topic: "/t", State: browse.Delayed, Priority: 3}, "3:delayed ")
	r.wantBrowse(browse.Options{Topic: "/t", State: browse.Delayed, Text: "8"}, "8:delayed ")
	r.wantBrowse(browse.Options{Topic: "/t"}, "")
	list := r.browse(browse.Options{Topic: "/u", State: browse.Delayed})
	if len(list) != 6 || list[0].Due.Sub(list[0].Created) != 1001*time.Second || list[0].ID == "" || list[0].ExpireAt.Sub(list[0].Due) != time.Minute {
		t.Errorf("%+v", list)
	}
	m, standings, err := r.Message("/t", r.browse(browse.Options{Topic: "/t", State: browse.Delayed, Text: "8"})[0].ID)
	if err != nil || string(m.Payload) != "8" || m.State != browse.Delayed || len(standings) != 1 || standings[0].State != browse.Delayed {
		t.Errorf("%+v %+v %v", m, standings, err)
	}
}

// TestBrowseBytes: a page of large messages ends before it takes too much memory.
func TestBrowseBytes(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.define(topicDef("/t"), consumerDef("/t", "a"))
	for i := range 20 {
		r.publish("/t", broker.Publication{Payload: bytes.Repeat([]byte{byte(i)}, 1<<20)})
	}
	page, err := r.Browse(ctx, browse.Options{Topic: "/t", Payload: -1})
	if err != nil || len(page.Messages) != limit.MaxReply>>20 || page.Next == "" {
		t.Fatalf("%d messages, next %q, %v", len(page.Messages), page.Next, err)
	}
	list := r.browse(browse.Options{Topic: "/t"})
	for i, m := range list {
		if m.Payload[0] != byte(i) || len(m.Payload) != 1<<20 {
			t.Fatalf("message %d: %d bytes of %d", i, len(m.Payload), m.Payload[0])
		}
	}
	if len(list) != 20 {
		t.Errorf("%d messages", len(list))
	}
	if page, err = r.Browse(ctx, browse.Options{Topic: "/t", Payload: 1}); err != nil || len(page.Messages) != 20 {
		t.Errorf("cut: %d messages, %v", len(page.Messages), err)
	}
}

// TestBrowseLarge: a page looks at little more than it returns, wherever in a large backlog it is.
func TestBrowseLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 120_000
		if testing.Short() {
			n = 30_000
		}
		r := newRig(t, broker.Options{})
		topic := topicDef("/t")
		topic.Expiration = property.Off
		c := consumerDef("/t", "a")
		c.MaxInFlight, c.AckTimeout = 2*n, time.Hour
		r.define(topic, c, consumerDef("/t", "b"))
		a := r.id("a")
		r.fill("/t", n/2)
		const apart = 60 * time.Millisecond // more than messages can be out of order by
		time.Sleep(apart)
		middle := time.Now()
		time.Sleep(apart)
		r.fill("/t", n/2)
		expect := func(o browse.Options, want int, first string) browse.Page {
			t.Helper()
			o.Payload = -1
			page, err := r.Browse(ctx, o)
			if err != nil {
				t.Fatal(err)
			}
			if len(page.Messages) != want || want > 0 && string(page.Messages[0].Payload) != first {
				t.Fatalf("%+v: %d messages %.60s", o, len(page.Messages), summary(page.Messages))
			}
			if page.Scanned > want+1+64 {
				t.Errorf("%+v: %d messages looked at for %d", o, page.Scanned, want)
			}
			return page
		}
		expect(browse.Options{Topic: "/t"}, 100, "0")
		expect(browse.Options{Topic: "/t", Since: middle}, 100, "0")
		expect(browse.Options{Consumer: a, Since: middle, Limit: 1000}, 1000, "0")

		// The consumer takes all and is done with every second hundred.
		for i := 0; i < n; i += 1000 {
			var st broker.Settlement
			for j, m := range r.receive("/t", "a", broker.ReceiveOptions{Max: 1000}) {
				if j/100%2 == 1 {
					st.Ack = append(st.Ack, m.ID)
				}
			}
			if _, err := r.sub("/t", "a").Settle(st); err != nil {
				t.Fatal(err)
			}
		}
		expect(browse.Options{Consumer: a, State: browse.Waiting}, 0, "")
		page := expect(browse.Options{Consumer: a, State: browse.InFlight}, 100, "0")
		page = expect(browse.Options{Consumer: a, State: browse.InFlight, Cursor: page.Next}, 100, "200")
		expect(browse.Options{Consumer: a, State: browse.InFlight, Cursor: page.Next, Limit: 1000}, 1000, "400")
		expect(browse.Options{Consumer: a, Cursor: page.Next, Limit: 1000}, 1000, "400")
		r.fill("/t", 10)
		expect(browse.Options{Consumer: a, State: browse.Waiting}, 10, "0")
		if got := len(r.browse(browse.Options{Consumer: a, Limit: 1000})); got != n/2+10 {
			t.Errorf("%d messages, want %d", got, n/2+10)
		}
		page, err := r.Browse(ctx, browse.Options{Topic: "/t", Text: "nowhere"})
		if err != nil || len(page.Messages) > 0 || page.Next != "" || page.Scanned != n+10 || page.Total != int64(n+10) {
			t.Errorf("%d of %d looked at, next %q, %v", page.Scanned, page.Total, page.Next, err)
		}
		if got := summary(r.browse(browse.Options{Consumer: a, Text: fmt.Sprint(n/2 - 200)})); got == "" {
			t.Error("a text far behind was not found")
		}
		at, err := r.Oldest(a, r.id("b"), 9999)
		if err != nil || len(at) != 2 || at[a].After(middle) {
			t.Errorf("oldest: %v %v", at, err)
		}
		if cleared, err := r.ClearBacklog(ctx, a); err != nil || cleared != int64(n/2+10) {
			t.Errorf("cleared %d, %v", cleared, err)
		}
		expect(browse.Options{Consumer: a}, 0, "")
		expect(browse.Options{Topic: "/t"}, 100, "0")
	})
}

func TestMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		topic := topicDef("/t")
		topic.Expiration = property.Off
		r.define(topic, consumerDef("/t", "b"), consumerDef("/t", "a"))
		r.define(topicDef("/u"))
		other := r.publish("/u", text("u"))
		large := bytes.Repeat([]byte("x"), 1<<20)
		made := r.publish("/t", broker.Publication{Payload: large})
		r.publish("/t", broker.Publication{Payload: []byte("first"), ID: "own"})
		time.Sleep(6 * time.Minute)
		r.publish("/t", broker.Publication{Payload: []byte("second"), ID: "own"})
		forwarded := r.publish("/t", broker.Publication{Payload: []byte("forwarded"), ID: other})
		for id, want := range map[string]string{"own": "second", other: "forwarded", made: string(large)} {
			if m, _, err := r.Message("/t", id); err != nil || m.ID != id || string(m.Payload) != want {
				t.Errorf("%s: %.80s %v", id, m.Payload, err)
			}
		}
		short := topicDef("/v")
		short.DedupWindow = property.Off
		r.define(short)
		twice := r.publish("/v", text("once"))
		r.publish("/v", broker.Publication{Payload: []byte("twice"), ID: twice})
		if m, _, err := r.Message("/v", twice); err != nil || string(m.Payload) != "twice" {
			t.Errorf("%s %v", m.Payload, err)
		}
		for _, id := range []string{"", "nope", "a b", strings.Repeat("x", 65), "K06Y63NEJQYGMQKTP9D4KGQQ0GB2"} {
			_, _, err := r.Message("/t", id)
			wantCode(t, err, broker.NotFound)
		}
		_, _, err := r.Message("/u", made)
		wantCode(t, err, broker.NotFound)
		_, _, err = r.Message("/x", made)
		wantCode(t, err, broker.NotFound)

		for _, key := range []string{"a", "b"} {
			// The second "own" is not in flight beside the first.
			r.ack(t, key, r.receive("/t", key, broker.ReceiveOptions{})[1])
			if got := payloads(r.receive("/t", key, broker.ReceiveOptions{})); got != "second " {
				t.Errorf("%q", got)
			}
		}
		if _, err := r.sub("/t", "b").Settle(broker.Settlement{Reject: []string{"own"}, Delay: 7}); err != nil {
			t.Fatal(err)
		}
		_, standings, err := r.Message("/t", forwarded)
		if err != nil || len(standings) != 2 {
			t.Fatalf("%+v %v", standings, err)
		}
		for _, s := range standings {
			if s.Client != "crm" || s.State != browse.InFlight || s.Deliveries != 1 || time.Until(s.Until) > 30*time.Second || time.Until(s.Until) < 29*time.Second {
				t.Errorf("%+v", s)
			}
		}
		m, standings, err := r.Message("/t", "own")
		if err != nil || m.State != browse.InFlight || string(m.Payload) != "second" {
			t.Fatalf("%+v %+v %v", m, standings, err)
		}
		for _, s := range standings {
			want, until := browse.InFlight, 30*time.Second
			if s.Consumer == r.id("b") {
				want, until = browse.Deferred, 7*time.Second
			}
			if s.State != want || (until-time.Until(s.Until)).Abs() > time.Second {
				t.Errorf("%+v, want %s", s, want)
			}
		}
	})
}

func TestOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		topic := topicDef("/t")
		topic.Expiration = property.Off
		r.define(topic, consumerDef("/t", "a"), consumerDef("/t", "b"))
		a, b := r.id("a"), r.id("b")
		want := func(at ...time.Time) {
			t.Helper()
			got, err := r.Oldest(a, b, 9999)
			n := 0
			for i, id := range []uint32{a, b} {
				if !got[id].Equal(at[i]) {
					t.Errorf("consumer %d: %v, want %v", i, got[id], at[i])
				}
				if !at[i].IsZero() {
					n++
				}
			}
			if err != nil || len(got) != n {
				t.Errorf("%v %v", got, err)
			}
		}
		want(time.Time{}, time.Time{})
		var at []time.Time
		for i := range 6 {
			at = append(at, time.Now().Truncate(time.Microsecond))
			r.publish("/t", broker.Publication{Priority: 1 + i%3})
			time.Sleep(time.Second)
		}
		want(at[0], at[0])
		m := r.receive("/t", "a", broker.ReceiveOptions{}) // 2 5 1 4 0 3
		want(at[0], at[0])
		r.ack(t, "a", m[4])
		want(at[1], at[0])
		r.ack(t, "a", m[3], m[2], m[5])
		want(at[2], at[0])
		r.restart()
		want(at[2], at[0])
		if _, err := r.ClearBacklog(ctx, a); err != nil {
			t.Fatal(err)
		}
		want(time.Time{}, at[0])
		if got, err := r.Oldest(); err != nil || len(got) != 0 {
			t.Error(got, err)
		}
	})
}
