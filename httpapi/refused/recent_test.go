package refused_test

import (
	"fmt"
	"strings"
	"testing"

	"pipit/httpapi/refused"
)

// clients counts refusals by the client that they have.
func clients(list []refused.Refusal) map[string]int {
	n := map[string]int{}
	for _, x := range list {
		n[x.Client]++
	}
	return n
}

// TestRecent: the newest come first, and past the bound the oldest go.
func TestRecent(t *testing.T) {
	var r refused.Recent
	for i := range refused.MaxRecent + 5 {
		r.Add(refused.Refusal{Client: "erp", Known: true, Reason: fmt.Sprint(i)})
	}
	list := r.List()
	if len(list) != refused.MaxRecent {
		t.Fatalf("%d refusals", len(list))
	}
	for i, x := range list {
		if want := uint64(refused.MaxRecent + 5 - i); x.Number != want || x.Reason != fmt.Sprint(want-1) {
			t.Fatalf("at %d: %+v", i, x)
		}
	}
	if (*refused.Recent)(nil).List() != nil {
		t.Error("none has some")
	}
}

// TestRecentIsFair: who is refused without end pushes out none of those who have less, neither a client nor a network with
// any number of names.
func TestRecentIsFair(t *testing.T) {
	var r refused.Recent
	for range 20 {
		r.Add(refused.Refusal{Client: "erp", Known: true, SignedIn: true, Addr: "192.0.2.1"})
	}
	for i := range 3 * refused.MaxRecent {
		r.Add(refused.Refusal{Client: "erp", Known: true, Addr: "192.0.2.1"}) // not signed in: another source
		r.Add(refused.Refusal{Client: fmt.Sprint("name", i), Addr: "192.0.2.1"})
		r.Add(refused.Refusal{Client: "crm", Known: true, SignedIn: true, Addr: "192.0.2.2"})
	}
	n, signedIn := clients(r.List()), 0
	for _, x := range r.List() {
		if x.Client == "erp" && x.SignedIn {
			signedIn++
		}
	}
	if signedIn != 20 {
		t.Errorf("%d of 20 are left of who was refused least", signedIn)
	}
	share := (refused.MaxRecent - 20) / 3
	if got := n["crm"]; got < share || got > share+1 {
		t.Errorf("%d of one of three who want all, want a third of the rest, %d", got, share)
	}
}

// TestRecentIsBounded: each text has its bound, and is UTF-8.
func TestRecentIsBounded(t *testing.T) {
	var r refused.Recent
	long := "\xff" + strings.Repeat("y", 10_000)
	r.Add(refused.Refusal{Client: long, Topic: long, Reason: long, Webhook: long, Method: long, Addr: long})
	x := r.List()[0]
	all := x.Client + x.Topic + x.Reason + x.Webhook + x.Method + x.Addr
	if len(all) > 128+256+300+64+16+64+6*len("…") || strings.ToValidUTF8(all, "") != all {
		t.Errorf("%d bytes: %q", len(all), all)
	}
}

// BenchmarkRecent is a refusal where all sources have one.
func BenchmarkRecent(b *testing.B) {
	var r refused.Recent
	for i := range refused.MaxRecent {
		r.Add(refused.Refusal{Client: fmt.Sprint(i), Known: true})
	}
	for b.Loop() {
		r.Add(refused.Refusal{Client: "erp", Known: true, Reason: "unknown sub_key"})
	}
}
