// Package object is what is done to the objects of a broker, for the API and the pages alike: clients, topics, producers,
// consumers, messages and whole documents of definitions. What a change does and its entry in the audit log are one
// commit.
//
// A Noun describes one kind of object, and what can be done to any. Its fields stand in the tables of the broker, and Node
// reads them from the body of a request.
package object

import (
	"log/slog"
	"sync"
	"sync/atomic"

	"pipit/admin/audit"
	"pipit/admin/monitor"
	"pipit/broker"
)

// Objects are those of a broker. Its methods may be called from any goroutine.
type Objects struct {
	b     *broker.Broker
	log   *slog.Logger // of what is weak
	trail *audit.Log

	declared  atomic.Pointer[map[declaration]bool] // by the configuration file; nil: none is known
	attention atomic.Pointer[monitor.Thresholds]   // by which lists have parts

	oneImport sync.Mutex // held while an import is read and done
	undos     undos
}

// New returns the objects of a broker, with the audit log of what is done to them.
func New(b *broker.Broker, log *slog.Logger, trail *audit.Log) *Objects {
	o := &Objects{b: b, log: log, trail: trail}
	o.SetThresholds(monitor.DefaultThresholds)
	return o
}

// SetThresholds takes over from where on what is listed needs attention.
func (o *Objects) SetThresholds(t monitor.Thresholds) { o.attention.Store(&t) }
