package broker_test

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"sync"

	"pipit/cluster/clustertest"
	"pipit/db"
	"pipit/db/disk"
	"pipit/db/disk/disktest"
)

// worker is that of a store, which writes to the file beside commits, as tests hold it.
type worker struct {
	work sync.Mutex // held while it is at work

	mu   sync.Mutex
	next db.Moment // in which it is to stay; empty: in none
	at   db.Moment // in which it stays; empty: in none
	held chan struct{}
}

// meet is called by the worker.
func (w *worker) meet(m db.Moment) {
	switch m {
	case db.WorkBegins:
		w.work.Lock()
		return
	case db.WorkEnds:
		w.work.Unlock()
		return
	}
	w.mu.Lock()
	stay := m == w.next
	held := make(chan struct{})
	if stay {
		w.at, w.next, w.held = m, "", held
	}
	w.mu.Unlock()
	if stay {
		<-held
	}
}

// moment returns in which moment the worker stays, empty where in none.
func (w *worker) moment() db.Moment {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at
}

// goOn lets the worker go on until a moment, with "" for good.
func (w *worker) goOn(until db.Moment) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.next = until; w.at != "" {
		w.at = ""
		close(w.held)
	}
}

// crash closes the broker and returns what opens its files again as they were before, all in one moment: nothing is written
// but to the log.
func (r *rig) crash() (reopen func()) {
	r.t.Helper()
	if r.nodes != nil { // the broker of a lost term stores nothing more
		r.upset()
		_ = r.Close()
		return r.open
	}
	kept := r.keep()
	r.close()
	return func() {
		r.t.Helper()
		for name, b := range kept {
			err := os.WriteFile(name, b, 0o600)
			if errors.Is(err, fs.ErrNotExist) {
				err = errors.Join(os.Mkdir(r.path+"-log", 0o700), os.WriteFile(name, b, 0o600))
			}
			if err != nil {
				r.t.Fatal(err)
			}
		}
		r.open()
	}
}

// keep returns what the files have, by their names.
func (r *rig) keep() map[string][]byte {
	r.t.Helper()
	if r.worker.moment() == "" {
		r.worker.work.Lock()
		defer r.worker.work.Unlock()
	}
	kept := map[string][]byte{}
	for _, top := range []string{r.path, r.path + ".compact", r.path + "-log"} { // the log last, which has what the others have not
		if err := disktest.ReadTree(kept, top); err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.t.Fatal(err)
		}
	}
	return kept
}

// busyWorker has a model's rig move what is in the log into the file all the time, and compact the file, and has the model
// crash in the midst of these.
type busyWorker struct {
	rig   *rig
	rnd   *rand.Rand
	did   map[string]int
	steps int // for which the worker stays where it is
}

// busyOps returns what the runs of a model must have seen.
func busyOps() []string {
	if *onCluster {
		return append([]string{"node replaced"}, clustertest.Changes...)
	}
	return []string{"crash while frozen", "crash while moved", "crash while copied", "crash while renamed", "crash while compacting", "restart while compacting"}
}

func newBusyWorker(r *rig, rnd *rand.Rand, did map[string]int) *busyWorker {
	if *onCluster {
		return &busyWorker{rig: r, rnd: rnd, did: did}
	}
	r.close()
	r.db.LogSize = 2 << 20 // so that it has room for what is committed while the worker stays somewhere
	r.db = r.db.With(db.Seam{FS: disktest.Unflushed{FS: disk.OS}, SegmentSize: 64 << 10, FreezeAt: 8 << 10, Large: 4 << 10, CopyPart: 4 << 10, Met: r.worker.meet})
	r.open()
	return &busyWorker{rig: r, rnd: rnd, did: did}
}

// upset is step on a cluster: a node that follows is replaced, or what leads changes in one way or another.
func (w *busyWorker) upset(n int) (restart, crash bool) {
	switch {
	case n < 1:
		w.did["node replaced"]++
		w.rig.nodes.Replace()
	case n < 3:
		w.rig.changed = w.rnd.IntN(len(clustertest.Changes))
		w.did[clustertest.Changes[w.rig.changed]]++
		return true, n == 2
	}
	return false, false
}

// step does something beside a step of the model, and tells whether that is to restart now, and how.
func (w *busyWorker) step() (restart, crash bool) {
	at := w.rig.worker.moment()
	_, compacting := w.rig.store.Compacting()
	n := w.rnd.IntN(100)
	if w.rig.nodes != nil {
		return w.upset(n)
	}
	switch {
	case at != "" && n < 12:
		w.did["crash while "+string(at)]++
		return true, true
	case at != "" && w.steps > 0:
		w.steps--
		return false, false
	case at == "" && compacting && n < 8:
		w.did["crash while compacting"]++
		return true, true
	case at == "" && compacting && n < 14:
		w.did["restart while compacting"]++
		return true, false
	case !compacting && n < 4:
		go func() { _ = w.rig.store.Compact(ctx) }() // a restart breaks it off
	}
	w.steps = w.rnd.IntN(8)
	w.rig.worker.goOn([]db.Moment{db.Frozen, db.Moved, db.Copied, db.Renamed}[w.rnd.IntN(4)])
	return false, false
}
