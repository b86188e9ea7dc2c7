package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/bpftest/producer"
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

// balanced returns the Stats of o and checks that Seen, Skipped and Lost add up to all bytes.
func balanced(tb testing.TB, o *consumer.Observer) consumer.ObserverStats {
	tb.Helper()
	s, err := o.Stats()
	if err != nil && !errors.Is(err, os.ErrClosed) {
		tb.Fatal(err)
	}
	if s.Seen+s.Skipped+s.Lost != s.Pos-s.Start {
		tb.Fatalf("seen, skipped and lost add up to %d, not %d: %+v", s.Seen+s.Skipped+s.Lost, s.Pos-s.Start, s)
	}
	return s
}

func TestObserverWaitsAtBusyRecords(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, testenv.PageSize)
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

// observed makes one pass, verifies its records and returns their sequence numbers.
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
	m := testenv.Ring(t, testenv.PageSize)
	p, r := load(t, m), reader(t, m, consumer.Options{})
	run(t, p, producer.Job{Op: producer.Output, Size: 16, Count: 5})
	seqs(t, r, 2)
	all, now := observer(t, m, consumer.ObserverOptions{}), observer(t, m, consumer.ObserverOptions{Now: true})
	run(t, p, producer.Job{Op: producer.Output, Size: 16, Count: 1, Seq: 5})
	if got := observed(t, all); !slices.Equal(got, from(2, 4)) {
		t.Errorf("without Now: records %d", got)
	}
	if got := observed(t, now); !slices.Equal(got, from(5, 1)) {
		t.Errorf("with Now: records %d", got)
	}
	if s := stats(t, r); s.ConsumerPos != 48 {
		t.Errorf("the Observers moved consumer_pos to %d", s.ConsumerPos)
	}
}

func TestObserverLimitAndLeavingTheLoop(t *testing.T) {
	m := testenv.Ring(t, testenv.PageSize)
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

// An Observer has no writable mapping and holds no descriptor.
func TestObserverMapsReadOnly(t *testing.T) {
	for _, typ := range []ebpf.MapType{ebpf.RingBuf, ebpf.UserRingbuf} {
		t.Run(typ.String(), func(t *testing.T) {
			testenv.NoLeaks(t)
			m := testenv.Map(t, &ebpf.MapSpec{Name: "observed", Type: typ, MaxEntries: 2 * testenv.PageSize})
			before := writable(t)
			o := observer(t, m, consumer.ObserverOptions{})
			if now := writable(t); now > before {
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
				o := observer(t, testenv.Ring(t, testenv.PageSize), consumer.ObserverOptions{Interval: interval})
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

// The ring contains samples that are not drained, written as libbpf's user_ring_buffer writes them.
func TestObserverOfAUserRing(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Map(t, &ebpf.MapSpec{Name: "samples", Type: ebpf.UserRingbuf, MaxEntries: testenv.PageSize})
	page := os.Getpagesize()
	mem, err := unix.Mmap(m.FD(), int64(page), 3*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
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
	put(ring.DiscardBit|ring.BusyBit, 8, 8) // reserved but not submitted, then discarded
	busy := put(ring.BusyBit, 1, 16)
	put(0, 2, page-ring.HeaderSize-int(pos)) // the ring is completely full
	if got := observed(t, o); !slices.Equal(got, from(0, 1)) {
		t.Fatalf("samples %d before the BUSY one", got)
	}
	atomic.StoreUint32(busy, 16)
	if got := observed(t, o); !slices.Equal(got, from(1, 2)) {
		t.Fatalf("samples %d from the BUSY one on", got)
	}
	if s := balanced(t, o); s.Discarded != 2 || s.Pos != uint64(page) || s.Lost != 0 {
		t.Errorf("%+v", s)
	}
}
