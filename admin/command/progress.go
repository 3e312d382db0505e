package command

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
)

// progress shows a person that long work goes on, on standard error where that is a terminal. Its
// methods do nothing on a nil progress.
type progress struct {
	what, unit string
	bar        *progressbar.ProgressBar
	done       int // pieces of work, in units
	ticker     sync.WaitGroup
	ended      chan struct{}
}

// turn is how often a sign of life moves where nothing else does.
const turn = 200 * time.Millisecond

// progress begins to show work of which the end is not known. Its pieces are counted in a unit.
func (c *cli) progress(what, unit string) *progress {
	if _, ok := terminal(c.Stderr); !ok {
		return nil
	}
	what = visible(what)
	p := &progress{what: what, unit: unit, ended: make(chan struct{}), bar: progressbar.NewOptions64(-1,
		progressbar.OptionSetWriter(c.Stderr),
		progressbar.OptionSetDescription(what),
		progressbar.OptionThrottle(turn/2),
		progressbar.OptionSetSpinnerChangeInterval(0), // the library's own ticker is not safe beside Add
		progressbar.OptionSpinnerType(14),
		progressbar.OptionClearOnFinish(),
	)}
	p.ticker.Go(func() {
		t := time.NewTicker(turn)
		defer t.Stop()
		for {
			_ = p.bar.RenderBlank() // a terminal that takes no more is no reason to stop
			select {
			case <-t.C:
			case <-p.ended:
				return
			}
		}
	})
	return p
}

func (p *progress) add(n int) {
	if p != nil && n > 0 {
		p.done += n
		p.bar.Describe(fmt.Sprintf("%s: %d %s", p.what, p.done, p.unit))
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
