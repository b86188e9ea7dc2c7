package drops_test

import (
	"testing"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/drops"
	"github.com/rbtool/rbtool/internal/bpftest/reservers"
	"github.com/rbtool/rbtool/internal/testenv"
)

// engines are the features that tests with an engine need.
var engines = map[drops.Engine]string{drops.Fexit: "drops-fexit", drops.Breakpoint: "drops-breakpoint"}

// tried are the engines that were tried, and what came of it: trying takes seconds on an emulated machine.
var tried = map[drops.Engine]error{}

// eachEngine runs a test with each engine that the kernel has.
func eachEngine(t *testing.T, test func(t *testing.T, e drops.Engine)) {
	for e, feature := range engines {
		t.Run(e.String(), func(t *testing.T) {
			err, known := tried[e]
			if !known {
				err = try(e)
				tried[e] = err
			}
			if err != nil {
				testenv.SkipWithout(t, feature, err)
			}
			test(t, e)
		})
	}
}

func try(e drops.Engine) error {
	c, err := drops.New(drops.Options{Engine: e})
	if err != nil {
		return err
	}
	return c.Close()
}

func count(t *testing.T, o drops.Options) *drops.Counter {
	t.Helper()
	c, err := drops.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func load(t *testing.T, cfg reservers.Config, which ...reservers.Reserver) *reservers.Set {
	t.Helper()
	s, err := reservers.Load(cfg, which...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// read returns what was counted on a ring.
func read(t *testing.T, c *drops.Counter, ring *ebpf.Map) (*drops.Report, drops.Ring) {
	t.Helper()
	report, err := c.Read()
	if err != nil {
		t.Fatal(err)
	}
	id := mapID(t, ring)
	for _, r := range report.Rings {
		if r.ID == id {
			return report, r
		}
	}
	t.Fatalf("ring %d is not in the report: %+v", id, report)
	return nil, drops.Ring{}
}

func mapID(t *testing.T, m *ebpf.Map) ebpf.MapID {
	t.Helper()
	info, err := m.Info()
	if err != nil {
		t.Fatal(err)
	}
	id, ok := info.ID()
	if !ok {
		t.Fatal("no map id")
	}
	return id
}

// drain consumes what is in the ring.
func drain(t *testing.T, r *consumer.Reader) {
	t.Helper()
	for range r.Pass(1 << 20) {
	}
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
}

// same checks that a ring's counts are exactly the truth.
func same(t *testing.T, report *drops.Report, r *drops.Ring, truth reservers.Result) {
	t.Helper()
	t.Logf("%d calls, %d failed, between %d and %d; truth %+v", r.Calls, r.Failed, r.FailedLow, r.FailedHigh, truth)
	if r.Calls != truth.Calls || r.Failed != truth.Failed || r.FailedBytes != truth.FailedBytes || r.Invalid != truth.Invalid {
		t.Errorf("%d calls, %d failed, %d bytes, %d invalid; want %+v", r.Calls, r.Failed, r.FailedBytes, r.Invalid, truth)
	}
	if r.FailedLow != r.Failed || r.FailedHigh != r.Failed {
		t.Errorf("%d failed, between %d and %d, of calls one after the other", r.Failed, r.FailedLow, r.FailedHigh)
	}
	if report.Missed != 0 || report.Unattributed != 0 || len(report.Notes) != 0 {
		t.Errorf("missed %d, unattributed %d, notes %q", report.Missed, report.Unattributed, report.Notes)
	}
	var callers, cpus, sizes drops.Counts
	for _, c := range r.Callers {
		add(&callers, c.Counts)
	}
	for _, c := range r.CPUs {
		add(&cpus, c.Counts)
	}
	for _, c := range r.Sizes {
		add(&sizes, c.Counts)
	}
	want := drops.Counts{Calls: truth.Calls, Failed: truth.Failed, FailedBytes: truth.FailedBytes}
	if callers != want || cpus != want || sizes != want {
		t.Errorf("sums over callers %+v, CPUs %+v, sizes %+v; want %+v", callers, cpus, sizes, want)
	}
	var inSeconds uint64
	for _, s := range r.Seconds {
		inSeconds += s.Failed
	}
	if inSeconds != truth.Failed {
		t.Errorf("%d failures in seconds; want %d", inSeconds, truth.Failed)
	}
}

func add(sum *drops.Counts, c drops.Counts) {
	sum.Calls += c.Calls
	sum.Failed += c.Failed
	sum.FailedBytes += c.FailedBytes
}

// burst is the number of calls of one run.
const burst = 500

// calls is the number of calls of the tests of exactness.
func calls() uint64 {
	if testing.Short() {
		return 8_000
	}
	return 1_000_000
}

func TestCountsAreExactOnOneCPU(t *testing.T) {
	helpers := []struct {
		name     string
		reserver reservers.Reserver
	}{{"output", reservers.Output}, {"reserve", reservers.Reserve}, {"reserve_dynptr", reservers.Dynptr}}
	if testing.Short() {
		helpers = helpers[:1]
	}
	for _, who := range helpers {
		t.Run(who.name, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, e drops.Engine) {
				if who.reserver == reservers.Dynptr {
					needDynptr(t)
				}
				exactOnOneCPU(t, e, who.reserver)
			})
		})
	}
}

func exactOnOneCPU(t *testing.T, e drops.Engine, who reservers.Reserver) {
	s := load(t, reservers.Config{Steps: burst, MaxSize: 200}, who, reservers.Invalid)
	reader, err := consumer.NewReader(s.Ring, consumer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	c := count(t, drops.Options{Engine: e})
	onOneCPU(t)
	for n := uint64(0); n < calls(); n += burst {
		if err := s.Run(who); err != nil {
			t.Fatal(err)
		}
		if n/burst%5 == 4 {
			drain(t, reader)
		}
	}
	if err := s.Run(reservers.Invalid); err != nil {
		t.Fatal(err)
	}
	report, r := read(t, c, s.Ring)
	truth, err := s.Total()
	if err != nil {
		t.Fatal(err)
	}
	same(t, report, &r, truth)
	if truth.Failed < truth.Calls/10 || truth.Failed > truth.Calls*9/10 {
		t.Errorf("%+v proves little", truth)
	}
	if r.Worst.Failed == 0 || r.FirstFailure.IsZero() || r.LastFailure.Before(r.FirstFailure) || r.FirstFailure.Before(report.Start) {
		t.Errorf("worst second %+v, first failure %v, last %v, start %v", r.Worst, r.FirstFailure, r.LastFailure, report.Start)
	}
	if len(r.CPUs) != 1 {
		t.Errorf("CPUs %+v", r.CPUs)
	}
}
