package producer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/testenv"
)

var sizes = []uint32{0, 1, 7, 8, 9, 16, 64, 256, 1024, 4095, 4096, 65536}

// jobs returns jobs with every kind of record that op can produce. The records of each job fit into
// 4 MiB.
func jobs(op Op) map[string]Job {
	js := map[string]Job{}
	sizes := sizes
	if testing.Short() { // each job loads a program of its own, which takes time
		sizes = []uint32{0, 7, 8, 4096}
	}
	for _, size := range sizes {
		js[fmt.Sprint(size, " bytes")] = Job{Op: op, Count: 30, Seq: 4090, Size: size}
	}
	if op != Reserve {
		js["0 to 300 bytes"] = Job{Op: op, Count: 10000, Seq: 1 << 40, Size: 0, MaxSize: 300}
		js["60 to 64 KiB"] = Job{Op: op, Count: 50, Size: 60 << 10, MaxSize: MaxRecord}
	}
	if op != Output {
		js["every 3rd discarded"] = Job{Op: op, Count: 1000, Seq: 1, Size: 100, DiscardEvery: 3}
		js["all discarded"] = Job{Op: op, Count: 1000, Size: 100, DiscardEvery: 1}
	}
	js["more than one program run"] = Job{Op: op, Count: 20000, Size: 24}
	js["none"] = Job{Op: op, Seq: 7}
	return js
}

// want returns the Result of a job in a ring with enough room.
func want(job Job) Result {
	res := Result{Next: job.Seq + job.Count}
	for seq := job.Seq; seq != job.Seq+job.Count; seq++ {
		if job.Discarded(seq) {
			res.Discarded++
			continue
		}
		res.Submitted++
		res.Bytes += uint64(job.Len(seq))
	}
	return res
}

func TestRecordsAreWhatTheJobSays(t *testing.T) {
	for _, op := range []Op{Reserve, Output, Dynptr} {
		for name, job := range jobs(op) {
			t.Run(fmt.Sprintf("%v/%s", op, name), func(t *testing.T) {
				p, ring := load(t, 4<<20)
				rd := newReader(t, ring)
				if diff := cmp.Diff(want(job), run(t, p, job)); diff != "" {
					t.Errorf("result (-want +got):\n%s", diff)
				}
				rd.expect(job)
			})
		}
	}
}

// The raw_tp programs, which only old kernels need, produce the same records as the syscall
// programs.
func TestRawTracepointProgramsDoTheSame(t *testing.T) {
	for op, name := range map[Op]string{Reserve: bpfProgReserveRawTp, Output: bpfProgOutputRawTp} {
		for desc, job := range jobs(op) {
			t.Run(fmt.Sprintf("%v/%s", op, desc), func(t *testing.T) {
				p, ring := load(t, 4<<20)
				rd := newReader(t, ring)
				v, err := job.variant(runSteps)
				if err != nil {
					t.Fatal(err)
				}
				v.name = name
				prog, err := p.programs.get(v)
				if err != nil {
					t.Fatal(err)
				}
				res, err := p.runProgram(t.Context(), prog, job)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want(job), res); diff != "" {
					t.Errorf("result (-want +got):\n%s", diff)
				}
				rd.expect(job)
			})
		}
	}
}

func TestFastWritesTheFirst8Bytes(t *testing.T) {
	for _, op := range []Op{Reserve, Output, Dynptr} {
		sizes := []uint32{0, 7, 8, 16, 1024}
		if testing.Short() {
			sizes = []uint32{7, 16}
		}
		for _, size := range sizes {
			t.Run(fmt.Sprintf("%v/%d bytes", op, size), func(t *testing.T) {
				p, ring := load(t, 1<<20)
				rd := newReader(t, ring)
				run(t, p, Job{Op: op, Fast: true, Count: 20, Seq: 1 << 33, Size: size})
				for seq := range uint64(20) {
					rec := rd.next()
					if len(rec) != int(size) {
						t.Fatalf("record %d: %d bytes, want %d", seq, len(rec), size)
					}
					if err := Verify(1<<33+seq, rec[:min(size, 8)]); err != nil {
						t.Fatal(err)
					}
				}
				rd.none()
			})
		}
	}
}

func TestFullRingFailsAndSkips(t *testing.T) {
	for _, op := range []Op{Reserve, Output, Dynptr} {
		t.Run(op.String(), func(t *testing.T) {
			p, ring := load(t, uint32(os.Getpagesize()))
			rd := newReader(t, ring)
			size := uint32(os.Getpagesize()/4) - headerSize
			got := run(t, p, Job{Op: op, Count: 10, Seq: 100, Size: size})
			// A fourth record would fill the ring to the last byte, but one byte must stay free.
			want := Result{Submitted: 3, Failed: 7, Bytes: 3 * uint64(size), Next: 110}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
			rd.expect(Job{Count: 3, Seq: 100, Size: size})
		})
	}
}

func TestLargestRecordOfARing(t *testing.T) {
	page := uint32(os.Getpagesize())
	for _, op := range []Op{Reserve, Output, Dynptr} {
		t.Run(op.String(), func(t *testing.T) {
			p, ring := load(t, page)
			rd := newReader(t, ring)
			fits := Job{Op: op, Count: 1, Size: page - 16, RetryFull: true}
			if res := run(t, p, fits); res.Submitted != 1 {
				t.Errorf("%d bytes in a ring of %d: %+v, want one submitted", fits.Size, page, res)
			}
			rd.expect(fits)
			if res := run(t, p, Job{Op: op, Count: 1, Size: page - 15}); res.Failed != 1 {
				t.Errorf("%d bytes in a ring of %d: %+v, want one failed", page-15, page, res)
			}
		})
	}
}

