// Package refused bounds what the log says of requests that are refused, so that nobody fills a disk with lines of
// it: a request costs its sender nothing, its line up to a kilobyte. And it keeps the last ones in memory, with what is known of each,
// for who asks why a client gets nothing.
package refused

import (
	"log/slog"
	"sync"
	"time"

	"pipit/broker/login"
	"pipit/httpapi/forwarded"
)

// Bounds of the lines. Whatever strangers do, the log grows by less than 250 lines a second.
const (
	Span        = time.Minute // begins with the first line of a source
	OfNetwork   = 50          // lines within Span of one network, of requests without valid credentials
	OfClient    = 1000        // lines within Span of one who is signed in
	maxNetworks = 256         // that have a count of their own; all beyond it share one
)

// Lines decides which requests that are refused have a line in the log. The rest is counted: when the Span of a
// source ends, one line has its count. Its methods may be called from any goroutine.
type Lines struct {
	log *slog.Logger

	mu       sync.Mutex
	sources  map[source]int // lines since their Span began; guarded by mu
	networks int            // among sources; guarded by mu
}

// source is where requests come from: the name of who is signed in, or else a network.
type source struct{ network, client string }

// many is the network of those beyond maxNetworks.
const many = "many"

// New returns the lines of a log.
func New(log *slog.Logger) *Lines {
	return &Lines{log: log, sources: map[source]int{}}
}

// Allow tells whether there is to be a line about a request that is refused. client is who is signed in, empty
// where nobody is; remote is the address that it comes from, with or without a port.
func (l *Lines) Allow(client, remote string) bool {
	from, most := source{client: client}, OfClient
	if client == "" {
		from, most = source{network: login.Network(forwarded.Host(remote))}, OfNetwork
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if client == "" && l.sources[from] == 0 {
		if l.networks >= maxNetworks {
			from.network = many
		} else {
			l.networks++
		}
	}
	if l.sources[from] == 0 {
		time.AfterFunc(Span, func() { l.end(from, most) })
	}
	l.sources[from]++
	return l.sources[from] <= most
}

// end ends the Span of a source.
func (l *Lines) end(from source, most int) {
	l.mu.Lock()
	more := l.sources[from] - most
	delete(l.sources, from)
	if from.client == "" && from.network != many {
		l.networks--
	}
	l.mu.Unlock()
	switch {
	case more <= 0:
	case from.client != "":
		l.log.Warn("more were refused", "requests", more, "client", from.client)
	default:
		l.log.Warn("more were refused", "requests", more, "network", from.network)
	}
}
