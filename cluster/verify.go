package cluster

import (
	"context"
	"fmt"
	"sync"

	"github.com/hashicorp/raft"
)

// verifier asks a majority whether this node still leads its term: once for all who want to know meanwhile, and after each of them began to ask.
//
// Raft's own VerifyLeader counts every answer that comes from then on, also to what was sent before: a leader that was stopped finds such answers
// when it wakes. So what is asked here are heartbeats of our own: who answers one has heard of no later term when it came.
type verifier struct {
	term *Term

	mu      sync.Mutex
	running bool
	next    *round // that begins when the one that is running has ended; nil: nobody waits
	peers   map[raft.ServerID]*peer
}

// round is one question to the majority.
type round struct {
	done chan struct{} // the majority has answered
	need int           // answers that are missing; guarded by mu of the verifier
}

// peer is a node that is asked one thing at a time.
type peer struct {
	server raft.Server
	busy   bool
	next   *round // that it is asked for next; nil: none
}

// verify returns when a majority has answered, or the term or ctx is over.
func (v *verifier) verify(ctx context.Context) error {
	v.mu.Lock()
	if v.next == nil {
		v.next = &round{done: make(chan struct{})}
	}
	r := v.next
	if !v.running {
		v.running = true
		go v.run()
	}
	v.mu.Unlock()
	select {
	case <-r.done:
		return nil
	case <-v.term.done:
		return v.term.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run asks as long as somebody waits.
func (v *verifier) run() {
	for {
		v.mu.Lock()
		r := v.next
		v.next = nil
		v.running = r != nil
		if r != nil {
			v.begin(r)
		}
		v.mu.Unlock()
		if r == nil {
			return
		}
		select {
		case <-r.done:
		case <-v.term.done:
			return // nobody waits any more
		}
	}
}

// begin asks all others. The caller has mu.
func (v *verifier) begin(r *round) {
	if v.peers == nil {
		v.peers = map[raft.ServerID]*peer{}
	}
	e, voters := v.term.engine, 0
	for _, s := range e.servers() {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		if string(s.ID) == e.id {
			continue
		}
		p := v.peers[s.ID]
		if p == nil {
			p = &peer{}
			v.peers[s.ID] = p
		}
		p.server, p.next = s, r
	}
	if r.need = voters / 2; r.need == 0 { // beside this node
		close(r.done)
		return
	}
	for _, p := range v.peers {
		v.ask(p)
	}
}

// ask asks a node for its next round, where it is not being asked. The caller has mu.
func (v *verifier) ask(p *peer) {
	r := p.next
	if p.busy || r == nil {
		return
	}
	p.busy, p.next = true, nil
	server := p.server
	go func() {
		ok := v.heartbeat(server)
		if !ok {
			v.term.engine.pause(v.term.engine.opts.Heartbeat / 20)
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		p.busy = false
		switch {
		case r.need <= 0 || v.term.Err() != nil: // others have answered
		case !ok && p.next == nil:
			p.next = r
		case ok:
			if r.need--; r.need == 0 {
				close(r.done)
			}
		}
		if v.term.Err() == nil {
			v.ask(p)
		}
	}()
}

// heartbeat tells whether a node takes this one for the leader.
func (v *verifier) heartbeat(to raft.Server) bool {
	e := v.term.engine
	addr := e.opts.Transport.EncodePeer(raft.ServerID(e.id), e.opts.Transport.LocalAddr())
	var answer raft.AppendEntriesResponse
	err := e.opts.Transport.AppendEntries(to.ID, to.Address, &raft.AppendEntriesRequest{
		RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(e.id), Addr: addr},
		Term:      v.term.term,
	}, &answer)
	if err == nil && answer.Term > v.term.term {
		v.term.end(fmt.Errorf("%w: node %q has heard of term %d", ErrOver, NodeOf(string(to.ID)), answer.Term))
	}
	return err == nil && answer.Success && answer.Term == v.term.term
}
