package property

import (
	"strconv"
	"strings"
	"time"
)

const Day = 24 * time.Hour

// ParseDuration reads a duration as a person writes it: 45s, 30m, 2h, 1h30m, 7d, 1d12h, and a bare number is one in
// seconds. Configuration, API, forms and flags all read durations by it.
func ParseDuration(s string) (time.Duration, bool) {
	if n, err := strconv.ParseUint(s, 10, 31); err == nil {
		return time.Duration(n) * time.Second, true
	}
	days, rest, hasDays := strings.Cut(s, "d")
	if !hasDays {
		d, err := time.ParseDuration(s)
		return d, err == nil
	}
	n, err := strconv.ParseUint(days, 10, 16) // so many are far from what a duration cannot hold
	if err != nil {
		return 0, false
	}
	d := time.Duration(n) * Day
	if rest == "" {
		return d, true
	}
	more, err := time.ParseDuration(rest)
	if err != nil || more < 0 || more >= Day || rest[0] == '+' {
		return 0, false
	}
	return d + more, true
}

// FormatDuration writes a duration as ParseDuration reads it, without units of which there are none: 45s, 30m, 1h30m, 7d.
func FormatDuration(d time.Duration) string {
	days := ""
	if d >= Day {
		days = strconv.FormatInt(int64(d/Day), 10) + "d"
		if d %= Day; d == 0 {
			return days
		}
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return days + s
}

// FormatSeconds is FormatDuration of a number of seconds.
func FormatSeconds(n int64) string {
	if n < 0 || n > int64(1<<63-1)/int64(time.Second) {
		return strconv.FormatInt(n, 10) + "s"
	}
	return FormatDuration(time.Duration(n) * time.Second)
}

// durationExamples are in the errors of what is none.
const durationExamples = "30s, 5m, 1h30m, 7d"
