package disktest

import (
	"iter"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
)

// sector is what a disk writes whole or not at all.
const sector = 512

// State is what a power cut could have left of the folder of a Recorder. It is good until the next one is yielded.
type State struct {
	Point int    // how many of the events there were
	Seed  uint64 // of what became of those that were not durable
	Marks []any  // all before the cut, in order

	files map[string][]byte // by path in the folder
	dirs  []string          // in order
}

// States yields n states, the cuts spread evenly over all points between two events, from the first to the last: with a
// multiple of Points each of them as often. Of what was not durable at the cut, a state has nothing, all, or by chance: of
// each write nothing, all, its beginning, or some sectors; names as they were or will be, each by itself. The same seed
// yields the same states. Nothing is recorded any more meanwhile.
func (r *Recorder) States(n int, seed uint64) iter.Seq[*State] {
	return func(yield func(*State) bool) {
		r.reset()
		var marks []any
		done := 0
		for i := range n {
			point := int(int64(i) * int64(r.Points()) / int64(n))
			for ; done < point; done++ {
				if e := &r.events[done]; e.kind == mark {
					marks = append(marks, e.mark)
				} else {
					r.apply(r.events, done)
				}
			}
			s := &State{Point: point, Seed: seed, Marks: slices.Clip(marks), files: map[string][]byte{}}
			r.build(s, rand.New(rand.NewPCG(s.Seed, uint64(point)))) // #nosec G115 G404 -- a test that is repeatable
			if !yield(s) {
				return
			}
			seed++
		}
	}
}

// Points returns how many points there are at which the power could have been cut.
func (r *Recorder) Points() int { return len(r.events) + 1 }

// reset goes back to what was there before.
func (r *Recorder) reset() {
	empty := func(n *node) {
		if n != nil {
			n.names, n.data, n.pending = map[string]*node{}, nil, nil
		}
	}
	for _, events := range [][]event{r.base, r.events} {
		for i := range events {
			empty(events[i].node)
			empty(events[i].other)
		}
	}
	empty(r.top)
	for i := range r.base {
		r.base[i].settle()
	}
}

// apply does an event: what it makes durable, or that it waits for that.
func (r *Recorder) apply(events []event, i int) {
	e := &events[i]
	n := e.node
	if e.kind != flush {
		n.pending = append(n.pending, i)
		return
	}
	for len(n.pending) != 0 && int64(n.pending[0]) < e.at {
		events[n.pending[0]].settle()
		n.pending = n.pending[1:]
	}
}

// settle makes an event durable.
func (e *event) settle() {
	switch n := e.node; e.kind {
	case write:
		n.data = written(n.data, e.data, e.at)
	case truncate:
		n.data = resized(n.data, e.at)
	default:
		e.rename(n.names)
	}
}

// rename does to names what the event does. What it needs may not have become durable: then it did not either, and the name
// keeps what another file of that name left.
func (e *event) rename(names map[string]*node) {
	switch e.kind {
	case link:
		names[e.name] = e.other
	case unlink:
		if names[e.name] == e.other {
			delete(names, e.name)
		}
	case rename:
		if names[e.name] == e.other {
			names[e.to] = e.other
			delete(names, e.name)
		}
	}
}

// What a state has of what was not durable.
const (
	nothing = iota
	everything
	chance // and all above
	modes  = 4
)

// build makes the files and folders of a state.
func (r *Recorder) build(s *State, rnd *rand.Rand) {
	mode := rnd.IntN(modes)
	var folder func(n *node, path string)
	folder = func(n *node, path string) {
		names := n.names
		if len(n.pending) != 0 {
			names = maps.Clone(names)
			for _, i := range n.pending {
				if mode == everything || mode >= chance && rnd.IntN(2) == 0 {
					r.events[i].rename(names)
				}
			}
		}
		for _, name := range slices.Sorted(maps.Keys(names)) { // in order, so that chance is repeatable
			child, path := names[name], filepath.Join(path, name)
			if child.dir {
				s.dirs = append(s.dirs, path)
				folder(child, path)
			} else {
				s.files[path] = r.file(child, mode, rnd)
			}
		}
	}
	folder(r.top, "")
}

// file returns what a state has of a file. The bytes may be those of the node.
func (r *Recorder) file(n *node, mode int, rnd *rand.Rand) []byte {
	if len(n.pending) == 0 || mode == nothing {
		return slices.Clip(n.data)
	}
	data := slices.Clone(n.data)
	for _, i := range n.pending {
		e := &r.events[i]
		switch {
		case e.kind == write && mode != everything:
			data = torn(data, e.data, e.at, rnd)
		case e.kind == write:
			data = written(data, e.data, e.at)
		case mode == everything || rnd.IntN(2) == 0:
			data = resized(data, e.at)
		}
	}
	return data
}

// torn returns data with what became of a write.
func torn(data, b []byte, at int64, rnd *rand.Rand) []byte {
	const (
		none = iota
		whole
		beginning
		some
		fates
	)
	fate := rnd.IntN(fates)
	upTo := rnd.Int64N(int64(len(b)) + 1)
	for from := int64(0); from < int64(len(b)); {
		to := min(int64(len(b)), from+sector-(at+from)%sector)
		if fate == whole || fate == beginning && to <= upTo || fate == some && rnd.IntN(2) == 0 {
			data = written(data, b[from:to], at+from)
		}
		from = to
	}
	return data
}

// Write makes the state in a folder, which is there and empty.
func (s *State) Write(dir string) error {
	for _, d := range s.dirs {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			return err
		}
	}
	for name, data := range s.files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Mem returns the state as a file system in memory, in which it is in that folder.
func (s *State) Mem(folder string) *Mem {
	m := NewMem(folder)
	for _, d := range s.dirs {
		m.nodes[filepath.Join(folder, d)] = &memNode{dir: true}
	}
	for name, data := range s.files {
		m.nodes[filepath.Join(folder, name)] = &memNode{data: slices.Clone(data)}
	}
	return m
}
