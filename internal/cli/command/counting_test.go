package command

import (
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/drops"
)

func TestCannotCount(t *testing.T) {
	tried := errors.Join(drops.ErrNotSupported,
		&drops.EngineError{Engine: drops.Fexit, Probe: "load", Err: fmt.Errorf("load program: %w (MEMLOCK may be too low, consider rlimit.RemoveMemlock)", unix.EPERM)},
		&drops.EngineError{Engine: drops.Breakpoint, Probe: "perf_event_open", Err: unix.EINVAL})
	err := CannotCount("drops", fmt.Errorf("count: %w", tried))
	const want = "drops: lost records cannot be counted: fexit: load: load program: operation not permitted; breakpoint: perf_event_open: invalid argument"
	if err.Error() != want || StatusOf(err) != StatusUnable || !HasHint(err) || !errors.Is(err, unix.EINVAL) {
		t.Errorf("%v, status %d", err, StatusOf(err))
	}
	if got := EngineErrors(err); len(got) != 2 || got[1].Engine != drops.Breakpoint {
		t.Errorf("%v", got)
	}
	other := CannotCount("top", unix.ENOMEM)
	if IsCannotCount(unix.ENOMEM) || other.Error() != "top: cannot allocate memory" || StatusOf(other) != StatusFailed {
		t.Errorf("%v, status %d", other, StatusOf(other))
	}
}
