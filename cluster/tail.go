package cluster

import (
	"errors"
	"io"

	"github.com/hashicorp/raft"
)

// afterFile is the transport that raft gets. Raft forgets, when a file was received, that its log has an end of another leader's behind that file's place:
// it looks for the entry of that place, which is not there any more, refuses what comes behind it, and gets the file again, for ever where the leader can
// commit nothing without it. So what comes right behind the place that the file is known to have is passed to raft as what needs no entry before it;
// it then compares the entries themselves.
type afterFile struct {
	raft.Transport
	last func() *snapshotMeta
	came chan raft.RPC
}

// pass hands on what comes, until done is closed.
func (t *afterFile) pass(done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case rpc := <-t.Transport.Consumer():
			if a, ok := rpc.Command.(*raft.AppendEntriesRequest); ok {
				if m := t.last(); m != nil && a.PrevLogEntry == m.Index && a.PrevLogTerm == m.Term {
					own := *a // the sender may use its own once more
					own.PrevLogEntry, own.PrevLogTerm = 0, 0
					rpc.Command = &own
				}
			}
			select {
			case <-done:
				rpc.Respond(&raft.AppendEntriesResponse{}, raft.ErrRaftShutdown) // raft's own transport for tests does not bear nil
				return
			case t.came <- rpc:
			}
		}
	}
}

// Consumer implements raft.Transport.
func (t *afterFile) Consumer() <-chan raft.RPC { return t.came }

// RequestPreVote implements raft.WithPreVote.
func (t *afterFile) RequestPreVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	if p, ok := t.Transport.(raft.WithPreVote); ok {
		return p.RequestPreVote(id, target, args, resp)
	}
	return errors.New("the transport has no such request")
}

// Close implements raft.WithClose.
func (t *afterFile) Close() error {
	if c, ok := t.Transport.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

var (
	_ raft.WithPreVote = (*afterFile)(nil)
	_ raft.WithClose   = (*afterFile)(nil)
)