func TestRetryFullLosesNothing(t *testing.T) {
	for _, op := range []Op{Reserve, Output, Dynptr} {
		t.Run(op.String(), func(t *testing.T) {
			job := Job{Op: op, Count: 20000, Size: 40, RetryFull: true}
			if testing.Short() {
				job.Count = 2000
			}
			p, ring := load(t, uint32(os.Getpagesize()))
			// Skips the test if necessary, which only this goroutine may do.
			run(t, p, Job{Op: op, Count: 0, Size: 40})
			rd := newReader(t, ring)
			done := make(chan error)
			go func() {
				res, err := p.Run(t.Context(), job)
				if err == nil && (res.Submitted != job.Count || res.Failed != 0) {
					err = fmt.Errorf("result %+v, want %d submitted, none failed", res, job.Count)
				}
				done <- err
			}()
			rd.expect(job)
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

// fill produces more records than fit into a ring of one page: four fit, and fill filled bytes.
var fill = Job{Count: 10, Size: testenv.PageSize/4 - 24, RetryFull: true}

var filled = 4 * ring.Span(fill.Size)

func TestContextEndsRun(t *testing.T) {
	p, _ := load(t, uint32(os.Getpagesize()))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	var res Result
	go func() {
		var err error
		res, err = p.Run(ctx, fill)
		done <- err
	}()
	waitFor(t, p, filled)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Run with a full ring: %v, want context.Canceled", err)
	}
	if res.Submitted != 4 || res.Next != 4 {
		t.Errorf("result %+v, want 4 submitted", res)
	}
}

func TestCloseEndsRun(t *testing.T) {
	p, _ := load(t, uint32(os.Getpagesize()))
	done := make(chan error)
	go func() {
		_, err := p.Run(t.Context(), fill)
		done <- err
	}()
	waitFor(t, p, filled)
	if err := p.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if err := <-done; !errors.Is(err, os.ErrClosed) {
		t.Errorf("Run during Close: %v, want os.ErrClosed", err)
	}
}

// waitFor waits until the ring of p has n unconsumed bytes.
func waitFor(t *testing.T, p *Producer, n uint64) {
	t.Helper()
	for {
		q, err := p.Query()
		if err != nil {
			t.Fatal(err)
		}
		if q.AvailData >= n {
			return
		}
	}
}

func TestAfterCloseEverythingIsErrClosed(t *testing.T) {
	p, _ := load(t, 1<<16)
	pinger, err := p.Pinger(Job{Size: 8})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Errorf("second Close: %v, want nil", err)
	}
	calls := map[string]func() error{
		"Run":    func() error { _, err := p.Run(t.Context(), Job{Count: 1}); return err },
		"RunOn":  func() error { _, err := p.RunOn(t.Context(), 0, Job{Count: 1}); return err },
		"Query":  func() error { _, err := p.Query(); return err },
		"Pinger": func() error { _, err := p.Pinger(Job{}); return err },
		"Ping":   pinger.Ping,
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s after Close: %v, want os.ErrClosed", name, err)
		}
	}
}

func TestRunOnBindsAndUnbinds(t *testing.T) {
	p, ring := load(t, 1<<16)
	rd := newReader(t, ring)
	var before, after unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		t.Fatal(err)
	}
	for cpu := range len(before) * 64 {
		if !before.IsSet(cpu) {
			continue
		}
		job := Job{Count: 10, Seq: uint64(cpu), Size: 100}
		if _, err := p.RunOn(t.Context(), cpu, job); err != nil {
			t.Errorf("CPU %d: %v", cpu, err)
		}
		rd.expect(job)
	}
	if _, err := p.RunOn(t.Context(), 1000, Job{Count: 1}); !errors.Is(err, unix.EINVAL) {
		t.Errorf("CPU 1000: %v, want EINVAL", err)
	}
	if err := unix.SchedGetaffinity(0, &after); err != nil {
		t.Fatal(err)
	}
	if before != after {
		t.Errorf("affinity after RunOn: %v, want %v", after, before)
	}
}

func TestLoadRefusesOtherMaps(t *testing.T) {
	m := testenv.Map(t, &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if _, err := Load(m); err == nil {
		t.Error("Load of an array: no error")
	}
}

func TestProducersShareARing(t *testing.T) {
	p, ring := load(t, 1<<20)
	other, err := Load(ring)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	rd := newReader(t, ring)
	a, b := Job{Count: 5000, Size: 64}, Job{Count: 5000, Seq: 1 << 32, Size: 64}
	done := make(chan error)
	go func() { _, err := p.Run(t.Context(), a); done <- err }()
	go func() { _, err := other.Run(t.Context(), b); done <- err }()
	if err := errors.Join(<-done, <-done); err != nil {
		t.Fatal(err)
	}
	for range a.Count + b.Count {
		rec := rd.next()
		next := &a.Seq
		if Verify(a.Seq, rec) != nil {
			next = &b.Seq
		}
		if err := Verify(*next, rec); err != nil {
			t.Fatalf("neither record %d nor %d: %v", a.Seq, b.Seq, err)
		}
		*next++
	}
	rd.none()
}
