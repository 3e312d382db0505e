// Package text is how numbers, sizes, times and names are written where people read them, on pages and in what the server
// says of itself, and in the paths of pages.
package text

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"

	"pipit/broker/property"
)

// Number writes a number with its thousands apart: 1,234,567.
func Number(n any) string {
	s := fmt.Sprint(n)
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// Size writes a number of bytes: 1.2 MiB.
func Size(n any) string {
	v, err := strconv.ParseInt(fmt.Sprint(n), 10, 64)
	if err != nil || v < 0 {
		return "unknown"
	}
	if v < 1024 {
		return fmt.Sprintf("%d B", v)
	}
	f, unit := float64(v)/1024, 0
	for ; f >= 1023.95 && unit < 5; unit++ {
		f /= 1024
	}
	return fmt.Sprintf("%.1f %ciB", f, "KMGTPE"[unit])
}

// Duration writes how long something takes or took, in its two largest units, as property.FormatDuration does: 2d3h, 4m5s, 0.3s.
func Duration(d time.Duration) string {
	switch {
	case d <= 0:
		return "0s"
	case d < time.Second:
		return fmt.Sprintf("%.1fs", max(0.1, math.Floor(d.Seconds()*10)/10))
	case d < time.Hour:
		return property.FormatDuration(d.Truncate(time.Second))
	case d < 24*time.Hour:
		return property.FormatDuration(d.Truncate(time.Minute))
	}
	return property.FormatDuration(d.Truncate(time.Hour))
}

// Roughly writes a duration in its largest unit alone: 11m, 2d.
func Roughly(d time.Duration) string {
	s := Duration(d)
	return s[:strings.IndexFunc(s, unicode.IsLetter)+1]
}

// Wait writes a wait in whole seconds, rounded up.
func Wait(d time.Duration) string {
	if n := WholeSeconds(d); n != 1 {
		return fmt.Sprintf("%d seconds", n)
	}
	return "1 second"
}

// WholeSeconds is a wait in seconds, rounded up.
func WholeSeconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// Rate writes a number per second: 0, 0.3, 12, 1,234.
func Rate(f float64) string {
	switch {
	case math.IsNaN(f) || f < 0.005:
		return "0"
	case f < 1:
		return strconv.FormatFloat(f, 'f', 2, 64)
	case f < 10:
		return strconv.FormatFloat(f, 'f', 1, 64)
	}
	return Number(int64(f + 0.5))
}

// Percent returns how much of whole a part is, 0 to 100.
func Percent(part, whole int64) int {
	if whole <= 0 || part <= 0 {
		return 0
	}
	return int(min(100, float64(part)/float64(whole)*100))
}

// Count is a number with what it counts.
func Count(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return Number(n) + " " + many
}
