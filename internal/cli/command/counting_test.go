package command

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/drops"
	"github.com/rbtool/rbtool/internal/kallsyms"
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

func TestHiddenAddressesGetTheirHint(t *testing.T) {
	err := CannotCount("drops", errors.Join(drops.ErrNotSupported,
		&drops.EngineError{Engine: drops.Breakpoint, Probe: "look up bpf_ringbuf_reserve", Err: kallsyms.ErrHidden}))
	if hint := hintFor(err); !strings.Contains(hint, "sysctl kernel.kptr_restrict=1") || StatusOf(err) != StatusUnable {
		t.Errorf("%v, hint %q, status %d", err, hint, StatusOf(err))
	}
}
