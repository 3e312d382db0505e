package broker_test

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pipit/broker"
	"pipit/broker/change"
	"pipit/broker/limit"
	"pipit/broker/property"
)

// Every exported field of a noun is in its table, or is one that nobody sets from outside of the program.
func TestFieldTables(t *testing.T) {
	testTable(t, broker.ClientFields)
	testTable(t, broker.TopicFields)
	testTable(t, broker.ProducerFields, "LastSeen")
	testTable(t, broker.WebhookFields)
	testTable(t, broker.ConsumerFields, "LastSeen", "New", "Old") // New: whoever defines consumers knows whether they are; Old: a rotation sets it
}

func testTable[T any](t *testing.T, fields property.Fields[T], beside ...string) {
	t.Helper()
	noun := reflect.TypeFor[T]()
	known := map[string]bool{}
	for _, b := range beside {
		known[b] = true
	}
	names := map[string]bool{}
	for i := range fields {
		f := &fields[i]
		if names[f.Name] || !regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`).MatchString(f.Name) || fields.Named(f.Name) != f {
			t.Errorf("%s: %q is no name, or stands twice", noun, f.Name)
		}
		names[f.Name] = true
		at := structField(t, fields, f)
		if known[at] {
			t.Errorf("%s.%s is in the table twice", noun, at)
		}
		known[at] = true
		if f.Help == "" || strings.HasSuffix(f.Help, ".") || f.Label == "" && !f.Secret {
			t.Errorf("%s.%s has no help or label: %+v", noun, at, f)
		}
		testField(t, fields, f)
	}
	for _, f := range reflect.VisibleFields(noun) {
		if f.IsExported() && !known[f.Name] {
			t.Errorf("%s.%s is not in the table", noun, f.Name)
		}
	}
}

// structField returns the name of the one field of the struct that a field of the table sets.
func structField[T any](t *testing.T, fields property.Fields[T], f *property.Field[T]) string {
	t.Helper()
	var before, after T
	switch v := f.Value(&after).(type) {
	case string:
		f.Set(&after, "x")
	case bool:
		f.Set(&after, !v)
	case int64:
		f.Set(&after, int64(7))
	case time.Duration:
		f.Set(&after, 7*time.Second)
	case property.Size:
		f.Set(&after, property.Size(7))
	case property.Durations:
		f.Set(&after, property.DurationsOf(7*time.Second))
	case property.Texts:
		f.Set(&after, property.TextsOf("x"))
	case property.Table:
		f.Set(&after, property.TableOf(map[string]string{"x": "y"}))
	default:
		t.Fatalf("%s is a %T", f.Name, v)
	}
	var set []string
	for i := range reflect.TypeFor[T]().NumField() {
		if x, y := reflect.ValueOf(before).Field(i), reflect.ValueOf(after).Field(i); !x.Equal(y) {
			set = append(set, reflect.TypeFor[T]().Field(i).Name)
		}
	}
	if len(set) != 1 || f.Value(&before) == f.Value(&after) {
		t.Fatalf("%s sets %q", f.Name, set)
	}
	for i := range fields {
		if o := &fields[i]; o != f && o.Value(&before) != o.Value(&after) {
			t.Errorf("%s sets %s", f.Name, o.Name)
		}
	}
	return set[0]
}

// testField: what holds by default is allowed, and what is just out of bounds is not.
func testField[T any](t *testing.T, fields property.Fields[T], f *property.Field[T]) {
	t.Helper()
	byDefault := fields.New()
	var zero T
	if f.Default != nil && f.Value(&byDefault) != f.Default {
		t.Errorf("%s is %v by default, not %v", f.Name, f.Value(&byDefault), f.Default)
	}
	if !f.Required && faulty(fields, &byDefault, f.Name) {
		t.Errorf("%s: its default is not allowed", f.Name)
	}
	set := func(v any) *T {
		x := byDefault
		if topic, is := any(&x).(*broker.Topic); is && f.Name == "max_topics" { // which is of templates alone
			topic.Name, topic.AutoCreate = "/*", true
		}
		f.Set(&x, v)
		return &x
	}
	var good, bad []*T
	switch f.Value(&zero).(type) {
	case int64:
		good, bad = []*T{set(f.Min), set(f.Max)}, []*T{set(f.Min - 1), set(f.Max + 1)}
	case time.Duration:
		good, bad = []*T{set(time.Duration(f.Min)), set(time.Duration(f.Max))}, []*T{set(time.Duration(f.Min) - 1), set(time.Duration(f.Max) + 1)}
	case property.Size:
		good, bad = []*T{set(property.Size(f.Min)), set(property.Size(f.Max))}, []*T{set(property.Size(f.Min - 1)), set(property.Size(f.Max + 1))}
	case property.Durations:
		least, most := time.Duration(f.Min), time.Duration(f.Max)
		good = []*T{set(property.DurationsOf(slices.Repeat([]time.Duration{least}, f.Most())...)), set(property.DurationsOf(least, most))}
		bad = []*T{set(property.DurationsOf(slices.Repeat([]time.Duration{least}, f.Most()+1)...)), set(property.DurationsOf(most + 1)), set(property.DurationsOf(least, least-1))}
	case property.Texts:
		bad = []*T{set(property.TextsOf("a\x00b")), set(property.TextsOf(strings.Repeat("x", 10_000)))}
		if f.Example != "" {
			good = append(good, set(property.TextsOf(f.Example)))
			bad = append(bad, set(property.TextsOf(slices.Repeat([]string{f.Example}, f.Most()+1)...)), set(property.TextsOf(f.Example, "")))
		}
	case property.Table:
		bad = []*T{set(property.TableOf(map[string]string{"": "x"})), set(property.TableOf(map[string]string{"x": "a\x00b"}))}
	case string:
		for _, o := range f.Options {
			good = append(good, set(o.Value))
		}
		if f.Options != nil {
			bad = append(bad, set("none of them"))
		} else if f.Check != nil {
			bad = append(bad, set(strings.Repeat("x", int(f.Max)+1)))
		}
		if f.Example != "" {
			good = append(good, set(f.Example))
			if p := regexp.MustCompile(f.Pattern); !p.MatchString(f.Example) {
				t.Errorf("%s: the example is no %s", f.Name, p)
			}
		}
	}
	for _, x := range good {
		if faulty(fields, x, f.Name) {
			t.Errorf("%s: %v is refused", f.Name, f.Value(x))
		}
		var read T
		if err := f.SetText(&read, f.Text(x)); err != nil || f.Value(&read) != f.Value(x) {
			t.Errorf("%s: %q is read as %v, %v", f.Name, f.Text(x), f.Value(&read), err)
		}
	}
	for _, x := range bad {
		if !faulty(fields, x, f.Name) {
			t.Errorf("%s: %v is allowed", f.Name, f.Value(x))
		}
	}
}

// faulty tells whether Validate blames a field.
func faulty[T any](fields property.Fields[T], x *T, name string) bool {
	v, ok := any(x).(interface{ Validate() error })
	if !ok { // a producer has nothing that could be wrong by itself
		return false
	}
	return slices.Contains(blamed(v.Validate()), name)
}

// blamed returns the fields that errors are about.
func blamed(err error) (names []string) {
	if all, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range all.Unwrap() {
			names = append(names, blamed(err)...)
		}
		return names
	}
	if e := broker.ErrorOf(err); e != nil {
		names = append(names, e.Field)
	}
	return names
}

// Errors say what is wrong in which object, and show no secret.
func TestFieldErrors(t *testing.T) {
	consumer := broker.ConsumerFields.New()
	consumer.Client, consumer.Topic, consumer.Name, consumer.SubKey, consumer.Start = "c", "/x", " n", "a secret", "now"
	consumer.MaxDepth, consumer.MaxInFlight, consumer.AckTimeout = property.Off, -1, time.Millisecond
	for _, tt := range []struct {
		err  error
		want string
	}{
		{(&broker.Topic{Name: "/x/", MaxDepth: property.Off, Expiration: -1, DedupWindow: -time.Second}).Validate(),
			"topic name \"/x/\": allowed are 1 to 512 bytes, no control characters, no slash at the end\n" +
				"max_depth 0 of topic \"/x/\": allowed are 1 to 1000000000000\n" +
				"expiration -1 of topic \"/x/\": allowed are 0 to 3153600000 seconds\n" +
				"dedup_window -1s of topic \"/x/\": allowed are 0s to 30d"},
		{(&broker.Client{Username: "a:b", Name: "\x00", Password: strings.Repeat("s", 73), PasswordHash: "h"}).Validate(),
			"username \"a:b\": allowed are 1 to 128 bytes without a colon and control characters\n" +
				"name \"\\x00\" of client \"a:b\": allowed are at most 256 bytes without control characters\n" +
				"password of client \"a:b\": allowed are at most 72 bytes, got 73\n" +
				"password_hash of client \"a:b\": not a bcrypt hash of cost 10 to 13"},
		{consumer.Validate(),
			"name \" n\" of consumer \"c\" of topic \"/x\": allowed are at most 64 printable characters without a blank at either end\n" +
				"sub_key of consumer \"c\" of topic \"/x\": allowed are at most 128 of A-Z a-z 0-9 . _ -\n" +
				"max_depth 0 of consumer \"c\" of topic \"/x\": allowed are 1 to 1000000000000\n" +
				"max_in_flight -1 of consumer \"c\" of topic \"/x\": allowed are 1 to 1000000\n" +
				"ack_timeout 1ms of consumer \"c\" of topic \"/x\": allowed are 1s to 1d\n" +
				"start \"now\" of consumer \"c\" of topic \"/x\": allowed are new, oldest and a UTC time such as 2026-11-23T09:00:00"},
	} {
		if tt.err == nil || tt.err.Error() != tt.want {
			t.Errorf("got\n%v\nwant\n%s", tt.err, tt.want)
		}
	}
}

// A text that is no value of its field is refused, and says of which kind one is.
func TestFieldText(t *testing.T) {
	var topic broker.Topic
	for _, tt := range []struct {
		field, text string
		want        any
		err         string
	}{
		{"name", " /x", " /x", ""},
		{"is_active", " true ", true, ""},
		{"is_active", "yes", nil, "allowed are true and false"},
		{"max_depth", " 12 ", int64(12), ""},
		{"max_depth", "", nil, "allowed are whole numbers"},
		{"max_depth", "9223372036854775808", nil, "allowed are whole numbers"},
		{"dedup_window", " 90 ", 90 * time.Second, ""},
		{"dedup_window", "1h30m", 90 * time.Minute, ""},
		{"dedup_window", "-1s", -time.Second, ""},
		{"dedup_window", "soon", nil, "allowed are durations such as 30s, 5m, 1h30m, 7d"},
	} {
		f := broker.TopicFields.Named(tt.field)
		err := f.SetText(&topic, tt.text)
		if tt.err != "" {
			if err == nil || err.Error() != tt.err || !slices.Equal(blamed(err), []string{tt.field}) {
				t.Errorf("%s %q: %v", tt.field, tt.text, err)
			}
			continue
		}
		if err != nil || f.Value(&topic) != tt.want {
			t.Errorf("%s %q is %v, %v", tt.field, tt.text, f.Value(&topic), err)
		}
	}
}

// Who embeds the broker gives what differs from the defaults: a field that is zero is its default, and Off is a 0.
func TestZeroFields(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.change(broker.Change{Define: broker.Definition{
		Clients:   []broker.Client{{Username: "zero", Password: "secret"}},
		Topics:    []broker.Topic{{Name: "/zero"}, {Name: "/off", Expiration: property.Off, DedupWindow: property.Off}},
		Producers: []broker.Producer{{Client: "zero", Topic: "/zero"}},
		Consumers: []broker.Consumer{{Client: "zero", Topic: "/zero", SubKey: "zero"}},
	}})
	if topic, _ := r.Topic("/zero"); topic.Topic != (broker.Topic{Name: "/zero", MaxDepth: limit.DefaultMaxDepth,
		Expiration: limit.DefaultExpiration, DedupWindow: limit.DefaultDedupWindow, Retention: property.Off, RetentionBytes: property.Off, MaxTopics: limit.DefaultMaxTopics}) {
		t.Errorf("%+v", topic)
	}
	if topic, _ := r.Topic("/off"); topic.Expiration != property.Off || topic.DedupWindow != property.Off {
		t.Errorf("%+v", topic)
	}
	if c := r.queue("zero"); c.Inactive || c.MaxDepth != limit.DefaultMaxDepth || c.MaxInFlight != limit.DefaultMaxInFlight || c.AckTimeout != limit.DefaultAckTimeout {
		t.Errorf("%+v", c)
	}

	// What is read can be written: nothing changes, also of what was given as zero.
	before := r.Definition()
	for _, d := range []broker.Definition{before, {Topics: []broker.Topic{{Name: "/zero"}}, Consumers: []broker.Consumer{{Client: "zero", Topic: "/zero", SubKey: "zero"}}}} {
		done := r.change(broker.Change{Define: d})
		for _, o := range done.Topics {
			if o.Action != change.Keep {
				t.Errorf("%+v", o)
			}
		}
		for _, o := range done.Consumers {
			if o.Action != change.Keep {
				t.Errorf("%+v", o)
			}
		}
	}
	r.restart()
	if _, err := r.Apply(ctx, before); err != nil {
		t.Fatal(err)
	}
	if after := r.Definition(); !reflect.DeepEqual(before, after) {
		t.Errorf("%+v became %+v", before, after)
	}

	if blamed := blamed((&broker.Topic{Name: "/x", MaxDepth: property.Off, Expiration: -1, DedupWindow: -1}).Validate()); !slices.Equal(blamed, []string{"max_depth", "expiration", "dedup_window"}) {
		t.Errorf("%q", blamed)
	}
	if blamed := blamed((&broker.Consumer{MaxDepth: property.Off, MaxInFlight: property.Off, AckTimeout: property.Off}).Validate()); !slices.Equal(blamed, []string{"max_depth", "max_in_flight", "ack_timeout"}) {
		t.Errorf("%q", blamed)
	}
}
