package broker

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"pipit/broker/limit"
	"pipit/broker/property"
)

// What is stored says whether an object is active and has 0 for what is off, as it always did: a file of an older
// version means the same, and so does one that an older version opens again.
func TestRecords(t *testing.T) {
	testRecord(t, `{"Username":"c","Name":"C","PasswordHash":"h","Active":true}`, clientRecord{Client{Username: "c", Name: "C", PasswordHash: "h"}})
	testRecord(t, `{"Username":"c","Name":"C","PasswordHash":"h","Active":false}`, clientRecord{Client{Username: "c", Name: "C", PasswordHash: "h", Inactive: true}})
	testRecord(t, `{"Name":"/x","Active":true,"MaxDepth":1,"Expiration":0,"DedupWindow":0,"ID":2}`,
		topicRecord{Topic{Name: "/x", MaxDepth: 1, Expiration: property.Off, DedupWindow: property.Off, Retention: property.Off, RetentionBytes: property.Off, MaxTopics: limit.DefaultMaxTopics}, 2, ""})
	testRecord(t, `{"Name":"/x","Active":false,"MaxDepth":1,"Expiration":60,"DedupWindow":300000000000,"ID":2}`,
		topicRecord{Topic{Name: "/x", Inactive: true, MaxDepth: 1, Expiration: 60, DedupWindow: 5 * time.Minute, Retention: property.Off, RetentionBytes: property.Off, MaxTopics: limit.DefaultMaxTopics}, 2, ""})
	testRecord(t, `{"Name":"/x/*","Active":true,"MaxDepth":1,"Expiration":60,"DedupWindow":300000000000,"AutoCreate":true,"MaxTopics":7,"ID":2}`,
		topicRecord{Topic{Name: "/x/*", MaxDepth: 1, Expiration: 60, DedupWindow: 5 * time.Minute, Retention: property.Off, RetentionBytes: property.Off, AutoCreate: true, MaxTopics: 7}, 2, ""})
	testRecord(t, `{"Name":"/x/y","Active":true,"MaxDepth":1,"Expiration":60,"DedupWindow":300000000000,"ID":3,"Template":"/x/*"}`,
		topicRecord{Topic{Name: "/x/y", MaxDepth: 1, Expiration: 60, DedupWindow: 5 * time.Minute, Retention: property.Off, RetentionBytes: property.Off, MaxTopics: limit.DefaultMaxTopics}, 3, "/x/*"})
	testRecord(t, `{"Client":"c","Topic":"/x","Active":false,"ID":3}`, producerRecord{Producer{Client: "c", Topic: "/x", Inactive: true}, 3})
	testRecord(t, `{"Client":"c","Topic":"/x","Active":true,"ID":3}`, producerRecord{Producer{Client: "c", Topic: "/x"}, 3})
	testRecord(t, `{"Client":"c","Topic":"/x","Name":"n","SubKey":"k","Active":false,"MaxDepth":1,"MaxInFlight":2,"AckTimeout":1000000000,"ID":4,"Declared":"no"}`,
		whole(consumerRecord{Consumer{Client: "c", Topic: "/x", Name: "n", SubKey: "k", Inactive: true, MaxDepth: 1, MaxInFlight: 2, AckTimeout: time.Second}, 4, "no", ""}))
	testRecord(t, `{"Client":"c","Topic":"/x","SubKey":"k","Active":true,"MaxDepth":1,"MaxInFlight":2,"AckTimeout":1000000000,"ID":4}`,
		whole(consumerRecord{Consumer{Client: "c", Topic: "/x", SubKey: "k", MaxDepth: 1, MaxInFlight: 2, AckTimeout: time.Second}, 4, "", ""}))
	testRecord(t, `{"Client":"c","Topic":"/x","SubKey":"k","Active":true,"MaxDepth":1,"MaxInFlight":2,"AckTimeout":1000000000,"Old":{"SubKey":"o","Until":"2026-11-27T01:02:03Z"},"ID":4,"Replaced":"d"}`,
		whole(consumerRecord{Consumer{Client: "c", Topic: "/x", SubKey: "k", MaxDepth: 1, MaxInFlight: 2, AckTimeout: time.Second,
			Old: OldKey{"o", time.Date(2026, 11, 27, 1, 2, 3, 0, time.UTC)}}, 4, "", "d"}))
}

// whole is a record with the defaults of what it does not say.
func whole(r consumerRecord) consumerRecord {
	ConsumerFields.Complete(&r.Consumer)
	return r
}

func testRecord[T comparable](t *testing.T, stored string, want T) {
	t.Helper()
	var got T
	if err := json.Unmarshal([]byte(stored), &got); err != nil || got != want {
		t.Errorf("%s is read as %+v, %v", stored, got, err)
	}
	var was, is map[string]any
	if err := json.Unmarshal([]byte(stored), &was); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(encode(want), &is); err != nil || !reflect.DeepEqual(was, is) {
		t.Errorf("%+v is stored as %s, not %s", want, encode(want), stored)
	}
}
