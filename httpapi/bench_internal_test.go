package httpapi

import (
	"strings"
	"testing"

	"pipit/broker"
)

func BenchmarkAppendMessages(b *testing.B) {
	msgs := make([]broker.Message, 100)
	for i := range msgs {
		msgs[i] = sample(strings.Repeat("0123456789abcdef", 8))
	}
	var p pieces
	p.messages(msgs)
	b.SetBytes(int64(len(p.b)))
	b.ReportAllocs()
	for b.Loop() {
		p.b = p.b[:0]
		p.messages(msgs)
	}
}

func BenchmarkParseBatch(b *testing.B) {
	body := []byte(strings.Repeat(`{"payload": "`+strings.Repeat("0123456789abcdef", 8)+`", "priority": 7}`+"\n", 1000))
	check := func(*broker.Publication) error { return nil }
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if pubs, err := parseBatch(body, check); err != nil || len(pubs) != 1000 {
			b.Fatal(len(pubs), err)
		}
	}
}
