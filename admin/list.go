package admin

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"pipit/broker"
	"pipit/broker/clip"
)

// Limits of lists.
const (
	defaultLimit = 100
	maxLimit     = 1000
)

// query says which part of a list is wanted. The zero value of a field stands for its default.
type query struct {
	Search string // what the names contain, in any case of letters
	Sort   string // a key of the noun; default: its name
	Desc   bool
	Limit  int    // 1 to 1000; default 100
	Cursor string // list.Next of the page before, of the same Sort and Desc
	Topic  string // of producers and consumers: those of this topic
	Client string // of producers and consumers: those of this client, by username
	Kind   string // of the audit log: those of this kind
}

// list is a page of a list.
type list[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"` // cursor of the next page; absent at the end
	Total int    `json:"total"`          // how many there are on all pages
}

// place is where an item stands in a list that is sorted by a number and then by a text. It is what
// a cursor holds, so that a page goes on where the one before ended, whatever came or went since.
type place struct {
	N int64
	S string
}

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.N, q.N), strings.Compare(p.S, q.S))
}

type cursor struct {
	Sort string `json:"s"`
	Desc bool   `json:"d,omitempty"`
	N    int64  `json:"n,omitempty"`
	S    string `json:"k"`
}

func (c cursor) String() string {
	b, err := json.Marshal(c)
	if err != nil {
		panic(err) // of a struct of texts and numbers: never
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// sorts are the keys that a noun can be sorted by, each with where an item then stands. The text
// is another one for each item.
type sorts[I any] map[string]func(*I) place

// pageOf returns the page of the items, all that there are, that q asks for. matches tells
// whether an item is of the list at all.
func pageOf[I, T any](q query, items []I, byDefault string, by sorts[I], matches func(*I) bool, of func(*I) T) (list[T], error) {
	none := list[T]{}
	if q.Limit == 0 {
		q.Limit = defaultLimit
	}
	if q.Limit < 1 || q.Limit > maxLimit {
		return none, invalid("limit", "limit %d: allowed are 1 to %d", q.Limit, maxLimit)
	}
	q.Sort = cmp.Or(q.Sort, byDefault)
	at, ok := by[q.Sort]
	if !ok {
		return none, invalid("sort", "sort %q: allowed are %s", clip.Input(q.Sort), strings.Join(slices.Sorted(maps.Keys(by)), ", "))
	}
	var after *place
	if q.Cursor != "" {
		c, err := parseCursor(q.Cursor)
		if err != nil || c.Sort != q.Sort || c.Desc != q.Desc {
			return none, invalid("cursor", "cursor %q: allowed is the next of a page with the same sort and order", clip.Input(q.Cursor))
		}
		after = &place{c.N, c.S}
	}

	type entry struct {
		place
		item *I
	}
	var rest []entry
	total := 0
	for i := range items {
		if !matches(&items[i]) {
			continue
		}
		total++
		e := entry{at(&items[i]), &items[i]}
		if after != nil {
			if c := e.compare(*after); c == 0 || (c < 0) != q.Desc {
				continue
			}
		}
		rest = append(rest, e)
	}
	slices.SortFunc(rest, func(x, y entry) int {
		if q.Desc {
			x, y = y, x
		}
		return x.compare(y.place)
	})
	page := list[T]{Items: make([]T, 0, min(q.Limit, len(rest))), Total: total}
	for _, e := range rest[:min(q.Limit, len(rest))] {
		page.Items = append(page.Items, of(e.item))
	}
	if len(rest) > q.Limit {
		last := rest[q.Limit-1]
		page.Next = cursor{q.Sort, q.Desc, last.N, last.S}.String()
	}
	return page, nil
}

func parseCursor(s string) (c cursor, err error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return c, err
	}
	return c, json.Unmarshal(b, &c)
}

// contains returns a function that tells whether any of the names contains search, in any case
// of letters.
func contains(search string) func(names ...string) bool {
	search = strings.ToLower(search)
	return func(names ...string) bool {
		return search == "" || slices.ContainsFunc(names, func(s string) bool {
			return strings.Contains(strings.ToLower(s), search)
		})
	}
}

// key joins names, which hold no control characters, so that keys sort as their names do.
func key(names ...string) string { return strings.Join(names, "\x00") }

// micros is a time to sort by; never is before all.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// invalid makes an Invalid error of a parameter.
func invalid(field, format string, args ...any) *broker.Error {
	err := broker.Invalidf(format, args...)
	err.Field = field
	return err
}
