package infer

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/rbtool/rbtool/internal/testenv"
)

func TestParallel(t *testing.T) {
	for _, n := range []int{0, 1, 3, 100} {
		calls := make([]atomic.Int32, n)
		parallel(n, func(i int) { calls[i].Add(1) })
		for i := range calls {
			if got := calls[i].Load(); got != 1 {
				t.Errorf("%d of %d: %d calls", i, n, got)
			}
		}
	}
}

func TestBegin(t *testing.T) {
	broken := errors.New("broken")
	wait := begin(func() (int, error) { return 7, broken })
	for range 2 {
		if n, err := wait(); n != 7 || err != broken {
			t.Errorf("%d, %v", n, err)
		}
	}
}

// Programs that there is no time for are noted.
func TestTooLittleTime(t *testing.T) {
	ring := testenv.Map(t, &ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: testenv.PageSize})
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "uses", Type: ebpf.SocketFilter, License: "MIT",
		Instructions: asm.Instructions{asm.LoadMapPtr(asm.R1, ring.FD()), asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer prog.Close()
	for _, patience := range []time.Duration{-1, time.Hour} {
		s, err := newSearch(ring, Options{}, patience, patience)
		if err != nil {
			t.Fatal(err)
		}
		late := patience < 0
		noted := slices.ContainsFunc(s.notes, func(n string) bool { return strings.HasSuffix(n, "(uses): "+errTime.Error()) })
		if s.partial != late || noted != late || len(s.programs) == 1 != !late {
			t.Errorf("%v: partial %v, %d programs, notes %q", patience, s.partial, len(s.programs), s.notes)
		}
		s.close()
	}
}
