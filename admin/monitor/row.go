package monitor

import (
	"cmp"
	"fmt"
	"math"
	"net/url"
	"slices"

	"pipit/admin/text"
)

// maxRows is how many rows the overview has; one more tells of the rest.
const maxRows = 50

// Row is a line of what needs attention: all that is about one client, or else one thing.
type Row struct {
	Text     string `json:"text"` // of the weightiest of it
	Link     string `json:"link"`
	Bad      bool   `json:"bad,omitempty"`       // it does harm already
	More     string `json:"more,omitempty"`      // what else there is of it, or what can be done
	MoreLink string `json:"more_link,omitempty"` // page of that

	client string
	things int
	weight int64 // messages at stake, or requests
	head   int64 // weight of what Text tells
}

// row makes a notice a part of the row that it belongs to. It weighs as many messages as are at stake.
func (n *notices) row(x Attention, client string, messages int64) {
	key := x.Code + "\x00" + x.Key
	if client != "" {
		key = client
	}
	r := n.rows[key]
	if r == nil {
		if n.rows == nil {
			n.rows = map[string]*Row{}
		}
		r = &Row{client: client, head: -1}
		n.rows[key] = r
	}
	r.things++
	r.weight += messages
	head := messages
	if x.Code == codeRefused { // the cause of what else there is of that client, perhaps
		head = math.MaxInt64
	}
	if head > r.head {
		r.head, r.Text, r.Link, r.Bad = head, x.Text, x.Link, x.Bad()
		r.More, r.MoreLink = "", ""
		if x.Code == codeDisk || x.Code == codeWrite {
			r.More, r.MoreLink = "Clear a backlog", "/admin/consumers?sort=backlog&desc=1"
		}
	}
}

// doneRows returns the rows, the weightiest first, and how many there are in all.
func (n *notices) doneRows() (rows []Row, total int) {
	rows = make([]Row, 0, len(n.rows))
	for _, r := range n.rows {
		if r.things > 1 {
			r.More, r.MoreLink = fmt.Sprintf("and %s more of %s", text.Number(r.things-1), text.Shown(r.client)), "/admin/consumers?sort=backlog&desc=1&client="+url.QueryEscape(r.client)
		}
		rows = append(rows, *r)
	}
	slices.SortFunc(rows, func(x, y Row) int {
		if x.Bad != y.Bad {
			if x.Bad {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(y.weight, x.weight), cmp.Compare(x.Text, y.Text))
	})
	if total = len(rows); total > maxRows {
		rows = append(rows[:maxRows], Row{Text: text.Count(int64(total-maxRows), "more thing", "more things"), Link: "/admin/consumers?sort=backlog&desc=1"})
	}
	return rows, total
}
