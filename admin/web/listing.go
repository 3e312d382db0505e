package web

import (
	"net/http"
	"net/url"
	"strconv"

	"pipit/admin/gate"
)

// pageSize is how many rows a page of a list has.
const pageSize = 50

// column is a column of a list. URL sorts by it; empty: the list cannot be.
type column struct {
	Label, URL string
	Sort       string // "ascending" or "descending" where the list is sorted by it, else "none"
	Number     bool
	Minor      bool // left out where there is little room
}

// listing is what the pages of lists have in common.
type listing struct {
	gate.Query
	Path              string // of the list
	From, To          int    // of the rows shown, counted from 1
	Total             int
	Pages             int
	First, Prev, Next string // URLs; empty where there are none
	Last              string
	Columns           []column
	Parts             []part
	Here              string // query of this page
	Bulk              string // path of what is done to the chosen ones
	Clears            bool   // that can clear their backlogs
	Example           string // a command that makes the first one
}

// part is a link to some of the list.
type part struct {
	Label, URL string
	Count      int
	Current    bool
}

// order is a column that a list has: Key is what it is sorted by, empty where it cannot be.
// A list of numbers and times is sorted downwards at first.
type order struct {
	Key, Label   string
	Number, Down bool
	Minor        bool
}

// readListing reads the query of a list. The first order is the default.
func readListing(r *http.Request, orders ...order) listing {
	v := r.URL.Query()
	l := listing{Path: r.URL.Path}
	l.Query = gate.Query{
		Search: v.Get("search"), Sort: v.Get("sort"), Desc: v.Get("desc") == "1", Part: v.Get("part"), Page: 1,
		Limit: pageSize, Topic: v.Get("topic"), Client: v.Get("client"), Template: v.Get("template"), Counted: true,
	}
	if l.Sort == "" {
		l.Sort, l.Desc = orders[0].Key, orders[0].Down
	}
	if n, err := strconv.Atoi(v.Get("page")); err == nil && n > 0 {
		l.Page = n
	}
	for _, o := range orders {
		c := column{Label: o.Label, Number: o.Number, Minor: o.Minor}
		if o.Key != "" {
			c.Sort = "none"
			down := o.Down
			if o.Key == l.Sort {
				c.Sort, down = "ascending", !l.Desc
				if l.Desc {
					c.Sort = "descending"
				}
			}
			c.URL = l.url(o.Key, down, l.Part, 1)
		}
		l.Columns = append(l.Columns, c)
	}
	return l
}

func (l *listing) url(sort string, down bool, part string, page int) string {
	v := url.Values{}
	for _, p := range [][2]string{{"search", l.Search}, {"topic", l.Topic}, {"client", l.Client}, {"template", l.Template}, {"part", part}, {"sort", sort}} {
		if p[1] != "" {
			v.Set(p[0], p[1])
		}
	}
	if down {
		v.Set("desc", "1")
	}
	if page > 1 {
		v.Set("page", strconv.Itoa(page))
	}
	return "?" + v.Encode()
}

// found fills in what a list has of a page.
func found[T any](l *listing, list gate.List[T]) {
	l.Page, l.Total = list.Page, list.Total
	l.Pages = max(1, (l.Total+l.Limit-1)/l.Limit)
	l.From, l.To = (l.Page-1)*l.Limit+min(1, len(list.Items)), (l.Page-1)*l.Limit+len(list.Items)
	to := func(page int) string { return l.url(l.Sort, l.Desc, l.Part, page) }
	l.Here = to(l.Page)[1:]
	if l.Page > 1 {
		l.First, l.Prev = to(1), to(l.Page-1)
	}
	if l.Page < l.Pages {
		l.Next, l.Last = to(l.Page+1), to(l.Pages)
	}
	for _, p := range append([]gate.PartCount{{Label: "All", Count: list.Whole}}, list.Parts...) {
		l.Parts = append(l.Parts, part{p.Label, l.url(l.Sort, l.Desc, p.Key, 1), p.Count, p.Key == l.Part})
	}
}

// Filtered tells whether the list shows only some.
func (l listing) Filtered() bool {
	return l.Search != "" || l.Topic != "" || l.Client != "" || l.Template != "" || l.Part != ""
}
