package drops_test

import (
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/drops"
	"github.com/rbtool/rbtool/internal/bpftest/reservers"
	"github.com/rbtool/rbtool/internal/mapflag"
	"github.com/rbtool/rbtool/internal/testenv"
)

func TestAnEngineThatTheKernelLacks(t *testing.T) {
	for e := range engines {
		c, err := drops.New(drops.Options{Engine: e})
		if err == nil {
			if got := c.Engine(); got.Engine != e || got.Why == "" || len(got.Lacking) != 0 {
				t.Errorf("engine %+v; want %v", got, e)
			}
			c.Close()
			continue
		}
		var lacks *drops.EngineError
		if !errors.Is(err, drops.ErrNotSupported) || !errors.As(err, &lacks) || lacks.Engine != e || lacks.Probe == "" {
			t.Errorf("%v: %v", e, err)
		}
		t.Log(err)
	}
}

func TestClose(t *testing.T) {
	testenv.NoLeaks(t)
	eachEngine(t, func(t *testing.T, e drops.Engine) {
		c := count(t, drops.Options{Engine: e})
		for range 2 {
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if r, err := c.Read(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("Read after Close: %+v, %v", r, err)
		}
	})
}

func TestNeededWouldHaveHeldTheBurst(t *testing.T) {
	eachEngine(t, func(t *testing.T, e drops.Engine) {
		s := load(t, reservers.Config{Steps: 3000}, reservers.Reserve)
		c := count(t, drops.Options{Engine: e})
		onOneCPU(t)
		if err := s.Run(reservers.Reserve); err != nil {
			t.Fatal(err)
		}
		if _, r := read(t, c, s.Ring); r.Needed != 3000*48 {
			t.Errorf("needed %d bytes for 3000 records of 48", r.Needed)
		}
	})
}

func TestOverwriteMode(t *testing.T) {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: 64 << 10, Flags: mapflag.RBOverwrite})
	if err != nil || m.Flags()&mapflag.RBOverwrite == 0 {
		testenv.SkipWithout(t, "ringbuf-overwrite", err)
	}
	defer m.Close()
	// No kernel has both overwrite mode and the engine fexit.
	if err := try(drops.Breakpoint); err != nil {
		testenv.SkipWithout(t, engines[drops.Breakpoint], err)
	}
	s := load(t, reservers.Config{Steps: 3000, MaxSize: 400, Ring: m}, reservers.Output, reservers.Invalid)
	c := count(t, drops.Options{Engine: drops.Breakpoint})
	onOneCPU(t)
	for _, who := range []reservers.Reserver{reservers.Output, reservers.Invalid} {
		if err := s.Run(who); err != nil {
			t.Fatal(err)
		}
	}
	_, r := read(t, c, s.Ring)
	if !r.Overwrite || r.Failed != 3 || r.FailedHigh != 3 || r.Overwritten+r.Size < r.CallBytes || r.Overwritten > r.CallBytes {
		t.Errorf("overwrite mode %v, %d failed, at most %d; %d bytes overwritten of %d", r.Overwrite, r.Failed, r.FailedHigh,
			r.Overwritten, r.CallBytes)
	}
}

// counting is the role of a process that counts until it is killed.
const counting = "counting"

func play(string, *ebpf.Map) error {
	c, err := drops.New(drops.Options{})
	if err != nil {
		return err
	}
	defer c.Close()
	return testenv.Ready()
}

// programs are the names of the programs of a Counter.
var programs = []string{
	"debug_exception", "breakpoint_x86", "reserve_called", "output_called", "reserve_returne", "output_returned", "reserve_dynptr_",
	"step_ended", "step_ended_6_17",
}

// loaded returns how many programs of Counters are loaded.
func loaded(t *testing.T) (n int) {
	t.Helper()
	var id ebpf.ProgramID
	for {
		next, err := ebpf.ProgramGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		id = next
		p, err := ebpf.NewProgramFromID(id)
		if err != nil {
			continue
		}
		info, err := p.Info()
		if err == nil && slices.Contains(programs, info.Name) {
			n++
		}
		p.Close()
	}
}

func TestKilled(t *testing.T) {
	if err := try(drops.AnyEngine); err != nil {
		testenv.SkipWithout(t, "drops", err)
	}
	kills := 100
	if testing.Short() {
		kills = 2
	}
	ring := testRing(t)
	s := load(t, reservers.Config{Steps: 100, Ring: ring}, reservers.Reserve)
	for range kills {
		p := testenv.Start(t, counting, ring)
		p.Expect(t, "ready")
		if err := s.Run(reservers.Reserve); err != nil {
			t.Fatal(err)
		}
		if loaded(t) == 0 {
			t.Fatal("no program is loaded while the process counts")
		}
		p.Kill()
		// The kernel frees programs after a grace period.
		for deadline := time.Now().Add(20 * time.Second); loaded(t) != 0; {
			if time.Now().After(deadline) {
				t.Fatalf("%d programs are left", loaded(t))
			}
		}
	}
	if err := s.Run(reservers.Reserve); err != nil {
		t.Fatal(err)
	}
}
