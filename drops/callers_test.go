package drops_test

import (
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/drops"
	"github.com/rbtool/rbtool/internal/bpftest/reservers"
	"github.com/rbtool/rbtool/internal/testenv"
)

// callerOf returns the only caller of a ring with this function.
func callerOf(t *testing.T, r *drops.Ring, function string) drops.Caller {
	t.Helper()
	i := slices.IndexFunc(r.Callers, func(c drops.Caller) bool { return c.Function == function })
	if i < 0 {
		t.Fatalf("no caller %s: %+v", function, r.Callers)
	}
	return r.Callers[i]
}

// is checks a caller against what its program counted.
func is(t *testing.T, got drops.Caller, s *reservers.Set, who reservers.Reserver, name string) {
	t.Helper()
	truth, err := s.Result(who)
	if err != nil {
		t.Fatal(err)
	}
	if truth.Failed == 0 || truth.Failed == truth.Calls {
		t.Errorf("%+v proves little", truth)
	}
	if got.Calls != truth.Calls || got.Failed != truth.Failed || got.FailedBytes != truth.FailedBytes {
		t.Errorf("%s: %+v; want %+v", name, got.Counts, truth)
	}
	info, err := s.Program(who).Info()
	if err != nil {
		t.Fatal(err)
	}
	id, _ := info.ID()
	if who == reservers.TailCall {
		id = got.Program // Program returns the program that makes the tail call
	}
	if got.Name != name || got.Program != id || !got.Loaded || got.Type != ebpf.RawTracepoint {
		t.Errorf("caller %+v; want program %d %s", got, id, name)
	}
}

func TestCallersAreTold(t *testing.T) {
	which := []reservers.Reserver{reservers.Reserve, reservers.Output, reservers.TailCall, reservers.InnerRing}
	eachEngine(t, func(t *testing.T, e drops.Engine) {
		c := count(t, drops.Options{Engine: e})
		onOneCPU(t)
		// The rings are created and the programs loaded while it counts.
		s := load(t, reservers.Config{Steps: 300, MaxSize: 300}, which...)
		reader, err := consumer.NewReader(s.Ring, consumer.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer reader.Close()
		for round := range 8 {
			for i := range which { // each is the first once, when the ring has room
				if err := s.Run(which[(round+i)%len(which)]); err != nil {
					t.Fatal(err)
				}
			}
			drain(t, reader)
		}
		_, r := read(t, c, s.Ring)
		is(t, callerOf(t, &r, "reserve_once"), s, reservers.Reserve, "reserve_many")
		is(t, callerOf(t, &r, "output_many"), s, reservers.Output, "output_many")
		is(t, callerOf(t, &r, "tail"), s, reservers.TailCall, "tail")
		if len(r.Callers) != 3 || r.Name != "ring" || r.Size != 64<<10 {
			t.Errorf("%s of %d bytes with callers %+v", r.Name, r.Size, r.Callers)
		}
		if by := callerOf(t, &r, "reserve_once"); by.MinSize != 40 || by.MaxSize != 40 {
			t.Errorf("records of %d to %d bytes; want 40", by.MinSize, by.MaxSize)
		}
		if by := callerOf(t, &r, "output_many"); by.MinSize > 10 || by.MaxSize < 290 || by.MaxSize >= 300 {
			t.Errorf("records of %d to %d bytes; want 0 to 299", by.MinSize, by.MaxSize)
		}
		_, r = read(t, c, s.Inner)
		is(t, callerOf(t, &r, "inner_many"), s, reservers.InnerRing, "inner_many")
	})
}

func TestCallersThatWereUnloaded(t *testing.T) {
	eachEngine(t, func(t *testing.T, e drops.Engine) {
		c := count(t, drops.Options{Engine: e})
		ring := testRing(t)
		onOneCPU(t)
		run := func(who reservers.Reserver, seen bool) reservers.Result {
			s, err := reservers.Load(reservers.Config{Steps: 2000, MaxSize: 300, Ring: ring}, who)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if err := s.Run(who); err != nil {
				t.Fatal(err)
			}
			if seen {
				read(t, c, ring)
			}
			truth, err := s.Total()
			if err != nil {
				t.Fatal(err)
			}
			return truth
		}
		kept := run(reservers.Reserve, true)
		short := run(reservers.Output, false)
		_, r := read(t, c, ring)
		if by := callerOf(t, &r, "reserve_once"); by.Calls != kept.Calls || by.Failed != kept.Failed || by.Name != "reserve_many" || by.Program == 0 || by.Loaded {
			t.Errorf("caller %+v; want %+v", by, kept)
		}
		if features.HaveProgramHelper(ebpf.RawTracepoint, asm.FnSnprintf) != nil {
			return // what was never seen has no name before Linux 5.13
		}
		if by := callerOf(t, &r, "output_many"); by.Calls != short.Calls || by.Failed != short.Failed || by.Loaded {
			t.Errorf("caller %+v; want %+v", by, short)
		}
		if r.Calls != kept.Calls+short.Calls || r.Failed != kept.Failed+short.Failed {
			t.Errorf("%d calls, %d failed; want %+v and %+v", r.Calls, r.Failed, kept, short)
		}
	})
}

func TestOnlyWhatWasAskedFor(t *testing.T) {
	eachEngine(t, func(t *testing.T, e drops.Engine) {
		s := load(t, reservers.Config{Steps: 10, MaxSize: 300}, reservers.Reserve, reservers.InnerRing)
		c := count(t, drops.Options{Engine: e, Maps: []ebpf.MapID{mapID(t, s.Inner)}})
		for _, who := range []reservers.Reserver{reservers.Reserve, reservers.InnerRing} {
			if err := s.Run(who); err != nil {
				t.Fatal(err)
			}
		}
		report, r := read(t, c, s.Inner)
		if len(report.Rings) != 1 || r.Calls != 10 || report.Unattributed != 0 {
			t.Errorf("report %+v; want 10 calls on ring %d", report, r.ID)
		}
	})
}

func TestFiveHundredRings(t *testing.T) {
	const rings = 500
	eachEngine(t, func(t *testing.T, e drops.Engine) {
		c := count(t, drops.Options{Engine: e})
		s := load(t, reservers.Config{Steps: 10 * testenv.PageSize / 4096, MaxSize: 1000}, reservers.InnerRing)
		want := map[ebpf.MapID]reservers.Result{}
		onOneCPU(t)
		for range rings {
			ring := testRing(t)
			if err := s.UseInner(ring); err != nil {
				t.Fatal(err)
			}
			before, err := s.Total()
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Run(reservers.InnerRing); err != nil {
				t.Fatal(err)
			}
			after, err := s.Total()
			if err != nil {
				t.Fatal(err)
			}
			want[mapID(t, ring)] = reservers.Result{Calls: after.Calls - before.Calls, Failed: after.Failed - before.Failed}
		}
		report, err := c.Read()
		if err != nil {
			t.Fatal(err)
		}
		var failed uint64
		for _, r := range report.Rings {
			if truth := want[r.ID]; r.Calls != truth.Calls || r.Failed != truth.Failed || r.FailedLow != r.FailedHigh {
				t.Errorf("ring %d: %d calls, %d failed; want %+v", r.ID, r.Calls, r.Failed, truth)
			}
			failed += r.Failed
		}
		if len(report.Rings) != rings || failed == 0 {
			t.Errorf("%d rings, %d failures", len(report.Rings), failed)
		}
	})
}
