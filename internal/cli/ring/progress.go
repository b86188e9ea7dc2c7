package ring

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/escape"
)

const (
	progressEvery = 200 * time.Millisecond
	clearLine     = "\r\x1b[K"
)

// showProgress shows the counts of p in a line on the terminal w, until the caller calls stop. Without a
// terminal it shows nothing.
func showProgress(w io.Writer, p *produced) (stop func()) {
	if !command.IsTerminal(w) {
		return func() {}
	}
	w = escape.Unwrap(w) // clearLine is an escape sequence, which w would escape
	ended := make(chan struct{})
	var shown sync.WaitGroup
	shown.Go(func() {
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		began := time.Now()
		for {
			n := p.samples.Load()
			fmt.Fprintf(w, "%s%d samples, %d bytes, %d dropped, %.0f samples/s", clearLine,
				n, p.bytes.Load(), p.dropped.Load(), float64(n)/time.Since(began).Seconds())
			select {
			case <-ended:
				fmt.Fprint(w, clearLine)
				return
			case <-tick.C:
			}
		}
	})
	return func() {
		close(ended)
		shown.Wait()
	}
}
