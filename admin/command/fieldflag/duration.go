package fieldflag

import (
	"errors"
	"time"

	"pipit/broker/property"
)

// Duration is the value of a flag that is a duration, as people write it: 45, 45s, 30m, 2h, 7d.
type Duration time.Duration

func (d *Duration) Set(s string) error {
	v, ok := property.ParseDuration(s)
	if !ok || v < 0 {
		return errDuration
	}
	*d = Duration(v)
	return nil
}

func (d *Duration) String() string { return property.FormatDuration(time.Duration(*d)) }
func (d *Duration) Type() string   { return "duration" }

var errDuration = errors.New("allowed are durations such as 45s, 30m, 2h, 7d, and numbers of seconds")

// Seconds is the value of a flag that is a duration, which the protocol counts in whole seconds.
type Seconds int64

func (n *Seconds) Set(s string) error {
	v, ok := property.ParseDuration(s)
	switch {
	case !ok || v < 0:
		return errDuration
	case v%time.Second != 0:
		return errors.New("allowed are whole seconds")
	}
	*n = Seconds(v / time.Second)
	return nil
}

func (n *Seconds) String() string { return property.FormatSeconds(int64(*n)) }
func (n *Seconds) Type() string   { return "duration" }
