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
}

// listing is what the pages of lists have in common.
type listing struct {
	gate.Query
	Path        string // of the list
	From, To    int    // of the rows shown, counted from 1
	Total       int
	First, Next string // URLs; empty where there are none
	Columns     []column
	Example     string // a command that makes the first one
}

// order is a column that a list has: Key is what it is sorted by, empty where it cannot be.
// A list of numbers and times is sorted downwards at first.
type order struct {
	Key, Label   string
	Number, Down bool
}

// readListing reads the query of a list. The first order is the default.
func readListing(r *http.Request, orders ...order) listing {
	v := r.URL.Query()
	l := listing{Path: r.URL.Path}
	l.Query = gate.Query{
		Search: v.Get("search"), Sort: v.Get("sort"), Cursor: v.Get("cursor"), Desc: v.Get("desc") == "1",
		Limit: pageSize, Topic: v.Get("topic"), Client: v.Get("client"), Template: v.Get("template"),
	}
	if l.Sort == "" {
		l.Sort, l.Desc = orders[0].Key, orders[0].Down
	}
	if l.Cursor != "" {
		l.From, _ = strconv.Atoi(v.Get("from"))
	}
	for _, o := range orders {
		c := column{Label: o.Label, Number: o.Number}
		if o.Key != "" {
			c.Sort = "none"
			down := o.Down
			if o.Key == l.Sort {
				c.Sort, down = "ascending", !l.Desc
				if l.Desc {
					c.Sort = "descending"
				}
			}
			c.URL = l.url(o.Key, down, "", 0)
		}
		l.Columns = append(l.Columns, c)
	}
	return l
}

func (l *listing) url(sort string, down bool, cursor string, from int) string {
	v := url.Values{}
	for _, p := range [][2]string{{"search", l.Search}, {"topic", l.Topic}, {"client", l.Client}, {"template", l.Template}, {"sort", sort}, {"cursor", cursor}} {
		if p[1] != "" {
			v.Set(p[0], p[1])
		}
	}
	if down {
		v.Set("desc", "1")
	}
	if from > 0 {
		v.Set("from", strconv.Itoa(from))
	}
	return "?" + v.Encode()
}

// found fills in what was found: rows of a total, and the cursor of the next page.
func (l *listing) found(rows, total int, next string) {
	l.Total = total
	l.From = max(0, min(l.From, total-rows))
	l.To = l.From + rows
	if next != "" {
		l.Next = l.url(l.Sort, l.Desc, next, l.To)
	}
	if l.Cursor != "" {
		l.First = l.url(l.Sort, l.Desc, "", 0)
	}
	if rows > 0 {
		l.From++
	}
}

// Filtered tells whether the list shows only some.
func (l listing) Filtered() bool {
	return l.Search != "" || l.Topic != "" || l.Client != "" || l.Template != ""
}
