package db

import (
	"fmt"
	"slices"

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

// stored returns objects as they are loaded, in one order.
func stored(objects []store.Object) []store.Object {
	list := slices.Clone(objects)
	for i := range list {
		list[i].Secret = false
	}
	slices.SortFunc(list, func(x, y store.Object) int { return int(x.ID) - int(y.ID) })
	return list
}

// keysOf returns the keys of the objects of a kind, by ID.
func keysOf(img *store.Image, kind store.ObjectKind) map[uint32]string {
	keys := map[uint32]string{}
	for _, o := range img.Objects {
		if o.Kind == kind {
			keys[o.ID] = o.Key
		}
	}
	return keys
}
