package store

import (
	"reflect"
	"testing"
	"time"
)

// A commit without the field would be skipped as empty, or the next one would have it again.
func TestNoFieldOfABatchIsForgotten(t *testing.T) {
	typ := reflect.TypeFor[Batch]()
	for i := range typ.NumField() {
		f := typ.Field(i)
		if f.Name == "Now" {
			continue
		}
		t.Run(f.Name, func(t *testing.T) {
			var b Batch
			v := reflect.ValueOf(&b).Elem().Field(i)
			switch v.Kind() {
			case reflect.Slice:
				v.Set(reflect.MakeSlice(f.Type, 1, 1))
			case reflect.Bool:
				v.SetBool(true)
			case reflect.String:
				v.SetString("something")
			default:
				t.Fatalf("a field of kind %s: say here how it is filled", v.Kind())
			}
			if b.IsEmpty() {
				t.Error("a batch with nothing else is empty")
			}
			b.Reset(time.Time{})
			if v.Kind() == reflect.Slice && v.Len() > 0 || v.Kind() != reflect.Slice && !v.IsZero() {
				t.Error("it is there after a reset")
			}
			if v.Kind() == reflect.Slice && v.Cap() > 0 && hasPointers(f.Type.Elem()) && !v.Slice(0, 1).Index(0).IsZero() {
				t.Error("what it pointed to is kept in memory after a reset")
			}
		})
	}
}

// hasPointers tells whether values of a type keep large things in memory: messages or documents.
func hasPointers(t reflect.Type) bool {
	return t == reflect.TypeFor[*Record]() || t == reflect.TypeFor[Document]()
}
