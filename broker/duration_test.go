package broker_test

import (
	"testing"
	"time"

	"pipit/broker/property"
)

func TestDuration(t *testing.T) {
	const day = 24 * time.Hour
	for _, tt := range []struct {
		text string
		want time.Duration
		as   string // as it is written
	}{
		{"0", 0, "0s"},
		{"45", 45 * time.Second, "45s"},
		{"45s", 45 * time.Second, "45s"},
		{"90s", 90 * time.Second, "1m30s"},
		{"30m", 30 * time.Minute, "30m"},
		{"5m0s", 5 * time.Minute, "5m"},
		{"2h", 2 * time.Hour, "2h"},
		{"1h30m", 90 * time.Minute, "1h30m"},
		{"1h0m5s", time.Hour + 5*time.Second, "1h0m5s"},
		{"7d", 7 * day, "7d"},
		{"168h0m0s", 7 * day, "7d"},
		{"1d12h", 36 * time.Hour, "1d12h"},
		{"36h0m1s", 36*time.Hour + time.Second, "1d12h0m1s"},
		{"250ms", 250 * time.Millisecond, "250ms"},
		{"1.5s", 1500 * time.Millisecond, "1.5s"},
		{"-5s", -5 * time.Second, "-5s"},
	} {
		got, ok := property.ParseDuration(tt.text)
		if !ok || got != tt.want {
			t.Errorf("%q: %s, %v", tt.text, got, ok)
		}
		if s := property.FormatDuration(got); s != tt.as {
			t.Errorf("%q is written %q", tt.text, s)
		}
		if again, ok := property.ParseDuration(property.FormatDuration(got)); !ok || again != got {
			t.Errorf("%q: written and read: %s, %v", tt.text, again, ok)
		}
	}
	for _, bad := range []string{"", "d", "x", "1w", "1d1d", "1d48h", "-1d", "1d-1h", "1d+1h", "1 d", "99999999d", "1.5d", "45 s"} {
		if d, ok := property.ParseDuration(bad); ok {
			t.Errorf("%q is %s", bad, d)
		}
	}
}
