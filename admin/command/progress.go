package command

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/schollz/progressbar/v3"
)

// progress shows a person that long work goes on, on standard error where that is a terminal. Its
// methods do nothing on a nil progress.
type progress struct {
	what, unit string
	bar        *progressbar.ProgressBar
	done       atomic.Int64 // pieces of work
	total      int64        // of them
	ticker     sync.WaitGroup
	ended      chan struct{}
}

const (
	turn     = 200 * time.Millisecond // how often a sign of life moves where nothing else does
	barSteps = 1000
	barWidth = 30 // columns, where the terminal has room
)

// progress begins to show work, of which so many pieces are to be done: in a bar, or, where the
// total is 0 or less and so not known, as their number in a unit.
func (o *output) progress(what, unit string, total int64) *progress {
	if _, ok := Terminal(o.stderr); !ok {
		return nil
	}
	what = cut(visible(what), max(width(o.stderr)/2, 10))
	most, style := int64(barSteps), progressbar.OptionSetWidth(barWidth)
	if total <= 0 {
		most, style = -1, progressbar.OptionSpinnerType(14)
	}
	p := &progress{what: what, unit: unit, total: total, ended: make(chan struct{}), bar: progressbar.NewOptions64(most, style,
		progressbar.OptionSetWriter(o.stderr),
		progressbar.OptionSetDescription(what),
		progressbar.OptionThrottle(turn/2),
		progressbar.OptionSetSpinnerChangeInterval(0), // the library's own ticker is not safe beside Add
		progressbar.OptionClearOnFinish(),
	)}
	p.ticker.Go(func() {
		t := time.NewTicker(turn)
		defer t.Stop()
		for {
			p.draw()
			select {
			case <-t.C:
			case <-p.ended:
				return
			}
		}
	})
	return p
}

// draw shows what is done. A terminal that takes no more is no reason to stop.
func (p *progress) draw() {
	switch done := p.done.Load(); {
	case p.total > 0:
		_ = p.bar.Set64(min(done*barSteps/p.total, barSteps-1)) // full it would be wiped away
	case done > 0:
		p.bar.Describe(fmt.Sprintf("%s: %d %s", p.what, done, p.unit))
	}
	_ = p.bar.RenderBlank()
}

// add counts pieces of work.
func (p *progress) add(n int) {
	if p != nil {
		p.done.Add(int64(n))
	}
}

// share says which part of all work is done, from 0 to 1.
func (p *progress) share(part float64) {
	if p != nil {
		p.done.Store(int64(part * float64(p.total)))
	}
}

// end wipes the progress away.
func (p *progress) end() {
	if p != nil {
		close(p.ended)
		p.ticker.Wait()
		_ = p.bar.Finish()
		_ = p.bar.Exit()
	}
}

// reader shows what is read of r.
func (p *progress) reader(r io.Reader) io.Reader { return progressReader{r, p} }

type progressReader struct {
	io.Reader
	p *progress
}

func (r progressReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	r.p.add(n)
	return n, err
}
