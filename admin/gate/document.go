package gate

import (
	"encoding/json"

	"pipit/broker"
)

// EachDocument calls fn with all documents of a kind.
func EachDocument(b *broker.Broker, kind string, fn func(broker.Document) error) error {
	const some = 500
	for after := ""; ; {
		docs, err := b.Documents(kind, after, false, some)
		if err != nil {
			return err
		}
		for _, d := range docs {
			if err := fn(d); err != nil {
				return err
			}
		}
		if len(docs) < some {
			return nil
		}
		after = docs[some-1].Key
	}
}

// Encode makes the value of a document.
func Encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil { // of a type that JSON does not have
		panic(err)
	}
	return b
}
