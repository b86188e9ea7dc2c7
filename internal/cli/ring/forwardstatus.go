package ring

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/rbtool/rbtool/internal/cli/command"
)

// engineState notes when an engine begins to make a command wait, and when it ends.
type engineState struct {
	stderr io.Writer

	mu      sync.Mutex
	waiting string // the reason, "" while nothing waits
	since   time.Time
}

// set is the State of [fleet.NATSOptions].
func (s *engineState) set(waiting string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case waiting == "" && s.waiting != "":
		command.Note(s.stderr, "the server answers again, after %v", time.Since(s.since).Round(time.Millisecond))
	case waiting != "" && waiting != s.waiting:
		if s.waiting == "" {
			s.since = time.Now()
		}
		command.Note(s.stderr, "waiting for the server: %s", waiting)
	}
	s.waiting = waiting
}

// text returns the state for a line of counts.
func (s *engineState) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting == "" {
		return ""
	}
	return fmt.Sprintf(", waiting for %v: %s", time.Since(s.since).Round(time.Second), s.waiting)
}

// printLine prints what was stored so far.
func (f *forwarding) printLine() {
	dropped := ""
	if n := f.Dropped.Load(); n > 0 {
		dropped = fmt.Sprintf(", %d dropped", n)
	}
	fmt.Fprintf(f.stderr, "%d records stored%s%s\n", f.Stored.Load(), dropped, f.state.text())
}

// summary prints what was stored and what was not.
func (f *forwarding) summary() {
	f.report()
	if n := f.Dropped.Load(); n > 0 {
		command.Note(f.stderr, "%d records were dropped", n)
	}
}
