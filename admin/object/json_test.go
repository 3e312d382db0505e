package object

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"

	"pipit/admin/gate"
	"pipit/broker"
	"pipit/broker/property"
)

// Texts are written as encoding/json does, whatever is in them.
func TestAppendText(t *testing.T) {
	texts := []string{"", "plain /a-b.c", "ü", "\u2028", "a\xffb", "<&>"}
	for r := range rune(0x100) {
		texts = append(texts, "a"+string(r)+"b")
	}
	for _, s := range texts {
		want, err := gate.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := appendText([]byte("x"), s); err != nil || string(got) != "x"+string(want) {
			t.Errorf("%q: %s, %v; want %s", s, got[1:], err, want)
		}
	}
}

// BenchmarkList measures the JSON of a list of 1,000 consumers, the largest page that there is.
func BenchmarkList(b *testing.B) {
	now := gate.TimeOf(time.Now())
	list := gate.List[Consumer]{Total: gate.MaxLimit}
	for i := range uint32(gate.MaxLimit) {
		c := NewConsumer()
		c.Client, c.Topic, c.SubKey = fmt.Sprintf("client-%04d", i), fmt.Sprintf("/topic/%05d/happened", i), fmt.Sprintf("zpsk.%032d", i)
		c.ID, c.Revision, c.Oldest, c.LastSeen = i+1, "0123456789abcdef", now, now
		list.Items = append(list.Items, c)
	}
	for b.Loop() {
		if _, err := gate.Marshal(list); err != nil {
			b.Fatal(err)
		}
	}
}

// What is written of an object with all that it can have is read again, and a list has each object as encoding/json
// has it. Which names are written, the document of the API says, to which every answer of the tests is held.
func TestObjectJSON(t *testing.T) {
	at := gate.TimeOf(time.Date(2026, 1, 31, 12, 0, 0, 120_000, time.UTC))
	c, top, p, q, w := NewClient(), NewTopic(), NewProducer(), NewConsumer(), NewWebhook()
	for _, v := range []any{&c, &top, &p, &q, &w} {
		fill(reflect.ValueOf(v).Elem(), at)
	}
	c.Password, q.Start, q.New, q.Old = "", "", false, broker.OldKey{} // what only a creation, or nobody says
	testJSON(t, c)
	testJSON(t, top)
	testJSON(t, p)
	testJSON(t, q)
	testJSON(t, w)
	testJSON(t, Producer{})
}

// fill sets all exported fields of an object and of its definition to what is not their zero value.
func fill(v reflect.Value, at gate.Time) {
	for i := range v.NumField() {
		f := v.Field(i)
		switch p := f.Addr().Interface().(type) {
		case *gate.Time:
			*p = at
		case *time.Time: // is told by the object
		case *[]string:
			*p = []string{"<one> & \u2028", "two"}
		case *property.Texts:
			*p = property.TextsOf("<one> & \u2028", "two")
		case *property.Durations:
			*p = property.DurationsOf(time.Second, time.Hour)
		case *property.Table:
			*p = property.TableOf(map[string]string{"<one>": "1", "two": "2"})
		case **CallbackState:
			*p = &CallbackState{State: CallbackPaused, Failures: 7, Since: at, Next: at, Error: "<500>", Paused: "why"}
		default:
			switch f.Kind() {
			case reflect.Struct:
				fill(f, at)
			case reflect.String:
				f.SetString("a \"text\" <&> ü")
			case reflect.Bool:
				f.SetBool(true)
			case reflect.Int, reflect.Int64:
				f.SetInt(int64(1000 + i))
			default:
				f.SetUint(uint64(1000 + i))
			}
		}
	}
}

func testJSON[T any](t *testing.T, v T) {
	t.Helper()
	one, err := gate.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var read T
	if err := json.Unmarshal(one, &read); err != nil || !reflect.DeepEqual(read, v) {
		t.Errorf("%s\nis read as %+v, %v\nwanted    %+v", one, read, err, v)
	}
	for _, list := range []gate.List[T]{{Items: []T{}}, {Items: []T{v, v}, Next: "abc", Total: 7}} {
		got, err := gate.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		type plain gate.List[T]
		want, err := gate.Marshal(plain(list))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s, %v\nwanted %s", got, err, want)
		}
	}
}
