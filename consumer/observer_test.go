package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/bpf/producer"
	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/testenv"
)

// observer returns an Observer of m, closed when the test ends.
func observer(tb testing.TB, m *ebpf.Map, opts consumer.ObserverOptions) *consumer.Observer {
	tb.Helper()
	o, err := consumer.NewObserver(m, opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := o.Close(); err != nil {
			tb.Error(err)
		}
	})
	return o
}

// balanced returns the Stats of o, in which all bytes must be accounted for.
func balanced(tb testing.TB, o *consumer.Observer) consumer.ObserverStats {
	tb.Helper()
	s, err := o.Stats()
	if err != nil && !errors.Is(err, os.ErrClosed) {
		tb.Fatal(err)
	}
	if s.Seen+s.Skipped+s.Lost != s.Pos-s.Start {
		tb.Fatalf("seen, skipped and lost make %d, not %d: %+v", s.Seen+s.Skipped+s.Lost, s.Pos-s.Start, s)
	}
	return s
}

// owners are the consumers of other people that an Observer works beside. They
// call use with each record until ctx is done and the ring is empty.
var owners = []struct {
	name string
	open func(tb testing.TB, m *ebpf.Map) (next func() ([]byte, error), stop func())
}{
	{"cilium", func(tb testing.TB, m *ebpf.Map) (func() ([]byte, error), func()) {
		r, err := ringbuf.NewReader(m)
		if err != nil {
			tb.Fatal(err)
		}
		var rec ringbuf.Record
		return func() ([]byte, error) {
			err := r.ReadInto(&rec)
			return rec.RawSample, err
		}, func() { r.Close() }
	}},
	{"Reader", func(tb testing.TB, m *ebpf.Map) (func() ([]byte, error), func()) {
		r, err := consumer.NewReader(m, consumer.Options{})
		if err != nil {
			tb.Fatal(err)
		}
		return func() ([]byte, error) {
			rec, err := r.Read(tb.Context())
			return rec.Data, err
		}, func() { r.Close() }
	}},
}

// The owner of the ring gets each record once and in order, as without an Observer;
// what the Observer hands out is what was submitted; and all bytes and
// records are accounted for.
func TestObserverBesideAnOwner(t *testing.T) {
	tests := []struct {
		rule  string
		size  uint32
		job   producer.Job
		count uint64 // with -short a hundredth
	}{
		// Together with the others ten million records.
		{"a small ring", 4096, producer.Job{Op: producer.Output, Size: 8, MaxSize: 200}, 300_000},
		{"a ring that is often full", 64 << 10, producer.Job{Op: producer.Reserve, Size: 16, DiscardEvery: 5}, 2_200_000},
		{"long records", 1 << 20, producer.Job{Op: producer.Output, Size: 0, MaxSize: 60_000}, 20_000},
		{"a large ring", 4 << 20, producer.Job{Op: producer.Reserve, Size: 24, DiscardEvery: 100}, 2_500_000},
	}
	for _, tt := range tests {
		for _, owner := range owners {
			t.Run(tt.rule+" of "+owner.name, func(t *testing.T) {
				testenv.NoLeaks(t)
				job := tt.job
				job.Count, job.RetryFull = tt.count, true
				if testing.Short() || testenv.Race {
					job.Count /= 100
				}
				m := testenv.Ring(t, tt.size)
				p, o := load(t, m), observer(t, m, consumer.ObserverOptions{})
				next, stop := owner.open(t, m)
				defer stop()
				var owning, observing sync.WaitGroup
				owning.Go(func() { own(t, job, next) })
				var done atomic.Bool
				observing.Go(func() { watch(t, o, job, &done) })
				run(t, p, job)
				owning.Wait()
				done.Store(true)
				observing.Wait()
				s := balanced(t, o)
				t.Logf("%d of %d records seen, %d bytes lost in %d losses", s.Records, job.Count, s.Lost, s.Losses)
			})
		}
	}
}

// own consumes all records of the job, and checks that none is missing.
func own(t *testing.T, job producer.Job, next func() ([]byte, error)) {
	for n := range job.Count {
		if job.Discarded(n) {
			continue
		}
		data, err := next()
		if err == nil {
			err = producer.Verify(n, data)
		}
		if err != nil {
			t.Errorf("owner, record %d: %v", n, err)
			return
		}
	}
}

// watch observes until done says that all was produced, and then the rest.
// The number of records that lie between two that were seen must be what was discarded and lost.
func watch(t *testing.T, o *consumer.Observer, job producer.Job, done *atomic.Bool) {
	want := uint64(0) // the number of the record after the last, and where it begins
	end := uint64(0)
	gap := func(n, pos uint64) {
		bytes := uint64(0)
		for ; want < n; want++ {
			bytes += ring.Span(job.Len(want))
		}
		if bytes != pos-end {
			t.Errorf("%d bytes between positions %d and %d, where record %d begins; want %d", pos-end, end, pos, n, bytes)
		}
	}
	for last := false; !last; {
		last = done.Load()
		for rec := range o.Pass(0) {
			n := want
			if len(rec.Data) >= 8 {
				n = le64(rec.Data)
			}
			for len(rec.Data) < 8 && n < job.Count && (job.Discarded(n) || job.Len(n) != uint32(len(rec.Data)) || producer.Verify(n, rec.Data) != nil) {
				n++ // too short to say its number
			}
			if err := producer.Verify(n, rec.Data); err != nil || n >= job.Count || job.Discarded(n) || uint32(len(rec.Data)) != job.Len(n) {
				t.Errorf("record %d of %d bytes: %v", n, len(rec.Data), err)
				return
			}
			if len(rec.Data) >= 8 {
				gap(n, rec.Pos)
				want, end = n+1, rec.Pos+ring.Span(job.Len(n))
			}
		}
		if err := o.Err(); err != nil {
			t.Error(err)
			return
		}
		balanced(t, o)
		if !last {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			if err := o.Wait(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			cancel()
		}
	}
	s := balanced(t, o)
	if s.Pos != s.ProducerPos {
		t.Errorf("observed up to %d of %d", s.Pos, s.ProducerPos)
	}
	gap(job.Count, s.Pos)
}

func TestObserverWaitsAtBusyRecords(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, 4096)
	p, o := load(t, m), observer(t, m, consumer.ObserverOptions{})
	run(t, p, producer.Job{Op: producer.Output, Size: 16, Count: 2})
	h := hold(t, p, 2)
	run(t, p, producer.Job{Op: producer.Output, Size: 16, Count: 1, Seq: 3})
	if got := observed(t, o); !slices.Equal(got, from(0, 2)) {
		t.Fatalf("records %d before the BUSY one", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if err := o.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Wait at a BUSY record: %v", err)
	}
	if err := h.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := o.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := observed(t, o); !slices.Equal(got, from(2, 2)) {
		t.Fatalf("records %d from the BUSY one on", got)
	}
	balanced(t, o)
}

// observed makes one pass and returns the numbers of its records, which it verifies.
func observed(tb testing.TB, o *consumer.Observer) []uint64 {
	tb.Helper()
	var got []uint64
	for rec := range o.Pass(0) {
		got = append(got, seq(tb, rec))
	}
	if err := o.Err(); err != nil {
		tb.Fatal(err)
	}
	return got
}

func TestObserverStartsWhereItIsTold(t *testing.T) {
	m := testenv.Ring(t, 4096)
	p, r := load(t, m), reader(t, m, consumer.Options{})
	run(t, p, producer.Job{Op: producer.Output, Size: 16, Count: 5})
	seqs(t, r, 2)
	all, now := observer(t, m, consumer.ObserverOptions{}), observer(t, m, consumer.ObserverOptions{Now: true})
	run(t, p, producer.Job{Op: producer.Output, Size: 16, Count: 1, Seq: 5})
	if got := observed(t, all); !slices.Equal(got, from(2, 4)) {
		t.Errorf("from what waits on: records %d", got)
	}
	if got := observed(t, now); !slices.Equal(got, from(5, 1)) {
		t.Errorf("from now on: records %d", got)
	}
	if s := stats(t, r); s.ConsumerPos != 48 {
		t.Errorf("the Observers moved consumer_pos to %d", s.ConsumerPos)
	}
}

func TestObserverLimitAndLeavingTheLoop(t *testing.T) {
	m := testenv.Ring(t, 4096)
	p, o := load(t, m), observer(t, m, consumer.ObserverOptions{})
	run(t, p, producer.Job{Op: producer.Output, Size: 16, Count: 10})
	for range o.Pass(3) {
	}
	for rec := range o.Pass(0) {
		if seq(t, rec) == 5 {
			break
		}
	}
	func() {
		defer func() { recover() }()
		for range o.Pass(0) {
			panic("in the loop")
		}
	}()
	if s := balanced(t, o); s.Records != 5 {
		t.Errorf("%d records were seen, want 5", s.Records)
	}
	rec, err := o.Read(t.Context())
	if err != nil || seq(t, rec) != 5 {
		t.Errorf("Read: record %v, %v", rec, err)
	}
	for rec := range o.Pass(0) {
		if n := seq(t, rec); n != 6 {
			t.Errorf("record %d after an inner pass", n)
		}
		if got := observed(t, o); !slices.Equal(got, from(6, 4)) {
			t.Errorf("a pass in the loop: records %d", got)
		}
	}
}

// Nothing that an Observer maps is writable, and it holds no descriptor.
func TestObserverMapsReadOnly(t *testing.T) {
	for _, typ := range []ebpf.MapType{ebpf.RingBuf, ebpf.UserRingbuf} {
		t.Run(typ.String(), func(t *testing.T) {
			testenv.NoLeaks(t)
			m := testenv.Map(t, &ebpf.MapSpec{Name: "observed", Type: typ, MaxEntries: 8192})
			before := writable(t)
			o := observer(t, m, consumer.ObserverOptions{})
			if now := writable(t); now != before {
				t.Errorf("%d writable mappings of BPF maps, %d before", now, before)
			}
			if err := o.Close(); err != nil {
				t.Error(err)
			}
			if err := o.Close(); err != nil {
				t.Errorf("second Close: %v", err)
			}
			for range o.Pass(0) {
				t.Error("a record after Close")
			}
			_, serr := o.Stats()
			_, rerr := o.Read(t.Context())
			for name, err := range map[string]error{"Err": o.Err(), "Stats": serr, "Read": rerr, "Wait": o.Wait(t.Context())} {
				if !errors.Is(err, os.ErrClosed) {
					t.Errorf("%s after Close: %v", name, err)
				}
			}
		})
	}
}

func writable(t *testing.T) (n int) {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(maps)) {
		if strings.Contains(line, "bpf-map") && strings.Contains(line, " rw") {
			n++
		}
	}
	return n
}

func TestObserverRefusesOtherMaps(t *testing.T) {
	m := testenv.Map(t, &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if _, err := consumer.NewObserver(m, consumer.ObserverOptions{}); err == nil || !strings.Contains(err.Error(), "is a Array") {
		t.Errorf("NewObserver: %v", err)
	}
}

func TestEndOfAWaitingObserver(t *testing.T) {
	for _, end := range ends {
		for _, interval := range []time.Duration{forever, time.Microsecond} {
			t.Run(fmt.Sprintf("%s, %s", end.name, interval), func(t *testing.T) {
				testenv.NoLeaks(t)
				o := observer(t, testenv.Ring(t, 4096), consumer.ObserverOptions{Interval: interval})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				result := make(chan error)
				go func() {
					for _, err := range o.Records(ctx) {
						result <- err
					}
				}()
				testenv.Inside(t, "consumer.(*Observer).Wait")
				end.end(o.Close, cancel)
				if err := <-result; !errors.Is(err, end.err) {
					t.Errorf("Records ended with %v, want %v", err, end.err)
				}
			})
		}
	}
}

func TestObserverOfARingInOverwriteMode(t *testing.T) {
	testenv.NoLeaks(t)
	m := overwriting(t, 4096)
	p, o := load(t, m), observer(t, m, consumer.ObserverOptions{})
	job := producer.Job{Op: producer.Output, Size: 8, MaxSize: 200, Count: uint64(long(300_000, 3000)), RetryFull: true}
	var done atomic.Bool
	var observing sync.WaitGroup
	observing.Go(func() { watch(t, o, job, &done) })
	run(t, p, job)
	done.Store(true)
	observing.Wait()
	s := balanced(t, o)
	t.Logf("%d of %d records seen, %d losses", s.Records, job.Count, s.Losses)
}

// Samples that nobody drains yet, written as libbpf's user_ring_buffer does.
func TestObserverOfAUserRing(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Map(t, &ebpf.MapSpec{Name: "samples", Type: ebpf.UserRingbuf, MaxEntries: 4096})
	page := os.Getpagesize()
	mem, err := unix.Mmap(m.FD(), int64(page), page+2*4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mem)
	pos := uint64(0)
	put := func(flags uint32, seq uint64, n int) (header *uint32) {
		header = (*uint32)(unsafe.Pointer(&mem[page+int(pos)]))
		producer.Fill(seq, mem[page+int(pos)+ring.HeaderSize:][:n])
		atomic.StoreUint32(header, flags|uint32(n))
		pos += ring.Span(uint32(n))
		atomic.StoreUint64((*uint64)(unsafe.Pointer(&mem[0])), pos)
		return header
	}
	o := observer(t, m, consumer.ObserverOptions{})
	put(0, 0, 16)
	put(ring.DiscardBit, 7, 40)
	put(ring.DiscardBit|ring.BusyBit, 8, 8) // abandoned, then discarded
	busy := put(ring.BusyBit, 1, 16)
	put(0, 2, 4096-ring.HeaderSize-int(pos)) // the ring is completely full
	if got := observed(t, o); !slices.Equal(got, from(0, 1)) {
		t.Fatalf("samples %d before the BUSY one", got)
	}
	atomic.StoreUint32(busy, 16)
	if got := observed(t, o); !slices.Equal(got, from(1, 2)) {
		t.Fatalf("samples %d from the BUSY one on", got)
	}
	if s := balanced(t, o); s.Discarded != 2 || s.Pos != 4096 || s.Lost != 0 {
		t.Errorf("%+v", s)
	}
}
