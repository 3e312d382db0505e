package db

import (
	"fmt"

	"pipit/broker/store"
)

// objectOf returns an object with what a Store has to know of it; what it replaces is secret.
func objectOf(kind store.ObjectKind, key string, id uint32) store.Object {
	value := fmt.Appendf(nil, `{"ID":%d}`, id)
	if kind == store.Consumer {
		value = fmt.Appendf(nil, `{"Client":"crm","Topic":"/a","SubKey":%q,"ID":%d}`, key, id)
	}
	return store.Object{Kind: kind, Key: key, ID: id, Value: value, Secret: true}
}
