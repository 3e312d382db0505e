package text

import (
	"testing"
	"time"
)

func TestNumbers(t *testing.T) {
	type bytes int64
	for _, c := range []struct{ got, want any }{
		{Number(0), "0"}, {Number(999), "999"}, {Number(1000), "1,000"}, {Number(int64(-1234567)), "-1,234,567"}, {Number(uint64(1) << 63), "9,223,372,036,854,775,808"},
		{Size(0), "0 B"}, {Size(1023), "1023 B"}, {Size(1024), "1.0 KiB"}, {Size(int64(1.25 * (1 << 20))), "1.2 MiB"}, {Size((1 << 20) - 1), "1.0 MiB"}, {Size(int64(1) << 62), "4.0 EiB"}, {Size(-1), "unknown"}, {Size(bytes(2048)), "2.0 KiB"},
		{Duration(0), "0s"}, {Duration(-time.Second), "0s"}, {Duration(300 * time.Millisecond), "0.3s"}, {Duration(time.Nanosecond), "0.1s"}, {Duration(59 * time.Second), "59s"}, {Duration(61 * time.Second), "1m1s"},
		{Duration(time.Hour), "1h"}, {Duration(time.Hour + 59*time.Second), "1h"}, {Duration(26*time.Hour + 30*time.Minute), "1d2h"}, {Duration(400 * 24 * time.Hour), "400d"},
		{Rate(0), "0"}, {Rate(0.001), "0"}, {Rate(0.25), "0.25"}, {Rate(3), "3.0"}, {Rate(42.4), "42"}, {Rate(1234.5), "1,235"},
		{Percent(0, 10), 0}, {Percent(5, 0), 0}, {Percent(1, 3), 33}, {Percent(20, 10), 100}, {Percent(1<<62, 1<<62), 100},
		{Wait(time.Second), "1 second"}, {Wait(1100 * time.Millisecond), "2 seconds"},
	} {
		if c.got != c.want {
			t.Errorf("%v, want %v", c.got, c.want)
		}
	}
}

func TestRoughly(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0s", 300 * time.Millisecond: "0.3s", 61 * time.Second: "1m", 11*time.Minute + 56*time.Second: "11m", 50 * time.Hour: "2d"} {
		if got := Roughly(d); got != want {
			t.Errorf("%v is %s, want %s", d, got, want)
		}
	}
}
