package object

import (
	"fmt"
	"testing"
	"time"

	"pipit/admin/gate"
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
