package ring

import (
	"context"
	"io"
	"os"
	"time"

	"github.com/rbtool/rbtool/internal/cli/command"
)

// ending ends the reading of captures from pipes, whose end may never come, when the window is over.
type ending struct {
	piped  bool            // not all inputs are files
	live   context.Context // until the window is over, if that is in the future; or nil
	cancel context.CancelFunc
	early  bool // reading ended before the end of the inputs
}

// add tells of an input.
func (e *ending) add(in io.Reader) {
	f, ok := in.(*os.File)
	if ok {
		info, err := f.Stat()
		ok = err == nil && info.Mode().IsRegular()
	}
	e.piped = e.piped || !ok
}

// at ends reads that wait for what is recorded after a time in the future.
func (e *ending) at(until time.Time) {
	if e.piped && e.live == nil && until.After(time.Now()) {
		e.live, e.cancel = context.WithDeadline(context.Background(), until.Add(late))
	}
}

// over returns a channel that is closed when reads are to end, or nil.
func (e *ending) over() <-chan struct{} {
	if e.live == nil {
		return nil
	}
	return e.live.Done()
}

// report notes that reading ended early, and returns whether it did.
func (e *ending) report(w io.Writer) bool {
	if !e.early && (e.live == nil || e.live.Err() == nil) {
		return false
	}
	command.Note(w, "reading ended %v after --until: records that are read later from their rings are left out, whatever their time", late)
	return true
}

// close releases what the ending has.
func (e *ending) close() {
	if e.cancel != nil {
		e.cancel()
	}
}
