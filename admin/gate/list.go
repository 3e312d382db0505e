package gate

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"pipit/broker/clip"
)

// Limits of lists.
const (
	DefaultLimit = 100
	MaxLimit     = 1000
)

// Query says which part of a list is wanted. The zero value of a field stands for its default.
type Query struct {
	Search   string // what the names contain, in any case of letters
	Sort     string // a key of the noun; default: its name
	Desc     bool
	Limit    int    // 1 to 1000; default 100
	Cursor   string // List.Next of the page before, of the same Sort and Desc
	Topic    string // of producers and consumers: those of this topic
	Client   string // of producers and consumers: those of this client, by username
	Template string // of topics: those that this template has made
	Kind     string // of the audit log: those of this kind
	Part     string // key of a Part of the noun; default: all
	Page     int    // in the place of Cursor: the page of that number, from 1, or the last one
	Counted  bool   // List.Parts is wanted
}

// Owns tells whether what a client has in a topic is of those that are asked for.
func (q *Query) Owns(topic, client string) bool {
	return cmp.Or(q.Topic, topic) == topic && cmp.Or(q.Client, client) == client
}

// List is a page of a list.
type List[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"` // cursor of the next page; absent at the end
	Total int    `json:"total"`          // how many there are on all pages

	Page  int         `json:"-"` // the number of the page, where it was asked for by that
	Whole int         `json:"-"` // how many there are without Query.Part; set where Query.Counted is
	Parts []PartCount `json:"-"` // likewise
}

// Part is those of a noun that have something in common, such as being inactive.
type Part[I any] struct {
	Key, Label string
	Has        func(*I) bool
}

// PartCount is how many a Part has.
type PartCount struct {
	Key, Label string
	Count      int
}

// AppendJSON writes the list at the end of b, item by item where they are appenders.
func (l List[T]) AppendJSON(b []byte) (_ []byte, err error) {
	b = append(b, `{"items":[`...)
	for i := range l.Items {
		if i > 0 {
			b = append(b, ',')
		}
		if item, ok := any(&l.Items[i]).(appender); ok {
			b, err = item.AppendJSON(b)
		} else {
			var text []byte
			text, err = Marshal(&l.Items[i])
			b = append(b, text...)
		}
		if err != nil {
			return nil, err
		}
		if i == 0 { // the others are about as long
			b = slices.Grow(b, len(b)*len(l.Items))
		}
	}
	b = append(b, ']')
	if l.Next != "" { // base64
		b = append(append(append(b, `,"next":"`...), l.Next...), '"')
	}
	b = append(b, `,"total":`...)
	return append(strconv.AppendInt(b, int64(l.Total), 10), '}'), nil
}

// Place is where an item stands in a list that is sorted by a number and then by a text. It is what
// a cursor holds, so that a page goes on where the one before ended, whatever came or went since.
type Place struct {
	N int64
	S string
}

func (p Place) compare(q Place) int {
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

// Sorts are the keys that a noun can be sorted by, the default first.
type Sorts[I any] []Sort[I]

// Sort is one of them, and where an item then stands. The text of the place is another one for each item.
type Sort[I any] struct {
	Key string
	At  func(*I) Place
}

// Keys are all of them, as a query gives them.
func (by Sorts[I]) Keys() []string {
	keys := make([]string, len(by))
	for i := range by {
		keys[i] = by[i].Key
	}
	return keys
}

// PageOf returns the page of the items, all that there are, that q asks for. matches tells
// whether an item is of the list at all, and parts are those that q may ask for.
func PageOf[I, T any](q Query, items []I, by Sorts[I], matches func(*I) bool, of func(*I) T, parts ...Part[I]) (List[T], error) {
	none := List[T]{}
	if q.Limit == 0 {
		q.Limit = DefaultLimit
	}
	if q.Limit < 1 || q.Limit > MaxLimit {
		return none, Invalid("limit", "limit %d: allowed are 1 to %d", q.Limit, MaxLimit)
	}
	keys := by.Keys()
	q.Sort = cmp.Or(q.Sort, keys[0])
	chosen := slices.Index(keys, q.Sort)
	if chosen < 0 {
		return none, Invalid("sort", "sort %q: allowed are %s", clip.Input(q.Sort), strings.Join(keys, ", "))
	}
	at := by[chosen].At
	var after *Place
	if q.Cursor != "" {
		c, err := parseCursor(q.Cursor)
		if err != nil || c.Sort != q.Sort || c.Desc != q.Desc {
			return none, Invalid("cursor", "cursor %q: allowed is the next of a page with the same sort and order", clip.Input(q.Cursor))
		}
		after = &Place{c.N, c.S}
	}

	part := slices.IndexFunc(parts, func(p Part[I]) bool { return p.Key == q.Part })
	if part < 0 && q.Part != "" {
		return none, Invalid("part", "part %q: allowed are %s", clip.Input(q.Part), strings.Join(PartKeys(parts...), ", "))
	}
	counts := countsOf(q, parts)

	type entry struct {
		Place
		item *I
	}
	var rest []entry
	whole, total := 0, 0
	for i := range items {
		if !matches(&items[i]) {
			continue
		}
		whole++
		for k := range counts {
			if parts[k].Has(&items[i]) {
				counts[k].Count++
			}
		}
		if part >= 0 && !parts[part].Has(&items[i]) {
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
		return x.compare(y.Place)
	})
	page := List[T]{Items: make([]T, 0, min(q.Limit, len(rest))), Total: total, Whole: whole, Parts: counts}
	if q.Page > 0 {
		page.Page = max(1, min(q.Page, (total+q.Limit-1)/q.Limit))
		rest = rest[min(len(rest), (page.Page-1)*q.Limit):]
	}
	for _, e := range rest[:min(q.Limit, len(rest))] {
		page.Items = append(page.Items, of(e.item))
	}
	if len(rest) > q.Limit {
		last := rest[q.Limit-1]
		page.Next = cursor{q.Sort, q.Desc, last.N, last.S}.String()
	}
	return page, nil
}

// PartKeys are the keys of parts, as a query gives them.
func PartKeys[I any](parts ...Part[I]) []string {
	keys := make([]string, len(parts))
	for i := range parts {
		keys[i] = parts[i].Key
	}
	return keys
}

// countsOf are the counts of parts, to be counted; none, where q wants none.
func countsOf[I any](q Query, parts []Part[I]) []PartCount {
	if !q.Counted {
		return nil
	}
	counts := make([]PartCount, len(parts))
	for i := range parts {
		counts[i] = PartCount{Key: parts[i].Key, Label: parts[i].Label}
	}
	return counts
}

func parseCursor(s string) (c cursor, err error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return c, err
	}
	return c, json.Unmarshal(b, &c)
}

// Contains returns a function that tells whether any of the names contains search, in any case
// of letters.
func Contains(search string) func(names ...string) bool {
	search = strings.ToLower(search)
	return func(names ...string) bool {
		return search == "" || slices.ContainsFunc(names, func(s string) bool {
			return strings.Contains(strings.ToLower(s), search)
		})
	}
}

// Key joins names, which hold no control characters, so that keys sort as their names do.
func Key(names ...string) string { return strings.Join(names, "\x00") }

// Micros is a time to sort by; never is before all.
func Micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}
