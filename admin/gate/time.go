package gate

import "time"

// Time is a time in UTC, written as 2006-01-02T15:04:05.000000Z, so that texts sort as times do.
type Time struct{ time.Time }

const (
	timeFormat = "2006-01-02T15:04:05.000000Z"
	quotedTime = `"` + timeFormat + `"`
)

func TimeOf(t time.Time) Time { return Time{t} }

func (t Time) MarshalJSON() ([]byte, error) {
	return t.AppendJSON(make([]byte, 0, len(quotedTime))), nil
}

// AppendJSON writes the time at the end of b.
func (t Time) AppendJSON(b []byte) []byte { return t.UTC().AppendFormat(b, quotedTime) }

func (t Time) String() string { return t.UTC().Format(timeFormat) }

// Duration is a duration, written as 1h30m0s.
type Duration time.Duration

func (d Duration) String() string { return time.Duration(d).String() }

func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }
