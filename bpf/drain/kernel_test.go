package drain

import (
	"errors"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/testenv"
)

// This file provokes every documented result of bpf_user_ringbuf_drain (kernel/bpf/ringbuf.c; the
// helper's text in include/uapi/linux/bpf.h).

// maxRun is BPF_MAX_USER_RINGBUF_SAMPLES.
const maxRun = 128 << 10

func TestTheResultIsTheNumberOfSamples(t *testing.T) {
	f, d, _ := counter(t, testenv.PageSize)
	expect(t, d, RunOptions{}, 0, nil)
	f.feedN(7, 16, 0)
	if res := expect(t, d, RunOptions{}, 7, nil); res.Bytes != 7*16 {
		t.Errorf("%d bytes, want %d", res.Bytes, 7*16)
	}
	expect(t, d, RunOptions{}, 0, nil)
	if f.consumerPos() != f.producerPos() {
		t.Errorf("consumer at %d, producer at %d", f.consumerPos(), f.producerPos())
	}
}

func TestABusySampleEndsTheRun(t *testing.T) {
	f, d, _ := counter(t, testenv.PageSize)
	f.feedN(2, 8, 0)
	busy := f.pos
	f.feedN(1, 8, busyBit)
	f.feedN(1, 8, 0)
	expect(t, d, RunOptions{}, 2, nil)
	expect(t, d, RunOptions{}, 0, nil)
	f.header(busy, 8) // committed
	expect(t, d, RunOptions{}, 2, nil)
}

func TestADiscardedSampleIsPassedOver(t *testing.T) {
	f, d, _ := counter(t, testenv.PageSize)
	f.feedN(2, 8, discardBit)
	f.feedN(1, 8, 0)
	f.feedN(1, 8, discardBit|busyBit) // the kernel checks DISCARD before BUSY
	f.feedN(1, 8, 0)
	expect(t, d, RunOptions{}, 2, nil)
	if f.consumerPos() != f.producerPos() {
		t.Error("discarded samples were not released")
	}
}

func TestOneOfTheCallbackStops(t *testing.T) {
	f, d, _ := counter(t, testenv.PageSize)
	f.feedN(10, 16, 0)
	expect(t, d, RunOptions{Limit: 3}, 3, nil)
	if got, want := f.consumerPos(), uint64(3*24); got != want {
		t.Errorf("consumer at %d, want %d: the sample at which it stopped is released too", got, want)
	}
	expect(t, d, RunOptions{Limit: 1}, 1, nil)
	expect(t, d, RunOptions{Limit: 7}, 6, nil)
}

func TestARunTakes128KiSamples(t *testing.T) {
	f, d, _ := counter(t, 2<<20)
	f.feedN(maxRun+10, 0, 0)
	expect(t, d, RunOptions{}, maxRun, nil)
	expect(t, d, RunOptions{}, 10, nil)
	expect(t, d, RunOptions{}, 0, nil)
}

func TestDiscardedSamplesCountTowards128Ki(t *testing.T) {
	f, d, _ := counter(t, 2<<20)
	f.feedN(5, 0, 0)
	f.feedN(maxRun-3, 0, discardBit)
	f.feedN(4, 0, 0)
	expect(t, d, RunOptions{}, 5, nil)
	expect(t, d, RunOptions{}, 4, nil)
}

// malformed checks that runs fail with the error want until mend repairs the ring. The first run
// takes the samples before the malformed one.
func malformed(t *testing.T, f *feeder, d *Drain, before uint64, want unix.Errno, mend func()) {
	t.Helper()
	expect(t, d, RunOptions{}, before, want)
	at := f.consumerPos()
	expect(t, d, RunOptions{}, 0, want)
	_, err := d.Run(RunOptions{})
	if !errors.Is(err, errMalformed) {
		t.Errorf("%v is not errMalformed", err)
	}
	if f.consumerPos() != at {
		t.Errorf("consumer moved from %d to %d", at, f.consumerPos())
	}
	mend()
	f.pos = f.producerPos()
	f.feedN(1, 8, 0)
	if _, err := d.Run(RunOptions{}); err != nil {
		t.Errorf("after mending: %v", err)
	}
	if f.consumerPos() != f.producerPos() {
		t.Errorf("after mending: consumer at %d, producer at %d", f.consumerPos(), f.producerPos())
	}
	s, err := d.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if counted := map[unix.Errno]uint64{unix.EINVAL: s.Invalid, unix.E2BIG: s.TooBig}[want]; counted != 3 {
		t.Errorf("%v counted %d times, want 3", want, counted)
	}
}

func TestAnUnalignedPositionIsEINVAL(t *testing.T) {
	f, d, _ := counter(t, testenv.PageSize)
	f.feedN(3, 8, 0)
	good := f.pos
	f.publish(good + 4)
	// The kernel checks the position first, so it drains no sample.
	malformed(t, f, d, 0, unix.EINVAL, func() { f.publish(good) })
}

func TestASampleBeyondThePositionIsEINVAL(t *testing.T) {
	f, d, _ := counter(t, testenv.PageSize)
	f.feedN(3, 8, 0)
	bad := f.pos
	f.feedN(1, 16, 0)
	f.header(bad, 17)
	malformed(t, f, d, 3, unix.EINVAL, func() { f.header(bad, 16) })
}

func TestASampleLargerThanTheRingIsE2BIG(t *testing.T) {
	f, d, _ := counter(t, testenv.PageSize)
	f.feedN(3, 8, 0)
	bad := f.pos
	f.header(bad, testenv.PageSize-8+1)
	f.publish(bad + uint64(testenv.PageSize) + 8)
	malformed(t, f, d, 3, unix.E2BIG, func() { f.publish(bad) })
}

func TestASampleLargerThanADynptrIsE2BIG(t *testing.T) {
	f, d, _ := counter(t, 32<<20)
	f.feedN(1, 1<<24-1, 0)
	expect(t, d, RunOptions{}, 1, nil)
	bad := f.pos
	f.feedN(1, 1<<24, 0)
	malformed(t, f, d, 0, unix.E2BIG, func() { f.publish(bad) })
}

func TestUnknownFlagsAreEINVAL(t *testing.T) {
	f, d, _ := counter(t, testenv.PageSize)
	f.feedN(1, 8, 0)
	expect(t, d, RunOptions{Flags: 1 << 2}, 0, unix.EINVAL)
	expect(t, d, RunOptions{}, 1, nil)
}

// While one program drains a ring, the kernel refuses another program's drain with -EBUSY.
func TestAnotherDrainIsEBUSY(t *testing.T) {
	testenv.NoLeaks(t)
	user := userRing(t, 2<<20)
	f, a, b := newFeeder(t, user), newDrain(t, user, Options{}), newDrain(t, user, Options{})
	// With more than one CPU the timer runs on another CPU; with one CPU it interrupts the run.
	if err := b.Start(minEvery); err != nil {
		t.Fatal(err)
	}
	var busy bool
	var taken, fed uint64
	for deadline := time.Now().Add(time.Minute); !busy && time.Now().Before(deadline); {
		n := 0
		for n < maxRun && f.put(nil, 0) {
			n++
		}
		f.publish(f.pos)
		fed += uint64(n)
		var runs sync.WaitGroup
		runs.Go(func() {
			for f.consumerPos() != f.producerPos() {
				res, err := a.Run(RunOptions{})
				taken += res.Samples
				if err != nil && !errors.Is(err, ErrBusy) {
					t.Errorf("run: %v", err)
					return
				}
			}
		})
		runs.Wait()
		sa, errA := a.Stats()
		sb, errB := b.Stats()
		if err := errors.Join(errA, errB); err != nil {
			t.Fatal(err)
		}
		busy = sa.Busy+sb.Busy > 0
	}
	if !busy {
		t.Fatal("no run was refused")
	}
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	s, err := b.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if got := taken + s.Samples; got != fed {
		t.Errorf("%d samples drained by both, %d fed", got, fed)
	}
}

func TestWakeupsOfTheProducer(t *testing.T) {
	for _, test := range []struct {
		name  string
		feed  func(f *feeder)
		flags uint64
		errno error
		want  bool
	}{
		{"a drained sample wakes", func(f *feeder) { f.feedN(1, 8, 0) }, 0, nil, true},
		{"a discarded sample wakes", func(f *feeder) { f.feedN(1, 8, discardBit) }, 0, nil, true},
		{"nothing does not wake", func(f *feeder) {}, 0, nil, false},
		{"a busy sample does not wake", func(f *feeder) { f.feedN(1, 8, busyBit) }, 0, nil, false},
		{"a sample drained before an error wakes", func(f *feeder) { f.feedN(1, 8, 0); f.header(f.pos, 9); f.publish(f.pos + 8) },
			0, unix.EINVAL, true},
		{"an error alone does not wake", func(f *feeder) { f.publish(f.pos + 4) }, 0, unix.EINVAL, false},
		{"no-wakeup does not wake", func(f *feeder) { f.feedN(100, 8, 0) }, unix.BPF_RB_NO_WAKEUP, nil, false},
		{"force wakes for a sample", func(f *feeder) { f.feedN(1, 8, 0) }, unix.BPF_RB_FORCE_WAKEUP, nil, true},
		{"force wakes for nothing", func(f *feeder) {}, unix.BPF_RB_FORCE_WAKEUP, nil, true},
		{"force wins over no-wakeup", func(f *feeder) {}, unix.BPF_RB_NO_WAKEUP | unix.BPF_RB_FORCE_WAKEUP, nil, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			f, d, user := counter(t, testenv.PageSize)
			s := newSleeper(t, user, unix.EPOLLOUT)
			test.feed(f)
			if s.woken(false) {
				t.Fatal("woken before the run")
			}
			if _, err := d.Run(RunOptions{Flags: test.flags}); !errors.Is(err, test.errno) {
				t.Fatalf("run: %v, want %v", err, test.errno)
			}
			if got := s.woken(test.want); got != test.want {
				t.Errorf("woken: %v, want %v", got, test.want)
			}
		})
	}
}
