package broker

import "time"

// SweepEvery is how often a broker clears away what is over.
const SweepEvery = sweepEvery

// Sweeping is o with sweeps that are as often.
func (o Options) Sweeping(every time.Duration) Options {
	o.sweepInterval = every
	return o
}

// Sifting is o with other bounds of what cursors have of what filters do not let through.
func (o Options) Sifting(atOnce, most int) Options {
	o.siftedAtOnce, o.maxSifted = atOnce, most
	return o
}

// WeakSubKey is weakSubKey.
var WeakSubKey = weakSubKey
