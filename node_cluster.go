package main

import (
	"context"
	"errors"
	"time"

	"pipit/admin/monitor"
	"pipit/broker"
	"pipit/cluster"
	"pipit/cluster/name"
)

// membership is the node's cluster as administration has it, while this one leads.
type membership struct{ *node }

var _ monitor.Cluster = membership{}

// answerTime is how long who asked for another leader has to be answered by this one.
const answerTime = 300 * time.Millisecond

// Known implements monitor.Cluster.
func (m membership) Known() monitor.ClusterStatus { return shown(m.engine.Known()) }

// Status implements monitor.Cluster.
func (m membership) Status(ctx context.Context) monitor.ClusterStatus { return m.status(ctx) }

// Verify implements monitor.Cluster.
func (m membership) Verify(ctx context.Context) (monitor.ClusterStatus, error) { return m.compare(ctx) }

// Transfer implements monitor.Cluster.
func (m membership) Transfer(name string) (string, error) {
	heir, err := m.engine.Heir(name)
	if err != nil {
		return "", told(err)
	}
	time.AfterFunc(answerTime, func() {
		if err := m.engine.Transfer(heir); err != nil {
			m.log.Warn("cluster: another node was to lead, and does not", "node", heir, "err", err)
		}
	})
	return heir, nil
}

// Join implements monitor.Cluster.
func (m membership) Join(ctx context.Context, node, addr string) error {
	if name.Check(node) != nil {
		return ofField("node", node, errors.New(name.Allowed))
	}
	err := m.engine.Add(ctx, node, addr)
	if err == nil || errors.Is(err, cluster.ErrOver) {
		return told(err)
	}
	return ofField("addr", addr, err)
}

// Replace implements monitor.Cluster.
func (m membership) Replace(ctx context.Context, name string) error {
	return told(m.engine.Replace(ctx, name))
}

// Leave implements monitor.Cluster.
func (m membership) Leave(name string) error { return told(m.engine.Remove(name)) }

// told is an error for who asked.
func told(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, cluster.ErrNoNode):
		return &broker.Error{Code: broker.NotFound, Message: err.Error()}
	case errors.Is(err, cluster.ErrLeads), errors.Is(err, cluster.ErrThere):
		return &broker.Error{Code: broker.Denied, Message: err.Error()}
	case errors.Is(err, cluster.ErrBehind), errors.Is(err, cluster.ErrOver):
		return &broker.Error{Code: broker.Unavailable, Message: err.Error(), RetryAfter: time.Second}
	}
	return err
}

// ofField is an error about what was given for a field.
func ofField(field, value string, err error) error {
	return &broker.Error{Code: broker.Invalid, Message: field + ": " + err.Error(), Field: field, Value: value}
}
