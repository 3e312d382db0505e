package command

import (
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/rivo/uniseg"
)

// heading is the top of a column.
type heading struct {
	name string
	kind columnKind
	drop int // 0: it is always shown; others leave a terminal that is too narrow, the largest first
}

type columnKind uint8

const (
	fixed   columnKind = iota // text that is of no use in part
	digits                    // numbers, at the right
	elastic                   // text that is cut where there is no room for it
)

// table is text in columns. Control characters are made visible: names are others' choice, and a
// terminal obeys what it is sent.
type table struct {
	headings []heading
	rows     [][]string
}

const (
	gap       = "  "
	leastCell = 12 // columns; no cell is cut to less
	goodCell  = 24 // nor to less than this while a column is left that can be done without
)

// print writes the table, no wider than width where that is not 0 and can be had by cutting names,
// the widest first.
func (t *table) print(w io.Writer, width int) error {
	widths := make([]int, len(t.headings))
	for i, h := range t.headings {
		widths[i] = uniseg.StringWidth(h.name)
	}
	for _, row := range t.rows {
		for i := range row {
			row[i] = visible(row[i])
			widths[i] = max(widths[i], uniseg.StringWidth(row[i]))
		}
	}
	if width > 0 {
		widths = t.fit(widths, width)
	}
	var b, l strings.Builder
	line := func(cell func(i int) string) {
		l.Reset()
		for i, h := range t.headings {
			if i > 0 {
				l.WriteString(gap)
			}
			s := cut(cell(i), widths[i])
			pad := strings.Repeat(" ", widths[i]-uniseg.StringWidth(s))
			if h.kind == digits {
				l.WriteString(pad + s)
			} else {
				l.WriteString(s + pad)
			}
		}
		b.WriteString(strings.TrimRight(l.String(), " "))
		b.WriteByte('\n')
	}
	line(func(i int) string { return t.headings[i].name })
	for _, row := range t.rows {
		line(func(i int) string { return row[i] })
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// fit makes the table no wider than width, where that can be had: it takes columns out that can be done without, and from the
// widest names. It returns the widths that are left.
func (t *table) fit(widths []int, width int) []int {
	for {
		cuts := slices.Clone(widths)
		if t.shrink(cuts, width, goodCell) {
			return cuts
		}
		least := 0
		for i, h := range t.headings {
			if h.drop > t.headings[least].drop {
				least = i
			}
		}
		if t.headings[least].drop == 0 {
			t.shrink(cuts, width, leastCell)
			return cuts
		}
		widths = slices.Delete(widths, least, least+1)
		t.headings = slices.Delete(slices.Clone(t.headings), least, least+1)
		for i := range t.rows {
			t.rows[i] = slices.Delete(t.rows[i], least, least+1)
		}
	}
}

// shrink takes from the widest columns of names, but not below least, until the sum is width. It tells whether it is.
func (t *table) shrink(widths []int, width, least int) bool {
	sum := len(gap) * (len(widths) - 1)
	for _, n := range widths {
		sum += n
	}
	for ; sum > width; sum-- {
		widest := -1
		for i, h := range t.headings {
			if h.kind == elastic && widths[i] > least && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return false
		}
		widths[widest]--
	}
	return true
}

// cut shortens a text to n columns, in its middle: names differ at their ends.
func cut(s string, n int) string {
	if uniseg.StringWidth(s) <= n {
		return s
	}
	var parts []string
	var widths []int
	for g := uniseg.NewGraphemes(s); g.Next(); {
		parts, widths = append(parts, g.Str()), append(widths, g.Width())
	}
	left := n - 1
	from, to := 0, len(parts) // what is left out
	for from < to && widths[from] <= left && left > n/2 {
		left -= widths[from]
		from++
	}
	for from < to && widths[to-1] <= left {
		left -= widths[to-1]
		to--
	}
	return strings.Join(parts[:from], "") + "…" + strings.Join(parts[to:], "")
}

// visible is a text with its control characters and what else does not show written as escapes.
func visible(s string, except ...rune) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) && !slices.Contains(except, r) }) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if unicode.IsPrint(r) && (r != utf8.RuneError || n > 1) || slices.Contains(except, r) {
			b.WriteString(s[:n])
		} else {
			quoted := strconv.QuoteToGraphic(s[:n])
			b.WriteString(strings.Trim(quoted, `"`))
		}
		s = s[n:]
	}
	return b.String()
}
